using System.Diagnostics.Metrics;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Platform.ServiceDefaults;

namespace Platform.Instrumentation;

public static class MetricsEndpoint
{
    /// <summary>
    /// Serves the application's metrics as Prometheus text, for the platform or any Prometheus to scrape: those of this package, of ASP.NET
    /// Core, of the runtime, of Npgsql, and of your own meters. Protect it with <c>RequireAuthorization</c> where the port is public.
    /// </summary>
    /// <param name="path">Also one of <see cref="PlatformMonitoringOptions.ExcludedPaths"/> by default.</param>
    /// <param name="meters">Names of further meters; one that ends in a dot stands for all that begin so.</param>
    public static IEndpointConventionBuilder MapPlatformMetrics(this IEndpointRouteBuilder app, string path = "/metrics", params IReadOnlyList<string> meters)
    {
        var services = app.ServiceProvider;
        var options = services.GetRequiredService<PlatformMonitoringOptions>();

        // Made now, so that it listens from the first request on. It ends with the application.
        var exposition = new Exposition(
            options.MetricsMaxSeries, [PlatformMetrics.MeterName, "Microsoft.AspNetCore.", "System.Net.Http", "System.Runtime", "Npgsql", .. meters], services.GetRequiredService<IMeterFactory>());
        services.GetRequiredService<Microsoft.Extensions.Hosting.IHostApplicationLifetime>().ApplicationStopped.Register(exposition.Dispose);
        services.GetRequiredService<PlatformMetrics>().ShowZeros();
        return app.MapGet(path, async (HttpContext context) =>
        {
            if (!options.MetricsEnabled)
            {
                await TypedResults.Problem("PlatformMonitoring:MetricsEnabled (METRICS_ENABLED) is false.", statusCode: StatusCodes.Status404NotFound, title: "Metrics are switched off.").ExecuteAsync(context);
                return;
            }

            context.Response.ContentType = Exposition.ContentType;
            await context.Response.WriteAsync(await exposition.CollectAsync(context.RequestAborted), context.RequestAborted);
        }).ExcludeFromDescription();
    }

    /// <summary>Counts the calls of an endpoint or of a group of them: <c>service_calls_total{operation, status}</c>.</summary>
    /// <param name="operation">A fixed name, such as <c>export_report</c>.</param>
    public static TBuilder CountCalls<TBuilder>(this TBuilder builder, string operation) where TBuilder : IEndpointConventionBuilder =>
        builder.AddEndpointFilter(new CountCallsFilter(operation));
}
