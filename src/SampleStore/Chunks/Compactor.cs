using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Npgsql;
using NpgsqlTypes;
using Platform.Postgres;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// Turns the older part of the log into one chunk per series and day, and deletes it there, in one transaction; puts days with many small
/// chunks in order once they are over; drops what is out of retention. One replica at a time, by advisory lock.
/// </summary>
internal sealed partial class Compactor(NpgsqlDataSource db, SampleStoreOptions options, TimeProvider clock, StoreMetrics metrics, ILogger logger)
{
    private const long Lock = 0x73616d706c6573;
    private const long DayLength = 86_400_000;

    // What one transaction takes: it is held in memory, compressed.
    private const long MostSamples = 32_000_000;
    private const int Wave = 16;
    private const int SeriesAtOnce = 1024;

    private readonly ChunkPartitions _partitions = new(db);

    /// <summary>Compacts what is due: whole stretches of the time that a setting gives, or all of it.</summary>
    /// <returns>False when another replica is at it.</returns>
    public async Task<bool> CompactAsync(bool everything, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        // A stretch is due a quarter of its length after its end, so that what is late by little is in it.
        var stretch = options.CompactAfter.Ticks;
        var due = new DateTimeOffset((now.UtcTicks - stretch / 4) / stretch * stretch, TimeSpan.Zero);
        if (!everything && !await db.FindAsync($"select exists (select from sample_batches where at < {due})", row => row.GetBoolean(0), ct))
        {
            return true;
        }

        await using var connection = await db.OpenConnectionAsync(ct);
        if (!await TryLockAsync(connection, ct))
        {
            return false;
        }

        try
        {
            while (await CompactOnceAsync(connection, everything ? DateTimeOffset.MaxValue : due, ct))
            {
            }
        }
        finally
        {
            await UnlockAsync(connection);
        }

        return true;
    }

    /// <summary>Retention, and the order of days that are over.</summary>
    public async Task MaintainAsync(CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        if (!await TryLockAsync(connection, ct))
        {
            return;
        }

        try
        {
            await DropOldAsync(connection, ct);
            await OrderDaysAsync(connection, ct);
        }
        finally
        {
            await UnlockAsync(connection);
        }
    }

    // One transaction. True when there may be more to do.
    private async Task<bool> CompactOnceAsync(NpgsqlConnection connection, DateTimeOffset due, CancellationToken ct)
    {
        var started = Stopwatch.GetTimestamp();
        await using var tx = await connection.BeginTransactionAsync(System.Data.IsolationLevel.RepeatableRead, ct);
        // Transactions below xmin have ended: no row with a lower txid is going to appear.
        var (before, batches) = await tx.FindAsync(
            $"""
            with due as (
                select txid, sum(samples) over (order by txid, id) as samples from sample_batches
                where txid < least(pg_snapshot_xmin(pg_current_snapshot()), (select min(txid) from sample_batches where at >= {(due == DateTimeOffset.MaxValue ? DateTimeOffset.UtcNow.AddYears(100) : due)})))
            select max(txid), count(*)::int from due where samples <= greatest({MostSamples}, (select min(samples) from due))
            """,
            row => row.IsDBNull(0) ? default : (row.GetFieldValue<ulong>(0) + 1, row.GetInt32(1)),
            ct);
        if (batches == 0)
        {
            return false;
        }

        var buffers = await ReadLogAsync(tx, before, ct);
        var series = buffers.Keys.Order().ToArray();
        var (minTime, maxTime) = (long.MaxValue, long.MinValue);
        foreach (var buffer in buffers.Values)
        {
            minTime = Math.Min(minTime, buffer.MinTime);
            maxTime = Math.Max(maxTime, buffer.MaxTime);
        }

        // Days that nobody has written to get no partition.
        var compaction = await tx.FindAsync(
            $"insert into sample_compactions (before, batches, min_time, max_time) values ({Xid(before)}, {batches}, {minTime}, {maxTime}) returning id",
            row => row.GetInt32(0),
            ct);
        var days = await WriteAsync(tx, compaction, series, buffers, ct);
        await NoteDaysAsync(tx, days, ct);
        await tx.ExecuteAsync($"delete from sample_batches where txid < {Xid(before)}", ct);
        await tx.CommitAsync(ct);

        var took = Stopwatch.GetElapsedTime(started);
        metrics.Compacted(took);
        Compacted(logger, batches, series.Length, took.TotalSeconds);
        // The room is given back at once instead of when autovacuum comes by. With a few dead rows at its end, which vacuum would leave for
        // later by itself, the whole file would stay.
        await using var vacuum = new NpgsqlCommand("vacuum (index_cleanup on) sample_batches", connection) { CommandTimeout = 0 };
        await vacuum.ExecuteNonQueryAsync(ct);
        return true;
    }

