using System.Text;
using System.Text.RegularExpressions;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Routing;

/// <summary>
/// Matchers as Alertmanager and amtool write them: <c>severity=~"critical|high"</c>, alone or several in braces. Values may go without
/// quotes, names that are no words of Prometheus are written with them. Stored as text and read again for every alert: what
/// <see cref="Write(Matcher)"/> makes, <see cref="Parse"/> reads, whatever the name and the value. https://prometheus.io/docs/alerting/latest/configuration/#matcher
/// </summary>
public static partial class MatcherNotation
{
    private static readonly (string Text, MatchKind Kind)[] Operators =
        [("=~", MatchKind.Regex), ("!~", MatchKind.NotRegex), ("!=", MatchKind.NotEqual), ("=", MatchKind.Equal)];

    /// <summary>One matcher or several: <c>{a="1", b!="2"}</c>, <c>a="1",b!="2"</c>.</summary>
    /// <exception cref="FormatException">The message names the part that is wrong and what is expected.</exception>
    public static IReadOnlyList<Matcher> Parse(string text)
    {
        var inner = text.Trim();
        if (inner.StartsWith('{'))
        {
            inner = inner.EndsWith('}') ? inner[1..^1] : throw new FormatException($"\"{text}\" begins with a brace and does not end with one.");
        }

        return [.. Split(inner).Select(ParseOne)];
    }

    public static string Write(Matcher matcher)
    {
        var sign = Operators.First(known => known.Kind == matcher.Kind).Text;
        return $"{Name(matcher.Name)}{sign}{Quote(matcher.Value)}";
    }

    /// <summary>The first of the matchers that would not be read as it is written, so that it must not be stored; null when all are good.</summary>
    public static Matcher? FindUnreadable(IEnumerable<Matcher> matchers) => matchers.FirstOrDefault(matcher =>
    {
        try
        {
            return !Parse(Write(matcher)).SequenceEqual([matcher]);
        }
        catch (FormatException)
        {
            return true;
        }
    });

    /// <summary>A label set as Alertmanager prints it: <c>{alertname="Down", host="a"}</c>.</summary>
    public static string Write(Labels labels) =>
        $"{{{string.Join(", ", Enumerable.Range(0, labels.Count).Select(at => $"{Name(labels.NameAt(at))}={Quote(labels.ValueAt(at))}"))}}}";

    public static bool AllMatch(this IReadOnlyList<Matcher> matchers, Labels labels)
    {
        foreach (var matcher in matchers)
        {
            if (!matcher.Matches(labels[matcher.Name]))
            {
                return false;
            }
        }

        return true;
    }

    private static string Name(string name) => PlainName().IsMatch(name) ? name : Quote(name);

    private static string Quote(string value) =>
        $"\"{value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)}\"";

    private static Matcher ParseOne(string text)
    {
        var trimmed = text.Trim();
        if (!ReferenceEquals(StorableText.Clean(trimmed), trimmed))
        {
            throw new FormatException($"\"{StorableText.Clean(trimmed)}\" holds U+0000 or half of a character, which no label does.");
        }

        var at = trimmed.IndexOfAny(['=', '!'], trimmed.StartsWith('"') ? AfterQuotes(trimmed) : 0);
        var found = at <= 0 ? default : Operators.FirstOrDefault(known => string.CompareOrdinal(trimmed, at, known.Text, 0, known.Text.Length) == 0);
        if (found.Text is null)
        {
            throw new FormatException($"\"{trimmed}\" is no matcher; expected name=\"value\" with one of = != =~ !~.");
        }

        var name = trimmed[..at].Trim();
        var isQuoted = name.StartsWith('"');
        name = isQuoted ? Unquote(name) : name;
        if (name.Length == 0 || (!isQuoted && name.Any(letter => char.IsWhiteSpace(letter) || letter is '"' or '{' or '}')))
        {
            throw new FormatException($"\"{name}\" in \"{trimmed}\" is no label name.");
        }

        var value = trimmed[(at + found.Text.Length)..].Trim();
        try
        {
            return new Matcher(name, found.Kind, value.StartsWith('"') ? Unquote(value) : value);
        }
        catch (ArgumentException error)
        {
            throw new FormatException($"\"{trimmed}\": {error.Message}", error);
        }
    }

    /// <summary>Parts between commas that stand outside of quotes; a comma at the end is allowed.</summary>
    private static IEnumerable<string> Split(string text)
    {
        var quoted = false;
        var from = 0;
        for (var at = 0; at < text.Length; at++)
        {
            if (text[at] == '\\' && quoted)
            {
                at++;
            }
            else if (text[at] == '"')
            {
                quoted = !quoted;
            }
            else if (text[at] == ',' && !quoted)
            {
                yield return text[from..at];
                from = at + 1;
            }
        }

        if (quoted)
        {
            throw new FormatException($"\"{text}\" has a quotation mark that is not closed.");
        }

        if (text[from..].Trim().Length > 0)
        {
            yield return text[from..];
        }
    }

    /// <summary>The place behind the text in quotation marks with which this one begins; its end when they are not closed.</summary>
    private static int AfterQuotes(string text)
    {
        for (var at = 1; at < text.Length; at++)
        {
            if (text[at] == '\\')
            {
                at++;
            }
            else if (text[at] == '"')
            {
                return at + 1;
            }
        }

        return text.Length;
    }

    [GeneratedRegex("^[a-zA-Z_:][a-zA-Z0-9_:]*\\z")]
    private static partial Regex PlainName();

    private static string Unquote(string text)
    {
        if (text.Length < 2 || text[^1] != '"')
        {
            throw new FormatException($"{text} has a quotation mark that is not closed.");
        }

        var value = new StringBuilder(text.Length);
        for (var at = 1; at < text.Length - 1; at++)
        {
            var c = text[at];
            if (c == '\\' && at + 1 < text.Length - 1)
            {
                c = text[++at] switch { 'n' => '\n', 't' => '\t', 'r' => '\r', var other => other };
            }

            value.Append(c);
        }

        return value.ToString();
    }
}
