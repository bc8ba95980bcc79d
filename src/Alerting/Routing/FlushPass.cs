using System.Text.Json;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.OnCall;
using Platform.Alerting.Silences;
using Platform.Postgres;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Routing;

/// <summary>
/// One pass of the flusher, which decides who is told what. It takes news of alerts, routes them into groups, judges what suppresses them,
/// and has the notifications of groups that are due written (<see cref="GroupNotifications"/>): all in one transaction, one at a time over all
/// replicas. So nothing is lost or told twice wherever a process dies, and a suppression that is known when something is due is obeyed.
/// Not for several threads at once.
/// </summary>
public sealed partial class FlushPass(
    NpgsqlDataSource db, RoutingStore routing, GroupNotifications groups, EscalationWorker escalating, TimeProvider clock, ILogger<FlushPass> logger)
{
    internal const int NewsAtOnce = 500;
    internal const int GroupsAtOnce = 500;

    /// <summary>The longest that nobody looks.</summary>
    internal static readonly TimeSpan Poll = TimeSpan.FromSeconds(1);

    private const int MostOthers = 10_000;
    private const int MostProbes = 2_000;

    private readonly ClockWatch _clocks = new();
    private readonly LiveSilences _silences = new(logger);

    /// <summary>Does what there is to do in the scope, a bounded part of it; when it throws, nothing of it was done.</summary>
    /// <returns>How many notifications were written, and how long nothing will be due unless there are news: zero when there may be more to do at once.</returns>
    public async Task<(int Written, TimeSpan Wait)> RunAsync(FlushScope scope, CancellationToken ct)
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

        var acknowledged = await groups.AcknowledgeAsync(tx, [.. news.Where(one => one.Acknowledged && one.Alert.State == AlertState.Acknowledged).Select(one => one.Alert)], table, now, ct);
        var due = scope.Alerts is null ? await GroupStore.DueAsync(tx, scope, now, GroupsAtOnce, ct) : [];
        var (written, climbing) = due.Count > 0 ? await groups.TellAsync(tx, due, table, now, ct) : (0, false);
        var next = await GroupStore.NextDueAsync(tx, scope, ct);
        await tx.CommitAsync(ct);
        _clocks.Saw(now);
        if (climbing)
        {
            escalating.Wake();
        }

        // What is due already and was not taken waits for something else.
        var wait = news.Count > 0 || due.Count > 0 ? TimeSpan.Zero : next is { } at && at > now && at - now < Poll ? at - now : Poll;
        return (written + acknowledged, wait);
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
                log.Add(AlertLogEntry.Of(one.Alert.Id, now, by.Count > 0 ? "suppressed" : "released", by.Count > 0 ? by : before));
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
                log.Add(AlertLogEntry.Of(ofAlert.Key, now, "routed", new
                {
                    version = table.For(first.News.Alert.Realm).Version,
                    routes = ofAlert.Select(wish => new { path = wish.Route.Path, receiver = wish.Route.Receiver, because = wish.Route.Because.Select(MatcherNotation.Write), group_key = wish.Group.Key }),
                }));
            }
        }

        var meant = wishes.Select(wish => (wish.News.Alert.Id, wish.Group.Id)).ToHashSet();
        await GroupStore.LeaveAsync(tx, [.. there.Where(one => !meant.Contains(one)).Select(one => (one.Group, one.Alert))], ct);
    }

    private static string Json(Dictionary<string, string> labels) => JsonSerializer.Serialize(labels);

    [LoggerMessage(LogLevel.Warning, "The clock was set back by {Back}: what waits for its time is looked at now")]
    private partial void ClockWasSetBack(TimeSpan back);
}
