using System.Collections.Frozen;
using System.Globalization;
using System.Text;

namespace Platform.Metrics.Intake;

/// <summary>What a metric of OTLP becomes: decides the suffixes of its name and the word in its metadata.</summary>
internal enum OtlpKind
{
    Gauge,

    /// <summary>A monotonic sum.</summary>
    Counter,

    /// <summary>A sum that may fall: a gauge without <c>_ratio</c>.</summary>
    Level,

    Histogram,

    Summary,
}

/// <summary>Names as Prometheus' own OTLP receiver makes them by default (strategy UnderscoreEscapingWithSuffixes).</summary>
internal static class OtlpNames
{
    private static readonly FrozenDictionary<string, string> Units = new Dictionary<string, string>
    {
        ["d"] = "days",
        ["h"] = "hours",
        ["min"] = "minutes",
        ["s"] = "seconds",
        ["ms"] = "milliseconds",
        ["us"] = "microseconds",
        ["ns"] = "nanoseconds",
        ["By"] = "bytes",
        ["KiBy"] = "kibibytes",
        ["MiBy"] = "mebibytes",
        ["GiBy"] = "gibibytes",
        ["TiBy"] = "tibibytes",
        ["KBy"] = "kilobytes",
        ["MBy"] = "megabytes",
        ["GBy"] = "gigabytes",
        ["TBy"] = "terabytes",
        ["m"] = "meters",
        ["V"] = "volts",
        ["A"] = "amperes",
        ["J"] = "joules",
        ["W"] = "watts",
        ["g"] = "grams",
        ["Cel"] = "celsius",
        ["Hz"] = "hertz",
        ["1"] = "",
        ["%"] = "percent",
    }.ToFrozenDictionary();

    private static readonly FrozenDictionary<string, string> PerUnits = new Dictionary<string, string>
    {
        ["s"] = "second",
        ["m"] = "minute",
        ["h"] = "hour",
        ["d"] = "day",
        ["w"] = "week",
        ["mo"] = "month",
        ["y"] = "year",
    }.ToFrozenDictionary();

    /// <summary><c>http.server.duration</c> in <c>s</c> is <c>http_server_duration_seconds</c>; empty when nothing of the name can be kept.</summary>
    public static string Metric(string name, string unit, OtlpKind kind)
    {
        var tokens = Tokens(name);
        if (tokens.Count == 0)
        {
            return "";
        }

        var (main, per) = UnitsOf(unit);
        if (main.Length > 0 && !tokens.Contains(main))
        {
            tokens.Add(main);
        }

        if (per.Length > 0 && !tokens.Contains(per))
        {
            tokens.Add("per");
            tokens.Add(per);
        }

        if (kind == OtlpKind.Counter)
        {
            tokens.RemoveAll(token => token == "total");
            tokens.Add("total");
        }
        else if (kind == OtlpKind.Gauge && unit == "1")
        {
            tokens.RemoveAll(token => token == "ratio");
            tokens.Add("ratio");
        }

        var joined = string.Join('_', tokens);
        return char.IsAsciiDigit(joined[0]) ? "_" + joined : joined;
    }

    /// <summary><c>http.method</c> is <c>http_method</c>, <c>2xx</c> is <c>key_2xx</c>, <c>_a</c> is <c>key_a</c>.</summary>
    public static string Label(string key)
    {
        var name = new StringBuilder(key.Length);
        foreach (var rune in key.EnumerateRunes())
        {
            name.Append(rune.IsAscii && (char.IsAsciiLetterOrDigit((char)rune.Value) || rune.Value == '_') ? (char)rune.Value : '_');
        }

        return name.Length == 0 ? ""
            : char.IsAsciiDigit(name[0]) ? $"key_{name}"
            : name[0] == '_' && !(name.Length > 1 && name[1] == '_') ? $"key{name}"
            : name.ToString();
    }

    /// <summary>The unit as metadata shows it.</summary>
    public static string Unit(string unit)
    {
        var (main, per) = UnitsOf(unit);
        return per.Length == 0 ? main : main.Length == 0 ? $"per_{per}" : $"{main}_per_{per}";
    }

    /// <summary>A bucket's bound or a quantile, in the fewest digits and never with an exponent.</summary>
    public static string Number(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
        }

        var text = value.ToString("R", CultureInfo.InvariantCulture);
        var exponentAt = text.IndexOf('E', StringComparison.Ordinal);
        if (exponentAt < 0)
        {
            return text;
        }

        var sign = text[0] == '-' ? "-" : "";
        var mantissa = text[sign.Length..exponentAt];
        var exponent = int.Parse(text.AsSpan(exponentAt + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        var point = mantissa.IndexOf('.', StringComparison.Ordinal);
        var digits = mantissa.Replace(".", "", StringComparison.Ordinal);
        var whole = (point < 0 ? mantissa.Length : point) + exponent;
        return whole <= 0 ? $"{sign}0.{new string('0', -whole)}{digits}"
            : whole >= digits.Length ? $"{sign}{digits.PadRight(whole, '0')}"
            : $"{sign}{digits[..whole]}.{digits[whole..]}";
    }

    private static List<string> Tokens(string name)
    {
        var tokens = new List<string>();
        var start = -1;
        for (var at = 0; at <= name.Length; at++)
        {
            var isPart = at < name.Length && (char.IsAsciiLetterOrDigit(name[at]) || name[at] == ':');
            if (isPart && start < 0)
            {
                start = at;
            }
            else if (!isPart && start >= 0)
            {
                tokens.Add(name[start..at]);
                start = -1;
            }
        }

        return tokens;
    }

    private static (string Main, string Per) UnitsOf(string unit)
    {
        var slash = unit.IndexOf('/', StringComparison.Ordinal);
        var main = (slash < 0 ? unit : unit[..slash]).Trim();
        var per = slash < 0 ? "" : unit[(slash + 1)..].Trim();
        return (Word(main, Units), Word(per, PerUnits));
    }

    // {request} and the like are remarks, not units.
    private static string Word(string unit, FrozenDictionary<string, string> words) =>
        unit.AsSpan().ContainsAny('{', '}') ? "" : words.TryGetValue(unit, out var word) ? word : string.Join('_', Tokens(unit));
}
