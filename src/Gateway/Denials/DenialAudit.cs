using System.Diagnostics;
using Platform.Gateway.Edge;
using Platform.Gateway.Keys;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Denials;

/// <summary>
/// Sees every answer 401 and 403 that leaves the gateway, also those that services gave, and has it recorded. A denial belongs to the
/// realm of its credential; where there is no credential, or one for all realms, to the platform's own, which only admins of all realms see.
/// </summary>
public sealed class DenialAudit(RequestDelegate next, DenialRecorder recorder, TimeProvider clock)
{
    public async Task InvokeAsync(HttpContext context)
    {
        // Asked for now, because a request that ends early has no endpoint left.
        var route = (context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText ?? "(unknown)";
        await next(context);
        if (context.Response.StatusCode is not (StatusCodes.Status401Unauthorized or StatusCodes.Status403Forbidden))
        {
            return;
        }

        var caller = context.Features.Get<KnownKey>()?.Key.Caller;
        recorder.Note(new Denial(
            new DenialKey(
                caller is null or { SeesAllRealms: true } ? RealmName.Platform : caller.Realm,
                caller?.Subject ?? RateLimiter.AddressOf(context),
                caller is null ? "anonymous" : WireJson.Name(caller.Role.ToString()),
                route,
                context.Response.StatusCode),
            clock.GetUtcNow(),
            ClientAddress.Of(context)?.ToString(),
            Correlation.Current,
            Activity.Current?.TraceId.ToString(),
            Count: 1));
    }
}

public static class DenialHosting
{
    public static IHostApplicationBuilder AddDenials(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<DenialOptions>();
        builder.Services.AddSingleton<DenialRecorder>();
        builder.Services.AddHostedService(services => services.GetRequiredService<DenialRecorder>());
        builder.Services.AddHostedService<Retention>();
        return builder;
    }

    public static IApplicationBuilder UseDenialAudit(this IApplicationBuilder app) => app.UseMiddleware<DenialAudit>();
}
