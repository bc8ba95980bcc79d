using System.ComponentModel.DataAnnotations;
using System.Runtime.CompilerServices;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Notifications;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.OnCall;

public sealed class WatchdogOptions
{
    /// <summary>A step of a critical alert that is this late, or a policy of its route that did not begin, raises the alert <c>EscalationOverdue</c>.</summary>
    [Setting("ALERT_ESCALATION_GRACE_SECONDS"), Range(1, 3600)]
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Channels that are told of overdue escalations, and of test alerts that stay away, directly, past routing and policies; several separated by commas.</summary>
    [Setting("ALERT_WATCHDOG_CHANNELS")]
    public IReadOnlyList<string> Channels { get; init; } = [];
}

/// <summary>
/// Watches flusher and escalation worker without standing on them: a loop of its own compares, for every critical alert that nobody has
/// acknowledged, what routing and policy say should have been done by now with what was recorded, and raises an alert about the
/// difference. It takes none of their locks, so that one that hangs cannot hold it up.
/// </summary>
public sealed partial class EscalationWatchdog(
    NpgsqlDataSource db,
    RoutingStore routing,
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
            await foreach (var (alert, policy, key, what) in OverdueAsync(now, ct))
            {
                overdue++;
                if (!open.Remove(key))
                {
                    await RaiseAsync(alert, policy, key, what, now, ct);
                }
            }

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

    // Steps that were not taken, and policies that did not even begin. The key names the one or the other.
    private async IAsyncEnumerable<(Guid Alert, string Policy, string Key, string What)> OverdueAsync(DateTimeOffset now, [EnumeratorCancellation] CancellationToken ct)
    {
        var (last, page) = (Guid.Empty, new List<Escalation>());
        do
        {
            page = await escalations.RunningForCriticalAsync(last, Page, ct);
            foreach (var escalation in page)
            {
                last = escalation.Id;
                if (escalation.Overdue(now, options.Grace) is { } what)
                {
                    yield return (escalation.AlertId, escalation.PolicyName, escalation.Id.ToString(), what);
                }
            }
        }
        while (page.Count == Page);

        var table = await routing.TableAsync(ct);
        var (place, critical) = (default(Cursor), new List<CriticalAlert>());
        while (table.Escalates && (critical = await escalations.CriticalAsync(place, Page, ct)).Count > 0)
        {
            foreach (var alert in critical)
            {
                place = new Cursor(alert.FiredAt, alert.Id);
                foreach (var policy in alert.NotBegun(table.For(alert.Realm), now, options.Grace))
                {
                    yield return (alert.Id, policy, $"{alert.Id}/{policy}", $"The policy {policy} of its route has not begun.");
                }
            }
        }
    }

    // Two replicas see the same: the label set names the escalation, and only one alert of a label set is open.
    private async Task RaiseAsync(Guid overdue, string policy, string key, string what, DateTimeOffset now, CancellationToken ct)
    {
        if (await alerts.FindAsync(overdue, ct) is not { } about)
        {
            return;
        }

        var alert = Alert.Fire(
            about.Realm,
            $"{about.Realm}/watchdog:{{escalation=\"{key}\"}}",
            null,
            AlertName,
            Severity.Critical,
            AlertSource.Health,
            new Dictionary<string, string> { ["alertname"] = AlertName, ["realm"] = about.Realm, ["policy"] = policy, ["escalation"] = key },
            new Dictionary<string, string> { ["policy"] = policy, ["escalation"] = key },
            new Dictionary<string, string> { ["summary"] = $"Nobody may know of {about.Name}: {what}", ["description"] = about.Annotations.GetValueOrDefault("summary", about.Name), ["alert_id"] = about.Id.ToString() },
            new Dictionary<string, string>(),
            null,
            null,
            now,
            now,
            new AlertReason(null, null, Seen: what, Condition: $"each step of the policy {policy} is taken when it is due"));
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
