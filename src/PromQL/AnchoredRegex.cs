using System.Diagnostics.CodeAnalysis;
using System.Text;
using System.Text.RegularExpressions;

namespace Platform.PromQL;

/// <summary>
/// A regular expression in RE2's syntax that has to match the whole text; a dot matches every character, line feeds too. As matchers, <c>label_replace</c>
/// and relabelling use it. Matching takes time linear in the text. Most patterns of real queries are lists of literals with <c>.*</c>
/// between them; those never reach the regex engine.
/// </summary>
public sealed class AnchoredRegex
{
    /// <summary>UTF-16 units of a pattern.</summary>
    public const int MaxLength = 65_536;

    private readonly Re _tree;
    private readonly IReadOnlyDictionary<string, List<int>> _groupNames;
    private readonly Glob[]? _globs;
    private readonly HashSet<string>? _set;
    private Regex? _regex;

    /// <exception cref="ArgumentException">The pattern is no regular expression; the message says why.</exception>
    public AnchoredRegex(string pattern)
    {
        Pattern = pattern;
        if (pattern.Length > MaxLength)
        {
            throw new ArgumentException($"error parsing regexp: the pattern is {pattern.Length} characters long, at most {MaxLength} are allowed");
        }

        _tree = Re2.Parse(pattern, out _groupNames);
        _globs = Glob.Of(_tree);
        if (_globs is null)
        {
            _regex = Compile();
            Prefix = Glob.PrefixOf(_tree);
            return;
        }

        Prefix = Glob.CommonPrefix(_globs);
        if (_globs.All(glob => glob.IsLiteral))
        {
            SetMatches = [.. _globs.Select(glob => glob.Start).Distinct(StringComparer.Ordinal)];
            _set = SetMatches.Count > 4 ? new(SetMatches, StringComparer.Ordinal) : null;
        }
    }

    public string Pattern { get; }

    /// <summary>All texts that match, each once, when they are few enough to list; otherwise null.</summary>
    public IReadOnlyList<string>? SetMatches { get; }

    /// <summary>What every text that matches begins with; may be empty.</summary>
    public string Prefix { get; }

