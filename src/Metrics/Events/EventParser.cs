using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Events;

/// <summary>What is wrong with a request: where, and what to do. Every fault of a request is reported at once, up to a bound.</summary>
/// <param name="Path"><c>[3].event_type</c>: index of the event in the request, and field.</param>
/// <param name="TooLarge">Size is the fault: the answer is 413 when nothing else is wrong.</param>
public sealed record EventFault(string Path, string Message, bool TooLarge = false);

/// <summary>
/// A request's events, checked, in the forms they go on in: rows for <c>COPY … (format binary)</c>, and the JSON objects of
/// <c>EventsStored</c>. Both are made while parsing, on the thread of the request, so that the few writers only move bytes.
/// </summary>
public sealed class ParsedEvents
{
    /// <summary>Ids of a request share their first 12 bytes; the last four count from 0.</summary>
    public required Guid FirstId { get; init; }

    public int Count { get; internal set; }

    internal ArrayBufferWriter<byte> Rows { get; } = new(16 * 1024);

    internal ArrayBufferWriter<byte> Messages { get; } = new(16 * 1024);

    /// <summary>Days of event time, as days since 1970-01-01, for which a partition must exist.</summary>
    public SortedSet<int> Days { get; } = [];

    public Dictionary<CountKey, long> Counts { get; } = [];

    public long Bytes => Rows.WrittenCount + Messages.WrittenCount;

    public Guid IdAt(int index) => IdAt(FirstId, index);

    public static Guid IdAt(Guid firstId, int index)
    {
        Span<byte> bytes = stackalloc byte[16];
        firstId.TryWriteBytes(bytes, bigEndian: true, out _);
        BinaryPrimitives.WriteInt32BigEndian(bytes[12..], index);
        return new Guid(bytes, bigEndian: true);
    }
}

/// <summary>Row of <c>event_counts</c>. <paramref name="Minute"/> counts minutes since 1970-01-01 UTC.</summary>
public readonly record struct CountKey(long Minute, string EventType, string Action, string Outcome);

/// <summary>
/// Parses one event, a JSON array of them, or NDJSON, in one pass over the bytes. What passes is known to be acceptable to PostgreSQL too
/// (no NUL, no lone surrogate, no number beyond its reach), so that one request cannot spoil the commit it shares with others.
/// </summary>
public sealed class EventParser(EventOptions options)
{
    private const int MostFaults = 50;
    private const int MostNameBytes = 128;
    private const int MostTagValueBytes = 2048;
    private const int MostSourceCharacters = 200;
    private const int MostLevelCharacters = 32;

    private static readonly string[] Types = ["log", "metric", "trace", "alert"];

    /// <returns>The events, or the faults; never both.</returns>
    public (ParsedEvents? Events, IReadOnlyList<EventFault> Faults) Parse(ReadOnlySpan<byte> body, string realm, DateTimeOffset now)
    {
        var run = new Run(options, realm, now);
        if (!Utf8.IsValid(body))
        {
            return (null, [new EventFault("", "The body is not valid UTF-8.")]);
        }

        var reader = new Utf8JsonReader(body, new JsonReaderOptions { AllowMultipleValues = true, MaxDepth = 32 });
        try
        {
            run.Read(ref reader, body);
        }
        catch (JsonException error)
        {
            run.Fault("", $"The JSON is broken at line {error.LineNumber + 1}, byte {error.BytePositionInLine + 1} of that line: {FirstSentence(error.Message)}");
        }
        catch (InvalidOperationException)
        {
            // What the reader throws when it is asked for the text of half a surrogate pair.
            run.Fault("", "A name holds half a surrogate pair, which cannot be stored; leave it out.");
        }

        if (run.Faults.Count == 0 && run.Events.Count == 0)
        {
            run.Fault("", "The request holds no event. Send one JSON object, an array of them, or one per line (NDJSON).");
        }

        return run.Faults.Count > 0 ? (null, run.Faults) : (run.Events, []);
    }

    private static string FirstSentence(string message)
    {
        var end = message.IndexOf(" LineNumber:", StringComparison.Ordinal);
        return end < 0 ? message : message[..end];
    }

    // Tags and payload are places in the body; default is "not there".
    private struct Field
    {
        public string? EventType;
        public string? Source;
        public string? Message;
        public string? Level;
        public Range? Tags;
        public Range? Payload;
        public DateTimeOffset? Timestamp;
        public string? Action;
        public string? Outcome;
    }

    private sealed class Run(EventOptions options, string realm, DateTimeOffset now)
    {
        private readonly DateTimeOffset _oldest = now.AddDays(-options.RetentionDays);
        private readonly DateTimeOffset _newest = now.AddSeconds(options.MaxFutureSeconds);
        private readonly byte[] _realm = Encoding.UTF8.GetBytes(realm);
        private Utf8JsonWriter? _messageWriter;

