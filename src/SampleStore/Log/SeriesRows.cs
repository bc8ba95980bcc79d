using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Npgsql;
using NpgsqlTypes;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>The table <c>series</c>: ids, the bytes of labels, and which series in memory has which id.</summary>
internal sealed class SeriesRows(NpgsqlDataSource db, Head head, TextPool texts) : IDisposable
{
    private const int Range = 10_000;
    private const int RowsAtOnce = 4_096;
    private const int RowsPerTurn = 256;

    // Ids come in ranges, so pages of that size are well filled.
    private readonly ConcurrentDictionary<long, LiveSeries?[]> _pages = new();

    // Guards the range of ids that this process has taken.
    private readonly SemaphoreSlim _taking = new(1);
    private long _next = 1;
    private long _end;

    /// <summary>The series in memory with this id, or null.</summary>
    public LiveSeries? Find(long id) =>
        _pages.TryGetValue((id - 1) / Range, out var page) && Volatile.Read(ref page[(id - 1) % Range]) is { IsRetired: false } series ? series : null;

    public void Put(LiveSeries series) =>
        Volatile.Write(ref _pages.GetOrAdd((series.Id - 1) / Range, _ => new LiveSeries?[Range])[(series.Id - 1) % Range], series);

    /// <summary>Forgets pages on which every series has left memory.</summary>
    public void Prune()
    {
        foreach (var (number, page) in _pages)
        {
            var used = false;
            for (var at = 0; at < page.Length; at++)
            {
                if (page[at] is { IsRetired: true } gone)
                {
                    Interlocked.CompareExchange(ref page[at], null, gone);
                }

                used |= page[at] is not null;
            }

            // The youngest page is still being filled; an older one can only be filled again by a series that comes back, and then Put
            // makes a new page: what is lost by the race is one lookup in the database.
            if (!used && number != (Volatile.Read(ref _next) - 1) / Range)
            {
                _pages.TryRemove(number, out _);
            }
        }
    }

    /// <summary>
    /// Makes a row for each series that has none, and takes the id of the row that is there already. Waits for other transactions that
    /// are making rows for the same series; all take them in the order of the hash, so none waits in a circle.
    /// </summary>
    /// <param name="series">Each once. All have their final id when this returns, for as long as the transaction commits.</param>
    public async Task InsertAsync(NpgsqlConnection connection, List<LiveSeries> series, int today)
    {
        var rows = new Row[series.Count];
        for (var at = 0; at < rows.Length; at++)
        {
            var bytes = LabelBytes.Of(series[at].Labels);
            rows[at] = new Row(Hash(bytes), series[at], bytes);
        }

        Array.Sort(rows, static (left, right) => left.Hash.CompareTo(right.Hash));
        await GiveIdsAsync(rows);
        await using var insert = new NpgsqlCommand(
            """
            insert into series (id, hash, realm, name, labels, last_day)
            select id, hash, realm, name, labels, $6 from unnest($1, $2, $3, $4, $5) as new (id, hash, realm, name, labels)
            on conflict (hash) do nothing
            """,
            connection);
        insert.CommandTimeout = 0;
        insert.Parameters.Add(new NpgsqlParameter<long[]> { TypedValue = Array.ConvertAll(rows, row => row.Series.Id) });
        insert.Parameters.Add(new NpgsqlParameter<Guid[]> { TypedValue = Array.ConvertAll(rows, row => row.Hash) });
        insert.Parameters.Add(new NpgsqlParameter<string[]> { TypedValue = Array.ConvertAll(rows, row => row.Series.Realm) });
        insert.Parameters.Add(new NpgsqlParameter<string[]> { TypedValue = Array.ConvertAll(rows, row => row.Series.Labels.Name) });
        insert.Parameters.Add(new NpgsqlParameter<byte[][]> { TypedValue = Array.ConvertAll(rows, row => row.Labels), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Bytea });
        insert.Parameters.Add(new NpgsqlParameter<int> { TypedValue = today });
        if (await insert.ExecuteNonQueryAsync() < rows.Length)
        {
            await TakeExistingAsync(connection, rows, today);
        }

        foreach (var row in rows)
        {
            row.Series.KeptFrom = today - 1;
        }
    }

