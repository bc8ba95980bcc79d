using System.Buffers;
using System.Net;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;

namespace Platform.ServiceDefaults;

public static class OutboundHttp
{
    /// <summary>Registers <see cref="OutboundPolicy"/>, for TCP checks and the like.</summary>
    public static IHostApplicationBuilder AddOutbound(this IHostApplicationBuilder builder)
    {
        var options = builder.AddSettings<OutboundOptions>();
        builder.Services.TryAddSingleton(new OutboundPolicy(options));
        return builder;
    }

    /// <summary>
    /// A named <see cref="HttpClient"/> for targets outside of the platform: allowed networks only, no redirects, no proxy, no cookies, no trace or correlation headers, no retries (the caller decides),
    /// and nothing of it in the log, because such addresses carry secrets.
    /// </summary>
    public static IHttpClientBuilder AddOutboundHttpClient(this IHostApplicationBuilder builder, string name)
    {
        builder.AddOutbound();
        return builder.Services.AddHttpClient(name)
            .RemoveAllLoggers()
            .ConfigureAdditionalHttpMessageHandlers((handlers, _) => handlers.Clear())
            .UseSocketsHttpHandler((handler, services) =>
            {
                var policy = services.GetRequiredService<OutboundPolicy>();
                handler.AllowAutoRedirect = false;
                handler.UseProxy = false;
                handler.UseCookies = false;
                handler.AutomaticDecompression = DecompressionMethods.None;
                handler.ActivityHeadersPropagator = null;
                handler.MaxConnectionsPerServer = 32;
                handler.MaxResponseHeadersLength = 32;
                // A name is resolved again, and tested again, at least this often.
                handler.PooledConnectionLifetime = TimeSpan.FromMinutes(2);
                handler.ConnectCallback = async (context, ct) => await policy.ConnectAsync(context.DnsEndPoint.Host, context.DnsEndPoint.Port, ct);
            });
    }

    /// <summary>Reads at most <paramref name="maxBytes"/> of a body whose sender is not trusted, and says whether more was there.</summary>
    public static async Task<(string Text, bool Truncated)> ReadAtMostAsync(this HttpContent content, int maxBytes, CancellationToken ct)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(maxBytes + 1);
        try
        {
            await using var body = await content.ReadAsStreamAsync(ct);
            var read = await body.ReadAtLeastAsync(buffer.AsMemory(0, maxBytes + 1), maxBytes + 1, throwOnEndOfStream: false, ct);
            return (Encoding.UTF8.GetString(buffer, 0, Math.Min(read, maxBytes)), read > maxBytes);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
