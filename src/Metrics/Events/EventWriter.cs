using System.Diagnostics.Metrics;
using System.Threading.Channels;
using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;

namespace Platform.Metrics.Events;

/// <summary>A parsed request on its way into a commit.</summary>
/// <param name="Key">Idempotency-Key with the subject that sent it and the hash of the body, or null.</param>
public sealed record EventRequest(ParsedEvents Events, string Realm, IdempotencyKey? Key)
{
    /// <summary>Completes when the commit that holds the request is durable.</summary>
    internal TaskCompletionSource<EventsWritten> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}

public sealed record IdempotencyKey(string Subject, string Key, byte[] BodyHash);

/// <summary>How a request ended.</summary>
public abstract record EventsWritten
{
    public sealed record Stored(Guid FirstId, int Count, bool Replayed) : EventsWritten;

    /// <summary>The key was used before with another body.</summary>
    public sealed record KeyReused : EventsWritten;

    /// <summary>PostgreSQL refused this request's rows although the parser let them pass.</summary>
    public sealed record Refused(string Reason) : EventsWritten;
}

/// <summary>
/// Group commit: requests queue, and each of a few writers takes what is waiting and commits it as one transaction: rows by binary COPY,
/// counts, and one message for those who react to events. Alone, a request is committed at once; under load, many share a commit. The
/// queue is bounded in bytes; what does not fit is turned away, never kept in growing memory.
/// </summary>
public sealed partial class EventWriter : BackgroundService
{
    // A commit is one message to others. A broker takes 16 MiB by default; with the largest request on top this stays below it, compressed.
    private const long MessageBytes = 4 * 1024 * 1024;

    private readonly Channel<EventRequest> _queue = Channel.CreateUnbounded<EventRequest>(new UnboundedChannelOptions { SingleReader = false });
    private readonly NpgsqlDataSource _db;
    private readonly EventPartitions _partitions;
    private readonly EventOptions _options;
    private readonly ILogger<EventWriter> _logger;
    private readonly Counter<long> _stored;
    private readonly Histogram<int> _perCommit;
    private long _queuedBytes;

    public EventWriter(NpgsqlDataSource db, EventPartitions partitions, EventOptions options, IMeterFactory meters, ILogger<EventWriter> logger)
    {
        _db = db;
        _partitions = partitions;
        _options = options;
        _logger = logger;
        var meter = meters.Create("Platform.Metrics");
        _stored = meter.CreateCounter<long>("monitoring_events", null, "Events committed.");
        _perCommit = meter.CreateHistogram<int>("monitoring_events_per_commit", null, "Events that shared a commit.",
            advice: new InstrumentAdvice<int> { HistogramBucketBoundaries = [1, 5, 25, 100, 500, 1000, 2000, 4000, 10000] });
        meter.CreateObservableGauge("monitoring_event_queue_bytes", () => Volatile.Read(ref _queuedBytes), "By", "Parsed requests that wait for a writer.");
    }

