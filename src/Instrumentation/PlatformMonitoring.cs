using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Platform.Instrumentation;

/// <summary>The one line that an application adds to be monitored.</summary>
public static class PlatformMonitoring
{
    /// <summary>
    /// Adds correlation ids, <see cref="SecurityLog"/>, <see cref="AuditLog"/>, <see cref="EventLog"/> and the shipping of what they record,
    /// and <see cref="PlatformMetrics"/>; <c>app.MapPlatformMetrics()</c> serves these.
    /// </summary>
    public static IHostApplicationBuilder AddPlatformMonitoring(this IHostApplicationBuilder builder, Action<PlatformMonitoringOptions>? configure = null)
    {
        builder.Services.AddPlatformMonitoring(builder.Configuration, builder.Environment.ApplicationName, configure);
        return builder;
    }

    /// <inheritdoc cref="AddPlatformMonitoring(IHostApplicationBuilder, Action{PlatformMonitoringOptions}?)"/>
    public static IServiceCollection AddPlatformMonitoring(
        this IServiceCollection services, IConfiguration configuration, string applicationName, Action<PlatformMonitoringOptions>? configure = null)
    {
        services.AddOptions<PlatformMonitoringOptions>()
            .Configure(options => ReadEnvironment(options, configuration, applicationName))
            .Bind(configuration.GetSection(PlatformMonitoringOptions.Section))
            .Configure(options => configure?.Invoke(options))
            .ValidateDataAnnotations()
            .ValidateOnStart();

        services.TryAddSingleton(TimeProvider.System);
        services.AddHttpContextAccessor();
        services.AddMetrics();
        services.AddSingleton(provider => provider.GetRequiredService<IOptions<PlatformMonitoringOptions>>().Value);
        services.AddSingleton<PlatformMetrics>();
        services.AddHostedService<DatabaseMetrics>();
        services.AddSingleton<EventBuffer>();
        services.AddSingleton<EventLog>();
        services.AddSingleton<SecurityLog>();
        services.AddSingleton<AuditLog>();
        services.AddHostedService<EventShipper>();
        services.AddSingleton<IStartupFilter, CorrelateEveryRequest>();
        return services;
    }

    // The section wins over these, so that one application on a machine can differ from the rest.
    private static void ReadEnvironment(PlatformMonitoringOptions options, IConfiguration configuration, string applicationName)
    {
        options.Enabled = configuration.GetValue("MONITORING_ENABLED", true);
        options.MetricsEnabled = configuration.GetValue("METRICS_ENABLED", true);
        options.ApiKey = configuration["PLATFORM_API_KEY"];
        options.Source = configuration["OTEL_SERVICE_NAME"] ?? applicationName.ToLowerInvariant();
        if (Uri.TryCreate(configuration["PLATFORM_GATEWAY_URL"] ?? configuration["services:gateway:http:0"], UriKind.Absolute, out var gateway))
        {
            options.GatewayUrl = gateway;
        }
    }

    // A startup filter puts the middleware in front of everything the application adds, without a second line in its Program.cs.
    private sealed class CorrelateEveryRequest : IStartupFilter
    {
        public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
        {
            app.UseMiddleware<RequestMetrics>();
            app.UseMiddleware<CorrelationMiddleware>();
            next(app);
        };
    }
}
