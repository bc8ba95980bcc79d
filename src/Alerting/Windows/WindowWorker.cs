using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Windows;

/// <summary>Resolves alerts whose count fell below the threshold without a further event saying so, fires those about events that do not come, and forgets idle windows. Every replica runs it.</summary>
public sealed partial class WindowWorker(
    NpgsqlDataSource db,
    WindowStore windows,
    AlertStore alerts,
    SourceClocks clocks,
    GroupCounts counts,
    Flusher flusher,
    WindowOptions options,
    AlertingMetrics metrics,
    TimeProvider clock,
    ILogger<WindowWorker> logger) : BackgroundService
{
    private const int CountEvery = 15;

    // What is late by exactly the lateness still finds what it belongs to, however long its batch waits.
    private static readonly TimeSpan TailMargin = TimeSpan.FromMinutes(5);

    // Places of the sources at earlier ticks, oldest first, back to just before the grace.
    private readonly Queue<(DateTimeOffset At, List<(string Realm, string Source, long Position)> Places)> _earlier = new();
    private readonly ClockWatch _clocks = new();
    private readonly Aside<Guid> _unresolved = new();
    private readonly Aside<Guid> _unfired = new();

    // The windows that the work at hand is about.
    private List<Guid> _at = [];
    private int _ticks;
    private (long Version, Dictionary<Guid, Rule> ById) _rules = (-1, []);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            await TickAsync(stoppingToken);
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (at, places) = Before(now - options.Grace, now);
        await TryAsync(async () =>
        {
            if (await windows.AnyDueAsync(at, ct))
            {
                await DoDueAsync(at, places, now, ct);
            }
        }, ct);
        await TryAsync(() => Tails.ForgetAsync(db, now - options.Lateness - TailMargin, ct), ct);
        if (_ticks++ % CountEvery == 0)
        {
            await TryAsync(async () => counts.Counted(await windows.CountAsync(ct)), ct);
        }
    }

    // Each on its own: what keeps an alert from being fired must not keep others from being resolved, or windows from being forgotten.
    private async Task DoDueAsync(long at, IReadOnlyList<(string Realm, string Source, long Position)> places, DateTimeOffset now, CancellationToken ct)
    {
        await TryAsync(() => AllAsync(_unresolved, which => ResolveAsync(places, at, now, which, ct), ct), ct);
        await TryAsync(() => AllAsync(_unfired, which => FireSilentAsync(places, at, now, which, ct), ct), ct);
        await TryAsync(async () =>
        {
            while (await windows.ForgetAsync(places, at, ct) > 0)
            {
            }
        }, ct);
    }

    private async Task TryAsync(Func<Task> work, CancellationToken ct)
    {
        try
        {
            await work();
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error);
        }
        catch (OperationCanceledException)
        {
            // The process ends.
        }
    }

    // All windows but those that rest, as many at once as the work takes. When that fails, the windows of that time apart; one that fails
    // alone rests, and is tried alone when its rest is over.
    private async Task AllAsync(Aside<Guid> aside, Func<(Guid[] Keys, bool Only), Task<int>> work, CancellationToken ct)
    {
        foreach (var key in aside.Due(clock.GetUtcNow()))
        {
            await EachAsync([key]);
        }

        while (true)
        {
            _at = [];
            try
            {
                if (await work((aside.All, false)) == 0)
                {
                    return;
                }

                flusher.Wake();
            }
            catch (Exception) when (!ct.IsCancellationRequested && _at.Count > 0)
            {
                await EachAsync(_at);
            }
        }

        Task EachAsync(IReadOnlyList<Guid> keys) => Halving.EachAsync(
            keys,
            async some =>
            {
                if (await work(([.. some], true)) > 0)
                {
                    flusher.Wake();
                }

                foreach (var key in some)
                {
                    aside.Passed(key);
                }
            },
            (key, error) =>
            {
                metrics.SetAside("window");
                WindowRests(error, key, aside.Failed(key, clock.GetUtcNow()).TotalSeconds);
            },
            // Who fails while the database answers has failed of its own.
            async _ => await db.ExecuteAsync($"select 1", ct),
            ct);
    }

    // Judged is by the places of a grace ago, in wall time: what another replica is still counting then has its chance, at whatever
    // speed a log is replayed. Just after the start nothing is known, and the windows' own memory decides.
    private (long At, IReadOnlyList<(string Realm, string Source, long Position)> Places) Before(DateTimeOffset time, DateTimeOffset now)
    {
        if (_clocks.SetBackBy(now) > TimeSpan.Zero)
        {
            // They would lie ahead for as long as the clock takes to get there again.
            _earlier.Clear();
        }

        _clocks.Saw(now);
        _earlier.Enqueue((now, clocks.All(BatchMatch.Microseconds(now))));
        while (_earlier.Count > 1 && _earlier.ElementAt(1).At <= time)
        {
            _earlier.Dequeue();
        }

        return _earlier.Peek() is var oldest && oldest.At <= time ? (BatchMatch.Microseconds(oldest.At), oldest.Places) : (BatchMatch.Microseconds(time), []);
    }

    private async Task<int> ResolveAsync(IReadOnlyList<(string Realm, string Source, long Position)> places, long at, DateTimeOffset now, (Guid[] Keys, bool Only) which, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var ended = await WindowStore.TakeEndedAsync(tx, places, at, which, ct);
        _at = ended.ConvertAll(episode => episode.Key);
        await alerts.ResolveAllAsync(tx, ended.ConvertAll(episode => (episode.AlertId, BatchMatch.Time(episode.Until), EvaluateRulesOnEventsStored.OverOf(episode.Condition))), now, ct);
        await tx.CommitAsync(ct);
        return ended.Count;
    }

    // The rules are held as for a batch of events: what fires here is told by the rule as it is.
    private async Task<int> FireSilentAsync(IReadOnlyList<(string Realm, string Source, long Position)> places, long at, DateTimeOffset now, (Guid[] Keys, bool Only) which, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var version = await RuleStore.HoldVersionAsync(tx, ct);
        var silent = await WindowStore.LockSilentAsync(tx, places, at, which, ct);
        _at = silent.ConvertAll(window => window.Key);
        if (silent.Count > 0 && _rules.Version != version)
        {
            _rules = (version, (await RuleStore.ListAllAsync(tx, ct)).ToDictionary(rule => rule.Id));
        }

        var silences = silent.ConvertAll(window =>
        {
            var rule = _rules.ById[window.Rule];
            var from = window.Newest + rule.WindowSeconds * 1_000_000L;
            var silence = new Episode(from, from + (long)options.Patience.TotalMicroseconds, 0);
            return (Window: window, Silence: silence, Alert: EvaluateRulesOnEventsStored.Describe(new GroupHits(rule, window.Realm, window.Values), silence, now));
        });
        var fired = await alerts.FireAllAsync(tx, silences.ConvertAll(one => one.Alert), ct);
        foreach (var (one, alert) in silences.Zip(fired))
        {
            await WindowStore.SaveSilentAsync(tx, one.Window, one.Silence, alert, ct);
        }

        await tx.CommitAsync(ct);
        return silent.Count;
    }

    [LoggerMessage(LogLevel.Error, "The window {Window} can be neither resolved nor fired; tried again in {Seconds} s, all others go on")]
    private partial void WindowRests(Exception error, Guid window, double seconds);

    [LoggerMessage(LogLevel.Error, "Resolving or firing alerts by the clock failed; trying again in a second")]
    private partial void TickFailed(Exception error);
}

public static class Windows
{
    public static IHostApplicationBuilder AddWindows(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<WindowOptions>();
        builder.AddSettings<EventBacktestOptions>();
        builder.Services.AddSingleton<EventBacktest>();
        builder.Services.AddSingleton<WindowStore>();
        builder.Services.AddSingleton<SourceClocks>();
        builder.Services.AddSingleton<GroupCounts>();
        builder.Services.AddHostedService<WindowWorker>();
        builder.AddConsumer<EventsStored, EvaluateRulesOnEventsStored>();
        return builder;
    }
}
