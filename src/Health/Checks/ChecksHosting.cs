using Microsoft.Extensions.Diagnostics.HealthChecks;
using Platform.Contracts;
using Platform.Health.Probes;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Health.Checks;

/// <summary>Everything that is checked, in the order in which people see it.</summary>
public sealed record Checklist(IReadOnlyList<Check> Checks);

public static class ChecksHosting
{
    private const string Self = "health", Postgres = "postgres", Redis = "redis", RabbitMq = "rabbitmq";

    /// <summary>The checks and what runs them. Mistakes in <c>HEALTH_CHECK_TARGETS</c> stop the process here.</summary>
    public static IHostApplicationBuilder AddChecks(this IHostApplicationBuilder builder, string connectionName)
    {
        var options = builder.AddSettings<HealthOptions>();
        var targets = Targets.Parse(options, [.. options.Services, Self, Postgres, Redis, RabbitMq]);
        var connectionString = builder.Configuration.GetConnectionString(connectionName)!;

        builder.AddRedisClient("cache");
        builder.AddOutboundHttpClient(HttpProbe.Client);
        // Neither retries nor circuit breakers: a check wants to see the first failure.
        builder.Services.AddHttpClient(ServiceProbe.Client).ConfigureAdditionalHttpMessageHandlers((handlers, _) => handlers.Clear());
        builder.Services.AddSingleton(services => new PostgresProbe(options, connectionString));
        builder.Services.AddSingleton(services => new Checklist([.. PlatformChecks(services, options), .. targets.Select(target => TargetCheck(services, options, target))]));
        builder.Services.AddSingleton<CheckStore>();
        builder.Services.AddSingleton<HealthMetrics>();
        builder.Services.AddSingleton<IEnumerable<CheckLoop>>(services =>
            [.. services.GetRequiredService<Checklist>().Checks.Select(check => ActivatorUtilities.CreateInstance<CheckLoop>(services, check))]);
        builder.Services.AddSingleton(new SessionLock(connectionString, CheckWorker.LockNumber, "Platform.Health runner"));
        builder.Services.AddHostedService<CheckWorker>();
        builder.Services.AddHostedService<RetentionWorker>();
        return builder;
    }

    private static IEnumerable<Check> PlatformChecks(IServiceProvider services, HealthOptions options)
    {
        foreach (var service in options.Services)
        {
            var probe = ActivatorUtilities.CreateInstance<ServiceProbe>(services, service);
            // Without incidents and compliance data still comes in and people are still paged.
            yield return new Check(service, "service", probe, options.Pace, options.Thresholds) { IsCore = service is "gateway" or "metrics" or "alerting", IsPublic = true };
        }

        yield return new Check(Self, "service", new SelfProbe(services.GetRequiredService<HealthCheckService>()), options.Pace, options.Thresholds) { IsPublic = true };
        yield return new Check(Postgres, "postgres", services.GetRequiredService<PostgresProbe>(), options.Pace, options.Thresholds) { IsCore = true };
        yield return new Check(Redis, "redis", new RedisProbe(options, services), options.Pace, options.Thresholds) { WhenFailing = HealthState.Degraded };
        yield return new Check(RabbitMq, "rabbitmq", new RabbitMqProbe(options, services.GetRequiredService<Broker>()), options.Pace, options.Thresholds) { WhenFailing = HealthState.Degraded };
    }

    private static Check TargetCheck(IServiceProvider services, HealthOptions options, Target target) =>
        new(
            target.Name,
            target.Address.Scheme == "tcp" ? "tcp" : "http",
            target.IsHttp
                ? new HttpProbe(target, options.MaxBodyBytes, services.GetRequiredService<IHttpClientFactory>())
                : new TcpProbe(target, services.GetRequiredService<OutboundPolicy>()),
            target.Pace,
            target.Thresholds)
        { IsPublic = target.IsPublic };
}
