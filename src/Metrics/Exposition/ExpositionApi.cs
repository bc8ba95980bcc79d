using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.Net.Http.Headers;
using Platform.Contracts;
using Platform.Metrics.Events;
using Platform.Metrics.Scraping;
using Platform.ServiceDefaults;
using RestEase;

namespace Platform.Metrics.Exposition;

public sealed class ExpositionOptions
{
    /// <summary>False: the exposition is answered 404. Each process' own <c>/metrics</c> and the Prometheus API stay.</summary>
    [Setting("METRICS_EXPORT_PROMETHEUS")]
    public bool ExportPrometheus { get; init; } = true;
}

/// <summary>
/// The platform's figures and the authentication counters as text for Prometheus and whatever reads its format: <c>GET
/// /api/v1/monitoring/metrics/prometheus</c>, and the seeds' paths. Numbers are those of the caller's realm, or of the one that
/// <c>?realm=</c> names; of all realms together for a credential that sees them all.
/// </summary>
public static class ExpositionApi
{
    public static IHostApplicationBuilder AddExposition(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<ExpositionOptions>();
        return builder;
    }

    public static IEndpointRouteBuilder MapExposition(this IEndpointRouteBuilder app)
    {
        foreach (var path in (string[])["/api/v1/monitoring/metrics/prometheus", "/monitoring/metrics"])
        {
            // Whoever scrapes may have been told to send parameters.
            app.MapGet(path, GetAsync).TakesQuery("").WithTags("Exposition").RequireAuthorization(Access.UserRead)
                .Produces<string>(200, ExpositionText.Prometheus, ExpositionText.OpenMetrics)
                .WithSummary("The platform's figures and the authentication counters in Prometheus' text format.");
        }

        return app;
    }

    private static async Task<Results<ContentHttpResult, ProblemHttpResult>> GetAsync(
        HttpRequest request, Caller caller, EventStore events, IAlertingClient alerting, IIncidentsClient incidents,
        ScrapeOptions metrics, ExpositionOptions options, TimeProvider clock, CancellationToken ct)
    {
        if (!metrics.Enabled || !options.ExportPrometheus)
        {
            return TypedResults.Problem(
                $"{(metrics.Enabled ? "METRICS_EXPORT_PROMETHEUS" : "METRICS_ENABLED")} is false. Set it to true to have this endpoint.",
                statusCode: StatusCodes.Status404NotFound,
                title: "The export of metrics is switched off.");
        }

        var counting = events.CountAsync(caller.RealmFilter, clock.GetUtcNow().AddHours(-1), ct);
        var active = AskAsync(async () => (await alerting.GetCountsAsync(caller.RealmFilter, ct)).Data.Active);
        var open = AskAsync(async () => (await incidents.GetCountsAsync(caller.RealmFilter, null, null, ct)).Data.Open);
        var counters = EventCounters.From(await events.ListTotalsAsync(caller.RealmFilter, ct));
        var (total, lastHour) = await counting;
        List<MetricFamily> families =
        [
            Gauge("monitoring_total_events", "Total number of events in the system.", total),
            Gauge("monitoring_events_last_hour", "Events of the last hour, by the time at which they happened.", lastHour),
            .. Known("monitoring_active_alerts", "Number of currently active alerts.", await active),
            .. Known("monitoring_open_incidents", "Number of incidents that are not closed.", await open),
            .. counters,
        ];
        var format = ExpositionText.Preferred(MediaTypeHeaderValue.TryParseList(request.Headers.Accept, out var accepted) ? accepted : null);
        return TypedResults.Text(ExpositionText.Write(families, format), format == TextFormat.OpenMetrics ? ExpositionText.OpenMetrics : ExpositionText.Prometheus);
    }

    private static MetricFamily Gauge(string name, string help, double value) => new(name, "gauge", help, [new([], value)]);

    // A figure that is not known is left out: 0 would be a statement.
    private static MetricFamily[] Known(string name, string help, long? value) => value is { } known ? [Gauge(name, help, known)] : [];

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
