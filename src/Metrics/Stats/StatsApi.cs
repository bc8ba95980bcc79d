using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.Metrics.Events;
using Platform.Metrics.Intake;
using Platform.ServiceDefaults;
using RestEase;

namespace Platform.Metrics.Stats;

/// <summary>
/// Figures of the realm at a glance (seed 003). A figure that is not known is null, never zero: alerts and incidents are for moderators
/// and need those services to answer. Metrics are samples: all that ever came, and those that came within the last hour.
/// </summary>
public sealed record MonitoringStats(
    long TotalEvents, long TotalMetrics, long? ActiveAlerts, long? OpenIncidents, long EventsLastHour, long MetricsLastHour);

public static class StatsApi
{
    public static IEndpointRouteBuilder MapStats(this IEndpointRouteBuilder app)
    {
        app.MapGet("/api/v1/monitoring/stats", GetAsync).WithTags("Statistics").RequireAuthorization(Access.UserRead)
            .WithSummary("Totals and last hour; a user gets the general part, a moderator alerts and incidents too.");
        return app;
    }

    private static async Task<Ok<Envelope<MonitoringStats>>> GetAsync(
        Caller caller, EventStore events, SampleCounts samples, IAlertingClient alerting, IIncidentsClient incidents, TimeProvider clock, CancellationToken ct)
    {
        var counting = events.CountAsync(caller.RealmFilter, clock.GetUtcNow().AddHours(-1), ct);
        long? active = null;
        long? open = null;
        if (caller.IsAtLeast(Role.Moderator))
        {
            active = await AskAsync(async () => (await alerting.GetCountsAsync(caller.RealmFilter, ct)).Data.Active);
            open = await AskAsync(async () => (await incidents.GetCountsAsync(caller.RealmFilter, null, null, ct)).Data.Open);
        }

        var (metrics, recentMetrics) = await samples.ReadAsync(caller.RealmFilter, ct);
        var (total, recent) = await counting;
        return TypedResults.Ok(Envelope.Of(new MonitoringStats(total, metrics, active, open, recent, recentMetrics)));
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
