using System.Buffers;
using System.Text.Encodings.Web;
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
    // Nothing here ends up inside HTML, and letters stay readable.
    private static readonly JsonWriterOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>
    /// The event as one JSON object in UTF-8, without line breaks. Secrets that slipped into tags or payload are redacted; a payload that cannot be written is replaced by the reason.
    /// </summary>
    public byte[] ToJson()
    {
        var buffer = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(buffer, Readable))
        {
            json.WriteStartObject();
            json.WriteString("event_type", EventType);
            json.WriteString("source", Storable.Text(Source));
            json.WriteString("message", Storable.Text(Message));
            json.WriteString("level", Level);
            json.WriteString("timestamp", Timestamp.UtcDateTime);
            WriteFields(json, "tags", Tags, WriteTag);
            if (Payload is { Count: > 0 })
            {
                WriteFields(json, "payload", Payload, static (to, value) => Secrets.WriteWithout(to, AsJson(value)));
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

            json.WritePropertyName(Storable.Text(key));
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

    // A payload is the caller's own object; that it cannot be written must neither cost the event nor the request.
    private static JsonElement AsJson(object value)
    {
        try
        {
            return JsonSerializer.SerializeToElement(value, value.GetType());
        }
        catch (Exception error)
        {
            return JsonSerializer.SerializeToElement($"[not written: {error.GetType().Name}]");
        }
    }

    private static void WriteTag(Utf8JsonWriter json, object value)
    {
        switch (value)
        {
            case string text: json.WriteStringValue(Storable.Text(text)); break;
            case bool truth: json.WriteBooleanValue(truth); break;
            case int number: json.WriteNumberValue(number); break;
            case long number: json.WriteNumberValue(number); break;
            // JSON has no infinity and no NaN; as text they stay readable.
            case double number when double.IsFinite(number): json.WriteNumberValue(number); break;
            case decimal number: json.WriteNumberValue(number); break;
            case IFormattable other: json.WriteStringValue(Storable.Text(other.ToString(null, System.Globalization.CultureInfo.InvariantCulture))); break;
            default: json.WriteStringValue(Storable.Text(value.ToString() ?? "")); break;
        }
    }
}

/// <summary>
/// Databases refuse the character U+0000, and UTF-8 has no half surrogate pairs. An event is never refused for them: otherwise whoever puts one into a user name
/// would be invisible.
/// </summary>
internal static class Storable
{
    public static string Text(string text)
    {
        for (var at = 0; at < text.Length; at++)
        {
            if (text[at] == '\0' || char.IsSurrogate(text[at]))
            {
                return Repair(text);
            }
        }

        return text;
    }

    private static string Repair(string text) =>
        string.Concat(text.EnumerateRunes().Select(rune => rune.Value == 0 ? "\uFFFD" : rune.ToString()));
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
                    json.WritePropertyName(Storable.Text(field.Name));
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
            case JsonValueKind.String:
                json.WriteStringValue(Storable.Text(value.GetString()!));
                break;
            case JsonValueKind.Undefined or JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False or JsonValueKind.Null:
                value.WriteTo(json);
                break;
        }
    }
}
