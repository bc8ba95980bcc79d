using System.Globalization;
using Microsoft.Extensions.Logging;
using Npgsql;
using NpgsqlTypes;

namespace Platform.SampleStore;

/// <summary>
/// Brings what the log holds into the head: all of it at the start, then what other replicas commit.
/// <para>
/// No commit is skipped and none is read twice, although commits overtake each other. Numbers of rows do not say what is new: a row gets
/// its number before its transaction commits, so a lower number may appear after a higher one. The follower asks PostgreSQL instead for
/// what is visible now and was not visible at its last look. A snapshot is (xmin, xmax, those in progress between them): a transaction is
/// visible in it if and only if it has committed and its id is below xmax and not among those in progress. So a row that is visible now
/// was not visible then if and only if its txid is at least that xmax, or was in progress. A transaction that had not yet been given an id
/// at the last look gets one of at least xmax later. Snapshot and rows come from one statement, hence from the same moment.
/// </para>
/// <para>
/// One thing breaks this: a server that crashes may give an id a second time, when the first transaction with it was rolled back and left
/// nothing on the disk. So whoever sees the server go says so (<see cref="ServerWentAway"/>), and the next look takes all rows of the last
/// minutes, less those that were met.
/// </para>
/// </summary>
internal sealed partial class LogFollower(NpgsqlDataSource db, Head head, SeriesRows rows, CommitOrder order, OwnCommits own, ILogger logger)
{
    private const int RowsPerRead = 16_384;

    // One is filled while the other one is applied.
    private readonly LogWave[] _waves = [new(head, rows, order), new(head, rows, order)];

    // Numbers of the rows met in the last five to ten minutes.
    private HashSet<long> _met = [];
    private HashSet<long> _metBefore = [];
    private long _turned = Environment.TickCount64;
    private bool _serverWentAway;
    private ulong _xmax;
    private ulong[] _inProgress = [];

    /// <summary>Commits of other replicas that were applied since the start.</summary>
    public int Applied { get; private set; }

    /// <summary>Reads all of the log. Comes first, once.</summary>
    public async Task LoadAsync(CancellationToken ct)
    {
        // Ids of transactions count per server. Rows that a restored dump brought from another one lie in this server's future, where they
        // would be met at every look; whatever is visible and has an id that was not given out yet is such a row.
        await using (var repair = db.CreateCommand("update sample_batches set txid = '3' where txid >= pg_snapshot_xmax(pg_current_snapshot())"))
        {
            repair.CommandTimeout = 0;
            await repair.ExecuteNonQueryAsync(ct);
        }

        await FollowAsync(ct);
    }

    /// <summary>Applies what has become visible since the last call. One call at a time.</summary>
    public async Task FollowAsync(CancellationToken ct)
    {
        var lost = own.Lost;
        var wentAway = Interlocked.Exchange(ref _serverWentAway, false);
        var foreign = new List<(ulong Txid, long Id, int Samples)>();
        string snapshot;
        List<(ulong Txid, long Id, Guid Token, int Samples)> met;
        try
        {
            (snapshot, met) = await LookAsync(lost, wentAway, ct);
        }
        catch
        {
            _serverWentAway |= wentAway;
            throw;
        }

        foreach (var row in met)
        {
            var isNew = !_met.Contains(row.Id) && !_metBefore.Contains(row.Id);
            if ((isNew && !own.Meet(row.Token)) || lost.Contains(row.Token))
            {
                foreign.Add((row.Txid, row.Id, row.Samples));
            }
        }

        await ApplyAsync(foreign, ct);
        Applied += foreign.Count;
        foreach (var row in met)
        {
            _met.Add(row.Id);
        }

        if (Environment.TickCount64 - _turned > 300_000)
        {
            (_met, _metBefore, _turned) = ([], _met, Environment.TickCount64);
        }

        // Only now: after a failure the same rows are met again, and applying a row twice changes nothing.
        (_xmax, _inProgress) = Parse(snapshot);
        own.Found(lost);
    }

    /// <summary>A connection to the server was lost: it may have crashed.</summary>
    public void ServerWentAway() => Volatile.Write(ref _serverWentAway, true);

