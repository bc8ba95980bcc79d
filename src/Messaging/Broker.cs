using System.ComponentModel.DataAnnotations;
using Microsoft.Extensions.Logging;
using Platform.Contracts;
using Platform.ServiceDefaults;
using RabbitMQ.Client;

namespace Platform.Messaging;

public sealed class MessagingOptions
{
    /// <summary>Put before the names of exchange and queues, so that several platforms can share one broker.</summary>
    [Setting("MESSAGING_PREFIX"), StringLength(50)]
    public string Prefix { get; init; } = "";

    /// <summary>Messages a consumer holds unacknowledged, per queue.</summary>
    [Setting("MESSAGING_PREFETCH"), Range(1, 1000)]
    public int Prefetch { get; init; } = 16;

    /// <summary>A message whose handling failed this often rests in the dead-letter queue.</summary>
    [Setting("MESSAGING_MAX_ATTEMPTS"), Range(1, 100)]
    public int MaxAttempts { get; init; } = 6;

    /// <summary>Outbox rows that the relay publishes in one go.</summary>
    [Setting("MESSAGING_RELAY_BATCH"), Range(1, 1000)]
    public int RelayBatch { get; init; } = 64;

    /// <summary>A message larger than this, decompressed, is dead-lettered unread.</summary>
    [Setting("MESSAGING_MAX_MESSAGE_BYTES"), Range(64 * 1024, 512 * 1024 * 1024)]
    public int MaxMessageBytes { get; init; } = 64 * 1024 * 1024;

    /// <summary>Days for which the inbox remembers handled messages. A message replayed from the dead letters later than this would be handled again.</summary>
    [Setting("MESSAGING_INBOX_DAYS"), Range(1, 365)]
    public int InboxDays { get; init; } = 30;
}

/// <summary>The service's name on the bus: its resource name, and the first part of its queues' names.</summary>
public sealed record BusMember(string Service);

/// <summary>
/// The one connection of a process to RabbitMQ, made again when it is lost, and the names and declarations of everything on the broker:
/// the topic exchange <c>platform</c>, a quorum queue per subscription, the retry steps, and a dead-letter queue per service.
/// </summary>
public sealed partial class Broker(IConnectionFactory factory, BrokerConnection health, BusMember member, MessagingOptions options, ILogger<Broker> logger) : IAsyncDisposable
{
    /// <summary>How long a message waits before its second, third, … attempt; the last step repeats.</summary>
    internal static readonly TimeSpan[] RetrySteps = [TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(30)];

    // Guards making the connection: many channels ask for it at once after a loss.
    private readonly SemaphoreSlim _connecting = new(1, 1);
    private IConnection? _connection;

    public string Exchange => $"{options.Prefix}platform";

    public string DeadLetterQueue => DeadLetterQueueOf(member.Service);

    public string NameOf(Subscription subscription) => options.Prefix + subscription.Queue;

    public string RetryExchange(int attempt) => $"{options.Prefix}retry.{RetrySteps[Math.Min(attempt, RetrySteps.Length) - 1].TotalSeconds:0}s";

    public string DeadLetterQueueOf(string service) => $"{options.Prefix}{service}.dead";

    /// <summary>A channel whose publishes complete when the broker has confirmed them, on a broker that knows all names.</summary>
    /// <exception cref="RabbitMQ.Client.Exceptions.BrokerUnreachableException">No broker; the caller backs off and asks again.</exception>
    public async Task<IChannel> OpenChannelAsync(CancellationToken ct)
    {
        var connection = await ConnectAsync(ct);
        return await connection.CreateChannelAsync(
            new CreateChannelOptions(publisherConfirmationsEnabled: true, publisherConfirmationTrackingEnabled: true, consumerDispatchConcurrency: 1), ct);
    }

    private async Task<IConnection> ConnectAsync(CancellationToken ct)
    {
        if (_connection is { IsOpen: true } open)
        {
            return open;
        }

        await _connecting.WaitAsync(ct);
        try
        {
            if (_connection is { IsOpen: true } other)
            {
                return other;
            }

            if (_connection is { } lost)
            {
                _connection = null;
                await lost.DisposeAsync();
            }

            var connection = await factory.CreateConnectionAsync(member.Service, ct);
            try
            {
                await DeclareAsync(connection, ct);
            }
            catch
            {
                await connection.DisposeAsync();
                throw;
            }

            _connection = connection;
            health.Report(connection);
            Connected(connection.Endpoint.HostName, connection.Endpoint.Port);
            return connection;
        }
        finally
        {
            _connecting.Release();
        }
    }

    // Sender and hearer declare the same things, so that the order in which services start for the first time does not matter.
    private async Task DeclareAsync(IConnection connection, CancellationToken ct)
    {
        await using var channel = await connection.CreateChannelAsync(cancellationToken: ct);
        await channel.ExchangeDeclareAsync(Exchange, ExchangeType.Topic, durable: true, cancellationToken: ct);
        foreach (var subscription in Subscriptions.All)
        {
            await DeclareQueueAsync(channel, NameOf(subscription), [], ct);
            await channel.QueueBindAsync(NameOf(subscription), Exchange, subscription.Topic, cancellationToken: ct);
        }

        foreach (var service in Subscriptions.All.Select(subscription => subscription.Service).Append(member.Service).Distinct())
        {
            await DeclareQueueAsync(channel, DeadLetterQueueOf(service), [], ct);
        }

        for (var attempt = 1; attempt <= RetrySteps.Length; attempt++)
        {
            // A message waits here with its own queue's name as routing key; when its time is over, the default exchange takes it home.
            // At-least-once dead lettering: the broker lets go of it only after the home queue has it.
            var name = RetryExchange(attempt);
            await channel.ExchangeDeclareAsync(name, ExchangeType.Fanout, durable: true, cancellationToken: ct);
            await DeclareQueueAsync(channel, name, new()
            {
                ["x-message-ttl"] = (int)RetrySteps[attempt - 1].TotalMilliseconds,
                ["x-dead-letter-exchange"] = "",
                ["x-dead-letter-strategy"] = "at-least-once",
                ["x-overflow"] = "reject-publish",
            }, ct);
            await channel.QueueBindAsync(name, name, "", cancellationToken: ct);
        }
    }

    private static Task<QueueDeclareOk> DeclareQueueAsync(IChannel channel, string name, Dictionary<string, object?> arguments, CancellationToken ct)
    {
        arguments["x-queue-type"] = "quorum";
        // Attempts are counted in a header of our own. RabbitMQ 4 would drop a message after 20 returns, and looking at the dead letters returns them.
        arguments["x-delivery-limit"] = 1_000_000;
        return channel.QueueDeclareAsync(name, durable: true, exclusive: false, autoDelete: false, arguments, cancellationToken: ct);
    }

    public async ValueTask DisposeAsync()
    {
        if (_connection is { } connection)
        {
            await connection.DisposeAsync();
        }

        _connecting.Dispose();
    }

    [LoggerMessage(LogLevel.Information, "Connected to the broker at {Host}:{Port}")]
    private partial void Connected(string host, int port);
}
