using System.ComponentModel.DataAnnotations;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.SampleStore;

/// <summary>Bounds of what may become a series.</summary>
public sealed class SeriesGuardOptions
{
    /// <summary>Series of one realm that are in memory at the same time.</summary>
    [Setting("METRICS_MAX_SERIES_PER_REALM"), Range(1, 100_000_000)]
    public int SeriesPerRealm { get; init; } = 2_000_000;

    /// <summary>Labels of one series, name and realm included.</summary>
    [Setting("METRICS_MAX_LABELS_PER_SERIES"), Range(2, 1_000)]
    public int LabelsPerSeries { get; init; } = 64;

    /// <summary>Characters of a label's name.</summary>
    [Setting("METRICS_MAX_LABEL_NAME_LENGTH"), Range(1, 10_000)]
    public int LabelNameLength { get; init; } = 512;

    /// <summary>Characters of a label's value, the metric's name included.</summary>
    [Setting("METRICS_MAX_LABEL_VALUE_LENGTH"), Range(1, 100_000)]
    public int LabelValueLength { get; init; } = 4_096;
}

/// <summary>Says no to series that exceed a bound: counted, logged once a minute for each bound, and with a sentence for the sender. Safe for all threads.</summary>
internal sealed partial class SeriesGuards : IDisposable
{
    private const int Shown = 60;

    private static readonly string[] Names = ["series", "labels", "name_length", "value_length"];

    private readonly SeriesGuardOptions _options;
    private readonly TimeProvider _clock;
    private readonly ILogger<SeriesGuards> _log;
    private readonly Meter _meter = new("Platform.SampleStore");
    private readonly Counter<long> _refused;
    private readonly long[] _saidAt = new long[Names.Length];

    public SeriesGuards(SeriesGuardOptions options, TimeProvider clock, ILogger<SeriesGuards> log)
    {
        (_options, _clock, _log) = (options, clock, log);
        _refused = _meter.CreateCounter<long>("metrics_series_refused", null, "Attempts to make a series that a guard refused, by guard.");
    }

    // In the order of the names above.
    private enum Guard
    {
        Series,
        Labels,
        NameLength,
        ValueLength,
    }

    /// <summary>Asked before a series is made; series that are there already are never refused.</summary>
    /// <param name="sameRealm">Series of the same realm in memory.</param>
    /// <returns>Null when it may be made; otherwise what exceeds which setting.</returns>
    public string? Refuse(Labels labels, int sameRealm)
    {
        if (labels.Count > _options.LabelsPerSeries)
        {
            return Refused(Guard.Labels, $"a series has {labels.Count} labels, more than {_options.LabelsPerSeries} (METRICS_MAX_LABELS_PER_SERIES): {Shorten(labels.ToString())}");
        }

        for (var index = 0; index < labels.Count; index++)
        {
            var (name, value) = (labels.NameAt(index), labels.ValueAt(index));
            if (name.Length > _options.LabelNameLength)
            {
                return Refused(Guard.NameLength, $"a label name has {name.Length} characters, more than {_options.LabelNameLength} (METRICS_MAX_LABEL_NAME_LENGTH): {Shorten(name)}");
            }

            if (value.Length > _options.LabelValueLength)
            {
                return Refused(Guard.ValueLength, $"the value of label {Shorten(name)} has {value.Length} characters, more than {_options.LabelValueLength} (METRICS_MAX_LABEL_VALUE_LENGTH): {Shorten(value)}");
            }
        }

        return sameRealm >= _options.SeriesPerRealm
            ? Refused(Guard.Series, $"the realm has {sameRealm} series already, and METRICS_MAX_SERIES_PER_REALM allows {_options.SeriesPerRealm}: {Shorten(labels.ToString())}")
            : null;
    }

    public void Dispose() => _meter.Dispose();

    private static string Shorten(string text) => text.Length <= Shown ? text : string.Concat(text.AsSpan(0, Shown), "…");

    private string Refused(Guard guard, string reason)
    {
        _refused.Add(1, new KeyValuePair<string, object?>("guard", Names[(int)guard]));
        var now = _clock.GetUtcNow().ToUnixTimeMilliseconds();
        var said = Interlocked.Read(ref _saidAt[(int)guard]);
        if (now - said >= 60_000 && Interlocked.CompareExchange(ref _saidAt[(int)guard], now, said) == said)
        {
            SeriesRefused(_log, reason);
        }

        return reason;
    }

    [LoggerMessage(LogLevel.Warning, "New series are refused: {Reason}. This is said at most once a minute for each guard")]
    private static partial void SeriesRefused(ILogger log, string reason);
}
