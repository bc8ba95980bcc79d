using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging;

namespace Platform.ServiceDefaults;

/// <summary>The outermost step of every request: correlation id in and out, who and where for the log, and a line when it was slow.</summary>
internal sealed partial class RequestMiddleware(RequestDelegate next, ProcessOptions options, TimeProvider clock, ILogger<RequestMiddleware> logger)
{
    public async Task InvokeAsync(HttpContext context)
    {
        using var correlation = Correlation.Use(Correlation.From(context.Request.Headers));
        var id = Correlation.Current;
        // At the last moment, because the exception handler clears the headers it finds.
        context.Response.OnStarting(() =>
        {
            context.Response.Headers[Correlation.Header] = id;
            return Task.CompletedTask;
        });

        var request = new RequestScope(context);
        using var scope = logger.BeginScope(request);
        var started = clock.GetTimestamp();
        try
        {
            await next(context);
        }
        finally
        {
            var took = clock.GetElapsedTime(started);
            if (took > options.SlowRequest && !IsStream(context.Response))
            {
                SlowRequest(context.Request.Method, Route(context), context.Response.StatusCode, Math.Round(took.TotalMilliseconds));
            }

            request.End();
        }
    }

    // Events and sockets stay open by design.
    private static bool IsStream(HttpResponse response) =>
        response.StatusCode == StatusCodes.Status101SwitchingProtocols || response.ContentType?.StartsWith("text/event-stream", StringComparison.OrdinalIgnoreCase) == true;

    // The exception handler takes the endpoint away from the request that failed, and keeps it.
    internal static string? Route(HttpContext context) =>
        ((context.GetEndpoint() ?? context.Features.Get<IExceptionHandlerFeature>()?.Endpoint) as RouteEndpoint)?.RoutePattern.RawText;

    [LoggerMessage(LogLevel.Warning, "A request was slow: {method} {route} answered {status} after {duration_ms} ms")]
    private partial void SlowRequest(string method, string? route, int status, double duration_ms);
}
