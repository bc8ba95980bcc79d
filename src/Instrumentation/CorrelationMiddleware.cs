using System.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Platform.Instrumentation;

/// <summary>
/// Gives every request a correlation id (taken from <c>X-Correlation-ID</c> or <c>X-Request-ID</c> when it is well formed, else made), a trace, and an event when it fails or is slow.
/// The id is <see cref="HttpContext.TraceIdentifier"/>, goes back in <c>X-Correlation-ID</c>, and is in the scope of every log line.
/// </summary>
internal sealed class CorrelationMiddleware(RequestDelegate next, EventLog events, PlatformMonitoringOptions options, ILogger<CorrelationMiddleware> logger)
{
    public const string Header = "X-Correlation-ID";
    public const string OtherHeader = "X-Request-ID";

    public async Task InvokeAsync(HttpContext context)
    {
        var id = Accept(context.Request.Headers[Header]) ?? Accept(context.Request.Headers[OtherHeader]) ?? Guid.CreateVersion7().ToString("N");
        context.TraceIdentifier = id;
        context.Response.Headers[Header] = id;

        // Without a listener the framework starts no activity, and the event would lose its trace.
        using var activity = Activity.Current is null ? ContinueTrace(context.Request.Headers.TraceParent) : null;
        using var scope = logger.BeginScope(new Dictionary<string, object> { ["CorrelationId"] = id });

        var started = Stopwatch.GetTimestamp();
        try
        {
            await next(context);
        }
        catch (Exception) when (!context.RequestAborted.IsCancellationRequested)
        {
            Record(context, StatusCodes.Status500InternalServerError, Stopwatch.GetElapsedTime(started));
            throw;
        }

        Record(context, context.Response.StatusCode, Stopwatch.GetElapsedTime(started));
    }

    /// <summary>The id as sent, or null when it could break a log line, a header or a query.</summary>
    internal static string? Accept(string? sent) =>
        sent is { Length: > 0 and <= 128 } && sent.All(letter => char.IsAsciiLetterOrDigit(letter) || letter is '-' or '_' or '.' or ':') ? sent : null;

    private static Activity ContinueTrace(string? parent)
    {
        var activity = new Activity("request").SetIdFormat(ActivityIdFormat.W3C);
        if (ActivityContext.TryParse(parent, null, isRemote: true, out var remote))
        {
            activity.SetParentId(remote.TraceId, remote.SpanId, remote.TraceFlags);
        }

        return activity.Start();
    }

    // Web sockets and server-sent events are long, not slow.
    private static bool StaysOpen(HttpContext context) =>
        context.Response.StatusCode == StatusCodes.Status101SwitchingProtocols || context.WebSockets.IsWebSocketRequest
        || context.Response.ContentType?.StartsWith("text/event-stream", StringComparison.OrdinalIgnoreCase) is true;

    private void Record(HttpContext context, int status, TimeSpan took)
    {
        var failed = status >= 500;
        var slow = took >= options.SlowRequest && !StaysOpen(context);
        if (!(failed || slow) || options.ExcludedPaths.Any(path => context.Request.Path.StartsWithSegments(path, StringComparison.OrdinalIgnoreCase)))
        {
            return;
        }

        events.Record(
            Actions.Request,
            failed ? Outcome.Failure : Outcome.Success,
            failed ? "Request failed" : "Request was slow",
            new()
            {
                [Tags.Method] = context.Request.Method,
                [Tags.StatusCode] = status,
                [Tags.DurationMs] = Math.Round(took.TotalMilliseconds, 1),
            },
            failed ? Levels.Error : Levels.Warning);
    }
}
