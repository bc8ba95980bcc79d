using System.Globalization;
using Npgsql;
using Platform.Contracts;
using Platform.Incidents.Lifecycle;
using Platform.Incidents.Timeline;
using Platform.Messaging;

namespace Platform.Incidents.FromAlerts;

/// <summary>The end of an alert is noted; with the last one its incident is over, unless somebody works on it.</summary>
public sealed class ResolveIncidentOnAlertResolved(
    IncidentStore incidents, AlertStore alerts, TimelineStore timeline, AlertOutcome outcome, TimeProvider clock) : IConsumer<AlertResolved>
{
    public async Task HandleAsync(AlertResolved message, NpgsqlTransaction tx, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var alert = await alerts.ResolvedAsync(tx, message.AlertId, message.Realm, message.EndsAt, now, ct);
        await timeline.AddAsync(tx, AlertEntries.Of(message, alert.IncidentId), ct);
        // The alert may not have fired yet, as far as is known here. The consumer of its firing will find this row.
        if (alert.IncidentId is { } id && await incidents.LockAsync(tx, id, ct) is { } incident)
        {
            await outcome.SettleAsync(tx, incident, AlertNews.Resolved, alert, now, ct);
        }
    }
}

/// <summary>Somebody took notice of an alert, and with that of its incident.</summary>
public sealed class AcknowledgeIncidentOnAlertAcknowledged(
    IncidentStore incidents, AlertStore alerts, TimelineStore timeline, AlertOutcome outcome, TimeProvider clock) : IConsumer<AlertAcknowledged>
{
    public async Task HandleAsync(AlertAcknowledged message, NpgsqlTransaction tx, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var alert = await alerts.AcknowledgedAsync(tx, message.AlertId, message.Realm, message.At, now, ct);
        await timeline.AddAsync(tx, AlertEntries.Of(message, alert.IncidentId), ct);
        if (alert.IncidentId is { } id && await incidents.LockAsync(tx, id, ct) is { } incident)
        {
            await outcome.SettleAsync(tx, incident, AlertNews.Acknowledged, alert, now, ct);
        }
    }
}

/// <summary>Every attempt to tell people belongs on the timeline, with its answer: once per incident, however many of its alerts were told.</summary>
public sealed class NoteNotificationOnNotificationAttempted(AlertStore alerts, TimelineStore timeline, TimeProvider clock) : IConsumer<NotificationAttempted>
{
    public async Task HandleAsync(NotificationAttempted message, NpgsqlTransaction tx, CancellationToken ct)
    {
        var noted = new HashSet<Guid>();
        foreach (var id in (message.AlertIds ?? [message.AlertId]).Order())
        {
            var alert = await alerts.SeenAsync(tx, id, message.Realm, clock.GetUtcNow(), ct);
            if (alert.IncidentId is not { } incident || noted.Add(incident))
            {
                await timeline.AddAsync(tx, AlertEntries.Of(message, id, alert.IncidentId), ct);
            }
        }
    }
}

/// <summary>How messages about alerts look on a timeline.</summary>
internal static class AlertEntries
{
    public static NewEntry Of(AlertResolved alert, Guid? incidentId) =>
        new($"{alert.AlertId}|resolved", alert.Realm, incidentId, alert.AlertId, alert.EndsAt, EntryKind.Alert, alert.By ?? "rule", $"{alert.Name} resolved")
        {
            Message = alert.Reason,
            Link = $"/api/v1/monitoring/alerts/{alert.AlertId}",
            Data = new Dictionary<string, string> { ["fingerprint"] = alert.Fingerprint },
        };

    public static NewEntry Of(AlertAcknowledged alert, Guid? incidentId) =>
        new($"{alert.AlertId}|acknowledged|{alert.At.UtcTicks}", alert.Realm, incidentId, alert.AlertId, alert.At, EntryKind.Alert, alert.By, $"{alert.Name} acknowledged")
        {
            Message = alert.Reason,
            Link = $"/api/v1/monitoring/alerts/{alert.AlertId}",
            Data = new Dictionary<string, string> { ["fingerprint"] = alert.Fingerprint },
        };

    public static NewEntry Of(NotificationAttempted attempt, Guid alertId, Guid? incidentId) =>
        new($"{attempt.NotificationId}|{alertId}|{attempt.Attempt}", attempt.Realm, incidentId, alertId, attempt.At, EntryKind.Notification, attempt.Channel,
            $"Telling {attempt.Channel} that the alert is {attempt.Status}: {attempt.Outcome}")
        {
            Message = attempt.Reason,
            Level = attempt.Outcome,
            Link = $"/api/v1/monitoring/notifications?alert_id={alertId}",
            Data = new Dictionary<string, string>
            {
                ["notification_id"] = attempt.NotificationId.ToString(),
                ["attempt"] = attempt.Attempt.ToString(CultureInfo.InvariantCulture),
                ["status"] = attempt.Status,
                ["outcome"] = attempt.Outcome,
            },
        };

    public static IReadOnlyDictionary<string, string> Facts(AlertFired alert)
    {
        var facts = new Dictionary<string, string>(alert.Labels.Take(24)) { ["fingerprint"] = alert.Fingerprint };
        if (alert.Value is { } value)
        {
            facts["value"] = value.ToString(CultureInfo.InvariantCulture);
        }

        if (alert.Threshold is { } threshold)
        {
            facts["threshold"] = threshold.ToString(CultureInfo.InvariantCulture);
        }

        return facts;
    }
}
