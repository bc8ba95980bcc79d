using System.Collections.Concurrent;
using Npgsql;
using NpgsqlTypes;

namespace Platform.SampleStore;

/// <summary>
/// Requests with an Idempotency-Key. The row of a key is taken before the samples are written, so a second request with the key, in the
/// same group, on another replica or later, finds it (waiting for the other commit if need be) and is answered from it.
/// </summary>
internal static class SampleKeys
{
    /// <summary>Answers those whose key was used before. Takes keys in one order, so that two commits do not wait for each other in a circle.</summary>
    public static async Task ClaimAsync(NpgsqlConnection connection, List<GroupCommit.Request> group)
    {
        var keyed = group.FindAll(request => request.Batch.Key is not null);
        keyed.Sort(static (left, right) =>
            string.CompareOrdinal(left.Batch.Key!.Subject, right.Batch.Key!.Subject) is var order and not 0 ? order : string.CompareOrdinal(left.Batch.Key.Key, right.Batch.Key.Key));
        foreach (var request in keyed)
        {
            request.Answer = null;
            var key = request.Batch.Key!;
            await using var claim = Command(connection, "insert into sample_keys (subject, key, body_hash, written) values ($1, $2, $3, 0) on conflict do nothing", key.Subject, key.Key);
            claim.Parameters.Add(new NpgsqlParameter<byte[]> { TypedValue = key.BodyHash });
            if (await claim.ExecuteNonQueryAsync() == 1)
            {
                continue;
            }

            await using var find = Command(connection, "select body_hash, written from sample_keys where subject = $1 and key = $2", key.Subject, key.Key);
            await using var answer = await find.ExecuteReaderAsync();
            if (!await answer.ReadAsync())
            {
                throw new InvalidOperationException("The row of an Idempotency-Key went while it was looked up; send the request again.");
            }

            request.Answer = answer.GetFieldValue<byte[]>(0).AsSpan().SequenceEqual(key.BodyHash)
                // Within one group the first request's number is not written yet; it has the same body, and so the same number.
                ? new CommitResult(CommitOutcome.Repeated, Math.Max(answer.GetInt32(1), 0), [])
                : new CommitResult(CommitOutcome.KeyReused, 0, []);
        }
    }

    /// <summary>Keeps how many samples each request stored, for the answer to a repetition.</summary>
    public static async Task NoteWrittenAsync(NpgsqlConnection connection, List<GroupCommit.Request> group)
    {
        foreach (var request in group)
        {
            if (request.Batch.Key is { } key && request.Answer is null)
            {
                await using var note = Command(connection, "update sample_keys set written = $3 where subject = $1 and key = $2", key.Subject, key.Key);
                note.Parameters.Add(new NpgsqlParameter<int> { TypedValue = request.Written });
                await note.ExecuteNonQueryAsync();
            }
        }
    }

    private static NpgsqlCommand Command(NpgsqlConnection connection, string text, string subject, string key)
    {
#pragma warning disable CA2100 // One of the texts above.
        var command = new NpgsqlCommand(text, connection);
#pragma warning restore CA2100
        command.Parameters.Add(new NpgsqlParameter<string> { TypedValue = subject });
        command.Parameters.Add(new NpgsqlParameter<string> { TypedValue = key });
        return command;
    }
}

