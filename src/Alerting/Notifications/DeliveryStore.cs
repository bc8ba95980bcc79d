using System.Text.Json;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Canaries;
using Platform.Alerting.Channels;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

/// <summary>A notification that this process is to send now.</summary>
/// <param name="Number">Grows with each that is written.</param>
/// <param name="Attempt">Number of this attempt, from 1. Whoever claims it later has a higher one.</param>
/// <param name="Until">When the claim ends and another may take it.</param>
/// <param name="Since">When it was written, or when somebody asked for another try: the deadline counts from here.</param>
public sealed record Claimed(
    Guid Id, long Number, string Realm, string ChannelRealm, string Channel, string Kind, NotificationContent Content, int Attempt, DateTimeOffset CreatedAt, DateTimeOffset Since, DateTimeOffset Until, string? Memory)
{
    /// <summary>The stored channel; null when it is of settings or no longer there.</summary>
    public (Guid Id, int Version)? Stored { get; init; }

    /// <summary>Finds out whether a channel that was left alone answers again.</summary>
    public bool IsProbe { get; init; }

    public ChannelMessage Message => new(Id, Realm, Kind, Content, CreatedAt, Memory);
}

/// <summary>What came of a claim.</summary>
/// <param name="Attempt">Null when it was given back without an attempt.</param>
/// <param name="Answer">Null when nobody was asked: given back, or out of time.</param>
public sealed record Settlement(Claimed Claimed, Channel? Channel, Attempt? Attempt, Answer? Answer, Verdict Verdict);

/// <summary>
/// All SQL of delivery: claims and settlements, many at a time. Whoever claims holds the channels' rows, so that replicas share one
/// bucket and one circuit; the rows are locked in the order of their names, and before notifications, which are skipped when locked.
/// </summary>
public sealed class DeliveryStore(NpgsqlDataSource db, NotificationStore notifications, AlertStore alerts, NotificationOptions options, FlowOptions flow)
{
    private const string FailureAlert = "NotificationDeliveryFailed";

    // Every channel that has something pending: one step in the index per channel, however much is pending.
    private static Sql Busy => $"""
        with recursive busy (realm, channel) as (
            (select channel_realm, channel from notifications where state = 'pending' order by channel_realm, channel limit 1)
            union all
            select next.channel_realm, next.channel from busy cross join lateral (
                select channel_realm, channel from notifications
                where state = 'pending' and (channel_realm, channel) > (busy.realm, busy.channel)
                order by channel_realm, channel limit 1) next)
        """;

