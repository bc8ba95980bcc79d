using Platform.Gateway.Proxy;
using Platform.ServiceDefaults;
using Yarp.ReverseProxy.Configuration;
using Yarp.ReverseProxy.Transforms;

namespace Platform.Gateway;

/// <summary>
/// What is forwarded to whom: the one table. Paths but one pass unchanged, with or without a slash at the end. Nothing else of a service can be
/// reached from outside; in particular nothing below <c>/internal</c>.
/// </summary>
public static class Routes
{
    public static readonly string[] Services = ["metrics", "health", "alerting", "incidents", "compliance"];

    private static readonly (string Service, string Path)[] Table =
    [
        ("metrics", "/api/v1/monitoring/events/{**rest}"),
        ("metrics", "/api/v1/monitoring/stats/{**rest}"),
        ("metrics", "/prometheus/{**rest}"),
        ("alerting", "/prometheus/api/v1/rules"),
        ("alerting", "/prometheus/api/v1/alerts"),
        ("metrics", "/api/v1/monitoring/metrics/{**rest}"),
        ("metrics", "/monitoring/metrics"),

        ("health", "/api/health"),
        ("health", "/api/v1/monitoring/health/{**rest}"),
        ("health", "/monitoring/health/detailed"),

        ("alerting", "/api/v1/monitoring/alerts/{**rest}"),
        ("alerting", "/api/v1/monitoring/rules/{**rest}"),
        ("alerting", "/api/v1/monitoring/rule-groups/{**rest}"),
        ("alerting", "/api/v1/monitoring/notifications/{**rest}"),
        ("alerting", "/api/v1/monitoring/channels/{**rest}"),
        ("alerting", "/api/v1/monitoring/routing/{**rest}"),
        ("alerting", "/api/v1/monitoring/silences/{**rest}"),
        ("alerting", "/api/v1/monitoring/on-call/{**rest}"),
        ("alerting", "/api/v1/monitoring/integration-keys/{**rest}"),
        ("alerting", "/alertmanager/{**rest}"),
        ("alerting", "/integrations/alertmanager"),
        ("alerting", "/api/v1/monitoring/schedules/{**rest}"),
        ("alerting", "/api/v1/monitoring/escalation-policies/{**rest}"),
        ("alerting", "/monitoring/alerts/{**rest}"),

        ("incidents", "/api/v1/monitoring/incidents/{**rest}"),

        ("compliance", "/api/v1/monitoring/compliance/{**rest}"),
        ("compliance", "/api/v1/monitoring/audit/{**rest}"),
        ("compliance", "/monitoring/compliance/report"),

        // The gateway's own are an endpoint here.
        .. Services.Select(service => (service, $"/api/v1/monitoring/dead-letters/{service}/{{**rest}}")),
    ];

    /// <summary>Where samples come in: bodies may be larger here, and pass through without being gathered.</summary>
    private static readonly string[] Intakes = ["/prometheus/api/v1/write", "/otlp/{**rest}"];

    /// <summary>For load balancers and for the public, and where the credential is in the body: these and nothing else.</summary>
    private static readonly (string Service, string Path)[] Anonymous =
    [
        ("health", "/monitoring/health"),
        ("health", "/monitoring/status"),
        // PagerDuty's routing key is the credential, and Alerting judges it.
        ("alerting", "/integrations/pagerduty/v2/enqueue"),
    ];

    public static IHostApplicationBuilder AddRoutes(this IHostApplicationBuilder builder)
    {
        var options = builder.AddSettings<ProxyOptions>();
        var endpoints = new ServiceEndpoints(builder.Configuration);
        builder.Services.AddReverseProxy()
            .LoadFromMemory(
                [.. Table.Select(route => Route(route.Service, route.Path, "default")),
                 .. Intakes.Select(path => Route("metrics", path, "default") with { MaxRequestBodySize = options.MaxIntakeBytes }),
                 // A service's own /metrics is something else, so this path of the seeds is rewritten on the way.
                 Route("metrics", "/metrics", "default").WithTransformPathSet("/api/v1/monitoring/metrics/prometheus"),
                 .. Anonymous.Select(route => Route(route.Service, route.Path, "anonymous"))],
                [.. Services.Select(service => Cluster(service, endpoints.Find(service), options))])
            .ConfigureHttpClient((_, handler) => handler.ConnectTimeout = options.ConnectTimeout)
            .AddTransforms(Exchange.Apply);
        return builder;
    }

    public static IEndpointRouteBuilder MapRoutes(this IEndpointRouteBuilder app)
    {
        app.MapReverseProxy(proxy =>
        {
            proxy.UseMiddleware<ProxyAnswers>();
            proxy.UseLoadBalancing();
            proxy.UsePassiveHealthChecks();
        });
        return app;
    }

    // "default" asks for a valid credential; whether its role, scopes and realm suffice is decided where the data is.
    private static RouteConfig Route(string service, string path, string policy) =>
        new() { RouteId = path, ClusterId = service, Match = new RouteMatch { Path = path }, AuthorizationPolicy = policy };

    private static ClusterConfig Cluster(string service, IReadOnlyList<Uri> addresses, ProxyOptions options) => new()
    {
        ClusterId = service,
        LoadBalancingPolicy = "RoundRobin",
        Destinations = addresses.Select((address, index) => (address, index)).ToDictionary(
            replica => $"{service}-{replica.index}", replica => new DestinationConfig { Address = replica.address.ToString() }),
        HttpClient = new() { MaxConnectionsPerServer = options.MaxConnections },
        HttpRequest = new() { ActivityTimeout = options.Timeout },
        // A single replica is always tried: there is nobody else to ask, and trying is how its return is noticed at once.
        HealthCheck = addresses.Count < 2 ? null : new()
        {
            AvailableDestinationsPolicy = "HealthyOrPanic",
            Passive = new() { Enabled = true, Policy = "TransportFailureRate", ReactivationPeriod = TimeSpan.FromSeconds(5) },
            Active = new() { Enabled = true, Interval = TimeSpan.FromSeconds(5), Timeout = TimeSpan.FromSeconds(3), Policy = "ConsecutiveFailures", Path = "/health" },
        },
    };
}
