using System.Buffers.Binary;
using System.Net.Http.Headers;
using System.Text;

namespace Platform.Testing;

/// <summary>One series of a remote-write request.</summary>
/// <param name="Labels">Sorted by name, as the protocol wants it; <c>__name__</c> is one of them.</param>
/// <param name="Samples">Milliseconds since 1970-01-01 UTC and values, in order of time.</param>
public sealed record WrittenSeries(IReadOnlyList<(string Name, string Value)> Labels, IReadOnlyList<(long At, double Value)> Samples);

/// <summary>
/// Requests of Prometheus remote write 1.0, as a sender makes them; written apart from the product's reader, so that both cannot be wrong
/// in the same way.
/// </summary>
public static class RemoteWrite
{
    /// <summary>The request's body: a compressed <c>prometheus.WriteRequest</c>, with the headers that go with it.</summary>
    public static ByteArrayContent Content(IEnumerable<WrittenSeries> series)
    {
        var content = new ByteArrayContent(IronSnappy.Snappy.Encode(Encode(series)));
        content.Headers.ContentType = new MediaTypeHeaderValue("application/x-protobuf");
        content.Headers.ContentEncoding.Add("snappy");
        content.Headers.Add("X-Prometheus-Remote-Write-Version", "0.1.0");
        return content;
    }

    /// <summary>The message before it is compressed.</summary>
    public static byte[] Encode(IEnumerable<WrittenSeries> series)
    {
        Span<byte> bits = stackalloc byte[8];
        using var request = new MemoryStream();
        foreach (var one in series)
        {
            using var message = new MemoryStream();
            foreach (var (name, value) in one.Labels)
            {
                using var label = new MemoryStream();
                WriteBytes(label, 1, Encoding.UTF8.GetBytes(name));
                WriteBytes(label, 2, Encoding.UTF8.GetBytes(value));
                WriteBytes(message, 1, label.ToArray());
            }

            foreach (var (at, value) in one.Samples)
            {
                using var sample = new MemoryStream();
                sample.WriteByte(0x09);
                BinaryPrimitives.WriteInt64LittleEndian(bits, BitConverter.DoubleToInt64Bits(value));
                sample.Write(bits);
                sample.WriteByte(0x10);
                WriteVarint(sample, (ulong)at);
                WriteBytes(message, 2, sample.ToArray());
            }

            WriteBytes(request, 1, message.ToArray());
        }

        return request.ToArray();
    }

    private static void WriteBytes(MemoryStream into, int field, byte[] bytes)
    {
        WriteVarint(into, (ulong)(field << 3 | 2));
        WriteVarint(into, (ulong)bytes.Length);
        into.Write(bytes);
    }

    private static void WriteVarint(MemoryStream into, ulong value)
    {
        while (value >= 0x80)
        {
            into.WriteByte((byte)(value | 0x80));
            value >>= 7;
        }

        into.WriteByte((byte)value);
    }
}
