using System.Text.Json.Serialization;
using Platform.Alerting.Notifications;
using Platform.Contracts;

namespace Platform.Alerting.Channels;

/// <summary>PagerDuty, Events API v2: one incident per group, triggered, acknowledged and resolved by its key. https://developer.pagerduty.com/docs/events-api-v2</summary>
public sealed class PagerdutyNotifier(OutboundPost http, NotificationOptions options, ChannelSettings settings) : INotifier
{
    public ChannelKind Kind => ChannelKind.Pagerduty;

    public Task<Answer> SendAsync(Channel channel, ChannelMessage message) =>
        http.SendAsync(new Uri(channel["url"] ?? settings.PagerdutyUrl), PagerdutyEvent.Body(channel, message, options.ExternalUrl));
}

/// <summary>The event. Pure.</summary>
public static class PagerdutyEvent
{
    /// <summary>PagerDuty takes 512 KB; beyond this, the details are left out rather than the page.</summary>
    private const int LargestBytes = 500_000;

    private const int MostAlerts = 50;

    /// <summary>What the key and everything after it stands for: a group is one incident.</summary>
    public static ReadOnlyMemory<byte> Body(Channel channel, ChannelMessage message, string externalUrl)
    {
        var action = message.Content.Status == NotificationStatus.Resolved ? "resolve" : message.Kind == "acknowledged" ? "acknowledge" : "trigger";
        var routing = channel["routing_key"]!;
        if (action != "trigger" || message.Content.Alerts.Count == 0)
        {
            return OutboundPost.Json(new Event(routing, action, message.Key(), action == "trigger" ? Payload(channel, message, null) : null));
        }

        var first = message.Content.Alerts[0];
        var link = Wording.Link(first, externalUrl);
        Event Make(Dictionary<string, object>? details) => new(routing, action, message.Key(), Payload(channel, message, details))
        {
            Client = channel["client"] ?? "Platform",
            ClientUrl = externalUrl.Length > 0 ? externalUrl : null,
            Links = link.Length > 0 ? [new Link(link, "The alert")] : null,
        };

        var body = OutboundPost.Json(Make(Details(message.Content)));
        return body.Length <= LargestBytes ? body : OutboundPost.Json(Make(new() { ["error"] = "The details were too large for PagerDuty; the platform has them." }));
    }

    private static PayloadOf Payload(Channel channel, ChannelMessage message, Dictionary<string, object>? details)
    {
        var common = message.Content.CommonLabels();
        var first = message.Content.Alerts is [var one, ..] ? one : null;
        return new(
            Wording.Cut(Wording.Title(message.Content), 1024),
            Wording.Cut(common.GetValueOrDefault("instance") ?? common.GetValueOrDefault("component") ?? common.GetValueOrDefault("source") ?? common.GetValueOrDefault("job") ?? message.Realm, 255),
            message.Content.Severity() switch { Severity.Critical => "critical", Severity.High => "error", Severity.Medium => "warning", Severity.Low or Severity.Info => "info" })
        {
            Timestamp = first?.StartsAt.UtcDateTime,
            Component = channel["component"] ?? common.GetValueOrDefault("component"),
            Group = channel["group"],
            Class = channel["class"] ?? common.GetValueOrDefault("alertname"),
            CustomDetails = details,
        };
    }

    private static Dictionary<string, object> Details(NotificationContent content) => new()
    {
        ["reason"] = content.Reason,
        ["receiver"] = content.Receiver,
        ["num_firing"] = content.Alerts.Count(alert => alert.Status == NotificationStatus.Firing),
        ["num_resolved"] = content.Alerts.Count(alert => alert.Status == NotificationStatus.Resolved),
        ["truncated"] = content.TruncatedAlerts + Math.Max(0, content.Alerts.Count - MostAlerts),
        ["alerts"] = content.Alerts.Take(MostAlerts).Select(alert => new
        {
            state = Wording.State(alert),
            labels = alert.Labels,
            annotations = alert.Annotations,
            value = alert.Value,
            threshold = alert.Threshold,
            times = Wording.Times(alert),
        }).ToArray(),
    };

    private sealed record Event(
        [property: JsonPropertyName("routing_key")] string RoutingKey,
        [property: JsonPropertyName("event_action")] string EventAction,
        [property: JsonPropertyName("dedup_key")] string DedupKey,
        PayloadOf? Payload)
    {
        public string? Client { get; init; }

        [JsonPropertyName("client_url")]
        public string? ClientUrl { get; init; }

        public IReadOnlyList<Link>? Links { get; init; }
    }

    private sealed record Link(string Href, string Text);

    private sealed record PayloadOf(string Summary, string Source, string Severity)
    {
        public DateTime? Timestamp { get; init; }

        public string? Component { get; init; }

        public string? Group { get; init; }

        public string? Class { get; init; }

        [JsonPropertyName("custom_details")]
        public Dictionary<string, object>? CustomDetails { get; init; }
    }
}
