using System.Collections.Frozen;
using System.Diagnostics.Metrics;
using System.Text;

namespace Platform.ServiceDefaults;

internal enum MetricKind
{
    /// <summary>Measurements are increments.</summary>
    Counter,

    /// <summary>The callback tells the total.</summary>
    ObservedCounter,

    /// <summary>Measurements are changes of a level.</summary>
    Level,

    /// <summary>Measurements are the level.</summary>
    Gauge,

    /// <summary>The callback tells the level.</summary>
    ObservedGauge,

    Histogram,
}

/// <summary>From the names and units of .NET to those of Prometheus.</summary>
internal static class MetricName
{
    private static readonly (string Symbol, string Word)[] KnownUnits =
    [
        ("s", "seconds"), ("ms", "milliseconds"), ("us", "microseconds"), ("ns", "nanoseconds"), ("min", "minutes"), ("h", "hours"), ("d", "days"),
        ("By", "bytes"), ("KiBy", "kibibytes"), ("MiBy", "mebibytes"), ("GiBy", "gibibytes"), ("KBy", "kilobytes"), ("MBy", "megabytes"),
        ("GBy", "gigabytes"), ("%", "percent"), ("Hz", "hertz"), ("Cel", "celsius"), ("V", "volts"), ("A", "amperes"), ("W", "watts"),
        ("J", "joules"), ("m", "meters"), ("g", "grams"),
    ];

    private static readonly FrozenDictionary<string, string> Units = KnownUnits.ToFrozenDictionary(unit => unit.Symbol, unit => unit.Word, StringComparer.Ordinal);

    public static MetricKind? KindOf(Instrument instrument)
    {
        var type = instrument.GetType();
        for (; type is not null; type = type.BaseType)
        {
            if (type.IsGenericType)
            {
                var definition = type.GetGenericTypeDefinition();
                MetricKind? kind =
                    definition == typeof(Counter<>) ? MetricKind.Counter
                    : definition == typeof(ObservableCounter<>) ? MetricKind.ObservedCounter
                    : definition == typeof(UpDownCounter<>) ? MetricKind.Level
                    : definition == typeof(Gauge<>) ? MetricKind.Gauge
                    : definition == typeof(ObservableGauge<>) || definition == typeof(ObservableUpDownCounter<>) ? MetricKind.ObservedGauge
                    : definition == typeof(Histogram<>) ? MetricKind.Histogram
                    : null;
                if (kind is not null)
                {
                    return kind;
                }
            }
        }

        return null;
    }

    /// <summary><c>http.server.request.duration</c> in <c>s</c> is <c>http_server_request_duration_seconds</c>; counters end in <c>_total</c>.</summary>
    public static string Of(Instrument instrument, MetricKind kind)
    {
        var counts = kind is MetricKind.Counter or MetricKind.ObservedCounter;
        var name = Sanitise(instrument.Name, colons: true).Trim('_');
        if (counts && name.EndsWith("_total", StringComparison.Ordinal))
        {
            name = name[..^"_total".Length];
        }

        var unit = UnitOf(instrument.Unit, kind);
        if (unit.Length > 0 && !name.EndsWith("_" + unit, StringComparison.Ordinal) && name != unit)
        {
            name = $"{name}_{unit}";
        }

        // The suffix belongs to histograms, and promtool refuses it elsewhere.
        if (kind != MetricKind.Histogram && !counts && name.EndsWith("_count", StringComparison.Ordinal))
        {
            name = $"{name[..^"_count".Length]}_number";
        }

        return counts ? name + "_total" : name;
    }

    /// <summary>Bounds for histograms that bring none: five milliseconds to ten seconds, bytes by powers of four, and the general ladder of OpenTelemetry.</summary>
    public static double[] DefaultBounds(string? unit) => unit switch
    {
        "s" => [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
        "By" => [256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864],
        _ => [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000],
    };

    /// <summary>Letters, digits and underscores, and no digit first; what else stands there becomes one underscore.</summary>
    public static string Sanitise(string name, bool colons)
    {
        var result = new StringBuilder(name.Length + 1);
        foreach (var c in name)
        {
            if (char.IsAsciiLetterOrDigit(c) || (colons && c == ':'))
            {
                result.Append(c);
            }
            else if (result.Length == 0 || result[^1] != '_')
            {
                result.Append('_');
            }
        }

        return result.Length == 0 ? "_" : char.IsAsciiDigit(result[0]) ? $"_{result}" : result.ToString();
    }

    // {request} and the like are remarks, not units. By/s is bytes_per_second.
    private static string UnitOf(string? unit, MetricKind kind)
    {
        if (string.IsNullOrEmpty(unit) || unit.Contains('{', StringComparison.Ordinal))
        {
            return "";
        }

        if (unit == "1")
        {
            return kind is MetricKind.Gauge or MetricKind.ObservedGauge ? "ratio" : "";
        }

        var slash = unit.IndexOf('/', StringComparison.Ordinal);
        return slash > 0 ? $"{Word(unit[..slash])}_per_{Word(unit[(slash + 1)..]).TrimEnd('s')}" : Word(unit);
    }

    private static string Word(string unit) => Units.TryGetValue(unit, out var word) ? word : Sanitise(unit, colons: false).Trim('_');
}