    private static async Task<Dictionary<long, SampleBuffer>> ReadLogAsync(NpgsqlTransaction tx, ulong before, CancellationToken ct)
    {
        var buffers = new Dictionary<long, SampleBuffer>();
        var decoded = Enumerable.Range(0, Wave).Select(_ => new DecodedBatch()).ToArray();
        var wave = new List<byte[]>(Wave);
        await using var read = new NpgsqlCommand("select bytes from sample_batches where txid < $1 order by id", tx.Connection, tx) { CommandTimeout = 0 };
        read.Parameters.Add(Xid(before));
        await using var answer = await read.ExecuteReaderAsync(ct);
        while (true)
        {
            var more = await answer.ReadAsync(ct);
            if (more)
            {
                wave.Add(answer.GetFieldValue<byte[]>(0));
            }

            if (wave.Count == Wave || !more)
            {
                Parallel.For(0, wave.Count, at => decoded[at].Decode(wave[at]));
                for (var at = 0; at < wave.Count; at++)
                {
                    foreach (var run in decoded[at].Runs)
                    {
                        if (!buffers.TryGetValue(run.Id, out var buffer))
                        {
                            buffers.Add(run.Id, buffer = new SampleBuffer());
                        }

                        buffer.Add(decoded[at].Times.Slice(run.Start, run.Count), decoded[at].Values.Slice(run.Start, run.Count), 128, 0);
                    }
                }

                wave.Clear();
            }

            if (!more)
            {
                return buffers;
            }
        }
    }

    private async Task<Dictionary<int, long>> WriteAsync(NpgsqlTransaction tx, int compaction, long[] series, Dictionary<long, SampleBuffer> buffers, CancellationToken ct)
    {
        var days = new Dictionary<int, long>();
        var lastDays = new Dictionary<long, int>(series.Length);
        for (var start = 0; start < series.Length; start += SeriesAtOnce)
        {
            var count = Math.Min(SeriesAtOnce, series.Length - start);
            var chunks = new List<DayChunk>[count];
            var offset = start;
            Parallel.For(0, count, at => chunks[at] = DayChunk.Of(buffers[series[offset + at]].View()));
            foreach (var chunk in chunks.SelectMany(own => own))
            {
                var day = ChunkReader.DayOf(chunk.From);
                if (!days.TryGetValue(day, out var last))
                {
                    await _partitions.EnsureAsync(day, ct);
                }

                days[day] = days.ContainsKey(day) ? Math.Max(last, chunk.To) : chunk.To;
            }

            await CopyAsync(tx.Connection!, compaction, series.AsMemory(start, count), chunks, ct);
            for (var at = 0; at < count; at++)
            {
                lastDays[series[start + at]] = ChunkReader.DayOf(chunks[at][^1].To);
            }
        }

        // Not a part of the transaction: a day too late on which a series was written to does no harm, a lock on half a million rows would.
        await db.ExecuteAsync(
            $"update series set last_day = new.day from unnest({lastDays.Keys.ToArray()}, {lastDays.Values.ToArray()}) as new (id, day) where series.id = new.id and series.last_day < new.day",
            ct);
        return days;
    }

    private static async Task CopyAsync(NpgsqlConnection connection, int compaction, ReadOnlyMemory<long> series, List<DayChunk>[] chunks, CancellationToken ct)
    {
        await using var copy = await connection.BeginBinaryImportAsync("copy sample_chunks (series_id, start_at, span, compaction, bytes) from stdin (format binary)", ct);
        for (var at = 0; at < chunks.Length; at++)
        {
            foreach (var chunk in chunks[at])
            {
                await copy.StartRowAsync(ct);
                await copy.WriteAsync(series.Span[at], NpgsqlDbType.Bigint, ct);
                await copy.WriteAsync(chunk.From, NpgsqlDbType.Bigint, ct);
                await copy.WriteAsync((int)(chunk.To - chunk.From), NpgsqlDbType.Integer, ct);
                await copy.WriteAsync(compaction, NpgsqlDbType.Integer, ct);
                await copy.WriteAsync(chunk.Bytes, NpgsqlDbType.Bytea, ct);
            }
        }

        await copy.CompleteAsync(ct);
    }

