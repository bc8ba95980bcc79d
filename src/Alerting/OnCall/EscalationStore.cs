using System.Text.Json;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Notifications;
using Platform.Alerting.Routing;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.OnCall;

/// <summary>
/// All SQL about escalations, and the taking of a step: who is behind its targets now, their notifications, the record of it and the time
/// of the next one, in one transaction.
/// </summary>
public sealed class EscalationStore(NpgsqlDataSource db, NotificationStore notifications, OnCallOptions options)
{
    /// <summary>Kind of the notifications that are written here.</summary>
    public const string Kind = "escalation";

    private static Sql Columns => $"e.id, e.alert_id, e.realm, e.policy, e.document::text, e.started_at, e.next_step, e.next_at, e.ended_at, e.end_reason";

    /// <summary>
    /// Begins policies for firing alerts that are told for the first time, in the transaction that tells them. The first step is due at
    /// once, for whoever takes steps. A policy that already runs for an alert goes on as it is; one that ended (an acknowledgement ran out)
    /// begins anew.
    /// </summary>
    /// <param name="climbing">Alerts with the name of a policy of their realm or of realm <c>*</c>. One that is not there is recorded and raises an alert of its own.</param>
    public async Task BeginAsync(NpgsqlTransaction tx, IReadOnlyList<(Guid Alert, string Policy)> climbing, DateTimeOffset now, CancellationToken ct)
    {
        if (climbing.Count > 0)
        {
            await tx.ExecuteAsync($"""
                insert into escalations (id, alert_id, realm, policy, document, started_at, next_step, next_at)
                select n.id, a.id, a.realm, n.policy, p.document, {now}, 0, case when p.document is not null then {now} end
                from unnest({climbing.Select(_ => Guid.CreateVersion7(now)).ToArray()}, {climbing.Select(one => one.Alert).ToArray()}, {climbing.Select(one => one.Policy).ToArray()}) as n (id, alert_id, policy)
                join alerts a on a.id = n.alert_id and a.state = 'firing'
                left join lateral (
                    select document from on_call_plans where kind = 'policy' and name = n.policy and (realm = a.realm or realm = '*') order by realm = '*' limit 1) p on true
                order by a.id, n.policy
                on conflict (alert_id, policy) where ended_at is null do nothing
                """, ct);
        }
    }

    /// <summary>
    /// Takes the step that is due, and those after it as long as a step reaches nobody, up to the end of the round: then there is nobody
    /// now, and the next round comes when its time has come.
    /// </summary>
    public async Task TakeStepAsync(NpgsqlTransaction tx, Escalation escalation, Alert alert, DateTimeOffset now, CancellationToken ct)
    {
        var policy = escalation.Policy!;
        var number = escalation.NextStep;
        var due = escalation.NextAt!.Value;
        DateTimeOffset? next = null;
        while (number < policy.Count && next is null)
        {
            var told = await ReachAsync(tx, policy[number], alert, now, ct);
            var reason = policy.Reason(number);
            var first = told.Min(one => one.At) is { } earliest && earliest > now ? earliest : now;
            // The key lets one of two replicas through; the other's transaction ends here.
            await tx.ExecuteAsync($"""
                insert into escalation_steps (escalation_id, number, due_at, taken_at, told_at, reason, told)
                values ({escalation.Id}, {number}, {due}, {now}, {first}, {reason}, {Queries.Jsonb(told, WireJson.Options)})
                """, ct);
            await notifications.EnqueueAsync(tx, [.. told.Where(one => one.Channel is not null && one.At <= now).Select(one => Message(alert, policy.Name, one.Channel!, NotificationStatus.Firing, reason))], now, ct);
            foreach (var later in told.Where(one => one.At > now))
            {
                var why = $"{reason}; {later.Note}";
                await tx.ExecuteAsync($"""
                    insert into escalation_calls (id, escalation_id, channel, due_at, reason)
                    values ({Guid.CreateVersion7(now)}, {escalation.Id}, {later.Channel}, {later.At}, {why})
                    """, ct);
            }

            // Nobody to wait for: the next step of the round is due at once.
            var goesOn = told.All(one => one.Channel is null) && (number + 1) % policy.Steps.Count != 0;
            next = goesOn ? null : first + policy.Wait(number);
            (number, due) = (number + 1, now);
        }

        await tx.ExecuteAsync($"update escalations set next_step = {number}, next_at = {(number < policy.Count ? next : null)} where id = {escalation.Id}", ct);
    }