    /// <returns>Null when the queue is full: the client should try again a little later.</returns>
    public async Task<EventsWritten?> WriteAsync(EventRequest request, CancellationToken ct)
    {
        if (Interlocked.Add(ref _queuedBytes, request.Events.Bytes) > _options.QueueBytes)
        {
            Interlocked.Add(ref _queuedBytes, -request.Events.Bytes);
            return null;
        }

        // The bytes bound the queue, so writing to it never waits. When the service stops, the queue is closed and drained.
        if (!_queue.Writer.TryWrite(request))
        {
            Interlocked.Add(ref _queuedBytes, -request.Events.Bytes);
            return null;
        }

        return await request.Done.Task.WaitAsync(ct);
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(Enumerable.Range(0, _options.Writers).Select(_ => Task.Run(WriteLoopAsync, CancellationToken.None)));

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        // Requests already taken in are still committed and answered; the server has stopped listening by now.
        _queue.Writer.TryComplete();
        await base.StopAsync(cancellationToken);
        await ExecuteTask!.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task WriteLoopAsync()
    {
        while (await _queue.Reader.WaitToReadAsync())
        {
            var group = TakeGroup();
            if (group.Count == 0)
            {
                continue; // another writer was faster
            }

            try
            {
                await CommitAsync(group);
            }
            catch (PostgresException error) when (error.SqlState.StartsWith("22", StringComparison.Ordinal) || error.SqlState.StartsWith("23", StringComparison.Ordinal))
            {
                // One request's data spoiled the commit that it shared: each gets its own, and only the culprit fails.
                await CommitOneByOneAsync(group);
            }
            catch (Exception error)
            {
                GroupFailed(error, group.Count);
                Fail(group, error);
            }
            finally
            {
                Interlocked.Add(ref _queuedBytes, -group.Sum(request => request.Events.Bytes));
            }
        }
    }

    private List<EventRequest> TakeGroup()
    {
        var group = new List<EventRequest>();
        var events = 0;
        var bytes = 0L;
        while (events < _options.CommitEvents && bytes < MessageBytes && _queue.Reader.TryRead(out var request))
        {
            group.Add(request);
            events += request.Events.Count;
            bytes += request.Events.Messages.WrittenCount;
        }

        return group;
    }

    private async Task CommitOneByOneAsync(List<EventRequest> group)
    {
        foreach (var request in group)
        {
            try
            {
                await CommitAsync([request]);
            }
            catch (PostgresException error) when (error.SqlState.StartsWith("22", StringComparison.Ordinal) || error.SqlState.StartsWith("23", StringComparison.Ordinal))
            {
                request.Done.TrySetResult(new EventsWritten.Refused(error.MessageText));
            }
            catch (Exception error)
            {
                GroupFailed(error, 1);
                Fail([request], error);
            }
        }
    }

    private static void Fail(List<EventRequest> group, Exception error)
    {
        foreach (var request in group)
        {
            request.Done.TrySetException(error);
        }
    }

    private async Task CommitAsync(List<EventRequest> group)
    {
        await _partitions.EnsureAsync(group.SelectMany(request => request.Events.Days), CancellationToken.None);
        await using var connection = await _db.OpenConnectionAsync();
        await using var tx = await connection.BeginTransactionAsync();
        var answers = await ClaimKeysAsync(tx, group);
        var fresh = group.Where(request => !answers.ContainsKey(request)).ToList();
        if (fresh.Count > 0)
        {
            await CopyAsync(connection, fresh);
            await tx.SendAsync(EventsStored.Topic, Message(fresh), CancellationToken.None);
            // Last, because other commits wait for the rows that this one has counted on.
            await CountAsync(tx, fresh);
        }

        await tx.CommitAsync();
        var stored = fresh.Sum(request => request.Events.Count);
        _stored.Add(stored);
        _perCommit.Record(stored);
        foreach (var request in group)
        {
            request.Done.TrySetResult(answers.GetValueOrDefault(request) ?? new EventsWritten.Stored(request.Events.FirstId, request.Events.Count, Replayed: false));
        }
    }

    // The row of a key is taken before the request's events are written, so a second request with the key, in this group, in another
    // replica or later, finds it (waiting for the other commit if need be) and is answered from it.
    private static async Task<Dictionary<EventRequest, EventsWritten>> ClaimKeysAsync(NpgsqlTransaction tx, List<EventRequest> group)
    {
        var answers = new Dictionary<EventRequest, EventsWritten>(ReferenceEqualityComparer.Instance);
        foreach (var request in group.Where(request => request.Key is not null).OrderBy(request => (request.Key!.Subject, request.Key.Key)))
        {
            var (key, events) = (request.Key!, request.Events);
            var claimed = await tx.ExecuteAsync(
                $"""
                insert into idempotency_keys (subject, key, body_hash, first_id, event_count)
                values ({key.Subject}, {key.Key}, {key.BodyHash}, {events.FirstId}, {events.Count})
                on conflict do nothing
                """,
                CancellationToken.None);
            if (claimed == 1)
            {
                continue;
            }

            var (hash, firstId, count) = await tx.FindAsync(
                $"select body_hash, first_id, event_count from idempotency_keys where subject = {key.Subject} and key = {key.Key}",
                row => (row.GetFieldValue<byte[]>(0), row.GetGuid(1), row.GetInt32(2)),
                CancellationToken.None);
            answers[request] = hash is not null && hash.AsSpan().SequenceEqual(key.BodyHash)
                ? new EventsWritten.Stored(firstId, count, Replayed: true)
                : new EventsWritten.KeyReused();
        }

        return answers;
    }

    private static async Task CopyAsync(NpgsqlConnection connection, List<EventRequest> group)
    {
        await using var copy = await connection.BeginRawBinaryCopyAsync(
            "copy events (id, realm, event_type, source, message, level, tags, payload, timestamp) from stdin (format binary)");
        await copy.WriteAsync(CopyRow.Header.ToArray());
        foreach (var request in group)
        {
            await copy.WriteAsync(request.Events.Rows.WrittenMemory);
        }

        await copy.WriteAsync(CopyRow.Trailer.ToArray());
    }

    private static byte[] Message(List<EventRequest> group)
    {
        var length = group.Sum(request => request.Events.Messages.WrittenCount + 1);
        var message = new byte[length + "{\"events\":[]}"u8.Length - 1];
        "{\"events\":["u8.CopyTo(message);
        var at = "{\"events\":["u8.Length;
        foreach (var request in group)
        {
            if (at > "{\"events\":["u8.Length)
            {
                message[at++] = (byte)',';
            }

            request.Events.Messages.WrittenSpan.CopyTo(message.AsSpan(at));
            at += request.Events.Messages.WrittenCount;
        }

        "]}"u8.CopyTo(message.AsSpan(at));
        return message;
    }

    private static Task<int> CountAsync(NpgsqlTransaction tx, List<EventRequest> group)
    {
        var counts = new SortedDictionary<(long Minute, string Realm, string Type, string Action, string Outcome), long>();
        var totals = new SortedDictionary<(string Realm, string Action, string Outcome), long>();
        foreach (var request in group)
        {
            foreach (var (key, count) in request.Events.Counts)
            {
                var row = (key.Minute, request.Realm, key.EventType, key.Action, key.Outcome);
                counts[row] = counts.GetValueOrDefault(row) + count;
                if (key.Action.Length > 0)
                {
                    var total = (request.Realm, key.Action, key.Outcome);
                    totals[total] = totals.GetValueOrDefault(total) + count;
                }
            }
        }

        // Always in the same order, so that two commits that count on the same rows cannot deadlock. Both tables in one statement: the
        // counters of the exposition cost the intake no further round trip.
        return tx.ExecuteAsync(
            $"""
            with per_minute as (
                insert into event_counts as stored (minute, realm, event_type, action, outcome, count)
                select * from unnest(
                    {counts.Keys.Select(key => DateTimeOffset.FromUnixTimeSeconds(key.Minute * 60)).ToArray()},
                    {counts.Keys.Select(key => key.Realm).ToArray()},
                    {counts.Keys.Select(key => key.Type).ToArray()},
                    {counts.Keys.Select(key => key.Action).ToArray()},
                    {counts.Keys.Select(key => key.Outcome).ToArray()},
                    {counts.Values.ToArray()})
                on conflict (minute, realm, event_type, action, outcome) do update set count = stored.count + excluded.count)
            insert into event_totals as stored (realm, action, outcome, total)
            select * from unnest(
                {totals.Keys.Select(key => key.Realm).ToArray()},
                {totals.Keys.Select(key => key.Action).ToArray()},
                {totals.Keys.Select(key => key.Outcome).ToArray()},
                {totals.Values.ToArray()})
            on conflict (realm, action, outcome) do update set total = stored.total + excluded.total
            """,
            CancellationToken.None);
    }

    [LoggerMessage(LogLevel.Error, "Committing {Requests} requests with events failed; their clients were told to send again")]
    private partial void GroupFailed(Exception error, int requests);
}
