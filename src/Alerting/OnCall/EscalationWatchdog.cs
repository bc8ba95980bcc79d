using System.ComponentModel.DataAnnotations;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Notifications;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.OnCall;

public sealed class WatchdogOptions
{
    /// <summary>A step of a critical alert that is this late raises the alert <c>EscalationOverdue</c>.</summary>
    [Setting("ALERT_ESCALATION_GRACE_SECONDS"), Range(1, 3600)]
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Channels that are told of an overdue escalation directly, past routing and policies; several separated by commas.</summary>
    [Setting("ALERT_WATCHDOG_CHANNELS")]
    public IReadOnlyList<string> Channels { get; init; } = [];
}

/// <summary>
/// Watches the escalation worker without standing on it: a loop of its own compares, for every critical alert that nobody has
/// acknowledged, what its policy says should have been done by now with what was recorded, and raises an alert about the difference.
/// It takes none of the worker's locks, so that a worker that hangs in one cannot hold it up.
/// </summary>
public sealed partial class EscalationWatchdog(
    NpgsqlDataSource db,
    EscalationStore escalations,
    AlertStore alerts,
    NotificationStore notifications,
    Dispatcher dispatcher,
    WatchdogOptions options,
    OnCallMetrics metrics,
    TimeProvider clock,
    ILogger<EscalationWatchdog> logger) : BackgroundService
{
    internal const string AlertName = "EscalationOverdue";
    private const int Page = 500;
    private static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Every, clock);
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
            var open = (await db.QueryAsync(
                $"select id, labels->>'escalation' from alerts where name = {AlertName} and source = 'health' and state <> 'resolved'",
                row => (Id: row.GetGuid(0), Escalation: row.GetString(1)), ct)).ToDictionary(one => one.Escalation, one => one.Id);
            var overdue = 0;
            var (last, page) = (Guid.Empty, new List<Escalation>());
            do
            {
                page = await escalations.RunningForCriticalAsync(last, Page, ct);
                foreach (var escalation in page)
                {
                    last = escalation.Id;
                    if (escalation.Overdue(now, options.Grace) is { } what)
                    {
                        overdue++;
                        if (!open.Remove(escalation.Id.ToString()))
                        {
                            await RaiseAsync(escalation, what, now, ct);
                        }
                    }
                }
            }
            while (page.Count == Page);

            foreach (var caughtUp in open.Values)
            {
                await ResolveAsync(caughtUp, now, ct);
            }

            metrics.Overdue(overdue);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error);
        }
    }

    // Two replicas see the same: the label set names the escalation, and only one alert of a label set is open.
    private async Task RaiseAsync(Escalation escalation, string what, DateTimeOffset now, CancellationToken ct)
    {
        if (await alerts.FindAsync(escalation.AlertId, ct) is not { } about)
        {
            return;
        }

        var alert = Alert.Fire(
            escalation.Realm,
            $"{escalation.Realm}/watchdog:{{escalation=\"{escalation.Id}\"}}",
            null,
            AlertName,
            Severity.Critical,
            AlertSource.Health,
            new Dictionary<string, string> { ["alertname"] = AlertName, ["realm"] = escalation.Realm, ["policy"] = escalation.PolicyName, ["escalation"] = escalation.Id.ToString() },
            new Dictionary<string, string> { ["policy"] = escalation.PolicyName, ["escalation"] = escalation.Id.ToString() },
            new Dictionary<string, string> { ["summary"] = $"Nobody may know of {about.Name}: {what}", ["description"] = about.Annotations.GetValueOrDefault("summary", about.Name), ["alert_id"] = about.Id.ToString() },
            new Dictionary<string, string>(),
            null,
            null,
            now,
            now,
            new AlertReason(null, null, Seen: what, Condition: $"each step of the policy {escalation.PolicyName} is taken when it is due"));
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (await alerts.FireAsync(tx, alert, ct) == alert.Id)
        {
            Overdue(about.Id, about.Name, what);
            await notifications.EnqueueAsync(
                tx,
                [.. options.Channels.Select(channel => new OutgoingNotification(
                    alert.Realm,
                    channel,
                    new NotificationContent(NotificationStatus.Firing, "watchdog", alert.GroupKey, alert.GroupLabels, what, [alert.Told(NotificationStatus.Firing), about.Told(NotificationStatus.Firing)]),
                    "watchdog"))],
                now,
                ct);
        }

        await tx.CommitAsync(ct);
        dispatcher.Wake();
    }

    private async Task ResolveAsync(Guid id, DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await alerts.ResolveAsync(tx, id, now, "The escalation is no longer overdue.", now, ct);
        await tx.CommitAsync(ct);
        dispatcher.Wake();
    }

    [LoggerMessage(LogLevel.Error, "The critical alert {Alert} ({Name}) may be unknown to people: {What}")]
    private partial void Overdue(Guid alert, string name, string what);

    [LoggerMessage(LogLevel.Error, "The watch over escalations failed; trying again in a few seconds")]
    private partial void TickFailed(Exception error);
}
