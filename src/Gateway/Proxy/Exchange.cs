using System.ComponentModel.DataAnnotations;
using Platform.Gateway.Keys;
using Platform.ServiceDefaults;
using Yarp.ReverseProxy.Transforms;
using Yarp.ReverseProxy.Transforms.Builder;

namespace Platform.Gateway.Proxy;

/// <summary>How patient the gateway is with services.</summary>
public sealed class ProxyOptions
{
    /// <summary>A forwarded request in which nothing moves for this long is given up (504).</summary>
    [Setting("GATEWAY_PROXY_TIMEOUT_SECONDS"), Range(1, 3600)]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>A service that takes longer to accept a connection is down (503).</summary>
    [Setting("GATEWAY_CONNECT_TIMEOUT_SECONDS"), Range(0.1, 60)]
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Connections to one replica of a service; further requests wait for a free one.</summary>
    [Setting("GATEWAY_MAX_CONNECTIONS_PER_SERVICE"), Range(1, 65_535)]
    public int MaxConnections { get; init; } = 256;

    /// <summary>Largest body of remote write and OTLP, bytes; for all else the limit of the process holds.</summary>
    [Setting("METRICS_INTAKE_MAX_REQUEST_BYTES"), Range(64 * 1024, 1024 * 1024 * 1024)]
    public int MaxIntakeBytes { get; init; } = 32 * 1024 * 1024;
}

/// <summary>The credential stays here: a service gets a short-lived internal ticket for what the key may do, or nothing.</summary>
public static class Exchange
{
    public static void Apply(TransformBuilderContext builder)
    {
        // Who the client is was settled at the door (ClientAddress) and is copied with the other headers.
        builder.UseDefaultForwarders = false;
        builder.AddRequestTransform(transform =>
        {
            var headers = transform.ProxyRequest.Headers;
            headers.Authorization = transform.HttpContext.Features.Get<KnownKey>() is { } known ? new("Bearer", known.Ticket) : null;
            headers.Remove("Cookie");
            headers.Remove(Correlation.Header);
            headers.TryAddWithoutValidation(Correlation.Header, Correlation.Current);
            return ValueTask.CompletedTask;
        });
    }
}
