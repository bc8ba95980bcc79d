using System.Text.Json;
using Npgsql;
using Platform.Alerting.Canaries;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

/// <summary>What is told.</summary>
public enum NotificationStatus
{
    Firing,
    Resolved,
}

public enum NotificationState
{
    Pending,
    Delivered,
    Failed,
}

/// <summary>What one channel is to tell.</summary>
/// <param name="Channel">Name of a channel of the realm, or of one that the settings define for all realms.</param>
/// <param name="Kind">Why there is such a message: <c>alert</c>, <c>escalation</c>, <c>test</c>, …</param>
public sealed record OutgoingNotification(string Realm, string Channel, NotificationContent Content, string Kind);

/// <summary>One attempt, as kept for ever after.</summary>
public sealed record Attempt(int Number, DateTimeOffset At, double DurationMs, int? StatusCode, DeliveryOutcome Outcome, string Reason, string Response);

/// <summary>A notification and all that became of it.</summary>
/// <param name="Receiver">Whom the routing meant.</param>
/// <param name="Reason">Why it was written, in words.</param>
public sealed record Notification(
    Guid Id, IReadOnlyList<Guid> AlertIds, string Realm, string GroupKey, string Channel, string Kind, NotificationStatus Status, string Receiver, string Reason, NotificationState State,
    DateTimeOffset? NextAttemptAt, DateTimeOffset CreatedAt, IReadOnlyList<Attempt> Attempts) : IOfRealm;

/// <summary>What a list of notifications is narrowed to; null means any.</summary>
/// <param name="Text">Somewhere in what is said, or in what a receiver answered. No index serves it: see <paramref name="SearchAtMost"/>.</param>
/// <param name="From">Written at or after this.</param>
/// <param name="To">Written before this.</param>
/// <param name="SearchAtMost">With a text: how many notifications one request reads, the newest that everything else in the filter holds for.</param>
public sealed record NotificationFilter(
    string? Realm, Guid? Alert = null, NotificationState? State = null, string? Channel = null, string? Kind = null, string? Receiver = null, string? Text = null, DateTimeOffset? From = null, DateTimeOffset? To = null,
    int SearchAtMost = int.MaxValue);

/// <param name="Next">Where the rest begins; null when there is none. A search that has read as much as it may has one also after fewer items than were asked for.</param>
public sealed record NotificationPage(List<Notification> Items, Cursor? Next);

/// <summary>All SQL about notifications, but for their delivery.</summary>
public sealed class NotificationStore(NpgsqlDataSource db, AlertingMetrics metrics)
{
    private static Sql Columns => $"id, alert_ids, realm, group_key, channel, kind, status, content->>'reason', state, next_attempt_at, created_at, content->>'receiver'";

    /// <summary>In the transaction of the change that is to be told; one statement, whatever their number. Those of one group are told in the order given.</summary>
    public Task EnqueueAsync(NpgsqlTransaction tx, IReadOnlyList<OutgoingNotification> notifications, DateTimeOffset now, CancellationToken ct) =>
        EnqueueAsync(tx, notifications, [.. notifications.Select(_ => Guid.CreateVersion7(now))], now, ct);

