using System.Diagnostics.Metrics;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Platform.ServiceDefaults;

internal static class ExpositionEndpoint
{
    private static readonly string[] Meters = ["Platform.", "Microsoft.AspNetCore.", "System.Net.Http", "System.Runtime", "Npgsql"];

    public static void AddExposition(this IServiceCollection services, ProcessOptions options) =>
        services.AddSingleton(provider => new Exposition(options.MaxSeries, Meters, provider.GetRequiredService<IMeterFactory>()));

    public static IEndpointConventionBuilder MapExposition(this IEndpointRouteBuilder app, string path)
    {
        // Made now, so that it listens from the first request on.
        var exposition = app.ServiceProvider.GetRequiredService<Exposition>();
        return app.MapGet(path, async (HttpContext context) =>
        {
            context.Response.ContentType = Exposition.ContentType;
            await context.Response.WriteAsync(await exposition.CollectAsync(context.RequestAborted), context.RequestAborted);
        }).ExcludeFromDescription();
    }
}
