using System.Net.Http.Json;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Health.Tests;

/// <summary>An HTTP endpoint to be checked, that answers as the test says.</summary>
internal sealed class TargetServer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private volatile Func<HttpContext, Task> _answer;

    private TargetServer(WebApplication app, Func<HttpContext, Task> answer) => (_app, _answer) = (app, answer);

    public Uri Url => new(_app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());

    public static async Task<TargetServer> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        var server = new TargetServer(builder.Build(), _ => Task.CompletedTask);
        server._app.Run(context => server._answer(context));
        await server._app.StartAsync();
        return server;
    }

    public void Answer(int status, string body = "", string type = "text/plain") => _answer = async context =>
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = type;
        await context.Response.WriteAsync(body);
    };

    /// <summary>Takes requests and never answers them.</summary>
    public void Hang() => _answer = context => Task.Delay(Timeout.Infinite, context.RequestAborted);

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();
}

/// <summary>What the tests ask the running service.</summary>
internal static class HealthCalls
{
    /// <summary>Runs often enough that the thresholds pass within seconds, and checks no other services unless told.</summary>
    public static async Task<ServiceProcess> StartHealthAsync(this TestWorld world, params (string Name, string Value)[] settings) =>
        await world.StartAsync("Health", "healthdb",
        [
            ("HEALTH_CHECK_INTERVAL_SECONDS", "1"),
            ("HEALTH_BOARD_REFRESH_SECONDS", "0.2"),
            ("HEALTH_TAKEOVER_SECONDS", "0.3"),
            ("HEALTH_CHECK_SERVICES", ","),
            ("OUTBOUND_ALLOWED_NETWORKS", "127.0.0.0/8"),
            .. settings,
        ]);

    public static async Task<JsonElement> GetJsonAsync(this HttpClient client, string path)
    {
        using var response = await client.GetAsync(new Uri(path, UriKind.Relative));
        return await response.Content.ReadFromJsonAsync<JsonElement>();
    }

    public static async Task<string?> StateAsync(this HttpClient client, string component) =>
        (await client.GetJsonAsync("monitoring/health/detailed/")).GetProperty("components").GetProperty(component).GetProperty("status").GetString();

    public static Task BecomesAsync(this HttpClient client, string component, string state) =>
        Eventually.TrueAsync(async () => await client.StateAsync(component) == state, because: $"{component} is {state}");

    public static async Task<HttpClient> ModeratorAsync(this TestWorld world, ServiceProcess service) => await world.ClientAsync(service, Role.Moderator, Realm.All);
}