    /// <param name="ids">One for each, in the same order.</param>
    internal async Task EnqueueAsync(NpgsqlTransaction tx, IReadOnlyList<OutgoingNotification> notifications, Guid[] ids, DateTimeOffset now, CancellationToken ct)
    {
        if (notifications.Count == 0)
        {
            return;
        }

        metrics.Written(notifications.Count(one => one.Realm != Canary.Realm));
        // One content goes to several channels.
        var texts = notifications.Select(one => one.Content).Distinct<NotificationContent>(ReferenceEqualityComparer.Instance).ToDictionary(
            content => content, content => JsonSerializer.Serialize(content, WireJson.Options), (IEqualityComparer<NotificationContent>)ReferenceEqualityComparer.Instance);
        // A channel is the realm's own, or that of all realms. Some are not to be told of the end; a test is told in any case.
        await tx.ExecuteAsync($"""
            insert into notifications (id, alert_ids, realm, group_key, channel_realm, channel, kind, status, urgency, content, state, next_attempt_at, created_at)
            select n.id, n.alert_ids::uuid[], n.realm, n.group_key, coalesce(c.realm, '*'), n.channel, n.kind, n.status, n.urgency, n.content::jsonb, 'pending', {now}, {now}
            from unnest(
                {ids}, {Each(one => $"{{{string.Join(',', one.Content.Alerts.Where(alert => alert.Id != Guid.Empty).Select(alert => alert.Id))}}}")}, {Each(one => one.Realm)},
                {Each(one => one.Content.GroupKey)}, {Each(one => one.Channel)}, {Each(one => one.Kind)}, {Each(one => Word(one.Content.Status))},
                {Each(one => (short)one.Content.Severity())}, {Each(one => texts[one.Content])})
                with ordinality as n (id, alert_ids, realm, group_key, channel, kind, status, urgency, content, place)
            left join lateral (select realm, send_resolved from channels where name = n.channel and realm in (n.realm, '*') order by realm = '*' limit 1) c on true
            where n.status = 'firing' or n.kind = 'test' or coalesce(c.send_resolved, true)
            order by n.place
            """, ct);
        await tx.ExecuteAsync($"""
            insert into channel_states (realm, channel)
            select distinct channel_realm, channel from notifications n where n.id = any({ids})
                and not exists (select 1 from channel_states s where s.realm = n.channel_realm and s.channel = n.channel)
            on conflict do nothing
            """, ct);

        T[] Each<T>(Func<OutgoingNotification, T> read) => [.. notifications.Select(read)];
    }

    /// <summary>Newest first.</summary>
    public async Task<NotificationPage> ListAsync(NotificationFilter filter, Cursor? after, int limit, CancellationToken ct)
    {
        if (filter.Text is null)
        {
            var found = await db.QueryAsync($"select {Columns} from notifications where {Where(filter, after)} order by created_at desc, id desc limit {limit + 1}", Read, ct);
            return await PageAsync([.. found.Take(limit)], found.Count > limit, ct);
        }

        var text = filter.Text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("%", "\\%", StringComparison.Ordinal).Replace("_", "\\_", StringComparison.Ordinal);
        var pattern = $"%{text}%";
        var matching = await db.QueryAsync($"""
            select {Columns} from (select * from notifications where {Where(filter, after)} order by created_at desc, id desc limit {filter.SearchAtMost}) n
            where content::text ilike {pattern} or exists (
                select 1 from notification_attempts a where a.notification_id = n.id and (a.reason ilike {pattern} or a.response ilike {pattern}))
            order by created_at desc, id desc limit {limit + 1}
            """, Read, ct);
        if (matching.Count > limit)
        {
            return await PageAsync([.. matching.Take(limit)], isMore: true, ct);
        }

        // Nothing more in what was read; the search goes on behind it.
        var last = await db.QueryAsync(
            $"select created_at, id from notifications where {Where(filter, after)} order by created_at desc, id desc offset {filter.SearchAtMost - 1} limit 1", row => new Cursor(row.GetTime(0), row.GetGuid(1)), ct);
        return await PageAsync(matching, isMore: false, ct) with { Next = last.Count > 0 ? last[0] : null };
    }

    private async Task<NotificationPage> PageAsync(List<Notification> items, bool isMore, CancellationToken ct) =>
        new(await WithAttemptsAsync(items, ct), isMore ? new Cursor(items[^1].CreatedAt, items[^1].Id) : null);

