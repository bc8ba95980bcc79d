// The system on one page: ordinary Aspire code. Without Aspire (the default) the same lines run on native processes, see docs/native-host.md.
var builder = DistributedApplication.CreateBuilder(args);
var withDemo = !args.Contains("--no-demo");

// Encrypts the key ring of the internal tickets; lets an application that is deployed with the platform send events.
var masterKey = builder.AddParameter("masterkey", secret: true);
var ingestKey = builder.AddParameter("ingestkey", secret: true);

var postgres = builder.AddPostgres("postgres").WithDataVolume();
var identity = postgres.AddDatabase("identity");
var cache = builder.AddRedis("cache");
var messaging = builder.AddRabbitMQ("messaging").WithDataVolume();

var metrics = OnServers(builder.AddProject<Projects.Metrics>("metrics"), database: "metricsdb");
var health = OnServers(builder.AddProject<Projects.Health>("health"), database: "healthdb");
var alerting = OnServers(builder.AddProject<Projects.Alerting>("alerting"), database: "alertingdb");
var incidents = OnServers(builder.AddProject<Projects.Incidents>("incidents"), database: "incidentsdb");
var compliance = OnServers(builder.AddProject<Projects.Compliance>("compliance"), database: "compliancedb");
var gateway = OnServers(builder.AddProject<Projects.Gateway>("gateway"))
    .WithEnvironment("PLATFORM_INGEST_KEY", ingestKey)
    .WithExternalHttpEndpoints();

// Metrics asks alerting and incidents for figures, and scrapes every process it has an address of.
metrics.WithReference(metrics).WithReference(health).WithReference(alerting).WithReference(incidents).WithReference(compliance).WithReference(gateway);
health.WithReference(metrics).WithReference(alerting).WithReference(incidents).WithReference(compliance).WithReference(gateway);
alerting.WithReference(metrics);
incidents.WithReference(metrics).WithReference(alerting);
compliance.WithReference(metrics).WithReference(incidents);

foreach (var service in new[] { metrics, health, alerting, incidents, compliance })
{
    gateway.WithReference(service).WaitFor(service);
}

if (withDemo)
{
    var demo = builder.AddProject<Projects.DemoBackend>("demo")
        .WithReference(gateway)
        .WithEnvironment("PLATFORM_API_KEY", ingestKey)
        .WithHttpHealthCheck("/health")
        .WaitFor(gateway);
    metrics.WithReference(demo);

    // The demo shows what an alert looks like to a receiver, unless there is a real one; it lives on loopback, where nothing else is called.
    if (string.IsNullOrEmpty(builder.Configuration["ALERT_WEBHOOK_URL"]))
    {
        alerting.WithEnvironment("ALERT_WEBHOOK_URL", demo.GetEndpoint("http"));
    }

    if (string.IsNullOrEmpty(builder.Configuration["OUTBOUND_ALLOWED_NETWORKS"]))
    {
        alerting.WithEnvironment("OUTBOUND_ALLOWED_NETWORKS", "public,127.0.0.0/8,::1/128");
    }
}

builder.Build().Run();

IResourceBuilder<ProjectResource> OnServers(IResourceBuilder<ProjectResource> service, string? database = null)
{
    if (database is not null)
    {
        service.WithReference(postgres.AddDatabase(database));
    }

    return service
        .WithReference(identity).WithReference(messaging).WithReference(cache)
        .WithEnvironment("PLATFORM_MASTER_KEY", masterKey)
        .WaitFor(postgres).WaitFor(messaging).WaitFor(cache)
        .WithHttpHealthCheck("/health");
}
