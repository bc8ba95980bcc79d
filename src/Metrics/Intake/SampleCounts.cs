using Npgsql;
using Platform.Postgres;

namespace Platform.Metrics.Intake;

/// <summary>
/// How many samples of a realm came, all in all and in the last hour: a figure for people. It is written every few seconds, apart from the
/// samples, so that no commit waits for a row that all commits count on; a process that is killed loses what it had counted since.
/// </summary>
internal sealed partial class SampleCounts(NpgsqlDataSource db, TimeProvider clock, ILogger<SampleCounts> logger) : BackgroundService
{
    private static readonly TimeSpan Every = TimeSpan.FromSeconds(2);

    // Guards _waiting: intakes add to it while a tick takes all of it.
    private readonly Lock _lock = new();
    private Dictionary<(string Realm, long Minute), long> _waiting = [];

    public void Add(string realm, long samples)
    {
        if (samples > 0)
        {
            Add((realm, MinuteOf(clock.GetUtcNow())), samples);
        }
    }

    private void Add((string Realm, long Minute) key, long samples)
    {
        lock (_lock)
        {
            _waiting[key] = _waiting.GetValueOrDefault(key) + samples;
        }
    }

    public async Task<(long Total, long LastHour)> ReadAsync(string? realm, CancellationToken ct) =>
        await db.FindAsync(
            $"""
            select coalesce(sum(count), 0)::bigint, coalesce(sum(count) filter (where minute > {MinuteOf(clock.GetUtcNow()) - 60}), 0)::bigint
            from sample_counts where {realm}::text is null or realm = {realm}
            """,
            row => (row.GetInt64(0), row.GetInt64(1)),
            ct);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Every, clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            await TickAsync(stoppingToken);
        }
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        await TickAsync(cancellationToken);
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        Dictionary<(string Realm, long Minute), long> taken;
        lock (_lock)
        {
            if (_waiting.Count == 0)
            {
                return;
            }

            taken = _waiting;
            _waiting = [];
        }

        try
        {
            await WriteAsync(taken, ct);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            CountingFailed(error);
            foreach (var (key, samples) in taken)
            {
                Add(key, samples);
            }
        }
    }

    // Rows always in the same order, so that two replicas cannot wait for each other in a circle.
    private async Task WriteAsync(Dictionary<(string Realm, long Minute), long> taken, CancellationToken ct)
    {
        var rows = taken.OrderBy(row => row.Key).ToList();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await tx.ExecuteAsync(
            $"""
            with old as (delete from sample_counts where minute > 0 and minute < {MinuteOf(clock.GetUtcNow()) - 90} returning realm, count)
            insert into sample_counts as stored (realm, minute, count)
            select realm, 0, sum(count) from old group by realm order by realm
            on conflict (realm, minute) do update set count = stored.count + excluded.count
            """,
            ct);
        await tx.ExecuteAsync(
            $"""
            insert into sample_counts as stored (realm, minute, count)
            select * from unnest(
                {rows.Select(row => row.Key.Realm).ToArray()}, {rows.Select(row => row.Key.Minute).ToArray()}, {rows.Select(row => row.Value).ToArray()})
            on conflict (realm, minute) do update set count = stored.count + excluded.count
            """,
            ct);
        await tx.CommitAsync(ct);
    }

    private static long MinuteOf(DateTimeOffset time) => time.ToUnixTimeSeconds() / 60;

    [LoggerMessage(LogLevel.Warning, "Counting the samples that came failed; they are stored, and the figure is written with the next tick")]
    private partial void CountingFailed(Exception error);
}
