using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Platform.Gateway.Tests;

/// <summary>What arrived at a service behind the gateway.</summary>
public sealed record Arrival(string Method, string Path, string Query, IReadOnlyDictionary<string, string> Headers, long BodyBytes);

/// <summary>Stands where services stand, for tests whose point is the gateway: a real server that notes what arrives and answers what the test says.</summary>
public sealed class Backend : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly ConcurrentQueue<Arrival> _arrivals = new();

    private Backend(WebApplication app) => _app = app;

    public string Url => _app.Services.GetRequiredService<Microsoft.AspNetCore.Hosting.Server.IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();

    public IReadOnlyCollection<Arrival> Arrivals => _arrivals;

    /// <summary>How a request is answered; 200 and an envelope unless a test wants something else.</summary>
    public Func<HttpContext, Task> Answer { get; set; } = context => context.Response.WriteAsJsonAsync(new { success = true, data = context.Request.Path.Value });

    public static async Task<Backend> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0").ConfigureKestrel(kestrel => kestrel.Limits.MaxRequestBodySize = null);
        var app = builder.Build();
        var backend = new Backend(app);
        app.Run(backend.HandleAsync);
        await app.StartAsync();
        return backend;
    }

    public Arrival Last(string path) => _arrivals.Last(arrival => arrival.Path == path);

    private async Task HandleAsync(HttpContext context)
    {
        long bytes = 0;
        var buffer = new byte[64 * 1024];
        for (var read = await context.Request.Body.ReadAsync(buffer); read > 0; read = await context.Request.Body.ReadAsync(buffer))
        {
            bytes += read;
        }

        _arrivals.Enqueue(new Arrival(
            context.Request.Method, context.Request.Path.Value!, context.Request.QueryString.Value!,
            context.Request.Headers.ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase), bytes));
        await Answer(context);
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    /// <summary>The body of an answer, as JSON.</summary>
    public static async Task<JsonElement> JsonAsync(HttpResponseMessage answer) => JsonElement.Parse(await answer.Content.ReadAsStringAsync());
}
