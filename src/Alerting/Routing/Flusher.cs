using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Alerting.OnCall;
using Platform.Alerting.Silences;
using Platform.Postgres;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Routing;

public sealed class GroupingOptions
{
    /// <summary>Alerts that one notification lists; further ones of the group are only counted.</summary>
    [Setting("ALERT_MAX_ALERTS_PER_NOTIFICATION"), Range(1, 1_000)]
    public int MostAlerts { get; init; } = 100;
}

/// <summary>
/// The one that decides who is told what. It takes news of alerts, routes them into groups, judges what suppresses them, and writes the
/// notifications of groups that are due: all in one transaction, one at a time over all replicas. So nothing is lost or told twice
/// wherever a process dies, and a suppression that is known when something is due is obeyed. What fails is found, realm by realm and alert
/// by alert, and rests, so that one realm's trouble is not the others'. Woken in the process by whoever changed an
/// alert, by NOTIFY for other replicas, and by the clock.
/// </summary>
public sealed partial class Flusher(
    NpgsqlDataSource db,
    RoutingStore routing,
    NotificationStore notifications,
    EscalationStore escalations,
    ChannelStore channels,
    EscalationWorker escalating,
    Dispatcher dispatcher,
    GroupingOptions options,
    AlertingMetrics metrics,
    TimeProvider clock,
    ILogger<Flusher> logger) : BackgroundService
{
    private const int NewsAtOnce = 500;
    private const int GroupsAtOnce = 500;
    private const int AlertsAtOnce = 500;
    private const int MostOthers = 10_000;
    private const int MostProbes = 2_000;

    // So many alerts and groups of a realm fail alone before the realm rests.
    private const int MostFailures = 20;
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(1);

    private readonly Signal _wake = new();
    private readonly ClockWatch _clocks = new();

    // Of the loop alone.
    private readonly LiveSilences _silences = new(logger);
    private readonly MutedRoutes _muted = new();
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
            return Poll;
        }
        catch (OperationCanceledException)
        {
            return Poll;
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
            wait = Poll;
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

        var alerts = await GroupStore.WithNewsAsync(db, scope, NewsAtOnce, ct);
        await Halving.EachAsync(
            alerts,
            some => failures < MostFailures ? PassAsync(scope with { Alerts = [.. some] }, ct) : Task.CompletedTask,
            (alert, why) => { failures++; AlertFailed(realm, alert, why); },
            BlameAsync, ct);
        scope = scope with { Aside = ([], [.. _alerts.All.Select(one => one.Alert)], [.. _groups.All.Select(one => one.Group)]) };
        var groups = await GroupStore.DueIdsAsync(db, scope, now, GroupsAtOnce, ct);
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

    // Zero when there may be more to do at once.
    private async Task<TimeSpan> PassAsync(FlushScope scope, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await GroupStore.LockAsync(tx, ct);
        var now = clock.GetUtcNow();
        if (_clocks.SetBackBy(now) is var back && back > TimeSpan.Zero)
        {
            ClockWasSetBack(back);
            await LookAgainAsync(tx, now, ct);
        }

        var table = await routing.TableAsync(tx, ct);
        var silences = await SilencesAsync(tx, scope, now, ct);
        var news = scope.Groups is null ? await GroupStore.TakeNewsAsync(tx, scope, NewsAtOnce, ct) : [];
        if (news.Count > 0)
        {
            await TakeInAsync(tx, news, table, silences, now, ct);
        }

        var acknowledged = await AcknowledgeAsync(tx, [.. news.Where(one => one.Acknowledged && one.Alert.State == AlertState.Acknowledged).Select(one => one.Alert)], table, now, ct);
        var due = scope.Alerts is null ? await GroupStore.DueAsync(tx, scope, now, GroupsAtOnce, ct) : [];
        var (written, climbing) = due.Count > 0 ? await TellAsync(tx, due, table, now, ct) : (0, false);
        var next = await GroupStore.NextDueAsync(tx, scope, ct);
        await tx.CommitAsync(ct);
        _clocks.Saw(now);
        _written += written + acknowledged;
        if (climbing)
        {
            escalating.Wake();
        }

        if (news.Count > 0 || due.Count > 0)
        {
            return TimeSpan.Zero;
        }

        // What is due already and was not taken waits for something else.
        return next is { } at && at > now && at - now < Poll ? at - now : Poll;
    }

    // What waits for a time that the clock had nearly reached, or had already passed, is judged by the clock of now.
    private static async Task LookAgainAsync(NpgsqlTransaction tx, DateTimeOffset now, CancellationToken ct)
    {
        await tx.ExecuteAsync($"""
            update notification_groups set
                due_at = case when due_at > {now} then {now} else due_at end,
                last_told_at = case when last_told_at > {now} then {now} else last_told_at end
            where due_at > {now} or last_told_at > {now}
            """, ct);
        await tx.ExecuteAsync($"update notification_group_members set tell_at = {now} where not told and tell_at > {now}", ct);
        await tx.ExecuteAsync($"update silences set applied = 'changed' where applied = 'expired' and ends_at > {now}", ct);
    }

    /// <summary>Silences that may hold; those that began, changed or ended since the last look have their alerts judged again.</summary>
    private async Task<IReadOnlyList<Silence>> SilencesAsync(NpgsqlTransaction tx, FlushScope scope, DateTimeOffset now, CancellationToken ct)
    {
        var live = await _silences.ReadAsync(tx, scope.Realms, ct);
        foreach (var (silence, applied) in live)
        {
            if (applied != WireJson.Name(silence.StateAt(now).ToString()) && !scope.Aside.Realms.Contains(silence.Realm))
            {
                await SilenceStore.ApplyAsync(tx, silence, silence.StateAt(now), ct);
            }
        }

        return [.. live.Select(one => one.Silence).Where(silence => silence.StateAt(now) == SilenceState.Active)];
    }

    private static async Task TakeInAsync(
        NpgsqlTransaction tx, List<AlertNews> news, RoutingTable table, IReadOnlyList<Silence> silences, DateTimeOffset now, CancellationToken ct)
    {
        var seen = news.ConvertAll(one => (News: one, Labels: LabelSet.Of(one.Alert.Labels), table.For(one.Alert.Realm).Config));
        // Only what can still be told is routed: an end is told where its beginning was.
        var routed = seen.Where(one => one.News.Alert.IsOpen || one.News.Began).Select(one => (one.News, one.Labels, one.Config, Routes: Routing.Match(one.Config.Route, one.Labels))).ToList();
        var others = new Inhibitors(await OthersAsync(tx, [.. routed.Select(one => (one.News.Alert, one.Labels, one.Config))], ct));
        var log = new List<AlertLogEntry>();
        var suppressed = new List<(Guid Id, IReadOnlyList<Suppression> By)>();
        var again = news.Where(one => one.Again is not null && one.Alert.IsOpen).Select(one => (one.Alert.Id, Reason: one.Again!)).ToList();
        foreach (var (one, labels, config, routes) in routed)
        {
            var before = one.Alert.SuppressedBy ?? [];
            var by = Suppressing.Judge(one.Alert.Id, one.Alert.Realm, labels, before, silences, config, others, routes, now);
            if (!by.SequenceEqual(before))
            {
                suppressed.Add((one.Alert.Id, by));
                log.Add(Entry(one.Alert.Id, now, by.Count > 0 ? "suppressed" : "released", by.Count > 0 ? by : before));
            }

            if (Suppressing.HoldsEverywhere(before) && !Suppressing.HoldsEverywhere(by))
            {
                again.Add((one.Alert.Id, Suppressing.Lifted(before)));
            }
        }

        await GroupStore.SaveSuppressionAsync(tx, suppressed, ct);
        await JoinAsync(tx, [.. routed.Select(one => (one.News, one.Labels, one.Routes))], table, log, now, ct);
        await GroupStore.TellAgainAsync(tx, again, ct);
        await GroupStore.LogAsync(tx, log, ct);
        // Whatever happened to the alerts, their groups are to be looked at.
        await tx.ExecuteAsync($"""
            update notification_groups set due_at = {now}
            where id = any(array(select group_id from notification_group_members where alert_id = any({news.Select(one => one.Alert.Id).ToArray()}))) and (due_at is null or due_at > {now})
            """, ct);
        await AffectOthersAsync(tx, [.. seen.Where(one => one.News.Began || one.News.Ended)], ct);
    }

    /// <summary>
    /// Channels that can show it learn that somebody takes care: where an alert was told, once nothing that the group has told calls any more. Others are not told:
    /// it would be one message more for those who need do nothing.
    /// </summary>
    private async Task<int> AcknowledgeAsync(NpgsqlTransaction tx, IReadOnlyList<Alert> alerts, RoutingTable table, DateTimeOffset now, CancellationToken ct)
    {
        if (alerts.Count == 0)
        {
            return 0;
        }

        var showing = new Dictionary<(string Realm, string Name), bool>();
        var telling = new List<(AlertGroup Group, string[] Channels)>();
        foreach (var group in await GroupStore.AcknowledgedAsync(tx, [.. alerts.Select(alert => alert.Id)], ct))
        {
            var config = table.For(group.Realm).Config;
            var named = Muting.MutedBy(group.Route.MuteTimeIntervals, group.Route.ActiveTimeIntervals, config.TimeIntervals, now) is null ? config.Find(group.Receiver)?.Channels ?? [] : [];
            foreach (var name in named.Where(name => !showing.ContainsKey((group.Realm, name))))
            {
                showing[(group.Realm, name)] = await channels.FindAsync(tx, group.Realm, name, ct) is { ShowsAcknowledgements: true };
            }

            if (named.Where(name => showing[(group.Realm, name)]).ToArray() is { Length: > 0 } those)
            {
                telling.Add((group, those));
            }
        }

        var members = (await GroupStore.MembersAsync(tx, [.. telling.Select(one => one.Group.Id)], ct))
            .Where(one => one.Member.Told && one.Member.State == AlertState.Acknowledged).ToLookup(one => one.Group, one => one.Member.AlertId);
        var known = (await AlertStore.GetAsync(tx, [.. telling.SelectMany(one => members[one.Group.Id].Take(options.MostAlerts)).Distinct()], ct)).ToDictionary(alert => alert.Id);
        var outgoing = new List<OutgoingNotification>();
        foreach (var (group, those) in telling)
        {
            var listed = members[group.Id].Where(known.ContainsKey).Select(id => known[id]).ToList();
            var latest = listed.Select(alert => alert.Acknowledged!).MaxBy(act => act.At)!;
            var content = new NotificationContent(
                NotificationStatus.Firing, group.Receiver, group.Key, group.Labels, $"acknowledged by {latest.By}{(latest.Reason is { Length: > 0 } reason ? $": {reason}" : "")}",
                [.. listed.OrderBy(alert => alert.Severity).ThenBy(alert => alert.StartsAt).ThenBy(alert => alert.Id).Take(options.MostAlerts).Select(alert => alert.Told(NotificationStatus.Firing))],
                Math.Max(0, members[group.Id].Count() - options.MostAlerts));
            outgoing.AddRange(those.Select(channel => new OutgoingNotification(group.Realm, channel, content, "acknowledged")));
        }

        await notifications.EnqueueAsync(tx, outgoing, now, ct);
        return outgoing.Count;
    }

    /// <summary>Open alerts that may keep these quiet.</summary>
    private static async Task<IReadOnlyList<OpenAlert>> OthersAsync(NpgsqlTransaction tx, IReadOnlyList<(Alert Alert, Labels Labels, RoutingConfig Config)> alerts, CancellationToken ct)
    {
        var probes = Bounded(alerts.SelectMany(one => one.Config.Rules.Where(rule => rule.Target.AllMatch(one.Labels)).Select(rule => (one.Alert.Realm, Probe: Json(rule.Probe(rule.Source, one.Labels))))));
        return await GroupStore.FindOpenAsync(tx, probes, MostOthers, ct);
    }

    /// <summary>Alerts that began may keep others quiet from now on; those that ended did so until now.</summary>
    private static Task AffectOthersAsync(NpgsqlTransaction tx, IReadOnlyList<(AlertNews News, Labels Labels, RoutingConfig Config)> alerts, CancellationToken ct) =>
        GroupStore.JudgeAgainAsync(
            tx,
            Bounded(alerts.Where(one => one.News.Alert.IsOpen)
                .SelectMany(one => one.Config.Rules.Where(rule => rule.Source.AllMatch(one.Labels)).Select(rule => (one.News.Alert.Realm, Probe: Json(rule.Probe(rule.Target, one.Labels)))))),
            [.. alerts.Where(one => !one.News.Alert.IsOpen && one.Config.Rules.Any(rule => rule.Source.AllMatch(one.Labels))).Select(one => one.News.Alert.Id)],
            ct);

    // Of a realm with very many of them, everything open is looked at instead: that is one probe.
    private static IReadOnlyCollection<(string Realm, string Probe)> Bounded(IEnumerable<(string Realm, string Probe)> probes) =>
        [.. probes.GroupBy(probe => probe.Realm).SelectMany(realm => realm.Distinct().Take(MostProbes + 1).ToList() is { Count: > MostProbes } ? [(realm.Key, "{}")] : realm.Distinct())];

    private static async Task JoinAsync(
        NpgsqlTransaction tx, IReadOnlyList<(AlertNews News, Labels Labels, IReadOnlyList<RouteMatch> Routes)> alerts, RoutingTable table, List<AlertLogEntry> log, DateTimeOffset now, CancellationToken ct)
    {
        var wanted = new Dictionary<Guid, AlertGroup>();
        var wishes = new List<(AlertNews News, AlertGroup Group, RouteMatch Route)>();
        foreach (var (news, labels, routes) in alerts)
        {
            foreach (var route in routes)
            {
                var group = AlertGroup.Of(news.Alert.Realm, route, labels);
                wanted[group.Id] = news.ToldBefore ? group with { LastToldAt = now } : group;
                wishes.Add((news, group, route));
            }
        }

        var memberships = await GroupStore.MembershipsAsync(tx, [.. alerts.Select(one => one.News.Alert.Id)], ct);
        var there = memberships.Where(one => !one.Leaving).Select(one => (one.Alert, one.Group)).ToHashSet();
        var groups = (await GroupStore.GroupsAsync(tx, wanted.Keys, ct)).ToDictionary(group => group.Id);
        await GroupStore.SaveRoutesAsync(tx, [.. wanted.Values.Where(group => !groups.TryGetValue(group.Id, out var known) || !group.Route.SameAs(known.Route))], ct);
        var joining = wishes.Where(wish => !there.Contains((wish.News.Alert.Id, wish.Group.Id))).DistinctBy(wish => (wish.News.Alert.Id, wish.Group.Id)).ToList();
        await GroupStore.JoinAsync(tx, joining.ConvertAll(wish => (
            wish.Group.Id,
            wish.News.Alert.Id,
            Grouping.TellAt(wish.News.Alert.Severity, wish.News.Alert.FiredAt < now ? wish.News.Alert.FiredAt : now, passed: wish.News.Alert.Resolved?.At == wish.News.Alert.FiredAt, wish.Route.GroupWait),
            wish.News.ToldBefore)), ct);
        var rerouted = joining.Select(wish => wish.News.Alert.Id).ToHashSet();
        foreach (var ofAlert in wishes.GroupBy(wish => wish.News.Alert.Id))
        {
            var first = ofAlert.First();
            if (rerouted.Contains(ofAlert.Key))
            {
                log.Add(Entry(ofAlert.Key, now, "routed", new
                {
                    version = table.For(first.News.Alert.Realm).Version,
                    routes = ofAlert.Select(wish => new { path = wish.Route.Path, receiver = wish.Route.Receiver, because = wish.Route.Because.Select(MatcherNotation.Write), group_key = wish.Group.Key }),
                }));
            }
        }

        var meant = wishes.Select(wish => (wish.News.Alert.Id, wish.Group.Id)).ToHashSet();
        await GroupStore.LeaveAsync(tx, [.. there.Where(one => !meant.Contains(one)).Select(one => (one.Group, one.Alert))], ct);
    }

    private async Task<(int Written, bool Climbing)> TellAsync(NpgsqlTransaction tx, List<AlertGroup> due, RoutingTable table, DateTimeOffset now, CancellationToken ct)
    {
        var members = (await GroupStore.MembersAsync(tx, [.. due.Select(group => group.Id)], ct)).ToLookup(one => one.Group, one => one.Member);
        var judged = new List<(AlertGroup Group, GroupVerdict Verdict, bool Empty)>(due.Count);
        var shift = new List<Guid>();
        foreach (var group in due)
        {
            var (mutedBy, change) = _muted.Of(table, group.Realm, group.Route, now);
            var all = members[group.Id].ToList();
            var verdict = Grouping.Judge(group.LastToldAt, all, group.Route.Interval, group.Route.Repeat, mutedBy is null ? null : change, now);
            if (change is { } then && (verdict.DueAt is null || verdict.DueAt > then))
            {
                verdict = verdict with { DueAt = then };
            }

            if (mutedBy != group.MutedBy)
            {
                shift.AddRange(all.Select(member => member.AlertId));
            }

            judged.Add((group with { MutedBy = mutedBy }, verdict, all.Count == verdict.Gone.Count));
        }

        var written = await WriteAsync(tx, judged, table, now, ct);
        await GroupStore.SaveAsync(tx, judged, ct);
        await GroupStore.LogAsync(tx, [.. judged.SelectMany(one => one.Verdict.Untold.Select(alert => Entry(alert, now, "not_told", new { receiver = one.Group.Receiver, reason = one.Group.MutedBy is { } by ? $"it was over before {by} was" : "it was over, or suppressed, before it was due" })))], ct);
        if (shift.Count > 0)
        {
            // What is shown of them follows the interval.
            await tx.ExecuteAsync($"insert into alert_news (alert_id, what) select id, 'judge' from unnest({shift.Distinct().ToArray()}) as a (id)", ct);
        }

        return written;
    }

    private async Task<(int Written, bool Climbing)> WriteAsync(
        NpgsqlTransaction tx, IReadOnlyList<(AlertGroup Group, GroupVerdict Verdict, bool Empty)> judged, RoutingTable table, DateTimeOffset now, CancellationToken ct)
    {
        var telling = judged.Where(one => one.Verdict.Tellings.Count > 0).ToList();
        if (telling.Count == 0)
        {
            return (0, false);
        }

        var written = 0;
        // So many groups at a time that the texts of their alerts stay in bounds, however large each is.
        for (var (from, to, alerts) = (0, 0, 0); from < telling.Count; (from, alerts) = (to, 0))
        {
            while (to < telling.Count && (to == from || alerts < AlertsAtOnce))
            {
                alerts += telling[to++].Verdict.Tellings.Sum(told => Math.Min(options.MostAlerts, told.Firing.Count + told.Resolved.Count));
            }

            written += await WriteSomeAsync(tx, telling[from..to], table, now, ct);
        }

        return (written, await EscalateAsync(tx, telling.ConvertAll(one => (one.Group, one.Verdict)), table, now, ct));
    }

    private async Task<int> WriteSomeAsync(
        NpgsqlTransaction tx, IReadOnlyList<(AlertGroup Group, GroupVerdict Verdict, bool Empty)> telling, RoutingTable table, DateTimeOffset now, CancellationToken ct)
    {
        // Of a large group more is loaded than one notification lists, never all of it.
        var wanted = telling.SelectMany(one => one.Verdict.Tellings.SelectMany(told => Chosen(told, one.Verdict).Select(choice => choice.Id))).Distinct().ToArray();
        var alerts = (await AlertStore.GetAsync(tx, wanted, ct)).ToDictionary(alert => alert.Id);
        var outgoing = new List<OutgoingNotification>();
        foreach (var (group, verdict, _) in telling)
        {
            if (table.For(group.Realm).Config.Find(group.Receiver) is not { } receiver)
            {
                ReceiverIsGone(group.Receiver, group.Realm);
                continue;
            }

            foreach (var told in verdict.Tellings)
            {
                var listed = Chosen(told, verdict).Where(choice => alerts.ContainsKey(choice.Id)).Select(choice => alerts[choice.Id].Told(choice.Status))
                    .OrderBy(alert => alert.Status).ThenBy(alert => alert.Severity).ThenBy(alert => alert.StartsAt).ThenBy(alert => alert.Id).ToList();
                var content = new NotificationContent(
                    told.Firing.Count > 0 ? NotificationStatus.Firing : NotificationStatus.Resolved, group.Receiver, group.Key, group.Labels, told.Reason, listed,
                    told.Firing.Count + told.Resolved.Count - listed.Count);
                outgoing.AddRange(receiver.Channels.Select(channel => new OutgoingNotification(group.Realm, channel, content, "alert")));
            }
        }

        await notifications.EnqueueAsync(tx, outgoing, now, ct);
        return outgoing.Count;
    }

    /// <summary>
    /// Whoever is told for the first time through a receiver with a policy, or again because nobody ended it in time, begins to climb. Only
    /// the beginning is written here: who is reached is the worker's business, each escalation in a transaction of its own.
    /// </summary>
    private async Task<bool> EscalateAsync(NpgsqlTransaction tx, List<(AlertGroup Group, GroupVerdict Verdict)> telling, RoutingTable table, DateTimeOffset now, CancellationToken ct)
    {
        var climbing = telling
            .Select(one => (Policy: table.For(one.Group.Realm).Config.Find(one.Group.Receiver)?.EscalationPolicy, one.Verdict.Told))
            .Where(one => one.Policy is not null)
            .SelectMany(one => one.Told.Select(id => (Id: id, Policy: one.Policy!)))
            .Distinct().ToList();
        await escalations.BeginAsync(tx, climbing, now, ct);
        return climbing.Count > 0;
    }

    /// <summary>What a notification lists: what is new first, when there is too much for all.</summary>
    private IEnumerable<(Guid Id, NotificationStatus Status)> Chosen(Telling told, GroupVerdict verdict)
    {
        var firing = told.Firing.Select(id => (id, NotificationStatus.Firing));
        var resolved = told.Resolved.Select(id => (id, NotificationStatus.Resolved));
        if (told.Firing.Count + told.Resolved.Count <= options.MostAlerts)
        {
            return firing.Concat(resolved);
        }

        var news = verdict.Told.Concat(verdict.First).ToHashSet();
        return firing.Where(one => news.Contains(one.id)).Concat(resolved).Concat(firing.Where(one => !news.Contains(one.id))).Take(options.MostAlerts);
    }

    private static AlertLogEntry Entry<T>(Guid alert, DateTimeOffset at, string what, T detail) =>
        new(alert, at, what, null, JsonSerializer.SerializeToElement(detail, WireJson.Options));

    private static string Json(Dictionary<string, string> labels) => JsonSerializer.Serialize(labels);

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

    [LoggerMessage(LogLevel.Warning, "The clock was set back by {Back}: what waits for its time is looked at now")]
    private partial void ClockWasSetBack(TimeSpan back);

    [LoggerMessage(LogLevel.Warning, "Listening for news of alerts failed: {Reason}. Those of other replicas are found by polling meanwhile")]
    private partial void ListeningFailed(string reason);

    [LoggerMessage(LogLevel.Error, "The receiver {Receiver} of realm {Realm} is not configured any more; a group of its alerts is told to nobody")]
    private partial void ReceiverIsGone(string receiver, string realm);
}
