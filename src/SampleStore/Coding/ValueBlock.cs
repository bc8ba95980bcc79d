using System.Numerics;

namespace Platform.SampleStore;

/// <summary>
/// Up to 128 values of any bits as a <see cref="PackedBlock"/>. What people measure are mostly whole numbers or decimals with few digits:
/// those become integers, value × 10^k. What is neither (NaN, infinity, -0, the odd value with more digits) follows in a list, or, when
/// there is much of it, the bits of all values are taken as integers.
/// </summary>
internal static class ValueBlock
{
    /// <summary>More bytes than any block takes.</summary>
    public const int LargestSize = PackedBlock.LargestSize + 2;

    private const byte BitsFlag = 0x40;
    private const byte OthersFlag = 0x80;
    private const int MostDigits = 17;

    // Doubles hold every integer up to here.
    private const double Largest = 1L << 53;

    // Division by these is exact to the last bit for integers up to 2^53, which is what "the nearest double to that decimal" means.
    private static readonly double[] Powers = [1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17];

    /// <param name="digits">Decimal digits of the block before: a hint, kept up to date; -1 when it had none.</param>
    public static void Write(scoped ref ByteSink sink, scoped ReadOnlySpan<double> values, ref int digits)
    {
        Span<long> decimals = stackalloc long[PackedBlock.Most];
        Span<byte> others = stackalloc byte[PackedBlock.Most];
        decimals = decimals[..values.Length];
        var found = TryDecimals(values, ref digits, decimals, others, out var otherCount);
        var plan = found ? PackedBlock.Choose(decimals) : default;
        var size = plan.Size + 9 * otherCount + (otherCount > 0 ? 1 : 0);
        if (!found || size > 4 * values.Length)
        {
            Span<long> bits = stackalloc long[PackedBlock.Most];
            bits = bits[..values.Length];
            var shift = ToBits(values, bits);
            var bitsPlan = PackedBlock.Choose(bits);
            if (!found || bitsPlan.Size < size)
            {
                sink.Byte((byte)(BitsFlag | shift));
                PackedBlock.Write(ref sink, bits, bitsPlan);
                return;
            }
        }

        sink.Byte((byte)(digits | (otherCount > 0 ? OthersFlag : 0)));
        PackedBlock.Write(ref sink, decimals, plan);
        if (otherCount > 0)
        {
            sink.Byte((byte)otherCount);
            foreach (var index in others[..otherCount])
            {
                sink.Byte(index);
                sink.Fixed64(BitConverter.DoubleToUInt64Bits(values[index]));
            }
        }
    }

    /// <summary>The values of a block that was written with as many.</summary>
    /// <exception cref="InvalidDataException">The bytes are no such block.</exception>
    public static void Read(scoped ref ByteSource source, scoped Span<double> values)
    {
        var form = source.Byte();
        Span<long> numbers = stackalloc long[PackedBlock.Most];
        numbers = numbers[..values.Length];
        PackedBlock.Read(ref source, numbers);
        if ((form & BitsFlag) != 0)
        {
            if ((form & OthersFlag) != 0)
            {
                Damaged.Throw("a block has a form that does not exist");
            }

            FromBits(numbers, form & 0x3f, values);
            return;
        }

        var digits = form & 0x3f;
        if (digits > MostDigits)
        {
            Damaged.Throw("a block has a form that does not exist");
        }

        FromDecimals(numbers, digits, values);
        if ((form & OthersFlag) != 0)
        {
            for (var left = source.Count(values.Length); left > 0; left--)
            {
                var index = source.Byte();
                if (index >= values.Length)
                {
                    Damaged.Throw("an exception lies outside of its block");
                }

                values[index] = BitConverter.UInt64BitsToDouble(source.Fixed64());
            }
        }
    }

    private static bool TryDecimals(ReadOnlySpan<double> values, ref int digits, Span<long> decimals, Span<byte> others, out int otherCount)
    {
        // First how many digits are needed, from values that need more than was thought so far ...
        var most = values.Length / 8 + 1;
        var misfits = digits < 0 ? most - Math.Min(most, 2) : 0;
        var needed = Math.Max(0, digits);
        foreach (var value in values)
        {
            if (!IsDecimal(value, needed, out _))
            {
                var more = needed + 1;
                while (more <= MostDigits && !IsDecimal(value, more, out _))
                {
                    more++;
                }

                if (more <= MostDigits)
                {
                    needed = more;
                }
                else if (++misfits > most)
                {
                    digits = -1;
                    otherCount = 0;
                    return false;
                }
            }
        }

        // ... then all of them with that many. Large values may not have room for the digits that small ones need.
        otherCount = 0;
        var last = 0L;
        for (var index = 0; index < values.Length; index++)
        {
            if (IsDecimal(values[index], needed, out var number))
            {
                last = number;
            }
            else
            {
                others[otherCount++] = (byte)index;
            }

            decimals[index] = last;
        }

        digits = otherCount > most ? -1 : needed;
        return digits >= 0;
    }

    private static bool IsDecimal(double value, int digits, out long number)
    {
        var scaled = Math.Round(value * Powers[digits]);
        if (!(Math.Abs(scaled) <= Largest))
        {
            number = 0;
            return false;
        }

        number = (long)scaled;
        return BitConverter.DoubleToInt64Bits(number / Powers[digits]) == BitConverter.DoubleToInt64Bits(value);
    }

    private static void FromDecimals(ReadOnlySpan<long> numbers, int digits, Span<double> values)
    {
        var power = Powers[digits];
        var index = 0;
        for (; index <= numbers.Length - Vector<long>.Count; index += Vector<long>.Count)
        {
            var some = Vector.ConvertToDouble(new Vector<long>(numbers[index..]));
            (digits == 0 ? some : some / new Vector<double>(power)).CopyTo(values[index..]);
        }

        for (; index < numbers.Length; index++)
        {
            values[index] = numbers[index] / power;
        }
    }

    // The sign goes to the lowest place, so that values about zero stay close; the order of the rest is that of the values. Zero bits that
    // all have at the low end (few digits in base two, single precision, no sign) are shifted out.
    private static int ToBits(ReadOnlySpan<double> values, Span<long> bits)
    {
        var any = 0UL;
        for (var index = 0; index < values.Length; index++)
        {
            var rotated = BitOperations.RotateLeft(BitConverter.DoubleToUInt64Bits(values[index]), 1);
            any |= rotated;
            bits[index] = (long)(rotated ^ 1UL << 63);
        }

        var shift = Math.Min(63, BitOperations.TrailingZeroCount(any));
        for (var index = 0; index < bits.Length; index++)
        {
            bits[index] >>= shift;
        }

        return shift;
    }

    private static void FromBits(ReadOnlySpan<long> numbers, int shift, Span<double> values)
    {
        for (var index = 0; index < numbers.Length; index++)
        {
            values[index] = BitConverter.UInt64BitsToDouble(BitOperations.RotateRight((ulong)(numbers[index] << shift) ^ 1UL << 63, 1));
        }
    }
}
