using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// Where samples go and come from. Two implementations: PostgreSQL (durable, shared by replicas) and memory (tests, or when losing all
/// samples on a restart is acceptable). Every series carries the label <c>realm</c>; the intake sets it from the credential.
/// </summary>
public interface ISampleStore
{
    /// <summary>What the caller of that realm may read; null reads all realms.</summary>
    ISeriesSource Source(string? realm);

    /// <summary>Through which others learn that series got samples.</summary>
    SeriesWatch Watch { get; }

    /// <summary>Names of labels of the series that any of the selections accepts (all of the realm's series when there is none), sorted, at most <paramref name="limit"/>.</summary>
    Task<IReadOnlyList<string>> LabelNamesAsync(string? realm, IReadOnlyList<Selection> selections, int limit, CancellationToken ct);

    /// <summary>As <see cref="LabelNamesAsync"/>, the values of one label.</summary>
    Task<IReadOnlyList<string>> LabelValuesAsync(string? realm, string label, IReadOnlyList<Selection> selections, int limit, CancellationToken ct);

    /// <summary>What is known about metric families; null reads all of the realm.</summary>
    Task<IReadOnlyList<MetricMetadata>> MetadataAsync(string? realm, string? family, int limit, CancellationToken ct);

    /// <summary>
    /// The series that was last remembered under this key, or null. The fast path of intake: the key is a hash over the realm and the
    /// bytes of the label set as they came over the wire, so that a known series costs no string.
    /// </summary>
    StoredSeries? Find(in SeriesKey key);

    /// <summary>Says which keys are looked for next, so that a store whose index lies in memory fetches all of them at once. Changes nothing.</summary>
    void Touch(ReadOnlySpan<SeriesKey> keys)
    {
    }

    /// <summary>The series with these labels; a new one exists for readers once a commit with its first sample is durable.</summary>
    /// <param name="labels">Valid names and values; the label <c>realm</c> is set by the intake.</param>
    /// <returns>Null when a guard refuses it (series per realm, labels per series, lengths), with the reason.</returns>
    StoredSeries? Intern(Labels labels, out string? refusal);

    /// <summary>From now on <see cref="Find"/> answers this series for the key. Bounded: what was not used for long is forgotten.</summary>
    void Remember(in SeriesKey key, StoredSeries series);

    /// <summary>
    /// Makes the batch durable. Completes when it is committed together with whatever else was waiting. The batch must not be touched
    /// until then, and may be used again afterwards.
    /// </summary>
    Task<CommitResult> CommitAsync(WriteBatch batch, CancellationToken ct);
}

/// <summary>A series that has a place in the store.</summary>
public abstract class StoredSeries(Labels labels)
{
    public Labels Labels { get; } = labels;

    /// <summary>Who waits for this series, as far as it was looked up; see <see cref="SeriesWatch"/>.</summary>
    internal WatchTag? Tag { get; set; }
}

/// <summary>What is known about a metric family, from the last who said it.</summary>
/// <param name="Type">counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown.</param>
public sealed record MetricMetadata(string Realm, string Family, string Type, string Help, string Unit);

/// <summary>The Idempotency-Key of a request with the subject that sent it: the same key with the same body is stored once.</summary>
public sealed record BatchKey(string Subject, string Key, byte[] BodyHash);

public enum CommitOutcome
{
    /// <summary>Durable.</summary>
    Stored,

    /// <summary>The key was used before for the same body; nothing was written again.</summary>
    Repeated,

    /// <summary>The key was used before with another body; nothing was written.</summary>
    KeyReused,

    /// <summary>The queue is full: nothing was written, try again after <see cref="CommitResult.RetryAfter"/>.</summary>
    Busy,
}

/// <param name="Written">Samples stored. Those that a guard refused (too old, too far ahead) are not among them.</param>
/// <param name="Refusals">Why samples were refused, each reason once, with the number and one series as an example.</param>
public sealed record CommitResult(CommitOutcome Outcome, int Written, IReadOnlyList<string> Refusals, TimeSpan RetryAfter = default);