        public ParsedEvents Events { get; } = new() { FirstId = FirstIdAt(now) };

        public List<EventFault> Faults { get; } = [];

        // A time-ordered id (UUID version 7) whose last four bytes are free for the index.
        private static Guid FirstIdAt(DateTimeOffset now) => ParsedEvents.IdAt(Guid.CreateVersion7(now), 0);

        public void Fault(string path, string message, bool tooLarge = false)
        {
            if (Faults.Count < MostFaults)
            {
                Faults.Add(new EventFault(path, message, tooLarge));
            }
        }

        public void Read(ref Utf8JsonReader reader, ReadOnlySpan<byte> body)
        {
            var index = 0;
            while (reader.Read())
            {
                if (reader.TokenType == JsonTokenType.StartArray && reader.CurrentDepth == 0)
                {
                    while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                    {
                        if (!ReadNext(ref reader, body, index++))
                        {
                            return;
                        }
                    }
                }
                else if (!ReadNext(ref reader, body, index++))
                {
                    return;
                }
            }
        }

        // False when the rest is not worth reading: the request is refused anyway.
        private bool ReadNext(ref Utf8JsonReader reader, ReadOnlySpan<byte> body, int index)
        {
            if (index == options.MaxPerRequest)
            {
                Fault($"[{index}]", $"More than {options.MaxPerRequest} events in one request; send several (MONITORING_EVENT_MAX_PER_REQUEST).", tooLarge: true);
                return false;
            }

            ReadEvent(ref reader, body, index);
            return Faults.Count < MostFaults;
        }

        private void ReadEvent(ref Utf8JsonReader reader, ReadOnlySpan<byte> body, int index)
        {
            if (reader.TokenType != JsonTokenType.StartObject)
            {
                Fault($"[{index}]", $"An event is a JSON object; this is {Describe(reader.TokenType)}.");
                reader.Skip();
                return;
            }

            var before = Faults.Count;
            var start = (int)reader.TokenStartIndex;
            var field = new Field();
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                ReadField(ref reader, index, ref field);
            }

            var length = (int)reader.BytesConsumed - start;
            if (length > options.MaxEventBytes)
            {
                Fault($"[{index}]", $"The event has {length} bytes; at most {options.MaxEventBytes} are taken (MONITORING_EVENT_MAX_BYTES). Large payloads belong elsewhere, with a link in the event.", tooLarge: true);
            }

            Check(index, ref field);
            if (Faults.Count == before && Faults.Count == 0)
            {
                Write(body, ref field);
            }
        }

        private void ReadField(ref Utf8JsonReader reader, int index, ref Field field)
        {
            if (reader.ValueTextEquals("event_type"u8))
            {
                field.EventType = ReadText(ref reader, index, "event_type", 32);
            }
            else if (reader.ValueTextEquals("source"u8))
            {
                field.Source = ReadText(ref reader, index, "source", MostSourceCharacters);
            }
            else if (reader.ValueTextEquals("message"u8))
            {
                field.Message = ReadText(ref reader, index, "message", options.MaxEventBytes);
            }
            else if (reader.ValueTextEquals("level"u8))
            {
                field.Level = ReadText(ref reader, index, "level", MostLevelCharacters);
            }
            else if (reader.ValueTextEquals("timestamp"u8))
            {
                field.Timestamp = ReadTimestamp(ref reader, index);
            }
            else if (reader.ValueTextEquals("tags"u8))
            {
                field.Tags = ReadTags(ref reader, index, ref field);
            }
            else if (reader.ValueTextEquals("payload"u8))
            {
                field.Payload = ReadPayload(ref reader, index);
            }
            else
            {
                Fault($"[{index}].{Shorten(reader.GetString()!)}", "Unknown field. An event has event_type, source, message, level, tags, payload and timestamp; further facts go into tags or payload.");
                reader.Read();
                reader.Skip();
            }
        }

        private string? ReadText(ref Utf8JsonReader reader, int index, string name, int most)
        {
            reader.Read();
            if (reader.TokenType == JsonTokenType.Null)
            {
                return null;
            }

            if (reader.TokenType != JsonTokenType.String)
            {
                Fault($"[{index}].{name}", $"Must be a string; this is {Describe(reader.TokenType)}.");
                reader.Skip();
                return null;
            }

            if (!IsStorable(ref reader, index, name))
            {
                return null;
            }

            var text = reader.GetString()!;
            if (text.Length > most)
            {
                Fault($"[{index}].{name}", $"Has {text.Length} characters; at most {most} are taken.");
            }

            return text;
        }

