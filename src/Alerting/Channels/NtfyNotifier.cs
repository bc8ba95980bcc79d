using System.Text;
using Platform.Alerting.Notifications;
using Platform.Alerting.Rules;
using Platform.Contracts;

namespace Platform.Alerting.Channels;

/// <summary>Push messages over an ntfy server, published as JSON. https://docs.ntfy.sh/publish/#publish-as-json</summary>
public sealed class NtfyNotifier(OutboundPost http, NotificationOptions options, ChannelSettings settings) : INotifier
{
    public ChannelKind Kind => ChannelKind.Ntfy;

    public Task<Answer> SendAsync(Channel channel, ChannelMessage message) =>
        http.SendAsync(new Uri(channel["url"] ?? settings.NtfyUrl), NtfyMessage.Body(channel["topic"]!, message.Content, options.ExternalUrl), headers =>
        {
            if (channel["token"] is { } token)
            {
                headers.TryAddWithoutValidation("Authorization", $"Bearer {token}");
            }
        });
}

/// <summary>The message. Pure.</summary>
public static class NtfyMessage
{
    // The server takes 4,096 bytes as a message; what is longer becomes an attachment, which a telephone does not show.
    private const int LargestBytes = 3_900;

    public static ReadOnlyMemory<byte> Body(string topic, NotificationContent content, string externalUrl)
    {
        var resolved = content.Status == NotificationStatus.Resolved;
        var severity = content.Severity();
        var text = Wording.Text(content, externalUrl, 5);
        while (Encoding.UTF8.GetByteCount(text) > LargestBytes)
        {
            text = Wording.Cut(text, text.Length * 3 / 4);
        }

        return OutboundPost.Json(new
        {
            topic,
            title = Wording.Title(content),
            message = text,
            // 5 rings through, 1 makes no sound; the end of something is no reason to wake anybody.
            priority = resolved ? 2 : severity switch { Severity.Critical => 5, Severity.High => 4, Severity.Medium => 3, Severity.Low => 2, Severity.Info => 1 },
            tags = (string[])[resolved ? "white_check_mark" : severity switch { Severity.Critical => "rotating_light", Severity.High => "warning", Severity.Medium or Severity.Low => "bell", Severity.Info => "information_source" }, severity.Word()],
            click = content.Alerts.Count > 0 && Wording.Link(content.Alerts[0], externalUrl) is { Length: > 0 } link ? link : null,
        });
    }
}
