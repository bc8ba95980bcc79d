using System.Net.Http.Headers;
using System.Text.Json;
using Platform.Alerting.Notifications;
using Platform.Contracts;

namespace Platform.Alerting.Channels;

/// <summary>
/// Slack. Over an incoming webhook every notification is a message. A bot keeps one message per group: it is posted once, rewritten with
/// every change, and each change is also a reply in its thread, which is shown in the channel when something fires. https://api.slack.com/methods
/// </summary>
public sealed class SlackNotifier(OutboundPost http, NotificationOptions options, ChannelSettings settings) : INotifier
{
    public ChannelKind Kind => ChannelKind.Slack;

    public async Task<Answer> SendAsync(Channel channel, ChannelMessage message)
    {
        var body = SlackMessage.Body(channel, message.Content, options.ExternalUrl);
        var isAcknowledgement = message.Kind == "acknowledged";
        if (channel["url"] is { } url)
        {
            return await http.SendAsync(new Uri(url), OutboundPost.Json(body));
        }

        if (message.Memory is { } memory && JsonSerializer.Deserialize<Posted>(memory) is { } posted)
        {
            var changed = await CallAsync(channel, "chat.update", SlackMessage.At(body, posted.Channel, posted.Ts));
            if (changed.Outcome == DeliveryOutcome.TryAgain)
            {
                return changed;
            }

            if (changed.Outcome == DeliveryOutcome.Accepted)
            {
                var replied = await CallAsync(channel, "chat.postMessage", SlackMessage.Reply(message.Content, posted.Channel, posted.Ts, rings: message.Content.Status == NotificationStatus.Firing && !isAcknowledgement));
                // The message says it already: a refused reply is no reason to call the whole refused.
                return replied.Outcome == DeliveryOutcome.TryAgain ? replied
                    : changed with { Memory = message.Content.Status == NotificationStatus.Resolved ? "" : null };
            }

            // Somebody deleted the message, or it is too old to be changed: a new one.
        }

        if (isAcknowledgement)
        {
            // It only changes what is there.
            return new Answer(DeliveryOutcome.Accepted, "there is no message to change");
        }

        var told = await CallAsync(channel, "chat.postMessage", SlackMessage.In(body, channel["channel"]!));
        // With the end of the group its message is done; the next episode gets one of its own.
        return message.Content.Status == NotificationStatus.Resolved && told.Outcome == DeliveryOutcome.Accepted ? told with { Memory = "" } : told;
    }

    private Task<Answer> CallAsync(Channel channel, string method, Dictionary<string, object> body) =>
        http.SendAsync(
            new Uri(new Uri(settings.SlackApi.EndsWith('/') ? settings.SlackApi : settings.SlackApi + "/"), method),
            OutboundPost.Json(body),
            headers => headers.Authorization = new AuthenticationHeaderValue("Bearer", channel["token"]),
            SlackMessage.Judge);

    /// <summary>Where the message of a group is.</summary>
    internal sealed record Posted(string Channel, string Ts);
}

/// <summary>Messages for Slack, and what its answers mean. Pure.</summary>
public static class SlackMessage
{
    private const int MostAlerts = 10;

    // Slack takes about 13,000 characters in all; sections take 3,000.
    private const int LongestSection = 1_000;
    private const int LongestLink = 200;

    public static Dictionary<string, object> Body(Channel channel, NotificationContent content, string externalUrl)
    {
        var blocks = new List<object>();
        foreach (var alert in content.Alerts.Take(MostAlerts))
        {
            var link = Wording.Link(alert, externalUrl);
            var name = link.Length > 0 ? Linked(link, alert.Name) : Escape(alert.Name);
            string?[] lines = [$"*{Wording.State(alert)}* {name}: {Escape(Wording.Cut(Wording.Summary(alert), 300))}",
                alert.Annotations.GetValueOrDefault("description") is { Length: > 0 } description ? Escape(Wording.Cut(description, 300)) : null,
                alert.Status == NotificationStatus.Firing ? Runbook(alert) : null,
                Escape(string.Join(" · ", ((string[])[Wording.Measured(alert), Wording.Times(alert)]).Where(part => part.Length > 0))),
                Wording.Labels(alert) is { Length: > 0 } labels ? $"`{Escape(Wording.Cut(labels.Replace('`', '\''), 300))}`" : null];
            blocks.Add(new { type = "section", text = new { type = "mrkdwn", text = Wording.Cut(string.Join('\n', lines.Where(line => line is { Length: > 0 })), LongestSection) } });
        }

        var left = content.Alerts.Count + content.TruncatedAlerts - Math.Min(MostAlerts, content.Alerts.Count);
        var why = (left > 0 ? $"… and {left} more. " : "") + $"{content.Reason} (receiver {content.Receiver})" + (Wording.Acting(content, externalUrl) is { Length: > 0 } acting ? $"\n{acting}" : "");
        blocks.Add(new { type = "context", elements = new[] { new { type = "mrkdwn", text = Escape(Wording.Cut(why, LongestSection)) } } });
        var title = Wording.Title(content);
        var body = new Dictionary<string, object>
        {
            ["text"] = Escape(title),
            ["attachments"] = new[] { new { color = Colour(content), fallback = title, blocks } },
        };
        foreach (var field in (string[])["username", "icon_emoji"])
        {
            if (channel[field] is { } value)
            {
                body[field] = value;
            }
        }

        return body;
    }

