using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// A stretch of one series as bytes, and back, bit for bit. The format is described in FORMAT.md. Everything here is pure and safe for
/// all threads.
/// </summary>
internal static class ChunkCodec
{
    /// <summary>Most samples of one chunk; a day at one sample per second fits.</summary>
    public const int MaxSamples = 1 << 17;

    /// <summary>The samples as a chunk.</summary>
    /// <param name="times">Milliseconds since 1970, each later than the one before; 1 to <see cref="MaxSamples"/> of them.</param>
    /// <param name="values">As many; any bits, also those of NaNs.</param>
    /// <exception cref="ArgumentException">The times do not ascend, the columns differ in length or are empty or too long.</exception>
    public static byte[] Encode(ReadOnlySpan<long> times, ReadOnlySpan<double> values) => throw new NotImplementedException();

    /// <summary>How many samples the chunk says it holds.</summary>
    /// <exception cref="InvalidDataException">The bytes are no chunk.</exception>
    public static int CountOf(ReadOnlySpan<byte> chunk) => throw new NotImplementedException();

    /// <summary>Appends the samples from <paramref name="from"/> to <paramref name="to"/>, both inclusive. Blocks outside are passed over.</summary>
    /// <exception cref="InvalidDataException">The bytes are no chunk, or were damaged; nothing was appended.</exception>
    public static void Read(ReadOnlySpan<byte> chunk, long from, long to, SampleColumns into) => throw new NotImplementedException();
}
