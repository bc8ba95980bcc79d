using System.ComponentModel.DataAnnotations;
using Platform.ServiceDefaults;

namespace Platform.SampleStore;

public enum StorageBackend
{
    /// <summary>Durable and shared by replicas.</summary>
    Postgres,

    /// <summary>Gone with the process.</summary>
    Memory,

    /// <summary>Another Prometheus-compatible engine.</summary>
    Prometheus,
}

/// <summary>Limits, windows and retention of samples.</summary>
public sealed class SampleStoreOptions
{
    /// <summary>Where samples are kept.</summary>
    [Setting("METRICS_STORAGE_BACKEND")]
    public StorageBackend Backend { get; init; } = StorageBackend.Postgres;

    /// <summary>Days of samples that are kept. Older days are dropped whole, older samples refused.</summary>
    [Setting("METRICS_RETENTION_DAYS", Aliases = ["MONITORING_METRIC_RETENTION_DAYS"]), Range(1, 36_500)]
    public int RetentionDays { get; init; } = 90;

    /// <summary>How far ahead of this clock a sample may be.</summary>
    [Setting("METRICS_MAX_SAMPLE_FUTURE_SECONDS"), Range(0, 3_153_600_000)]
    public TimeSpan MaxSampleFuture { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How old a sample may be when it comes; 0 is as old as retention keeps.</summary>
    [Setting("METRICS_MAX_SAMPLE_AGE_HOURS"), Range(0, 876_000)]
    public TimeSpan MaxSampleAge { get; init; } = TimeSpan.Zero;

    /// <summary>Metric families of one realm whose type and help are kept.</summary>
    [Setting("METRICS_MAX_FAMILIES_PER_REALM"), Range(1, 10_000_000)]
    public int MaxFamiliesPerRealm { get; init; } = 50_000;

    /// <summary>Samples in requests that wait for a commit; beyond that, requests are answered 429.</summary>
    [Setting("METRICS_QUEUE_SAMPLES"), Range(1_000, 100_000_000)]
    public int QueueSamples { get; init; } = 2_000_000;

    /// <summary>Most samples in one commit (a single larger request is still one commit).</summary>
    [Setting("METRICS_COMMIT_SAMPLES"), Range(1, 10_000_000)]
    public int CommitSamples { get; init; } = 100_000;

    /// <summary>Commits at the same time, each on a connection of its own.</summary>
    [Setting("METRICS_COMMIT_WRITERS"), Range(1, 16)]
    public int Writers { get; init; } = 2;

    /// <summary>How long samples stay in memory, so that queries over this time do not ask the database.</summary>
    [Setting("METRICS_HEAD_HOURS"), Range(0.01, 8_760)]
    public TimeSpan HeadWindow { get; init; } = TimeSpan.FromHours(3);

    /// <summary>How long the labels of a series without new samples stay in memory; queries that reach further back look series up in the database.</summary>
    [Setting("METRICS_INDEX_HOURS"), Range(0.01, 876_000)]
    public TimeSpan IndexWindow { get; init; } = TimeSpan.FromHours(48);

    /// <summary>Longest time until this replica sees what another one has committed.</summary>
    [Setting("METRICS_FOLLOW_MILLISECONDS"), Range(10, 60_000)]
    public TimeSpan FollowEvery { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Commits older than this are turned into chunks.</summary>
    [Setting("METRICS_COMPACT_AFTER_MINUTES"), Range(0.01, 10_080)]
    public TimeSpan CompactAfter { get; init; } = TimeSpan.FromHours(2);

    /// <summary>Samples in the log at which the older half of it is compacted without waiting.</summary>
    [Setting("METRICS_COMPACT_SAMPLES"), Range(1_000, 1_000_000_000)]
    public long CompactSamples { get; init; } = 50_000_000;

    /// <summary>Bytes of chunks from the database that are kept in memory for queries that come again.</summary>
    [Setting("METRICS_CHUNK_CACHE_BYTES"), Range(0, 64L * 1024 * 1024 * 1024)]
    public long ChunkCacheBytes { get; init; } = 128 * 1024 * 1024;

    /// <summary>How long the Idempotency-Key of a request with samples is remembered.</summary>
    [Setting("METRICS_IDEMPOTENCY_HOURS"), Range(1, 720)]
    public TimeSpan IdempotencyWindow { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Wire forms of label sets that are remembered with their series, so that a known series costs no parsing.</summary>
    [Setting("METRICS_REMEMBERED_LABEL_SETS"), Range(1_000, 100_000_000)]
    public int RememberedLabelSets { get; init; } = 2_000_000;
}