        private DateTimeOffset? ReadTimestamp(ref Utf8JsonReader reader, int index)
        {
            var path = $"[{index}].timestamp";
            reader.Read();
            if (reader.TokenType == JsonTokenType.Null)
            {
                return null;
            }

            // Without an offset the time would depend on where this server stands.
            if (reader.TokenType != JsonTokenType.String
                || !reader.TryGetDateTimeOffset(out var timestamp)
                || !HasOffset(reader.ValueSpan))
            {
                Fault(path, "Must be an ISO 8601 time with an offset, like 2026-03-01T12:00:00.000Z.");
                reader.Skip();
                return null;
            }

            if (timestamp < _oldest)
            {
                Fault(path, $"Is older than {options.RetentionDays} days, which is how long events are kept (MONITORING_EVENT_RETENTION_DAYS).");
            }
            else if (timestamp > _newest)
            {
                Fault(path, $"Lies more than {options.MaxFutureSeconds} s in the future (MONITORING_EVENT_MAX_FUTURE_SECONDS). Check the sender's clock; the time here is {now:O}.");
            }

            return timestamp.ToUniversalTime();
        }

        private static bool HasOffset(ReadOnlySpan<byte> text) =>
            text.Length > 10 && (text[^1] is (byte)'Z' || text[10..].IndexOfAny((byte)'+', (byte)'-') >= 0);

        private Range? ReadTags(ref Utf8JsonReader reader, int index, ref Field field)
        {
            reader.Read();
            if (reader.TokenType == JsonTokenType.Null)
            {
                return null;
            }

            if (reader.TokenType != JsonTokenType.StartObject)
            {
                Fault($"[{index}].tags", $"Must be an object of names and values; this is {Describe(reader.TokenType)}.");
                reader.Skip();
                return null;
            }

            var start = (int)reader.TokenStartIndex;
            var count = 0;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (++count == options.MaxTags + 1)
                {
                    Fault($"[{index}].tags", $"More than {options.MaxTags} tags (MONITORING_EVENT_MAX_TAGS); put the rest into payload.");
                }

                if (reader.ValueSpan.Length is 0 or > MostNameBytes)
                {
                    Fault($"[{index}].tags", $"A tag's name has 1 to {MostNameBytes} bytes: '{Shorten(Encoding.UTF8.GetString(reader.ValueSpan))}'.");
                }

                IsStorable(ref reader, index, "tags");
                var isAction = reader.ValueTextEquals("action"u8);
                var isOutcome = !isAction && reader.ValueTextEquals("outcome"u8);
                var name = reader.HasValueSequence || reader.ValueIsEscaped ? [] : reader.ValueSpan;
                reader.Read();
                switch (reader.TokenType)
                {
                    case JsonTokenType.String:
                        if (reader.ValueSpan.Length > MostTagValueBytes)
                        {
                            Fault($"[{index}].tags.{Encoding.UTF8.GetString(name)}", $"A tag's value has at most {MostTagValueBytes} bytes; put long texts into payload.");
                        }

                        IsStorable(ref reader, index, "tags");
                        if (isAction)
                        {
                            field.Action = Vocabulary.Action(ref reader);
                        }
                        else if (isOutcome)
                        {
                            field.Outcome = Vocabulary.Outcome(ref reader);
                        }

                        break;
                    case JsonTokenType.Number:
                        IsStorable(ref reader, index, "tags");
                        break;
                    case JsonTokenType.True or JsonTokenType.False or JsonTokenType.Null:
                        break;
                    default:
                        Fault($"[{index}].tags.{Encoding.UTF8.GetString(name)}", $"A tag's value is a string, number or boolean; put {Describe(reader.TokenType)} into payload.");
                        reader.Skip();
                        break;
                }
            }

