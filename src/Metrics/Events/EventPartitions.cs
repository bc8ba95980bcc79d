using System.Collections.Immutable;
using Npgsql;
using Platform.Postgres;

namespace Platform.Metrics.Events;

/// <summary>
/// The day partitions of <c>events</c>: made when a day is first written to (and a day ahead, so that midnight costs nobody time),
/// dropped whole when the day leaves retention. Forgets idempotency keys as well.
/// </summary>
public sealed partial class EventPartitions(NpgsqlDataSource db, EventOptions options, TimeProvider clock, ILogger<EventPartitions> logger) : BackgroundService
{
    private const long Lock = 0x6576656e7470;

    // Days known to have a partition; swapped whole. Dropped days leave it before their table goes.
    private ImmutableHashSet<int> _known = [];

    /// <summary>Every day's partition exists when this returns.</summary>
    /// <param name="days">Days since 1970-01-01 UTC.</param>
    public async ValueTask EnsureAsync(IEnumerable<int> days, CancellationToken ct)
    {
        foreach (var day in days)
        {
            if (!_known.Contains(day))
            {
                await CreateAsync(day, ct);
                ImmutableInterlocked.Update(ref _known, known => known.Add(day));
            }
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMinutes(10), clock);
        do
        {
            await TickAsync(stoppingToken);
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            var today = Day(clock.GetUtcNow());
            await EnsureAsync([today, today + 1], ct);
            await DropOldAsync(today - options.RetentionDays, ct);
            var forgotten = clock.GetUtcNow().AddHours(-options.IdempotencyHours);
            while (await db.ExecuteAsync(
                $"delete from idempotency_keys where ctid = any(array(select ctid from idempotency_keys where created_at < {forgotten} limit 10000))", ct) > 0)
            {
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            MaintenanceFailed(error);
        }
    }

    private static int Day(DateTimeOffset time) => (int)(time.ToUnixTimeSeconds() / 86_400);

    private static DateTimeOffset StartOf(int day) => DateTimeOffset.FromUnixTimeSeconds(day * 86_400L);

    private static string NameOf(int day) => $"events_{StartOf(day):yyyyMMdd}";

    private async Task CreateAsync(int day, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        // Replicas and writers that meet a new day together take turns.
        await tx.ExecuteAsync($"select pg_advisory_xact_lock({Lock})", ct);
        if (await tx.FindAsync($"select to_regclass({NameOf(day)}) is not null", row => row.GetBoolean(0), ct))
        {
            return;
        }

        // Made apart and then attached, which lets reads and writes of other days go on. Names and bounds come from a number, never from
        // input; DDL takes no parameters.
#pragma warning disable CA2100
        await using var create = new NpgsqlCommand(
            $"""
            create table {NameOf(day)} (like events including all);
            alter table events attach partition {NameOf(day)} for values from ('{StartOf(day):yyyy-MM-dd} 00:00+00') to ('{StartOf(day + 1):yyyy-MM-dd} 00:00+00')
            """,
            connection,
            tx);
#pragma warning restore CA2100
        await create.ExecuteNonQueryAsync(ct);
        await tx.CommitAsync(ct);
    }

    // Days before this one are out of retention.
    private async Task DropOldAsync(int firstKept, CancellationToken ct)
    {
        var partitions = await db.QueryAsync(
            $"select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'events'::regclass and c.relname < {NameOf(firstKept)} order by 1",
            row => row.GetString(0),
            ct);
        foreach (var partition in partitions)
        {
            ImmutableInterlocked.Update(ref _known, known => [.. known.Where(day => NameOf(day) != partition)]);
            await using var connection = await db.OpenConnectionAsync(ct);
            await using var tx = await connection.BeginTransactionAsync(ct);
            // Everybody queues behind a drop that waits for one long read: better to give up and come back at the next tick.
            await tx.ExecuteAsync($"set local lock_timeout = '500ms'", ct);
#pragma warning disable CA2100 // the name comes from the catalogue
            await using var drop = new NpgsqlCommand($"drop table if exists {partition}", connection, tx);
#pragma warning restore CA2100
            await drop.ExecuteNonQueryAsync(ct);
            await tx.CommitAsync(ct);
            Dropped(partition);
        }

        if (partitions.Count > 0)
        {
            await db.ExecuteAsync($"delete from event_counts where minute < {StartOf(firstKept)}", ct);
        }
    }

    [LoggerMessage(LogLevel.Information, "Dropped {Partition}: out of retention")]
    private partial void Dropped(string partition);

    [LoggerMessage(LogLevel.Error, "Maintaining the partitions of events failed; trying again at the next tick")]
    private partial void MaintenanceFailed(Exception error);
}
