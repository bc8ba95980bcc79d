using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Platform.Instrumentation.Tests;

/// <summary>An ordinary application with monitoring, listening on a real port.</summary>
public sealed class MonitoredApp : IAsyncDisposable
{
    private readonly WebApplication _app;

    private MonitoredApp(WebApplication app)
    {
        _app = app;
        Http = new HttpClient { BaseAddress = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single()) };
    }

    public HttpClient Http { get; }

    public EventLog Events => _app.Services.GetRequiredService<EventLog>();

    public SecurityLog Security => _app.Services.GetRequiredService<SecurityLog>();

    public AuditLog Audit => _app.Services.GetRequiredService<AuditLog>();

    public EventBuffer Buffer => _app.Services.GetRequiredService<EventBuffer>();

    public static async Task<MonitoredApp> StartAsync(Uri gateway, Action<PlatformMonitoringOptions>? configure = null, Action<WebApplication>? map = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.AddPlatformMonitoring(options =>
        {
            options.GatewayUrl = gateway;
            options.ApiKey = "key-of-the-test";
            options.Source = "shop";
            options.FlushInterval = TimeSpan.FromMilliseconds(20);
            // On a busy machine an ordinary request may be slow, and these tests count events.
            options.SlowRequest = TimeSpan.FromHours(1);
            configure?.Invoke(options);
        });
        var app = builder.Build();
        map?.Invoke(app);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return new(app);
    }

    public Task StopAsync() => _app.StopAsync(TestContext.Current.CancellationToken);

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await _app.DisposeAsync();
    }
}

internal static class EventJson
{
    public static string? Tag(this JsonElement happened, string name) =>
        happened.GetProperty("tags").TryGetProperty(name, out var value) ? value.ToString() : null;

    public static string Text(this JsonElement happened, string name) => happened.GetProperty(name).ToString();
}
