using Platform.Alerting.Routing;

namespace Platform.Alerting.Alerts;

/// <summary>Ends acknowledgements whose time is over, and alerts whose sender has fallen silent. Every replica runs it; rows are claimed.</summary>
public sealed partial class AlertEndings(AlertStore alerts, Flusher flusher, TimeProvider clock, ILogger<AlertEndings> logger) : BackgroundService
{
    private const int AtOnce = 200;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            await TickAsync(stoppingToken);
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            while (await alerts.EndDueAsync(clock.GetUtcNow(), AtOnce, ct) > 0)
            {
                flusher.Wake();
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            EndingFailed(error);
        }
    }

    [LoggerMessage(LogLevel.Error, "Ending acknowledgements and alerts that nobody repeats failed; trying again in a second")]
    private partial void EndingFailed(Exception error);
}
