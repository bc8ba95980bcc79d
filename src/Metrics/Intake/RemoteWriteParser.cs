using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Platform.SampleStore;

namespace Platform.Metrics.Intake;

/// <summary>
/// Reads the message of remote write 1.0, <c>prometheus.WriteRequest</c>, from its bytes into a batch, and holds what 2.0 shares. A sample of a known series costs a few nanoseconds for itself and one hash for its series. What cannot be stored is
/// noted and the rest goes on; a message that is no message is refused whole.
/// </summary>
internal sealed class RemoteWriteParser(IntakeRun run)
{
    // Field 1 of TimeSeries and, in it, fields 1 and 2 of Label, each with a length.
    internal const byte LabelTag = 0x0a;
    internal const byte NameTag = 0x0a;
    internal const byte ValueTag = 0x12;

    // Field 2 of TimeSeries, with a length.
    private const byte SampleTag = 0x12;

    // Series whose keys are made before the first of them is looked for.
    private const int Together = 64;

    private static readonly string[] MetricTypes = ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];

    public void Read(ReadOnlySpan<byte> body)
    {
        // In steps of some series: first all of their keys, then the look at where these lead, then their samples.
        Span<SeriesKey> keys = stackalloc SeriesKey[Together];
        Span<Place> places = stackalloc Place[Together];
        var waiting = 0;
        var reader = new ProtoReader(body);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    var message = reader.Bytes();
                    // Writers put the labels first, so that their bytes lie together and are the key as they are.
                    var labels = LengthOfLabels(message);
                    keys[waiting] = run.KeyOf(message[..labels]);
                    places[waiting++] = new Place(reader.Position - message.Length, message.Length, labels);
                    if (waiting == Together)
                    {
                        ReadSeries(body, keys, places);
                        waiting = 0;
                    }

                    break;
                case 3:
                    ReadMetadata(reader.Bytes());
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        ReadSeries(body, keys[..waiting], places[..waiting]);
    }

    private void ReadSeries(ReadOnlySpan<byte> body, ReadOnlySpan<SeriesKey> keys, ReadOnlySpan<Place> places)
    {
        run.Touch(keys);
        for (var index = 0; index < keys.Length; index++)
        {
            var place = places[index];
            var labels = body.Slice(place.Start, place.Labels);
            var rest = body.Slice(place.Start + place.Labels, place.Length - place.Labels);
            // A sender that keeps up has one sample for each series: nothing but field 2, to the end.
            if (rest.Length is > 2 and < 0x80 && rest[0] == SampleTag && rest[1] == rest.Length - 2)
            {
                run.Expect(1);
                ReadSample(run.Find(keys[index]) ?? Introduce(labels, keys[index], 1), rest[2..]);
            }
            else
            {
                ReadSeries(body.Slice(place.Start, place.Length), labels, rest, keys[index]);
            }
        }
    }

    private void ReadSeries(ReadOnlySpan<byte> message, ReadOnlySpan<byte> labels, ReadOnlySpan<byte> rest, in SeriesKey key)
    {
        StoredSeries? series;
        if (HasLabels(rest, out var samples))
        {
            labels = GatherLabels(message);
            run.Expect(samples);
            series = Find(labels, samples);
        }
        else
        {
            run.Expect(samples);
            series = run.Find(key) ?? Introduce(labels, key, samples);
        }

        var reader = new ProtoReader(rest);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 2:
                    ReadSample(series, reader.Bytes());
                    break;
                case 3:
                    reader.Skip();
                    run.Exemplars++;
                    break;
                case 4:
                    reader.Skip();
                    RefuseHistogram(labels);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }
    }

    /// <summary>Where a series lies in the body: its message, and how many bytes at the beginning of it are labels.</summary>
    private readonly record struct Place(int Start, int Length, int Labels);

    private static int LengthOfLabels(ReadOnlySpan<byte> message)
    {
        var at = 0;
        while (at + 1 < message.Length && message[at] == LabelTag)
        {
            int length = message[at + 1];
            var next = at + 2 + length;
            if (length >= 0x80)
            {
                if (at + 2 >= message.Length || message[at + 2] >= 0x80)
                {
                    break; // longer than 16 KiB: taken for a label that comes late
                }

                next = at + 3 + ((length & 0x7f) | (message[at + 2] << 7));
            }

            if (next > message.Length)
            {
                break;
            }

            at = next;
        }

        return at;
    }

    private static bool HasLabels(ReadOnlySpan<byte> rest, out int samples)
    {
        samples = 0;
        var has = false;
        var reader = new ProtoReader(rest);
        while (reader.Next())
        {
            has |= reader.Field == 1;
            samples += reader.Field == 2 ? 1 : 0;
            reader.Skip();
        }

        return has;
    }

    private ReadOnlySpan<byte> GatherLabels(ReadOnlySpan<byte> message)
    {
        run.Scratch.ResetWrittenCount();
        var reader = new ProtoReader(message);
        for (var from = 0; reader.Next(); from = reader.Position)
        {
            reader.Skip();
            if (reader.Field == 1)
            {
                run.Scratch.Write(message[from..reader.Position]);
            }
        }

        return run.Scratch.WrittenSpan;
    }

    /// <param name="labels">Fields 1 of a TimeSeries of 1.0, nothing else.</param>
    /// <param name="samples">How many samples of the series the request has.</param>
    /// <returns>Null when the series is refused; its samples are then counted as such.</returns>
    internal StoredSeries? Find(ReadOnlySpan<byte> labels, int samples)
    {
        var key = run.KeyOf(labels);
        return run.Find(key) ?? Introduce(labels, key, samples);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private StoredSeries? Introduce(ReadOnlySpan<byte> labels, in SeriesKey key, int samples)
    {
        Decode(labels);
        return run.Introduce(key, samples);
    }

    private void Decode(ReadOnlySpan<byte> labels)
    {
        run.Labels.Clear();
        var reader = new ProtoReader(labels);
        while (reader.Next())
        {
            ReadOnlySpan<byte> name = [];
            ReadOnlySpan<byte> value = [];
            var label = new ProtoReader(reader.Bytes());
            while (label.Next())
            {
                switch (label.Field)
                {
                    case 1:
                        name = label.Bytes();
                        break;
                    case 2:
                        value = label.Bytes();
                        break;
                    default:
                        label.Skip();
                        break;
                }
            }

            run.Labels.Add(name, value);
        }
    }

    // A sample is the same in both versions, but for the start of a counter (field 3), for which there is no place in the store.
    internal void ReadSample(StoredSeries? series, ReadOnlySpan<byte> message)
    {
        // As every writer does it: eight bytes of value, then the time. The rest is for a value of 0, which is left out, and for others.
        double value = 0;
        long at = 0;
        if (message.Length >= 11 && message[0] == 0x09 && message[9] == 0x10 && TryReadTime(message[10..], out at))
        {
            value = BinaryPrimitives.ReadDoubleLittleEndian(message[1..]);
        }
        else
        {
            var reader = new ProtoReader(message);
            while (reader.Next())
            {
                switch (reader.Field)
                {
                    case 1:
                        value = reader.Double();
                        break;
                    case 2:
                        at = (long)reader.Varint();
                        break;
                    default:
                        reader.Skip();
                        break;
                }
            }
        }

        if (series is not null)
        {
            run.Batch.Add(series, at, value);
        }
    }

    // A varint that takes all that is left, as times of this century do with six bytes.
    private static bool TryReadTime(ReadOnlySpan<byte> bytes, out long at)
    {
        at = 0;
        if (bytes.Length > 8)
        {
            return false;
        }

        for (var index = 0; index < bytes.Length; index++)
        {
            at |= (long)(bytes[index] & 0x7f) << (7 * index);
            if (bytes[index] < 0x80)
            {
                return index == bytes.Length - 1;
            }
        }

        return false;
    }

    /// <summary>As Prometheus without the feature: refused with a sentence, while the rest of the request is stored.</summary>
    internal void RefuseHistogram(ReadOnlySpan<byte> labels)
    {
        string? sentence = null;
        if (run.Refusals.WantsSentence)
        {
            Decode(labels);
            sentence = $"{run.Labels}: native histograms are not stored; send classic ones.";
        }

        run.Refusals.Add(RefusalReason.NativeHistogram, 1, sentence);
    }

    private void ReadMetadata(ReadOnlySpan<byte> message)
    {
        var key = run.KeyOf(message);
        if (!run.IsNews(key))
        {
            return;
        }

        string family = "", help = "", unit = "";
        ulong type = 0;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    type = reader.Varint();
                    break;
                case 2:
                    family = reader.Text();
                    break;
                case 4:
                    help = reader.Text();
                    break;
                case 5:
                    unit = reader.Text();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        Describe(key, family, type, help, unit);
    }

    internal void Describe(in SeriesKey key, string family, ulong type, string help, string unit)
    {
        // Help is a courtesy: what cannot be stored of it is left out, and is no reason to send samples back.
        if (family.Length > 0 && !family.Contains('\0', StringComparison.Ordinal))
        {
            var word = MetricTypes[type < (ulong)MetricTypes.Length ? (int)type : 0];
            run.Describe(key, new MetricMetadata(run.Realm, family, word, help.Replace("\0", "", StringComparison.Ordinal), unit.Replace("\0", "", StringComparison.Ordinal)));
        }
    }
}
