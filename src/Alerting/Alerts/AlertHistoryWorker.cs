using System.ComponentModel.DataAnnotations;
using Platform.Alerting.Doors;
using Platform.Alerting.Notifications;
using Platform.Alerting.OnCall;
using Platform.Alerting.Silences;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Alerts;

public sealed class AlertHistoryOptions
{
    /// <summary>Resolved alerts, settled notifications with their attempts, silences that ended, and integration keys that were revoked are deleted after this. Open ones stay.</summary>
    [Setting("ALERT_HISTORY_RETENTION_DAYS"), Range(1, 3650)]
    public TimeSpan Retention { get; init; } = TimeSpan.FromDays(30);
}

/// <summary>Deletes old alerts and notifications, a bounded number at a time. Replicas that do it at once share the work.</summary>
public sealed partial class AlertHistoryWorker(
    AlertStore alerts, NotificationStore notifications, SilenceStore silences, OnCallStore onCall, IntegrationKeyStore keys, AlertHistoryOptions options, TimeProvider clock, ILogger<AlertHistoryWorker> logger) : BackgroundService
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
            var (alertsDeleted, notificationsDeleted) = (0, 0);
            int batch;
            while ((batch = await alerts.DeleteOldAsync(before, AtOnce, ct)) > 0)
            {
                alertsDeleted += batch;
            }

            while ((batch = await notifications.DeleteOldAsync(before, AtOnce, ct)) > 0)
            {
                notificationsDeleted += batch;
            }

            await onCall.DeleteOverridesAsync(before, ct);
            while (await keys.DeleteRevokedAsync(before, AtOnce, ct) > 0)
            {
            }

            while (await silences.DeleteOldAsync(before, AtOnce, ct) > 0)
            {
            }

            if (alertsDeleted + notificationsDeleted > 0)
            {
                Deleted(alertsDeleted, notificationsDeleted, before);
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            DeletingFailed(error);
        }
    }

    [LoggerMessage(LogLevel.Information, "Deleted {Alerts} alerts that were resolved, and {Notifications} notifications that were settled, before {Before}")]
    private partial void Deleted(int alerts, int notifications, DateTimeOffset before);

    [LoggerMessage(LogLevel.Warning, "Deleting old alerts failed; trying again at the next tick")]
    private partial void DeletingFailed(Exception error);
}