    /// <summary>The clock was set back: steps that were to come a while after others still do.</summary>
    public static Task<int> BringForwardAsync(NpgsqlDataSource db, TimeSpan back, DateTimeOffset now, CancellationToken ct) =>
        db.ExecuteAsync($"update escalations set next_at = greatest({now}, next_at - {back}) where ended_at is null and next_at > {now}", ct);

    /// <summary>Whether anything at all is open: when nothing is, nothing can be due or over.</summary>
    public Task<bool> AnyOpenAsync(CancellationToken ct) =>
        db.FindAsync($"select exists (select 1 from escalations where closed_at is null) or exists (select 1 from escalation_calls where settled_at is null)", row => row.GetBoolean(0), ct);

    /// <summary>Escalations whose step is due, the longest waiting first. Takes no lock.</summary>
    public Task<List<Guid>> DueAsync(DateTimeOffset now, Guid[] aside, int atMost, CancellationToken ct) =>
        db.QueryAsync($"select e.id from escalations e join alerts a on a.id = e.alert_id where {IsDue(now)} and e.id <> all({aside}) order by e.next_at limit {atMost}", row => row.GetGuid(0), ct);

    /// <summary>One whose step is still due, for this transaction alone; null when it is not, and when another replica has it.</summary>
    public static Task<Escalation?> ClaimAsync(NpgsqlTransaction tx, Guid id, DateTimeOffset now, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from escalations e join alerts a on a.id = e.alert_id where e.id = {id} and {IsDue(now)} for update of e skip locked", Read, ct);

    /// <summary>Alerts with escalations that nobody needs any more. Takes no lock.</summary>
    public Task<List<Guid>> OverAsync(Guid[] aside, int atMost, CancellationToken ct) =>
        db.QueryAsync($"select distinct e.alert_id from escalations e join alerts a on a.id = e.alert_id where {IsOver} and e.alert_id <> all({aside}) limit {atMost}", row => row.GetGuid(0), ct);

    /// <summary>Ends the escalations of an alert that needs nobody any more; when it is over, whoever was paged is told so.</summary>
    /// <returns>Whether any changed.</returns>
    public async Task<bool> EndAsync(NpgsqlTransaction tx, AlertStore alerts, Guid id, DateTimeOffset now, CancellationToken ct)
    {
        var changed = await tx.QueryAsync($"select {Columns} from escalations e join alerts a on a.id = e.alert_id where e.alert_id = {id} and {IsOver} order by e.id for update of e skip locked", Read, ct);
        if (changed.Count == 0 || await alerts.FindAsync(id, ct) is not { State: not AlertState.Firing } alert)
        {
            return false;
        }

        var act = alert.State == AlertState.Resolved ? alert.Resolved : alert.Acknowledged;
        var reason = act?.By is { } by ? $"{WireJson.Name(alert.State.ToString())} by {by}" : WireJson.Name(alert.State.ToString());
        var ids = changed.Select(escalation => escalation.Id).ToArray();
        await tx.ExecuteAsync($"""
            update escalations set ended_at = coalesce(ended_at, {now}), end_reason = coalesce(end_reason, {reason}), next_at = null,
                closed_at = {(alert.State == AlertState.Resolved ? now : null as DateTimeOffset?)}
            where id = any({ids})
            """, ct);
        await tx.ExecuteAsync($"update escalation_calls set settled_at = {now}, dropped = {reason} where escalation_id = any({ids}) and settled_at is null", ct);
        if (alert.State == AlertState.Resolved)
        {
            await TellResolvedAsync(tx, ids, changed[0].PolicyName, alert, now, ct);
        }

        return true;
    }

    /// <summary>Later messages that are due; those of a suppressed alert wait. Takes no lock.</summary>
    public Task<List<Guid>> CallsDueAsync(DateTimeOffset now, Guid[] aside, int atMost, CancellationToken ct) =>
        db.QueryAsync($"""
            select c.id from escalation_calls c join escalations e on e.id = c.escalation_id join alerts a on a.id = e.alert_id
            where {CallIsDue(now)} and c.id <> all({aside}) order by c.due_at limit {atMost}
            """, row => row.GetGuid(0), ct);

    /// <summary>Sends a later message if it is still due.</summary>
    /// <returns>Whether it was.</returns>
    public async Task<bool> CallAsync(NpgsqlTransaction tx, AlertStore alerts, Guid id, DateTimeOffset now, CancellationToken ct)
    {
        var due = await tx.QueryAsync($"""
            update escalation_calls c set settled_at = {now}
            from (
                select c.id, e.alert_id, e.policy from escalation_calls c join escalations e on e.id = c.escalation_id join alerts a on a.id = e.alert_id
                where c.id = {id} and {CallIsDue(now)} for update of c skip locked) d
            where c.id = d.id returning d.alert_id, d.policy, c.channel, c.reason
            """, row => (Alert: row.GetGuid(0), Policy: row.GetString(1), Channel: row.GetString(2), Reason: row.GetString(3)), ct);
        foreach (var call in due)
        {
            if (await alerts.FindAsync(call.Alert, ct) is { } alert)
            {
                await notifications.EnqueueAsync(tx, [Message(alert, call.Policy, call.Channel, NotificationStatus.Firing, call.Reason)], now, ct);
            }
        }

        return due.Count > 0;
    }

    private static Sql IsOver => $"e.closed_at is null and (a.state = 'resolved' or (e.ended_at is null and a.state <> 'firing'))";

    private static Sql IsDue(DateTimeOffset now) => $"e.ended_at is null and e.next_at <= {now} and a.state = 'firing' and not a.suppressed";

    private static Sql CallIsDue(DateTimeOffset now) => $"c.settled_at is null and c.due_at <= {now} and e.ended_at is null and a.state = 'firing' and not a.suppressed";

    /// <summary>What became of an alert's escalations, oldest first.</summary>
    public async Task<List<Escalation>> OfAlertAsync(Guid alert, CancellationToken ct) =>
        await WithStepsAsync(await db.QueryAsync($"select {Columns} from escalations e where e.alert_id = {alert} order by e.started_at, e.id limit 100", Read, ct), ct);

    /// <summary>Those that run for critical alerts that nobody has acknowledged and nothing suppresses, with their steps. Takes no lock.</summary>
    public async Task<List<Escalation>> RunningForCriticalAsync(Guid after, int atMost, CancellationToken ct) =>
        await WithStepsAsync(await db.QueryAsync($"""
            select {Columns} from escalations e join alerts a on a.id = e.alert_id
            where e.ended_at is null and a.state = 'firing' and a.severity = 'critical' and not a.suppressed and a.name <> {EscalationWatchdog.AlertName} and e.id > {after}
            order by e.id limit {atMost}
            """, Read, ct), ct);

    /// <summary>Critical alerts that nobody has acknowledged and nothing suppresses, in the order of their firing. Takes no lock.</summary>
    public Task<List<CriticalAlert>> CriticalAsync(Cursor after, int atMost, CancellationToken ct) =>
        db.QueryAsync($"""
            select a.id, a.realm, a.name, a.labels::text, a.fired_at,
                greatest(a.fired_at, (select max(l.at) from alert_log l where l.alert_id = a.id and l.what in ('released', 'acknowledgement_ended'))),
                array(select e.policy from escalations e where e.alert_id = a.id and e.ended_at is null)
            from alerts a
            where a.state <> 'resolved' and a.state = 'firing' and a.severity = 'critical' and not a.suppressed and a.name <> {EscalationWatchdog.AlertName}
                and (a.fired_at, a.id) > ({after.At}, {after.Id})
            order by a.fired_at, a.id limit {atMost}
            """,
            row => new CriticalAlert(
                row.GetGuid(0), row.GetString(1), row.GetString(2), LabelSet.Of(JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(3))!),
                row.GetTime(4), row.GetTime(5), row.GetFieldValue<string[]>(6)), ct);

