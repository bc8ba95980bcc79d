using System.Collections.Frozen;
using System.Globalization;
using System.Text;

namespace Platform.PromQL;

internal enum TokenKind
{
    End,
    Identifier,

    /// <summary>A name with a colon, which only metrics may have.</summary>
    MetricIdentifier,
    Number,
    Duration,
    Text,

    LeftParenthesis,
    RightParenthesis,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,

    Assign,
    MatchesRegex,
    MatchesNotRegex,
    NotEqual,

    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
    Equal,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    And,
    Or,
    Unless,
    At,

    /// <summary>Which one is found by <see cref="Lexer.AggregateOf"/>.</summary>
    Aggregate,

    Bool,
    By,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Without,

    Start,
    End_,
}

internal readonly record struct Token(TokenKind Kind, int From, int To);

/// <summary>
/// Cuts the text of an expression into tokens, one at each call. What a character means depends on where it stands (names inside braces
/// are never keywords, a colon inside brackets is the step of a subquery), and the lexer keeps track of that itself.
/// </summary>
internal struct Lexer(string text)
{
    private static readonly FrozenDictionary<string, TokenKind> s_keywords = new Dictionary<string, TokenKind>
    {
        ["and"] = TokenKind.And,
        ["or"] = TokenKind.Or,
        ["unless"] = TokenKind.Unless,
        ["atan2"] = TokenKind.Atan2,
        ["bool"] = TokenKind.Bool,
        ["by"] = TokenKind.By,
        ["group_left"] = TokenKind.GroupLeft,
        ["group_right"] = TokenKind.GroupRight,
        ["ignoring"] = TokenKind.Ignoring,
        ["offset"] = TokenKind.Offset,
        ["on"] = TokenKind.On,
        ["without"] = TokenKind.Without,
        ["start"] = TokenKind.Start,
        ["end"] = TokenKind.End_,
        ["inf"] = TokenKind.Number,
        ["nan"] = TokenKind.Number,
    }.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);

    private static readonly FrozenDictionary<string, TokenKind>.AlternateLookup<ReadOnlySpan<char>> s_keywordLookup =
        s_keywords.GetAlternateLookup<ReadOnlySpan<char>>();

    private static readonly FrozenDictionary<string, AggregateOperator> s_aggregates = Enum.GetValues<AggregateOperator>()
        .ToFrozenDictionary(Printer.NameOf, StringComparer.OrdinalIgnoreCase);

    private static readonly FrozenDictionary<string, AggregateOperator>.AlternateLookup<ReadOnlySpan<char>> s_aggregateLookup =
        s_aggregates.GetAlternateLookup<ReadOnlySpan<char>>();

    private int _at;
    private int _parentheses;
    private bool _inBraces;
    private bool _inBrackets;

    /// <summary>The operator that a token of <see cref="TokenKind.Aggregate"/> names.</summary>
    public static AggregateOperator AggregateOf(ReadOnlySpan<char> name) => s_aggregateLookup[name];

    /// <summary>Letters, digits and underscores, not a digit first: what needs no quotes.</summary>
    public static bool IsPlainLabel(ReadOnlySpan<char> name)
    {
        for (var index = 0; index < name.Length; index++)
        {
            if (!(IsLetter(name[index]) || (index > 0 && char.IsAsciiDigit(name[index]))))
            {
                return false;
            }
        }

        return name.Length > 0;
    }

    /// <summary>The next token; <see cref="TokenKind.End"/> at the end and from then on.</summary>
    /// <exception cref="QueryException">What stands here is no token, or the text ends inside brackets of any kind.</exception>
    public Token Next()
    {
        SkipBlanks();
        return _inBraces ? NextInBraces() : NextOutside();
    }

    private Token NextOutside()
    {
        var from = _at;
        if (_at == text.Length)
        {
            return _parentheses > 0 ? throw Error(from, "unclosed left parenthesis")
                : _inBrackets ? throw Error(from, "unclosed left bracket")
                : new Token(TokenKind.End, from, from);
        }

        var first = text[_at];
        switch (first)
        {
            case ',': return Take(TokenKind.Comma, 1);
            case '*': return Take(TokenKind.Multiply, 1);
            case '/': return Take(TokenKind.Divide, 1);
            case '%': return Take(TokenKind.Modulo, 1);
            case '+': return Take(TokenKind.Add, 1);
            case '-': return Take(TokenKind.Subtract, 1);
            case '^': return Take(TokenKind.Power, 1);
            case '@': return Take(TokenKind.At, 1);
            case '=':
                return Peek(1) switch
                {
                    '=' => Take(TokenKind.Equal, 2),
                    '~' => throw Error(from, "unexpected character after '=': '~'"),
                    _ => Take(TokenKind.Assign, 1),
                };
            case '!':
                return Peek(1) == '=' ? Take(TokenKind.NotEqual, 2) : throw Error(from, $"unexpected character after '!': {Quote(_at + 1)}");
            case '<': return Peek(1) == '=' ? Take(TokenKind.LessOrEqual, 2) : Take(TokenKind.Less, 1);
            case '>': return Peek(1) == '=' ? Take(TokenKind.GreaterOrEqual, 2) : Take(TokenKind.Greater, 1);
            case '"' or '\'' or '`': return TakeText();
            case '(':
                _parentheses++;
                return Take(TokenKind.LeftParenthesis, 1);
            case ')':
                if (_parentheses == 0)
                {
                    throw Error(from, "unexpected right parenthesis ')'");
                }

                _parentheses--;
                return Take(TokenKind.RightParenthesis, 1);
            case '{':
                _inBraces = true;
                return Take(TokenKind.LeftBrace, 1);
            case '[':
                if (_inBrackets)
                {
                    throw Error(from, "unexpected left bracket '['");
                }

                _inBrackets = true;
                return Take(TokenKind.LeftBracket, 1);
            case ']':
                if (!_inBrackets)
                {
                    throw Error(from, "unexpected right bracket ']'");
                }

                _inBrackets = false;
                return Take(TokenKind.RightBracket, 1);
            case ':' when _inBrackets:
                return Take(TokenKind.Colon, 1);
        }

        if (char.IsAsciiDigit(first) || (first == '.' && char.IsAsciiDigit(Peek(1))))
        {
            return TakeNumberOrDuration();
        }

        return IsLetter(first) || first == ':' ? TakeWord() : throw Error(from, $"unexpected character: {Quote(from)}");
    }

    private Token NextInBraces()
    {
        var from = _at;
        if (_at == text.Length)
        {
            throw Error(from, "unexpected end of input inside braces");
        }

        switch (text[_at])
        {
            case ',': return Take(TokenKind.Comma, 1);
            case '"' or '\'' or '`': return TakeText();
            case '=': return Peek(1) == '~' ? Take(TokenKind.MatchesRegex, 2) : Take(TokenKind.Assign, 1);
            case '!':
                return Peek(1) switch
                {
                    '~' => Take(TokenKind.MatchesNotRegex, 2),
                    '=' => Take(TokenKind.NotEqual, 2),
                    _ => throw Error(from, $"unexpected character after '!' inside braces: {Quote(_at + 1)}"),
                };
            case '{':
                throw Error(from, "unexpected left brace '{'");
            case '}':
                _inBraces = false;
                return Take(TokenKind.RightBrace, 1);
        }

        if (!IsLetter(text[_at]))
        {
            throw Error(from, $"unexpected character inside braces: {Quote(from)}");
        }

        while (_at < text.Length && IsLetterOrDigit(text[_at]))
        {
            _at++;
        }

        return new(TokenKind.Identifier, from, _at);
    }

    private Token TakeWord()
    {
        var from = _at;
        var colon = false;
        while (_at < text.Length && (IsLetterOrDigit(text[_at]) || (text[_at] == ':' && !_inBrackets)))
        {
            colon |= text[_at] == ':';
            _at++;
        }

        var word = text.AsSpan(from, _at - from);
        var kind = colon ? TokenKind.MetricIdentifier
            : s_keywordLookup.TryGetValue(word, out var keyword) ? keyword
            : s_aggregateLookup.ContainsKey(word) ? TokenKind.Aggregate
            : TokenKind.Identifier;
        return new(kind, from, _at);
    }

    private Token TakeNumberOrDuration()
    {
        var from = _at;
        if (TakeNumber())
        {
            return new(TokenKind.Number, from, _at);
        }

        // The digits are followed by a letter: a duration, or nothing that has a meaning.
        if (TakeUnits())
        {
            return new(TokenKind.Duration, from, _at);
        }

        while (_at < text.Length && IsLetterOrDigit(text[_at]))
        {
            _at++;
        }

        throw Error(from, $"bad number or duration syntax: {Printer.Quote(text[from.._at])}");
    }

    /// <summary>Digits with underscores between them, a fraction, an exponent; or hexadecimal digits after 0x.</summary>
    private bool TakeNumber()
    {
        if (text[_at] == '0' && Peek(1) is 'x' or 'X')
        {
            _at += 2;
            _ = TakeDigits(hexadecimal: true, leading: true);
            return EndsWord() && char.IsAsciiHexDigit(text[_at - 1]);
        }

        if (text[_at] != '.' && !TakeDigits(hexadecimal: false, leading: false))
        {
            return false;
        }

        if (Peek(0) == '.')
        {
            _at++;
            if (Peek(0) == '_' || (char.IsAsciiDigit(Peek(0)) && !TakeDigits(hexadecimal: false, leading: false)))
            {
                return false;
            }
        }

        if (Peek(0) is 'e' or 'E')
        {
            var sign = Peek(1) is '+' or '-' ? 1 : 0;
            if (!char.IsAsciiDigit(Peek(1 + sign)))
            {
                return false;
            }

            _at += 1 + sign;
            if (!TakeDigits(hexadecimal: false, leading: false))
            {
                return false;
            }
        }

        return EndsWord() && Peek(0) != '.';
    }

    private bool TakeDigits(bool hexadecimal, bool leading)
    {
        var digitBefore = leading;
        while (true)
        {
            var next = Peek(0);
            if (hexadecimal ? char.IsAsciiHexDigit(next) : char.IsAsciiDigit(next))
            {
                digitBefore = true;
            }
            else if (next != '_' || !digitBefore)
            {
                // An underscore separates digits: it is neither last nor doubled.
                return digitBefore;
            }
            else
            {
                digitBefore = false;
            }

            _at++;
        }
    }

    private bool TakeUnits()
    {
        do
        {
            while (char.IsAsciiDigit(Peek(0)))
            {
                _at++;
            }

            if (Peek(0) is not ('s' or 'm' or 'h' or 'd' or 'w' or 'y'))
            {
                return false;
            }

            _at += Peek(0) == 'm' && Peek(1) == 's' ? 2 : 1;
        }
        while (char.IsAsciiDigit(Peek(0)));

        return EndsWord();
    }

    private Token TakeText()
    {
        var from = _at;
        var quote = text[_at++];
        while (true)
        {
            if (_at == text.Length || (text[_at] == '\n' && quote != '`'))
            {
                throw Error(from, quote == '`' ? "unterminated raw string" : "unterminated quoted string");
            }

            var next = text[_at++];
            if (next == quote)
            {
                return new(TokenKind.Text, from, _at);
            }

            if (next == '\\' && quote != '`' && _at < text.Length && text[_at] != '\n')
            {
                // What the escape means, and whether it means anything, is seen when the text is needed.
                _at++;
            }
        }
    }

    private void SkipBlanks()
    {
        while (_at < text.Length)
        {
            if (text[_at] is ' ' or '\t' or '\n' or '\r')
            {
                _at++;
            }
            else if (text[_at] == '#')
            {
                while (_at < text.Length && text[_at] != '\n')
                {
                    _at++;
                }
            }
            else
            {
                return;
            }
        }
    }

    private Token Take(TokenKind kind, int length)
    {
        _at += length;
        return new(kind, _at - length, _at);
    }

    private readonly bool EndsWord() => _at == text.Length || !IsLetterOrDigit(text[_at]);

    private readonly char Peek(int ahead) => _at + ahead < text.Length ? text[_at + ahead] : '\0';

    private readonly string Quote(int at) =>
        at >= text.Length ? "end of input"
        : Rune.TryGetRuneAt(text, at, out var rune) ? $"'{(rune.Value == '\'' ? "\\'" : rune.ToString())}'"
        : $"'\\u{(int)text[at]:x4}'";

    private readonly QueryException Error(int from, string message) => Parser.Error(text, new(from, text.Length), message);

    private static bool IsLetter(char letter) => char.IsAsciiLetter(letter) || letter == '_';

    private static bool IsLetterOrDigit(char letter) => char.IsAsciiLetterOrDigit(letter) || letter == '_';
}

