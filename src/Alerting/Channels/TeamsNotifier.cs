using Platform.Alerting.Notifications;
using Platform.Contracts;

namespace Platform.Alerting.Channels;

/// <summary>Teams through a Workflows webhook ("when a Teams webhook request is received"): an Adaptive Card.</summary>
public sealed class TeamsNotifier(OutboundPost http, NotificationOptions options) : INotifier
{
    public ChannelKind Kind => ChannelKind.Teams;

    public Task<Answer> SendAsync(Channel channel, ChannelMessage message) =>
        http.SendAsync(new Uri(channel["url"]!), TeamsCard.Body(message.Content, options.ExternalUrl));
}

/// <summary>The card. Pure.</summary>
public static class TeamsCard
{
    // Teams refuses messages above 28 KB.
    private const int LargestBytes = 27_000;

    public static ReadOnlyMemory<byte> Body(NotificationContent content, string externalUrl)
    {
        for (var most = 10; ; most /= 2)
        {
            var body = Body(content, externalUrl, most);
            if (body.Length <= LargestBytes || most == 0)
            {
                return body;
            }
        }
    }

    private static ReadOnlyMemory<byte> Body(NotificationContent content, string externalUrl, int most)
    {
        var colour = content.Status == NotificationStatus.Resolved ? "Good" : content.Severity() switch
        {
            Severity.Critical or Severity.High => "Attention",
            Severity.Medium => "Warning",
            Severity.Low or Severity.Info => "Accent",
        };
        var body = new List<object> { new { type = "TextBlock", size = "Large", weight = "Bolder", wrap = true, color = colour, text = Plain(Wording.Title(content)) } };
        foreach (var alert in content.Alerts.Take(most))
        {
            body.Add(new { type = "TextBlock", wrap = true, weight = "Bolder", separator = true, text = Plain(Wording.Cut($"[{Wording.State(alert)}] {alert.Name}: {Wording.Summary(alert)}", 500)) });
            if (alert.Annotations.GetValueOrDefault("description") is { Length: > 0 } description)
            {
                body.Add(new { type = "TextBlock", wrap = true, text = Plain(Wording.Cut(description, 1_000)) });
            }

            (string Title, string Value)[] facts = [("When", Wording.Times(alert)), ("Measured", Wording.Measured(alert)), ("Runbook", alert.Status == NotificationStatus.Firing ? Wording.Cut(Wording.Runbook(alert) ?? Wording.RunbookUrl(alert) ?? "", 500) : ""), ("Labels", Wording.Cut(Wording.Labels(alert), 1_000))];
            body.Add(new { type = "FactSet", facts = facts.Where(fact => fact.Value.Length > 0).Select(fact => new { title = fact.Title, value = Plain(fact.Value) }).ToArray() });
        }

        var left = content.Alerts.Count + content.TruncatedAlerts - Math.Min(most, content.Alerts.Count);
        body.Add(new { type = "TextBlock", wrap = true, isSubtle = true, size = "Small", separator = true, text = Plain((left > 0 ? $"… and {left} more. " : "") + $"Why: {content.Reason} (receiver {content.Receiver}). {Wording.Acting(content, externalUrl)}".TrimEnd()) });
        var link = content.Alerts.Count > 0 ? Wording.Link(content.Alerts[0], externalUrl) : "";
        var runbook = content.Status == NotificationStatus.Firing ? content.Alerts.Select(Wording.RunbookUrl).FirstOrDefault(url => url is not null) : null;
        var actions = ((string Title, string? Url)[])[("Open the alert", link), ("Runbook", runbook)];
        return OutboundPost.Json(new
        {
            type = "message",
            attachments = new[]
            {
                new
                {
                    contentType = "application/vnd.microsoft.card.adaptive",
                    content = new Dictionary<string, object?>
                    {
                        ["$schema"] = "http://adaptivecards.io/schemas/adaptive-card.json",
                        ["type"] = "AdaptiveCard",
                        ["version"] = "1.4",
                        ["msteams"] = new { width = "Full" },
                        ["body"] = body,
                        ["actions"] = actions.Where(action => action.Url is { Length: > 0 }).DistinctBy(action => action.Url).Select(action => new { type = "Action.OpenUrl", title = action.Title, url = action.Url }).ToArray(),
                    },
                },
            },
        });
    }

    // Cards read Markdown; what comes from labels and annotations is text.
    private static string Plain(string text)
    {
        var plain = new System.Text.StringBuilder(text.Length);
        foreach (var character in text)
        {
            if (character is '*' or '_' or '[' or ']' or '`' or '\\')
            {
                plain.Append('\\');
            }

            plain.Append(character);
        }

        return plain.ToString();
    }
}
