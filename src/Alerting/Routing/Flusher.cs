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
/// wherever a process dies, and a suppression that is known when something is due is obeyed. Woken in the process by whoever changed an
/// alert, by NOTIFY for other replicas, and by the clock.
/// </summary>
public sealed partial class Flusher(
    NpgsqlDataSource db,
    RoutingStore routing,
    NotificationStore notifications,
    EscalationStore escalations,
    ChannelStore channels,
    Dispatcher dispatcher,
    GroupingOptions options,
    TimeProvider clock,
    ILogger<Flusher> logger) : BackgroundService
{
    private const int NewsAtOnce = 500;
    private const int GroupsAtOnce = 500;
    private const int AlertsAtOnce = 500;
    private const int MostOthers = 10_000;
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(1);

    private readonly Signal _wake = new();
    private readonly ClockWatch _clocks = new();

    // Told once each; few, because nothing that cannot be read is stored any more.
    private readonly HashSet<(Guid Silence, int Version)> _unreadable = [];

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

    private async Task<(int Notifications, TimeSpan Wait)> FlushAsync(CancellationToken ct)
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
        var silences = await SilencesAsync(tx, now, ct);
        var news = await GroupStore.TakeNewsAsync(tx, NewsAtOnce, ct);
        if (news.Count > 0)
        {
            await TakeInAsync(tx, news, table, silences, now, ct);
        }

        var acknowledged = await AcknowledgeAsync(tx, [.. news.Where(one => one.Acknowledged && one.Alert.State == AlertState.Acknowledged).Select(one => one.Alert)], table, now, ct);
        var due = await GroupStore.DueAsync(tx, now, GroupsAtOnce, ct);
        var written = acknowledged + (due.Count > 0 ? await TellAsync(tx, due, table, now, ct) : 0);
        var next = await GroupStore.NextDueAsync(tx, ct);
        await tx.CommitAsync(ct);
        _clocks.Saw(now);

        var wait = news.Count > 0 || due.Count > 0 ? TimeSpan.Zero : next is { } at && at - now < Poll ? at - now : Poll;
        return (written, wait < TimeSpan.Zero ? Poll : wait);
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
    private async Task<IReadOnlyList<Silence>> SilencesAsync(NpgsqlTransaction tx, DateTimeOffset now, CancellationToken ct)
    {
        var live = await SilenceStore.LiveAsync(tx, ct);
        foreach (var (silence, applied) in live)
        {
            if (silence.Unreadable is { } written && _unreadable.Add((silence.Id, silence.Version)))
            {
                SilenceNotReadable(silence.Id, silence.Realm, string.Join(", ", written));
            }

            if (applied != WireJson.Name(silence.StateAt(now).ToString()))
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
        var others = await OthersAsync(tx, [.. routed.Select(one => (one.News.Alert, one.Labels, one.Config))], ct);
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
            where id in (select group_id from notification_group_members where alert_id = any({news.Select(one => one.Alert.Id).ToArray()})) and (due_at is null or due_at > {now})
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
        var probes = alerts.SelectMany(one => one.Config.Rules.Where(rule => rule.Target.AllMatch(one.Labels)).Select(rule => (one.Alert.Realm, Probe: Json(rule.Probe(rule.Source, one.Labels))))).ToHashSet();
        return await GroupStore.FindOpenAsync(tx, probes, MostOthers, ct);
    }

    /// <summary>Alerts that began may keep others quiet from now on; those that ended did so until now.</summary>
    private static Task AffectOthersAsync(NpgsqlTransaction tx, IReadOnlyList<(AlertNews News, Labels Labels, RoutingConfig Config)> alerts, CancellationToken ct) =>
        GroupStore.JudgeAgainAsync(
            tx,
            alerts.Where(one => one.News.Alert.IsOpen)
                .SelectMany(one => one.Config.Rules.Where(rule => rule.Source.AllMatch(one.Labels)).Select(rule => (one.News.Alert.Realm, Probe: Json(rule.Probe(rule.Target, one.Labels))))).ToHashSet(),
            [.. alerts.Where(one => !one.News.Alert.IsOpen && one.Config.Rules.Any(rule => rule.Source.AllMatch(one.Labels))).Select(one => one.News.Alert.Id)],
            ct);

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

    private async Task<int> TellAsync(NpgsqlTransaction tx, List<AlertGroup> due, RoutingTable table, DateTimeOffset now, CancellationToken ct)
    {
        var members = (await GroupStore.MembersAsync(tx, [.. due.Select(group => group.Id)], ct)).ToLookup(one => one.Group, one => one.Member);
        var judged = new List<(AlertGroup Group, GroupVerdict Verdict, bool Empty)>(due.Count);
        var shift = new List<Guid>();
        foreach (var group in due)
        {
            var config = table.For(group.Realm).Config;
            var (mute, active) = (group.Route.MuteTimeIntervals, group.Route.ActiveTimeIntervals);
            var mutedBy = group.Route.HasIntervals ? Muting.MutedBy(mute, active, config.TimeIntervals, now) : null;
            DateTimeOffset? change = group.Route.HasIntervals ? Muting.NextChange(mute, active, config.TimeIntervals, now) : null;
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

    private async Task<int> WriteAsync(
        NpgsqlTransaction tx, IReadOnlyList<(AlertGroup Group, GroupVerdict Verdict, bool Empty)> judged, RoutingTable table, DateTimeOffset now, CancellationToken ct)
    {
        var telling = judged.Where(one => one.Verdict.Tellings.Count > 0).ToList();
        if (telling.Count == 0)
        {
            return 0;
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

        return written + await EscalateAsync(tx, telling.ConvertAll(one => (one.Group, one.Verdict)), table, now, ct);
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

    /// <summary>Whoever is told for the first time through a receiver with a policy, or again because nobody ended it in time, begins to climb.</summary>
    private async Task<int> EscalateAsync(NpgsqlTransaction tx, List<(AlertGroup Group, GroupVerdict Verdict)> telling, RoutingTable table, DateTimeOffset now, CancellationToken ct)
    {
        var climbing = telling
            .Select(one => (Policy: table.For(one.Group.Realm).Config.Find(one.Group.Receiver)?.EscalationPolicy, one.Verdict.Told))
            .Where(one => one.Policy is not null)
            .SelectMany(one => one.Told.Select(id => (Id: id, Policy: one.Policy!)))
            .Distinct().ToList();
        if (climbing.Count == 0)
        {
            return 0;
        }

        var alerts = (await AlertStore.GetAsync(tx, [.. climbing.Select(one => one.Id).Distinct()], ct)).ToDictionary(alert => alert.Id);
        foreach (var (id, policy) in climbing.Where(one => alerts.GetValueOrDefault(one.Id)?.State == AlertState.Firing))
        {
            await escalations.BeginAsync(tx, alerts[id], policy, now, ct);
        }

        return climbing.Count;
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

    [LoggerMessage(LogLevel.Error, "Telling about alerts failed; trying again in a second")]
    private partial void FlushFailed(Exception error);

    [LoggerMessage(LogLevel.Warning, "The clock was set back by {Back}: what waits for its time is looked at now")]
    private partial void ClockWasSetBack(TimeSpan back);

    [LoggerMessage(LogLevel.Warning, "Listening for news of alerts failed: {Reason}. Those of other replicas are found by polling meanwhile")]
    private partial void ListeningFailed(string reason);

    [LoggerMessage(LogLevel.Error, "The silence {Silence} of realm {Realm} has matchers that cannot be read and takes no alert: {Matchers}. Change it or end it")]
    private partial void SilenceNotReadable(Guid silence, string realm, string matchers);

    [LoggerMessage(LogLevel.Error, "The receiver {Receiver} of realm {Realm} is not configured any more; a group of its alerts is told to nobody")]
    private partial void ReceiverIsGone(string receiver, string realm);
}