            return start..(int)reader.BytesConsumed;
        }

        private Range? ReadPayload(ref Utf8JsonReader reader, int index)
        {
            reader.Read();
            if (reader.TokenType == JsonTokenType.Null)
            {
                return null;
            }

            if (reader.TokenType != JsonTokenType.StartObject)
            {
                Fault($"[{index}].payload", $"Must be an object; this is {Describe(reader.TokenType)}.");
                reader.Skip();
                return null;
            }

            var start = (int)reader.TokenStartIndex;
            var depth = reader.CurrentDepth;
            while (reader.Read() && !(reader.TokenType == JsonTokenType.EndObject && reader.CurrentDepth == depth))
            {
                if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName or JsonTokenType.Number)
                {
                    IsStorable(ref reader, index, "payload");
                }
            }

            return start..(int)reader.BytesConsumed;
        }

        // JSON allows what jsonb does not: the character U+0000, half a surrogate pair, numbers of any size.
        private bool IsStorable(ref Utf8JsonReader reader, int index, string name)
        {
            if (reader.TokenType == JsonTokenType.Number)
            {
                var exponent = reader.ValueSpan.IndexOfAny((byte)'e', (byte)'E');
                if (reader.ValueSpan.Length > 64 || (exponent >= 0 && reader.ValueSpan.Length - exponent > 5) || !reader.TryGetDouble(out var number) || double.IsInfinity(number))
                {
                    Fault($"[{index}].{name}", "A number is too long or too large; send it as a string.");
                    return false;
                }

                return true;
            }

            if (!reader.ValueIsEscaped)
            {
                return true;
            }

            try
            {
                if (!reader.GetString()!.Contains('\0', StringComparison.Ordinal))
                {
                    return true;
                }
            }
            catch (InvalidOperationException)
            {
                // half a surrogate pair: reported below
            }

            Fault($"[{index}].{name}", "Holds \\u0000 or half a surrogate pair, which cannot be stored; leave it out.");
            return false;
        }

        private void Check(int index, ref Field field)
        {
            if (field.EventType is null)
            {
                Missing(index, "event_type", "one of log, metric, trace, alert");
            }
            else if (Array.IndexOf(Types, field.EventType) is var type && type < 0)
            {
                Fault($"[{index}].event_type", $"'{Shorten(field.EventType)}' is no event type; it is one of log, metric, trace, alert.");
            }

            if (string.IsNullOrWhiteSpace(field.Source))
            {
                Missing(index, "source", "the name of the application or component that sends, like auth-service");
            }
        }

        // A field with a fault of its own is not missing as well.
        private void Missing(int index, string name, string remedy)
        {
            var path = $"[{index}].{name}";
            if (!Faults.Exists(fault => fault.Path == path))
            {
                Fault(path, $"Is missing; it is {remedy}.");
            }
        }

        private void Write(ReadOnlySpan<byte> body, ref Field field)
        {
            var id = Events.IdAt(Events.Count++);
            var timestamp = field.Timestamp ?? now;
            var minute = timestamp.ToUnixTimeSeconds() / 60;
            Events.Days.Add((int)(minute / 1440));
            var key = new CountKey(minute, Types[Array.IndexOf(Types, field.EventType)], field.Action ?? "", field.Outcome ?? "");
            Events.Counts[key] = Events.Counts.GetValueOrDefault(key) + 1;
            var tags = field.Tags is { } tagRange ? body[tagRange] : "{}"u8;

            var row = new CopyRow(Events.Rows, fields: 9);
            row.Write(id);
            row.Write(_realm);
            row.Write(field.EventType!);
            row.Write(field.Source!);
            row.Write(field.Message);
            row.Write(field.Level);
            row.WriteJsonb(tags);
            row.WriteJsonb(field.Payload is { } payloadRange ? body[payloadRange] : "{}"u8);
            row.Write(timestamp);

            WriteMessage(id, timestamp, tags, ref field);
        }

        private void WriteMessage(Guid id, DateTimeOffset timestamp, ReadOnlySpan<byte> tags, ref Field field)
        {
            if (Events.Messages.WrittenCount > 0)
            {
                Events.Messages.Write(","u8);
            }

            // The texts were checked while reading; checking them again would double the cost.
            _messageWriter ??= new Utf8JsonWriter(Events.Messages, new JsonWriterOptions { SkipValidation = true });
            _messageWriter.Reset(Events.Messages);
            _messageWriter.WriteStartObject();
            _messageWriter.WriteString("id"u8, id);
            _messageWriter.WriteString("realm"u8, _realm);
            _messageWriter.WriteString("event_type"u8, field.EventType);
            _messageWriter.WriteString("source"u8, field.Source);
            if (field.Level is not null)
            {
                _messageWriter.WriteString("level"u8, field.Level);
            }

            _messageWriter.WriteString("timestamp"u8, timestamp);
            _messageWriter.WritePropertyName("tags"u8);
            _messageWriter.WriteRawValue(tags, skipInputValidation: true);
            _messageWriter.WriteEndObject();
            _messageWriter.Flush();
        }

        private static string Shorten(string text) => StorableText.Shorten(text, 65);

        private static string Describe(JsonTokenType token) => token switch
        {
            JsonTokenType.StartObject => "an object",
            JsonTokenType.StartArray => "an array",
            JsonTokenType.String => "a string",
            JsonTokenType.Number => "a number",
            JsonTokenType.True or JsonTokenType.False => "a boolean",
            JsonTokenType.Null => "null",
            _ => "something else",
        };
    }
}
