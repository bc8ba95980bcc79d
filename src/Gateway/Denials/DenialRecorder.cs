using System.ComponentModel.DataAnnotations;
using System.Threading.Channels;
using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Denials;

public sealed class DenialOptions
{
    /// <summary>Repeats of a denial within this time become one record.</summary>
    [Setting("GATEWAY_DENIAL_WINDOW_SECONDS"), Range(1, 3600)]
    public TimeSpan Window { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Kinds of denials (credential or address, route, status) told apart within that time; the rest becomes one record.</summary>
    [Setting("GATEWAY_DENIAL_KINDS"), Range(1, 100_000)]
    public int Kinds { get; init; } = 1_000;

    /// <summary>Days for which the gateway keeps denials, and keys that no longer work. The audit log keeps its own records of both.</summary>
    [Setting("GATEWAY_RETENTION_DAYS"), Range(1, 3650)]
    public TimeSpan Retention { get; init; } = TimeSpan.FromDays(90);
}

/// <summary>
/// Writes denials beside the requests that were denied: a row and its audit message in one transaction. One reader of a bounded queue
/// owns the fold; what the queue cannot take is counted and recorded as "(many)". While the database is away, records wait here, bounded.
/// </summary>
public sealed partial class DenialRecorder(
    NpgsqlDataSource db, DenialOptions options, TimeProvider clock, ILogger<DenialRecorder> logger) : BackgroundService
{
    private const int MaxWaiting = 10_000;
    private const int Batch = 500;

    private static readonly TimeSpan Every = TimeSpan.FromSeconds(1);

    private readonly Channel<Denial> _queue = Channel.CreateBounded<Denial>(new BoundedChannelOptions(MaxWaiting) { SingleReader = true });
    private readonly Fold _fold = new(options.Window, options.Kinds);
    private readonly Queue<Denial> _unwritten = new();
    private int _dropped401;
    private int _dropped403;

    /// <summary>Takes note; never waits.</summary>
    public void Note(Denial denial)
    {
        if (!_queue.Writer.TryWrite(denial))
        {
            Interlocked.Increment(ref denial.Key.Status == StatusCodes.Status401Unauthorized ? ref _dropped401 : ref _dropped403);
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Every, clock);
        var tick = timer.WaitForNextTickAsync(stoppingToken).AsTask();
        var noted = _queue.Reader.WaitToReadAsync(stoppingToken).AsTask();
        try
        {
            while (true)
            {
                await await Task.WhenAny(noted, tick);
                if (tick.IsCompleted)
                {
                    tick = timer.WaitForNextTickAsync(stoppingToken).AsTask();
                }

                await TickAsync(stoppingToken);
                // Asked again only when answered: each question waits in the queue's memory until then.
                if (noted.IsCompleted)
                {
                    noted = _queue.Reader.WaitToReadAsync(stoppingToken).AsTask();
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            TakeQueue();
            Keep(_fold.All());
            await WriteAsync(CancellationToken.None);
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        TakeQueue();
        Keep(_fold.Due(clock.GetUtcNow()));
        await WriteAsync(ct);
    }

    private void TakeQueue()
    {
        for (var taken = 0; taken < MaxWaiting && _queue.Reader.TryRead(out var denial); taken++)
        {
            Keep(_fold.Add(denial) is { } first ? [first] : []);
        }

        Keep([.. Dropped(StatusCodes.Status401Unauthorized, ref _dropped401), .. Dropped(StatusCodes.Status403Forbidden, ref _dropped403)]);
    }

    private Denial[] Dropped(int status, ref int counter) =>
        Interlocked.Exchange(ref counter, 0) is > 0 and var count
            ? [new Denial(new(Keys.RealmName.Platform, Fold.Many, Fold.Many, Fold.Many, status), clock.GetUtcNow(), null, null, null, count)]
            : [];

    private void Keep(IEnumerable<Denial> denials)
    {
        foreach (var denial in denials)
        {
            if (_unwritten.Count < MaxWaiting)
            {
                _unwritten.Enqueue(denial);
            }
            else
            {
                Interlocked.Add(ref denial.Key.Status == StatusCodes.Status401Unauthorized ? ref _dropped401 : ref _dropped403, denial.Count);
            }
        }
    }

    private async Task WriteAsync(CancellationToken ct)
    {
        try
        {
            while (_unwritten.Count > 0)
            {
                var batch = _unwritten.Take(Batch).ToList();
                await using var connection = await db.OpenConnectionAsync(ct);
                await using var tx = await connection.BeginTransactionAsync(ct);
                foreach (var denial in batch)
                {
                    await RecordAsync(tx, denial, ct);
                }

                await tx.CommitAsync(ct);
                batch.ForEach(_ => _unwritten.Dequeue());
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            // They stay and are tried again at the next tick.
            WritingFailed(_unwritten.Count, error.GetBaseException().Message);
        }
    }

    private static async Task RecordAsync(NpgsqlTransaction tx, Denial denial, CancellationToken ct)
    {
        var (key, at) = (denial.Key, denial.At);
        await tx.ExecuteAsync($"""
            insert into denials (id, at, realm, actor, actor_role, address, route, status, count)
            values ({Guid.CreateVersion7(at)}, {at}, {key.Realm}, {key.Actor}, {key.Role}, {denial.Address}, {key.Route}, {key.Status}, {denial.Count})
            """, ct);
        await tx.SendAsync(
            new Audited(
                key.Realm, key.Actor, key.Role, "access.denied", "route", key.Route, AuditOutcome.Denied, at, denial.Address, denial.CorrelationId, denial.TraceId, denial.Count,
                new Dictionary<string, string> { ["status"] = key.Status.ToString(System.Globalization.CultureInfo.InvariantCulture) }),
            ct);
    }

    [LoggerMessage(LogLevel.Warning, "{count} records of denied requests wait to be written: {reason}")]
    private partial void WritingFailed(int count, string reason);
}