    private static Task<int> NoteDaysAsync(NpgsqlTransaction tx, Dictionary<int, long> days, CancellationToken ct) => tx.ExecuteAsync(
        $"""
        insert into sample_days as stored (day, max_time, rounds)
        select day, max_time, 1 from unnest({days.Keys.ToArray()}, {days.Values.ToArray()}) as new (day, max_time)
        on conflict (day) do update set max_time = greatest(stored.max_time, excluded.max_time), rounds = stored.rounds + 1
        """,
        ct);

    // Days that are over and were touched by several compactions: their rows are merged, some series at a time.
    private async Task OrderDaysAsync(NpgsqlConnection connection, CancellationToken ct)
    {
        var over = ChunkReader.DayOf((clock.GetUtcNow() - 2 * options.CompactAfter).ToUnixTimeMilliseconds()) - 1;
        var days = await db.QueryAsync($"select day from sample_days where rounds > 1 and day <= {over} order by day", row => row.GetInt32(0), ct);
        foreach (var day in days)
        {
            var after = long.MinValue;
            while (await OrderSomeAsync(connection, day, after, ct) is { } last)
            {
                after = last;
            }

            await db.ExecuteAsync($"update sample_days set rounds = 1 where day = {day}", ct);
        }
    }

    private static async Task<long?> OrderSomeAsync(NpgsqlConnection connection, int day, long after, CancellationToken ct)
    {
        var (from, to) = (day * DayLength, (day + 1) * DayLength);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var series = await tx.QueryAsync(
            $"""
            select series_id from sample_chunks where start_at >= {from} and start_at < {to} and series_id > {after}
            group by series_id having count(*) > 1 order by series_id limit {SeriesAtOnce}
            """,
            row => row.GetInt64(0),
            ct);
        if (series.Count == 0)
        {
            return null;
        }

        var ids = series.ToArray();
        var rows = await tx.QueryAsync(
            $"select series_id, start_at, span, compaction, bytes from sample_chunks where start_at >= {from} and start_at < {to} and series_id = any({ids})",
            row => (Series: row.GetInt64(0), Segment: new Segment(row.GetInt64(1), row.GetInt64(1) + row.GetInt32(2), row.GetFieldValue<byte[]>(4), row.GetInt32(3))),
            ct);
        var own = rows.ToLookup(row => row.Series, row => row.Segment);
        var chunks = new List<DayChunk>[ids.Length];
        Parallel.For(0, ids.Length, at => chunks[at] = DayChunk.Of(new BufferView([], default, default), ChunkReader.Ordered([.. own[ids[at]]])));

        var compaction = await tx.FindAsync(
            $"insert into sample_compactions (before, batches, min_time, max_time) values ('0', 0, {from}, {to - 1}) returning id", row => row.GetInt32(0), ct);
        await tx.ExecuteAsync($"delete from sample_chunks where start_at >= {from} and start_at < {to} and series_id = any({ids})", ct);
        await CopyAsync(connection, compaction, ids, chunks, ct);
        await tx.CommitAsync(ct);
        return ids[^1];
    }

    private async Task DropOldAsync(NpgsqlConnection connection, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var firstKept = (int)(now.ToUnixTimeSeconds() / 86_400) - options.RetentionDays;
        foreach (var day in await db.QueryAsync($"select day from sample_days where day < {firstKept} order by day", row => row.GetInt32(0), ct))
        {
            await using var tx = await connection.BeginTransactionAsync(ct);
            await _partitions.DropAsync(tx, day, ct);
            await tx.ExecuteAsync($"delete from sample_days where day = {day}", ct);
            await tx.ExecuteAsync(
                $"insert into sample_compactions (before, batches, min_time, max_time) values ('0', 0, {day * DayLength}, {(day + 1) * DayLength - 1})", ct);
            await tx.CommitAsync(ct);
            Dropped(logger, day);
        }

        // Three days more than samples are kept: whoever has such a series in memory moves its day long before, see GroupCommit.
        while (await db.ExecuteAsync($"delete from series where id = any(array(select id from series where last_day < {firstKept - 3} limit 10000))", ct) > 0)
        {
        }

        await db.ExecuteAsync($"delete from sample_totals t where not exists (select from series s where s.id = t.series_id)", ct);
        await db.ExecuteAsync($"delete from sample_compactions where at < {now.AddDays(-2)}", ct);
        var forgotten = now - options.IdempotencyWindow;
        while (await db.ExecuteAsync($"delete from sample_keys where ctid = any(array(select ctid from sample_keys where created_at < {forgotten} limit 10000))", ct) > 0)
        {
        }
    }