    /// <summary>
    /// Takes what is due until <paramref name="lease"/> from now: should this process die with it, another takes over. What is told about
    /// one group over one channel goes in order; the next waits until the one before is settled. The group, not the alert: receivers know
    /// both episodes of a flapping alert by the same key, and would take a late "resolved" of the first for the second's. Claims go by the
    /// database's clock: a replica whose own is ahead would take what another is sending. Channels are locked in one order everywhere, which
    /// is not that of the database's language.
    /// </summary>
    /// <param name="room">How many of a channel may go.</param>
    public async Task<List<Claimed>> ClaimAsync(Func<ChannelQueue, Room> room, TimeSpan lease, DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var queues = await tx.QueryAsync($"""
            {Busy}
            select s.realm, s.channel, c.id, c.version, c.kind, c.rate_per_minute, s.tokens, s.refilled_at, s.paused_until, s.failures
            from busy join channel_states s using (realm, channel) left join channels c on c.realm = s.realm and c.name = s.channel
            order by s.realm collate "C", s.channel collate "C" for update of s
            """, ReadQueue, ct);
        var open = queues.Select(queue => (Queue: queue, Room: room(queue))).Where(one => one.Room.Count > 0).ToArray();
        if (open.Length == 0)
        {
            return [];
        }

        // "offset 0" has the look for earlier ones asked row by row, in the order of the index and no longer than there is room: as a join
        // it would be answered for all that wait.
        var claimed = await tx.QueryAsync($"""
            update notifications n set attempts = n.attempts + 1, claimed_until = clock_timestamp() + {lease}
            from (
                select due.id
                from unnest({Each(one => one.Queue.Realm)}, {Each(one => one.Queue.Name)}, {Each(one => one.Room.Count)}, {Each(one => one.Room.IsProbe)}) as r (realm, channel, room, probe)
                cross join lateral (
                    select id from notifications one
                    where state = 'pending' and channel_realm = r.realm and channel = r.channel
                        and (next_attempt_at <= {now} or r.probe) and (claimed_until is null or claimed_until <= clock_timestamp())
                        and not exists (select 1 from notifications earlier
                            where earlier.realm = one.realm and earlier.group_key = one.group_key and earlier.channel = one.channel and earlier.state = 'pending' and earlier.number < one.number
                            offset 0)
                    order by urgency, number limit r.room
                    for update skip locked) due) due
            where n.id = due.id
            returning {ClaimColumns}
            """, row => ReadClaim(row, now + lease), ct);
        if (claimed.Count == 0)
        {
            return [];
        }

        var taken = claimed.CountBy(one => (one.ChannelRealm, one.Channel)).ToDictionary();
        var changed = open.Where(one => taken.ContainsKey((one.Queue.Realm, one.Queue.Name)) && (one.Room.Tokens is not null || one.Room.IsProbe)).ToArray();
        if (changed.Length > 0)
        {
            // A probe is alone: until it is answered, or its sender is dead, nobody else tries.
            await tx.ExecuteAsync($"""
                update channel_states s set tokens = v.tokens, refilled_at = {now}, paused_until = coalesce(v.paused_until, s.paused_until)
                from unnest({changed.Select(one => one.Queue.Realm).ToArray()}, {changed.Select(one => one.Queue.Name).ToArray()},
                    {changed.Select(one => (one.Room.Tokens ?? one.Queue.Tokens) - (one.Room.Tokens is null ? 0 : taken[(one.Queue.Realm, one.Queue.Name)])).ToArray()},
                    {Queries.Times(changed.Select(one => one.Room.IsProbe ? now + lease : (DateTimeOffset?)null))}) as v (realm, channel, tokens, paused_until)
                where s.realm = v.realm and s.channel = v.channel
                """, ct);
        }

        await tx.CommitAsync(ct);
        // Within the claim the order of the statement is lost; people are told the urgent first.
        var probes = open.Where(one => one.Room.IsProbe).Select(one => (one.Queue.Realm, one.Queue.Name)).ToHashSet();
        return [.. claimed.Select(one => probes.Contains((one.ChannelRealm, one.Channel)) ? one with { IsProbe = true } : one).OrderBy(one => one.Content.Severity()).ThenBy(one => one.Number)];

        T[] Each<T>(Func<(ChannelQueue Queue, Room Room), T> read) => [.. open.Select(read)];
    }

    /// <summary>Sees to it that every channel with something to tell has a state. Writing a notification makes it; this is for what was written otherwise.</summary>
    public Task EnsureStatesAsync(CancellationToken ct) =>
        db.ExecuteAsync($"insert into channel_states (realm, channel) {Busy} select realm, channel from busy on conflict do nothing", ct);

    /// <summary>The clock was set back: pauses and waits that end by the clock of before end now, and buckets fill from now on.</summary>
    public async Task LookAgainAsync(DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await tx.ExecuteAsync($"select 1 from channel_states order by realm, channel for update", ct);
        await tx.ExecuteAsync($"""
            update channel_states set paused_until = case when paused_until > {now} then null else paused_until end, refilled_at = least(refilled_at, {now})
            where paused_until > {now} or refilled_at > {now}
            """, ct);
        await tx.ExecuteAsync($"update notifications set next_attempt_at = {now} where state = 'pending' and next_attempt_at > {now}", ct);
        await tx.CommitAsync(ct);
    }

