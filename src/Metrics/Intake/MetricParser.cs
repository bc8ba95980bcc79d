using System.Text.Json;
using System.Text.Unicode;
using Platform.Metrics.Events;
using Platform.SampleStore;

namespace Platform.Metrics.Intake;

internal enum MetricType
{
    /// <summary>The value is the value.</summary>
    Gauge,

    /// <summary>The value is an increment.</summary>
    Counter,

    /// <summary>The value is one observation.</summary>
    Histogram,
}

/// <param name="At">Milliseconds since 1970-01-01 UTC.</param>
internal sealed record NewMetric(int Index, string Name, MetricType Type, double Value, IReadOnlyList<KeyValuePair<string, string>> Labels, long At);

/// <summary>
/// Parses one metric of seed 003, a JSON array of them, or NDJSON. A request is right as a whole or not at all: every fault is reported at
/// once, with index, field and remedy.
/// </summary>
internal sealed class MetricParser(MetricOptions options, SampleStoreOptions store)
{
    private const int MostFaults = 50;
    private const int MostDepth = 8;
    private const int MostLabels = 256;

    /// <returns>The metrics, or the faults; never both.</returns>
    public (IReadOnlyList<NewMetric> Metrics, IReadOnlyList<EventFault> Faults) Parse(ReadOnlySpan<byte> body, DateTimeOffset now)
    {
        if (!Utf8.IsValid(body))
        {
            return ([], [new EventFault("", "The body is not valid UTF-8.")]);
        }

        var run = new Run(options, store, now);
        var reader = new Utf8JsonReader(body, new JsonReaderOptions { AllowMultipleValues = true, MaxDepth = MostDepth });
        try
        {
            run.Read(ref reader);
        }
        catch (JsonException error)
        {
            var end = error.Message.IndexOf(" LineNumber:", StringComparison.Ordinal);
            run.Fault("", $"The JSON is broken at line {error.LineNumber + 1}, byte {error.BytePositionInLine + 1} of that line: {(end < 0 ? error.Message : error.Message[..end])}");
        }
        catch (InvalidOperationException)
        {
            run.Fault("", "A text holds half a surrogate pair, which cannot be stored; leave it out.");
        }

        if (run.Faults.Count == 0 && run.Metrics.Count == 0)
        {
            run.Fault("", "The request holds no metric. Send one JSON object, an array of them, or one per line (NDJSON).");
        }

        return run.Faults.Count > 0 ? ([], run.Faults) : (run.Metrics, []);
    }

    private sealed class Run(MetricOptions options, SampleStoreOptions store, DateTimeOffset now)
    {
        private readonly DateTimeOffset _oldest = now - (store.MaxSampleAge > TimeSpan.Zero ? store.MaxSampleAge : TimeSpan.FromDays(store.RetentionDays));
        private readonly DateTimeOffset _newest = now + store.MaxSampleFuture;

        // Of the metric at hand.
        private int _index;
        private string? _name;
        private MetricType? _type;
        private double? _value;
        private DateTimeOffset? _timestamp;
        private List<KeyValuePair<string, string>> _labels = [];

        public List<NewMetric> Metrics { get; } = [];

        public List<EventFault> Faults { get; } = [];

        public void Fault(string path, string message, bool tooLarge = false)
        {
            if (Faults.Count < MostFaults)
            {
                Faults.Add(new EventFault(path, message, tooLarge));
            }
        }

        public void Read(ref Utf8JsonReader reader)
        {
            while (reader.Read())
            {
                if (reader.TokenType == JsonTokenType.StartArray && reader.CurrentDepth == 0)
                {
                    while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                    {
                        if (!ReadNext(ref reader))
                        {
                            return;
                        }
                    }
                }
                else if (!ReadNext(ref reader))
                {
                    return;
                }
            }
        }

