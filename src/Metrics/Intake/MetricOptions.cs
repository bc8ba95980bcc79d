using System.ComponentModel.DataAnnotations;
using System.Globalization;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Intake;

/// <summary>Limits of the JSON intake, and the buckets into which its observations are put.</summary>
public sealed class MetricOptions : IValidatableObject
{
    private const string Any = "*";

    // From five milliseconds to ten seconds, whether the application measures in seconds or in milliseconds.
    private static readonly double[] Wide = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

    private readonly Dictionary<string, double[]> _bounds = [];

    /// <summary>Most metrics in one request.</summary>
    [Setting("MONITORING_METRIC_MAX_PER_REQUEST"), Range(1, 1_000_000)]
    public int MaxPerRequest { get; init; } = 10_000;

    /// <summary>Upper bounds of the buckets of observations, by name of the histogram: <c>name=0.1,1,10;other=5,50</c>; <c>*</c> is every other name.</summary>
    [Setting("MONITORING_METRIC_BUCKETS")]
    public string Buckets { get; init; } = "";

    /// <summary>Samples that one page of <c>GET …/metrics</c> may look at.</summary>
    [Setting("MONITORING_METRIC_LIST_MAX_SAMPLES"), Range(1_000, 1_000_000_000)]
    public int ListMaxSamples { get; init; } = 10_000_000;

    /// <summary>Ascending, without +Inf.</summary>
    public double[] BoundsOf(string name) => _bounds.GetValueOrDefault(name) ?? _bounds.GetValueOrDefault(Any) ?? Wide;

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        foreach (var entry in Buckets.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            var at = entry.IndexOf('=', StringComparison.Ordinal);
            var texts = at > 0 ? entry[(at + 1)..].Split(',', StringSplitOptions.TrimEntries) : [];
            var bounds = new double[texts.Length];
            var ok = texts.Length is > 0 and <= 100;
            for (var index = 0; index < texts.Length && ok; index++)
            {
                ok = double.TryParse(texts[index], NumberStyles.Float, CultureInfo.InvariantCulture, out bounds[index]) && double.IsFinite(bounds[index])
                    && (index == 0 || bounds[index] > bounds[index - 1]);
            }

            if (!ok)
            {
                yield return new ValidationResult($"MONITORING_METRIC_BUCKETS has \"{entry}\": expected NAME=BOUND,BOUND,… with 1 to 100 ascending numbers, and entries separated by semicolons. Change it, or unset it.");
                continue;
            }

            _bounds[entry[..at].Trim()] = bounds;
        }
    }
}