    /// <summary>Forgets channels that were deleted and have told everything; what is open about them is over.</summary>
    public async Task ForgetDeletedAsync(DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var open = await tx.QueryAsync($"""
            delete from channel_states s
            where s.realm <> '*' and not exists (select 1 from channels c where c.realm = s.realm and c.name = s.channel)
                and not exists (select 1 from notifications n where n.state = 'pending' and n.channel_realm = s.realm and n.channel = s.channel)
            returning s.channel, s.alert_id
            """, row => (Channel: row.GetString(0), Alert: row.IsDBNull(1) ? (Guid?)null : row.GetGuid(1)), ct);
        foreach (var (channel, alert) in open.Where(one => one.Alert is not null).OrderBy(one => one.Alert))
        {
            await alerts.ResolveAsync(tx, alert!.Value, now, $"The channel {channel} was deleted.", now, ct);
        }

        await tx.CommitAsync(ct);
    }

    /// <summary>Channels that have something to tell.</summary>
    public Task<List<(string Realm, string Name, (Guid Id, int Version)? Stored)>> BusyAsync(CancellationToken ct) =>
        db.QueryAsync($"{Busy} select busy.realm, busy.channel, c.id, c.version from busy left join channels c on c.realm = busy.realm and c.name = busy.channel",
            row => (row.GetString(0), row.GetString(1), row.IsDBNull(2) ? ((Guid, int)?)null : (row.GetGuid(2), row.GetInt32(3))), ct);

    /// <summary>
    /// Takes what is out of time: it waited behind a channel that did not answer, or whose bucket is too small. In order, as all claims:
    /// what is being sent holds back what comes after it.
    /// </summary>
    /// <param name="deadlines">For each channel the time before which something must have been written to be out of time: by itself, or as a fallback.</param>
    public async Task<List<Claimed>> ClaimOverdueAsync(
        IReadOnlyCollection<(string Realm, string Name, DateTimeOffset Own, DateTimeOffset Fallback)> deadlines, int atMost, TimeSpan lease, DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var (realms, names) = (deadlines.Select(one => one.Realm).ToArray(), deadlines.Select(one => one.Name).ToArray());
        await tx.ExecuteAsync($"select 1 from channel_states join unnest({realms}, {names}) as d (realm, channel) using (realm, channel) order by realm collate \"C\", channel collate \"C\" for update of channel_states", ct);
        var claimed = await tx.QueryAsync($"""
            update notifications n set attempts = n.attempts + 1, claimed_until = clock_timestamp() + {lease}
            from (
                select one.id
                from unnest({realms}, {names}, {Queries.Times(deadlines.Select(one => (DateTimeOffset?)one.Own))}, {Queries.Times(deadlines.Select(one => (DateTimeOffset?)one.Fallback))}) as d (realm, channel, own, fallback)
                join notifications one on one.state = 'pending' and one.channel_realm = d.realm and one.channel = d.channel
                where coalesce(one.retried_at, one.created_at) < case one.kind when 'fallback' then d.fallback else d.own end
                    and (one.claimed_until is null or one.claimed_until <= clock_timestamp())
                    and not exists (select 1 from notifications earlier
                        where earlier.realm = one.realm and earlier.group_key = one.group_key and earlier.channel = one.channel and earlier.state = 'pending' and earlier.number < one.number
                            and (earlier.claimed_until > clock_timestamp() or coalesce(earlier.retried_at, earlier.created_at) >= d.own))
                order by one.number limit {atMost}
                for update of one skip locked) due
            where n.id = due.id
            returning {ClaimColumns}
            """, row => ReadClaim(row, now + lease), ct);
        await tx.CommitAsync(ct);
        return [.. claimed.OrderBy(one => one.Number)];
    }

    /// <summary>Writes a notification that this process sends at once, for whoever waits for the answer.</summary>
    public async Task<Claimed> ClaimNewAsync(NpgsqlTransaction tx, OutgoingNotification outgoing, Guid id, TimeSpan lease, DateTimeOffset now, CancellationToken ct)
    {
        await notifications.EnqueueAsync(tx, [outgoing], [id], now, ct);
        return (await tx.FindAsync($"update notifications n set attempts = 1, claimed_until = clock_timestamp() + {lease} where id = {id} returning {ClaimColumns}", row => ReadClaim(row, now + lease), ct))!;
    }

