using System.Buffers;
using System.Text.Json;

namespace Platform.Instrumentation;

/// <summary>Something that happened, in the shape of docs/events.md.</summary>
/// <param name="Tags">What rules match and group by: strings, numbers and booleans. Null values are left out.</param>
/// <param name="Payload">What is only read: anything <see cref="JsonSerializer"/> can write. Null values are left out.</param>
public sealed record MonitoringEvent(
    string EventType,
    string Source,
    string Message,
    string Level,
    DateTimeOffset Timestamp,
    IReadOnlyDictionary<string, object?> Tags,
    IReadOnlyDictionary<string, object?>? Payload = null)
{
    /// <summary>The event as one JSON object in UTF-8, without line breaks. Secrets that slipped into tags or payload are redacted.</summary>
    public byte[] ToJson()
    {
        var buffer = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("event_type", EventType);
            json.WriteString("source", Source);
            json.WriteString("message", Message);
            json.WriteString("level", Level);
            json.WriteString("timestamp", Timestamp.UtcDateTime);
            WriteFields(json, "tags", Tags, WriteTag);
            if (Payload is { Count: > 0 })
            {
                WriteFields(json, "payload", Payload, static (to, value) => Secrets.WriteWithout(to, JsonSerializer.SerializeToElement(value)));
            }

            json.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    private static void WriteFields(Utf8JsonWriter json, string name, IReadOnlyDictionary<string, object?> fields, Action<Utf8JsonWriter, object> write)
    {
        json.WriteStartObject(name);
        foreach (var (key, value) in fields)
        {
            if (value is null)
            {
                continue;
            }

            json.WritePropertyName(key);
            if (Secrets.IsSecret(key))
            {
                json.WriteStringValue(Secrets.Redacted);
            }
            else
            {
                write(json, value);
            }
        }

        json.WriteEndObject();
    }

    private static void WriteTag(Utf8JsonWriter json, object value)
    {
        switch (value)
        {
            case string text: json.WriteStringValue(text); break;
            case bool truth: json.WriteBooleanValue(truth); break;
            case int number: json.WriteNumberValue(number); break;
            case long number: json.WriteNumberValue(number); break;
            // JSON has no infinity and no NaN; as text they stay readable.
            case double number when double.IsFinite(number): json.WriteNumberValue(number); break;
            case decimal number: json.WriteNumberValue(number); break;
            case IFormattable other: json.WriteStringValue(other.ToString(null, System.Globalization.CultureInfo.InvariantCulture)); break;
            default: json.WriteStringValue(value.ToString()); break;
        }
    }
}

/// <summary>The last line of defence against a secret in an event: fields are known by the end of their name, at any depth.</summary>
internal static class Secrets
{
    public const string Redacted = "[redacted]";

    private static readonly string[] Endings = ["password", "secret", "token", "apikey", "authorization", "cookie", "otp", "cardnumber"];

    public static bool IsSecret(string name)
    {
        var plain = name.Replace("_", "", StringComparison.Ordinal).Replace("-", "", StringComparison.Ordinal);
        return Endings.Any(ending => plain.EndsWith(ending, StringComparison.OrdinalIgnoreCase));
    }

    public static void WriteWithout(Utf8JsonWriter json, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                json.WriteStartObject();
                foreach (var field in value.EnumerateObject())
                {
                    json.WritePropertyName(field.Name);
                    if (IsSecret(field.Name))
                    {
                        json.WriteStringValue(Redacted);
                    }
                    else
                    {
                        WriteWithout(json, field.Value);
                    }
                }

                json.WriteEndObject();
                break;
            case JsonValueKind.Array:
                json.WriteStartArray();
                foreach (var item in value.EnumerateArray())
                {
                    WriteWithout(json, item);
                }

                json.WriteEndArray();
                break;
            case JsonValueKind.Undefined or JsonValueKind.String or JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False or JsonValueKind.Null:
                value.WriteTo(json);
                break;
        }
    }
}
