using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;
using Platform.Postgres;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// The durable store: a log and chunks in PostgreSQL, and the recent window in memory. Any number of replicas may work on one database.
/// Starting it reads the log into memory; until that is done nothing is answered.
/// </summary>
public sealed partial class PostgresSampleStore : ISampleStore, IHostedService, IDisposable
{
    private const string Channel = "sample_batches";
    private static readonly TimeSpan BetweenTellings = TimeSpan.FromMilliseconds(100);

    private readonly NpgsqlDataSource _db;
    private readonly SampleStoreOptions _options;
    private readonly TimeProvider _clock;
    private readonly ILogger<PostgresSampleStore> _logger;
    private readonly StoreMetrics _metrics = new();
    private readonly CommitOrder _order = new();
    private readonly OwnCommits _own = new();
    private readonly SeriesGuards _guards;
    private readonly Head _head;
    private readonly SeriesRows _rows;
    private readonly ChunkReader _chunks;
    private readonly Compactor _compactor;
    private readonly LogFollower _follower;
    private readonly GroupCommit _commit;
    private readonly CancellationTokenSource _stopping = new();

    // Released when somebody has said that there is something new in the log.
    private readonly SemaphoreSlim _heard = new(0);
    // One look at the log at a time.
    private readonly SemaphoreSlim _following = new(1);
    private Task _loops = Task.CompletedTask;
    private DateTimeOffset _nextSweep;
    private bool _disposed;

    /// <param name="guards">Bounds of series; the defaults when there are none.</param>
    public PostgresSampleStore(NpgsqlDataSource db, SampleStoreOptions options, TimeProvider clock, ILoggerFactory loggers, SeriesGuardOptions? guards = null)
    {
        var logger = loggers.CreateLogger<PostgresSampleStore>();
        (_db, _options, _clock, _logger) = (db, options, clock, logger);
        _guards = new SeriesGuards(guards ?? new SeriesGuardOptions(), clock, loggers.CreateLogger<SeriesGuards>());
        _head = new Head(options, _guards, clock, _metrics);
        _rows = new SeriesRows(db, _head, _head.Texts);
        _chunks = new ChunkReader(db, options);
        _follower = new LogFollower(db, _head, _rows, _order, _own, logger);
        _commit = new GroupCommit(db, _head, _rows, _order, _own, options, clock, _metrics, logger);
        _compactor = new Compactor(db, options, clock, _metrics, logger);
    }

    public SeriesWatch Watch => _head.Watch;

    public ISeriesSource Source(string? realm) => new StoredReader(_head, _rows, _chunks, realm);

    public Task<IReadOnlyList<string>> LabelNamesAsync(string? realm, IReadOnlyList<Selection> selections, int limit, CancellationToken ct) =>
        new StoredReader(_head, _rows, _chunks, realm).LabelNamesAsync(selections, limit, ct);

    public Task<IReadOnlyList<string>> LabelValuesAsync(string? realm, string label, IReadOnlyList<Selection> selections, int limit, CancellationToken ct) =>
        new StoredReader(_head, _rows, _chunks, realm).LabelValuesAsync(label, selections, limit, ct);

    public async Task<IReadOnlyList<MetricMetadata>> MetadataAsync(string? realm, string? family, int limit, CancellationToken ct)
    {
        Sql where = $"true";
        if (realm is not null)
        {
            where = $"{where} and realm = {realm}";
        }

        if (family is not null)
        {
            where = $"{where} and family = {family}";
        }

        return await _db.QueryAsync(
            $"select realm, family, type, help, unit from metric_metadata where {where} order by family collate \"C\", realm collate \"C\" limit {limit}",
            row => new MetricMetadata(row.GetString(0), row.GetString(1), row.GetString(2), row.GetString(3), row.GetString(4)),
            ct);
    }

    public StoredSeries? Find(in SeriesKey key) => _head.Find(key);

    public void Touch(ReadOnlySpan<SeriesKey> keys) => _head.Touch(keys);

    public StoredSeries? Intern(Labels labels, out string? refusal) => _head.Intern(labels, out refusal);

    public void Remember(in SeriesKey key, StoredSeries series) => _head.Remember(key, series);