    /// <summary>
    /// Keeps attempts, and what follows from them unless somebody else has claimed the notification since: retry, fallback, the mood of the
    /// channel, the alert about a channel that loses notifications. One transaction for all of them.
    /// </summary>
    public async Task SettleAsync(IReadOnlyList<Settlement> settled, DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var ids = (await tx.QueryAsync($"""
            update notifications n set state = v.state, next_attempt_at = v.next, claimed_until = null, attempts = n.attempts - v.given_back
            from unnest({Each(one => one.Claimed.Id)}, {Each(one => one.Claimed.Attempt)}, {Each(one => Word(one.Verdict.State))},
                {Queries.Times(settled.Select(one => (DateTimeOffset?)(one.Verdict.NextAttemptAt ?? now)))}, {Each(one => one.Attempt is null ? 1 : 0)}) as v (id, attempt, state, next, given_back)
            where n.id = v.id and (n.attempts = v.attempt or v.state = 'delivered')
            returning n.id
            """, row => row.GetGuid(0), ct)).ToHashSet();
        var attempted = settled.Where(one => one.Attempt is not null).ToArray();
        if (attempted.Length > 0)
        {
            await InsertAttemptsAsync(tx, attempted, ct);
            // Tests of channels are about no alert, and nobody else's business; so are test alerts.
            await tx.SendAllAsync([.. attempted.Where(one => one.Claimed.Kind != "test" && one.Claimed.Realm != Canary.Realm).Select(Told)], ct);
        }

        // Claims that somebody else took over are theirs to conclude from.
        var own = attempted.Where(one => ids.Contains(one.Claimed.Id)).ToArray();
        await RememberAsync(tx, own, now, ct);
        await notifications.EnqueueAsync(tx, [.. await FallbacksAsync(tx, own, ct)], now, ct);
        foreach (var channel in own.GroupBy(one => (one.Claimed.ChannelRealm, one.Claimed.Channel)).OrderBy(group => group.Key, ChannelOrder))
        {
            await MoodAsync(tx, channel.Key, [.. channel], now, ct);
        }

        await tx.CommitAsync(ct);

        T[] Each<T>(Func<Settlement, T> read) => [.. settled.Select(read)];
    }

    private static readonly Comparer<(string, string)> ChannelOrder = Comparer<(string, string)>.Create((one, other) =>
        string.CompareOrdinal(one.Item1, other.Item1) is var first && first != 0 ? first : string.CompareOrdinal(one.Item2, other.Item2));

    private static Task<int> InsertAttemptsAsync(NpgsqlTransaction tx, Settlement[] attempted, CancellationToken ct)
    {
        T[] Each<T>(Func<Attempt, T> read) => [.. attempted.Select(one => read(one.Attempt!))];
        return tx.ExecuteAsync($"""
            insert into notification_attempts (notification_id, number, at, duration_ms, status_code, outcome, reason, response)
            select * from unnest({attempted.Select(one => one.Claimed.Id).ToArray()}, {Each(one => one.Number)}, {Queries.Times(attempted.Select(one => (DateTimeOffset?)one.Attempt!.At))},
                {Each(one => one.DurationMs)}, {Each(one => one.StatusCode)}, {Each(one => Word(one.Outcome))}, {Each(one => one.Reason)}, {Each(one => one.Response)})
            on conflict do nothing
            """, ct);
    }

    private static NotificationAttempted Told(Settlement one) => new(
        one.Claimed.Id, one.Claimed.Content.Alerts is [var first, ..] ? first.Id : Guid.Empty, one.Claimed.Realm, one.Claimed.Content.GroupKey, one.Claimed.Channel,
        Word(one.Claimed.Content.Status), one.Attempt!.Number, Word(one.Attempt.Outcome), one.Attempt.Reason, one.Attempt.At, [.. one.Claimed.Content.Alerts.Select(alert => alert.Id)]);

    private static async Task RememberAsync(NpgsqlTransaction tx, Settlement[] own, DateTimeOffset now, CancellationToken ct)
    {
        foreach (var one in own.Where(one => one.Answer?.Memory is not null))
        {
            var (realm, channel, group) = (one.Claimed.ChannelRealm, one.Claimed.Channel, one.Claimed.Message.Key());
            // What was given up needs no memory of recipients that have it.
            if (one.Answer!.Memory!.Length == 0)
            {
                await tx.ExecuteAsync($"delete from channel_memories where realm = {realm} and channel = {channel} and group_key = {group}", ct);
            }
            else
            {
                await tx.ExecuteAsync($"""
                    insert into channel_memories (realm, channel, group_key, memory, at) values ({realm}, {channel}, {group}, {one.Answer.Memory}, {now})
                    on conflict (realm, channel, group_key) do update set memory = excluded.memory, at = excluded.at
                    """, ct);
            }
        }
    }

