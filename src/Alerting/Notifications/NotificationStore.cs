using System.Text.Json;
using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
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

/// <summary>A notification that this process is to send now.</summary>
/// <param name="Attempt">Number of this attempt, from 1. Whoever claims it later has a higher one.</param>
public sealed record Claimed(Guid Id, string Realm, string Channel, string Kind, NotificationContent Content, int Attempt, DateTimeOffset CreatedAt);

/// <summary>One attempt, as kept for ever after.</summary>
public sealed record Attempt(int Number, DateTimeOffset At, double DurationMs, int? StatusCode, DeliveryOutcome Outcome, string Reason, string Response);

/// <summary>A notification and all that became of it.</summary>
/// <param name="Reason">Why it was written, in words.</param>
public sealed record Notification(
    Guid Id, IReadOnlyList<Guid> AlertIds, string Realm, string GroupKey, string Channel, string Kind, NotificationStatus Status, string Reason, NotificationState State,
    DateTimeOffset? NextAttemptAt, DateTimeOffset CreatedAt, IReadOnlyList<Attempt> Attempts);

/// <summary>All SQL about notifications.</summary>
public sealed class NotificationStore(NpgsqlDataSource db, NotificationOptions options)
{
    private readonly string[] _channels = [.. options.Channels().Select(channel => channel.Name)];

    /// <summary>In the transaction of the change that is to be told; one statement, whatever their number. Those of one group are told in the order given.</summary>
    public async Task EnqueueAsync(NpgsqlTransaction tx, IReadOnlyList<OutgoingNotification> notifications, DateTimeOffset now, CancellationToken ct)
    {
        if (notifications.Count == 0)
        {
            return;
        }

        await tx.ExecuteAsync($"""
            insert into notifications (id, alert_ids, realm, group_key, channel, kind, status, content, state, next_attempt_at, created_at)
            select id, alert_ids::uuid[], realm, group_key, channel, kind, status, content::jsonb, 'pending', {now}, {now}
            from unnest(
                {Each(_ => Guid.CreateVersion7(now))}, {Each(one => $"{{{string.Join(',', one.Content.Alerts.Select(alert => alert.Id))}}}")}, {Each(one => one.Realm)},
                {Each(one => one.Content.GroupKey)}, {Each(one => one.Channel)}, {Each(one => one.Kind)}, {Each(one => Word(one.Content.Status))},
                {Each(one => JsonSerializer.Serialize(one.Content, WireJson.Options))})
                with ordinality as n (id, alert_ids, realm, group_key, channel, kind, status, content, place)
            order by place
            """, ct);

        T[] Each<T>(Func<OutgoingNotification, T> read) => [.. notifications.Select(read)];
    }

    /// <summary>
    /// Takes due notifications for this process, until <paramref name="lease"/> from now: should it die with them, another takes over.
    /// What is told about one group over one channel goes in order; the next waits until the one before is settled. The group, not the
    /// alert: receivers know both episodes of a flapping alert by the same key, and would take a late "resolved" of the first for the second's.
    /// </summary>
    public Task<List<Claimed>> ClaimAsync(int atMost, TimeSpan lease, DateTimeOffset now, CancellationToken ct) =>
        db.QueryAsync($"""
            update notifications n set attempts = n.attempts + 1, claimed_until = {now + lease}
            from (
                select id from notifications due
                where state = 'pending' and next_attempt_at <= {now} and (claimed_until is null or claimed_until <= {now}) and channel = any({_channels})
                    and not exists (select 1 from notifications earlier
                        where earlier.realm = due.realm and earlier.group_key = due.group_key and earlier.channel = due.channel and earlier.state = 'pending' and earlier.number < due.number)
                order by next_attempt_at, number limit {atMost}
                for update skip locked) due
            where n.id = due.id
            returning n.id, n.realm, n.channel, n.kind, n.content::text, n.attempts, n.created_at
            """,
            row => new Claimed(
                row.GetGuid(0), row.GetString(1), row.GetString(2), row.GetString(3),
                JsonSerializer.Deserialize<NotificationContent>(row.GetString(4), WireJson.Options)!, row.GetInt32(5), row.GetTime(6)),
            ct);