/// <summary>
/// The samples of one request as columns. Filled by one thread, given to <see cref="ISampleStore.CommitAsync"/>, then disposed (its
/// arrays go back to the pool). A sample with the time and series of a stored one replaces it only if the values are the same; otherwise
/// the first one stays (Prometheus: duplicate sample for timestamp).
/// </summary>
public sealed class WriteBatch : IDisposable
{
    private StoredSeries[] _series = System.Buffers.ArrayPool<StoredSeries>.Shared.Rent(1024);
    private long[] _times = System.Buffers.ArrayPool<long>.Shared.Rent(1024);
    private double[] _values = System.Buffers.ArrayPool<double>.Shared.Rent(1024);
    private List<MetricMetadata>? _metadata;
    private List<Increment>? _increments;

    public int Count { get; private set; }

    public ReadOnlySpan<StoredSeries> Series => _series.AsSpan(0, Count);

    public ReadOnlySpan<long> Times => _times.AsSpan(0, Count);

    public ReadOnlySpan<double> Values => _values.AsSpan(0, Count);

    public IReadOnlyList<MetricMetadata> Metadata => _metadata ?? [];

    public IReadOnlyList<Increment> Increments => _increments ?? [];

    /// <summary>Null: no idempotency asked for.</summary>
    public BatchKey? Key { get; set; }

    public void Add(StoredSeries series, long at, double value)
    {
        if (Count == _times.Length)
        {
            Grow();
        }

        // The array is one of StoredSeries, whatever the series is: no need to check that for every sample.
        System.Runtime.CompilerServices.Unsafe.Add(ref System.Runtime.InteropServices.MemoryMarshal.GetArrayDataReference(_series), Count) = series;
        _times[Count] = at;
        _values[Count] = value;
        Count++;
    }

    /// <summary>
    /// Adds to the series' durable total, in the transaction of the commit; the sample that is stored is the new total. For counters that
    /// come as increments (JSON, OTLP delta), so that replicas agree.
    /// </summary>
    public void Increment(StoredSeries series, long at, double by) => (_increments ??= []).Add(new Increment(series, at, by));

    /// <summary>
    /// As <see cref="Increment"/>, for increments that a sender may repeat (OTLP delta): it counts only when its time is later than that of
    /// the last such increment of the series, which is kept beside the total; otherwise it is passed over without a word.
    /// </summary>
    public void IncrementOnce(StoredSeries series, long at, double by) => (_increments ??= []).Add(new Increment(series, at, by, Once: true));

    public void Describe(MetricMetadata metadata) => (_metadata ??= []).Add(metadata);

    public void Dispose()
    {
        System.Buffers.ArrayPool<StoredSeries>.Shared.Return(_series, clearArray: true);
        System.Buffers.ArrayPool<long>.Shared.Return(_times);
        System.Buffers.ArrayPool<double>.Shared.Return(_values);
        _series = [];
        _times = [];
        _values = [];
        Count = 0;
    }

    private void Grow()
    {
        Grow(ref _series);
        Grow(ref _times);
        Grow(ref _values);
    }

    private void Grow<T>(ref T[] column)
    {
        var larger = System.Buffers.ArrayPool<T>.Shared.Rent(2 * column.Length);
        column.AsSpan(0, Count).CopyTo(larger);
        System.Buffers.ArrayPool<T>.Shared.Return(column, System.Runtime.CompilerServices.RuntimeHelpers.IsReferenceOrContainsReferences<T>());
        column = larger;
    }
}

/// <param name="At">Milliseconds since 1970-01-01 UTC.</param>
/// <param name="By">Not negative.</param>
/// <param name="Once">Passed over unless <paramref name="At"/> is later than that of the last increment of the series with this mark.</param>
public sealed record Increment(StoredSeries Series, long At, double By, bool Once = false);
