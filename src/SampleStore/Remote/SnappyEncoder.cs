using System.Buffers.Binary;
using System.Numerics;

namespace Platform.SampleStore;

/// <summary>
/// Snappy's block format, which remote write asks for. Greedy: the last place of each four bytes is looked up in a small table, so that
/// label names and values that come again cost three bytes. https://github.com/google/snappy/blob/main/format_description.txt
/// </summary>
public static class SnappyEncoder
{
    private const int TableBits = 14;
    // Distances fit the two bytes of a copy when a block is no longer than that.
    private const int BlockBytes = 1 << 16;

    public static byte[] Encode(ReadOnlySpan<byte> plain)
    {
        // A literal costs at most three bytes more than it holds, and there is one before each copy at most.
        var into = new byte[16 + plain.Length + plain.Length / 6 + 8 * (plain.Length / BlockBytes + 1)];
        var at = 0;
        for (var length = (uint)plain.Length; ; length >>= 7)
        {
            if (length < 0x80)
            {
                into[at++] = (byte)length;
                break;
            }

            into[at++] = (byte)(length | 0x80);
        }

        Span<ushort> table = new ushort[1 << TableBits];
        for (var from = 0; from < plain.Length; from += BlockBytes)
        {
            table.Clear();
            at = Block(plain.Slice(from, Math.Min(BlockBytes, plain.Length - from)), into, at, table);
        }

        return into.AsSpan(0, at).ToArray();
    }

    private static int Block(ReadOnlySpan<byte> block, byte[] into, int at, Span<ushort> table)
    {
        var start = 0;
        var next = 1;
        while (next + 4 <= block.Length)
        {
            var word = BinaryPrimitives.ReadUInt32LittleEndian(block[next..]);
            ref var place = ref table[(int)((word * 0x1e35a7bd) >> (32 - TableBits))];
            int found = place;
            place = (ushort)next;
            if (found >= next || BinaryPrimitives.ReadUInt32LittleEndian(block[found..]) != word)
            {
                // The longer nothing was found, the larger the steps: what cannot be compressed goes through quickly.
                next += 1 + ((next - start) >> 5);
                continue;
            }

            at = Literal(block[start..next], into, at);
            var length = 4 + block[(next + 4)..].CommonPrefixLength(block[(found + 4)..]);
            at = Copy(next - found, length, into, at);
            next += length;
            start = next;
        }

        return Literal(block[start..], into, at);
    }

    private static int Literal(ReadOnlySpan<byte> bytes, byte[] into, int at)
    {
        if (bytes.IsEmpty)
        {
            return at;
        }

        var length = bytes.Length - 1;
        if (length < 60)
        {
            into[at++] = (byte)(length << 2);
        }
        else
        {
            var size = (BitOperations.Log2((uint)length) / 8) + 1;
            into[at++] = (byte)((59 + size) << 2);
            for (var index = 0; index < size; index++)
            {
                into[at++] = (byte)(length >> (8 * index));
            }
        }

        bytes.CopyTo(into.AsSpan(at));
        return at + bytes.Length;
    }

    private static int Copy(int distance, int length, byte[] into, int at)
    {
        while (length > 0)
        {
            var part = Math.Min(length, 64);
            into[at++] = (byte)(((part - 1) << 2) | 2);
            into[at++] = (byte)distance;
            into[at++] = (byte)(distance >> 8);
            length -= part;
        }

        return at;
    }
}
