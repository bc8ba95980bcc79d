using Platform.Health.Checks;
using Platform.ServiceDefaults;

namespace Platform.Health.Probes;

/// <summary>GET, without following redirects, through the guard on outbound connections. The status code decides; a health document in the answer may make it worse.</summary>
public sealed class HttpProbe(Target target, int maxBodyBytes, IHttpClientFactory clients) : IProbe
{
    public const string Client = "health targets";

    public async Task<ProbeAnswer> AskAsync(CancellationToken ct)
    {
        using var client = clients.CreateClient(Client);
        client.Timeout = Timeout.InfiniteTimeSpan;
        using var request = new HttpRequestMessage(HttpMethod.Get, target.Address);
        request.Headers.Accept.ParseAdd("application/health+json, application/json;q=0.9, */*;q=0.5");
        request.Headers.UserAgent.ParseAdd("Platform-Health");
        using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ct);
        var status = (int)response.StatusCode;
        var isText = response.Content.Headers.ContentType?.MediaType is { } type
            && (type.StartsWith("text/plain", StringComparison.OrdinalIgnoreCase) || type.EndsWith("json", StringComparison.OrdinalIgnoreCase));
        var said = isText && maxBodyBytes > 0 ? HealthDocument.Read((await response.Content.ReadAtMostAsync(maxBodyBytes, ct)).Text) : null;
        return target.Statuses.Any(range => range.Contains(status))
            ? said ?? ProbeAnswer.Healthy
            : ProbeAnswer.Unhealthy($"It answered {status}; expected {string.Join(',', target.Statuses)}.{(said is { Reason.Length: > 0 } ? $" {said.Reason}" : "")}");
    }
}

/// <summary>Connects and hangs up.</summary>
public sealed class TcpProbe(Target target, OutboundPolicy outbound) : IProbe
{
    public async Task<ProbeAnswer> AskAsync(CancellationToken ct)
    {
        await using var connection = await outbound.ConnectAsync(target.Address.DnsSafeHost, target.Address.Port, ct);
        return ProbeAnswer.Healthy;
    }
}