    /// <summary>A new message in a channel.</summary>
    public static Dictionary<string, object> In(Dictionary<string, object> body, string channel) => new(body) { ["channel"] = channel, ["unfurl_links"] = false };

    /// <summary>The message that is there already, rewritten.</summary>
    public static Dictionary<string, object> At(Dictionary<string, object> body, string channel, string ts)
    {
        var update = new Dictionary<string, object>(body) { ["channel"] = channel, ["ts"] = ts };
        update.Remove("username");
        update.Remove("icon_emoji");
        return update;
    }

    /// <summary>What changed, in the thread of the message; in the channel, too, when something fires, because nobody is rung for a rewritten message.</summary>
    /// <param name="rings">Whether it is shown in the channel as well.</param>
    public static Dictionary<string, object> Reply(NotificationContent content, string channel, string ts, bool rings) => new()
    {
        ["channel"] = channel,
        ["thread_ts"] = ts,
        ["text"] = Escape($"{Wording.Title(content)}\n{content.Reason}"),
        ["reply_broadcast"] = rings,
    };

    /// <summary>The Web API answers 200 and says in the body whether it did it.</summary>
    public static Answer Judge(Answer answer, string text)
    {
        try
        {
            using var body = JsonDocument.Parse(text);
            var root = body.RootElement;
            if (root.GetProperty("ok").GetBoolean())
            {
                return root.TryGetProperty("ts", out var ts) && root.TryGetProperty("channel", out var channel) && !root.TryGetProperty("thread_ts", out _)
                    ? answer with { Memory = JsonSerializer.Serialize(new SlackNotifier.Posted(channel.GetString()!, ts.GetString()!)) }
                    : answer;
            }

            var error = root.GetProperty("error").GetString()!;
            var again = error is "ratelimited" or "rate_limited" or "internal_error" or "fatal_error" or "service_unavailable" or "request_timeout" or "team_added_to_org";
            return answer with { Outcome = again ? DeliveryOutcome.TryAgain : DeliveryOutcome.Refused, Reason = $"Slack says {OutboundPost.Clean(error)}" };
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return answer with { Outcome = DeliveryOutcome.TryAgain, Reason = "the answer is none of Slack's Web API" };
        }
    }

    private static string Colour(NotificationContent content) => content.Status == NotificationStatus.Resolved ? "#2eb886" : content.Severity() switch
    {
        Severity.Critical => "#d00000",
        Severity.High => "#e8590c",
        Severity.Medium => "#f2c744",
        Severity.Low or Severity.Info => "#3aa3e3",
    };

    private static string? Runbook(ToldAlert alert)
    {
        string?[] parts = [Wording.RunbookUrl(alert) is { Length: <= LongestLink } url ? Linked(url, "Runbook") : null, Wording.Runbook(alert) is { } text ? $"Runbook: {Escape(Wording.Cut(text, 200))}" : null];
        return parts.Any(part => part is not null) ? string.Join(" · ", parts.Where(part => part is not null)) : null;
    }

    private static string Linked(string url, string text) =>
        $"<{url.Replace("|", "%7C", StringComparison.Ordinal).Replace(">", "%3E", StringComparison.Ordinal)}|{Escape(text)}>";

    private static string Escape(string text) =>
        text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal).Replace(">", "&gt;", StringComparison.Ordinal);
}
