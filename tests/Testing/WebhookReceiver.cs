using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Platform.Testing;

/// <summary>A page that arrived.</summary>
/// <param name="Path">With its slash.</param>
/// <param name="Text">The body as it came.</param>
public sealed record ReceivedPage(DateTimeOffset At, string Path, IReadOnlyDictionary<string, string> Headers, JsonElement Body, string Text)
{
    /// <summary>The <c>webhook-id</c> header: the same for every attempt at one notification.</summary>
    public string Id => Headers.GetValueOrDefault("webhook-id", "");

    public string Status => Body.GetProperty("status").GetString()!;

    public string Fingerprint => Body.GetProperty("alerts")[0].GetProperty("fingerprint").GetString()!;

    public DateTimeOffset StartsAt => Body.GetProperty("alerts")[0].GetProperty("startsAt").GetDateTimeOffset();

    /// <summary>The receiver has said 2xx to it, whether or not its sender heard that.</summary>
    public bool Accepted { get; internal set; }

    /// <summary>A label of the first alert, or null.</summary>
    public string? Label(string name) =>
        Body.GetProperty("alerts")[0].GetProperty("labels").TryGetProperty(name, out var value) ? value.GetString() : null;
}

/// <summary>Somebody's webhook endpoint, or Slack, PagerDuty and others: remembers all that comes and answers as it is told, 200 unless it was.</summary>
public sealed class WebhookReceiver : IAsyncDisposable
{
    private readonly ConcurrentQueue<ReceivedPage> _pages = new();
    private readonly ConcurrentDictionary<string, Func<HttpContext, Task>> _behaviours = new();
    // By a text of the page: a late webhook of another test does not take what is meant for this one's.
    private readonly ConcurrentDictionary<string, ConcurrentQueue<(int Status, string? RetryAfter)>> _answers = new();
    private readonly ConcurrentDictionary<string, TaskCompletionSource<ReceivedPage>> _expected = new();
    private LoopbackServer _server = null!;

    /// <summary>In the order in which they came.</summary>
    public IReadOnlyCollection<ReceivedPage> Pages => _pages;

    /// <summary>Without a slash at the end.</summary>
    public string Url => _server.Url.ToString().TrimEnd('/');

    public static async Task<WebhookReceiver> StartAsync()
    {
        var receiver = new WebhookReceiver();
        receiver._server = await LoopbackServer.StartAsync(receiver.ReceiveAsync);
        return receiver;
    }

    /// <summary>From now on, requests to this path are answered so.</summary>
    public void On(string path, Func<HttpContext, Task> behaviour) => _behaviours[path] = behaviour;

    public void On(string path, int status) => On(path, context => SayAsync(context, status, "no"));

    /// <summary>What the next request with this text is answered with.</summary>
    public void Answer(string text, int status, string? retryAfter = null) => _answers.GetOrAdd(text, _ => new()).Enqueue((status, retryAfter));

    /// <summary>Nobody listens any more, until <see cref="OpenAsync"/>.</summary>
    public Task CloseAsync() => _server.CloseAsync();

    public Task OpenAsync() => _server.OpenAsync();

    public IReadOnlyList<ReceivedPage> At(string path) => [.. _pages.Where(page => page.Path == path)];

    /// <summary>Those with this text, by which tests that share a receiver tell theirs apart.</summary>
    public IReadOnlyList<ReceivedPage> Of(string text) => [.. _pages.Where(page => page.Text.Contains(text, StringComparison.Ordinal))];

    /// <summary>Waits until so many pages with this text have come, and answers with them.</summary>
    public Task<IReadOnlyList<ReceivedPage>> WaitAsync(string text, int count) =>
        Eventually.GetAsync(() => Task.FromResult(Of(text) is var found && found.Count >= count ? found : null), because: $"{count} pages with {text}");

    /// <summary>Waits until so many pages have come to this path, and answers with them.</summary>
    public Task<IReadOnlyList<ReceivedPage>> WaitAtAsync(string path, int count, TimeSpan? timeout = null) =>
        Eventually.GetAsync(() => Task.FromResult(At(path) is var found && found.Count >= count ? found : null), timeout, $"{count} pages at {path}");

    /// <summary>Completes when a page comes that tells of an alert with that status whose label <paramref name="name"/> is <paramref name="value"/>. Ask before sending what causes it.</summary>
    public Task<ReceivedPage> NextAsync(string name, string value, string status = "firing") =>
        _expected.GetOrAdd($"{status} {name}={value}", _ => new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

    private async Task ReceiveAsync(HttpContext context)
    {
        var at = DateTimeOffset.UtcNow;
        using var reader = new StreamReader(context.Request.Body);
        var text = await reader.ReadToEndAsync(context.RequestAborted);
        var headers = context.Request.Headers.ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase);
        var page = new ReceivedPage(at, context.Request.Path.Value!, headers, JsonElement.Parse(text), text);
        _pages.Enqueue(page);
        Expected(page);
        var answer = default((int Status, string? RetryAfter));
        if (_behaviours.TryGetValue(page.Path, out var behaviour))
        {
            await behaviour(context);
        }
        else if (_answers.Any(one => text.Contains(one.Key, StringComparison.Ordinal) && one.Value.TryDequeue(out answer)))
        {
            context.Response.Headers.RetryAfter = answer.RetryAfter;
            await SayAsync(context, answer.Status, "not now");
        }

        page.Accepted = context.Response.StatusCode is >= 200 and < 300 && !context.RequestAborted.IsCancellationRequested;
    }

    private void Expected(ReceivedPage page)
    {
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

    private static Task SayAsync(HttpContext context, int status, string text)
    {
        context.Response.StatusCode = status;
        return context.Response.WriteAsync(text);
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();
}