    // All but the text.
    private static Sql Where(NotificationFilter filter, Cursor? after)
    {
        Sql where = $"realm <> {Canary.Realm}";
        where = filter.Realm is { } realm ? $"realm = {realm}" : where;
        where = filter.Alert is { } id ? $"{where} and alert_ids @> array[{id}]::uuid[]" : where;
        where = filter.State is { } state ? $"{where} and state = {Word(state)}" : where;
        where = filter.Channel is { } channel ? $"{where} and channel = {channel}" : where;
        where = filter.Kind is { } kind ? $"{where} and kind = {kind}" : where;
        where = filter.Receiver is { } receiver ? $"{where} and content->>'receiver' = {receiver}" : where;
        where = filter.From is { } from ? $"{where} and created_at >= {from}" : where;
        where = filter.To is { } to ? $"{where} and created_at < {to}" : where;
        return after is { } place ? $"{where} and (created_at, id) < ({place.At}, {place.Id})" : where;
    }

    public async Task<Notification?> FindAsync(Guid id, CancellationToken ct) =>
        (await WithAttemptsAsync(await db.QueryAsync($"select {Columns} from notifications where id = {id}", Read, ct), ct)).FirstOrDefault();

    public Task<Notification?> FindForChangeAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from notifications where id = {id} for update", Read, ct);

    /// <summary>Another try, from now on with a whole deadline.</summary>
    public static Task RetryAsync(NpgsqlTransaction tx, Guid id, DateTimeOffset now, CancellationToken ct) =>
        tx.ExecuteAsync($"update notifications set state = 'pending', next_attempt_at = {now}, retried_at = {now}, claimed_until = null where id = {id}", ct);

    /// <summary>Deletes what was written before <paramref name="before"/> and is settled, or waits for a channel that is no longer there; and what channels remember of groups since.</summary>
    public Task<int> DeleteOldAsync(DateTimeOffset before, int atMost, CancellationToken ct) =>
        db.ExecuteAsync($"""
            with forgotten as (delete from channel_memories where at < {before})
            delete from notifications where id = any(array(
                select id from notifications
                where created_at < {before} and (state <> 'pending' or next_attempt_at < {before})
                order by created_at limit {atMost}
                for update skip locked))
            """, ct);

    private static string Word<T>(T value) where T : struct, Enum => WireJson.Name(value.ToString());

    // Attempts are at most a few hundred per notification: the back-off grows to its longest pause, and the deadline ends it.
    private async Task<List<Notification>> WithAttemptsAsync(List<Notification> found, CancellationToken ct)
    {
        var attempts = await db.QueryAsync($"""
            select notification_id, number, at, duration_ms, status_code, outcome, reason, response
            from notification_attempts where notification_id = any({found.Select(notification => notification.Id).ToArray()}) order by notification_id, number
            """, ReadAttempt, ct);
        var byNotification = attempts.ToLookup(attempt => attempt.Notification, attempt => attempt.Attempt);
        return found.ConvertAll(notification => notification with { Attempts = [.. byNotification[notification.Id]] });
    }

    private static Notification Read(NpgsqlDataReader row)
    {
        var state = Enum.Parse<NotificationState>(row.GetString(8), ignoreCase: true);
        return new(
            row.GetGuid(0), row.GetFieldValue<Guid[]>(1), row.GetString(2), row.GetString(3), row.GetString(4), row.GetString(5),
            Enum.Parse<NotificationStatus>(row.GetString(6), ignoreCase: true), row.GetString(11), row.GetString(7), state,
            state == NotificationState.Pending ? row.GetTime(9) : null, row.GetTime(10), []);
    }

    private static (Guid Notification, Attempt Attempt) ReadAttempt(NpgsqlDataReader row) => (row.GetGuid(0), new Attempt(
        row.GetInt32(1), row.GetTime(2), row.GetDouble(3), row.IsDBNull(4) ? null : row.GetInt32(4),
        row.GetString(5) switch { "accepted" => DeliveryOutcome.Accepted, "refused" => DeliveryOutcome.Refused, _ => DeliveryOutcome.TryAgain },
        row.GetString(6), row.GetString(7)));
}
