using Npgsql;
using Platform.Contracts;
using Platform.Incidents.Lifecycle;
using Platform.Incidents.Timeline;
using Platform.Messaging;

namespace Platform.Incidents.FromAlerts;

/// <summary>A critical or high alert opens an incident, or joins the one of its group that is not closed yet. A second delivery finds the alert linked and does nothing.</summary>
public sealed class OpenIncidentOnAlertFired(
    IncidentStore incidents, AlertStore alerts, TimelineStore timeline, AlertOutcome outcome, IncidentMetrics metrics, TimeProvider clock) : IConsumer<AlertFired>
{
    // Between "it is open" and "it was just closed" lies a moment; more than a few in a row is a fault.
    private const int MostRaces = 5;

    // Of the message at hand: messages of a queue are handled one after the other.
    private int _opened;
    private Severity _severity;

    public async Task HandleAsync(AlertFired message, NpgsqlTransaction tx, CancellationToken ct)
    {
        // What an attempt before counted was rolled back with it.
        _opened = 0;
        var now = clock.GetUtcNow();
        var alert = await alerts.FiredAsync(tx, message, now, ct);
        await timeline.AddAsync(tx, Entry(message, alert.IncidentId), ct);
        if (alert.IncidentId is not null || await OpenOrJoinAsync(message, now, tx, ct) is not { } incident)
        {
            return;
        }

        await alerts.LinkAsync(tx, message.AlertId, incident.Id, ct);
        await timeline.LinkAsync(tx, message.AlertId, incident.Id, ct);
        await outcome.SettleAsync(tx, incident, AlertNews.Joined, alert with { IncidentId = incident.Id }, now, ct);
    }

    public void Committed()
    {
        if (_opened > 0)
        {
            metrics.Opened(_severity, byAlert: true);
        }
    }

    private async Task<Incident?> OpenOrJoinAsync(AlertFired message, DateTimeOffset now, NpgsqlTransaction tx, CancellationToken ct)
    {
        for (var race = 0; race < MostRaces; race++)
        {
            if (await incidents.LockOpenAsync(tx, message.Realm, AlertPolicy.GroupKey(message.GroupKey), ct) is { } open)
            {
                return open with { Severity = AlertPolicy.Worse(open.Severity, message.Severity) };
            }

            if (!AlertPolicy.Opens(message.Severity))
            {
                return null;
            }

            var incident = AlertPolicy.Open(message, now);
            if (await incidents.TryInsertAsync(tx, incident, ct))
            {
                await timeline.AddAsync(tx, Deeds.Entry(incident, "opened", Incident.System, $"Incident opened by the alert {message.Name}", now), ct);
                await tx.SendAsync(Deeds.Audit(incident, "incident.opened", now, Deeds.Summary(incident)), ct);
                (_opened, _severity) = (1, incident.Severity);
                return incident;
            }
        }

        throw new InvalidOperationException($"The incident of the alert {message.AlertId} was opened and closed {MostRaces} times while it was looked for.");
    }

    private static NewEntry Entry(AlertFired alert, Guid? incidentId) =>
        new($"{alert.AlertId}|fired", alert.Realm, incidentId, alert.AlertId, alert.StartsAt, EntryKind.Alert, alert.Source, $"{alert.Name} fired")
        {
            Message = alert.Summary,
            Level = alert.Severity.Word(),
            Link = $"/api/v1/monitoring/alerts/{alert.AlertId}",
            Data = AlertEntries.Facts(alert),
        };
}

/// <summary>Applies the policy to a locked incident and writes down what came of it.</summary>
public sealed class AlertOutcome(IncidentStore incidents, AlertStore alerts, TimelineStore timeline)
{
    public async Task SettleAsync(NpgsqlTransaction tx, Incident incident, AlertNews news, AlertFacts alert, DateTimeOffset now, CancellationToken ct)
    {
        var all = await alerts.TotalAsync(tx, incident.Id, ct);
        var verdict = AlertPolicy.Decide(incident.Status, news, alert, all);
        // Saved in any case: a new version of the row is what keeps a concurrent closing from going ahead.
        var after = await incidents.SaveAsync(tx, AlertPolicy.Apply(verdict, incident, alert, all, now), now, ct);
        if (verdict is Verdict.Leave)
        {
            return;
        }

        var (title, action) = verdict is Verdict.Reopen ? ("Reopened: an alert fires again", "incident.reopened")
            : verdict is Verdict.Resolve ? ("Resolved: its last alert has resolved", "incident.resolved")
            : ("All alerts have resolved; the status is left to whoever works on it", null);
        await timeline.AddAsync(tx, Deeds.Entry(after, $"version {after.Version}", Incident.System, title, now), ct);
        if (action is not null)
        {
            var changes = new Dictionary<string, string> { ["status"] = $"{incident.Status.Word()} → {after.Status.Word()}", ["alert_id"] = alert.AlertId.ToString() };
            await tx.SendAsync(Deeds.Audit(after, action, now, changes), ct);
        }
    }
}