    /// <summary>Keeps the attempt, and what follows from it unless somebody else has claimed the notification since.</summary>
    public async Task SettleAsync(Claimed claimed, Attempt attempt, Verdict verdict, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await tx.ExecuteAsync($"""
            update notifications set state = {Word(verdict.State)}, next_attempt_at = {verdict.NextAttemptAt ?? attempt.At}, claimed_until = null
            where id = {claimed.Id} and (attempts = {claimed.Attempt} or {verdict.State == NotificationState.Delivered})
            """, ct);
        await tx.ExecuteAsync($"""
            insert into notification_attempts (notification_id, number, at, duration_ms, status_code, outcome, reason, response)
            values ({claimed.Id}, {attempt.Number}, {attempt.At}, {attempt.DurationMs}, {attempt.StatusCode}, {Word(attempt.Outcome)}, {attempt.Reason}, {attempt.Response})
            on conflict do nothing
            """, ct);
        await tx.SendAsync(
            new NotificationAttempted(
                claimed.Id, claimed.Content.Alerts is [var first, ..] ? first.Id : Guid.Empty, claimed.Realm, claimed.Content.GroupKey, claimed.Channel, Word(claimed.Content.Status),
                attempt.Number, Word(attempt.Outcome), attempt.Reason, attempt.At, [.. claimed.Content.Alerts.Select(alert => alert.Id)]),
            ct);
        await tx.CommitAsync(ct);
    }

    public async Task<List<Notification>> ListAsync(string? realm, Guid? alert, NotificationState? state, Cursor? after, int limit, CancellationToken ct)
    {
        Sql where = $"true";
        where = realm is not null ? $"{where} and realm = {realm}" : where;
        where = alert is { } id ? $"{where} and alert_ids @> array[{id}]::uuid[]" : where;
        where = state is { } wanted ? $"{where} and state = {Word(wanted)}" : where;
        where = after is { } place ? $"{where} and (created_at, id) < ({place.At}, {place.Id})" : where;
        var found = await db.QueryAsync($"""
            select id, alert_ids, realm, group_key, channel, kind, status, content->>'reason', state, next_attempt_at, created_at
            from notifications where {where} order by created_at desc, id desc limit {limit}
            """, Read, ct);
        // Attempts are at most a few hundred per notification: the back-off grows to its longest pause, and the deadline ends it.
        var attempts = await db.QueryAsync($"""
            select notification_id, number, at, duration_ms, status_code, outcome, reason, response
            from notification_attempts where notification_id = any({found.Select(notification => notification.Id).ToArray()}) order by notification_id, number
            """, ReadAttempt, ct);
        var byNotification = attempts.ToLookup(attempt => attempt.Notification, attempt => attempt.Attempt);
        return found.ConvertAll(notification => notification with { Attempts = [.. byNotification[notification.Id]] });
    }

    /// <summary>Deletes what was written before <paramref name="before"/> and is settled, or waits for a channel that is no longer there.</summary>
    public Task<int> DeleteOldAsync(DateTimeOffset before, int atMost, CancellationToken ct) =>
        db.ExecuteAsync($"""
            delete from notifications where id = any(array(
                select id from notifications
                where created_at < {before} and (state <> 'pending' or next_attempt_at < {before})
                order by created_at limit {atMost}
                for update skip locked))
            """, ct);

    private static string Word<T>(T value) where T : struct, Enum => WireJson.Name(value.ToString());

    private static Notification Read(NpgsqlDataReader row)
    {
        var state = Enum.Parse<NotificationState>(row.GetString(8), ignoreCase: true);
        return new(
            row.GetGuid(0), row.GetFieldValue<Guid[]>(1), row.GetString(2), row.GetString(3), row.GetString(4), row.GetString(5),
            Enum.Parse<NotificationStatus>(row.GetString(6), ignoreCase: true), row.GetString(7), state,
            state == NotificationState.Pending ? row.GetTime(9) : null, row.GetTime(10), []);
    }

    private static (Guid Notification, Attempt Attempt) ReadAttempt(NpgsqlDataReader row) => (row.GetGuid(0), new Attempt(
        row.GetInt32(1), row.GetTime(2), row.GetDouble(3), row.IsDBNull(4) ? null : row.GetInt32(4),
        row.GetString(5) switch { "accepted" => DeliveryOutcome.Accepted, "refused" => DeliveryOutcome.Refused, _ => DeliveryOutcome.TryAgain },
        row.GetString(6), row.GetString(7)));
}
