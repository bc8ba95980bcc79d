using System.Collections.Concurrent;
using System.Collections.Frozen;
using Npgsql;
using NpgsqlTypes;
using Platform.Postgres;

namespace Platform.SampleStore;

/// <summary>
/// Chunks in the database, for those who read. Knows which days have any, and keeps recently read ones in bounded memory. A chunk is
/// never changed, but compactions add and replace rows of a day: each of them makes what is remembered of its days worthless.
/// </summary>
internal sealed class ChunkReader(NpgsqlDataSource db, SampleStoreOptions options)
{
    private const long DayLength = 86_400_000;

    // Two generations: what is used moves to the young one, and the old one goes as a whole when the young one has half of the bytes.
    private ConcurrentDictionary<(long Series, int Day), Entry> _young = new();
    private ConcurrentDictionary<(long Series, int Day), Entry> _old = new();
    private long _youngBytes;

    private FrozenDictionary<int, Day> _days = FrozenDictionary<int, Day>.Empty;
    private int _lastCompaction;

    /// <summary>Learns what there is. Comes before the log is read.</summary>
    public async Task LoadAsync(Head head, CancellationToken ct)
    {
        _lastCompaction = await db.FindAsync($"select coalesce(max(id), 0) from sample_compactions", row => row.GetInt32(0), ct);
        var days = await ReadDaysAsync(ct);
        _days = days.ToFrozenDictionary(day => day.Number);
        if (days.Count > 0)
        {
            // What is in chunks is not in the log, and so not in memory.
            head.RaiseSamplesFloor(days.Max(day => day.MaxTime) + 1);
        }
    }

    /// <summary>Learns what compactions of this and other replicas have done since the last call. One call at a time.</summary>
    public async Task FollowAsync(Head head, CommitOrder order, CancellationToken ct)
    {
        var done = await db.QueryAsync(
            $"select id, before, batches, min_time, max_time from sample_compactions where id > {_lastCompaction} order by id",
            row => (Id: row.GetInt32(0), Before: row.GetFieldValue<ulong>(1), Batches: row.GetInt32(2), MinTime: row.GetInt64(3), MaxTime: row.GetInt64(4)),
            ct);
        if (done.Count == 0)
        {
            return;
        }

        var days = await ReadDaysAsync(ct);
        var known = _days;
        _days = days.ToFrozenDictionary(day => day.Number, day =>
        {
            var changed = done.Exists(compaction => DayOf(compaction.MinTime) <= day.Number && DayOf(compaction.MaxTime) >= day.Number);
            var before = known.TryGetValue(day.Number, out var old) ? old.Version : 0;
            return day with { Version = changed ? before + 1 : before };
        });
        // First the days, then what may leave memory because of them: see StoredReader.
        foreach (var compaction in done)
        {
            if (order.Settle(compaction.Before) < compaction.Batches)
            {
                // Some of these commits have never been in this memory: this replica came late.
                head.RaiseSamplesFloor(compaction.MaxTime + 1);
            }

            _lastCompaction = compaction.Id;
        }
    }

    /// <summary>Some chunk may have samples in the time.</summary>
    public int DaysWithin(long from, long to)
    {
        var count = 0;
        foreach (var day in _days.Values)
        {
            count += day.Number >= DayOf(from) && day.Number <= DayOf(to) && day.MaxTime >= from ? 1 : 0;
        }

        return count;
    }

    /// <summary>The chunks of each series that may have samples in the time, in order of their start, or of their age where they overlap.</summary>
    public async Task<Segment[][]> ReadAsync(long[] series, long from, long to, CancellationToken ct)
    {
        var found = new Segment[series.Length][];
        Array.Fill(found, []);
        var missing = new Dictionary<long, int>();
        foreach (var day in _days.Values.Where(day => day.Number >= DayOf(from) && day.Number <= DayOf(to) && day.MaxTime >= from).OrderBy(day => day.Number))
        {
            missing.Clear();
            for (var at = 0; at < series.Length; at++)
            {
                if (Cached((series[at], day.Number), day.Version) is { } cached)
                {
                    found[at] = found[at].Length == 0 ? cached : [.. found[at], .. cached];
                }
                else
                {
                    missing[series[at]] = at;
                }
            }

            if (missing.Count > 0)
            {
                await FetchAsync(day, missing, found, ct);
            }
        }

        return found;
    }

