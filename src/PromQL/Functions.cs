using System.Collections.Frozen;

using static Platform.PromQL.ValueKind;

namespace Platform.PromQL;

/// <summary>
/// Every function that an expression can call: those of Prometheus 3.x (https://prometheus.io/docs/prometheus/latest/querying/functions/),
/// those it still calls experimental and that mean the same on floats, and <c>holt_winters</c>, the name that
/// <c>double_exponential_smoothing</c> had in 2.x. Functions of native histograms exist and find nothing: there are only floats.
/// </summary>
public static class Functions
{
    /// <summary>In alphabetical order.</summary>
    public static IReadOnlyList<Function> All { get; } =
    [
        OfVector("abs"),
        OfVector("absent"),
        OfRange("absent_over_time"),
        OfVector("acos"),
        OfVector("acosh"),
        OfVector("asin"),
        OfVector("asinh"),
        OfVector("atan"),
        OfVector("atanh"),
        OfRange("avg_over_time"),
        OfVector("ceil"),
        OfRange("changes"),
        new("clamp", InstantVector, [InstantVector, Scalar, Scalar]),
        new("clamp_max", InstantVector, [InstantVector, Scalar]),
        new("clamp_min", InstantVector, [InstantVector, Scalar]),
        OfVector("cos"),
        OfVector("cosh"),
        OfRange("count_over_time"),
        OfTime("day_of_month"),
        OfTime("day_of_week"),
        OfTime("day_of_year"),
        OfTime("days_in_month"),
        OfVector("deg"),
        OfRange("delta"),
        OfRange("deriv"),
        new("double_exponential_smoothing", InstantVector, [RangeVector, Scalar, Scalar]),
        new("end", Scalar, []),
        OfVector("exp"),
        OfRange("first_over_time"),
        OfVector("floor"),
        OfVector("histogram_avg"),
        OfVector("histogram_count"),
        new("histogram_fraction", InstantVector, [Scalar, Scalar, InstantVector]),
        new("histogram_quantile", InstantVector, [Scalar, InstantVector]),
        OfVector("histogram_stddev"),
        OfVector("histogram_stdvar"),
        OfVector("histogram_sum"),
        new("holt_winters", InstantVector, [RangeVector, Scalar, Scalar]),
        OfTime("hour"),
        OfRange("idelta"),
        OfRange("increase"),
        OfRange("irate"),
        new("label_join", InstantVector, [InstantVector, Text, Text, Text], Variadic: true),
        new("label_replace", InstantVector, [InstantVector, Text, Text, Text, Text]),
        OfRange("last_over_time"),
        OfVector("ln"),
        OfVector("log10"),
        OfVector("log2"),
        OfRange("mad_over_time"),
        OfRange("max_over_time"),
        OfRange("min_over_time"),
        OfTime("minute"),
        OfTime("month"),
        new("pi", Scalar, []),
        new("predict_linear", InstantVector, [RangeVector, Scalar]),
        OfRange("present_over_time"),
        new("quantile_over_time", InstantVector, [Scalar, RangeVector]),
        OfVector("rad"),
        OfRange("rate"),
        OfRange("resets"),
        new("round", InstantVector, [InstantVector, Scalar], Optional: 1),
        new("scalar", Scalar, [InstantVector]),
        OfVector("sgn"),
        OfVector("sin"),
        OfVector("sinh"),
        OfVector("sort"),
        new("sort_by_label", InstantVector, [InstantVector, Text], Variadic: true),
        new("sort_by_label_desc", InstantVector, [InstantVector, Text], Variadic: true),
        OfVector("sort_desc"),
        OfVector("sqrt"),
        new("start", Scalar, []),
        OfRange("stddev_over_time"),
        OfRange("stdvar_over_time"),
        OfRange("sum_over_time"),
        OfVector("tan"),
        OfVector("tanh"),
        new("time", Scalar, []),
        OfVector("timestamp"),
        OfRange("ts_of_first_over_time"),
        OfRange("ts_of_last_over_time"),
        OfRange("ts_of_max_over_time"),
        OfRange("ts_of_min_over_time"),
        new("vector", InstantVector, [Scalar]),
        OfTime("year"),
    ];

    private static readonly FrozenDictionary<string, Function> s_byName = All.ToFrozenDictionary(function => function.Name, StringComparer.Ordinal);

    /// <summary>The function of that name, in exactly this case; null when there is none.</summary>
    public static Function? Find(string name) => s_byName.GetValueOrDefault(name);

    private static Function OfVector(string name) => new(name, InstantVector, [InstantVector]);

    private static Function OfRange(string name) => new(name, InstantVector, [RangeVector]);

    /// <summary>Of the values of a vector taken as Unix seconds; of the time of evaluation without one.</summary>
    private static Function OfTime(string name) => new(name, InstantVector, [InstantVector], Optional: 1);
}
