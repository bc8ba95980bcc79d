using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// What a process holds in memory: every series with recent samples, the samples themselves, and the index over the labels. Writers and
/// readers meet only at the lock of a single series, and for nanoseconds.
/// </summary>
internal sealed class Head(SampleStoreOptions options, SeriesGuards guards, TimeProvider clock, StoreMetrics metrics)
{
    // Raw columns cost 16 bytes a sample, chunks a tenth of it. With few series the columns are long, because long chunks are smaller and
    // cheaper; with many they are short, so that the columns of all series together stay around this many samples.
    private const long OpenSamples = 16_000_000;
    private const int ShortestRun = 24;
    private const int LongestRun = 128;

    private readonly ConcurrentDictionary<Labels, LiveSeries> _byLabels = new();
    private readonly SeriesKeys<LiveSeries> _byKey = new(static series => series.IsRetired, options.RememberedLabelSets);
    private readonly ConcurrentDictionary<string, StrongCount> _perRealm = new();
    private readonly LabelIndex<LiveSeries> _index = new(static series => series.IsRetired);
    private long _samplesFloor = long.MinValue;
    private long _indexFloor = long.MinValue;
    private int _durable;

    /// <summary>Told of series by whoever applies commits, own and others'.</summary>
    public SeriesWatch Watch { get; } = new();

    /// <summary>Names and values of labels, each in memory once.</summary>
    public TextPool Texts { get; } = new();

    /// <summary>All samples since this time are in memory; of earlier ones perhaps some.</summary>
    public long SamplesFloor => Volatile.Read(ref _samplesFloor);

    /// <summary>All series with samples since this time are in memory.</summary>
    public long IndexFloor => Volatile.Read(ref _indexFloor);

    /// <summary>Series that readers see.</summary>
    public int Series => Volatile.Read(ref _durable);

    public int SealAt => (int)Math.Clamp(OpenSamples / Math.Max(1, Series), ShortestRun, LongestRun);

    public StoredSeries? Find(in SeriesKey key) => _byKey.Find(key);

    /// <summary>See <see cref="SeriesKeys{T}.Touch"/>.</summary>
    public void Touch(ReadOnlySpan<SeriesKey> keys) => _byKey.Touch(keys);

    public void Remember(in SeriesKey key, StoredSeries series) => _byKey.Remember(key, (LiveSeries)series);

    public StoredSeries? Intern(Labels labels, out string? refusal)
    {
        if (_byLabels.TryGetValue(labels, out var known) && !known.IsRetired)
        {
            known.Touched = Minute();
            refusal = null;
            return known;
        }

        refusal = guards.Refuse(labels, _perRealm.TryGetValue(labels[RealmLabel], out var count) ? Volatile.Read(ref count.Value) : 0);
        return refusal is null ? GetOrAdd(labels) : null;
    }

    /// <summary>The series that stands for these labels now: itself, unless it has left memory since.</summary>
    public LiveSeries Current(StoredSeries series)
    {
        var own = (LiveSeries)series;
        return own.IsRetired ? GetOrAdd(own.Labels) : own;
    }

    /// <summary>The series of a row in the database. Readers see it when it is published.</summary>
    public LiveSeries Restore(Labels labels, long id, int keptFrom, long lastTime)
    {
        while (true)
        {
            var series = GetOrAdd(labels);
            using (series.Enter())
            {
                if (series.IsRetired)
                {
                    continue;
                }

                series.Id = id;
                series.KeptFrom = Math.Max(series.KeptFrom, keptFrom);
                series.LastTime = Math.Max(series.LastTime, lastTime);
            }

            return series;
        }
    }

    /// <summary>Readers see the series from now on: its first samples are durable.</summary>
    public void Publish(LiveSeries series)
    {
        if (series.IsDurable)
        {
            return;
        }

        // Two writers that publish the same series take turns, and the second one finds it done.
        using (series.Enter())
        {
            if (series.IsDurable || series.IsRetired)
            {
                return;
            }

            _index.Add(series);
            series.BecomeDurable();
        }

        Interlocked.Increment(ref _durable);
    }

    /// <summary>Comes before samples leave memory, so that who reads afterwards knows.</summary>
    public void RaiseSamplesFloor(long to) => Raise(ref _samplesFloor, to);

    /// <summary>Comes before series leave memory.</summary>
    public void RaiseIndexFloor(long to) => Raise(ref _indexFloor, to);

    private static void Raise(ref long floor, long to)
    {
        for (var seen = Volatile.Read(ref floor); seen < to;)
        {
            var before = Interlocked.CompareExchange(ref floor, to, seen);
            if (before == seen)
            {
                return;
            }

            seen = before;
        }
    }

