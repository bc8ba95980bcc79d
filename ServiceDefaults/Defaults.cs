using System.ComponentModel.DataAnnotations;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;

namespace Platform.ServiceDefaults;

/// <summary>Limits of a service process.</summary>
public sealed class ProcessOptions
{
    /// <summary>Largest request body; larger ones get 413.</summary>
    [Setting("PLATFORM_MAX_REQUEST_BYTES"), Range(1_024, 1_073_741_824)]
    public long MaxRequestBytes { get; init; } = 10 * 1024 * 1024;

    /// <summary>Connections served at once; further ones are closed.</summary>
    [Setting("PLATFORM_MAX_CONNECTIONS"), Range(1, 1_000_000)]
    public long MaxConnections { get; init; } = 10_000;

    /// <summary>How long a client may take to send its headers.</summary>
    [Setting("PLATFORM_HEADERS_TIMEOUT_SECONDS"), Range(1, 300)]
    public TimeSpan HeadersTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>How long requests in flight and loops may take to end when the process stops.</summary>
    [Setting("PLATFORM_SHUTDOWN_TIMEOUT_SECONDS"), Range(0, 600)]
    public TimeSpan ShutdownTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long the process goes on serving after it was told to stop, with <c>/health</c> already saying no: time for load balancers to look away. 0 where nothing balances load.</summary>
    [Setting("PLATFORM_DRAIN_SECONDS"), Range(0, 300)]
    public TimeSpan Drain { get; init; } = TimeSpan.Zero;

    /// <summary>Requests slower than this are logged.</summary>
    [Setting("PLATFORM_SLOW_REQUEST_MILLISECONDS"), Range(1, 3_600_000)]
    public TimeSpan SlowRequest { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Time series that one instrument may have on <c>/metrics</c>; measurements beyond share one series.</summary>
    [Setting("PLATFORM_METRICS_MAX_SERIES"), Range(1, 1_000_000)]
    public int MaxSeries { get; init; } = 2_000;
}

/// <summary>What is different at the one door from outside: metrics need an admin's key, and something stands between knowing who asks and deciding whether they may.</summary>
/// <param name="MetricsPath">Where the process' own metrics are.</param>
/// <param name="Identified">Adds middleware after authentication and before authorization.</param>
public sealed record PublicEdge(string MetricsPath, Action<IApplicationBuilder> Identified);

public static class Defaults
{
    /// <summary>What every service stands on. Call it first; <see cref="MapDefaultEndpoints"/> is its other half.</summary>
    public static IHostApplicationBuilder AddServiceDefaults(this IHostApplicationBuilder builder)
    {
        var options = builder.AddSettings<ProcessOptions>();

        builder.AddJsonLogs();
        builder.AddTelemetry();
        builder.AddDefaultHealthChecks();
        builder.AddResilientHttpClients();
        builder.AddProblems();
        builder.AddRequestValidation();
        builder.AddTickets();

        builder.Services.TryAddSingleton(TimeProvider.System);
        builder.Services.AddMetrics();
        builder.Services.AddExposition(options);
        builder.Services.AddOpenApi();
        builder.Services.ConfigureHttpJsonOptions(json => WireJson.Apply(json.SerializerOptions));
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = options.ShutdownTimeout);
        builder.Services.AddSingleton<IMemoryPoolFactory<byte>, ConnectionMemory>();
        builder.Services.Configure<KestrelServerOptions>(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = options.MaxRequestBytes;
            kestrel.Limits.MaxConcurrentConnections = options.MaxConnections;
            kestrel.Limits.RequestHeadersTimeout = options.HeadersTimeout;
        });
        return builder;
    }

    /// <summary>Installs the middleware in its one right order and the operational endpoints. Call it before mapping features.</summary>
    /// <param name="edge">Given by the gateway only, which also serves an OpenAPI document of its own making.</param>
    public static WebApplication MapDefaultEndpoints(this WebApplication app, PublicEdge? edge = null)
    {
        app.UseMiddleware<RequestMiddleware>();
        app.UseProblems();
        app.UseAuthentication();
        edge?.Identified(app);
        app.UseAuthorization();
        app.UseMiddleware<QueryNames>();

        app.MapDefaultHealthChecks();
        if (edge is null)
        {
            app.MapExposition("/metrics").AllowAnonymous();
            app.MapOpenApi().AllowAnonymous();
        }
        else
        {
            app.MapExposition(edge.MetricsPath).RequireAuthorization(Access.AdminRead);
            // For Metrics, which scrapes this process like all others and has a ticket instead of a key.
            app.MapExposition($"{edge.MetricsPath}/scrape").RequireAuthorization(
                new AuthorizationPolicyBuilder(Tickets.Scheme).RequireAuthenticatedUser().AddRequirements(new AccessRequirement(Access.Service)).Build());
        }

        return app;
    }

    private static void AddResilientHttpClients(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<ResilienceOptions>();
        builder.Services.TryAddSingleton<ServiceEndpoints>();
        builder.Services.TryAddSingleton<HostCircuits>();
        builder.Services.AddTransient<CorrelationHandler>();
        builder.Services.AddTransient<RetryHandler>();
        builder.Services.AddTransient<DiscoveryHandler>();
        builder.Services.AddTransient<AttemptHandler>();
        builder.Services.ConfigureHttpClientDefaults(http => http
            .RemoveAllLoggers()
            .AddHttpMessageHandler<CorrelationHandler>()
            .AddHttpMessageHandler<RetryHandler>()
            .AddHttpMessageHandler<DiscoveryHandler>()
            .AddHttpMessageHandler<AttemptHandler>());
    }
}
