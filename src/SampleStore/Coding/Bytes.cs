using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Platform.SampleStore;

/// <summary>Reads what <see cref="ByteSink"/> wrote. Never reads beyond its bytes, whatever they say.</summary>
internal ref struct ByteSource(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private int _at;

    public readonly int Left => _bytes.Length - _at;

    public byte Byte()
    {
        if (_at >= _bytes.Length)
        {
            Damaged.Throw("it ends too early");
        }

        return _bytes[_at++];
    }

    public ulong Fixed64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(8));

    public ulong Varint()
    {
        var value = 0UL;
        for (var shift = 0; shift < 64; shift += 7)
        {
            var next = Byte();
            value |= (ulong)(next & 0x7f) << shift;
            if (next < 0x80)
            {
                return value;
            }
        }

        Damaged.Throw("a number is too long");
        return 0;
    }

    public long Zigzag()
    {
        var value = Varint();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    /// <summary>A number that is at most <paramref name="most"/>.</summary>
    public int Count(int most)
    {
        var value = Varint();
        if (value > (ulong)most)
        {
            Damaged.Throw("a count is too large");
        }

        return (int)value;
    }

    public ReadOnlySpan<byte> Take(int length)
    {
        if ((uint)length > (uint)Left)
        {
            Damaged.Throw("it ends too early");
        }

        var taken = _bytes.Slice(_at, length);
        _at += length;
        return taken;
    }

    public readonly void End()
    {
        if (Left != 0)
        {
            Damaged.Throw("bytes are left over");
        }
    }
}

/// <summary>Writes into memory that is known to be large enough: the encoders compute the worst case first.</summary>
internal ref struct ByteSink(Span<byte> bytes)
{
    private readonly Span<byte> _bytes = bytes;

    public int Length { get; private set; }

    public readonly Span<byte> Written => _bytes[..Length];

    public void Byte(byte value) => _bytes[Length++] = value;

    public void Fixed64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Skip(8), value);

    /// <summary>Seven bits a byte, the lowest first; the top bit says that more follow.</summary>
    public void Varint(ulong value)
    {
        while (value >= 0x80)
        {
            _bytes[Length++] = (byte)(value | 0x80);
            value >>= 7;
        }

        _bytes[Length++] = (byte)value;
    }

    /// <summary>Numbers near zero, of either sign, become short varints.</summary>
    public void Zigzag(long value) => Varint((ulong)(value << 1) ^ (ulong)(value >> 63));

    public void Bytes(scoped ReadOnlySpan<byte> bytes) => bytes.CopyTo(Skip(bytes.Length));

    public Span<byte> Skip(int length)
    {
        var place = _bytes.Slice(Length, length);
        Length += length;
        return place;
    }

    public static int SizeOfVarint(ulong value) => (BitOperations.Log2(value | 1) + 7) / 7;
}

/// <summary>CRC-32C at the end of whatever is stored: damage is found before it becomes a wrong number.</summary>
internal static class Checksum
{
    public const int Size = 4;

    public static void Append(ref ByteSink sink)
    {
        var sum = Of(sink.Written);
        BinaryPrimitives.WriteUInt32LittleEndian(sink.Skip(Size), sum);
    }

    /// <summary>The bytes without their checksum.</summary>
    /// <exception cref="InvalidDataException">It does not fit.</exception>
    public static ReadOnlySpan<byte> Verify(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < Size)
        {
            Damaged.Throw("it ends too early");
        }

        var content = bytes[..^Size];
        if (BinaryPrimitives.ReadUInt32LittleEndian(bytes[^Size..]) != Of(content))
        {
            Damaged.Throw("the checksum does not fit");
        }

        return content;
    }

    public static uint Of(ReadOnlySpan<byte> bytes)
    {
        var sum = uint.MaxValue;
        foreach (var word in MemoryMarshal.Cast<byte, ulong>(bytes))
        {
            sum = BitOperations.Crc32C(sum, BitConverter.IsLittleEndian ? word : BinaryPrimitives.ReverseEndianness(word));
        }

        foreach (var rest in bytes[(bytes.Length & ~7)..])
        {
            sum = BitOperations.Crc32C(sum, rest);
        }

        return ~sum;
    }
}

internal static class Damaged
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    [System.Diagnostics.CodeAnalysis.DoesNotReturn]
    public static void Throw(string how) => throw new InvalidDataException($"Stored samples are damaged: {how}.");
}
