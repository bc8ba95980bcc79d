using System.Globalization;
using System.Text;

namespace Platform.PromQL;

/// <summary>A regular expression as a tree.</summary>
internal abstract record Re
{
    /// <summary>Code points from-to, sorted and apart. A single one is a literal.</summary>
    public sealed record Set(IReadOnlyList<(int From, int To)> Ranges) : Re
    {
        public bool IsAny => Ranges is [(0, Re2.LastRune)];
    }

    public sealed record Sequence(IReadOnlyList<Re> Parts) : Re;

    public sealed record Choice(IReadOnlyList<Re> Options) : Re;

    /// <param name="Max">-1: any number of times.</param>
    public sealed record Repeat(Re Part, int Min, int Max, bool Lazy) : Re;

    /// <param name="Number">From 1, in the order of the opening parentheses, named or not.</param>
    public sealed record Group(Re Part, int Number) : Re;

    /// <param name="DotNet">How .NET writes it.</param>
    public sealed record Assertion(string DotNet) : Re;
}

/// <summary>
/// Reads the regular expressions of PromQL, which are those of RE2 (https://github.com/google/re2/wiki/Syntax), and writes them for
/// .NET's engine without backtracking. Refused is what RE2 refuses (looking around, back references, possessive repeats), and scripts
/// (<c>\p{Greek}</c>), of which .NET knows nothing. A word boundary goes by Unicode, not by ASCII; <c>\p</c> classes beyond the basic
/// plane are all or none.
/// </summary>
internal sealed class Re2
{
    public const int LastRune = 0x10ffff;

    private const int MaxRepeat = 1000;
    private const int MaxDepth = 200;
    private const int MaxRangesBeyond = 32;

