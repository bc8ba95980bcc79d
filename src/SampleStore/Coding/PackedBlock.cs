using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Platform.SampleStore;

/// <summary>
/// Up to 128 numbers of 64 bits, close together: as offsets from a base, all with the same number of bits, either of the numbers
/// themselves or of their differences. The few that need more bits are exceptions: their upper bits follow in a list. All arithmetic
/// is modulo 2^64, so every number has a place.
/// </summary>
internal static class PackedBlock
{
    public const int Most = 128;

    /// <summary>More bytes than any block takes.</summary>
    public const int LargestSize = 8 * Most + 32;

    // A load of eight bytes at the byte where an offset begins holds 57 bits of it for certain. Wider ones are stored whole.
    private const int WidestPacked = 57;
    private const int Whole = 64;
    private const int DeltaFlag = 0x80;

    /// <summary>How a block is going to be written, and how large it will be.</summary>
    public readonly record struct Plan(bool Delta, int Width, int Exceptions, long Base, int Size);

    /// <summary>The smaller of both forms.</summary>
    /// <param name="numbers">1 to <see cref="Most"/>.</param>
    public static Plan Choose(ReadOnlySpan<long> numbers)
    {
        Span<long> deltas = stackalloc long[Most];
        var delta = ChooseDelta(numbers, deltas);
        var direct = Choose(numbers, delta: false, 0);
        return direct.Size < delta.Size ? direct : delta;
    }

    /// <summary>Differences only: what is sorted, such as times.</summary>
    public static Plan ChooseDelta(ReadOnlySpan<long> numbers)
    {
        Span<long> deltas = stackalloc long[Most];
        return ChooseDelta(numbers, deltas);
    }

    public static void Write(scoped ref ByteSink sink, scoped ReadOnlySpan<long> numbers, in Plan plan)
    {
        sink.Byte((byte)(plan.Width | (plan.Delta ? DeltaFlag : 0)));
        sink.Byte((byte)plan.Exceptions);
        Span<long> deltas = stackalloc long[Most];
        scoped var offsets = numbers;
        if (plan.Delta)
        {
            sink.Zigzag(numbers[0]);
            offsets = Differences(numbers, deltas);
        }

        sink.Zigzag(plan.Base);
        Pack(sink.Skip(PackedSize(offsets.Length, plan.Width)), offsets, plan.Base, plan.Width);
        if (plan.Exceptions > 0)
        {
            for (var index = 0; index < offsets.Length; index++)
            {
                var high = (ulong)(offsets[index] - plan.Base) >> plan.Width;
                if (high != 0)
                {
                    sink.Byte((byte)index);
                    sink.Varint(high);
                }
            }
        }
    }

    /// <summary>The first number of a block of differences, without decoding it.</summary>
    public static long FirstOf(ReadOnlySpan<byte> block)
    {
        var source = new ByteSource(block);
        if ((source.Byte() & DeltaFlag) == 0)
        {
            Damaged.Throw("times are not differences");
        }

        source.Byte();
        return source.Zigzag();
    }

    /// <summary>The numbers of a block that was written with as many.</summary>
    /// <exception cref="InvalidDataException">The bytes are no such block.</exception>
    public static void Read(scoped ref ByteSource source, scoped Span<long> numbers)
    {
        var form = source.Byte();
        var delta = (form & DeltaFlag) != 0;
        var width = form & 0x7f;
        var exceptions = source.Byte();
        if (width is > WidestPacked and not Whole || exceptions > numbers.Length || (width == Whole && exceptions > 0))
        {
            Damaged.Throw("a block has a form that does not exist");
        }

        scoped var offsets = numbers;
        if (delta)
        {
            numbers[0] = source.Zigzag();
            offsets = numbers[1..];
        }

        var origin = source.Zigzag();
        Unpack(source.Take(PackedSize(offsets.Length, width)), offsets, origin, width);
        for (; exceptions > 0; exceptions--)
        {
            var index = source.Byte();
            if (index >= offsets.Length)
            {
                Damaged.Throw("an exception lies outside of its block");
            }

            offsets[index] += (long)(source.Varint() << width);
        }

        if (delta)
        {
            Sum(numbers);
        }
    }

    private static Plan ChooseDelta(ReadOnlySpan<long> numbers, Span<long> deltas)
    {
        var offsets = Differences(numbers, deltas);
        return Choose(offsets, delta: true, SizeOfZigzag(numbers[0]));
    }

    private static Span<long> Differences(scoped ReadOnlySpan<long> numbers, Span<long> into)
    {
        for (var index = 1; index < numbers.Length; index++)
        {
            into[index - 1] = numbers[index] - numbers[index - 1];
        }

        return into[..(numbers.Length - 1)];
    }

