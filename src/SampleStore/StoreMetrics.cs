using System.Diagnostics.Metrics;

namespace Platform.SampleStore;

internal enum RefusalReason
{
    /// <summary>Older than retention or the age that is allowed.</summary>
    TooOld,

    /// <summary>Ahead of the clock.</summary>
    TooFarAhead,

    /// <summary>The queue was full.</summary>
    Busy,
}

/// <summary>What the store says about itself.</summary>
internal sealed class StoreMetrics : IDisposable
{
    private readonly Meter _meter = new("Platform.SampleStore");
    private readonly Counter<long> _appended;
    private readonly Counter<long> _refused;
    private readonly Histogram<double> _commit;
    private readonly Histogram<int> _perCommit;
    private readonly Histogram<double> _compaction;
    private (long Active, long Chunks, long Bytes, long Open) _head;

    public StoreMetrics()
    {
        _appended = _meter.CreateCounter<long>("metrics_samples_appended", null, "Samples committed.");
        _refused = _meter.CreateCounter<long>("metrics_samples_refused", null, "Samples, or series, that were refused, by reason.");
        _commit = _meter.CreateHistogram("metrics_commit_duration", "s", "Time a commit took in the database.",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] });
        _perCommit = _meter.CreateHistogram("metrics_samples_per_commit", null, "Samples that shared a commit.",
            advice: new InstrumentAdvice<int> { HistogramBucketBoundaries = [1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000] });
        _compaction = _meter.CreateHistogram("metrics_compaction_duration", "s", "Time a compaction took.",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.1, 0.5, 1, 5, 10, 30, 60, 300] });
        _meter.CreateObservableGauge("metrics_head_active_series", () => Interlocked.Read(ref _head.Active), null, "Series with samples in memory.");
        _meter.CreateObservableGauge("metrics_head_chunks", () => Interlocked.Read(ref _head.Chunks), null, "Sealed chunks in memory.");
        _meter.CreateObservableGauge("metrics_head_chunk_bytes", () => Interlocked.Read(ref _head.Bytes), "By", "Bytes of sealed chunks in memory.");
        _meter.CreateObservableGauge("metrics_head_open_samples", () => Interlocked.Read(ref _head.Open), null, "Samples for which open columns in memory have room.");
    }

    public void Appended(long samples) => _appended.Add(samples);

    public void Refused(RefusalReason reason, long count) => _refused.Add(count, new KeyValuePair<string, object?>("reason", reason switch
    {
        RefusalReason.TooOld => "too_old",
        RefusalReason.TooFarAhead => "too_far_ahead",
        RefusalReason.Busy => "busy",
    }));

    public void Committed(int samples, TimeSpan took)
    {
        _perCommit.Record(samples);
        _commit.Record(took.TotalSeconds);
    }

    public void Compacted(TimeSpan took) => _compaction.Record(took.TotalSeconds);

    public void HeadSize(long active, long chunks, long bytes, long open)
    {
        Interlocked.Exchange(ref _head.Active, active);
        Interlocked.Exchange(ref _head.Chunks, chunks);
        Interlocked.Exchange(ref _head.Bytes, bytes);
        Interlocked.Exchange(ref _head.Open, open);
    }

    public void Gauge(string name, string description, Func<long> read) => _meter.CreateObservableGauge(name, read, null, description);

    public void Dispose() => _meter.Dispose();
}
