using System.ComponentModel.DataAnnotations;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Alerting.OnCall;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Routing;

/// <summary>How groups are told.</summary>
public sealed class GroupingOptions
{
    /// <summary>Alerts that one notification lists; further ones of the group are only counted.</summary>
    [Setting("ALERT_MAX_ALERTS_PER_NOTIFICATION"), Range(1, 1_000)]
    public int MostAlerts { get; init; } = 100;
}

/// <summary>
/// Writes what the channels of a receiver are to tell about a group that is due, and about one that somebody takes care of, in the pass's
/// transaction. Not for several threads at once.
/// </summary>
public sealed partial class GroupNotifications(
    NotificationStore notifications, EscalationStore escalations, ChannelStore channels, GroupingOptions options, ILogger<GroupNotifications> logger)
{
    private const int AlertsAtOnce = 500;

    private readonly MutedRoutes _muted = new();

    /// <summary>Judges the groups, tells what is to be told of each, and keeps when each is due next.</summary>
    /// <returns>How many notifications were written, and whether somebody begins to climb.</returns>
    public async Task<(int Written, bool Climbing)> TellAsync(NpgsqlTransaction tx, List<AlertGroup> due, RoutingTable table, DateTimeOffset now, CancellationToken ct)
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
        await GroupStore.LogAsync(tx, [.. judged.SelectMany(one => one.Verdict.Untold.Select(alert => AlertLogEntry.Of(alert, now, "not_told", new { receiver = one.Group.Receiver, reason = one.Group.MutedBy is { } by ? $"it was over before {by} was" : "it was over, or suppressed, before it was due" })))], ct);
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

    /// <summary>
    /// Channels that can show it learn that somebody takes care: where an alert was told, once nothing that the group has told calls any more. Others are not told:
    /// it would be one message more for those who need do nothing.
    /// </summary>
    /// <returns>How many notifications were written.</returns>
    public async Task<int> AcknowledgeAsync(NpgsqlTransaction tx, IReadOnlyList<Alert> alerts, RoutingTable table, DateTimeOffset now, CancellationToken ct)
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

    [LoggerMessage(LogLevel.Error, "The receiver {Receiver} of realm {Realm} is not configured any more; a group of its alerts is told to nobody")]
    private partial void ReceiverIsGone(string receiver, string realm);
}