    // Some rows were there: made by another replica, or by this one before the series left memory. Their day is moved first, which keeps
    // retention from taking them for abandoned before this commit.
    private static async Task TakeExistingAsync(NpgsqlConnection connection, Row[] rows, int today)
    {
        var hashes = Array.ConvertAll(rows, row => row.Hash);
        await using var touch = new NpgsqlCommand("update series set last_day = $2 where hash = any($1) and last_day < $2 - 1", connection);
        touch.Parameters.Add(new NpgsqlParameter<Guid[]> { TypedValue = hashes });
        touch.Parameters.Add(new NpgsqlParameter<int> { TypedValue = today });
        await touch.ExecuteNonQueryAsync();

        var ids = new Dictionary<Guid, long>(rows.Length);
        await using var find = new NpgsqlCommand("select id, hash from series where hash = any($1)", connection);
        find.Parameters.Add(new NpgsqlParameter<Guid[]> { TypedValue = hashes });
        await using var answer = await find.ExecuteReaderAsync();
        while (await answer.ReadAsync())
        {
            ids[answer.GetGuid(1)] = answer.GetInt64(0);
        }

        foreach (var row in rows)
        {
            if (!ids.TryGetValue(row.Hash, out var id))
            {
                throw new InvalidOperationException($"The row of the series {row.Series.Labels} went while it was looked up; send the samples again.");
            }

            using (row.Series.Enter())
            {
                row.Series.Id = id;
            }
        }
    }

    /// <summary>Reads rows into memory; readers see them.</summary>
    public async Task LoadAsync(NpgsqlCommand command, CancellationToken ct)
    {
        await using var rows = await command.ExecuteReaderAsync(ct);
        var some = new List<(long Id, byte[] Labels, int LastDay)>(RowsAtOnce);
        while (await rows.ReadAsync(ct))
        {
            some.Add((rows.GetInt64(0), rows.GetFieldValue<byte[]>(1), rows.GetInt32(2)));
            if (some.Count == RowsAtOnce)
            {
                Restore(some);
                some.Clear();
            }
        }

        Restore(some);
    }

    // Labels are made on all cores; the index takes one after the other, in the order of the rows, because neighbours are alike.
    private void Restore(List<(long Id, byte[] Labels, int LastDay)> some)
    {
        var restored = new LiveSeries?[some.Count];
        Parallel.For(0, (some.Count + RowsPerTurn - 1) / RowsPerTurn, turn =>
        {
            for (var at = turn * RowsPerTurn; at < Math.Min(some.Count, (turn + 1) * RowsPerTurn); at++)
            {
                var (id, labels, lastDay) = some[at];
                if (Find(id) is null)
                {
                    restored[at] = head.Restore(LabelBytes.Read(labels, texts), id, lastDay, (lastDay + 1) * 86_400_000L - 1);
                }
            }
        });

        foreach (var series in restored)
        {
            if (series is not null)
            {
                head.Publish(series);
                Put(series);
            }
        }
    }

    /// <summary>Loads the series with these ids, where they are not in memory.</summary>
    public async Task LoadAsync(long[] ids, CancellationToken ct)
    {
        await using var command = db.CreateCommand("select id, labels, last_day from series where id = any($1)");
        command.Parameters.Add(new NpgsqlParameter<long[]> { TypedValue = ids });
        await LoadAsync(command, ct);
    }

    /// <summary>Loads the series that were written to on that day or later.</summary>
    public async Task LoadSinceAsync(int day, CancellationToken ct)
    {
        await using var command = db.CreateCommand("select id, labels, last_day from series where last_day >= $1");
        command.CommandTimeout = 0;
        command.Parameters.Add(new NpgsqlParameter<int> { TypedValue = day });
        await LoadAsync(command, ct);
    }

