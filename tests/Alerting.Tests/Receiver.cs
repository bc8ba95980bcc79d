using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <param name="At">Of <see cref="Stopwatch.GetTimestamp"/>.</param>
public sealed record Received(string Id, string? Signature, string Timestamp, JsonElement Body, string Text, long At)
{
    public string Status => Body.GetProperty("status").GetString()!;

    public string Fingerprint => Body.GetProperty("alerts")[0].GetProperty("fingerprint").GetString()!;

    public string Label(string name) => Body.GetProperty("commonLabels").GetProperty(name).GetString()!;

    public DateTimeOffset StartsAt => Body.GetProperty("alerts")[0].GetProperty("startsAt").GetDateTimeOffset();
}

/// <summary>A real HTTP server that receives webhooks, remembers them all, and answers as it is told.</summary>
public sealed class Receiver : IAsyncDisposable
{
    private readonly WebApplication _app;

    private Receiver(WebApplication app) => _app = app;

    public ConcurrentQueue<Received> All { get; } = new();

    // By a text of the alert: a late webhook of another test does not take what is meant for this one's.
    private readonly ConcurrentDictionary<string, ConcurrentQueue<(int Status, string? RetryAfter)>> _answers = new();

    /// <summary>What the next request with this text is answered with; all others get 200.</summary>
    public void Answer(string text, int status, string? retryAfter = null) => _answers.GetOrAdd(text, _ => new()).Enqueue((status, retryAfter));

    /// <summary>Alerts are told apart by what this finds in them, so that tests of one class do not see each other's.</summary>
    public IReadOnlyList<Received> Of(string text) => [.. All.Where(received => received.Text.Contains(text, StringComparison.Ordinal))];

    public Uri Url { get; private set; } = null!;

    public static async Task<Receiver> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var app = builder.Build();
        var receiver = new Receiver(app);
        app.MapPost("/", receiver.ReceiveAsync);
        await app.StartAsync();
        receiver.Url = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());
        return receiver;
    }

    /// <summary>Waits until so many webhooks with this text have come, and answers with them.</summary>
    public Task<IReadOnlyList<Received>> WaitAsync(string text, int count) =>
        Eventually.GetAsync(() => Task.FromResult(Of(text) is var found && found.Count >= count ? found : null), because: $"{count} webhooks with {text}");

    private async Task<IResult> ReceiveAsync(HttpRequest request)
    {
        var at = Stopwatch.GetTimestamp();
        using var reader = new StreamReader(request.Body);
        var text = await reader.ReadToEndAsync();
        All.Enqueue(new Received(
            request.Headers["webhook-id"].ToString(), request.Headers["webhook-signature"], request.Headers["webhook-timestamp"].ToString(), JsonElement.Parse(text), text, at));
        var answer = default((int Status, string? RetryAfter));
        if (!_answers.Any(one => text.Contains(one.Key, StringComparison.Ordinal) && one.Value.TryDequeue(out answer)))
        {
            return Results.Text("thanks");
        }

        if (answer.RetryAfter is { } wait)
        {
            request.HttpContext.Response.Headers.RetryAfter = wait;
        }

        return Results.Text("not now", statusCode: answer.Status);
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
