using System.Diagnostics;
using System.Net;
using System.Security.Claims;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Platform.Instrumentation;

/// <summary>
/// Records events of any kind. Who, from where and in which request is taken from the current <see cref="HttpContext"/>; tags that are given win.
/// Recording never waits and never throws because the platform is away: the event goes into a bounded buffer. Safe from any thread.
/// </summary>
public sealed class EventLog(EventBuffer buffer, PlatformMetrics metrics, IHttpContextAccessor accessor, TimeProvider clock, PlatformMonitoringOptions options)
{
    private const int LongestText = 256;

    /// <summary>Records one event of the vocabulary in docs/events.md.</summary>
    /// <param name="message">One fixed sentence; what varies goes into <paramref name="tags"/>.</param>
    /// <param name="level">Default: info for a success, warning otherwise.</param>
    public void Record(
        string action, Outcome outcome, string message, Dictionary<string, object?>? tags = null, string? level = null, IReadOnlyDictionary<string, object?>? payload = null)
    {
        var all = RequestTags(accessor.HttpContext);
        foreach (var (name, value) in tags ?? [])
        {
            if (value is not null)
            {
                all[name] = value is string text ? Clip(text) : value;
            }
        }

        metrics.Happened(action, outcome);
        accessor.HttpContext?.Features.Get<AuthenticationOutcome>()?.Happened(action, outcome);
        all[Tags.Action] = action;
        all[Tags.Outcome] = OutcomeWord.Of(outcome);

        buffer.Add(new MonitoringEvent(
            EventTypes.Log, options.Source, message, level ?? (outcome == Outcome.Success ? Levels.Info : Levels.Warning), clock.GetUtcNow(), all, payload));
    }

    private static Dictionary<string, object?> RequestTags(HttpContext? context)
    {
        var tags = new Dictionary<string, object?>();
        if (Activity.Current is { IdFormat: ActivityIdFormat.W3C } activity)
        {
            tags[Tags.TraceId] = activity.TraceId.ToHexString();
        }

        if (context is not null)
        {
            tags[Tags.UserId] = Clip(context.User.FindFirstValue("sub") ?? context.User.FindFirstValue(ClaimTypes.NameIdentifier));
            tags[Tags.SessionId] = Clip(context.User.FindFirstValue("sid"));
            tags[Tags.IpAddress] = Shortest(context.Connection.RemoteIpAddress);
            tags[Tags.UserAgent] = Clip(context.Request.Headers.UserAgent);
            tags[Tags.RequestId] = context.TraceIdentifier;
            tags[Tags.Endpoint] = (context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText;
        }

        return tags;
    }

    private static string? Shortest(IPAddress? address) => address switch
    {
        null => null,
        { IsIPv4MappedToIPv6: true } => address.MapToIPv4().ToString(),
        _ => address.ToString(),
    };

    private static string? Clip(string? text) => text is { Length: > LongestText } ? text[..LongestText] : text is "" ? null : text;
}