    private async Task<List<Escalation>> WithStepsAsync(List<Escalation> escalations, CancellationToken ct)
    {
        var steps = (await db.QueryAsync($"""
            select escalation_id, number, due_at, taken_at, told_at, reason, told::text from escalation_steps
            where escalation_id = any({escalations.Select(one => one.Id).ToArray()}) order by escalation_id, number
            """,
            row => (Escalation: row.GetGuid(0), Step: new TakenStep(
                row.GetInt32(1), row.GetTime(2), row.GetTime(3), row.GetTime(4), row.GetString(5), JsonSerializer.Deserialize<Told[]>(row.GetString(6), WireJson.Options)!)),
            ct)).ToLookup(one => one.Escalation, one => one.Step);
        return escalations.ConvertAll(one => one with { Steps = [.. steps[one.Id]] });
    }

    private Task<IReadOnlyList<Told>> ReachAsync(NpgsqlTransaction tx, EscalationStep step, Alert alert, DateTimeOffset now, CancellationToken ct) =>
        new Reach(
            (kind, name) => OnCallStore.FindAsync(tx, kind, alert.Realm, name, ct),
            async schedule => [.. (await OnCallStore.OverridesAsync(tx, [schedule.Id], now, now.AddTicks(10), ct)).Select(one => one.Override)])
        .AtAsync(step, options.UrgencyOf(alert.Severity), now);

