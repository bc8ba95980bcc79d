using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.Metrics.Events;
using Platform.ServiceDefaults;
using RestEase;

namespace Platform.Metrics.Stats;

/// <summary>
/// Figures of the realm at a glance (seed 003). A figure that is not known is null, never zero: alerts and incidents are for moderators
/// and need those services to answer; metrics come with the sample store.
/// </summary>
public sealed record MonitoringStats(
    long TotalEvents, long? TotalMetrics, long? ActiveAlerts, long? OpenIncidents, long EventsLastHour, long? MetricsLastHour);

public static class StatsApi
{
    public static IEndpointRouteBuilder MapStats(this IEndpointRouteBuilder app)
    {
        app.MapGet("/api/v1/monitoring/stats", GetAsync).WithTags("Statistics").RequireAuthorization(Access.UserRead)
            .WithSummary("Totals and last hour; a user gets the general part, a moderator alerts and incidents too.");
        return app;
    }

    private static async Task<Ok<Envelope<MonitoringStats>>> GetAsync(
        Caller caller, EventStore events, IAlertingClient alerting, IIncidentsClient incidents, TimeProvider clock, CancellationToken ct)
    {
        var counting = events.CountAsync(caller.RealmFilter, clock.GetUtcNow().AddHours(-1), ct);
        long? active = null;
        long? open = null;
        if (caller.IsAtLeast(Role.Moderator))
        {
            active = await AskAsync(async () => (await alerting.GetCountsAsync(caller.RealmFilter, ct)).Data.Active);
            open = await AskAsync(async () => (await incidents.GetCountsAsync(caller.RealmFilter, null, null, ct)).Data.Open);
        }

        var (total, recent) = await counting;
        return TypedResults.Ok(Envelope.Of(new MonitoringStats(total, null, active, open, recent, null)));
    }

    // A service that does not answer makes its figure unknown, not the whole page.
    private static async Task<long?> AskAsync(Func<Task<long>> ask)
    {
        try
        {
            return await ask();
        }
        catch (Exception error) when (error is HttpRequestException or ApiException or TimeoutException)
        {
            return null;
        }
    }
}