    private static Plan Choose(ReadOnlySpan<long> offsets, bool delta, int fixedSize)
    {
        if (offsets.IsEmpty)
        {
            return new Plan(delta, 0, 0, 0, fixedSize + 3);
        }

        // The smallest few, because a counter that begins again makes one difference that is far below all others.
        var (first, second, third, largest) = (long.MaxValue, long.MaxValue, long.MaxValue, long.MinValue);
        foreach (var offset in offsets)
        {
            largest = Math.Max(largest, offset);
            if (offset < third)
            {
                if (offset < second)
                {
                    third = second;
                    if (offset < first)
                    {
                        second = first;
                        first = offset;
                    }
                    else
                    {
                        second = offset;
                    }
                }
                else
                {
                    third = offset;
                }
            }
        }

        if (first == largest)
        {
            return new Plan(delta, 0, 0, first, fixedSize + 2 + SizeOfZigzag(first));
        }

        var best = ChooseWidth(offsets, first, delta, fixedSize);
        if (third != long.MaxValue && BitsOf((ulong)(largest - third)) + 1 < BitsOf((ulong)(largest - first)))
        {
            var other = ChooseWidth(offsets, third, delta, fixedSize);
            best = other.Size < best.Size ? other : best;
        }

        return best;
    }

    private static Plan ChooseWidth(ReadOnlySpan<long> offsets, long origin, bool delta, int fixedSize)
    {
        Span<byte> bits = stackalloc byte[Whole + 1];
        bits.Clear();
        var widest = 0;
        foreach (var offset in offsets)
        {
            var width = BitsOf((ulong)(offset - origin));
            bits[width]++;
            widest = Math.Max(widest, width);
        }

        // From the widest down: each step saves a bit for all and makes exceptions of some.
        fixedSize += 2 + SizeOfZigzag(origin);
        var best = widest > WidestPacked
            ? new Plan(delta, Whole, 0, origin, fixedSize + 8 * offsets.Length)
            : new Plan(delta, widest, 0, origin, fixedSize + PackedSize(offsets.Length, widest));
        var exceptions = 0;
        for (var width = widest - 1; width >= 0; width--)
        {
            exceptions += bits[width + 1];
            if (exceptions > offsets.Length / 8)
            {
                break;
            }

            if (width > WidestPacked)
            {
                continue;
            }

            var size = fixedSize + PackedSize(offsets.Length, width);
            for (var wider = width + 1; wider <= widest; wider++)
            {
                size += bits[wider] * (1 + (wider - width + 6) / 7);
            }

            if (size < best.Size)
            {
                best = new Plan(delta, width, exceptions, origin, size);
            }
        }

        return best;
    }

    private static int BitsOf(ulong value) => 64 - BitOperations.LeadingZeroCount(value);

    private static int PackedSize(int count, int width) => (count * width + 7) >> 3;

    private static int SizeOfZigzag(long value) => ByteSink.SizeOfVarint((ulong)(value << 1) ^ (ulong)(value >> 63));

    private static void Pack(Span<byte> into, ReadOnlySpan<long> offsets, long origin, int width)
    {
        if (width == 0)
        {
            return;
        }

        if (width == Whole)
        {
            for (var index = 0; index < offsets.Length; index++)
            {
                BinaryPrimitives.WriteInt64LittleEndian(into[(8 * index)..], offsets[index] - origin);
            }

            return;
        }

        var (pending, filled, at) = (0UL, 0, 0);
        var mask = (1UL << width) - 1;
        foreach (var offset in offsets)
        {
            var low = (ulong)(offset - origin) & mask;
            pending |= low << filled;
            filled += width;
            if (filled >= 64)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(into[at..], pending);
                at += 8;
                filled -= 64;
                pending = filled == 0 ? 0 : low >> (width - filled);
            }
        }

        for (; filled > 0; filled -= 8)
        {
            into[at++] = (byte)pending;
            pending >>= 8;
        }
    }

    private static void Unpack(ReadOnlySpan<byte> packed, Span<long> offsets, long origin, int width)
    {
        if (width == 0)
        {
            offsets.Fill(origin);
            return;
        }

        if (width == Whole)
        {
            for (var index = 0; index < offsets.Length; index++)
            {
                offsets[index] = BinaryPrimitives.ReadInt64LittleEndian(packed[(8 * index)..]) + origin;
            }

            return;
        }

        // Offsets whose eight bytes lie within the block are loaded from there; the last few from a copy with room behind it.
        var mask = (1UL << width) - 1;
        var safe = packed.Length < 8 ? 0 : Math.Min(offsets.Length, ((packed.Length - 8) * 8 + 7) / width + 1);
        ref var bytes = ref MemoryMarshal.GetReference(packed);
        var bit = 0;
        var loaded = offsets[..safe];
        for (var index = 0; index < loaded.Length; index++, bit += width)
        {
            var word = Unsafe.ReadUnaligned<ulong>(ref Unsafe.AddByteOffset(ref bytes, (nuint)(uint)bit >> 3));
            loaded[index] = (long)(((BitConverter.IsLittleEndian ? word : BinaryPrimitives.ReverseEndianness(word)) >> (bit & 7)) & mask) + origin;
        }

        if (safe < offsets.Length)
        {
            Span<byte> tail = stackalloc byte[24];
            tail.Clear();
            var start = Math.Max(0, packed.Length - 8);
            packed[start..].CopyTo(tail);
            for (var index = safe; index < offsets.Length; index++, bit += width)
            {
                offsets[index] = (long)((BinaryPrimitives.ReadUInt64LittleEndian(tail[((bit >> 3) - start)..]) >> (bit & 7)) & mask) + origin;
            }
        }
    }

    private static void Sum(Span<long> numbers)
    {
        var sum = 0L;
        for (var index = 0; index < numbers.Length; index++)
        {
            sum += numbers[index];
            numbers[index] = sum;
        }
    }
}