        // False when the rest is not worth reading: the request is refused anyway.
        private bool ReadNext(ref Utf8JsonReader reader)
        {
            if (_index == options.MaxPerRequest)
            {
                Fault($"[{_index}]", $"More than {options.MaxPerRequest} metrics in one request; send several (MONITORING_METRIC_MAX_PER_REQUEST).", tooLarge: true);
                return false;
            }

            if (reader.TokenType == JsonTokenType.StartObject)
            {
                ReadMetric(ref reader);
            }
            else
            {
                Fault($"[{_index}]", $"A metric is a JSON object; this is {Describe(reader.TokenType)}.");
                reader.Skip();
            }

            _index++;
            return Faults.Count < MostFaults;
        }

        private void ReadMetric(ref Utf8JsonReader reader)
        {
            (_name, _type, _value, _timestamp, _labels) = (null, null, null, null, []);
            var before = Faults.Count;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                ReadField(ref reader);
            }

            Check();
            if (Faults.Count == before)
            {
                Metrics.Add(new NewMetric(_index, _name!, _type!.Value, _value!.Value, _labels, (_timestamp ?? now).ToUnixTimeMilliseconds()));
            }
        }

        private void ReadField(ref Utf8JsonReader reader)
        {
            if (reader.ValueTextEquals("name"u8))
            {
                _name = ReadText(ref reader, "name");
            }
            else if (reader.ValueTextEquals("metric_type"u8))
            {
                var text = ReadText(ref reader, "metric_type");
                _type = text switch { "gauge" => MetricType.Gauge, "counter" => MetricType.Counter, "histogram" => MetricType.Histogram, _ => null };
                if (text is not null && _type is null)
                {
                    Fault(Path("metric_type"), $"'{Shorten(text)}' is no metric type; it is one of counter, gauge, histogram.");
                }
            }
            else if (reader.ValueTextEquals("value"u8))
            {
                reader.Read();
                if (reader.TokenType == JsonTokenType.Number && reader.TryGetDouble(out var value) && double.IsFinite(value))
                {
                    _value = value;
                }
                else
                {
                    Fault(Path("value"), $"Must be a number that a double can hold; this is {Describe(reader.TokenType)}.");
                    reader.Skip();
                }
            }
            else if (reader.ValueTextEquals("timestamp"u8))
            {
                ReadTimestamp(ref reader);
            }
            else if (reader.ValueTextEquals("labels"u8))
            {
                ReadLabels(ref reader);
            }
            else
            {
                Fault(Path(Shorten(reader.GetString()!)), "Unknown field. A metric has name, metric_type, value, labels and timestamp; further facts go into labels.");
                reader.Read();
                reader.Skip();
            }
        }

        private string? ReadText(ref Utf8JsonReader reader, string field)
        {
            reader.Read();
            if (reader.TokenType is JsonTokenType.String)
            {
                return reader.GetString();
            }

            if (reader.TokenType != JsonTokenType.Null)
            {
                Fault(Path(field), $"Must be a string; this is {Describe(reader.TokenType)}.");
                reader.Skip();
            }

            return null;
        }

        private void ReadTimestamp(ref Utf8JsonReader reader)
        {
            reader.Read();
            if (reader.TokenType == JsonTokenType.Null)
            {
                return;
            }

            // Without an offset the time would depend on where this server stands.
            var text = reader.TokenType == JsonTokenType.String ? reader.ValueSpan : [];
            if (text.Length <= 10 || !(text[^1] is (byte)'Z' or (byte)'z' || text[10..].IndexOfAny((byte)'+', (byte)'-') >= 0) || !reader.TryGetDateTimeOffset(out var timestamp))
            {
                Fault(Path("timestamp"), "Must be an RFC 3339 time with an offset, like 2026-03-01T12:00:00.000Z.");
                reader.Skip();
                return;
            }

            if (timestamp < _oldest)
            {
                Fault(Path("timestamp"), $"Is older than samples are kept or taken (METRICS_RETENTION_DAYS, METRICS_MAX_SAMPLE_AGE_HOURS); the oldest is {_oldest:O}.");
            }
            else if (timestamp > _newest)
            {
                Fault(Path("timestamp"), $"Lies more than {store.MaxSampleFuture.TotalSeconds} s in the future (METRICS_MAX_SAMPLE_FUTURE_SECONDS). Check the sender's clock; the time here is {now:O}.");
            }

            _timestamp = timestamp;
        }

