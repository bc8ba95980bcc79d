using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

/// <summary>The body of a webhook: Alertmanager's, version 4. Whatever reads Alertmanager's webhooks reads ours.</summary>
public static class Webhook
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <param name="externalUrl">Where people reach the platform; links begin with it. Empty: there are none.</param>
    public static byte[] Body(NotificationContent content, string externalUrl) =>
        JsonSerializer.SerializeToUtf8Bytes(
            new Payload(
                "4",
                content.GroupKey,
                content.TruncatedAlerts,
                WireJson.Name(content.Status.ToString()),
                content.Receiver,
                Sorted(content.GroupLabels),
                content.CommonLabels(),
                content.CommonAnnotations(),
                externalUrl,
                content.Reason,
                [.. content.Alerts.Select(alert => Of(alert, externalUrl))]),
            Json);

    private static Item Of(ToldAlert alert, string externalUrl) => new(
        WireJson.Name(alert.Status.ToString()),
        Sorted(alert.Labels),
        Sorted(alert.Annotations),
        alert.StartsAt.UtcDateTime,
        alert.EndsAt?.UtcDateTime ?? DateTime.SpecifyKind(DateTime.MinValue, DateTimeKind.Utc),
        alert.GeneratorUrl.Length > 0 ? alert.GeneratorUrl : externalUrl.Length > 0 ? $"{externalUrl.TrimEnd('/')}/api/v1/monitoring/alerts/{alert.Id}" : "",
        alert.Fingerprint);

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

    private static SortedDictionary<string, string> Sorted(IReadOnlyDictionary<string, string> labels) => new(labels.ToDictionary(), StringComparer.Ordinal);

    private sealed record Payload(
        string Version,
        string GroupKey,
        int TruncatedAlerts,
        string Status,
        string Receiver,
        IDictionary<string, string> GroupLabels,
        IReadOnlyDictionary<string, string> CommonLabels,
        IReadOnlyDictionary<string, string> CommonAnnotations,
        [property: JsonPropertyName("externalURL")] string ExternalUrl,
        [property: JsonPropertyName("notification_reason")] string NotificationReason,
        IReadOnlyList<Item> Alerts);

    private sealed record Item(
        string Status,
        IDictionary<string, string> Labels,
        IDictionary<string, string> Annotations,
        DateTime StartsAt,
        DateTime EndsAt,
        [property: JsonPropertyName("generatorURL")] string GeneratorUrl,
        string Fingerprint);
}
