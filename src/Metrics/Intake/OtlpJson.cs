using System.Buffers.Text;
using System.Collections.Frozen;
using System.Text.Json;
using System.Text.Unicode;

namespace Platform.Metrics.Intake;

/// <summary>
/// OTLP's JSON as OTLP's protobuf, so that there is one parser of its meaning. What JSON says differently is decided here: names are
/// lowerCamelCase, enums are numbers, 64-bit numbers may be texts, unknown names are passed over.
/// </summary>
internal static class OtlpJson
{
    private const int MostDepth = 64;
    private const int MostNameCharacters = 64;

    private static readonly Message Request = Describe();

    private enum Form
    {
        Message,
        Text,
        Base64,
        Hex,
        Bool,
        Varint,
        ZigZag,
        Fixed64,
        Double,
    }

    /// <exception cref="RefusedBodyException">The body is no JSON, or none of this message; with the place.</exception>
    public static PooledWriter ToProtobuf(IntakeBodies bodies, ReadOnlySpan<byte> json)
    {
        if (!Utf8.IsValid(json))
        {
            throw new RefusedBodyException("The body is not valid UTF-8.");
        }

        var into = new PooledWriter(bodies, json.Length);
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MostDepth });
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartObject)
            {
                throw Wrong(reader, "", "an object");
            }

            WriteMessage(ref reader, Request, into);
            reader.Read();
            return into;
        }
        catch (JsonException error)
        {
            into.Dispose();
            throw new RefusedBodyException($"The JSON is broken at line {error.LineNumber + 1}, byte {error.BytePositionInLine + 1} of that line: {FirstSentence(error.Message)}");
        }
        catch (InvalidOperationException)
        {
            into.Dispose();
            throw new RefusedBodyException("A text in the JSON holds half a surrogate pair, which is no character.");
        }
        catch
        {
            into.Dispose();
            throw;
        }
    }

    private static void WriteMessage(ref Utf8JsonReader reader, Message message, PooledWriter into)
    {
        Span<char> name = stackalloc char[MostNameCharacters];
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var known = reader.ValueSpan.Length <= MostNameCharacters
                && message.Fields.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(name[..reader.CopyString(name)], out var field) ? field : null;
            reader.Read();
            if (known is null || reader.TokenType == JsonTokenType.Null)
            {
                reader.Skip();
            }
            else if (reader.TokenType == JsonTokenType.StartArray)
            {
                while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                {
                    WriteField(ref reader, known, into);
                }
            }
            else
            {
                WriteField(ref reader, known, into);
            }
        }
    }

    private static void WriteField(ref Utf8JsonReader reader, Field field, PooledWriter into)
    {
        switch (field.Form)
        {
            case Form.Message when reader.TokenType == JsonTokenType.StartObject:
                var begin = into.Begin(field.Number);
                WriteMessage(ref reader, field.Type!, into);
                into.End(begin);
                break;
            case Form.Text when reader.TokenType == JsonTokenType.String:
                WriteText(ref reader, field, into);
                break;
            case Form.Base64 or Form.Hex when reader.TokenType == JsonTokenType.String:
                WriteBytes(ref reader, field, into);
                break;
            case Form.Bool when reader.TokenType is JsonTokenType.True or JsonTokenType.False:
                into.Tag(field.Number, 0);
                into.Varint(reader.GetBoolean() ? 1u : 0);
                break;
            case Form.Varint:
                into.Tag(field.Number, 0);
                into.Varint(Whole(ref reader, field));
                break;
            case Form.ZigZag:
                var value = (long)Whole(ref reader, field);
                into.Tag(field.Number, 0);
                into.Varint((ulong)((value << 1) ^ (value >> 63)));
                break;
            case Form.Fixed64:
                into.Tag(field.Number, 1);
                into.Fixed64(Whole(ref reader, field));
                break;
            case Form.Double:
                into.Tag(field.Number, 1);
                into.Fixed64(BitConverter.DoubleToUInt64Bits(Fraction(ref reader, field)));
                break;
            default:
                throw Wrong(reader, field.Name, field.Form == Form.Message ? "an object" : field.Form == Form.Bool ? "true or false" : "a text");
        }
    }

    private static void WriteText(ref Utf8JsonReader reader, Field field, PooledWriter into)
    {
        var begin = into.Begin(field.Number);
        // Unescaping makes a text shorter, never longer.
        into.Advance(reader.CopyString(into.Reserve(reader.ValueSpan.Length)));
        into.End(begin);
    }

    private static void WriteBytes(ref Utf8JsonReader reader, Field field, PooledWriter into)
    {
        var begin = into.Begin(field.Number);
        var room = into.Reserve(reader.ValueSpan.Length);
        int written;
        if (field.Form == Form.Base64)
        {
            if (Base64.DecodeFromUtf8(reader.ValueSpan, room, out _, out written) != System.Buffers.OperationStatus.Done)
            {
                throw Wrong(reader, field.Name, "base64");
            }
        }
        else if (Convert.FromHexString(reader.ValueSpan, room, out _, out written) != System.Buffers.OperationStatus.Done)
        {
            throw Wrong(reader, field.Name, "hexadecimal digits");
        }

        into.Advance(written);
        into.End(begin);
    }

    // As 64 bits, whether signed or not.
    private static ulong Whole(ref Utf8JsonReader reader, Field field)
    {
        if (reader.TokenType == JsonTokenType.Number)
        {
            return reader.TryGetInt64(out var signed) ? (ulong)signed
                : reader.TryGetUInt64(out var unsigned) ? unsigned
                : reader.TryGetDouble(out var number) && number == Math.Floor(number) && Math.Abs(number) < 9e18 ? (ulong)(long)number
                : throw Wrong(reader, field.Name, "a whole number of 64 bits");
        }

        if (reader.TokenType == JsonTokenType.String)
        {
            var text = reader.ValueSpan;
            if (Utf8Parser.TryParse(text, out long signed, out var read) && read == text.Length)
            {
                return (ulong)signed;
            }

            if (Utf8Parser.TryParse(text, out ulong unsigned, out read) && read == text.Length)
            {
                return unsigned;
            }
        }

        throw Wrong(reader, field.Name, "a whole number of 64 bits");
    }

    private static double Fraction(ref Utf8JsonReader reader, Field field)
    {
        if (reader.TokenType == JsonTokenType.Number && reader.TryGetDouble(out var number))
        {
            return number;
        }

        if (reader.TokenType == JsonTokenType.String)
        {
            if (reader.ValueTextEquals("NaN"u8))
            {
                return double.NaN;
            }

            if (reader.ValueTextEquals("Infinity"u8))
            {
                return double.PositiveInfinity;
            }

            if (reader.ValueTextEquals("-Infinity"u8))
            {
                return double.NegativeInfinity;
            }

            if (Utf8Parser.TryParse(reader.ValueSpan, out number, out var read) && read == reader.ValueSpan.Length)
            {
                return number;
            }
        }

        throw Wrong(reader, field.Name, "a number");
    }

    private static RefusedBodyException Wrong(in Utf8JsonReader reader, string name, string expected) =>
        new($"At byte {reader.TokenStartIndex + 1} of the JSON, {(name.Length == 0 ? "the request" : name)} must be {expected}.");

    private static string FirstSentence(string message)
    {
        var end = message.IndexOf(" LineNumber:", StringComparison.Ordinal);
        return end < 0 ? message : message[..end];
    }

    // Numbers and types of the fields that are read; others are passed over like unknown ones.
    private static Message Describe()
    {
        var any = new Message();
        var pair = new Message(new("key", 1, Form.Text), new("value", 2, any));
        any.Set(
            new("stringValue", 1, Form.Text), new("boolValue", 2, Form.Bool), new("intValue", 3, Form.Varint), new("doubleValue", 4, Form.Double),
            new("arrayValue", 5, new Message(new Field("values", 1, any))), new("kvlistValue", 6, new Message(new Field("values", 1, pair))), new("bytesValue", 7, Form.Base64));

        var exemplar = new Message(new Field("timeUnixNano", 2, Form.Fixed64), new("asDouble", 3, Form.Double), new("asInt", 6, Form.Fixed64), new("spanId", 4, Form.Hex), new("traceId", 5, Form.Hex));
        var number = new Message(
            new("attributes", 7, pair), new("startTimeUnixNano", 2, Form.Fixed64), new("timeUnixNano", 3, Form.Fixed64),
            new("asDouble", 4, Form.Double), new("asInt", 6, Form.Fixed64), new("exemplars", 5, exemplar), new("flags", 8, Form.Varint));
        var histogram = new Message(
            new("attributes", 9, pair), new("startTimeUnixNano", 2, Form.Fixed64), new("timeUnixNano", 3, Form.Fixed64), new("count", 4, Form.Fixed64), new("sum", 5, Form.Double),
            new("bucketCounts", 6, Form.Fixed64), new("explicitBounds", 7, Form.Double), new("exemplars", 8, exemplar), new("flags", 10, Form.Varint));
        var buckets = new Message(new("offset", 1, Form.ZigZag), new("bucketCounts", 2, Form.Varint));
        var exponential = new Message(
            new("attributes", 1, pair), new("startTimeUnixNano", 2, Form.Fixed64), new("timeUnixNano", 3, Form.Fixed64), new("count", 4, Form.Fixed64), new("sum", 5, Form.Double),
            new("scale", 6, Form.ZigZag), new("zeroCount", 7, Form.Fixed64), new("positive", 8, buckets), new("negative", 9, buckets), new("flags", 10, Form.Varint),
            new("exemplars", 11, exemplar), new("zeroThreshold", 14, Form.Double));
        var quantile = new Message(new("quantile", 1, Form.Double), new("value", 2, Form.Double));
        var summary = new Message(
            new("attributes", 7, pair), new("startTimeUnixNano", 2, Form.Fixed64), new("timeUnixNano", 3, Form.Fixed64), new("count", 4, Form.Fixed64), new("sum", 5, Form.Double),
            new("quantileValues", 6, quantile), new("flags", 8, Form.Varint));

        Field temporality = new("aggregationTemporality", 2, Form.Varint);
        var metric = new Message(
            new("name", 1, Form.Text), new("description", 2, Form.Text), new("unit", 3, Form.Text),
            new("gauge", 5, new Message(new Field("dataPoints", 1, number))),
            new("sum", 7, new Message(new("dataPoints", 1, number), temporality, new("isMonotonic", 3, Form.Bool))),
            new("histogram", 9, new Message(new("dataPoints", 1, histogram), temporality)),
            new("exponentialHistogram", 10, new Message(new("dataPoints", 1, exponential), temporality)),
            new("summary", 11, new Message(new Field("dataPoints", 1, summary))));
        var resource = new Message(new Field("attributes", 1, pair));
        var scopes = new Message(new Field("metrics", 2, metric));
        return new Message(new Field("resourceMetrics", 1, new Message(new("resource", 1, resource), new("scopeMetrics", 2, scopes))));
    }

    private sealed record Field(string Name, int Number, Form Form, Message? Type = null)
    {
        public Field(string name, int number, Message type) : this(name, number, Form.Message, type)
        {
        }
    }

    private sealed class Message
    {
        public Message(params ReadOnlySpan<Field> fields) => Set(fields);

        public FrozenDictionary<string, Field> Fields { get; private set; } = FrozenDictionary<string, Field>.Empty;

        public void Set(params ReadOnlySpan<Field> fields) => Fields = fields.ToArray().ToFrozenDictionary(field => field.Name, StringComparer.Ordinal);
    }
}
