using Npgsql;
using Platform.Messaging;
using Platform.Postgres;

namespace Platform.Alerting.Canaries;

/// <summary>All SQL about canaries: their flight, and what they leave behind.</summary>
public sealed class CanaryStore(NpgsqlDataSource db)
{
    /// <summary>Any constant will do, as long as nothing else in this database uses it.</summary>
    private const long Lock = 0x63616e61_72696573;

    private const int DeletedAtOnce = 1_000;
    private static readonly TimeSpan Kept = TimeSpan.FromHours(1);

    private static Sql Flight => $"""
        select (select max(sent_at) from canaries), last.sent_at, last.arrived_at, missing.since, missing.number
        from (values (true)) as one
        left join lateral (select sent_at, arrived_at from canaries where arrived_at is not null order by sent_at desc limit 1) last on true
        left join lateral (select min(sent_at) as since, count(*)::int as number from canaries where arrived_at is null and sent_at > coalesce(last.sent_at, '-infinity')) missing on true
        """;

    public async Task<CanaryFlight> FlightAsync(CancellationToken ct) => (await db.FindAsync(Flight, Read, ct))!;

    /// <summary>Sends the next one, if it is due and no other replica has sent it meanwhile, and deletes what old ones left.</summary>
    /// <returns>Whether this replica sent one.</returns>
    public async Task<bool> SendAsync(TimeSpan interval, DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await tx.ExecuteAsync($"select pg_advisory_xact_lock({Lock})", ct);
        if (!(await tx.FindAsync(Flight, Read, ct))!.IsDue(now, interval))
        {
            return false;
        }

        var id = Guid.CreateVersion7(now);
        await tx.ExecuteAsync($"insert into canaries (id, sent_at) values ({id}, {now})", ct);
        await tx.SendAsync(Canary.Event(id, now), ct);
        await CleanAsync(tx, now - Kept, ct);
        await tx.CommitAsync(ct);
        return true;
    }

    /// <summary>Notes that these came home. The second time changes nothing.</summary>
    public Task ArrivedAsync(IReadOnlyCollection<Guid> canaries, DateTimeOffset now, CancellationToken ct) =>
        db.ExecuteAsync($"update canaries set arrived_at = {now} where id = any({canaries.ToArray()}) and arrived_at is null", ct);

    /// <summary>Takes the right to ping. Of all replicas one gets it, once in the interval; who dies with it leaves one ping out.</summary>
    public async Task<bool> ClaimPingAsync(TimeSpan interval, DateTimeOffset now, CancellationToken ct) =>
        await db.ExecuteAsync($"update pings set at = {now} where at <= {now - interval} or at > {now + interval}", ct) == 1;

    // The realm is written out, so that the indexes of what canaries leave behind serve. Alerts that somebody works on stay for the next
    // time: the flusher locks alerts before groups, and so does this.
    private static async Task CleanAsync(NpgsqlTransaction tx, DateTimeOffset before, CancellationToken ct)
    {
        await tx.ExecuteAsync($"""
            with old as (select id from alerts where realm = '~canary' and fired_at < {before} limit {DeletedAtOnce} for update skip locked),
            groups as (delete from notification_groups where id = any(array(select group_id from notification_group_members where alert_id = any(array(select id from old))))),
            news as (delete from alert_news where alert_id = any(array(select id from old))),
            log as (delete from alert_log where alert_id = any(array(select id from old)))
            delete from alerts where id = any(array(select id from old))
            """, ct);
        await tx.ExecuteAsync($"""
            delete from notifications where id = any(array(
                select id from notifications where realm = '~canary' and created_at < {before} limit {DeletedAtOnce} for update skip locked))
            """, ct);
        // The newest that arrived stays: it says since when none has.
        await tx.ExecuteAsync($"""
            delete from canaries where sent_at < {before} and (arrived_at is null or sent_at < (select max(sent_at) from canaries where arrived_at is not null))
            """, ct);
    }

    // Replicas' clocks may differ by more than it takes.
    private static CanaryFlight Read(NpgsqlDataReader row) => new(
        row.GetTimeOrNull(0),
        row.GetTimeOrNull(2),
        row.GetTimeOrNull(1) is { } sent ? TimeSpan.FromTicks(Math.Max(0, (row.GetTime(2) - sent).Ticks)) : null,
        row.GetTimeOrNull(3),
        row.GetInt32(4));
}
