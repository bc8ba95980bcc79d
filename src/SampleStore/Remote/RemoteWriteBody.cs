using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// Remote write 1.0 from the sending side: <c>WriteRequest { TimeSeries{Label{name, value}, Sample{value, timestamp}}, MetricMetadata }</c>
/// in protobuf, each series once with its samples in order of time. https://prometheus.io/docs/specs/prw/remote_write_spec/
/// </summary>
public sealed class RemoteWriteBody
{
    private byte[] _bytes = new byte[64 * 1024];
    private int _count;

    /// <summary>The request so far, uncompressed.</summary>
    public ReadOnlySpan<byte> Plain => _bytes.AsSpan(0, _count);

    /// <summary>The request as it goes over the wire.</summary>
    public byte[] Compress() => SnappyEncoder.Encode(Plain);

    /// <param name="times">Milliseconds, ascending.</param>
    public void Add(Labels labels, ReadOnlySpan<long> times, ReadOnlySpan<double> values)
    {
        var size = 0;
        for (var index = 0; index < labels.Count; index++)
        {
            size += Nested(PairSize(labels.NameAt(index), labels.ValueAt(index)));
        }

        foreach (var time in times)
        {
            size += Nested(SampleSize(time));
        }

        Message(1, size);
        for (var index = 0; index < labels.Count; index++)
        {
            Message(1, PairSize(labels.NameAt(index), labels.ValueAt(index)));
            Text(1, labels.NameAt(index));
            Text(2, labels.ValueAt(index));
        }

        for (var index = 0; index < times.Length; index++)
        {
            Message(2, SampleSize(times[index]));
            BinaryPrimitives.WriteDoubleLittleEndian(Room(9)[1..], values[index]);
            _bytes[_count] = (1 << 3) | 1;
            _count += 9;
            Tag(2, 0);
            Varint((ulong)times[index]);
        }
    }

    public void Add(MetricMetadata metadata)
    {
        var type = metadata.Type switch
        {
            "counter" => 1u,
            "gauge" => 2u,
            "histogram" => 3u,
            "gaugehistogram" => 4u,
            "summary" => 5u,
            "info" => 6u,
            "stateset" => 7u,
            _ => 0u,
        };
        Message(3, 2 + TextSize(metadata.Family) + TextSize(metadata.Help) + TextSize(metadata.Unit));
        Tag(1, 0);
        Varint(type);
        Text(2, metadata.Family);
        Text(4, metadata.Help);
        Text(5, metadata.Unit);
    }

    private static int PairSize(string name, string value) => TextSize(name) + TextSize(value);

    private static int TextSize(string text)
    {
        var bytes = Encoding.UTF8.GetByteCount(text);
        return 1 + VarintSize((ulong)bytes) + bytes;
    }

    private static int SampleSize(long time) => 9 + 1 + VarintSize((ulong)time);

    private static int Nested(int size) => 1 + VarintSize((ulong)size) + size;

    private static int VarintSize(ulong value) => (BitOperations.Log2(value | 1) / 7) + 1;

    private void Message(int field, int size)
    {
        Tag(field, 2);
        Varint((ulong)size);
    }

    private void Text(int field, string text)
    {
        Tag(field, 2);
        Varint((ulong)Encoding.UTF8.GetByteCount(text));
        _count += Encoding.UTF8.GetBytes(text, Room(3 * text.Length));
    }

    private void Tag(int field, int type)
    {
        Room(1)[0] = (byte)((field << 3) | type);
        _count++;
    }

    private void Varint(ulong value)
    {
        var room = Room(10);
        var at = 0;
        while (value >= 0x80)
        {
            room[at++] = (byte)(value | 0x80);
            value >>= 7;
        }

        room[at++] = (byte)value;
        _count += at;
    }

    private Span<byte> Room(int bytes)
    {
        if (_bytes.Length - _count < bytes)
        {
            Array.Resize(ref _bytes, Math.Max(2 * _bytes.Length, _count + bytes));
        }

        return _bytes.AsSpan(_count);
    }
}
