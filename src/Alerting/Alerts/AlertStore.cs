using System.Text.Json;
using Npgsql;
using Platform.Alerting.Notifications;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Alerts;

/// <summary>What a list of alerts is narrowed to; null means any.</summary>
/// <param name="From">Started at or after this.</param>
/// <param name="To">Started before this.</param>
public sealed record AlertFilter(string? Realm, AlertState? State, bool OpenOnly, Severity? Severity, string? Name, DateTimeOffset? From, DateTimeOffset? To);

/// <summary>
/// All SQL about alerts. What changes an alert also tells about it: row, message and notifications are written here together, in the
/// caller's transaction. Windows are locked before alerts, never the other way round.
/// </summary>
public sealed class AlertStore(NpgsqlDataSource db, NotificationStore notifications, NotificationOptions options, AlertingMetrics metrics)
{
    private static Sql Columns => $"""
        id, realm, fingerprint, group_key, rule_id, name, severity, source, state, labels::text, group_labels::text, annotations::text, event_tags::text,
        value, threshold, starts_at, fired_at, ends_at, acknowledged_by, acknowledged_at, acknowledge_reason, resolved_by, resolved_at, resolve_reason, why::text,
        generator_url, expires_at, acknowledged_until, suppressed_by::text
        """;

    /// <summary>Begins an episode. When the same label set is already open, that alert goes on and nobody is told twice.</summary>
    /// <returns>The id of the open alert.</returns>
    public async Task<Guid> FireAsync(NpgsqlTransaction tx, Alert alert, CancellationToken ct)
    {
        if (!await InsertAsync(tx, alert, ct))
        {
            return (await FindOpenAsync(tx, alert.Realm, alert.Fingerprint, ct))?.Id
                ?? throw new InvalidOperationException($"The alert {alert.Fingerprint} was open and is no longer; the message that raised it comes again.");
        }

        await TellFiredAsync(tx, alert, ct);
        return alert.Id;
    }

    /// <summary>Keeps and tells an episode that was over when it came to light. It may lie beside an open one of the same labels.</summary>
    public async Task FirePassedAsync(NpgsqlTransaction tx, Alert alert, DateTimeOffset endsAt, string reason, DateTimeOffset now, CancellationToken ct)
    {
        var passed = alert.Resolve(new AlertAct(null, now, reason), endsAt);
        await InsertAsync(tx, passed, ct);
        await TellFiredAsync(tx, passed, ct);
        await TellResolvedAsync(tx, passed, ct);
    }

    /// <summary>Ends an episode whose condition is over; nothing happens when somebody has resolved it already.</summary>
    public async Task ResolveAsync(NpgsqlTransaction tx, Guid id, DateTimeOffset endsAt, string reason, DateTimeOffset now, CancellationToken ct)
    {
        if (await FindForChangeAsync(tx, id, ct) is { IsOpen: true } alert)
        {
            await SaveResolvedAsync(tx, alert.Resolve(new AlertAct(null, now, reason), endsAt), ct);
        }
    }

    public async Task ResolveOfRuleAsync(NpgsqlTransaction tx, Guid rule, string reason, DateTimeOffset now, CancellationToken ct)
    {
        foreach (var alert in await tx.QueryAsync($"select {Columns} from alerts where rule_id = {rule} and state <> 'resolved' order by id for update", Read, ct))
        {
            await SaveResolvedAsync(tx, alert.Resolve(new AlertAct(null, now, reason), now), ct);
        }
    }

    public async Task SaveResolvedAsync(NpgsqlTransaction tx, Alert alert, CancellationToken ct)
    {
        var act = alert.Resolved!;
        await tx.ExecuteAsync($"""
            update alerts set state = 'resolved', ends_at = {alert.EndsAt}, resolved_by = {act.By}, resolved_at = {act.At}, resolve_reason = {act.Reason}
            where id = {alert.Id}
            """, ct);
        await TellResolvedAsync(tx, alert, ct);
    }

