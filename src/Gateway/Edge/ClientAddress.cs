using System.ComponentModel.DataAnnotations;
using System.Net;
using Microsoft.AspNetCore.HttpOverrides;
using Platform.ServiceDefaults;
using IPNetwork = System.Net.IPNetwork;

namespace Platform.Gateway.Edge;

public sealed class ClientAddressOptions : IValidatableObject
{
    /// <summary>Networks of load balancers in front of the gateway (CIDR). Only what they say about the client is believed; nobody by default.</summary>
    [Setting("PLATFORM_TRUSTED_PROXIES")]
    public string[] TrustedProxies { get; init; } = [];

    internal IPNetwork[] Networks => [.. TrustedProxies.Select(Parse).OfType<IPNetwork>()];

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext) =>
        TrustedProxies.Where(network => Parse(network) is null)
            .Select(network => new ValidationResult($"PLATFORM_TRUSTED_PROXIES has \"{network}\", which is no network. Write it like 10.0.0.0/8 or 192.0.2.7."));

    private static IPNetwork? Parse(string text) =>
        IPNetwork.TryParse(text, out var network) ? network
        : IPAddress.TryParse(text, out var address) ? new IPNetwork(address, address.GetAddressBytes().Length * 8)
        : null;
}

/// <summary>
/// Says who the client is, once, before anything else: the connection's address, or what a trusted proxy says it was. What the client
/// claims itself is removed, so that <c>X-Forwarded-For</c> is true everywhere behind this line: in the gateway's own endpoints, in the
/// services, in audit records.
/// </summary>
public static class ClientAddress
{
    private static readonly string[] Claims = ["Forwarded", "X-Real-IP", "X-Client-IP", "X-Original-For", "X-Original-Proto", "X-Original-Host", "X-Original-Prefix", "X-Original-URL", "X-Rewrite-URL"];

    public static IHostApplicationBuilder AddClientAddress(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<ClientAddressOptions>();
        return builder;
    }

    public static IApplicationBuilder UseClientAddress(this IApplicationBuilder app)
    {
        if (app.ApplicationServices.GetRequiredService<ClientAddressOptions>().Networks is { Length: > 0 } trusted)
        {
            // From right to left, for as long as the one who speaks is trusted.
            var forwarded = new ForwardedHeadersOptions { ForwardedHeaders = ForwardedHeaders.XForwardedFor | ForwardedHeaders.XForwardedProto, ForwardLimit = null };
            forwarded.KnownProxies.Clear();
            forwarded.KnownIPNetworks.Clear();
            foreach (var network in trusted)
            {
                forwarded.KnownIPNetworks.Add(network);
            }

            app.UseForwardedHeaders(forwarded);
        }

        return app.Use((context, next) =>
        {
            var headers = context.Request.Headers;
            foreach (var claim in headers.Keys.Where(name => name.StartsWith("X-Forwarded-", StringComparison.OrdinalIgnoreCase)).ToArray())
            {
                headers.Remove(claim);
            }

            foreach (var claim in Claims)
            {
                headers.Remove(claim);
            }

            if (Of(context) is { } address)
            {
                headers["X-Forwarded-For"] = address.ToString();
            }

            return next(context);
        });
    }

    /// <summary>The client's address, IPv4 as such also on a dual-stack socket.</summary>
    public static IPAddress? Of(HttpContext context) =>
        context.Connection.RemoteIpAddress is { IsIPv4MappedToIPv6: true } mapped ? mapped.MapToIPv4() : context.Connection.RemoteIpAddress;
}
