using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Platform.Metrics.Intake;

/// <summary>
/// Decoder of snappy's block format, for the hot path of remote write: from span to span, without allocation. Encoding and the framed
/// format are not needed here.
/// </summary>
internal static class Snappy
{
    /// <summary>Room that <see cref="TryDecode"/> needs behind the decoded bytes, because it copies in steps of 16.</summary>
    public const int Slack = 16;

    // The densest element writes 64 bytes and takes three.
    private const long MostExpansion = 22;

    /// <summary>Reads the preamble: how long the decoded body says it is, and where the elements begin.</summary>
    /// <returns>False when it is cut short, or claims more than so many compressed bytes can hold, so that nothing is allocated for a lie.</returns>
    public static bool TryReadLength(ReadOnlySpan<byte> body, out long length, out int start)
    {
        length = 0;
        for (start = 0; start < 5 && start < body.Length; start++)
        {
            length |= (long)(body[start] & 0x7f) << (7 * start);
            if (body[start] < 0x80)
            {
                start++;
                return length <= uint.MaxValue && length <= MostExpansion * body.Length;
            }
        }

        return false;
    }

    /// <param name="elements">The body behind its preamble.</param>
    /// <param name="into">At least <paramref name="length"/> + <see cref="Slack"/> bytes; what was in there before cannot shine through.</param>
    /// <returns>False when the elements are corrupt or do not make exactly <paramref name="length"/> bytes.</returns>
    public static bool TryDecode(ReadOnlySpan<byte> elements, Span<byte> into, int length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(into.Length, length + Slack);
        ref var source = ref MemoryMarshal.GetReference(elements);
        ref var target = ref MemoryMarshal.GetReference(into);
        var end = elements.Length;
        var from = 0;
        var to = 0;
        while (from < end)
        {
            int tag = Unsafe.Add(ref source, from++);
            int count;
            int offset;
            switch (tag & 3)
            {
                case 0:
                    count = (tag >> 2) + 1;
                    if (count <= 16 && end - from >= 16 && count <= length - to)
                    {
                        Copy16(ref Unsafe.Add(ref source, from), ref Unsafe.Add(ref target, to));
                        from += count;
                        to += count;
                        continue;
                    }

                    if (count > 60 && !TryReadLiteralLength(elements, ref from, count - 60, out count))
                    {
                        return false;
                    }

                    if (count > end - from || count > length - to)
                    {
                        return false;
                    }

                    elements.Slice(from, count).CopyTo(into[to..]);
                    from += count;
                    to += count;
                    continue;
                case 1:
                    if (from == end)
                    {
                        return false;
                    }

                    count = 4 + ((tag >> 2) & 7);
                    offset = ((tag >> 5) << 8) | Unsafe.Add(ref source, from++);
                    break;
                case 2:
                    if (end - from < 2)
                    {
                        return false;
                    }

                    count = (tag >> 2) + 1;
                    offset = BinaryPrimitives.ReadUInt16LittleEndian(elements[from..]);
                    from += 2;
                    break;
                default:
                    if (end - from < 4)
                    {
                        return false;
                    }

                    count = (tag >> 2) + 1;
                    offset = BinaryPrimitives.ReadInt32LittleEndian(elements[from..]);
                    from += 4;
                    break;
            }

            // As unsigned, so that one comparison refuses 0, negative offsets, and those from before the beginning.
            if ((uint)(offset - 1) >= (uint)to || count > length - to)
            {
                return false;
            }

            Repeat(ref Unsafe.Add(ref target, to - offset), ref Unsafe.Add(ref target, to), offset, count);
            to += count;
        }

        return to == length;
    }

    // At most 64 bytes; may write up to 15 bytes more than asked for, into what comes next or into the slack.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Repeat(ref byte source, ref byte target, int offset, int count)
    {
        if (offset >= 16)
        {
            for (var done = 0; done < count; done += 16)
            {
                Copy16(ref Unsafe.Add(ref source, done), ref Unsafe.Add(ref target, done));
            }
        }
        else
        {
            // The copy repeats bytes that it has just written.
            for (var done = 0; done < count; done++)
            {
                Unsafe.Add(ref target, done) = Unsafe.Add(ref source, done);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy16(ref byte source, ref byte target) =>
        Unsafe.WriteUnaligned(ref target, Unsafe.ReadUnaligned<UInt128>(ref source));

    private static bool TryReadLiteralLength(ReadOnlySpan<byte> elements, ref int from, int bytes, out int count)
    {
        count = 0;
        if (elements.Length - from < bytes)
        {
            return false;
        }

        long length = 0;
        for (var index = 0; index < bytes; index++)
        {
            length |= (long)elements[from++] << (8 * index);
        }

        count = (int)Math.Min(length + 1, int.MaxValue);
        return true;
    }
}
