using System.Buffers;
using System.Text;

namespace Platform.ServiceDefaults;

/// <summary>
/// Takes secrets and personal data out of text that leaves the process as a log: passwords, tokens, keys, cookies, credentials in URLs and headers, card numbers, e-mail addresses.
/// Every search runs forward over the text once, so no input makes it slow. Text without findings is returned as it is.
/// </summary>
public static class Redaction
{
    public const string Mark = "[redacted]";
    public const string EmailMark = "[email]";
    public const string CardMark = "[card]";

    /// <summary>Longest name looked at before a value.</summary>
    private const int MaxName = 64;

    // In lower case, without separators. Long enough not to be met inside ordinary words.
    private static readonly string[] SensitiveParts =
        ["password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "accesskey", "accountkey", "privatekey", "masterkey", "adminkey", "ingestkey", "signingkey", "encryptionkey", "authorization", "cookie", "credential", "connectionstring"];

    private static readonly string[] SensitiveWords = ["key", "pass", "auth", "jwt", "bearer", "otp", "pin", "cvv", "cvc", "sid", "cardnumber"];

    private static readonly SearchValues<char> Assignments = SearchValues.Create("=:");
    private static readonly SearchValues<char> Digits = SearchValues.Create("0123456789");
    private static readonly SearchValues<char> ValueEnds = SearchValues.Create(" \t\r\n,;&\"'<>()[]{}|");
    private static readonly SearchValues<char> TokenCharacters = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=");

    // What needs no name before it to be a secret: the start says so.
    private static readonly (string Start, int MinLength)[] TokenStarts =
    [
        ("eyJ", 20), ("sk_live_", 12), ("sk_test_", 12), ("ghp_", 20), ("gho_", 20), ("github_pat_", 20), ("glpat-", 20), ("xoxb-", 14), ("xoxp-", 14), ("AKIA", 20),
        ("whsec_", 16), ("CfDJ8", 20), ("hooks.slack.com/services/", 30),
    ];

    private static readonly SearchValues<string> TokenStart = SearchValues.Create([.. TokenStarts.Select(token => token.Start)], StringComparison.Ordinal);
    private static readonly SearchValues<string> Scheme = SearchValues.Create(["Bearer ", "Basic "], StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether a field of this name is never shown, whatever its value looks like.</summary>
    public static bool IsSensitive(ReadOnlySpan<char> name)
    {
        Span<char> plain = stackalloc char[MaxName];
        var length = 0;
        foreach (var c in name.Length > MaxName ? name[^MaxName..] : name)
        {
            if (char.IsLetterOrDigit(c))
            {
                plain[length++] = char.ToLowerInvariant(c);
            }
        }

        ReadOnlySpan<char> word = plain[..length];
        if (word.EndsWith("cancellationtoken"))
        {
            return false;
        }

        foreach (var part in SensitiveParts)
        {
            if (word.Contains(part, StringComparison.Ordinal))
            {
                return true;
            }
        }

        foreach (var whole in SensitiveWords)
        {
            if (word.SequenceEqual(whole))
            {
                return true;
            }
        }

        return false;
    }

    public static string Text(string text)
    {
        List<Finding>? findings = null;
        FindAssignments(text, ref findings);
        FindSchemes(text, ref findings);
        FindTokens(text, ref findings);
        FindAddresses(text, ref findings);
        FindCards(text, ref findings);
        return findings is null ? text : Replace(text, findings);
    }

    // password=x, "token": "x", Authorization: Bearer x, Cookie: a=b; c=d
    private static void FindAssignments(ReadOnlySpan<char> text, ref List<Finding>? findings)
    {
        for (var at = text.IndexOfAny(Assignments); at >= 0 && at < text.Length;)
        {
            var end = at + 1;
            var name = NameBefore(text, at);
            if (name.Length > 0 && IsSensitive(name))
            {
                var start = end;
                while (start < text.Length && text[start] is ' ' or '=' or '>')
                {
                    start++;
                }

                end = EndOfValue(text, ref start, name);
                if (end > start)
                {
                    Add(ref findings, start, end, Mark);
                }
            }

            var next = end < text.Length ? text[end..].IndexOfAny(Assignments) : -1;
            at = next < 0 ? -1 : end + next;
        }
    }

    private static ReadOnlySpan<char> NameBefore(ReadOnlySpan<char> text, int at)
    {
        var end = at;
        while (end > 0 && text[end - 1] is ' ' or '"' or '\'' or '\\')
        {
            end--;
        }

        var start = end;
        while (start > 0 && end - start < MaxName && (char.IsLetterOrDigit(text[start - 1]) || text[start - 1] is '_' or '-' or '.' or ' ' && IsConnectionStringWord(text[start..end])))
        {
            start--;
        }

        // "tags.password" and "Aspire.ApiKey" are about their last part.
        var name = text[start..end];
        return name[(name.LastIndexOf('.') + 1)..].Trim();
    }

    // "Access Key=…" and "API Key: …" are the names with a space in them.
    private static bool IsConnectionStringWord(ReadOnlySpan<char> word) => word.Equals("key", StringComparison.OrdinalIgnoreCase);

    private static int EndOfValue(ReadOnlySpan<char> text, ref int start, ReadOnlySpan<char> name)
    {
        var rest = text[start..];
        if (rest.IsEmpty)
        {
            return start;
        }

        // Headers go to the end of their line: a cookie has many parts, a credential two.
        if (rest[0] is not ('"' or '\'' or '\\') && (name.Contains("cookie", StringComparison.OrdinalIgnoreCase) || name.Contains("authorization", StringComparison.OrdinalIgnoreCase)))
        {
            var line = rest.IndexOfAny('\r', '\n', '"');
            return start + (line < 0 ? rest.Length : line);
        }

        var escaped = rest.Length > 1 && rest[0] == '\\';
        var quote = escaped ? rest[1] : rest[0];
        if (quote is '"' or '\'')
        {
            start += escaped ? 2 : 1;
            var at = start;
            while (at < text.Length && text[at] != quote)
            {
                at += text[at] == '\\' && !escaped ? 2 : 1;
            }

            at = Math.Min(at, text.Length);
            return escaped && at > start && text[at - 1] == '\\' ? at - 1 : at;
        }

        // A password may hold any of the characters that usually end a value, but then it is quoted, or in a connection string that ends it by a semicolon.
        var length = rest.IndexOfAny(ValueEnds);
        return start + (length < 0 ? rest.Length : length);
    }

    private static void FindSchemes(ReadOnlySpan<char> text, ref List<Finding>? findings)
    {
        for (var from = 0; text[from..].IndexOfAny(Scheme) is >= 0 and var found;)
        {
            var start = from + found + (text[from + found] is 'B' or 'b' && text[from + found + 1] is 'e' or 'E' ? "Bearer ".Length : "Basic ".Length);
            var length = LengthOf(text[start..]);

            // "basic example" is English; a credential is longer.
            if (length >= 8 && (found + from == 0 || !char.IsLetterOrDigit(text[from + found - 1])) && LooksRandom(text.Slice(start, length)))
            {
                Add(ref findings, start, start + length, Mark);
            }

            from = start + length;
        }
    }

    private static void FindTokens(ReadOnlySpan<char> text, ref List<Finding>? findings)
    {
        for (var from = 0; text[from..].IndexOfAny(TokenStart) is >= 0 and var found;)
        {
            var start = from + found;
            var length = LengthOf(text[start..]);
            foreach (var token in TokenStarts)
            {
                if (length >= token.MinLength && text[start..].StartsWith(token.Start, StringComparison.Ordinal) && (start == 0 || !char.IsLetterOrDigit(text[start - 1])))
                {
                    Add(ref findings, start, start + length, Mark);
                    break;
                }
            }

            from = start + Math.Max(1, length);
        }
    }

    // One pass over the @ signs finds both: amqp://user:password@host, and people.
    private static void FindAddresses(ReadOnlySpan<char> text, ref List<Finding>? findings)
    {
        var done = 0;
        for (var at = text.IndexOf('@'); at >= 0;)
        {
            var start = at;
            while (start > done && IsLocal(text[start - 1]))
            {
                start--;
            }

            if (UserInfo(text, done, at) is { } password)
            {
                Add(ref findings, password, at, Mark);
            }
            else if (start < at && EndOfDomain(text, at + 1) is var end && end > at)
            {
                Add(ref findings, start, end, EmailMark);
            }

            done = at + 1;
            var next = text[done..].IndexOf('@');
            at = next < 0 ? -1 : done + next;
        }
    }

    private static bool IsLocal(char c) => char.IsLetterOrDigit(c) || c is '.' or '_' or '%' or '+' or '-' or '!' or '#' or '$' or '*' or '^' or '~';

    private static int EndOfDomain(ReadOnlySpan<char> text, int start)
    {
        var end = start;
        while (end < text.Length && (char.IsLetterOrDigit(text[end]) || text[end] is '.' or '-'))
        {
            end++;
        }

        while (end > start && text[end - 1] is '.' or '-')
        {
            end--;
        }

        var domain = text[start..end];
        var dot = domain.LastIndexOf('.');
        return dot > 0 && domain.Length - dot > 2 && char.IsLetter(domain[^1]) ? end : -1;
    }

    // Where the password starts in scheme://user:password@host.
    private static int? UserInfo(ReadOnlySpan<char> text, int from, int at)
    {
        var before = text[from..at];
        var scheme = before.LastIndexOf("://");
        if (scheme < 0 || before[scheme..].IndexOfAny(' ', '\n', '\t') >= 0)
        {
            return null;
        }

        var authority = before[(scheme + 3)..];
        var colon = authority.IndexOf(':');
        return colon >= 0 && authority.IndexOf('/') < 0 && authority.Length > colon + 1 ? at - authority.Length + colon + 1 : null;
    }

    private static void FindCards(ReadOnlySpan<char> text, ref List<Finding>? findings)
    {
        var from = 0;
        while (from < text.Length && text[from..].IndexOfAny(Digits) is >= 0 and var found)
        {
            var start = from + found;
            var end = start;
            while (end < text.Length && (char.IsAsciiDigit(text[end]) || (text[end] is ' ' or '-' && end + 1 < text.Length && char.IsAsciiDigit(text[end + 1]))))
            {
                end++;
            }

            if (end - start >= 13 && IsAlone(text, start, end))
            {
                FindCardsIn(text, start, end, ref findings);
            }

            from = Math.Max(end, start + 1);
        }
    }

    // Digits inside identifiers, hashes, decimals, versions and times are not card numbers.
    private static bool IsAlone(ReadOnlySpan<char> text, int start, int end) =>
        (start == 0 || !(char.IsLetterOrDigit(text[start - 1]) || text[start - 1] is '_' or '-' || (text[start - 1] is '.' or ':' && start > 1 && char.IsAsciiDigit(text[start - 2]))))
        && (end == text.Length || !(char.IsLetterOrDigit(text[end]) || text[end] is '_' || (text[end] is '.' or ':' or '-' && end + 1 < text.Length && char.IsLetterOrDigit(text[end + 1]))));

    // A run such as "17 4111 1111 1111 1111 200" holds numbers around the card. Groups are at most 19 digits long, so each start looks at few ends.
    private static void FindCardsIn(ReadOnlySpan<char> text, int start, int end, ref List<Finding>? findings)
    {
        for (var first = start; first < end;)
        {
            var match = -1;
            for (var stop = NextGroupEnd(text, first, end); stop > 0 && stop - first <= 23; stop = NextGroupEnd(text, stop + 1, end))
            {
                if (IsCard(text[first..stop]))
                {
                    match = stop;
                }
            }

            if (match > 0)
            {
                Add(ref findings, first, match, CardMark);
                first = match + 1;
            }
            else
            {
                first = NextGroupEnd(text, first, end) + 1;
            }
        }
    }

    private static int NextGroupEnd(ReadOnlySpan<char> text, int from, int end)
    {
        if (from >= end)
        {
            return -1;
        }

        var length = text[from..end].IndexOfAny(' ', '-');
        return length < 0 ? end : from + length;
    }

    private static bool IsCard(ReadOnlySpan<char> text)
    {
        Span<int> groups = stackalloc int[24];
        var (digits, sum, group) = (0, 0, 0);

        // Luhn: from the right, every second digit doubled, digits of the doubles added.
        for (var at = text.Length - 1; at >= 0; at--)
        {
            if (!char.IsAsciiDigit(text[at]))
            {
                group++;
                continue;
            }

            groups[group]++;
            var digit = text[at] - '0';
            var weighted = digits++ % 2 == 0 ? digit : digit * 2;
            sum += weighted > 9 ? weighted - 9 : weighted;
        }

        return digits is >= 13 and <= 19 && sum % 10 == 0 && IsIssuer(text) && IsCardGrouping(groups[..(group + 1)]);
    }

    // The industry digits of payment cards. Times in milliseconds to nanoseconds start with 1.
    private static bool IsIssuer(ReadOnlySpan<char> text) => text[0] is >= '3' and <= '6' || (text[0] == '2' && text[1] is >= '2' and <= '7');

    // Right to left, as counted: one run, or 4-4-4-4 and its 19-digit form, or 4-6-5 and 4-6-4.
    private static bool IsCardGrouping(ReadOnlySpan<int> groups) => groups switch
    {
        [_] => true,
        [<= 4, 4, 4, 4] => true,
        [<= 3, 4, 4, 4, 4] => true,
        [4 or 5, 6, 4] => true,
        _ => false,
    };

    private static int LengthOf(ReadOnlySpan<char> text)
    {
        var length = text.IndexOfAnyExcept(TokenCharacters);
        return length < 0 ? text.Length : length;
    }

    private static bool LooksRandom(ReadOnlySpan<char> text) => text.Length >= 16 || text.ContainsAny(Digits) || text.ContainsAny('=', '_', '.');

    private static void Add(ref List<Finding>? findings, int start, int end, string mark) => (findings ??= []).Add(new Finding(start, end, mark));

    private static string Replace(string text, List<Finding> findings)
    {
        findings.Sort((a, b) => a.Start != b.Start ? a.Start.CompareTo(b.Start) : b.End.CompareTo(a.End));
        var result = new StringBuilder(text.Length);
        var done = 0;
        foreach (var (start, end, mark) in findings)
        {
            // Overlaps: the first finding has spoken, what sticks out of it goes too.
            if (start >= done)
            {
                result.Append(text, done, start - done).Append(mark);
            }

            done = Math.Max(done, end);
        }

        return result.Append(text, done, text.Length - done).ToString();
    }

    private readonly record struct Finding(int Start, int End, string Mark);
}
