using System.ComponentModel.DataAnnotations;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Alerts;

public sealed class AlertHistoryOptions
{
    /// <summary>Resolved alerts, their notifications and attempts are deleted after this. Open ones stay.</summary>
    [Setting("ALERT_HISTORY_RETENTION_DAYS"), Range(1, 3650)]
    public TimeSpan Retention { get; init; } = TimeSpan.FromDays(30);
}

/// <summary>Deletes old alerts, a bounded number at a time. Replicas that do it at once share the work.</summary>
public sealed partial class AlertHistoryWorker(AlertStore alerts, AlertHistoryOptions options, TimeProvider clock, ILogger<AlertHistoryWorker> logger) : BackgroundService
{
    private const int AtOnce = 1_000;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMinutes(10), clock);
        do
        {
            await TickAsync(stoppingToken);
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            var before = clock.GetUtcNow() - options.Retention;
            var deleted = 0;
            int batch;
            while ((batch = await alerts.DeleteOldAsync(before, AtOnce, ct)) > 0)
            {
                deleted += batch;
            }

            if (deleted > 0)
            {
                Deleted(deleted, before);
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            DeletingFailed(error);
        }
    }

    [LoggerMessage(LogLevel.Information, "Deleted {Count} alerts that were resolved before {Before}")]
    private partial void Deleted(int count, DateTimeOffset before);

    [LoggerMessage(LogLevel.Warning, "Deleting old alerts failed; trying again at the next tick")]
    private partial void DeletingFailed(Exception error);
}
