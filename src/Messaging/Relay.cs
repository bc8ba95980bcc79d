using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Text.Json;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;
using Platform.Postgres;
using RabbitMQ.Client;

namespace Platform.Messaging;

/// <summary>
/// Carries outbox rows to the broker and deletes them once it confirmed. Woken by NOTIFY as soon as a transaction commits, and by a
/// timer in case a notification was lost. Rows are claimed with <c>skip locked</c>, so replicas share the work; dying between confirm
/// and commit publishes again, which inboxes make harmless. While the broker is away, messages wait in the table, not in memory.
/// </summary>
public sealed partial class Relay(NpgsqlDataSource db, Broker broker, MessagingOptions options, TimeProvider clock, ILogger<Relay> logger) : BackgroundService
{
    private static readonly ActivitySource Source = new("Platform.Messaging");
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan ConfirmTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);

    private readonly Signal _wake = new();
    private readonly Meter _meter = new("Platform.Messaging");
    private long _waiting;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        _meter.CreateObservableGauge("messaging_outbox_messages", () => Volatile.Read(ref _waiting), null, "Messages that wait for the broker.");
        var published = _meter.CreateCounter<long>("messaging_published_messages", null, "Messages that the broker confirmed.");
        var listening = db.ListenAsync("outbox", Wake, ListeningFailed, clock, stoppingToken);
        var pause = TimeSpan.Zero;
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await using var channel = await broker.OpenChannelAsync(stoppingToken);
                while (true)
                {
                    var relayed = await RelayBatchAsync(channel, stoppingToken);
                    published.Add(relayed);
                    pause = TimeSpan.Zero;
                    if (relayed < options.RelayBatch)
                    {
                        Volatile.Write(ref _waiting, 0);
                        await _wake.WaitAsync(Poll, stoppingToken);
                    }
                }
            }
            catch (Exception error) when (!stoppingToken.IsCancellationRequested)
            {
                pause = pause == TimeSpan.Zero ? TimeSpan.FromMilliseconds(100) : pause * 2 < LongestPause ? pause * 2 : LongestPause;
                RelayFailed(error.GetBaseException().Message, pause.TotalMilliseconds);
                await CountWaitingAsync(stoppingToken);
                await Task.Delay(pause, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (Exception)
            {
                // Stopping: a channel that breaks while it is closed changes nothing any more.
            }
        }

        await listening;
    }

    private async Task<int> RelayBatchAsync(IChannel channel, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var rows = await tx.QueryAsync(
            $"select id, message_id, topic, body, encoding, headers, created_at from outbox order by id limit {options.RelayBatch} for update skip locked",
            Read,
            ct);
        if (rows.Count == 0)
        {
            return 0;
        }

        // Publishing waits for the broker's confirm; a refusal or a silence throws, and the rows stay.
        using var confirmed = CancellationTokenSource.CreateLinkedTokenSource(ct);
        confirmed.CancelAfter(ConfirmTimeout);
        await Task.WhenAll(rows.Select(row => PublishAsync(channel, row, confirmed.Token)));
        await tx.ExecuteAsync($"delete from outbox where id = any({rows.Select(row => row.Id).ToArray()})", ct);
        await tx.CommitAsync(ct);
        return rows.Count;
    }

    // The relay works for nobody in particular; each message goes on in the trace of the request that sent it.
    private async Task PublishAsync(IChannel channel, OutboxRow row, CancellationToken ct)
    {
        using var activity = Source.StartActivity($"{row.Topic} publish", ActivityKind.Producer, row.Properties.Headers!.TryGetValue("traceparent", out var parent) ? parent as string : null);
        await channel.BasicPublishAsync(broker.Exchange, row.Topic, mandatory: false, row.Properties, row.Body, ct);
    }

    private void Wake() => _wake.Raise();

    private async Task CountWaitingAsync(CancellationToken ct)
    {
        try
        {
            // Bounded: after a long outage the exact number does not matter, the order of magnitude does.
            Volatile.Write(ref _waiting, await db.FindAsync($"select count(*) from (select 1 from outbox limit 100000) waiting", row => row.GetInt64(0), ct));
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            RelayFailed(error.GetBaseException().Message, 0);
        }
        catch (OperationCanceledException)
        {
            // stopping
        }
    }

    private static OutboxRow Read(NpgsqlDataReader row)
    {
        var headers = new Dictionary<string, object?>();
        foreach (var (name, value) in JsonSerializer.Deserialize<Dictionary<string, string?>>(row.GetString(5))!)
        {
            if (value is not null)
            {
                headers[name] = value;
            }
        }

        return new OutboxRow(row.GetInt64(0), row.GetString(2), row.GetFieldValue<byte[]>(3), new BasicProperties
        {
            MessageId = row.GetGuid(1).ToString(),
            Persistent = true,
            ContentType = "application/json",
            ContentEncoding = row.GetOrNull(4, row.GetString),
            Type = row.GetString(2),
            Timestamp = new AmqpTimestamp(row.GetTime(6).ToUnixTimeSeconds()),
            Headers = headers,
        });
    }

    public override void Dispose()
    {
        _wake.Dispose();
        _meter.Dispose();
        base.Dispose();
    }

    private sealed record OutboxRow(long Id, string Topic, byte[] Body, BasicProperties Properties);

    [LoggerMessage(LogLevel.Warning, "Messages wait in the outbox: {Reason}. Trying again in {Milliseconds:F0} ms")]
    private partial void RelayFailed(string reason, double milliseconds);

    [LoggerMessage(LogLevel.Warning, "Listening for new messages failed: {Reason}")]
    private partial void ListeningFailed(string reason);
}
