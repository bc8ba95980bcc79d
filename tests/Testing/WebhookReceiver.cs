using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Platform.Testing;

/// <summary>A page that arrived.</summary>
/// <param name="Id">The <c>webhook-id</c> header: the same for every attempt at one notification.</param>
public sealed record ReceivedPage(DateTimeOffset At, string Id, JsonElement Body)
{
    public string Status => Body.GetProperty("status").GetString()!;

    /// <summary>A label of the first alert, or null.</summary>
    public string? Label(string name) =>
        Body.GetProperty("alerts")[0].GetProperty("labels").TryGetProperty(name, out var value) ? value.GetString() : null;
}

/// <summary>Somebody's webhook endpoint: another system, so a real server on a port of its own.</summary>
public sealed class WebhookReceiver : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly ConcurrentQueue<ReceivedPage> _pages = new();
    private readonly ConcurrentDictionary<string, TaskCompletionSource<ReceivedPage>> _expected = new();

    private WebhookReceiver(WebApplication app) => _app = app;

    public IReadOnlyCollection<ReceivedPage> Pages => _pages;

    public string Url => _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();

    public static async Task<WebhookReceiver> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Configuration["urls"] = "http://127.0.0.1:0";
        var receiver = new WebhookReceiver(builder.Build());
        receiver._app.MapPost("/{**path}", receiver.ReceiveAsync);
        await receiver._app.StartAsync();
        return receiver;
    }

    /// <summary>Completes when a page comes that tells of an alert with that status whose label <paramref name="name"/> is <paramref name="value"/>. Ask before sending what causes it.</summary>
    public Task<ReceivedPage> NextAsync(string name, string value, string status = "firing") =>
        _expected.GetOrAdd($"{status} {name}={value}", _ => new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

    private async Task ReceiveAsync(HttpContext context)
    {
        var at = DateTimeOffset.UtcNow;
        var page = new ReceivedPage(at, context.Request.Headers["webhook-id"].ToString(), await JsonSerializer.DeserializeAsync<JsonElement>(context.Request.Body, cancellationToken: context.RequestAborted));
        _pages.Enqueue(page);
        if (_expected.IsEmpty)
        {
            return;
        }

        foreach (var alert in page.Body.GetProperty("alerts").EnumerateArray())
        {
            foreach (var label in alert.GetProperty("labels").EnumerateObject())
            {
                if (_expected.TryGetValue($"{alert.GetProperty("status").GetString()} {label.Name}={label.Value.GetString()}", out var expected))
                {
                    expected.TrySetResult(page);
                }
            }
        }
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();
}
