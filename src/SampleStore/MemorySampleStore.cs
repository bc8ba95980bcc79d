using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>The store without the database: the same head and the same index, gone with the process.</summary>
public sealed class MemorySampleStore : ISampleStore, IDisposable
{
    private readonly SampleStoreOptions _options;
    private readonly TimeProvider _clock;
    private readonly StoreMetrics _metrics = new();
    private readonly SeriesGuards _guards;
    private readonly Head _head;
    private readonly ConcurrentDictionary<(string Realm, string Family), MetricMetadata> _metadata = new();

    // Both are guarded by the lock on _totals: a commit with increments or a key takes its turn.
    private readonly Dictionary<Labels, Total> _totals = [];
    private readonly Dictionary<(string Subject, string Key), (byte[] BodyHash, int Written, DateTimeOffset At)> _keys = [];

    /// <param name="guards">Bounds of series; the defaults when there are none.</param>
    /// <param name="loggers">Where refusals are told; nowhere when there are none.</param>
    public MemorySampleStore(SampleStoreOptions options, TimeProvider clock, SeriesGuardOptions? guards = null, ILoggerFactory? loggers = null)
    {
        _options = options;
        _clock = clock;
        _guards = new SeriesGuards(guards ?? new SeriesGuardOptions(), clock, (loggers ?? NullLoggerFactory.Instance).CreateLogger<SeriesGuards>());
        _head = new Head(options, _guards, clock, _metrics);
    }

    public SeriesWatch Watch => _head.Watch;

    public ISeriesSource Source(string? realm) => new HeadReader(_head, realm);

    public Task<IReadOnlyList<string>> LabelNamesAsync(string? realm, IReadOnlyList<Selection> selections, int limit, CancellationToken ct) =>
        Task.FromResult(_head.LabelNames(realm, selections, limit));

    public Task<IReadOnlyList<string>> LabelValuesAsync(string? realm, string label, IReadOnlyList<Selection> selections, int limit, CancellationToken ct) =>
        Task.FromResult(_head.LabelValues(realm, label, selections, limit));

    public Task<IReadOnlyList<MetricMetadata>> MetadataAsync(string? realm, string? family, int limit, CancellationToken ct) =>
        Task.FromResult<IReadOnlyList<MetricMetadata>>(
        [
            .. _metadata.Values
                .Where(metadata => (realm is null || metadata.Realm == realm) && (family is null || metadata.Family == family))
                .OrderBy(metadata => metadata.Family, StringComparer.Ordinal)
                .ThenBy(metadata => metadata.Realm, StringComparer.Ordinal)
                .Take(limit),
        ]);

    public StoredSeries? Find(in SeriesKey key) => _head.Find(key);

    public void Touch(ReadOnlySpan<SeriesKey> keys) => _head.Touch(keys);

    public StoredSeries? Intern(Labels labels, out string? refusal) => _head.Intern(labels, out refusal);

    public void Remember(in SeriesKey key, StoredSeries series) => _head.Remember(key, series);

    public Task<CommitResult> CommitAsync(WriteBatch batch, CancellationToken ct)
    {
        lock (_totals)
        {
            var result = Commit(batch);
            Watch.Tell();
            return Task.FromResult(result);
        }
    }

    /// <summary>Lets go of what is out of retention. Called now and then.</summary>
    public void Sweep()
    {
        var from = _clock.GetUtcNow().AddDays(-_options.RetentionDays).ToUnixTimeMilliseconds();
        _head.Sweep(from, from, long.MaxValue);
        lock (_totals)
        {
            var forgotten = _clock.GetUtcNow() - _options.IdempotencyWindow;
            foreach (var (key, value) in _keys)
            {
                if (value.At < forgotten)
                {
                    _keys.Remove(key);
                }
            }
        }
    }

    public void Dispose()
    {
        _guards.Dispose();
        _metrics.Dispose();
    }

    private CommitResult Commit(WriteBatch batch)
    {
        var key = batch.Key is { } given ? (given.Subject, given.Key) : default;
        if (batch.Key is not null && _keys.TryGetValue(key, out var before))
        {
            return before.BodyHash.AsSpan().SequenceEqual(batch.Key.BodyHash)
                ? new CommitResult(CommitOutcome.Repeated, before.Written, [])
                : new CommitResult(CommitOutcome.KeyReused, 0, []);
        }

        var age = new SampleAge(_options, _clock);
        var written = 0;
        var sealAt = _head.SealAt;
        var place = 0;
        foreach (var run in new Runs(batch))
        {
            if (age.Accepts(run.Times))
            {
                Apply(run.Series, run.Times, run.Values, sealAt, place);
                written += run.Times.Length;
                continue;
            }

            for (var at = 0; at < run.Times.Length; at++)
            {
                if (age.Accept(run.Series, run.Times[at]))
                {
                    Apply(run.Series, run.Times.Slice(at, 1), run.Values.Slice(at, 1), sealAt, place);
                    written++;
                }
            }
        }

        foreach (var increment in batch.Increments)
        {
            if (!age.Accept(increment.Series, increment.At))
            {
                continue;
            }

            var total = _totals.GetValueOrDefault(increment.Series.Labels, Total.None).Add(increment);
            written++;
            if (total is { } moved)
            {
                _totals[increment.Series.Labels] = moved;
                Apply(increment.Series, [moved.At], [moved.Value], sealAt, place);
            }
        }

        foreach (var metadata in batch.Metadata)
        {
            if (_metadata.Count < _options.MaxFamiliesPerRealm || _metadata.ContainsKey((metadata.Realm, metadata.Family)))
            {
                _metadata[(metadata.Realm, metadata.Family)] = metadata;
            }
        }

        if (batch.Key is not null)
        {
            _keys[key] = (batch.Key.BodyHash, written, _clock.GetUtcNow());
        }

        _metrics.Appended(written);
        return new CommitResult(CommitOutcome.Stored, written, age.Refusals(_metrics));
    }

    private void Apply(StoredSeries given, ReadOnlySpan<long> times, ReadOnlySpan<double> values, int sealAt, long place)
    {
        var series = _head.Current(given);
        _head.Apply(series, times, values, sealAt, place);
        _head.Publish(series);
        Watch.Touch(series);
    }
}
