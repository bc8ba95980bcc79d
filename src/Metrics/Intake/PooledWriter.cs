using System.Buffers.Binary;

namespace Platform.Metrics.Intake;

/// <summary>Writes protobuf into pooled bytes that count against the memory of the intakes, up to a bound.</summary>
internal sealed class PooledWriter(IntakeBodies bodies, int expected) : IDisposable
{
    private const int LengthBytes = 5;

    private PooledBytes _bytes = bodies.Rent(Math.Max(expected, 1024));

    public ReadOnlySpan<byte> Written => _bytes.Span;

    public void Tag(int field, int wire) => Varint((ulong)((field << 3) | wire));

    public void Varint(ulong value)
    {
        var room = Reserve(10);
        var at = 0;
        for (; value >= 0x80; value >>= 7)
        {
            room[at++] = (byte)(value | 0x80);
        }

        room[at++] = (byte)value;
        _bytes.Length += at;
    }

    public void Fixed64(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(Reserve(8), value);
        _bytes.Length += 8;
    }

    /// <summary>Begins a field whose length is known only at its end.</summary>
    /// <returns>For <see cref="End"/>.</returns>
    public int Begin(int field)
    {
        Tag(field, 2);
        Reserve(LengthBytes);
        _bytes.Length += LengthBytes;
        return _bytes.Length;
    }

    // A varint may have more bytes than it needs, so the place for the longest is left and nothing is moved.
    public void End(int begin)
    {
        var length = _bytes.Length - begin;
        var room = _bytes.Array.AsSpan(begin - LengthBytes, LengthBytes);
        for (var index = 0; index < LengthBytes; index++)
        {
            room[index] = (byte)(((length >> (7 * index)) & 0x7f) | (index < LengthBytes - 1 ? 0x80 : 0));
        }
    }

    /// <summary>Room for so many bytes; <see cref="Advance"/> says how many were written.</summary>
    public Span<byte> Reserve(int bytes)
    {
        if (_bytes.Length + bytes > _bytes.Array.Length)
        {
            var larger = bodies.Rent(bodies.CheckDecoded(_bytes.Length + Math.Max((long)bytes, _bytes.Length)));
            _bytes.Span.CopyTo(larger.Array);
            larger.Length = _bytes.Length;
            _bytes.Dispose();
            _bytes = larger;
        }

        return _bytes.Array.AsSpan(_bytes.Length);
    }

    public void Advance(int bytes) => _bytes.Length += bytes;

    public void Dispose() => _bytes.Dispose();
}