/// <summary>Literals between their written form and their value.</summary>
internal static class Literals
{
    /// <summary>Longest duration: what fits in 64 bits of nanoseconds, as in Prometheus; 292 years.</summary>
    public const double MaxSeconds = long.MaxValue / 1e9;

    /// <summary>The value of a number as the lexer accepted it; a leading zero makes an octal number, as in Go.</summary>
    public static double Number(ReadOnlySpan<char> written)
    {
        var digits = written.Length <= 64 ? stackalloc char[written.Length] : new char[written.Length];
        var length = 0;
        foreach (var letter in written)
        {
            if (letter != '_')
            {
                digits[length++] = letter;
            }
        }

        digits = digits[..length];
        if (digits is ['0', 'x' or 'X', ..])
        {
            // Past 64 bits by hand: the nearest double is what counts.
            var sum = 0d;
            foreach (var digit in digits[2..])
            {
                sum = sum * 16 + Convert.ToInt32(digit.ToString(), 16);
            }

            return sum;
        }

        if (digits is ['0', _, ..] && digits.IndexOfAnyExceptInRange('0', '7') < 0 && digits.Length <= 21)
        {
            var value = 0d;
            foreach (var digit in digits)
            {
                value = value * 8 + (digit - '0');
            }

            return value;
        }

        return char.ToLowerInvariant(digits[0]) switch
        {
            'i' => double.PositiveInfinity,
            'n' => double.NaN,
            _ => double.Parse(digits, NumberStyles.Float, CultureInfo.InvariantCulture),
        };
    }

