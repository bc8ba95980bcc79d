using System.Net.Http.Headers;
using Microsoft.AspNetCore.Http;
using Platform.Testing;

namespace Platform.Alerting.Tests.RuleGroups;

/// <summary>Metrics behind a door of the test's: evaluations of rules whose request has a certain text wait there until they are let through. All else passes.</summary>
internal sealed class HeldMetrics : IAsyncDisposable
{
    private readonly Lock _lock = new();
    private readonly HttpClient _metrics;
    private readonly string _text;
    private LoopbackServer _server = null!;

    // Of those that wait; null when nobody has to.
    private TaskCompletionSource? _door = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _held;

    private HeldMetrics(Uri metrics, string text) => (_metrics, _text) = (new HttpClient { BaseAddress = metrics, Timeout = Timeout.InfiniteTimeSpan }, text);

    public Uri Url => _server.Url;

    /// <summary>How many wait.</summary>
    public int Held => Volatile.Read(ref _held);

    /// <summary>How many waited at the same time, at most.</summary>
    public int MostHeld { get; private set; }

    /// <param name="text">In the body of the requests that are held.</param>
    public static async Task<HeldMetrics> StartAsync(Uri metrics, string text)
    {
        var held = new HeldMetrics(metrics, text);
        held._server = await LoopbackServer.StartAsync(held.PassAsync);
        return held;
    }

    /// <summary>Those that wait go on; the next ones wait again.</summary>
    public void LetThrough()
    {
        lock (_lock)
        {
            var waited = _door;
            _door = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            waited?.SetResult();
        }
    }

    /// <summary>Nobody waits any more.</summary>
    public void Open()
    {
        lock (_lock)
        {
            _door?.SetResult();
            _door = null;
        }
    }

    public async ValueTask DisposeAsync()
    {
        Open();
        await _server.DisposeAsync();
        _metrics.Dispose();
    }

    private async Task PassAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);
        if (context.Request.Path == "/internal/rules/evaluate" && System.Text.Encoding.UTF8.GetString(body.ToArray()).Contains(_text, StringComparison.Ordinal))
        {
            await HoldAsync(context.RequestAborted);
        }

        using var request = new HttpRequestMessage(new HttpMethod(context.Request.Method), $"{context.Request.Path}{context.Request.QueryString}") { Content = new ByteArrayContent(body.ToArray()) };
        request.Headers.Authorization = AuthenticationHeaderValue.Parse(context.Request.Headers.Authorization.ToString());
        request.Content.Headers.ContentType = context.Request.ContentType is { } type ? MediaTypeHeaderValue.Parse(type) : null;
        using var answer = await _metrics.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, context.RequestAborted);
        context.Response.StatusCode = (int)answer.StatusCode;
        context.Response.ContentType = answer.Content.Headers.ContentType?.ToString();
        await answer.Content.CopyToAsync(context.Response.Body, context.RequestAborted);
    }

    private async Task HoldAsync(CancellationToken gone)
    {
        Task? open;
        lock (_lock)
        {
            open = _door?.Task;
            MostHeld = Math.Max(MostHeld, open is null ? 0 : ++_held);
        }

        if (open is null)
        {
            return;
        }

        try
        {
            await open.WaitAsync(gone);
        }
        finally
        {
            lock (_lock)
            {
                _held--;
            }
        }
    }
}