    private static NpgsqlParameter Xid(ulong value) => new() { Value = value, NpgsqlDbType = NpgsqlDbType.Xid8 };

    private static async Task<bool> TryLockAsync(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var take = new NpgsqlCommand("select pg_try_advisory_lock($1)", connection);
        take.Parameters.Add(new NpgsqlParameter<long> { TypedValue = Lock });
        return (bool)(await take.ExecuteScalarAsync(ct))!;
    }

    private static async Task UnlockAsync(NpgsqlConnection connection)
    {
        if (connection.State != System.Data.ConnectionState.Open)
        {
            return; // PostgreSQL has released it with the session
        }

        await using var give = new NpgsqlCommand("select pg_advisory_unlock($1)", connection);
        give.Parameters.Add(new NpgsqlParameter<long> { TypedValue = Lock });
        await give.ExecuteNonQueryAsync(CancellationToken.None);
    }

    [LoggerMessage(LogLevel.Information, "Compacted {Batches} commits with samples of {Series} series in {Seconds:F1} s")]
    private static partial void Compacted(ILogger logger, int batches, int series, double seconds);

    [LoggerMessage(LogLevel.Information, "Dropped the samples of day {Day} (since 1970): out of retention")]
    private static partial void Dropped(ILogger logger, int day);
}

/// <summary>Samples of one series and one day.</summary>
internal sealed record DayChunk(long From, long To, byte[] Bytes)
{
    private const int MostSamples = 1 << 17;

    [ThreadStatic]
    private static SampleColumns? _columns;

    /// <summary>All samples, in order of time, cut at midnight (UTC).</summary>
    public static List<DayChunk> Of(BufferView view, Segment[]? stored = null)
    {
        var columns = _columns ??= new SampleColumns();
        columns.Clear();
        view.Read(stored ?? [], long.MaxValue, long.MinValue, long.MaxValue, columns);
        var times = columns.Times;
        var values = columns.Values;
        var chunks = new List<DayChunk>(1);
        for (var start = 0; start < times.Length;)
        {
            var end = BufferView.LowerBound(times, (ChunkReader.DayOf(times[start]) + 1) * 86_400_000L);
            end = Math.Min(end, start + MostSamples);
            chunks.Add(new DayChunk(times[start], times[end - 1], ChunkCodec.Encode(times[start..end], values[start..end])));
            start = end;
        }

        return chunks;
    }
}

/// <summary>The day partitions of <c>sample_chunks</c>.</summary>
internal sealed class ChunkPartitions(NpgsqlDataSource db)
{
    private readonly HashSet<int> _known = [];

    /// <summary>The day's partition exists when this returns. Called by one at a time.</summary>
    public async Task EnsureAsync(int day, CancellationToken ct)
    {
        if (_known.Contains(day))
        {
            return;
        }

        if (!await db.FindAsync($"select to_regclass({NameOf(day)}) is not null", row => row.GetBoolean(0), ct))
        {
            // Made apart and then attached, which lets reads and writes of other days go on. One statement text is one transaction. Names
            // and bounds come from a number, never from input; DDL takes no parameters.
#pragma warning disable CA2100
            await using var create = db.CreateCommand(
                $"""
                create table {NameOf(day)} (like sample_chunks including all);
                alter table sample_chunks attach partition {NameOf(day)} for values from ({day * 86_400_000L}) to ({(day + 1) * 86_400_000L})
                """);
#pragma warning restore CA2100
            await create.ExecuteNonQueryAsync(ct);
        }

        _known.Add(day);
    }

    public async Task DropAsync(NpgsqlTransaction tx, int day, CancellationToken ct)
    {
        // Everybody queues behind a drop that waits for one long read: better to give up and come back.
        await tx.ExecuteAsync($"set local lock_timeout = '500ms'", ct);
#pragma warning disable CA2100
        await using var drop = new NpgsqlCommand($"drop table if exists {NameOf(day)}", tx.Connection, tx);
#pragma warning restore CA2100
        await drop.ExecuteNonQueryAsync(ct);
        _known.Remove(day);
    }

    private static string NameOf(int day) => $"sample_chunks_{DateTimeOffset.FromUnixTimeSeconds(day * 86_400L):yyyyMMdd}";
}
