using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Templates;

/// <summary>A function was called with what it cannot take. Becomes a <see cref="TemplateException"/> with a place.</summary>
public sealed class TemplateFunctionException(string message) : Exception(message);

/// <summary>
/// The functions of templates: those built into Go's text/template and those that Prometheus documents
/// (https://prometheus.io/docs/prometheus/latest/configuration/template_reference/).
/// </summary>
/// <param name="query">Answers an instant query at the time of evaluation: labels and value of each series.</param>
/// <param name="externalUrl">Under which people reach the platform.</param>
/// <param name="now">Time of evaluation.</param>
public sealed class TemplateFunctions(
    Func<string, IReadOnlyList<(IReadOnlyDictionary<string, string> Labels, double Value)>> query, Uri externalUrl, DateTimeOffset now)
{
    private static readonly TimeSpan RegexTimeout = TimeSpan.FromSeconds(1);

    private static readonly Dictionary<string, (int Least, int Most)> Arity = new()
    {
        ["and"] = (1, 99),
        ["or"] = (1, 99),
        ["not"] = (1, 1),
        ["len"] = (1, 1),
        ["index"] = (1, 99),
        ["slice"] = (1, 4),
        ["print"] = (0, 99),
        ["println"] = (0, 99),
        ["printf"] = (1, 99),
        ["html"] = (0, 99),
        ["js"] = (0, 99),
        ["urlquery"] = (0, 99),
        ["eq"] = (2, 99),
        ["ne"] = (2, 2),
        ["lt"] = (2, 2),
        ["le"] = (2, 2),
        ["gt"] = (2, 2),
        ["ge"] = (2, 2),
        ["query"] = (1, 1),
        ["first"] = (1, 1),
        ["label"] = (2, 2),
        ["value"] = (1, 1),
        ["strvalue"] = (1, 1),
        ["sortByLabel"] = (2, 2),
        ["args"] = (0, 99),
        ["tmpl"] = (2, 2),
        ["safeHtml"] = (1, 1),
        ["match"] = (2, 2),
        ["reReplaceAll"] = (3, 3),
        ["title"] = (1, 1),
        ["toUpper"] = (1, 1),
        ["toLower"] = (1, 1),
        ["graphLink"] = (1, 1),
        ["tableLink"] = (1, 1),
        ["stripPort"] = (1, 1),
        ["stripDomain"] = (1, 1),
        ["humanize"] = (1, 1),
        ["humanize1024"] = (1, 1),
        ["humanizeDuration"] = (1, 1),
        ["humanizePercentage"] = (1, 1),
        ["humanizeTimestamp"] = (1, 1),
        ["toTime"] = (1, 1),
        ["toDuration"] = (1, 1),
        ["now"] = (0, 0),
        ["parseDuration"] = (1, 1),
        ["pathPrefix"] = (0, 0),
        ["externalURL"] = (0, 0),
        ["urlQueryEscape"] = (1, 1),
    };

    /// <summary>Every name that a template may call.</summary>
    public static IReadOnlyCollection<string> Names => Arity.Keys;

    /// <exception cref="TemplateFunctionException">Wrong number or kind of arguments, the function failed, or the budget of the run is spent.</exception>
    internal object? Call(string name, IReadOnlyList<object?> arguments, TemplateBudget budget)
    {
        var (least, most) = Arity[name];
        if (arguments.Count < least || arguments.Count > most)
        {
            throw new TemplateFunctionException($"wrong number of args: want {(least == most ? least : $"at least {least}")} got {arguments.Count}");
        }

        // Reading counts as well as making: what works on long texts again and again must come to an end, too.
        foreach (var argument in arguments)
        {
            budget.Spend(argument is string text ? text.Length : 1);
        }

        return name switch
        {
            "not" => !IsTrue(arguments[0]),
            "len" => Length(arguments[0]),
            "index" => arguments.Skip(1).Aggregate(arguments[0], Index),
            "slice" => Slice(arguments),
            "print" => PrintAll(arguments, budget),
            "println" => PrintLine(arguments, budget),
            "printf" => GoFormat.Printf(TextOf(arguments[0]), arguments.Skip(1).ToList(), budget),
            "html" => budget.Take(Html(PrintAll(arguments, budget))),
            "js" => budget.Take(Script(PrintAll(arguments, budget))),
            "urlquery" or "urlQueryEscape" => budget.Take(QueryEscape(PrintAll(arguments, budget))),
            "eq" => arguments.Skip(1).Any(other => Same(arguments[0], other)),
            "ne" => !Same(arguments[0], arguments[1]),
            "lt" => Compare(arguments[0], arguments[1]) < 0,
            "le" => Compare(arguments[0], arguments[1]) <= 0,
            "gt" => Compare(arguments[0], arguments[1]) > 0,
            "ge" => Compare(arguments[0], arguments[1]) >= 0,
            "query" => Samples(query(TextOf(arguments[0])), budget),
            "first" => ListOf(arguments[0]) is [var first, ..] ? first : throw new TemplateFunctionException("first() called on vector with no elements"),
            "label" => LabelOf(arguments[1], TextOf(arguments[0]), budget),
            "value" => MapOf(arguments[0]).GetValueOrDefault("Value"),
            "strvalue" => LabelOf(arguments[0], "__value__", budget),
            "sortByLabel" => ListOf(arguments[1]).OrderBy(sample => LabelOf(sample, TextOf(arguments[0]), budget), StringComparer.Ordinal).ToList(),
            "args" => TemplateArguments.Of(arguments, budget),
            "safeHtml" => TextOf(arguments[0]),
            "match" => Pattern(TextOf(arguments[0])).IsMatch(TextOf(arguments[1])),
            "reReplaceAll" => Replace(TextOf(arguments[0]), TextOf(arguments[1]), TextOf(arguments[2]), budget),
            "title" => Title(TextOf(arguments[0])),
            "toUpper" => TextOf(arguments[0]).ToUpperInvariant(),
            "toLower" => TextOf(arguments[0]).ToLowerInvariant(),
            "graphLink" => budget.Take($"/graph?g0.expr={QueryEscape(TextOf(arguments[0]))}&g0.tab=0"),
            "tableLink" => budget.Take($"/graph?g0.expr={QueryEscape(TextOf(arguments[0]))}&g0.tab=1"),
            "stripPort" => StripPort(TextOf(arguments[0])),
            "stripDomain" => StripDomain(TextOf(arguments[0])),
            "humanize" => Humanize(NumberOf(arguments[0])),
            "humanize1024" => Humanize1024(NumberOf(arguments[0])),
            "humanizeDuration" => HumanizeDuration(NumberOf(arguments[0])),
            "humanizePercentage" => GoFormat.General(NumberOf(arguments[0]) * 100, 4) + "%",
            "humanizeTimestamp" => NumberOf(arguments[0]) is var at && !double.IsFinite(at) ? GoFormat.General(at, 4) : Scalar(Time(at)),
            "toTime" => Time(NumberOf(arguments[0])),
            "toDuration" => Span(NumberOf(arguments[0])),
            "now" => now.ToUnixTimeMilliseconds() / 1000.0,
            "parseDuration" => Duration(TextOf(arguments[0])),
            "pathPrefix" => externalUrl.AbsolutePath.TrimEnd('/'),
            "externalURL" => externalUrl.ToString().TrimEnd('/'),
            _ => throw new TemplateFunctionException("is not known"),
        };
    }

    /// <summary>A map of labels as templates see it.</summary>
    internal static IReadOnlyDictionary<string, object?> Map(IReadOnlyDictionary<string, string> labels) =>
        labels.ToDictionary(pair => pair.Key, pair => (object?)pair.Value);

    /// <summary>Go's notion of truth: anything but nothing, false, zero and the empty.</summary>
    internal static bool IsTrue(object? value) => value switch
    {
        null => false,
        bool flag => flag,
        long whole => whole != 0,
        double real => real != 0,
        string text => text.Length > 0,
        IReadOnlyDictionary<string, object?> map => map.Count > 0,
        IReadOnlyList<object?> list => list.Count > 0,
        _ => true,
    };

    /// <summary>As Go's <c>fmt.Print</c> writes it.</summary>
    internal static string Print(object? value, TemplateBudget budget)
    {
        if (value is not (IReadOnlyDictionary<string, object?> or IReadOnlyList<object?>))
        {
            return Scalar(value);
        }

        var text = new TemplateText(budget);
        Print(value, text);
        return text.Taken();
    }

    /// <summary>For messages: what a value is, however long.</summary>
    internal static string Shown(object? value) => value switch
    {
        string text => StorableText.Shorten(text, 100),
        IReadOnlyDictionary<string, object?> => "a map",
        IReadOnlyList<object?> => "a list",
        _ => Scalar(value),
    };

    private static string Scalar(object? value) => value switch
    {
        null => "<no value>",
        bool flag => flag ? "true" : "false",
        string text => text,
        long whole => whole.ToString(CultureInfo.InvariantCulture),
        double real => GoFormat.Shortest(real),
        DateTimeOffset time => time.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture) + " +0000 UTC",
        TimeSpan span => GoFormat.Duration(span),
        _ => throw new TemplateFunctionException($"can't print a {value.GetType().Name}"),
    };

    // As deep as values can be made, see TemplateArguments. A value that holds another many times is as long as it is printed: the budget ends it.
    private static void Print(object? value, TemplateText text)
    {
        switch (value)
        {
            case IReadOnlyDictionary<string, object?> map:
                text.Append("map[");
                foreach (var (index, (key, inner)) in map.OrderBy(pair => pair.Key, StringComparer.Ordinal).Index())
                {
                    text.Append(index > 0 ? " " : "").Append(key).Append(":");
                    Print(inner, text);
                }

                text.Append("]");
                break;
            case IReadOnlyList<object?> list:
                text.Append("[");
                foreach (var (index, inner) in list.Index())
                {
                    text.Append(index > 0 ? " " : "");
                    Print(inner, text);
                }

                text.Append("]");
                break;
            default:
                text.Append(Scalar(value));
                break;
        }
    }

    private static List<object?> Samples(IReadOnlyList<(IReadOnlyDictionary<string, string> Labels, double Value)> found, TemplateBudget budget)
    {
        budget.Spend(found.Sum(one => 1L + one.Labels.Count));
        return [.. found.Select(one => new Dictionary<string, object?> { ["Labels"] = Map(one.Labels), ["Value"] = one.Value })];
    }

    // As Go escapes a text for JavaScript: https://pkg.go.dev/text/template#JSEscapeString
    private static string Script(string text)
    {
        var script = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            _ = rune.Value switch
            {
                '\\' or '\'' or '"' => script.Append('\\').Append(rune.ToString()),
                '<' or '>' or '&' or '=' or < ' ' => script.Append(CultureInfo.InvariantCulture, $"\\u{rune.Value:X4}"),
                >= 128 when Rune.IsControl(rune) || (Rune.IsWhiteSpace(rune) && rune.Value != ' ') => script.Append(CultureInfo.InvariantCulture, $"\\u{rune.Value:X4}"),
                _ => script.Append(rune.ToString()),
            };
        }

        return script.ToString();
    }

    // Print puts spaces between operands when neither is text.
    private static string PrintAll(IReadOnlyList<object?> values, TemplateBudget budget)
    {
        var text = new TemplateText(budget);
        for (var index = 0; index < values.Count; index++)
        {
            text.Append(index > 0 && values[index] is not string && values[index - 1] is not string ? " " : "");
            Print(values[index], text);
        }

        return text.Taken();
    }

    private static string PrintLine(IReadOnlyList<object?> values, TemplateBudget budget)
    {
        var text = new TemplateText(budget);
        foreach (var (index, value) in values.Index())
        {
            text.Append(index > 0 ? " " : "");
            Print(value, text);
        }

        return text.Append("\n").Taken();
    }

    private static long Length(object? value) => value switch
    {
        string text => Encoding.UTF8.GetByteCount(text),
        IReadOnlyDictionary<string, object?> map => map.Count,
        IReadOnlyList<object?> list => list.Count,
        _ => throw new TemplateFunctionException($"len of {Shown(value)}"),
    };

    private static object? Index(object? of, object? key) => (of, key) switch
    {
        (IReadOnlyDictionary<string, object?> map, string name) => map.TryGetValue(name, out var value) ? value : "",
        (IReadOnlyList<object?> list, long at) => at >= 0 && at < list.Count ? list[(int)at] : throw new TemplateFunctionException($"index out of range: {at}"),
        (string text, long at) => Encoding.UTF8.GetBytes(text) is var bytes && at >= 0 && at < bytes.Length
            ? (long)bytes[at] : throw new TemplateFunctionException($"index out of range: {at}"),
        _ => throw new TemplateFunctionException($"can't index {Shown(of)} with {Shown(key)}"),
    };

    private static object Slice(IReadOnlyList<object?> arguments)
    {
        var length = Length(arguments[0]);
        var from = arguments.Count > 1 ? WholeOf(arguments[1]) : 0;
        var to = arguments.Count > 2 ? WholeOf(arguments[2]) : length;
        if (from < 0 || to > length || from > to)
        {
            throw new TemplateFunctionException($"index out of range: {from} to {to} of {length}");
        }

        return arguments[0] switch
        {
            string text => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text), (int)from, (int)(to - from)),
            IReadOnlyList<object?> list => list.Skip((int)from).Take((int)(to - from)).ToList(),
            _ => throw new TemplateFunctionException($"can't slice {Shown(arguments[0])}"),
        };
    }

    private static bool Same(object? left, object? right) => (left, right) switch
    {
        (null, null) => true,
        (null, _) or (_, null) => false,
        (long or double, long or double) => left.GetType() == right.GetType() ? left.Equals(right) : throw new TemplateFunctionException("incompatible types for comparison"),
        (string or bool, string or bool) => left.GetType() == right.GetType() ? left.Equals(right) : throw new TemplateFunctionException("incompatible types for comparison"),
        _ => throw new TemplateFunctionException("incompatible types for comparison"),
    };

    private static int Compare(object? left, object? right) => (left, right) switch
    {
        (long one, long other) => one.CompareTo(other),
        // Every comparison with NaN is false in Go; a value that is neither less, equal nor greater does not exist here, so it fails aloud.
        (double one, double other) => double.IsNaN(one) || double.IsNaN(other) ? throw new TemplateFunctionException("NaN cannot be ordered") : one.CompareTo(other),
        (string one, string other) => string.CompareOrdinal(one, other),
        _ => throw new TemplateFunctionException("incompatible types for comparison"),
    };

    private static string LabelOf(object? sample, string name, TemplateBudget budget) =>
        MapOf(sample).GetValueOrDefault("Labels") is IReadOnlyDictionary<string, object?> labels && labels.TryGetValue(name, out var value) ? Print(value, budget) : "";

    private static IReadOnlyDictionary<string, object?> MapOf(object? value) =>
        value as IReadOnlyDictionary<string, object?> ?? throw new TemplateFunctionException($"wants a sample, got {Shown(value)}");

    private static IReadOnlyList<object?> ListOf(object? value) =>
        value as IReadOnlyList<object?> ?? throw new TemplateFunctionException($"wants the result of a query, got {Shown(value)}");

    private static string TextOf(object? value) => value as string ?? throw new TemplateFunctionException($"wrong type for value; expected string; got {Shown(value)}");

    private static long WholeOf(object? value) => value is long whole ? whole : throw new TemplateFunctionException($"wrong type for value; expected integer; got {Shown(value)}");

    private static double NumberOf(object? value) => value switch
    {
        double real => real,
        long whole => whole,
        TimeSpan span => span.TotalSeconds,
        string text when PrometheusNumber(text) is { } number => number,
        _ => throw new TemplateFunctionException($"can't convert {Shown(value)} to float"),
    };

    private static double? PrometheusNumber(string text) => text switch
    {
        "+Inf" or "Inf" or "inf" or "+inf" => double.PositiveInfinity,
        "-Inf" or "-inf" => double.NegativeInfinity,
        "NaN" or "nan" => double.NaN,
        _ => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) ? number : null,
    };

    private static Regex Pattern(string pattern)
    {
        try
        {
            return new Regex(pattern, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant, RegexTimeout);
        }
        catch (Exception error) when (error is ArgumentException or NotSupportedException)
        {
            throw new TemplateFunctionException($"error parsing regexp: {error.Message}");
        }
    }

    private static string Replace(string pattern, string replacement, string text, TemplateBudget budget)
    {
        var regex = Pattern(pattern);
        var names = regex.GetGroupNames().ToHashSet();
        var references = 0;
        // Go reads $1x as the group "1x", .NET as group 1 and an x; a $ before anything else is itself in Go, and may be the whole text in
        // .NET. What is meant is spelled out for .NET.
        var spelled = Regex.Replace(replacement, @"\$(?:\$|(\w+)|\{(\w+)\})?", found =>
        {
            var name = found.Groups[1].Value + found.Groups[2].Value;
            references += name.Length > 0 ? 1 : 0;
            return name.Length == 0 ? "$$" : names.Contains(name) ? $"${{{name}}}" : "";
        });
        return regex.Replace(text, found =>
        {
            budget.Spend(replacement.Length + (long)references * found.Length);
            return found.Result(spelled);
        });
    }

    private static string Title(string text)
    {
        var result = new StringBuilder(text.Length);
        var previous = ' ';
        foreach (var c in text)
        {
            result.Append(char.IsLetterOrDigit(previous) || previous is '_' or '\'' ? c : char.ToUpperInvariant(c));
            previous = c;
        }

        return result.ToString();
    }

    private static string StripPort(string hostPort)
    {
        var colon = hostPort.LastIndexOf(':');
        if (colon < 0 || (hostPort.IndexOf(':') != colon && !hostPort.StartsWith('[')))
        {
            return hostPort;
        }

        var host = hostPort[..colon];
        return host.StartsWith('[') && host.EndsWith(']') ? host[1..^1] : host;
    }

    private static string StripDomain(string hostPort)
    {
        var host = StripPort(hostPort);
        if (System.Net.IPAddress.TryParse(host, out _))
        {
            return hostPort;
        }

        var port = host.Length < hostPort.Length ? hostPort[host.Length..] : "";
        return host.Split('.')[0] + port;
    }

    private static string Html(string text) => text
        .Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal).Replace(">", "&gt;", StringComparison.Ordinal)
        .Replace("\"", "&#34;", StringComparison.Ordinal).Replace("'", "&#39;", StringComparison.Ordinal);

    private static string QueryEscape(string text) => Uri.EscapeDataString(text).Replace("%20", "+", StringComparison.Ordinal);

    private static DateTimeOffset Time(double seconds) =>
        seconds is > -62_135_596_800 and < 253_402_300_799 ? DateTimeOffset.UnixEpoch.AddSeconds(seconds) : throw new TemplateFunctionException($"{GoFormat.Shortest(seconds)} cannot be represented as a timestamp since it overflows");

    // As wide as a duration of Go: 292 years.
    private static TimeSpan Span(double seconds) =>
        Math.Abs(seconds) < 9_223_372_036 ? TimeSpan.FromSeconds(seconds) : throw new TemplateFunctionException($"{GoFormat.Shortest(seconds)} cannot be represented as a duration since it overflows");

    private static double Duration(string text)
    {
        var match = Regex.Match(text, @"^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$", RegexOptions.CultureInvariant);
        if (text.Length == 0 || (!match.Success && text != "0"))
        {
            throw new TemplateFunctionException($"not a valid duration string: \"{text}\"");
        }

        ReadOnlySpan<double> seconds = [365 * 86_400, 7 * 86_400, 86_400, 3600, 60, 1, 0.001];
        var total = 0.0;
        for (var unit = 0; unit < seconds.Length; unit++)
        {
            total += match.Groups[unit + 1] is { Success: true } digits ? double.Parse(digits.ValueSpan, CultureInfo.InvariantCulture) * seconds[unit] : 0;
        }

        return total;
    }

    private static string Humanize(double value)
    {
        if (value == 0 || !double.IsFinite(value))
        {
            return GoFormat.General(value, 4);
        }

        var prefix = "";
        var large = Math.Abs(value) >= 1;
        foreach (var next in large ? "kMGTPEZY" : "munpfazy")
        {
            if (large ? Math.Abs(value) < 1000 : Math.Abs(value) >= 1)
            {
                break;
            }

            prefix = next.ToString();
            value = large ? value / 1000 : value * 1000;
        }

        return GoFormat.General(value, 4) + prefix;
    }

    private static string Humanize1024(double value)
    {
        if (Math.Abs(value) <= 1 || !double.IsFinite(value))
        {
            return GoFormat.General(value, 4);
        }

        var prefix = "";
        foreach (var larger in (string[])["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"])
        {
            if (Math.Abs(value) < 1024)
            {
                break;
            }

            prefix = larger;
            value /= 1024;
        }

        return GoFormat.General(value, 4) + prefix;
    }

    private static string HumanizeDuration(double value)
    {
        if (!double.IsFinite(value))
        {
            return GoFormat.General(value, 4);
        }

        if (value == 0)
        {
            return "0s";
        }

        if (Math.Abs(value) < 1)
        {
            var prefix = "";
            foreach (var smaller in "munpfazy")
            {
                if (Math.Abs(value) >= 1)
                {
                    break;
                }

                prefix = smaller.ToString();
                value *= 1000;
            }

            return $"{GoFormat.General(value, 4)}{prefix}s";
        }

        var sign = value < 0 ? "-" : "";
        value = Math.Abs(value);
        var whole = (long)value;
        var (seconds, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
        return days != 0 ? $"{sign}{days}d {hours}h {minutes}m {seconds}s"
            : hours != 0 ? $"{sign}{hours}h {minutes}m {seconds}s"
            : minutes != 0 ? $"{sign}{minutes}m {seconds}s"
            : $"{sign}{GoFormat.General(value, 4)}s";
    }
}
