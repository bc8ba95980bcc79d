using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Alerting.Notifications;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Alerts;

/// <summary>Everything that explains an alert: why it fired, where it was routed, what kept it quiet and when, and whom it reached.</summary>
/// <param name="Alert">With the values at firing in its <c>why</c>, and what suppresses it now.</param>
/// <param name="Log">Routes taken, suppressions and their ends, acknowledgements; oldest first, at most 500.</param>
/// <param name="Groups">Where it is waiting to be told, or to be told again or to be over.</param>
/// <param name="Notifications">Each with its reason and its attempts, newest first, at most 200.</param>
public sealed record AlertWhy(Alert Alert, IReadOnlyList<AlertLogEntry> Log, IReadOnlyList<AlertGroupPlace> Groups, IReadOnlyList<Notification> Notifications);

/// <param name="Told">Whether the receiver knows that it fires.</param>
/// <param name="DueAt">When the group is looked at next; null: not without news.</param>
public sealed record AlertGroupPlace(string Receiver, string GroupKey, bool Told, DateTimeOffset? LastToldAt, string? MutedBy, DateTimeOffset? DueAt);

public static class AlertWhyApi
{
    private const int MostEntries = 500;
    private const int MostNotifications = 200;

    public static IEndpointRouteBuilder MapAlertWhy(this IEndpointRouteBuilder app)
    {
        app.MapGet("/api/v1/monitoring/alerts/{id:guid}/why", WhyAsync).WithTags("Alerts").RequireAuthorization(Access.ModeratorRead)
            .WithSummary("Why an alert fired, which way it took, what kept it quiet, whom it reached and what they answered.");
        return app;
    }

    private static async Task<Results<Ok<Envelope<AlertWhy>>, NotFound, ProblemHttpResult>> WhyAsync(
        Guid id, Caller caller, AlertStore alerts, NotificationStore notifications, CancellationToken ct)
    {
        if (await alerts.FindAsync(id, ct) is not { } alert)
        {
            return TypedResults.NotFound();
        }

        return !caller.Reaches(alert.Realm)
            ? Access.ForeignRealm(caller, alert.Realm)
            : TypedResults.Ok(Envelope.Of(new AlertWhy(
                alert, await alerts.LogOfAsync(id, MostEntries, ct), await alerts.PlacesOfAsync(id, ct), (await notifications.ListAsync(new NotificationFilter(null, Alert: id), null, MostNotifications, ct)).Items)));
    }
}
