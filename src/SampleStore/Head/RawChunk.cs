using System.Runtime.InteropServices;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>Samples of one series as bytes.</summary>
internal static class RawChunk
{
    public static byte[] Encode(ReadOnlySpan<long> times, ReadOnlySpan<double> values)
    {
        var bytes = new byte[16 * times.Length];
        MemoryMarshal.AsBytes(times).CopyTo(bytes);
        MemoryMarshal.AsBytes(values).CopyTo(bytes.AsSpan(8 * times.Length));
        return bytes;
    }

    public static void Read(ReadOnlySpan<byte> bytes, long from, long to, SampleColumns into)
    {
        var count = bytes.Length / 16;
        var times = MemoryMarshal.Cast<byte, long>(bytes[..(8 * count)]);
        var values = MemoryMarshal.Cast<byte, double>(bytes[(8 * count)..]);
        var first = BufferView.LowerBound(times, from);
        var end = to == long.MaxValue ? count : BufferView.LowerBound(times, to + 1);
        if (end > first)
        {
            into.AddRange(times[first..end], values[first..end]);
        }
    }
}
