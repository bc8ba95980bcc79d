using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;
using Platform.Contracts;
using Platform.Health.Checks;
using Platform.Health.Status;
using Platform.Messaging;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Health.Tests;

/// <summary>States, history and uptime on a database of their own.</summary>
public sealed class CheckStoreTests : IAsyncLifetime
{
    private static readonly DateTimeOffset Now = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);
    private static readonly HealthOptions Options = new() { HistoryRetention = TimeSpan.FromDays(2) };

    private NpgsqlDataSource _db = null!;
    private CheckStore _store = null!;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _db = NpgsqlDataSource.Create(await (await TestServers.GetAsync()).Postgres.CreateDatabaseAsync());
        MigrationSet[] sets = [new("healthdb", typeof(CheckStore).Assembly), new("messaging", typeof(MessagingHosting).Assembly)];
        await new Migrator(_db, sets, NullLogger<Migrator>.Instance).MigrateAsync(Ct);
        _store = new CheckStore(_db);
    }

    public async ValueTask DisposeAsync() => await _db.DisposeAsync();

    [Fact]
    public async Task Uptime_is_the_share_of_the_known_time_in_which_a_component_was_not_unhealthy()
    {
        var check = Check(new(1, 1));
        await RecordAsync(check, Now.AddDays(-10), HealthState.Healthy);
        await RecordAsync(check, Now.AddHours(-12), HealthState.Unhealthy);
        await RecordAsync(check, Now.AddHours(-6), HealthState.Degraded);
        await RecordAsync(check, Now.AddHours(-3), HealthState.Healthy);

        var uptime = (await _store.ListUptimeAsync(Now, Ct)).ToDictionary(row => row.Days, row => row.Percent);

        Assert.Equal(75, uptime[1], 6);
        Assert.Equal(100 * (1 - 6 / (7 * 24.0)), uptime[7], 6);
        Assert.Equal(100 * (1 - 6 / (10 * 24.0)), uptime[30], 6);
    }

    [Fact]
    public async Task Replicas_that_record_at_the_same_time_tell_a_change_once()
    {
        var check = Check(new(3, 2));

        await Task.WhenAll(Enumerable.Range(0, 20).Select(run => RecordAsync(check, Now.AddMilliseconds(run), HealthState.Unhealthy)));

        Assert.Equal(HealthState.Unhealthy, Assert.Single(await _store.ListAsync(Ct)).State.State);
        Assert.Equal(1, await CountAsync($"select count(*) from outbox"));
        Assert.Equal(1, await CountAsync($"select count(*) from state_changes"));
    }

    [Fact]
    public async Task A_result_older_than_the_newest_changes_nothing()
    {
        var check = Check(new(1, 1));
        await RecordAsync(check, Now, HealthState.Healthy);

        Assert.Null(await RecordAsync(check, Now.AddSeconds(-1), HealthState.Unhealthy));

        Assert.Equal(HealthState.Healthy, Assert.Single(await _store.ListAsync(Ct)).State.State);
        Assert.Equal(1, await CountAsync($"select count(*) from check_results"));
    }

    [Fact]
    public async Task Old_results_go_and_the_change_that_says_what_was_before_stays()
    {
        var check = Check(new(1, 1));
        await RecordAsync(check, Now.AddDays(-50), HealthState.Healthy);
        await RecordAsync(check, Now.AddDays(-40), HealthState.Unhealthy);
        await RecordAsync(check, Now.AddDays(-20), HealthState.Healthy);
        await RecordAsync(check, Now.AddDays(-1), HealthState.Healthy);

        await new RetentionWorker(Options, _store, new TestClock(Now), NullLogger<RetentionWorker>.Instance).TickAsync(Ct);

        Assert.Equal(1, await CountAsync($"select count(*) from check_results"));
        Assert.Equal(2, await CountAsync($"select count(*) from state_changes"));
        var month = (await _store.ListUptimeAsync(Now, Ct)).Single(row => row.Days == 30);
        Assert.Equal(100 * 20 / 30.0, month.Percent, 6);
    }

    [Fact]
    public async Task A_probe_that_ignores_its_timeout_is_abandoned_and_not_asked_again_before_it_has_ended()
    {
        var probe = new DeafProbe();
        var check = Check(new(1, 1), probe);
        using var metrics = new HealthMetrics(new Board(new Checklist([check]), Options, TimeProvider.System));
        var loop = new CheckLoop(check, _store, metrics, TimeProvider.System, NullLogger<CheckLoop>.Instance);

        await loop.TickAsync(Ct);
        await loop.TickAsync(Ct);
        await loop.TickAsync(Ct);

        Assert.Equal(1, probe.Asked);
        var reasons = (await _store.ListResultsAsync("shop", DateTimeOffset.UnixEpoch, DateTimeOffset.MaxValue, 10, Ct)).Select(result => result.Reason).ToArray();
        Assert.Equal(3, reasons.Length);
        Assert.Equal("No answer within 0.05 s.", reasons[2]);
        Assert.Contains("still hangs", reasons[0], StringComparison.Ordinal);

        probe.End();
        await Eventually.TrueAsync(
            async () =>
            {
                await loop.TickAsync(Ct);
                return (await _store.ListAsync(Ct)).Single().State.State == HealthState.Healthy;
            },
            because: "the probe is asked again after it has ended");
    }

    private Task<StateChange?> RecordAsync(Check check, DateTimeOffset at, HealthState state) =>
        _store.RecordAsync(check, new CheckResult(at, state, TimeSpan.FromMilliseconds(1), "", ProbeAnswer.NoDetails), Ct);

    private async Task<long> CountAsync(Sql sql) => await _db.FindAsync(sql, row => row.GetInt64(0), Ct);

    private static Check Check(Thresholds thresholds, IProbe? probe = null) =>
        new("shop", "http", probe ?? new DeafProbe(), new Pace(TimeSpan.FromSeconds(1), TimeSpan.FromMilliseconds(50)), thresholds);

    /// <summary>Holds its thread and does not look at its token, like a library that knows no cancellation.</summary>
    private sealed class DeafProbe : IProbe
    {
        private readonly ManualResetEventSlim _end = new();
        private int _asked;

        public int Asked => Volatile.Read(ref _asked);

        public void End() => _end.Set();

        public Task<ProbeAnswer> AskAsync(CancellationToken ct)
        {
            Interlocked.Increment(ref _asked);
            _end.Wait(CancellationToken.None);
            return Task.FromResult(ProbeAnswer.Healthy);
        }
    }
}
