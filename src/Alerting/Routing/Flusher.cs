using Npgsql;
using Platform.Alerting.Notifications;
using Platform.Postgres;

namespace Platform.Alerting.Routing;

/// <summary>
/// Sees to it that whoever is to be told is told: one pass after the other (<see cref="FlushPass"/>), woken in the process by whoever changed an
/// alert, by NOTIFY for other replicas, and by the clock. What fails is found, realm by realm and alert by alert, and rests, so that one
/// realm's trouble is not the others'.
/// </summary>
public sealed partial class Flusher(NpgsqlDataSource db, FlushPass pass, Dispatcher dispatcher, AlertingMetrics metrics, TimeProvider clock, ILogger<Flusher> logger) : BackgroundService
{
    // So many alerts and groups of a realm fail alone before the realm rests.
    private const int MostFailures = 20;

    private readonly Signal _wake = new();

    // Of the loop alone.
    private readonly Aside<string> _realms = new();
    private readonly Aside<(string Realm, Guid Alert)> _alerts = new();
    private readonly Aside<(string Realm, Guid Group)> _groups = new();
    private readonly List<(string Realm, Exception? Error)> _failed = [];
    private int _written;

    /// <summary>From any thread, after the commit: look now instead of at the next poll.</summary>
    public void Wake() => _wake.Raise();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var listening = db.ListenAsync("alert_news", Wake, ListeningFailed, clock, stoppingToken);
        while (!stoppingToken.IsCancellationRequested)
        {
            var wait = await TickAsync(stoppingToken);
            if (wait > TimeSpan.Zero)
            {
                await ((Task)_wake.WaitAsync(wait, stoppingToken)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        await listening;
    }

    /// <summary>One look.</summary>
    /// <returns>How long nothing will be due unless there are news.</returns>
    internal async Task<TimeSpan> TickAsync(CancellationToken ct)
    {
        try
        {
            var flushed = await FlushAsync(ct);
            if (flushed.Notifications > 0)
            {
                dispatcher.Wake();
            }

            return flushed.Wait;
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            FlushFailed(error);
            return FlushPass.Poll;
        }
        catch (OperationCanceledException)
        {
            return FlushPass.Poll;
        }
    }

    // All realms at once, which is cheap. When that fails, the realms apart; what fails alone rests, is left out of what is done for all,
    // and is tried alone when its rest is over.
    private async Task<(int Notifications, TimeSpan Wait)> FlushAsync(CancellationToken ct)
    {
        _written = 0;
        _failed.Clear();
        TimeSpan wait;
        try
        {
            wait = await PassAsync(Scope(null), ct);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            var now = clock.GetUtcNow();
            var realms = await GroupStore.RealmsAsync(db, Scope(null), now, ct);
            AllFailed(error, realms.Count);
            wait = FlushPass.Poll;
            await Halving.EachAsync(
                realms,
                async some => wait = await PassAsync(Scope([.. some]), ct) == TimeSpan.Zero ? TimeSpan.Zero : wait,
                (realm, why) => _failed.Add((realm, why)),
                BlameAsync, ct);
        }

        _failed.AddRange(_realms.Due(clock.GetUtcNow()).Select(realm => (realm, null as Exception)));
        foreach (var (realm, error) in _failed)
        {
            await RealmAsync(realm, error, ct);
        }

        foreach (var (realm, alert) in _alerts.Due(clock.GetUtcNow()))
        {
            await AloneAsync(new FlushScope([realm], [alert], null, ([], [], [])), () => _alerts.Passed((realm, alert)), error => AlertFailed(realm, alert, error), ct);
        }

        foreach (var (realm, group) in _groups.Due(clock.GetUtcNow()))
        {
            await AloneAsync(new FlushScope([realm], null, [group], ([], _alerts.All.Select(one => one.Alert).ToArray(), [])), () => _groups.Passed((realm, group)), error => GroupFailed(realm, group, error), ct);
        }

        return (_written, wait);

        FlushScope Scope(string[]? realms) => new(realms, null, null, (_realms.All, [.. _alerts.All.Select(one => one.Alert)], [.. _groups.All.Select(one => one.Group)]));
    }

    // A realm that failed as a whole: which of its alerts and groups is it? When it is many, the realm rests.
    private async Task RealmAsync(string realm, Exception? error, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var failures = 0;
        var scope = new FlushScope([realm], null, null, ([], [.. _alerts.All.Select(one => one.Alert)], [.. _groups.All.Select(one => one.Group)]));
        if (error is null)
        {
            try
            {
                await PassAsync(scope, ct);
                _realms.Passed(realm);
                return;
            }
            catch (Exception again) when (!ct.IsCancellationRequested)
            {
                await BlameAsync(again);
                error = again;
            }
        }

        var alerts = await GroupStore.WithNewsAsync(db, scope, FlushPass.NewsAtOnce, ct);
        await Halving.EachAsync(
            alerts,
            some => failures < MostFailures ? PassAsync(scope with { Alerts = [.. some] }, ct) : Task.CompletedTask,
            (alert, why) => { failures++; AlertFailed(realm, alert, why); },
            BlameAsync, ct);
        scope = scope with { Aside = ([], [.. _alerts.All.Select(one => one.Alert)], [.. _groups.All.Select(one => one.Group)]) };
        var groups = await GroupStore.DueIdsAsync(db, scope, now, FlushPass.GroupsAtOnce, ct);
        await Halving.EachAsync(
            groups,
            some => failures < MostFailures ? PassAsync(scope with { Groups = [.. some] }, ct) : Task.CompletedTask,
            (group, why) => { failures++; GroupFailed(realm, group, why); },
            BlameAsync, ct);
        if (failures >= MostFailures || alerts.Count + groups.Count == 0)
        {
            metrics.SetAside("realm");
            RealmRests(error, realm, _realms.Failed(realm, now).TotalSeconds);
        }
        else
        {
            _realms.Passed(realm);
        }
    }

    private async Task AloneAsync(FlushScope scope, Action passed, Action<Exception> failed, CancellationToken ct)
    {
        try
        {
            await PassAsync(scope, ct);
            passed();
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            await BlameAsync(error);
            failed(error);
        }
    }

    // Who fails while the database answers has failed of their own.
    private async Task BlameAsync(Exception _) => await db.ExecuteAsync($"select 1", CancellationToken.None);

    private void AlertFailed(string realm, Guid alert, Exception error)
    {
        metrics.SetAside("alert");
        AlertRests(error, alert, realm, _alerts.Failed((realm, alert), clock.GetUtcNow()).TotalSeconds);
    }

    private void GroupFailed(string realm, Guid group, Exception error)
    {
        metrics.SetAside("group");
        GroupRests(error, group, realm, _groups.Failed((realm, group), clock.GetUtcNow()).TotalSeconds);
    }

    private async Task<TimeSpan> PassAsync(FlushScope scope, CancellationToken ct)
    {
        var (written, wait) = await pass.RunAsync(scope, ct);
        _written += written;
        return wait;
    }

    public override void Dispose()
    {
        _wake.Dispose();
        base.Dispose();
    }

    [LoggerMessage(LogLevel.Warning, "Telling about the alerts of all realms together failed; they are told apart: {Realms} realms have news or are due")]
    private partial void AllFailed(Exception error, int realms);

    [LoggerMessage(LogLevel.Error, "Nobody is told about the alerts of realm {Realm}, because looking at them fails. Tried again in {Seconds} s; all other realms go on")]
    private partial void RealmRests(Exception error, string realm, double seconds);

    [LoggerMessage(LogLevel.Error, "Nobody is told what is new about the alert {Alert} of realm {Realm}, because routing it fails. Tried again in {Seconds} s; all other alerts go on")]
    private partial void AlertRests(Exception error, Guid alert, string realm, double seconds);

    [LoggerMessage(LogLevel.Error, "The notifications of the group {Group} of realm {Realm} cannot be written. Tried again in {Seconds} s; all other groups go on")]
    private partial void GroupRests(Exception error, Guid group, string realm, double seconds);

    [LoggerMessage(LogLevel.Error, "Telling about alerts failed; trying again in a second")]
    private partial void FlushFailed(Exception error);

    [LoggerMessage(LogLevel.Warning, "Listening for news of alerts failed: {Reason}. Those of other replicas are found by polling meanwhile")]
    private partial void ListeningFailed(string reason);
}