/// <summary>
/// Increments move totals in the transaction of the commit: the rows are locked first, in the order of their ids, then read, moved and
/// written. So increments from several replicas add up, and the samples of the new totals come in order of time.
/// </summary>
internal static class SampleTotals
{
    public static async Task MoveAsync(NpgsqlConnection connection, GroupCommit.Work work)
    {
        if (work.Increments.Count == 0)
        {
            return;
        }

        var totals = new SortedDictionary<long, (LiveSeries Series, Total Total, bool Moved)>();
        foreach (var (series, _) in work.Increments)
        {
            totals[series.Id] = (series, Total.None, false);
        }

        await using (var read = new NpgsqlCommand(
            """
            insert into sample_totals as stored (series_id, total, at, once_at)
            select id, 0, $2, $2 from unnest($1) as new (id) order by id
            on conflict (series_id) do update set total = stored.total
            returning series_id, total, at, once_at
            """,
            connection))
        {
            read.Parameters.Add(new NpgsqlParameter<long[]> { TypedValue = [.. totals.Keys] });
            read.Parameters.Add(new NpgsqlParameter<long> { TypedValue = Total.None.At });
            await using var answer = await read.ExecuteReaderAsync();
            while (await answer.ReadAsync())
            {
                var id = answer.GetInt64(0);
                totals[id] = totals[id] with { Total = new Total(answer.GetDouble(1), answer.GetInt64(2), answer.GetInt64(3)) };
            }
        }

        // In order of time, so that of increments that may be repeated none is taken for an older one.
        work.Increments.Sort(static (left, right) => left.Increment.At.CompareTo(right.Increment.At));
        foreach (var (series, increment) in work.Increments)
        {
            var (own, total, _) = totals[series.Id];
            if (total.Add(increment) is { } moved)
            {
                totals[series.Id] = (own, moved, true);
            }
        }

        foreach (var (series, total, moved) in totals.Values)
        {
            if (moved)
            {
                work.Add(series, total.At, total.Value);
            }
        }

        await using var write = new NpgsqlCommand(
            """
            update sample_totals as stored set total = new.total, at = new.at, once_at = new.once_at
            from unnest($1, $2, $3, $4) as new (id, total, at, once_at) where stored.series_id = new.id
            """,
            connection);
        write.Parameters.Add(new NpgsqlParameter<long[]> { TypedValue = [.. totals.Keys] });
        write.Parameters.Add(new NpgsqlParameter<double[]> { TypedValue = [.. totals.Values.Select(row => row.Total.Value)] });
        write.Parameters.Add(new NpgsqlParameter<long[]> { TypedValue = [.. totals.Values.Select(row => row.Total.At)] });
        write.Parameters.Add(new NpgsqlParameter<long[]> { TypedValue = [.. totals.Values.Select(row => row.Total.OnceAt)] });
        await write.ExecuteNonQueryAsync();
    }
}

/// <summary>What is known about families. Senders repeat it every minute: only what is new is written.</summary>
internal sealed class KnownMetadata(SampleStoreOptions options)
{
    private readonly ConcurrentDictionary<(string Realm, string Family), MetricMetadata> _known = new();
    private readonly ConcurrentDictionary<string, int> _families = new();

    /// <summary>Adds to <paramref name="unknown"/> what is not known to be in the database already.</summary>
    public void Unknown(IReadOnlyList<MetricMetadata> said, List<MetricMetadata> unknown)
    {
        foreach (var metadata in said)
        {
            if (!_known.TryGetValue((metadata.Realm, metadata.Family), out var known)
                ? _families.GetValueOrDefault(metadata.Realm) < options.MaxFamiliesPerRealm
                : known != metadata)
            {
                unknown.Add(metadata);
            }
        }
    }

    public static async Task WriteAsync(NpgsqlConnection connection, List<MetricMetadata> metadata)
    {
        if (metadata.Count == 0)
        {
            return;
        }

        // The last who says something about a family is right; a statement touches a row once, and rows in one order.
        var rows = new SortedDictionary<(string Realm, string Family), MetricMetadata>(
            Comparer<(string Realm, string Family)>.Create(static (left, right) =>
                string.CompareOrdinal(left.Realm, right.Realm) is var order and not 0 ? order : string.CompareOrdinal(left.Family, right.Family)));
        foreach (var each in metadata)
        {
            rows[(each.Realm, each.Family)] = each;
        }

        await using var write = new NpgsqlCommand(
            """
            insert into metric_metadata as stored (realm, family, type, help, unit)
            select * from unnest($1, $2, $3, $4, $5)
            on conflict (realm, family) do update set type = excluded.type, help = excluded.help, unit = excluded.unit
            where (stored.type, stored.help, stored.unit) is distinct from (excluded.type, excluded.help, excluded.unit)
            """,
            connection);
        AddColumn(each => each.Realm);
        AddColumn(each => each.Family);
        AddColumn(each => each.Type);
        AddColumn(each => each.Help);
        AddColumn(each => each.Unit);
        await write.ExecuteNonQueryAsync();

        void AddColumn(Func<MetricMetadata, string> column) =>
            write.Parameters.Add(new NpgsqlParameter { Value = rows.Values.Select(column).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Text });
    }

    /// <summary>These are in the database.</summary>
    public void Remember(List<MetricMetadata> metadata)
    {
        foreach (var each in metadata)
        {
            if (!_known.ContainsKey((each.Realm, each.Family)))
            {
                _families.AddOrUpdate(each.Realm, 1, static (_, count) => count + 1);
            }

            _known[(each.Realm, each.Family)] = each;
        }
    }
}