    // To every channel that was told that it fires. Times in documents are finer than those in columns, hence the millisecond.
    private async Task TellResolvedAsync(NpgsqlTransaction tx, Guid[] escalations, string policy, Alert alert, DateTimeOffset now, CancellationToken ct)
    {
        var channels = await tx.QueryAsync($"""
            select distinct channel from (
                select one->>'channel' as channel from escalation_steps s cross join jsonb_array_elements(s.told) as t (one)
                where s.escalation_id = any({escalations}) and (one->>'at')::timestamptz <= s.taken_at + interval '1 millisecond'
                union all
                select channel from escalation_calls where escalation_id = any({escalations}) and settled_at is not null and dropped is null) told
            where channel is not null order by channel
            """, row => row.GetString(0), ct);
        await notifications.EnqueueAsync(tx, [.. channels.Select(channel => Message(alert, policy, channel, NotificationStatus.Resolved, "all alerts resolved"))], now, ct);
    }

    private static OutgoingNotification Message(Alert alert, string policy, string channel, NotificationStatus status, string reason) => new(
        alert.Realm,
        channel,
        new NotificationContent(status, policy, GroupKey(alert), new Dictionary<string, string>(alert.GroupLabels) { ["alertname"] = alert.Name }, reason, [alert.Told(status)]),
        Kind);

    private static string GroupKey(Alert alert) => $"{alert.Realm}/escalation:{alert.Id}";

    private static Escalation Read(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetGuid(1), row.GetString(2), row.GetString(3), row.IsDBNull(4) ? null : JsonSerializer.Deserialize<EscalationPolicy>(row.GetString(4), WireJson.Options),
        row.GetTime(5), row.GetInt32(6), row.GetTimeOrNull(7), row.GetTimeOrNull(8), row.GetOrNull(9, row.GetString), []);
}