    /// <summary>Seconds of a duration like <c>1h30m</c>: units from years to milliseconds, each at most once and in that order.</summary>
    /// <returns>Null when it is none.</returns>
    public static double? Duration(ReadOnlySpan<char> written)
    {
        ReadOnlySpan<(string Name, long Milliseconds)> units =
        [
            ("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
        ];
        var milliseconds = 0d;
        var unit = 0;
        while (written.Length > 0)
        {
            var digits = written.IndexOfAnyExceptInRange('0', '9');
            if (digits <= 0)
            {
                return null;
            }

            var rest = written[digits..];
            var letters = rest.IndexOfAnyInRange('0', '9') is var next and >= 0 ? next : rest.Length;
            while (unit < units.Length && !rest[..letters].SequenceEqual(units[unit].Name))
            {
                unit++;
            }

            if (unit == units.Length)
            {
                return null;
            }

            milliseconds += double.Parse(written[..digits], CultureInfo.InvariantCulture) * units[unit++].Milliseconds;
            written = rest[letters..];
        }

        return milliseconds / 1000;
    }

    /// <summary>
    /// The value of a quoted string with its escapes, which are those of Go. Bytes that are no UTF-8 become single surrogates from U+DC80
    /// to U+DCFF, so that nothing is lost and nothing passes for text that is not.
    /// </summary>
    /// <param name="at">Of the escape that has no meaning, within <paramref name="quoted"/>.</param>
    /// <returns>Null when an escape has no meaning.</returns>
    public static string? Unquote(ReadOnlySpan<char> quoted, out int at)
    {
        var quote = quoted[0];
        var inner = quoted[1..^1];
        at = 0;
        if (quote == '`' || !inner.Contains('\\'))
        {
            return inner.ToString();
        }

        var bytes = new List<byte>(inner.Length + 16);
        Span<byte> encoded = stackalloc byte[4];
        var index = 0;
        while (index < inner.Length)
        {
            at = index + 1;
            if (inner[index] != '\\')
            {
                var status = Rune.DecodeFromUtf16(inner[index..], out var rune, out var consumed);
                index += consumed;
                bytes.AddRange(encoded[..(status == System.Buffers.OperationStatus.Done ? rune : Rune.ReplacementChar).EncodeToUtf8(encoded)]);
                continue;
            }

            if (index + 1 == inner.Length)
            {
                return null;
            }

            var escape = inner[index + 1];
            index += 2;
            var plain = escape switch
            {
                'a' => '\a',
                'b' => '\b',
                'f' => '\f',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\v',
                '\\' => '\\',
                _ => escape == quote ? quote : '\0',
            };
            if (plain != '\0')
            {
                bytes.Add((byte)plain);
                continue;
            }

            var (digits, numberBase) = escape switch
            {
                'x' => (2, 16),
                'u' => (4, 16),
                'U' => (8, 16),
                >= '0' and <= '7' => (3, 8),
                _ => (0, 0),
            };
            if (numberBase == 8)
            {
                index--;
            }

            if (digits == 0 || index + digits > inner.Length)
            {
                return null;
            }

            var value = 0L;
            foreach (var digit in inner.Slice(index, digits))
            {
                var weight = char.IsAsciiHexDigit(digit) ? Convert.ToInt32(digit.ToString(), 16) : numberBase;
                if (weight >= numberBase)
                {
                    return null;
                }

                value = value * numberBase + weight;
            }

            index += digits;
            if (digits <= 3)
            {
                if (value > byte.MaxValue)
                {
                    return null;
                }

                bytes.Add((byte)value);
            }
            else if (value <= 0x10ffff && Rune.IsValid((int)value))
            {
                bytes.AddRange(encoded[..new Rune((int)value).EncodeToUtf8(encoded)]);
            }
            else
            {
                return null;
            }
        }

        return Decode(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(bytes));
    }

    /// <summary>Whether the string is text throughout, without bytes that were no UTF-8; only then it may be a label's name.</summary>
    public static bool IsText(string value)
    {
        for (var index = 0; index < value.Length;)
        {
            if (!Rune.TryGetRuneAt(value, index, out var rune))
            {
                return false;
            }

            index += rune.Utf16SequenceLength;
        }

        return true;
    }

    private static string Decode(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder(bytes.Length);
        while (bytes.Length > 0)
        {
            if (Rune.DecodeFromUtf8(bytes, out var rune, out var consumed) == System.Buffers.OperationStatus.Done)
            {
                text.Append(rune.ToString());
            }
            else
            {
                consumed = 1;
                text.Append((char)(0xdc00 + bytes[0]));
            }

            bytes = bytes[consumed..];
        }

        return text.ToString();
    }
}