    private static readonly Dictionary<string, (int From, int To)[]> s_posix = new(StringComparer.Ordinal)
    {
        ["alnum"] = [('0', '9'), ('A', 'Z'), ('a', 'z')],
        ["alpha"] = [('A', 'Z'), ('a', 'z')],
        ["ascii"] = [(0, 0x7f)],
        ["blank"] = [('\t', '\t'), (' ', ' ')],
        ["cntrl"] = [(0, 0x1f), (0x7f, 0x7f)],
        ["digit"] = [('0', '9')],
        ["graph"] = [('!', '~')],
        ["lower"] = [('a', 'z')],
        ["print"] = [(' ', '~')],
        ["punct"] = [('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        ["space"] = [('\t', '\r'), (' ', ' ')],
        ["upper"] = [('A', 'Z')],
        ["word"] = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        ["xdigit"] = [('0', '9'), ('A', 'F'), ('a', 'f')],
    };

    private static readonly (int From, int To)[] s_space = [('\t', '\n'), ('\f', '\r'), (' ', ' ')];

    private readonly string _pattern;
    private readonly Dictionary<string, List<int>> _names = [];
    private int _at;
    private int _depth;
    private int _groups;
    private Flags _flags = Flags.DotMatchesNewLine;

    private Re2(string pattern) => _pattern = pattern;

    [Flags]
    private enum Flags
    {
        None = 0,
        IgnoreCase = 1,
        DotMatchesNewLine = 2,
        MultiLine = 4,
        Ungreedy = 8,
    }

    /// <param name="names">Of the groups that have one; several may have the same.</param>
    /// <exception cref="ArgumentException">With a message for the person who wrote it.</exception>
    public static Re Parse(string pattern, out IReadOnlyDictionary<string, List<int>> names)
    {
        var reader = new Re2(pattern);
        var re = reader.ReadChoice();
        names = reader._names;
        return reader._at == pattern.Length ? re : throw Error("unexpected )", pattern);
    }

    /// <summary>The pattern for .NET, anchored at both ends. Group n of the tree is its group n.</summary>
    public static string ForDotNet(Re re)
    {
        var text = new StringBuilder(@"\A(?:");
        Write(text, re);
        return text.Append(@")\z").ToString();
    }

    private static ArgumentException Error(string what, string where) => new($"error parsing regexp: {what}: `{where}`");

    private Re ReadChoice()
    {
        if (++_depth > MaxDepth)
        {
            throw Error("expression nests too deeply", _pattern);
        }

        var flags = _flags;
        var options = new List<Re> { ReadSequence() };
        while (Peek() == '|')
        {
            _at++;
            options.Add(ReadSequence());
        }

        // Flags that were set inside a group end with it.
        _flags = flags;
        _depth--;
        return options.Count == 1 ? options[0] : new Re.Choice(options);
    }

    private Re ReadSequence()
    {
        var parts = new List<Re>();
        var repeatedFrom = -1;
        while (_at < _pattern.Length && Peek() is not ('|' or ')'))
        {
            var from = _at;
            if (Peek() is '*' or '+' or '?' || IsCounted(out _))
            {
                var (min, max) = ReadRepeat();
                var operators = _pattern[(repeatedFrom >= 0 ? repeatedFrom : from).._at];
                if (parts.Count == 0)
                {
                    throw Error("missing argument to repetition operator", operators);
                }

                if (repeatedFrom >= 0)
                {
                    throw Error("invalid nested repetition operator", operators);
                }

                var lazy = _flags.HasFlag(Flags.Ungreedy);
                if (Peek() == '?')
                {
                    _at++;
                    lazy = !lazy;
                }

                parts[^1] = new Re.Repeat(parts[^1], min, max, lazy);
                if (RepeatsOf(parts[^1]) > MaxRepeat)
                {
                    throw Error("invalid repeat count", _pattern[from.._at]);
                }

                repeatedFrom = from;
                continue;
            }

            repeatedFrom = -1;
            if (Continues(@"\Q"))
            {
                var end = _pattern.IndexOf(@"\E", _at + 2, StringComparison.Ordinal);
                foreach (var rune in _pattern[(_at + 2)..(end < 0 ? _pattern.Length : end)].EnumerateRunes())
                {
                    parts.Add(Literal(rune.Value));
                }

                _at = end < 0 ? _pattern.Length : end + 2;
            }
            else if (ReadAtom() is { } atom)
            {
                parts.Add(atom);
            }
        }

        return parts.Count == 1 ? parts[0] : new Re.Sequence(parts);
    }

    /// <returns>Null for flags, which are no part of the sequence.</returns>
    private Re? ReadAtom()
    {
        switch (Peek())
        {
            case '(':
                return ReadGroup();
            case '[':
                return new Re.Set(ReadClass());
            case '.':
                _at++;
                return new Re.Set(_flags.HasFlag(Flags.DotMatchesNewLine) ? [(0, LastRune)] : [(0, '\n' - 1), ('\n' + 1, LastRune)]);
            case '^':
                _at++;
                return new Re.Assertion(_flags.HasFlag(Flags.MultiLine) ? "(?m:^)" : @"\A");
            case '$':
                _at++;
                return new Re.Assertion(_flags.HasFlag(Flags.MultiLine) ? "(?m:$)" : @"\z");
            case '\\':
                if (_at + 1 < _pattern.Length && _pattern[_at + 1] is 'A' or 'z' or 'b' or 'B')
                {
                    _at += 2;
                    return new Re.Assertion(_pattern[(_at - 2).._at]);
                }

                if (NamedSet() is { } set)
                {
                    return new Re.Set(set);
                }

                return Literal(ReadEscape());
            default:
                return Literal(ReadRune());
        }
    }

    private Re? ReadGroup()
    {
        var open = _at++;
        var flags = _flags;
        var number = 0;
        if (Peek() != '?')
        {
            number = ++_groups;
        }
        else if (Continues("?P<") || (Continues("?<") && !Continues("?<=") && !Continues("?<!")))
        {
            var from = _pattern.IndexOf('<', _at) + 1;
            var end = _pattern.IndexOf('>', from);
            var name = end < 0 ? "" : _pattern[from..end];
            if (name.Length == 0 || !name.All(letter => char.IsAsciiLetterOrDigit(letter) || letter == '_'))
            {
                throw Error("invalid named capture", end < 0 ? _pattern[open..] : _pattern[open..(end + 1)]);
            }

            number = ++_groups;
            if (!_names.TryGetValue(name, out var numbers))
            {
                _names[name] = numbers = [];
            }

            numbers.Add(number);
            _at = end + 1;
        }
        else
        {
            _at++;
            var set = true;
            while (true)
            {
                var letter = _at < _pattern.Length ? _pattern[_at++] : '\0';
                var flag = letter switch
                {
                    'i' => Flags.IgnoreCase,
                    's' => Flags.DotMatchesNewLine,
                    'm' => Flags.MultiLine,
                    'U' => Flags.Ungreedy,
                    _ => Flags.None,
                };
                if (flag != Flags.None)
                {
                    flags = set ? flags | flag : flags & ~flag;
                }
                else if (letter == '-' && set)
                {
                    set = false;
                }
                else if (letter == ')')
                {
                    _flags = flags;
                    return null;
                }
                else if (letter == ':')
                {
                    break;
                }
                else
                {
                    throw Error("invalid or unsupported Perl syntax", _pattern[open..Math.Min(_at, _pattern.Length)]);
                }
            }
        }

        var outside = _flags;
        _flags = flags;
        var inner = ReadChoice();
        _flags = outside;
        if (Peek() != ')')
        {
            throw Error("missing closing )", _pattern);
        }

        _at++;
        return number > 0 ? new Re.Group(inner, number) : inner is Re.Sequence ? new Re.Sequence([inner]) : inner;
    }

    private bool IsCounted(out (int Min, int Max) counts)
    {
        counts = default;
        if (Peek() != '{')
        {
            return false;
        }

        // What does not look like a count is a brace.
        var end = _pattern.IndexOf('}', _at);
        var inner = end < 0 ? default : _pattern.AsSpan((_at + 1)..end);
        var comma = inner.IndexOf(',');
        var low = comma < 0 ? inner : inner[..comma];
        var high = comma < 0 ? inner : inner[(comma + 1)..];
        if (end < 0 || low.Length is 0 or > 9 || low.ContainsAnyExceptInRange('0', '9') || high.Length > 9 || high.ContainsAnyExceptInRange('0', '9'))
        {
            return false;
        }

        counts = (int.Parse(low, CultureInfo.InvariantCulture), high.Length == 0 ? -1 : int.Parse(high, CultureInfo.InvariantCulture));
        return true;
    }

    private (int Min, int Max) ReadRepeat()
    {
        if (IsCounted(out var counts))
        {
            var from = _at;
            _at = _pattern.IndexOf('}', _at) + 1;
            return counts.Min <= MaxRepeat && counts.Max <= MaxRepeat && (counts.Max < 0 || counts.Min <= counts.Max)
                ? counts
                : throw Error("invalid repeat count", _pattern[from.._at]);
        }

        return _pattern[_at++] switch
        {
            '*' => (0, -1),
            '+' => (1, -1),
            _ => (0, 1),
        };
    }

    /// <summary>How often the innermost part may have to be written out.</summary>
    private static long RepeatsOf(Re re) => re switch
    {
        Re.Repeat repeat => RepeatsOf(repeat.Part) * Math.Max(1, Math.Max(repeat.Min, repeat.Max)),
        Re.Group group => RepeatsOf(group.Part),
        Re.Sequence sequence => sequence.Parts.Select(RepeatsOf).DefaultIfEmpty(1).Max(),
        Re.Choice choice => choice.Options.Select(RepeatsOf).Max(),
        _ => 1,
    };

    private IReadOnlyList<(int From, int To)> ReadClass()
    {
        var open = _at++;
        var negated = Peek() == '^';
        if (negated)
        {
            _at++;
        }

        var ranges = new List<(int From, int To)>();
        var first = true;
        while (first || Peek() != ']')
        {
            if (_at >= _pattern.Length)
            {
                throw Error("missing closing ]", _pattern[open..]);
            }

            first = false;
            if (Continues("[:") && _pattern.IndexOf(":]", _at + 2, StringComparison.Ordinal) is var end and > 0)
            {
                var name = _pattern[(_at + 2)..end];
                if (!s_posix.TryGetValue(name.TrimStart('^'), out var posix))
                {
                    throw Error("invalid character class range", _pattern[_at..(end + 2)]);
                }

                ranges.AddRange(Chosen(Sorted(posix), name.StartsWith('^')));
                _at = end + 2;
                continue;
            }

            if (NamedSet() is { } set)
            {
                ranges.AddRange(set);
                continue;
            }

            var from = _at;
            var low = Peek() == '\\' ? ReadEscape() : ReadRune();
            var high = low;
            if (Peek() == '-' && _at + 1 < _pattern.Length && _pattern[_at + 1] != ']')
            {
                _at++;
                high = Peek() == '\\' ? ReadEscape() : ReadRune();
                if (high < low)
                {
                    throw Error("invalid character class range", _pattern[from.._at]);
                }
            }

            ranges.Add((low, high));
        }

        _at++;
        return Chosen(Sorted(ranges), negated);
    }

    // Case is ignored before a set is turned around: (?i)[^a] refuses A too.
    private IReadOnlyList<(int From, int To)> Chosen(IReadOnlyList<(int From, int To)> ranges, bool negated)
    {
        var folded = Folded(ranges);
        return negated ? Complement(folded) : folded;
    }

    /// <summary><c>\d</c>, <c>\W</c>, <c>\pL</c>, <c>\P{Lu}</c>, …; null when something else stands here.</summary>
    private IReadOnlyList<(int From, int To)>? NamedSet()
    {
        if (Peek() != '\\' || _at + 1 >= _pattern.Length)
        {
            return null;
        }

        var letter = _pattern[_at + 1];
        var named = char.ToLowerInvariant(letter) switch
        {
            'd' => s_posix["digit"],
            'w' => s_posix["word"],
            's' => s_space,
            _ => default((int From, int To)[]),
        };
        if (named is not null)
        {
            _at += 2;
            return Chosen(Sorted(named), char.IsUpper(letter));
        }

        if (letter is not ('p' or 'P'))
        {
            return null;
        }

        var from = _at;
        _at += 2;
        var end = Peek() == '{' ? _pattern.IndexOf('}', _at) : _at;
        if (_at >= _pattern.Length || end < 0)
        {
            throw Error("invalid character class range", _pattern[from..]);
        }

        var name = Peek() == '{' ? _pattern[(_at + 1)..end] : _pattern[_at..(end + 1)];
        _at = end + 1;
        var negated = (letter == 'P') ^ name.StartsWith('^');
        var ranges = UnicodeRanges.OfCategory(name.TrimStart('^'))
            ?? throw Error("invalid character class range (general categories like \\pL and \\p{Lu} are known, scripts are not)", _pattern[from.._at]);
        return Chosen(ranges, negated);
    }

    private int ReadEscape()
    {
        var from = _at++;
        if (_at >= _pattern.Length)
        {
            throw Error("trailing backslash at end of expression", "");
        }

        var letter = _pattern[_at];
        switch (letter)
        {
            case 'a': _at++; return '\a';
            case 'f': _at++; return '\f';
            case 'n': _at++; return '\n';
            case 'r': _at++; return '\r';
            case 't': _at++; return '\t';
            case 'v': _at++; return '\v';
            case 'x':
                _at++;
                var braced = Peek() == '{';
                var end = braced ? _pattern.IndexOf('}', _at) : _at + 2;
                if (end >= 0 && end <= _pattern.Length
                    && int.TryParse(_pattern.AsSpan(braced ? (_at + 1)..end : _at..end), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code)
                    && code is >= 0 and <= LastRune)
                {
                    _at = braced ? end + 1 : end;
                    return code;
                }

                break;
            case >= '0' and <= '7':
                // One digit from 1 to 7 would be a back reference.
                var digits = 0;
                while (digits < 3 && _at + digits < _pattern.Length && _pattern[_at + digits] is >= '0' and <= '7')
                {
                    digits++;
                }

                if (letter == '0' || digits > 1)
                {
                    var value = 0;
                    for (; digits > 0; digits--)
                    {
                        value = value * 8 + (_pattern[_at++] - '0');
                    }

                    return value;
                }

                break;
            default:
                if (letter < 0x80 && !char.IsAsciiLetterOrDigit(letter))
                {
                    _at++;
                    return letter;
                }

                break;
        }

        throw Error("invalid escape sequence", _pattern[from..Math.Min(from + 2, _pattern.Length)]);
    }

    private int ReadRune()
    {
        _ = Rune.TryGetRuneAt(_pattern, _at, out var rune);
        // A byte that was no UTF-8 stands as half a surrogate; it can only match itself.
        var value = rune == default && _pattern[_at] != '\0' ? _pattern[_at] : rune.Value;
        _at += value > 0xffff ? 2 : 1;
        return value;
    }

    private Re.Set Literal(int rune) => new(Folded([(rune, rune)]));

    /// <summary>With the other case of each letter where case is ignored; of a wide range only the ASCII letters are looked at.</summary>
    private IReadOnlyList<(int From, int To)> Folded(IReadOnlyList<(int From, int To)> ranges)
    {
        const int wide = 1024;
        if (!_flags.HasFlag(Flags.IgnoreCase))
        {
            return ranges;
        }

        var folded = new List<(int From, int To)>(ranges);
        foreach (var (from, to) in ranges)
        {
            var last = to - from <= wide ? to : Math.Min(to, 0x7f);
            for (var code = from; code <= last; code++)
            {
                if (!Rune.IsValid(code))
                {
                    continue;
                }

                var rune = new Rune(code);
                Add(Rune.ToUpperInvariant(rune).Value);
                Add(Rune.ToLowerInvariant(rune).Value);
                // The Kelvin sign and the long s.
                Add((char)code is 'k' or 'K' ? 0x212a : (char)code is 's' or 'S' ? 0x17f : code);
            }
        }

        return Sorted(folded);

        void Add(int code) => folded.Add((code, code));
    }

    private char Peek() => _at < _pattern.Length ? _pattern[_at] : '\0';

    private bool Continues(string text) => string.CompareOrdinal(_pattern, _at, text, 0, text.Length) == 0;

    private static List<(int From, int To)> Sorted(IEnumerable<(int From, int To)> ranges)
    {
        var sorted = new List<(int From, int To)>();
        foreach (var range in ranges.Order())
        {
            if (sorted.Count > 0 && range.From <= sorted[^1].To + 1)
            {
                sorted[^1] = (sorted[^1].From, Math.Max(sorted[^1].To, range.To));
            }
            else
            {
                sorted.Add(range);
            }
        }

        return sorted;
    }

    private static List<(int From, int To)> Complement(IReadOnlyList<(int From, int To)> sorted)
    {
        var gaps = new List<(int From, int To)>();
        var next = 0;
        foreach (var (from, to) in sorted)
        {
            if (from > next)
            {
                gaps.Add((next, from - 1));
            }

            next = to + 1;
        }

        if (next <= LastRune)
        {
            gaps.Add((next, LastRune));
        }

        return gaps;
    }

    private static void Write(StringBuilder text, Re re)
    {
        switch (re)
        {
            case Re.Set set:
                WriteSet(text, set);
                break;
            case Re.Sequence sequence:
                foreach (var part in sequence.Parts)
                {
                    var isChoice = part is Re.Choice;
                    text.Append(isChoice ? "(?:" : "");
                    Write(text, part);
                    text.Append(isChoice ? ")" : "");
                }

                break;
            case Re.Choice choice:
                for (var index = 0; index < choice.Options.Count; index++)
                {
                    text.Append(index == 0 ? "" : "|");
                    Write(text, choice.Options[index]);
                }

                break;
            case Re.Group group:
                text.Append(CultureInfo.InvariantCulture, $"(?<{group.Number}>");
                Write(text, group.Part);
                text.Append(')');
                break;
            case Re.Assertion assertion:
                text.Append(assertion.DotNet);
                break;
            case Re.Repeat repeat:
                text.Append("(?:");
                Write(text, repeat.Part);
                text.Append(')').Append((repeat.Min, repeat.Max) switch
                {
                    (0, -1) => "*",
                    (1, -1) => "+",
                    (0, 1) => "?",
                    (var min, -1) => string.Create(CultureInfo.InvariantCulture, $"{{{min},}}"),
                    var (min, max) => string.Create(CultureInfo.InvariantCulture, $"{{{min},{max}}}"),
                }).Append(repeat.Lazy ? "?" : "");
                break;
        }
    }

    // .NET sees UTF-16: what lies beyond the basic plane is two units there. Half of such a pair never stands for itself, so that no part
    // of a pattern begins or ends between the two.
    private static void WriteSet(StringBuilder text, Re.Set set)
    {
        const int firstBeyond = 0x10000;
        var beyond = set.Ranges.Where(range => range.To >= firstBeyond).Select(range => (From: Math.Max(range.From, firstBeyond), range.To)).ToList();
        if (beyond.Count > MaxRangesBeyond)
        {
            // Letters, digits and the like of rare scripts: written out, they would be more than .NET takes. All or none is near enough.
            beyond = beyond.Sum(range => range.To - range.From + 1) > LastRune / 2 ? [(firstBeyond, LastRune)] : [];
        }

        var inPlane = new List<(int From, int To)>();
        foreach (var (from, to) in set.Ranges)
        {
            AddTo(inPlane, from, Math.Min(to, 0xd7ff));
            AddTo(inPlane, Math.Max(from, 0xe000), Math.Min(to, firstBeyond - 1));
        }

        var options = 0;
        text.Append("(?:");
        if (beyond is [(firstBeyond, LastRune)])
        {
            text.Append(@"[\uD800-\uDBFF][\uDC00-\uDFFF]");
            options++;
        }
        else
        {
            foreach (var (from, to) in beyond)
            {
                WritePairs(text, from, to, ref options);
            }
        }

        if (inPlane.Count > 0 || options == 0)
        {
            text.Append(options > 0 ? "|" : "");
            WriteUnits(text, inPlane);
        }

        text.Append(')');

        static void AddTo(List<(int From, int To)> ranges, int from, int to)
        {
            if (from <= to)
            {
                ranges.Add((from, to));
            }
        }
    }

    private static void WritePairs(StringBuilder text, int from, int to, ref int options)
    {
        while (from <= to)
        {
            var high = 0xd800 + ((from - 0x10000) >> 10);
            var last = Math.Min(to, from | 0x3ff);
            text.Append(options++ > 0 ? "|" : "").Append(CultureInfo.InvariantCulture, $@"\u{high:X4}[\u{0xdc00 + (from & 0x3ff):X4}-\u{0xdc00 + (last & 0x3ff):X4}]");
            from = last + 1;
        }
    }

    private static void WriteUnits(StringBuilder text, List<(int From, int To)> ranges)
    {
        if (ranges is [var (only, same)] && only == same && only < 0x80 && char.IsAsciiLetterOrDigit((char)only))
        {
            text.Append((char)only);
            return;
        }

        if (ranges.Count == 0)
        {
            // The empty class matches nothing.
            text.Append(@"[^\u0000-\uFFFF]");
            return;
        }

        text.Append('[');
        foreach (var (from, to) in ranges)
        {
            text.Append(CultureInfo.InvariantCulture, $@"\u{from:X4}");
            if (to > from)
            {
                text.Append(CultureInfo.InvariantCulture, $@"-\u{to:X4}");
            }
        }

        text.Append(']');
    }
}

/// <summary>Which code points are letters, digits, …: computed once, when the first pattern asks.</summary>
internal static class UnicodeRanges
{
    private static readonly Lazy<Dictionary<string, List<(int From, int To)>>> s_byCategory = new(Build);

    /// <param name="name">One letter (<c>L</c>) or two (<c>Lu</c>), or <c>Any</c>; null is the answer for others.</param>
    public static IReadOnlyList<(int From, int To)>? OfCategory(string name) => s_byCategory.Value.GetValueOrDefault(name);

    private static Dictionary<string, List<(int From, int To)>> Build()
    {
        // In the order of UnicodeCategory.
        ReadOnlySpan<string> names =
        [
            "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf",
            "Po", "Sm", "Sc", "Sk", "So", "Cn",
        ];
        var all = new Dictionary<string, List<(int From, int To)>> { ["Any"] = [(0, Re2.LastRune)] };
        for (var rune = 0; rune <= Re2.LastRune; rune++)
        {
            var name = names[(int)CharUnicodeInfo.GetUnicodeCategory(rune)];
            Add(name, rune);
            Add(name[..1], rune);
        }

        return all;

        void Add(string name, int rune)
        {
            if (!all.TryGetValue(name, out var ranges))
            {
                all[name] = ranges = [];
            }

            if (ranges.Count > 0 && ranges[^1].To == rune - 1)
            {
                ranges[^1] = (ranges[^1].From, rune);
            }
            else
            {
                ranges.Add((rune, rune));
            }
        }
    }
}
