using Microsoft.Extensions.Diagnostics.HealthChecks;
using Platform.Contracts;
using Platform.Health.Checks;
using Platform.ServiceDefaults;

namespace Platform.Health.Probes;

/// <summary>
/// Asks every replica of a service of the platform for its <c>/health</c>, without retries and circuit breakers, which would hide what is to be seen.
/// One of several replicas missing is degraded, all of them is unhealthy. That Redis or RabbitMQ is away is not held against the service: both have checks of their own, and one failure should be told once.
/// </summary>
public sealed class ServiceProbe(string service, ServiceEndpoints endpoints, IHttpClientFactory clients) : IProbe
{
    public const string Client = "health services";

    internal static readonly string[] Elsewhere = ["StackExchange.Redis", "RabbitMQ.Client"];

    private const int MaxBodyBytes = 65_536;

    public async Task<ProbeAnswer> AskAsync(CancellationToken ct)
    {
        var replicas = endpoints.Find(service);
        if (replicas.Count == 0)
        {
            return ProbeAnswer.Unhealthy($"Its address is not known: set services__{service}__http__0, or take it off HEALTH_CHECK_SERVICES.");
        }

        using var client = clients.CreateClient(Client);
        client.Timeout = Timeout.InfiniteTimeSpan;
        var answers = await Task.WhenAll(replicas.Select(replica => AskAsync(client, replica, ct)));
        var bad = answers.Where(answer => answer.State != HealthState.Healthy).ToArray();
        var down = answers.Count(answer => answer.State == HealthState.Unhealthy);
        var details = new Dictionary<string, double> { ["replicas"] = answers.Length, ["replicas_unhealthy"] = down };
        var state = bad.Length == 0 ? HealthState.Healthy : down == answers.Length ? HealthState.Unhealthy : HealthState.Degraded;
        return new ProbeAnswer(state, bad.Length == 0 ? "" : string.Join(' ', bad.Select(answer => answer.Reason).Distinct()), details);
    }

    private static async Task<ProbeAnswer> AskAsync(HttpClient client, Uri replica, CancellationToken ct)
    {
        try
        {
            using var response = await client.GetAsync(new Uri(replica, "/health"), HttpCompletionOption.ResponseHeadersRead, ct);
            var said = HealthDocument.Read((await response.Content.ReadAtMostAsync(MaxBodyBytes, ct)).Text, Elsewhere);
            return said is not null ? said
                : response.IsSuccessStatusCode ? ProbeAnswer.Healthy
                : ProbeAnswer.Unhealthy($"Its /health answered {(int)response.StatusCode}.");
        }
        catch (Exception error) when (error is HttpRequestException or IOException)
        {
            return ProbeAnswer.Unhealthy($"Its /health does not answer: {error.GetBaseException().Message}.{(await IsAliveAsync(client, replica, ct) ? " The process itself is alive." : "")}");
        }
    }

    // Tells a process that is gone from one that lives but cannot say how it is.
    private static async Task<bool> IsAliveAsync(HttpClient client, Uri replica, CancellationToken ct)
    {
        try
        {
            using var alive = await client.GetAsync(new Uri(replica, "/alive"), HttpCompletionOption.ResponseHeadersRead, ct);
            return alive.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }
}

/// <summary>This service itself: the same checks that its <c>/health</c> runs.</summary>
public sealed class SelfProbe(HealthCheckService checks) : IProbe
{
    public async Task<ProbeAnswer> AskAsync(CancellationToken ct)
    {
        var report = await checks.CheckHealthAsync(check => !ServiceProbe.Elsewhere.Contains(check.Name), ct);
        var bad = report.Entries.Where(entry => entry.Value.Status != HealthStatus.Healthy).Select(entry => $"{entry.Key}: {entry.Value.Description}").ToArray();
        return new ProbeAnswer(
            report.Status switch
            {
                HealthStatus.Healthy => HealthState.Healthy,
                HealthStatus.Degraded => HealthState.Degraded,
                HealthStatus.Unhealthy => HealthState.Unhealthy,
            },
            string.Join(", ", bad),
            ProbeAnswer.NoDetails);
    }
}
