using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Platform.Alerting.Notifications;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>Alertmanager's webhook, version 4, with the headers of Standard Webhooks. Whatever reads Alertmanager's reads ours.</summary>
public sealed class WebhookNotifier(OutboundPost http, NotificationOptions options, TimeProvider clock) : INotifier
{
    public ChannelKind Kind => ChannelKind.Webhook;

    public Task<Answer> SendAsync(Channel channel, ChannelMessage message)
    {
        var most = channel["max_alerts"] is { } number ? int.Parse(number, CultureInfo.InvariantCulture) : 0;
        var body = Webhook.Body(message.Content, options.ExternalUrl, most);
        var now = clock.GetUtcNow().ToUnixTimeSeconds();
        return http.SendAsync(new Uri(channel["url"]!), body, headers =>
        {
            headers.TryAddWithoutValidation("webhook-id", message.Id.ToString());
            headers.TryAddWithoutValidation("webhook-timestamp", now.ToString(CultureInfo.InvariantCulture));
            if (channel["secret"] is { } secret)
            {
                headers.TryAddWithoutValidation("webhook-signature", Webhook.Sign(secret, message.Id, now, body));
            }

            foreach (var line in channel["headers"]?.Split('\n') ?? [])
            {
                var at = line.IndexOf(':', StringComparison.Ordinal);
                headers.TryAddWithoutValidation(line[..at], line[(at + 1)..].Trim());
            }
        });
    }
}

/// <summary>The body and the signature of a webhook. Pure.</summary>
public static class Webhook
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <param name="mostAlerts">0 for all; those left out are counted in <c>truncatedAlerts</c>, common labels are those of all.</param>
    public static byte[] Body(NotificationContent content, string externalUrl, int mostAlerts = 0)
    {
        var told = mostAlerts > 0 ? content.Alerts.Take(mostAlerts).ToList() : content.Alerts;
        return JsonSerializer.SerializeToUtf8Bytes(
            new Payload(
                "4",
                content.GroupKey,
                content.TruncatedAlerts + content.Alerts.Count - told.Count,
                Word(content.Status),
                content.Receiver,
                Sorted(content.GroupLabels),
                content.CommonLabels(),
                content.CommonAnnotations(),
                externalUrl,
                content.Reason,
                [.. told.Select(alert => Item.Of(alert, externalUrl))]),
            Json);
    }

    /// <summary>Signature after Standard Webhooks: HMAC-SHA256 over id, time and body.</summary>
    /// <param name="secret"><c>whsec_</c> and base64, or any text.</param>
    public static string Sign(string secret, Guid id, long unixSeconds, ReadOnlySpan<byte> body)
    {
        byte[] signed = [.. Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{id}.{unixSeconds}.")), .. body];
        return $"v1,{Convert.ToBase64String(HMACSHA256.HashData(Key(secret), signed))}";
    }

    private static byte[] Key(string secret)
    {
        if (secret.StartsWith("whsec_", StringComparison.Ordinal))
        {
            var decoded = new byte[secret.Length];
            if (Convert.TryFromBase64String(secret[6..], decoded, out var length))
            {
                return decoded[..length];
            }
        }

        return Encoding.UTF8.GetBytes(secret);
    }

    private static string Word(NotificationStatus status) => WireJson.Name(status.ToString());

    private static SortedDictionary<string, string> Sorted(IReadOnlyDictionary<string, string> labels) => new(labels.ToDictionary(), StringComparer.Ordinal);

    private sealed record Payload(
        string Version,
        string GroupKey,
        int TruncatedAlerts,
        string Status,
        string Receiver,
        IReadOnlyDictionary<string, string> GroupLabels,
        IReadOnlyDictionary<string, string> CommonLabels,
        IReadOnlyDictionary<string, string> CommonAnnotations,
        [property: JsonPropertyName("externalURL")] string ExternalUrl,
        [property: JsonPropertyName("notification_reason")] string NotificationReason,
        IReadOnlyList<Item> Alerts);

    private sealed record Item(
        string Status,
        IReadOnlyDictionary<string, string> Labels,
        IReadOnlyDictionary<string, string> Annotations,
        DateTime StartsAt,
        DateTime EndsAt,
        [property: JsonPropertyName("generatorURL")] string GeneratorUrl,
        string Fingerprint)
    {
        // An alert that fires has Go's zero time as its end.
        public static Item Of(ToldAlert alert, string externalUrl) => new(
            Word(alert.Status),
            Sorted(alert.Labels),
            Sorted(alert.Annotations),
            alert.StartsAt.UtcDateTime,
            alert.Status == NotificationStatus.Resolved && alert.EndsAt is { } end ? end.UtcDateTime : DateTime.SpecifyKind(DateTime.MinValue, DateTimeKind.Utc),
            alert.GeneratorUrl.Length > 0 || externalUrl.Length == 0 || alert.Id == Guid.Empty ? alert.GeneratorUrl : $"{externalUrl.TrimEnd('/')}/api/v1/monitoring/alerts/{alert.Id}",
            alert.Fingerprint);
    }
}