    // One step, not a chain: two channels that fall back on each other would hand it to and fro for ever.
    private static async Task<List<OutgoingNotification>> FallbacksAsync(NpgsqlTransaction tx, Settlement[] own, CancellationToken ct)
    {
        var fallbacks = new List<OutgoingNotification>();
        foreach (var one in own.Where(one => one.Channel?.Fallback is not null && one.Claimed.Kind is not ("fallback" or "test" or "acknowledged")))
        {
            var (claimed, fallback) = (one.Claimed, one.Channel!.Fallback!);
            var reason = one.Verdict.State switch
            {
                NotificationState.Failed => $"{claimed.Channel} could not tell this ({one.Attempt!.Reason}); {claimed.Content.Reason}",
                // Whoever was told of the beginning in this channel's place is told of the end as well.
                NotificationState.Delivered when claimed.Content.Status == NotificationStatus.Resolved && await HeardOfBeginningAsync(tx, claimed, fallback, ct) =>
                    $"it had been told here in place of {claimed.Channel}; {claimed.Content.Reason}",
                NotificationState.Delivered or NotificationState.Pending => null,
            };
            if (reason is not null)
            {
                fallbacks.Add(new OutgoingNotification(claimed.Realm, fallback, claimed.Content with { Reason = reason }, "fallback"));
            }
        }

        return fallbacks;
    }

    private static async Task<bool> HeardOfBeginningAsync(NpgsqlTransaction tx, Claimed claimed, string fallback, CancellationToken ct) =>
        await tx.FindAsync($"""
            select status = 'firing' from notifications
            where kind = 'fallback' and realm = {claimed.Realm} and group_key = {claimed.Content.GroupKey} and channel = {fallback} order by number desc limit 1
            """, row => row.GetBoolean(0), ct);

    private async Task MoodAsync(NpgsqlTransaction tx, (string Realm, string Name) channel, Settlement[] settled, DateTimeOffset now, CancellationToken ct)
    {
        var state = await tx.FindAsync($"select failures, paused_until, alert_id from channel_states where realm = {channel.Realm} and channel = {channel.Name} for update",
            row => new State(row.GetInt32(0), row.GetTimeOrNull(1), row.IsDBNull(2) ? null : row.GetGuid(2)), ct);
        if (state is null)
        {
            return; // the channel was deleted meanwhile
        }

        // A test that fails says nothing to those who wait; one that is accepted does.
        var answers = settled.Where(one => one.Answer is not null && (one.Claimed.Kind != "test" || one.Answer.Outcome == DeliveryOutcome.Accepted)).Select(one => one.Answer!).ToArray();
        var mood = Flow.After(state.Failures, state.PausedUntil, answers, options, flow, now);
        var accepted = answers.Any(answer => answer.Outcome == DeliveryOutcome.Accepted);
        var problem = settled.LastOrDefault(one => one.Attempt!.Outcome != DeliveryOutcome.Accepted);
        var alert = await AlertAsync(tx, channel, state.AlertId, accepted, [.. settled.Where(one => one.Verdict.State == NotificationState.Failed && one.Claimed.Kind != "test")], now, ct);
        await tx.ExecuteAsync($"""
            update channel_states set failures = {mood.Failures}, paused_until = {mood.PausedUntil}, alert_id = {alert},
                last_delivered_at = case when {accepted} then {now} else last_delivered_at end,
                last_failed_at = case when {problem is not null} then {now} else last_failed_at end,
                last_failure = coalesce({problem?.Attempt!.Reason}, last_failure)
            where realm = {channel.Realm} and channel = {channel.Name}
            """, ct);
        if (mood.Recovered)
        {
            // What waits for its next try need not wait any longer.
            await tx.ExecuteAsync($"""
                update notifications set next_attempt_at = {now}
                where state = 'pending' and channel_realm = {channel.Realm} and channel = {channel.Name} and next_attempt_at > {now}
                    and (claimed_until is null or claimed_until <= clock_timestamp())
                """, ct);
        }
    }