    private async Task<(string Snapshot, List<(ulong Txid, long Id, Guid Token, int Samples)> Met)> LookAsync(Guid[] lost, bool wentAway, CancellationToken ct)
    {
        var plain = lost.Length == 0 && !wentAway;
        await using var look = db.CreateCommand(plain
            ? """
              select snapshot.now::text, b.txid, b.id, b.token, b.samples
              from (select pg_current_snapshot() as now) snapshot
              left join sample_batches b on b.txid >= $1 or b.txid = any($2)
              """
            : """
              select snapshot.now::text, b.txid, b.id, b.token, b.samples
              from (select pg_current_snapshot() as now) snapshot
              left join sample_batches b on b.txid >= $1 or b.txid = any($2) or b.token = any($3) or ($4 and b.at >= now() - interval '4 minutes')
              """);
        look.Parameters.Add(new NpgsqlParameter { Value = _xmax, NpgsqlDbType = NpgsqlDbType.Xid8 });
        look.Parameters.Add(new NpgsqlParameter { Value = _inProgress, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Xid8 });
        if (!plain)
        {
            look.Parameters.Add(new NpgsqlParameter<Guid[]> { TypedValue = lost });
            look.Parameters.Add(new NpgsqlParameter<bool> { TypedValue = wentAway });
        }

        var snapshot = "";
        var met = new List<(ulong, long, Guid, int)>();
        await using var answer = await look.ExecuteReaderAsync(ct);
        while (await answer.ReadAsync(ct))
        {
            snapshot = answer.GetString(0);
            if (!answer.IsDBNull(1))
            {
                met.Add((answer.GetFieldValue<ulong>(1), answer.GetInt64(2), answer.GetGuid(3), answer.GetInt32(4)));
            }
        }

        return (snapshot, met);
    }

    private async Task ApplyAsync(List<(ulong Txid, long Id, int Samples)> batches, CancellationToken ct)
    {
        // In the order of the log, so that most series find their samples in order of time.
        batches.Sort(static (left, right) => left.Id.CompareTo(right.Id));
        var applied = Task.CompletedTask;
        Array.ForEach(_waves, wave => wave.Clear());
        try
        {
            for (var start = 0; start < batches.Count; start += RowsPerRead)
            {
                var some = batches.GetRange(start, Math.Min(RowsPerRead, batches.Count - start));
                await using var read = db.CreateCommand("select txid, samples, bytes from sample_batches where txid = any($1) order by id");
                read.CommandTimeout = 0;
                read.Parameters.Add(new NpgsqlParameter { Value = some.ConvertAll(batch => batch.Txid).Distinct().ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Xid8 });
                await using var answer = await read.ExecuteReaderAsync(ct);
                while (await answer.ReadAsync(ct))
                {
                    _waves[0].Add(answer.GetFieldValue<ulong>(0), answer.GetInt32(1), answer.GetFieldValue<byte[]>(2));
                    if (_waves[0].IsFull)
                    {
                        await NextAsync();
                    }
                }
            }

            await NextAsync();
        }
        finally
        {
            // Also when reading has failed: nobody else touches the waves until this one is done.
            await applied;
        }

        // One wave is applied while the next one is read.
        async Task NextAsync()
        {
            await applied;
            _waves.AsSpan().Reverse();
            applied = Task.Run(() => ApplyAsync(_waves[1], ct), CancellationToken.None);
        }
    }

    private async Task ApplyAsync(LogWave wave, CancellationToken ct)
    {
        if (await wave.ApplyAsync(ct) is not 0 and var missing)
        {
            SeriesIsMissing(logger, missing);
        }
    }

    // "xmin:xmax:id,id,…"
    private static (ulong Xmax, ulong[] InProgress) Parse(string snapshot)
    {
        var parts = snapshot.Split(':');
        return (
            ulong.Parse(parts[1], CultureInfo.InvariantCulture),
            parts[2].Length == 0 ? [] : Array.ConvertAll(parts[2].Split(','), id => ulong.Parse(id, CultureInfo.InvariantCulture)));
    }

    [LoggerMessage(LogLevel.Error, "The log has samples of the series {Id}, which has no row; they cannot be read")]
    private static partial void SeriesIsMissing(ILogger logger, long id);
}