    /// <summary>Adds samples of one series that are durable.</summary>
    public void Apply(LiveSeries series, ReadOnlySpan<long> times, ReadOnlySpan<double> values, int sealAt, long commit)
    {
        while (true)
        {
            using (series.Enter())
            {
                if (!series.IsRetired)
                {
                    var samples = series.MakeSamples();
                    samples.Add(times, values, sealAt, commit);
                    series.LastTime = Math.Max(series.LastTime, samples.MaxTime);
                    return;
                }
            }

            series = Restore(series.Labels, series.Id, series.KeptFrom, long.MinValue);
            Publish(series);
        }
    }

    /// <summary>The samples that the series has in memory at this moment; false when none of them can lie in the time.</summary>
    public static bool TryView(LiveSeries series, long from, long to, out BufferView view)
    {
        using (series.Enter())
        {
            if (series.Samples is { } samples && samples.MaxTime >= from && samples.MinTime <= to)
            {
                view = samples.View();
                return !view.IsEmpty;
            }
        }

        view = new BufferView([], default, default);
        return false;
    }

    public List<LiveSeries> Select(string? realm, IReadOnlyList<Matcher> matchers)
    {
        var found = new List<LiveSeries>();
        _index.Select(realm, matchers, found);
        return found;
    }

    /// <summary>Names of labels of the series that any of the selections accepts, sorted.</summary>
    public IReadOnlyList<string> LabelNames(string? realm, IReadOnlyList<Selection> selections, int limit) =>
        _index.LabelNames(realm, [.. selections.Select(selection => selection.Matchers)], limit);

    /// <summary>Values of a label of the series that any of the selections accepts, sorted.</summary>
    public IReadOnlyList<string> LabelValues(string? realm, string label, IReadOnlyList<Selection> selections, int limit) =>
        _index.LabelValues(realm, label, [.. selections.Select(selection => selection.Matchers)], limit);

    public bool TryGet(Labels labels, [NotNullWhen(true)] out LiveSeries? series) => _byLabels.TryGetValue(labels, out series) && !series.IsRetired;

    /// <summary>
    /// Lets go of samples before <paramref name="samplesFrom"/> whose commits are settled (see <see cref="SampleBuffer.Trim"/>), of series
    /// without samples since <paramref name="seriesFrom"/>, and of series that were interned long ago and never committed.
    /// </summary>
    public void Sweep(long samplesFrom, long seriesFrom, long settled)
    {
        var (active, chunks, bytes, open) = (0, 0L, 0L, 0L);
        var abandoned = Minute() - 15;
        var gone = 0;
        foreach (var (_, series) in _byLabels)
        {
            using (series.Enter())
            {
                if (series.Samples is { } samples)
                {
                    samples.Trim(samplesFrom, settled);
                    if (samples.IsEmpty)
                    {
                        series.DropSamples();
                    }
                    else
                    {
                        var size = samples.Size();
                        active++;
                        chunks += size.Chunks;
                        bytes += size.Bytes;
                        open += size.Open;
                    }
                }

                if (series.Samples is null && (series.IsDurable ? series.LastTime < seriesFrom : series.Touched < abandoned))
                {
                    Forget(series);
                    gone++;
                }
            }
        }

        if (gone > 0)
        {
            _byKey.Prune();
            _index.Prune();
        }

        metrics.HeadSize(active, chunks, bytes, open);
    }

    /// <summary>The label that says to whom a series belongs.</summary>
    public const string RealmLabel = "realm";

    // The caller holds the lock of the series.
    private void Forget(LiveSeries series)
    {
        if (series.IsDurable)
        {
            Interlocked.Decrement(ref _durable);
        }

        series.Retire();
        _byLabels.TryRemove(new KeyValuePair<Labels, LiveSeries>(series.Labels, series));
        if (_perRealm.TryGetValue(series.Realm, out var count))
        {
            Interlocked.Decrement(ref count.Value);
        }
    }

    private LiveSeries GetOrAdd(Labels labels)
    {
        while (true)
        {
            if (_byLabels.TryGetValue(labels, out var known))
            {
                if (!known.IsRetired)
                {
                    return known;
                }

                _byLabels.TryRemove(new KeyValuePair<Labels, LiveSeries>(labels, known));
            }

            var shared = Texts.Share(labels);
            var made = new LiveSeries(shared, shared[RealmLabel]) { Touched = Minute(), KeptFrom = Day() };
            if (_byLabels.TryAdd(shared, made))
            {
                Interlocked.Increment(ref _perRealm.GetOrAdd(made.Realm, _ => new StrongCount()).Value);
                return made;
            }
        }
    }

    internal static string Shorten(Labels labels)
    {
        var text = labels.ToString();
        return text.Length <= 200 ? text : text[..200] + "…";
    }

    private int Minute() => (int)(clock.GetUtcNow().ToUnixTimeSeconds() / 60);

    private int Day() => (int)(clock.GetUtcNow().ToUnixTimeSeconds() / 86_400);

    private sealed class StrongCount
    {
        public int Value;
    }
}
