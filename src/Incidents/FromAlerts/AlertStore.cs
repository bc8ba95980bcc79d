using Npgsql;
using Platform.Contracts;
using Platform.Incidents.Lifecycle;
using Platform.Postgres;

namespace Platform.Incidents.FromAlerts;

/// <summary>
/// All SQL about what is known of alerts. Every method that takes an alert writes its row, and with that locks it until the
/// transaction ends: whoever links the alert to an incident, and whoever adds something to the alert, take turns.
/// </summary>
public sealed class AlertStore(NpgsqlDataSource db)
{
    private static Sql Columns => $"alert_id, incident_id, fired_at, acknowledged_at, resolved_at";

    public Task<AlertFacts> FiredAsync(NpgsqlTransaction tx, AlertFired alert, DateTimeOffset now, CancellationToken ct) => GetAsync(tx, $"""
        insert into incident_alerts as known (alert_id, realm, name, severity, fired_at, seen_at)
        values ({alert.AlertId}, {alert.Realm}, {alert.Name}, {alert.Severity.Word()}, {alert.StartsAt.ToUniversalTime()}, {now})
        on conflict (alert_id) do update
        set name = excluded.name, severity = excluded.severity, fired_at = least(known.fired_at, excluded.fired_at), seen_at = excluded.seen_at
        returning {Columns}
        """, ct);

    public Task<AlertFacts> AcknowledgedAsync(NpgsqlTransaction tx, Guid alertId, string realm, DateTimeOffset at, DateTimeOffset now, CancellationToken ct) => GetAsync(tx, $"""
        insert into incident_alerts as known (alert_id, realm, acknowledged_at, seen_at)
        values ({alertId}, {realm}, {at.ToUniversalTime()}, {now})
        on conflict (alert_id) do update
        set acknowledged_at = least(known.acknowledged_at, excluded.acknowledged_at), seen_at = excluded.seen_at
        returning {Columns}
        """, ct);

    public Task<AlertFacts> ResolvedAsync(NpgsqlTransaction tx, Guid alertId, string realm, DateTimeOffset at, DateTimeOffset now, CancellationToken ct) => GetAsync(tx, $"""
        insert into incident_alerts as known (alert_id, realm, resolved_at, seen_at)
        values ({alertId}, {realm}, {at.ToUniversalTime()}, {now})
        on conflict (alert_id) do update
        set resolved_at = least(known.resolved_at, excluded.resolved_at), seen_at = excluded.seen_at
        returning {Columns}
        """, ct);

    /// <summary>For something about the alert that changes nothing about it.</summary>
    public Task<AlertFacts> SeenAsync(NpgsqlTransaction tx, Guid alertId, string realm, DateTimeOffset now, CancellationToken ct) => GetAsync(tx, $"""
        insert into incident_alerts as known (alert_id, realm, seen_at) values ({alertId}, {realm}, {now})
        on conflict (alert_id) do update set seen_at = excluded.seen_at
        returning {Columns}
        """, ct);

    public Task LinkAsync(NpgsqlTransaction tx, Guid alertId, Guid incidentId, CancellationToken ct) =>
        tx.ExecuteAsync($"update incident_alerts set incident_id = {incidentId} where alert_id = {alertId}", ct);

    /// <summary>The alerts of a locked incident; it has at least one.</summary>
    public async Task<AlertTotals> TotalAsync(NpgsqlTransaction tx, Guid incidentId, CancellationToken ct) =>
        (await tx.FindAsync($"""
            select count(*) filter (where resolved_at is null)::int, min(fired_at), min(acknowledged_at), max(resolved_at)
            from incident_alerts where incident_id = {incidentId} and fired_at is not null
            """,
            row => new AlertTotals(row.GetInt32(0), row.GetTime(1), row.GetTimeOrNull(2), row.GetTimeOrNull(3)),
            ct))!;

    /// <summary>Forgets alerts that never had to do with an incident. At most a batch; answers how many.</summary>
    public Task<int> ForgetAsync(DateTimeOffset before, CancellationToken ct) => db.ExecuteAsync($"""
        delete from incident_alerts where alert_id = any(array(
            select alert_id from incident_alerts where incident_id is null and seen_at < {before} limit 5000))
        """, ct);

    private static async Task<AlertFacts> GetAsync(NpgsqlTransaction tx, Sql sql, CancellationToken ct) =>
        (await tx.FindAsync(
            sql,
            row => new AlertFacts(
                row.GetGuid(0), row.IsDBNull(1) ? null : row.GetGuid(1), row.GetTimeOrNull(2), row.GetTimeOrNull(3), row.GetTimeOrNull(4)),
            ct))!;
}