        private void ReadLabels(ref Utf8JsonReader reader)
        {
            reader.Read();
            if (reader.TokenType == JsonTokenType.Null)
            {
                return;
            }

            if (reader.TokenType != JsonTokenType.StartObject)
            {
                Fault(Path("labels"), $"Must be an object of names and values; this is {Describe(reader.TokenType)}.");
                reader.Skip();
                return;
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (_labels.Count == MostLabels)
                {
                    Fault(Path("labels"), $"More than {MostLabels} labels; each set of values is a series of its own.");
                    _labels.Add(new("", ""));
                }

                if (_labels.Count > MostLabels)
                {
                    reader.Read();
                    reader.Skip();
                    continue;
                }

                var name = reader.GetString()!;
                if (!IsName(name, colons: false) || name.StartsWith("__", StringComparison.Ordinal))
                {
                    Fault(Path($"labels.{Shorten(name)}"), "A label's name has letters, digits and underscores, does not begin with a digit, and not with two underscores.");
                }
                else if (_labels.Exists(label => label.Key == name))
                {
                    Fault(Path($"labels.{Shorten(name)}"), "Comes twice.");
                }

                reader.Read();
                switch (reader.TokenType)
                {
                    case JsonTokenType.String:
                        AddLabel(name, reader.GetString()!);
                        break;
                    case JsonTokenType.Number:
                        AddLabel(name, System.Text.Encoding.UTF8.GetString(reader.ValueSpan));
                        break;
                    case JsonTokenType.True or JsonTokenType.False:
                        AddLabel(name, reader.GetBoolean() ? "true" : "false");
                        break;
                    case JsonTokenType.Null:
                        break;
                    default:
                        Fault(Path($"labels.{Shorten(name)}"), $"A label's value is a string, number or boolean; this is {Describe(reader.TokenType)}.");
                        reader.Skip();
                        break;
                }
            }
        }

        private void AddLabel(string name, string value)
        {
            if (value.Contains('\0', StringComparison.Ordinal))
            {
                Fault(Path($"labels.{Shorten(name)}"), "Holds the character U+0000, which cannot be stored; leave it out.");
            }

            _labels.Add(new(name, value));
        }

        private void Check()
        {
            if (_name is null)
            {
                Missing("name", "the metric's name, like http_requests_total");
            }
            else if (!IsName(_name, colons: true))
            {
                Fault(Path("name"), $"'{Shorten(_name)}' is no metric name: letters, digits, underscores and colons, and no digit first.");
            }

            if (_type is null)
            {
                Missing("metric_type", "one of counter, gauge, histogram");
            }

            if (_value is null)
            {
                Missing("value", "a number: the value of a gauge, the increment of a counter, one observation of a histogram");
            }
            else if (_value < 0 && _type is MetricType.Counter or MetricType.Histogram)
            {
                Fault(Path("value"), _type == MetricType.Counter
                    ? "The increment of a counter is not negative; what can fall is a gauge."
                    : "An observation of a histogram is not negative; what can be negative is a gauge.");
            }

            if (_type == MetricType.Histogram && _labels.Exists(label => label.Key == "le"))
            {
                Fault(Path("labels.le"), "Names the buckets of a histogram and is set here; give it another name.");
            }
        }

        // A field with a fault of its own is not missing as well.
        private void Missing(string field, string remedy)
        {
            var path = Path(field);
            if (!Faults.Exists(fault => fault.Path == path))
            {
                Fault(path, $"Is missing; it is {remedy}.");
            }
        }

        private string Path(string field) => $"[{_index}].{field}";

        private static bool IsName(string name, bool colons)
        {
            for (var at = 0; at < name.Length; at++)
            {
                var c = name[at];
                if (!(char.IsAsciiLetter(c) || c == '_' || (c == ':' && colons) || (char.IsAsciiDigit(c) && at > 0)))
                {
                    return false;
                }
            }

            return name.Length > 0;
        }

        private static string Shorten(string text) => text.Length <= 64 ? text : text[..64] + "…";

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
