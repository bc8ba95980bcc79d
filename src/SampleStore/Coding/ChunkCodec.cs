using System.Buffers;
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

    private const byte Version = 1;

    // How times and values are written: two flags in one byte.
    private const int TimesInBlocks = 1;
    private const int ValuesInBlocks = 2;

    /// <summary>The samples as a chunk.</summary>
    /// <param name="times">Milliseconds since 1970, each later than the one before; 1 to <see cref="MaxSamples"/> of them.</param>
    /// <param name="values">As many; any bits, also those of NaNs.</param>
    /// <exception cref="ArgumentException">The times do not ascend, the columns differ in length or are empty or too long.</exception>
    public static byte[] Encode(ReadOnlySpan<long> times, ReadOnlySpan<double> values)
    {
        if (times.Length != values.Length || times.Length is 0 or > MaxSamples)
        {
            throw new ArgumentException($"A chunk takes 1 to {MaxSamples} samples, not {times.Length} times and {values.Length} values.", nameof(times));
        }

        var blocks = (times.Length + PackedBlock.Most - 1) / PackedBlock.Most;
        var buffer = ArrayPool<byte>.Shared.Rent(64 + blocks * (PackedBlock.LargestSize + ValueBlock.LargestSize + 8));
        var sink = new ByteSink(buffer);
        sink.Byte(Version);
        sink.Varint((ulong)times.Length);
        var constant = IsConstant(values);
        var inBlocks = !TimeRuns.AreFew(times);
        sink.Byte((byte)((inBlocks ? TimesInBlocks : 0) | (constant ? 0 : ValuesInBlocks)));
        if (inBlocks)
        {
            WriteTimeBlocks(ref sink, times);
        }
        else
        {
            TimeRuns.Write(ref sink, times);
        }

        if (constant)
        {
            sink.Fixed64(BitConverter.DoubleToUInt64Bits(values[0]));
        }
        else
        {
            WriteValueBlocks(ref sink, values);
        }

        Checksum.Append(ref sink);
        var chunk = sink.Written.ToArray();
        ArrayPool<byte>.Shared.Return(buffer);
        return chunk;
    }

    /// <summary>How many samples the chunk says it holds.</summary>
    /// <exception cref="InvalidDataException">The bytes are no chunk.</exception>
    public static int CountOf(ReadOnlySpan<byte> chunk)
    {
        var source = new ByteSource(chunk);
        return Begin(ref source);
    }

    /// <summary>Appends the samples from <paramref name="from"/> to <paramref name="to"/>, both inclusive. Blocks outside are passed over.</summary>
    /// <exception cref="InvalidDataException">The bytes are no chunk, or were damaged; nothing was appended.</exception>
    public static void Read(ReadOnlySpan<byte> chunk, long from, long to, SampleColumns into)
    {
        var source = new ByteSource(Checksum.Verify(chunk));
        var count = Begin(ref source);
        var form = source.Byte();
        if (form > (TimesInBlocks | ValuesInBlocks))
        {
            Damaged.Throw("a chunk has a form that does not exist");
        }

        var times = into.Reserve(count, out var values);
        var (first, taken) = (form & TimesInBlocks) != 0
            ? ReadTimeBlocks(ref source, count, from, to, times)
            : TimeRuns.Read(ref source, count, from, to, times);
        if (taken == 0)
        {
            return;
        }

        if ((form & ValuesInBlocks) != 0)
        {
            ReadValueBlocks(ref source, count, first, values[..taken]);
        }
        else
        {
            values[..taken].Fill(BitConverter.UInt64BitsToDouble(source.Fixed64()));
            source.End();
        }

        into.Advance(taken);
    }

    private static int Begin(scoped ref ByteSource source)
    {
        if (source.Byte() != Version)
        {
            Damaged.Throw("a chunk has a version that is not known");
        }

        var count = source.Count(MaxSamples);
        if (count == 0)
        {
            Damaged.Throw("a chunk is empty");
        }

        return count;
    }

    private static bool IsConstant(ReadOnlySpan<double> values)
    {
        var bits = System.Runtime.InteropServices.MemoryMarshal.Cast<double, long>(values);
        return bits.IndexOfAnyExcept(bits[0]) < 0;
    }

    private static void WriteTimeBlocks(ref ByteSink sink, ReadOnlySpan<long> times)
    {
        for (var start = 0; start < times.Length; start += PackedBlock.Most)
        {
            if (start > 0 && times[start] <= times[start - 1])
            {
                TimeRuns.NotAscending(start);
            }

            var block = times.Slice(start, Math.Min(PackedBlock.Most, times.Length - start));
            var plan = PackedBlock.ChooseDelta(block);
            sink.Varint((ulong)plan.Size);
            PackedBlock.Write(ref sink, block, plan);
        }
    }

    private static (int First, int Taken) ReadTimeBlocks(scoped ref ByteSource source, int count, long from, long to, Span<long> times)
    {
        var (first, taken) = (0, 0);
        Span<long> block = stackalloc long[PackedBlock.Most];
        var bytes = source.Take(source.Count(PackedBlock.LargestSize));
        for (var start = 0; start < count; start += PackedBlock.Most)
        {
            // Whether a block matters follows from where it and the next one begin; the others are not decoded.
            var next = start + PackedBlock.Most < count ? source.Take(source.Count(PackedBlock.LargestSize)) : default;
            if ((next.IsEmpty || PackedBlock.FirstOf(next) > from) && PackedBlock.FirstOf(bytes) <= to)
            {
                block = block[..Math.Min(PackedBlock.Most, count - start)];
                var inner = new ByteSource(bytes);
                PackedBlock.Read(ref inner, block);
                inner.End();
                var begin = block[0] >= from ? 0 : CountBefore(block, from);
                var end = block[^1] <= to ? block.Length : CountBefore(block, to + 1);
                if (begin < end)
                {
                    if (taken == 0)
                    {
                        first = start + begin;
                    }
                    else if (first + taken != start + begin)
                    {
                        Damaged.Throw("times do not ascend");
                    }

                    block[begin..end].CopyTo(times[taken..]);
                    taken += end - begin;
                }
            }

            bytes = next;
        }

        return (first, taken);
    }

    private static int CountBefore(ReadOnlySpan<long> ascending, long time)
    {
        var at = ascending.BinarySearch(time);
        return at < 0 ? ~at : at;
    }

    private static void WriteValueBlocks(ref ByteSink sink, ReadOnlySpan<double> values)
    {
        var digits = 0;
        Span<byte> block = stackalloc byte[ValueBlock.LargestSize];
        for (var start = 0; start < values.Length; start += PackedBlock.Most)
        {
            var inner = new ByteSink(block);
            ValueBlock.Write(ref inner, values.Slice(start, Math.Min(PackedBlock.Most, values.Length - start)), ref digits);
            sink.Varint((ulong)inner.Length);
            sink.Bytes(inner.Written);
        }
    }

    private static void ReadValueBlocks(scoped ref ByteSource source, int count, int first, Span<double> values)
    {
        Span<double> whole = stackalloc double[PackedBlock.Most];
        var taken = 0;
        for (var start = 0; start < count && taken < values.Length; start += PackedBlock.Most)
        {
            var bytes = source.Take(source.Count(ValueBlock.LargestSize));
            var length = Math.Min(PackedBlock.Most, count - start);
            if (start + length <= first)
            {
                continue;
            }

            var inner = new ByteSource(bytes);
            var begin = Math.Max(0, first - start);
            if (begin == 0 && length <= values.Length - taken)
            {
                ValueBlock.Read(ref inner, values.Slice(taken, length));
                taken += length;
            }
            else
            {
                ValueBlock.Read(ref inner, whole[..length]);
                var part = Math.Min(length - begin, values.Length - taken);
                whole.Slice(begin, part).CopyTo(values[taken..]);
                taken += part;
            }

            inner.End();
        }

        if (taken != values.Length)
        {
            Damaged.Throw("it ends too early");
        }
    }
}