    public Task<CommitResult> CommitAsync(WriteBatch batch, CancellationToken ct) => _commit.CommitAsync(batch);

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var today = (int)(_clock.GetUtcNow().ToUnixTimeSeconds() / 86_400);
        var indexed = today - (int)Math.Ceiling(_options.IndexWindow.TotalDays);
        _head.RaiseIndexFloor(indexed * 86_400_000L);
        await _chunks.LoadAsync(_head, cancellationToken);
        await _rows.LoadSinceAsync(indexed, cancellationToken);
        await _follower.LoadAsync(cancellationToken);
        // What was compacted while the log was read is neither in the log nor known as chunks.
        await FollowAsync(cancellationToken);
        Loaded(_head.Series, _order.Samples);
        _commit.Start();
        _loops = Task.WhenAll(
            Task.Run(() => FollowLoopAsync(_stopping.Token), CancellationToken.None),
            Task.Run(() => TellLoopAsync(_stopping.Token), CancellationToken.None),
            Task.Run(() => MaintainLoopAsync(_stopping.Token), CancellationToken.None),
            Task.Run(() => _db.ListenAsync(Channel, () => _heard.Release(), NotListening, _clock, _stopping.Token), CancellationToken.None));
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _commit.StopAsync().WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _stopping.CancelAsync();
        await _loops.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Takes in what other replicas have committed.</summary>
    public async Task FollowAsync(CancellationToken ct)
    {
        await _following.WaitAsync(ct);
        try
        {
            await _follower.FollowAsync(ct);
            await _chunks.FollowAsync(_head, _order, ct);
        }
        finally
        {
            _following.Release();
        }
    }

    /// <summary>Series that this process holds.</summary>
    internal int SeriesInMemory => _head.Series;

    internal LogFollower Follower => _follower;

    /// <summary>Turns the log into chunks: what is older than the time that a setting gives, or all of it now.</summary>
    /// <returns>Whether this replica did it; another one may have been at it.</returns>
    public async Task<bool> CompactAsync(bool everything, CancellationToken ct)
    {
        var done = await _compactor.CompactAsync(everything, ct);
        await FollowAsync(ct);
        return done;
    }

    /// <summary>Lets go of what is compacted and older than the head's window, and of series that have gone quiet.</summary>
    public void Sweep()
    {
        var now = _clock.GetUtcNow();
        var samplesFrom = (now - _options.HeadWindow).ToUnixTimeMilliseconds();
        var seriesFrom = (now - _options.IndexWindow).ToUnixTimeMilliseconds();
        // Readers that begin from now on ask the database for what is about to go.
        _head.RaiseSamplesFloor(samplesFrom);
        _head.RaiseIndexFloor(seriesFrom);
        _head.Sweep(samplesFrom, seriesFrom, _order.Settled);
        _rows.Prune();
        _own.Prune(now - TimeSpan.FromMinutes(10));
    }

    public void Dispose()
    {
        // The container disposes it once for each type under which it is registered.
        if (Interlocked.Exchange(ref _disposed, true))
        {
            return;
        }

        _stopping.Cancel();
        _commit.Dispose();
        _stopping.Dispose();
        _heard.Dispose();
        _following.Dispose();
        _guards.Dispose();
        _rows.Dispose();
        _metrics.Dispose();
    }

    private async Task FollowLoopAsync(CancellationToken ct)
    {
        while (!ct.IsCancellationRequested)
        {
            try
            {
                // Whoever waits here is woken by a notification; the time is for one that was lost.
                await _heard.WaitAsync(_options.FollowEvery, ct);
                while (_heard.Wait(0, CancellationToken.None))
                {
                }

                await FollowAsync(ct);
            }
            catch (Exception error) when (!ct.IsCancellationRequested)
            {
                FollowingFailed(error);
                await Task.Delay(_options.FollowEvery, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    // A NOTIFY inside of the commits would make them wait for each other, disk included; a replica tells the others a moment later instead.
    private async Task TellLoopAsync(CancellationToken ct)
    {
        var told = _commit.Commits;
        using var timer = new PeriodicTimer(BetweenTellings);
        while (await timer.WaitForNextTickAsync(ct))
        {
            var commits = _commit.Commits;
            if (commits == told)
            {
                continue;
            }

            try
            {
                await _db.ExecuteAsync($"select pg_notify({Channel}, '')", ct);
                told = commits;
            }
            catch (NpgsqlException)
            {
                // Others look by themselves now and then; the next turn tells them.
            }
        }
    }

    private async Task MaintainLoopAsync(CancellationToken ct)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(5));
        do
        {
            await TickAsync(ct);
        }
        while (await timer.WaitForNextTickAsync(ct));
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            if (_clock.GetUtcNow() >= _nextSweep)
            {
                _nextSweep = _clock.GetUtcNow().AddMinutes(1);
                Sweep();
                await _compactor.MaintainAsync(ct);
            }

            await CompactAsync(_order.Samples > _options.CompactSamples, ct);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            MaintenanceFailed(error);
        }
    }

    private void NotListening(string reason)
    {
        _follower.ServerWentAway();
        ListeningFailed(reason);
    }

    [LoggerMessage(LogLevel.Information, "Samples are in memory: {Series} series, {Samples} samples of the log")]
    private partial void Loaded(int series, long samples);

    [LoggerMessage(LogLevel.Warning, "Following what other replicas commit failed; trying again")]
    private partial void FollowingFailed(Exception error);

    [LoggerMessage(LogLevel.Warning, "Not listening for commits of other replicas: {Reason}. Looking every now and then meanwhile")]
    private partial void ListeningFailed(string reason);

    [LoggerMessage(LogLevel.Error, "Compacting samples or retention failed; trying again")]
    private partial void MaintenanceFailed(Exception error);
}
