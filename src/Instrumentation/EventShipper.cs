using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Platform.Instrumentation;

/// <summary>
/// Sends what the buffer holds, one batch at a time, in order. While the gateway is away the batch under way is retried and the rest waits in the buffer.
/// When the application ends it has <see cref="PlatformMonitoringOptions.FlushOnStop"/> for what is left.
/// </summary>
internal sealed partial class EventShipper(EventBuffer buffer, PlatformMonitoringOptions options, TimeProvider clock, ILogger<EventShipper> logger) : BackgroundService
{
    private readonly CancellationTokenSource _giveUp = new();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (!options.Enabled)
        {
            return;
        }

        using var http = EventDelivery.CreateClient(options.GatewayUrl!, options.ApiKey!, options.RequestTimeout);
        var delivery = new EventDelivery(http, clock, options.MaxRetryDelay, logger, hurry: stoppingToken);

        // The end of the application shows as the end of the buffer, so that what it holds is still sent; stoppingToken only shortens the waits.
        while (!_giveUp.IsCancellationRequested && await buffer.WaitAsync(CancellationToken.None))
        {
            await ShipAsync(delivery, await CollectAsync(stoppingToken));
        }

        buffer.Drop(buffer.Waiting, "stopped");
        if (buffer.Dropped is > 0 and var lost)
        {
            EventsLost(lost);
        }
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        buffer.Complete();
        _giveUp.CancelAfter(options.FlushOnStop);
        await base.StopAsync(cancellationToken);
    }

    public override void Dispose()
    {
        // An application that is disposed without being stopped does not wait for anything.
        buffer.Complete();
        _giveUp.Cancel();
        base.Dispose();
        _giveUp.Dispose();
    }

    private async Task<Batch> CollectAsync(CancellationToken hurry)
    {
        var batch = new Batch(options.BatchEvents, options.BatchBytes);
        using var due = CancellationTokenSource.CreateLinkedTokenSource(hurry);
        due.CancelAfter(options.FlushInterval);
        try
        {
            while (!buffer.Fill(batch) && await buffer.WaitAsync(due.Token))
            {
            }
        }
        catch (OperationCanceledException)
        {
            // The batch has waited long enough, or the application ends: it goes as it is.
            buffer.Fill(batch);
        }

        return batch;
    }

    private async Task ShipAsync(EventDelivery delivery, Batch batch)
    {
        var untold = buffer.TakeUntold();
        var events = untold > 0 ? [.. batch.Events, DropsAsEvent(untold)] : batch.Events;

        var report = await delivery.DeliverAsync(events, _giveUp.Token);

        buffer.Sent(report.Accepted);
        buffer.Drop(report.Refused, "refused");
        buffer.Drop(report.Undelivered, "stopped");
        if (untold > 0 && report.Accepted == 0)
        {
            buffer.TellAgain(untold);
        }
    }

    private byte[] DropsAsEvent(long count) =>
        new MonitoringEvent(
            EventTypes.Log, options.Source, "Monitoring events were dropped before they could be sent", Levels.Warning, clock.GetUtcNow(),
            new Dictionary<string, object?> { [Tags.Action] = Actions.EventsDropped, [Tags.Outcome] = OutcomeWord.Of(Outcome.Failure), [Tags.Dropped] = count }).ToJson();

    [LoggerMessage(LogLevel.Warning, "{Count} monitoring events never reached the platform between the start and the end of this application")]
    private partial void EventsLost(long count);
}