    /// <summary>Series that are only in the database, as far as they have been written to since that day and all matchers accept them.</summary>
    public async Task<List<(long Id, Labels Labels)>> FindStoredAsync(string? realm, IReadOnlyList<Matcher> matchers, int sinceDay, Func<long, bool> isKnown, CancellationToken ct)
    {
        var name = matchers.FirstOrDefault(matcher => matcher is { Name: Labels.MetricName, Kind: MatchKind.Equal })?.Value;
        await using var command = db.CreateCommand(
            "select id, labels from series where last_day >= $1 and ($2::text is null or name = $2) and ($3::text is null or realm = $3)");
        command.Parameters.Add(new NpgsqlParameter<int> { TypedValue = sinceDay });
        command.Parameters.Add(new NpgsqlParameter { Value = (object?)name ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.Text });
        command.Parameters.Add(new NpgsqlParameter { Value = (object?)realm ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.Text });
        await using var rows = await command.ExecuteReaderAsync(ct);
        var found = new List<(long, Labels)>();
        while (await rows.ReadAsync(ct))
        {
            if (isKnown(rows.GetInt64(0)))
            {
                continue;
            }

            var labels = LabelBytes.Read(rows.GetFieldValue<byte[]>(1), texts);
            if (matchers.All(matcher => matcher.Matches(labels[matcher.Name])))
            {
                found.Add((rows.GetInt64(0), labels));
            }
        }

        return found;
    }

    public void Dispose() => _taking.Dispose();

    private static Guid Hash(byte[] labels)
    {
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(labels, hash);
        return new Guid(hash[..16]);
    }

    private async Task GiveIdsAsync(Row[] rows)
    {
        await _taking.WaitAsync();
        try
        {
            foreach (var row in rows)
            {
                if (row.Series.Id != 0)
                {
                    continue;
                }

                if (_next >= _end)
                {
                    await using var take = db.CreateCommand("select nextval('series_ids')");
                    _next = (long)(await take.ExecuteScalarAsync())!;
                    _end = _next + Range;
                }

                using (row.Series.Enter())
                {
                    if (row.Series.Id == 0)
                    {
                        row.Series.Id = _next++;
                    }
                }
            }
        }
        finally
        {
            _taking.Release();
        }
    }

    private readonly record struct Row(Guid Hash, LiveSeries Series, byte[] Labels);
}

/// <summary>Labels as bytes: length and UTF-8 of each name and value in turn, in the order of <see cref="Labels"/>. See FORMAT.md.</summary>
internal static class LabelBytes
{
    public static byte[] Of(Labels labels)
    {
        var size = 0;
        for (var at = 0; at < labels.Count; at++)
        {
            size += 10 + Encoding.UTF8.GetMaxByteCount(labels.NameAt(at).Length + labels.ValueAt(at).Length);
        }

        var buffer = System.Buffers.ArrayPool<byte>.Shared.Rent(Math.Max(1, size));
        var end = 0;
        for (var at = 0; at < labels.Count; at++)
        {
            Write(buffer, ref end, labels.NameAt(at));
            Write(buffer, ref end, labels.ValueAt(at));
        }

        var bytes = buffer.AsSpan(0, end).ToArray();
        System.Buffers.ArrayPool<byte>.Shared.Return(buffer);
        return bytes;
    }

    public static Labels Read(ReadOnlySpan<byte> bytes, TextPool texts)
    {
        var flat = new List<string>(24);
        while (!bytes.IsEmpty)
        {
            var (length, shift) = (0, 0);
            while (bytes[0] >= 0x80)
            {
                length |= (bytes[0] & 0x7f) << shift;
                shift += 7;
                bytes = bytes[1..];
            }

            length |= bytes[0] << shift;
            flat.Add(texts.Share(bytes.Slice(1, length)));
            bytes = bytes[(1 + length)..];
        }

        return Labels.FromSorted([.. flat]);
    }

    private static void Write(byte[] buffer, ref int end, string text)
    {
        var length = (uint)Encoding.UTF8.GetByteCount(text);
        for (var rest = length; ; rest >>= 7)
        {
            buffer[end++] = (byte)(rest < 0x80 ? rest : rest | 0x80);
            if (rest < 0x80)
            {
                break;
            }
        }

        end += Encoding.UTF8.GetBytes(text, buffer.AsSpan(end));
    }
}