    public static int DayOf(long time) => (int)Math.Clamp(time >= 0 ? time / DayLength : (time - DayLength + 1) / DayLength, int.MinValue / 2, int.MaxValue / 2);

    private async Task FetchAsync(Day day, Dictionary<long, int> missing, Segment[][] found, CancellationToken ct)
    {
        var rows = new Dictionary<long, List<Segment>>(missing.Count);
        await using (var read = db.CreateCommand("select series_id, start_at, span, compaction, bytes from sample_chunks where start_at >= $1 and start_at < $2 and series_id = any($3)"))
        {
            read.Parameters.Add(new NpgsqlParameter<long> { TypedValue = day.Number * DayLength });
            read.Parameters.Add(new NpgsqlParameter<long> { TypedValue = (day.Number + 1) * DayLength });
            read.Parameters.Add(new NpgsqlParameter { Value = missing.Keys.ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Bigint });
            await using var answer = await read.ExecuteReaderAsync(ct);
            while (await answer.ReadAsync(ct))
            {
                var start = answer.GetInt64(1);
                var segment = new Segment(start, start + answer.GetInt32(2), answer.GetFieldValue<byte[]>(4), answer.GetInt32(3));
                if (!rows.TryGetValue(answer.GetInt64(0), out var own))
                {
                    rows.Add(answer.GetInt64(0), own = new List<Segment>(1));
                }

                own.Add(segment);
            }
        }

        foreach (var (id, at) in missing)
        {
            var segments = rows.TryGetValue(id, out var own) ? Ordered(own) : [];
            Keep((id, day.Number), new Entry(segments, day.Version));
            if (segments.Length > 0)
            {
                found[at] = found[at].Length == 0 ? segments : [.. found[at], .. segments];
            }
        }
    }

    internal static Segment[] Ordered(List<Segment> segments)
    {
        segments.Sort(static (left, right) => left.From.CompareTo(right.From));
        for (var at = 1; at < segments.Count; at++)
        {
            if (segments[at].From <= segments[at - 1].To)
            {
                segments.Sort(static (left, right) => left.Commit != right.Commit ? left.Commit.CompareTo(right.Commit) : left.From.CompareTo(right.From));
                break;
            }
        }

        return [.. segments];
    }

    private Segment[]? Cached((long, int) key, int version)
    {
        if (_young.TryGetValue(key, out var entry))
        {
            return entry.Version == version ? entry.Segments : null;
        }

        if (_old.TryGetValue(key, out entry) && entry.Version == version)
        {
            Keep(key, entry);
            return entry.Segments;
        }

        return null;
    }

    private void Keep((long, int) key, Entry entry)
    {
        var bytes = 128L;
        foreach (var segment in entry.Segments)
        {
            bytes += segment.Bytes.Length + 64;
        }

        if (bytes > options.ChunkCacheBytes / 8)
        {
            return;
        }

        _young[key] = entry;
        if (Interlocked.Add(ref _youngBytes, bytes) > options.ChunkCacheBytes / 2)
        {
            // Two at once lose some of what is remembered, nothing else.
            Volatile.Write(ref _old, _young);
            Volatile.Write(ref _young, new ConcurrentDictionary<(long, int), Entry>());
            Interlocked.Exchange(ref _youngBytes, 0);
        }
    }

    private Task<List<Day>> ReadDaysAsync(CancellationToken ct) =>
        db.QueryAsync($"select day, max_time from sample_days", row => new Day(row.GetInt32(0), row.GetInt64(1), 0), ct);

    /// <param name="Version">Counts the compactions that have touched the day, as far as this process has seen.</param>
    private sealed record Day(int Number, long MaxTime, int Version);

    private sealed record Entry(Segment[] Segments, int Version);
}
