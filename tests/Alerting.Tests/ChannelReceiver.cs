using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <param name="Path">With its slash.</param>
public sealed record Request(string Path, IReadOnlyDictionary<string, string> Headers, JsonElement Body, string Text);

/// <summary>A real HTTP server that stands for Slack, Teams, PagerDuty, ntfy and receivers that misbehave: each path answers as it was told, 200 unless it was.</summary>
public sealed class ChannelReceiver : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly ConcurrentQueue<Request> _all = new();
    private readonly ConcurrentDictionary<string, Func<HttpContext, Task>> _behaviours = new();

    private ChannelReceiver(WebApplication app) => _app = app;

    public string Url => _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();

    public static async Task<ChannelReceiver> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Configuration["urls"] = "http://127.0.0.1:0";
        var receiver = new ChannelReceiver(builder.Build());
        receiver._app.MapPost("/{**path}", receiver.ReceiveAsync);
        await receiver._app.StartAsync();
        return receiver;
    }

    /// <summary>From now on, requests to this path are answered so.</summary>
    public void On(string path, Func<HttpContext, Task> behaviour) => _behaviours[path] = behaviour;

    public void On(string path, int status) => On(path, context =>
    {
        context.Response.StatusCode = status;
        return context.Response.WriteAsync("no");
    });

    public IReadOnlyList<Request> At(string path) => [.. _all.Where(request => request.Path == path)];

    public Task<IReadOnlyList<Request>> WaitAsync(string path, int count, TimeSpan? timeout = null) =>
        Eventually.GetAsync(() => Task.FromResult(At(path) is var found && found.Count >= count ? found : null), timeout, $"{count} requests to {path}");

    private async Task ReceiveAsync(HttpContext context)
    {
        using var reader = new StreamReader(context.Request.Body);
        var text = await reader.ReadToEndAsync();
        var path = context.Request.Path.Value!;
        _all.Enqueue(new Request(path, context.Request.Headers.ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase), JsonElement.Parse(text), text));
        if (_behaviours.TryGetValue(path, out var behaviour))
        {
            await behaviour(context);
        }
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