    public async Task SaveAcknowledgedAsync(NpgsqlTransaction tx, Alert alert, CancellationToken ct)
    {
        var act = alert.Acknowledged!;
        await tx.ExecuteAsync($"""
            update alerts set state = 'acknowledged', acknowledged_by = {act.By}, acknowledged_at = {act.At}, acknowledge_reason = {act.Reason} where id = {alert.Id}
            """, ct);
        await tx.SendAsync(new AlertAcknowledged(alert.Id, alert.Realm, alert.Fingerprint, alert.GroupKey, alert.Name, act.At, act.By!, act.Reason), ct);
    }

    public Task<Alert?> FindAsync(Guid id, CancellationToken ct) => db.FindAsync($"select {Columns} from alerts where id = {id}", Read, ct);

    public Task<Alert?> FindForChangeAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from alerts where id = {id} for update", Read, ct);

    public Task<Alert?> FindOpenAsync(NpgsqlTransaction tx, string realm, string fingerprint, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from alerts where realm = {realm} and fingerprint = {fingerprint} and state <> 'resolved'", Read, ct);

    /// <summary>The newest alert of a group, open or not.</summary>
    public Task<Alert?> FindLatestOfGroupAsync(NpgsqlTransaction tx, string realm, string groupKey, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from alerts where realm = {realm} and group_key = {groupKey} order by fired_at desc, id desc limit 1 for update", Read, ct);

    public Task<List<Alert>> ListAsync(AlertFilter filter, Cursor? after, int limit, CancellationToken ct)
    {
        Sql where = $"true";
        where = filter.Realm is { } realm ? $"{where} and realm = {realm}" : where;
        where = filter.State is { } state ? $"{where} and state = {WireJson.Name(state.ToString())}" : where;
        where = filter.OpenOnly ? $"{where} and state <> 'resolved'" : where;
        where = filter.Severity is { } severity ? $"{where} and severity = {severity.Word()}" : where;
        where = filter.Name is { } name ? $"{where} and name = {name}" : where;
        where = filter.From is { } from ? $"{where} and starts_at >= {from}" : where;
        where = filter.To is { } to ? $"{where} and starts_at < {to}" : where;
        where = after is { } place ? $"{where} and (fired_at, id) < ({place.At}, {place.Id})" : where;
        return db.QueryAsync($"select {Columns} from alerts where {where} order by fired_at desc, id desc limit {limit}", Read, ct);
    }

    public async Task<AlertCounts> CountAsync(string? realm, CancellationToken ct)
    {
        Sql where = $"true";
        where = realm is not null ? $"realm = {realm}" : where;
        return (await db.FindAsync($"select count(*) filter (where state <> 'resolved'), count(*) from alerts where {where}", row => new AlertCounts(row.GetInt64(0), row.GetInt64(1)), ct))!;
    }

    /// <summary>Deletes alerts that were resolved before <paramref name="before"/>. Notifications keep what they say, and go by their own age.</summary>
    public Task<int> DeleteOldAsync(DateTimeOffset before, int atMost, CancellationToken ct) =>
        db.ExecuteAsync($"""
            delete from alerts where id = any(array(
                select id from alerts
                where state = 'resolved' and resolved_at < {before}
                order by resolved_at limit {atMost}
                for update skip locked))
            """, ct);

    // False when the same label set is open already.
    private static async Task<bool> InsertAsync(NpgsqlTransaction tx, Alert alert, CancellationToken ct) =>
        await tx.ExecuteAsync($"""
            insert into alerts (id, realm, fingerprint, group_key, rule_id, name, severity, source, state, labels, group_labels, annotations, event_tags,
                value, threshold, starts_at, fired_at, ends_at, resolved_at, resolve_reason, why, generator_url, expires_at)
            values ({alert.Id}, {alert.Realm}, {alert.Fingerprint}, {alert.GroupKey}, {alert.RuleId}, {alert.Name}, {alert.Severity.Word()},
                {WireJson.Name(alert.Source.ToString())}, {WireJson.Name(alert.State.ToString())}, {Json(alert.Labels)}, {Json(alert.GroupLabels)}, {Json(alert.Annotations)},
                {Json(alert.EventTags)}, {alert.Value}, {alert.Threshold}, {alert.StartsAt}, {alert.FiredAt}, {alert.EndsAt}, {alert.Resolved?.At}, {alert.Resolved?.Reason}, {Json(alert.Why)},
                {alert.GeneratorUrl}, {alert.ExpiresAt})
            on conflict (realm, fingerprint) where state <> 'resolved' do nothing
            """, ct) == 1;

    private async Task TellFiredAsync(NpgsqlTransaction tx, Alert alert, CancellationToken ct)
    {
        await tx.SendAsync(
            new AlertFired(
                alert.Id, alert.Realm, alert.Fingerprint, alert.GroupKey, alert.Name, alert.Severity, WireJson.Name(alert.Source.ToString()),
                alert.Annotations.GetValueOrDefault("summary", alert.Name), alert.Labels, alert.Annotations, alert.EventTags, alert.StartsAt, alert.Value, alert.Threshold),
            ct);
        await TellAsync(tx, alert, NotificationStatus.Firing, "first notification", alert.FiredAt, ct);
        metrics.Fired(WireJson.Name(alert.Source.ToString()), alert.Severity);
    }

    private async Task TellResolvedAsync(NpgsqlTransaction tx, Alert alert, CancellationToken ct)
    {
        var act = alert.Resolved!;
        await tx.SendAsync(new AlertResolved(alert.Id, alert.Realm, alert.Fingerprint, alert.GroupKey, alert.Name, alert.EndsAt!.Value, act.By, act.Reason), ct);
        await TellAsync(tx, alert, NotificationStatus.Resolved, "all alerts resolved", act.At, ct);
    }

    private Task TellAsync(NpgsqlTransaction tx, Alert alert, NotificationStatus status, string reason, DateTimeOffset now, CancellationToken ct) =>
        notifications.EnqueueAsync(
            tx,
            [.. options.Channels().Select(channel => new OutgoingNotification(
                alert.Realm,
                channel.Name,
                new NotificationContent(
                    status, channel.Name, alert.GroupKey, new Dictionary<string, string>(alert.GroupLabels) { ["alertname"] = alert.Name }, reason, [alert.Told(status)]),
                "alert"))],
            now,
            ct);

    private static NpgsqlParameter Json<T>(T value) => Queries.Jsonb(value, WireJson.Options);

    private static Alert Read(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), row.GetString(2), row.GetString(3), row.IsDBNull(4) ? null : row.GetGuid(4), row.GetString(5),
        Severities.Parse(row.GetString(6))!.Value, Enum.Parse<AlertSource>(row.GetString(7), ignoreCase: true), Enum.Parse<AlertState>(row.GetString(8), ignoreCase: true),
        Words(row, 9), Words(row, 10), Words(row, 11), Words(row, 12),
        row.IsDBNull(13) ? null : row.GetDouble(13), row.IsDBNull(14) ? null : row.GetDouble(14),
        row.GetTime(15), row.GetTime(16), row.GetTimeOrNull(17),
        row.GetTimeOrNull(19) is { } acknowledgedAt ? new AlertAct(row.GetOrNull(18, row.GetString), acknowledgedAt, row.GetOrNull(20, row.GetString)) : null,
        row.GetTimeOrNull(22) is { } resolvedAt ? new AlertAct(row.GetOrNull(21, row.GetString), resolvedAt, row.GetOrNull(23, row.GetString)) : null,
        JsonSerializer.Deserialize<AlertReason>(row.GetString(24), WireJson.Options)!,
        row.GetString(25), row.GetTimeOrNull(26), row.GetTimeOrNull(27), JsonSerializer.Deserialize<Suppression[]>(row.GetString(28), WireJson.Options));

    private static Dictionary<string, string> Words(NpgsqlDataReader row, int ordinal) =>
        JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(ordinal))!;
}
