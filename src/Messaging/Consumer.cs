using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;
using RabbitMQ.Client;
using RabbitMQ.Client.Events;

namespace Platform.Messaging;

/// <summary>
/// Reacts to one kind of message, inside the transaction that also remembers the message as handled. Returning acknowledges; throwing
/// rolls everything back and tries again later, and after the last attempt the message rests in the dead-letter queue.
/// </summary>
public interface IConsumer<in T> where T : IMessage
{
    Task HandleAsync(T message, NpgsqlTransaction tx, CancellationToken ct);

    /// <summary>After the commit: the place to wake a loop of this process. Not for work that must happen: a crash skips it.</summary>
    void Committed()
    {
    }
}

/// <summary>Feeds the messages of one queue to one consumer, each at most once in effect.</summary>
internal sealed partial class ConsumerWorker<TMessage, TConsumer>(
    TConsumer consumer,
    NpgsqlDataSource db,
    Broker broker,
    BusMember member,
    MessagingOptions options,
    ConsumerMetrics metrics,
    TimeProvider clock,
    ILogger<TConsumer> logger) : BackgroundService
    where TMessage : IMessage
    where TConsumer : IConsumer<TMessage>
{
    internal const string AttemptHeader = "attempt";
    internal const string ReasonHeader = "reason";
    internal const string QueueHeader = "queue";

    private static readonly ActivitySource Source = new("Platform.Messaging");
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);

    private readonly string _queue = broker.NameOf(Find(member.Service));

    // A consumer whose queue nobody declares would wait for ever; better to find out at start.
    private static Subscription Find(string service) =>
        Subscriptions.All.FirstOrDefault(subscription => subscription.Service == service && subscription.Topic == TMessage.Topic)
        ?? throw new InvalidOperationException($"'{service}' consumes {TMessage.Topic}, which {nameof(Subscriptions)} does not list. Add the line there.");

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var pause = TimeSpan.Zero;
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await ConsumeAsync(stoppingToken);
                pause = TimeSpan.Zero;
            }
            catch (Exception error) when (!stoppingToken.IsCancellationRequested)
            {
                pause = pause == TimeSpan.Zero ? TimeSpan.FromMilliseconds(200) : pause * 2 < LongestPause ? pause * 2 : LongestPause;
                Disconnected(_queue, error.GetBaseException().Message);
                await Task.Delay(pause, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    // Ends when the channel does. Whatever was not acknowledged by then comes again.
    private async Task ConsumeAsync(CancellationToken ct)
    {
        metrics.Starts(_queue);
        await using var channel = await broker.OpenChannelAsync(ct);
        await channel.BasicQosAsync(0, (ushort)options.Prefetch, global: false, ct);
        var closed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        channel.ChannelShutdownAsync += (_, _) =>
        {
            closed.TrySetResult();
            return Task.CompletedTask;
        };

        using var life = CancellationTokenSource.CreateLinkedTokenSource(ct);
        var receiver = new AsyncEventingBasicConsumer(channel);
        receiver.ReceivedAsync += async (_, delivery) =>
        {
            try
            {
                await ReceiveAsync(channel, delivery, life.Token);
            }
            catch (Exception error) when (!life.IsCancellationRequested)
            {
                // Neither acknowledged nor passed on: only a new channel brings the message again.
                Disconnected(_queue, error.GetBaseException().Message);
                closed.TrySetResult();
            }
        };
        // The broker ends a consumer whose queue was deleted or lost its node, and leaves the channel open.
        receiver.UnregisteredAsync += (_, _) =>
        {
            closed.TrySetResult();
            return Task.CompletedTask;
        };
        await channel.BasicConsumeAsync(_queue, autoAck: false, receiver, ct);
        try
        {
            await closed.Task.WaitAsync(ct);
        }
        finally
        {
            await life.CancelAsync();
        }
    }

    private async Task ReceiveAsync(IChannel channel, BasicDeliverEventArgs delivery, CancellationToken ct)
    {
        var properties = delivery.BasicProperties;
        using var activity = Source.StartActivity($"{TMessage.Topic} process", ActivityKind.Consumer, Header(properties, "traceparent"));
        using var correlation = Correlation.Use(Header(properties, "correlation-id"));
        var started = clock.GetTimestamp();
        var attempt = int.TryParse(Header(properties, AttemptHeader), out var earlier) ? earlier + 1 : 1;
        try
        {
            if (!Guid.TryParse(properties.MessageId, out var id))
            {
                throw new InvalidDataException("The message has no id; its sender did not use the outbox.");
            }

            var body = properties.ContentEncoding == "br" ? Outbox.Decompress(delivery.Body, options.MaxMessageBytes) : delivery.Body;
            var message = JsonSerializer.Deserialize<TMessage>(body.Span, WireJson.Options) ?? throw new InvalidDataException("The message is null.");
            await HandleAsync(id, message, ct);
            await channel.BasicAckAsync(delivery.DeliveryTag, multiple: false, ct);
            metrics.Handled(_queue, clock.GetElapsedTime(started));
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            activity?.SetStatus(ActivityStatusCode.Error, error.Message);
            // A message that cannot be read will not be readable later.
            var last = attempt >= options.MaxAttempts || error is InvalidDataException or JsonException;
            if (last)
            {
                GaveUp(error, _queue, properties.MessageId, attempt);
            }
            else
            {
                WillTryAgain(error, _queue, properties.MessageId, attempt);
            }

            metrics.Failed(_queue, last);
            var copy = new BasicProperties(properties)
            {
                Headers = new Dictionary<string, object?>(properties.Headers ?? new Dictionary<string, object?>())
                {
                    [AttemptHeader] = attempt.ToString(System.Globalization.CultureInfo.InvariantCulture),
                    [ReasonHeader] = error.GetBaseException().Message is { Length: > 500 } text ? text[..500] : error.GetBaseException().Message,
                    [QueueHeader] = _queue,
                },
            };
            // The copy is confirmed before the original goes; dying in between leaves two, and the inbox lets one through.
            await (last
                ? channel.BasicPublishAsync("", broker.DeadLetterQueue, mandatory: true, copy, delivery.Body, ct)
                : channel.BasicPublishAsync(broker.RetryExchange(attempt), _queue, mandatory: true, copy, delivery.Body, ct));
            await channel.BasicAckAsync(delivery.DeliveryTag, multiple: false, ct);
        }
    }

    private async Task HandleAsync(Guid id, TMessage message, CancellationToken ct)
    {
        var pause = TimeSpan.FromMilliseconds(50);
        while (true)
        {
            try
            {
                await using var connection = await db.OpenConnectionAsync(ct);
                await using var tx = await connection.BeginTransactionAsync(ct);
                var fresh = await tx.ExecuteAsync($"insert into inbox (queue, message_id) values ({_queue}, {id}) on conflict do nothing", ct);
                if (fresh == 1)
                {
                    await consumer.HandleAsync(message, tx, ct);
                    await tx.CommitAsync(ct);
                    consumer.Committed();
                }

                return;
            }
            catch (NpgsqlException error) when (error.IsTransient && !ct.IsCancellationRequested)
            {
                // Not the message's fault: a database that restarts, a deadlock. It waits here and does not lose an attempt.
                DatabaseIsAway(_queue, error.Message);
                await Task.Delay(pause, clock, ct);
                pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
            }
        }
    }

    private static string? Header(IReadOnlyBasicProperties properties, string name) =>
        properties.Headers is { } headers && headers.TryGetValue(name, out var value) ? value switch
        {
            byte[] bytes => Encoding.UTF8.GetString(bytes),
            string text => text,
            _ => null,
        } : null;

    [LoggerMessage(LogLevel.Warning, "The queue {Queue} is out of reach: {Reason}")]
    private partial void Disconnected(string queue, string reason);

    [LoggerMessage(LogLevel.Warning, "A message of {Queue} waits for the database: {Reason}")]
    private partial void DatabaseIsAway(string queue, string reason);

    [LoggerMessage(LogLevel.Warning, "Handling message {MessageId} of {Queue} failed at attempt {Attempt}; it comes again")]
    private partial void WillTryAgain(Exception error, string queue, string? messageId, int attempt);

    [LoggerMessage(LogLevel.Error, "Handling message {MessageId} of {Queue} failed at attempt {Attempt}; it rests in the dead-letter queue")]
    private partial void GaveUp(Exception error, string queue, string? messageId, int attempt);
}

/// <summary>What consumers count.</summary>
internal sealed class ConsumerMetrics : IDisposable
{
    private readonly Meter _meter = new("Platform.Messaging");
    private readonly Histogram<double> _duration;
    private readonly Counter<long> _failures;

    public ConsumerMetrics()
    {
        _duration = _meter.CreateHistogram<double>("messaging_handle_duration", "s", "Time from taking a message to its commit.");
        _failures = _meter.CreateCounter<long>("messaging_failures", null, "Attempts that failed; last=true went to the dead letters.");
    }

    public void Handled(string queue, TimeSpan duration) => _duration.Record(duration.TotalSeconds, new KeyValuePair<string, object?>("queue", queue));

    /// <summary>Counted from zero: a series that begins with its first failure would show no increase.</summary>
    public void Starts(string queue) => Add(queue, last: true, 0);

    public void Failed(string queue, bool last) => Add(queue, last, 1);

    private void Add(string queue, bool last, int count) =>
        _failures.Add(count, new KeyValuePair<string, object?>("queue", queue), new KeyValuePair<string, object?>("last", last ? "true" : "false"));

    public void Dispose() => _meter.Dispose();
}

/// <summary>Forgets handled messages after <see cref="MessagingOptions.InboxDays"/>, a bounded number at a time.</summary>
internal sealed partial class InboxWorker(NpgsqlDataSource db, MessagingOptions options, TimeProvider clock, ILogger<InboxWorker> logger) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMinutes(10), clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            await TickAsync(stoppingToken);
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            var before = clock.GetUtcNow().AddDays(-options.InboxDays);
            while (await db.ExecuteAsync($"delete from inbox where ctid = any(array(select ctid from inbox where handled_at < {before} limit 10000))", ct) > 0)
            {
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            CleaningFailed(error);
        }
    }

    [LoggerMessage(LogLevel.Warning, "Forgetting old messages failed; trying again at the next tick")]
    private partial void CleaningFailed(Exception error);
}
