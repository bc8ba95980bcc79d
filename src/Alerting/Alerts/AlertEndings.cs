using Platform.Alerting.Doors;
using Platform.Alerting.Routing;

namespace Platform.Alerting.Alerts;

/// <summary>
/// Ends acknowledgements whose time is over, and alerts whose sender has fallen silent. Every replica runs it; rows are claimed. Silence
/// counts only while somebody listened: after a time without process or database, or a leap of the clock, senders get their time again.
/// </summary>
public sealed partial class AlertEndings(AlertStore alerts, Flusher flusher, DoorOptions doors, TimeProvider clock, ILogger<AlertEndings> logger) : BackgroundService
{
    private const int AtOnce = 200;

    private static readonly TimeSpan Deaf = TimeSpan.FromSeconds(30);

    private readonly DateTimeOffset _started = clock.GetUtcNow();
    private DateTimeOffset? _looked;

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
            var now = clock.GetUtcNow();
            if (_looked is not { } before || now - before > Deaf)
            {
                await alerts.ProlongAsync(_looked is null ? _started : now, now + doors.ResolveTimeout, ct);
            }

            while (await alerts.EndDueAsync(now, AtOnce, ct) > 0)
            {
                flusher.Wake();
            }

            _looked = now;
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            EndingFailed(error);
        }
    }

    [LoggerMessage(LogLevel.Error, "Ending acknowledgements and alerts that nobody repeats failed; trying again in a second")]
    private partial void EndingFailed(Exception error);
}