    public bool Matches(string value)
    {
        if (_set is not null)
        {
            return _set.Contains(value);
        }

        if (_globs is null)
        {
            return _regex!.IsMatch(value);
        }

        foreach (var glob in _globs)
        {
            if (glob.Matches(value))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// <paramref name="template"/> with its references (<c>$1</c>, <c>${1}</c>, <c>$name</c>, <c>${name}</c>, <c>$$</c>) replaced by what
    /// the groups matched in <paramref name="value"/>; a reference to what is not there is the empty text.
    /// </summary>
    /// <returns>False when the value does not match.</returns>
    public bool TryReplace(string value, string template, [NotNullWhen(true)] out string? replaced)
    {
        // Two threads may both compile; either result is as good.
        var match = (_regex ??= Compile()).Match(value);
        replaced = match.Success ? Expand(match, template) : null;
        return match.Success;
    }

    private Regex Compile()
    {
        try
        {
            return new Regex(Re2.ForDotNet(_tree), RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);
        }
        catch (Exception error) when (error is ArgumentException or NotSupportedException)
        {
            throw new ArgumentException($"error parsing regexp: expression is too large: `{(Pattern.Length <= 100 ? Pattern : Pattern[..100] + "…")}`", error);
        }
    }

    private string Expand(Match match, string template)
    {
        var text = new StringBuilder();
        var rest = template.AsSpan();
        while (rest.IndexOf('$') is var dollar and >= 0)
        {
            text.Append(rest[..dollar]);
            rest = rest[(dollar + 1)..];
            if (rest is ['$', ..])
            {
                text.Append('$');
                rest = rest[1..];
                continue;
            }

            var braced = rest is ['{', ..];
            var inner = braced ? rest[1..] : rest;
            var length = 0;
            while (length < inner.Length && (char.IsLetterOrDigit(inner[length]) || inner[length] == '_'))
            {
                length++;
            }

            if (length == 0 || (braced && (length == inner.Length || inner[length] != '}')))
            {
                // No reference: a dollar as it stands.
                text.Append('$');
                continue;
            }

            var name = inner[..length];
            rest = inner[(braced ? length + 1 : length)..];
            text.Append(ValueOf(match, name.ToString()));
        }

        return text.Append(rest).ToString();
    }

    private string ValueOf(Match match, string reference)
    {
        if (!reference.AsSpan().ContainsAnyExceptInRange('0', '9'))
        {
            return int.TryParse(reference, out var number) ? match.Groups[number].Value : "";
        }

        foreach (var named in _groupNames.GetValueOrDefault(reference) ?? [])
        {
            // Of several groups with the name, the first that took part.
            if (match.Groups[named] is { Success: true } group)
            {
                return group.Value;
            }
        }

        return "";
    }
}

/// <summary>Literals with gaps between them: <c>start.*middle.+end</c>. Whatever stands in a gap is accepted.</summary>
internal sealed class Glob
{
    // Each alternative is tried in turn, so there should not be many; a set of literals is one look-up.
    private const int MaxAlternatives = 64;
    private const int MaxLiterals = 4096;
    private const int Budget = 1_000_000;
    private const int MaxClass = 16;

    // One literal more than gaps.
    private readonly string[] _literals;
    private readonly bool[] _atLeastOne;
    private readonly int _minLength;

    private Glob(string[] literals, bool[] atLeastOne)
    {
        _literals = literals;
        _atLeastOne = atLeastOne;
        _minLength = literals.Sum(literal => literal.Length) + atLeastOne.Count(one => one);
    }

    public bool IsLiteral => _literals.Length == 1;

    public string Start => _literals[0];

    public bool Matches(string value)
    {
        if (IsLiteral)
        {
            return value == _literals[0];
        }

        var end = _literals[^1];
        if (value.Length < _minLength || !value.StartsWith(_literals[0], StringComparison.Ordinal) || !value.EndsWith(end, StringComparison.Ordinal))
        {
            return false;
        }

        // Each literal at its first place leaves the most room for the others.
        var rest = value.AsSpan(_literals[0].Length..(value.Length - end.Length));
        for (var index = 1; index < _literals.Length - 1; index++)
        {
            var skip = _atLeastOne[index - 1] ? 1 : 0;
            var at = rest.Length < skip ? -1 : rest[skip..].IndexOf(_literals[index], StringComparison.Ordinal);
            if (at < 0)
            {
                return false;
            }

            rest = rest[(skip + at + _literals[index].Length)..];
        }

        return rest.Length >= (_atLeastOne[^1] ? 1 : 0);
    }

    /// <summary>The pattern as alternatives; null when it is something else, or they are too many.</summary>
    public static Glob[]? Of(Re re)
    {
        var budget = Budget;
        var alternatives = Expand(WithoutAnchors(re, left: true, right: true), ref budget);
        return alternatives is null || (alternatives.Count > MaxAlternatives && alternatives.Any(pieces => pieces.Any(piece => piece.Literal is null)))
            ? null
            : [.. alternatives.Select(Build)];
    }

    public static string CommonPrefix(IReadOnlyList<Glob> globs)
    {
        var prefix = globs.Count == 0 ? "" : globs[0].Start.AsSpan();
        foreach (var glob in globs)
        {
            prefix = prefix[..prefix.CommonPrefixLength(glob.Start)];
        }

        return prefix.ToString();
    }

    /// <summary>The literal at the start of a pattern that is no list of alternatives.</summary>
    public static string PrefixOf(Re re)
    {
        var text = new StringBuilder();
        Lead(WithoutAnchors(re, left: true, right: false), text);
        return text.ToString();
    }

    // Appends what the part begins with; false when there is more to it than that.
    private static bool Lead(Re re, StringBuilder text)
    {
        switch (re)
        {
            case Re.Sequence sequence:
                return sequence.Parts.All(part => Lead(part, text));
            case Re.Group group:
                return Lead(group.Part, text);
            case Re.Set { Ranges: [var (from, to)] } when from == to:
                text.Append(TextOf(from));
                return true;
            case Re.Repeat { Min: >= 1 } repeat:
                _ = Lead(repeat.Part, text);
                return false;
            case Re.Choice choice:
                var prefixes = choice.Options.Select(PrefixOf).ToArray();
                var common = prefixes[0].AsSpan();
                foreach (var prefix in prefixes)
                {
                    common = common[..common.CommonPrefixLength(prefix)];
                }

                text.Append(common);
                return false;
            default:
                return false;
        }
    }

    private readonly record struct Piece(string? Literal, bool AtLeastOne);

    private static Glob Build(List<Piece> pieces)
    {
        var literals = new List<string> { "" };
        var gaps = new List<bool>();
        foreach (var piece in pieces)
        {
            if (piece.Literal is { } literal)
            {
                literals[^1] += literal;
            }
            else
            {
                gaps.Add(piece.AtLeastOne);
                literals.Add("");
            }
        }

        return new([.. literals], [.. gaps]);
    }

    // The whole text is matched anyway: ^ at the start and $ at the end say nothing new.
    private static Re WithoutAnchors(Re re, bool left, bool right) => re switch
    {
        Re.Assertion { DotNet: @"\A" } when left => new Re.Sequence([]),
        Re.Assertion { DotNet: @"\z" } when right => new Re.Sequence([]),
        Re.Group group => new Re.Group(WithoutAnchors(group.Part, left, right), group.Number),
        Re.Choice choice => new Re.Choice([.. choice.Options.Select(option => WithoutAnchors(option, left, right))]),
        Re.Sequence { Parts: { Count: > 0 } parts } => new Re.Sequence(
            [.. parts.Select((part, index) => WithoutAnchors(part, left && index == 0, right && index == parts.Count - 1))]),
        _ => re,
    };

    // The budget is characters and pieces written so far, thrown away or not: it bounds the time that any pattern takes.
    private static List<List<Piece>>? Expand(Re re, ref int budget)
    {
        switch (re)
        {
            case Re.Group group:
                return Expand(group.Part, ref budget);
            case Re.Sequence sequence:
                return ExpandSequence(sequence.Parts, ref budget);
            case Re.Choice choice:
                var all = new List<List<Piece>>();
                foreach (var option in choice.Options)
                {
                    if (Expand(option, ref budget) is not { } options || all.Count + options.Count > MaxLiterals)
                    {
                        return null;
                    }

                    all.AddRange(options);
                }

                return all;
            case Re.Set set:
                return set.Ranges.Sum(range => range.To - range.From + 1) > MaxClass
                    ? null
                    : [.. set.Ranges.SelectMany(range => Enumerable.Range(range.From, range.To - range.From + 1)).Select(rune => new List<Piece> { new(TextOf(rune), false) })];
            case Re.Repeat { Part: Re.Set { IsAny: true }, Max: -1, Min: <= 1 } gap:
                return [[new(null, gap.Min == 1)]];
            case Re.Repeat { Min: 0, Max: 1 } optional:
                return Expand(optional.Part, ref budget) is { } present ? [[], .. present] : null;
            case Re.Repeat repeat when repeat.Min == repeat.Max && repeat.Max <= 64:
                return ExpandSequence([.. Enumerable.Repeat(repeat.Part, repeat.Max)], ref budget);
            default:
                return null;
        }
    }

    private static List<List<Piece>>? ExpandSequence(IReadOnlyList<Re> parts, ref int budget)
    {
        List<List<Piece>>? joined = [[]];
        var literal = new StringBuilder();
        for (var index = 0; index <= parts.Count && joined is not null; index++)
        {
            var part = index < parts.Count ? parts[index] : null;
            if (part is Re.Set { Ranges: [var (from, to)] } && from == to)
            {
                literal.Append(TextOf(from));
                continue;
            }

            if (literal.Length > 0)
            {
                joined = Join(joined, [[new(literal.ToString(), false)]], ref budget);
                literal.Clear();
            }

            if (part is not null && joined is not null)
            {
                joined = Expand(part, ref budget) is { } options ? Join(joined, options, ref budget) : null;
            }
        }

        return joined;
    }

    private static List<List<Piece>>? Join(List<List<Piece>> heads, List<List<Piece>> tails, ref int budget)
    {
        if (heads.Count * (long)tails.Count > MaxLiterals)
        {
            return null;
        }

        var joined = new List<List<Piece>>(heads.Count * tails.Count);
        foreach (var head in heads)
        {
            foreach (var tail in tails)
            {
                var pieces = new List<Piece>(head.Count + tail.Count);
                pieces.AddRange(head);
                foreach (var piece in tail)
                {
                    switch (pieces.Count > 0 ? pieces[^1] : (Piece?)null, piece)
                    {
                        case ({ Literal: { } before }, { Literal: { } after }):
                            pieces[^1] = new(before + after, false);
                            break;
                        case ({ Literal: null, AtLeastOne: true }, { Literal: null, AtLeastOne: true }):
                            // They need two characters between them, which a gap cannot say.
                            return null;
                        case ({ Literal: null } before, { Literal: null } after):
                            pieces[^1] = new(null, before.AtLeastOne || after.AtLeastOne);
                            break;
                        default:
                            pieces.Add(piece);
                            break;
                    }
                }

                foreach (var piece in pieces)
                {
                    budget -= 1 + (piece.Literal?.Length ?? 0);
                }

                if (budget < 0)
                {
                    return null;
                }

                joined.Add(pieces);
            }
        }

        return joined;
    }

    // Half a surrogate stands for a byte that was no UTF-8.
    private static string TextOf(int rune) => Rune.IsValid(rune) ? char.ConvertFromUtf32(rune) : ((char)rune).ToString();
}
