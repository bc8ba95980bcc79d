using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Platform.Metrics.Intake;

/// <summary>Attributes of OTLP as names and texts. Decoded for series that are not known yet, and for nothing else.</summary>
internal static class OtlpAttributes
{
    // Values may nest; deeper than this nobody means it.
    private const int MostDepth = 16;
    private const int MostAttributes = 2_048;

    /// <param name="fields">A message's fields, of which those numbered <paramref name="number"/> are <c>KeyValue</c>.</param>
    public static List<KeyValuePair<string, string>> Read(ReadOnlySpan<byte> fields, int number)
    {
        var attributes = new List<KeyValuePair<string, string>>();
        var reader = new ProtoReader(fields);
        while (reader.Next())
        {
            if (reader.Field != number)
            {
                reader.Skip();
                continue;
            }

            if (attributes.Count == MostAttributes)
            {
                throw new RefusedBodyException($"A point or a resource has more than {MostAttributes} attributes.");
            }

            var pair = ReadPair(reader.Bytes());
            attributes.Add(new(pair.Key, TextOf(pair.Value)));
        }

        // As the specification has it for names that become one label: values in the order of the original keys.
        attributes.Sort((left, right) => string.CompareOrdinal(left.Key, right.Key));
        return attributes;
    }

    private static KeyAndValue ReadPair(ReadOnlySpan<byte> message)
    {
        var pair = new KeyAndValue { Key = "" };
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    pair.Key = reader.Text();
                    break;
                case 2:
                    pair.Value = reader.Bytes();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return pair;
    }

    // A text as it is, everything else as JSON writes it.
    private static string TextOf(ReadOnlySpan<byte> any)
    {
        var reader = new ProtoReader(any);
        if (!Last(ref reader, any))
        {
            return "";
        }

        if (reader.Field == 1)
        {
            return reader.Text();
        }

        if (reader.Field == 7)
        {
            return Convert.ToBase64String(reader.Bytes());
        }

        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            WriteJson(writer, any, MostDepth);
        }

        return Encoding.UTF8.GetString(json.WrittenSpan);
    }

    // Of several values in one AnyValue the last counts, as everywhere in protobuf.
    private static bool Last(ref ProtoReader reader, ReadOnlySpan<byte> any)
    {
        var from = 0;
        var last = -1;
        while (reader.Next())
        {
            last = reader.Field is >= 1 and <= 7 ? from : last;
            reader.Skip();
            from = reader.Position;
        }

        reader = new ProtoReader(last < 0 ? [] : any[last..]);
        return reader.Next();
    }

    private static void WriteJson(Utf8JsonWriter json, ReadOnlySpan<byte> any, int depth)
    {
        if (depth == 0)
        {
            throw new RefusedBodyException($"The value of an attribute nests deeper than {MostDepth} levels.");
        }

        var reader = new ProtoReader(any);
        if (!Last(ref reader, any))
        {
            json.WriteNullValue();
            return;
        }

        switch (reader.Field)
        {
            case 1:
                json.WriteStringValue(reader.Text());
                break;
            case 2:
                json.WriteBooleanValue(reader.Varint() != 0);
                break;
            case 3:
                json.WriteNumberValue((long)reader.Varint());
                break;
            case 4:
                WriteDouble(json, reader.Double());
                break;
            case 5:
                json.WriteStartArray();
                var items = new ProtoReader(reader.Bytes());
                while (items.Next())
                {
                    if (items.Field == 1)
                    {
                        WriteJson(json, items.Bytes(), depth - 1);
                    }
                    else
                    {
                        items.Skip();
                    }
                }

                json.WriteEndArray();
                break;
            case 6:
                json.WriteStartObject();
                var pairs = new ProtoReader(reader.Bytes());
                while (pairs.Next())
                {
                    if (pairs.Field == 1)
                    {
                        var pair = ReadPair(pairs.Bytes());
                        json.WritePropertyName(pair.Key);
                        WriteJson(json, pair.Value, depth - 1);
                    }
                    else
                    {
                        pairs.Skip();
                    }
                }

                json.WriteEndObject();
                break;
            default:
                json.WriteStringValue(Convert.ToBase64String(reader.Bytes()));
                break;
        }
    }

    private static void WriteDouble(Utf8JsonWriter json, double value)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumberValue(value);
        }
        else
        {
            json.WriteRawValue(value.ToString(CultureInfo.InvariantCulture), skipInputValidation: true);
        }
    }

    private ref struct KeyAndValue
    {
        public string Key;
        public ReadOnlySpan<byte> Value;
    }
}
