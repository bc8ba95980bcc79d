using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;

namespace Platform.Health.Heartbeats;

/// <summary>All SQL about heartbeats. What changes one's state tells of it in the same transaction.</summary>
public sealed class HeartbeatStore(NpgsqlDataSource db)
{
    private const string Kind = "heartbeat";
    private const int MostAtOnce = 500;

    private static Sql Columns => $"realm, name, interval_seconds, grace_seconds, missed, last_beat_at, due_at, since, created_by, created_at";

    /// <summary>As many rows as a realm may have.</summary>
    public Task<List<Heartbeat>> ListAsync(string? realm, CancellationToken ct)
    {
        Sql where = $"true";
        where = realm is not null ? $"{where} and realm = {realm}" : where;
        return db.QueryAsync($"select {Columns} from heartbeats where {where} order by realm, name limit 100000", Read, ct);
    }

    /// <returns>False when the realm has as many as it may.</returns>
    public async Task<bool> SaveAsync(NpgsqlTransaction tx, string realm, string name, HeartbeatBody body, string by, int atMost, DateTimeOffset now, CancellationToken ct) =>
        await tx.ExecuteAsync($"""
            insert into heartbeats (realm, name, interval_seconds, grace_seconds, due_at, since, created_by, created_at)
            select {realm}, {name}, {body.IntervalSeconds}, {body.GraceSeconds}, {now}, {now}, {by}, {now}
            where (select count(*) from heartbeats where realm = {realm} and name <> {name}) < {atMost}
            on conflict (realm, name) do update set interval_seconds = excluded.interval_seconds, grace_seconds = excluded.grace_seconds
            """, ct) == 1;

    /// <summary>Counts a beat; null when there is no such heartbeat.</summary>
    public async Task<Heartbeat?> BeatAsync(NpgsqlTransaction tx, string realm, string name, DateTimeOffset now, CancellationToken ct)
    {
        var old = await tx.FindAsync($"select {Columns} from heartbeats where realm = {realm} and name = {name} for update", Read, ct);
        if (old is null)
        {
            return null;
        }

        var beaten = old with
        {
            Missed = false,
            LastBeatAt = now,
            DueAt = now.AddSeconds(old.IntervalSeconds + (double)old.GraceSeconds),
            Since = old.Missed ? now : old.Since,
        };
        await tx.ExecuteAsync($"""
            update heartbeats set missed = false, last_beat_at = {now}, due_at = {beaten.DueAt}, since = {beaten.Since} where realm = {realm} and name = {name}
            """, ct);
        if (old.Missed)
        {
            await tx.SendAsync(new HealthChanged(realm, old.Component, Kind, HealthState.Unhealthy, HealthState.Healthy, "The heartbeat is back.", now), ct);
        }

        return beaten;
    }

    /// <summary>Nobody is alarmed any more about what is gone.</summary>
    public async Task<bool> DeleteAsync(NpgsqlTransaction tx, string realm, string name, DateTimeOffset now, CancellationToken ct)
    {
        var gone = await tx.FindAsync($"delete from heartbeats where realm = {realm} and name = {name} returning {Columns}", Read, ct);
        if (gone is { Missed: true })
        {
            await tx.SendAsync(new HealthChanged(realm, gone.Component, Kind, HealthState.Unhealthy, HealthState.Unknown, "The heartbeat was deleted.", now), ct);
        }

        return gone is not null;
    }

    /// <summary>Those that are overdue become missed, and are told of. Replicas share them, and each is told once.</summary>
    /// <returns>Who was missed, and when the next one will be due; null when none is expected.</returns>
    public async Task<(IReadOnlyList<Heartbeat> Missed, DateTimeOffset? NextDue)> MissAsync(DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var missed = await tx.QueryAsync($"""
            update heartbeats h set missed = true, since = {now}
            from (select realm, name from heartbeats where not missed and due_at <= {now} order by due_at limit {MostAtOnce} for update skip locked) due
            where h.realm = due.realm and h.name = due.name
            returning h.realm, h.name, h.interval_seconds, h.grace_seconds, h.missed, h.last_beat_at, h.due_at, h.since, h.created_by, h.created_at
            """, Read, ct);
        foreach (var one in missed)
        {
            var reason = one.LastBeatAt is { } last
                ? $"No heartbeat since {last.ToUniversalTime():yyyy-MM-dd HH:mm:ss} UTC; one every {one.IntervalSeconds} s is expected, {one.GraceSeconds} s late at most."
                : "No heartbeat ever came.";
            await tx.SendAsync(new HealthChanged(one.Realm, one.Component, Kind, HealthState.Healthy, HealthState.Unhealthy, reason, now), ct);
        }

        var next = await tx.FindAsync($"select min(due_at) from heartbeats where not missed", row => row.GetTimeOrNull(0), ct);
        await tx.CommitAsync(ct);
        return (missed, next);
    }

    private static Heartbeat Read(NpgsqlDataReader row) => new(
        row.GetString(0), row.GetString(1), row.GetInt32(2), row.GetInt32(3), row.GetBoolean(4), row.GetTimeOrNull(5), row.GetTime(6), row.GetTime(7), row.GetString(8), row.GetTime(9));
}
