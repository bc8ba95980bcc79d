using System.Collections.Concurrent;
using Microsoft.Extensions.Configuration;

namespace Platform.ServiceDefaults;

/// <summary>Where the services of the platform are: <c>services__metrics__http__0</c> and so on, as the host of the graph gives them.</summary>
public sealed class ServiceEndpoints(IConfiguration configuration)
{
    private readonly ConcurrentDictionary<string, Replicas> _known = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>All addresses of a service, in the order of the settings; none when the name is not known.</summary>
    public IReadOnlyList<Uri> Find(string service) => Of(service)?.Addresses ?? [];

    internal Replicas? Of(string service)
    {
        if (_known.TryGetValue(service, out var known))
        {
            return known;
        }

        // Unknown names are not remembered: they come from requests and would pile up.
        var addresses = Read(service);
        return addresses.Length == 0 ? null : _known.GetOrAdd(service, new Replicas(addresses));
    }

    private Uri[] Read(string service)
    {
        var section = configuration.GetSection("services").GetSection(service);
        return [.. section.GetSection("https").GetChildren().Concat(section.GetSection("http").GetChildren())
            .Select(child => Uri.TryCreate(child.Value, UriKind.Absolute, out var address) ? address : null)
            .OfType<Uri>()];
    }

    internal sealed class Replicas(Uri[] addresses)
    {
        private uint _next = uint.MaxValue;

        public Uri[] Addresses => addresses;

        public int Next() => (int)(Interlocked.Increment(ref _next) % (uint)addresses.Length);
    }
}

/// <summary>
/// Turns <c>http://metrics/…</c> into the address of a replica, in turn. When a replica cannot be connected to, nothing has been sent, so the next one is tried.
/// Names that are no services pass untouched.
/// </summary>
internal sealed class DiscoveryHandler(ServiceEndpoints endpoints) : DelegatingHandler
{
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        if (request.RequestUri is not { } logical || endpoints.Of(logical.Host) is not { } replicas)
        {
            return await base.SendAsync(request, cancellationToken);
        }

        var first = replicas.Next();
        try
        {
            for (var attempt = 1; ; attempt++)
            {
                var address = replicas.Addresses[(first + attempt - 1) % replicas.Addresses.Length];
                request.RequestUri = new UriBuilder(logical) { Scheme = address.Scheme, Host = address.Host, Port = address.Port }.Uri;
                try
                {
                    return await base.SendAsync(request, cancellationToken);
                }
                catch (Exception error) when (attempt < replicas.Addresses.Length && NeverSent(error))
                {
                }
            }
        }
        finally
        {
            request.RequestUri = logical;
        }
    }

    private static bool NeverSent(Exception error) =>
        error is HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError } or Polly.CircuitBreaker.BrokenCircuitException;
}