    /// <summary>One alert per channel: it begins with the first notification that is lost to it, and ends when the channel takes one again.</summary>
    private async Task<Guid?> AlertAsync(NpgsqlTransaction tx, (string Realm, string Name) channel, Guid? open, bool accepted, Settlement[] failed, DateTimeOffset now, CancellationToken ct)
    {
        if (accepted && open is { } id)
        {
            await alerts.ResolveAsync(tx, id, now, $"The channel {channel.Name} delivers again.", now, ct);
            return null;
        }

        // What tells of such an alert and fails itself raises none: they would go in a circle.
        // Nor does a channel that somebody deleted: nobody could mend it.
        if (failed.FirstOrDefault(one => (one.Channel is not null || channel.Realm == Realm.All) && !one.Claimed.Content.Alerts.All(alert => alert.Name == FailureAlert)) is not { } lost || accepted)
        {
            return open;
        }

        var reason = $"{lost.Attempt!.Reason}{(lost.Channel?.Fallback is { } fallback ? $"; {fallback} gets what it could not tell" : "; it has no fallback, so nobody was told by it")}";
        var alert = Alert.Fire(
            channel.Realm,
            $"{channel.Realm}/channel:{{channel=\"{channel.Name}\"}}",
            null,
            FailureAlert,
            Severity.High,
            AlertSource.Health,
            new Dictionary<string, string> { ["alertname"] = FailureAlert, ["realm"] = channel.Realm, ["channel"] = channel.Name },
            new Dictionary<string, string> { ["channel"] = channel.Name },
            new Dictionary<string, string> { ["summary"] = $"Notifications over {channel.Name} are not delivered", ["description"] = reason },
            new Dictionary<string, string>(),
            null,
            null,
            now,
            now,
            new AlertReason(null, null, Seen: reason, Condition: $"what is told over {channel.Name} is delivered"));
        return await alerts.FireAsync(tx, alert, ct);
    }

    private sealed record State(int Failures, DateTimeOffset? PausedUntil, Guid? AlertId);

    private static Sql ClaimColumns => $"""
        n.id, n.number, n.realm, n.channel_realm, n.channel, n.kind, n.content::text, n.attempts, n.created_at, coalesce(n.retried_at, n.created_at),
        (select m.memory from channel_memories m where m.realm = n.channel_realm and m.channel = n.channel and m.group_key in (n.realm || '/' || n.group_key, encode(sha256(convert_to(n.realm || '/' || n.group_key, 'UTF8')), 'hex')) limit 1),
        (select c.id from channels c where c.realm = n.channel_realm and c.name = n.channel), (select c.version from channels c where c.realm = n.channel_realm and c.name = n.channel)
        """;

    private static Claimed ReadClaim(NpgsqlDataReader row, DateTimeOffset until) => new(
        row.GetGuid(0), row.GetInt64(1), row.GetString(2), row.GetString(3), row.GetString(4), row.GetString(5),
        JsonSerializer.Deserialize<NotificationContent>(row.GetString(6), WireJson.Options)!, row.GetInt32(7), row.GetTime(8), row.GetTime(9), until, row.GetOrNull(10, row.GetString))
    {
        Stored = row.IsDBNull(11) ? null : (row.GetGuid(11), row.GetInt32(12)),
    };

    private static ChannelQueue ReadQueue(NpgsqlDataReader row) => new(
        row.GetString(0), row.GetString(1), row.IsDBNull(2) ? null : (row.GetGuid(2), row.GetInt32(3)),
        row.IsDBNull(4) ? null : Enum.Parse<ChannelKind>(row.GetString(4), ignoreCase: true), row.IsDBNull(5) ? null : row.GetInt32(5),
        row.GetDouble(6), row.GetTime(7), row.GetTimeOrNull(8), row.GetInt32(9));

    private static string Word<T>(T value) where T : struct, Enum => WireJson.Name(value.ToString());
}
