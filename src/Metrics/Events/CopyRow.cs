using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Platform.Metrics.Events;

/// <summary>
/// Writes one row of PostgreSQL's binary COPY format: a 16-bit field count, then for each field a 32-bit length (−1 for null) and its bytes,
/// all big-endian. Source: PostgreSQL documentation, "COPY", section "Binary Format".
/// </summary>
public readonly ref struct CopyRow
{
    /// <summary>Signature, flags and header extension, before the first row.</summary>
    public static ReadOnlySpan<byte> Header =>
    [
        (byte)'P', (byte)'G', (byte)'C', (byte)'O', (byte)'P', (byte)'Y', (byte)'\n', 0xff, (byte)'\r', (byte)'\n', 0,
        0, 0, 0, 0,
        0, 0, 0, 0,
    ];

    /// <summary>After the last row.</summary>
    public static ReadOnlySpan<byte> Trailer => [0xff, 0xff];

    private static readonly DateTimeOffset Epoch = new(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly ArrayBufferWriter<byte> _output;

    public CopyRow(ArrayBufferWriter<byte> output, short fields)
    {
        _output = output;
        BinaryPrimitives.WriteInt16BigEndian(output.GetSpan(2), fields);
        output.Advance(2);
    }

    public void Write(Guid value)
    {
        Length(16);
        value.TryWriteBytes(_output.GetSpan(16), bigEndian: true, out _);
        _output.Advance(16);
    }

    /// <summary>UTF-8 text.</summary>
    public void Write(ReadOnlySpan<byte> text)
    {
        Length(text.Length);
        _output.Write(text);
    }

    public void Write(string? text)
    {
        if (text is null)
        {
            Length(-1);
            return;
        }

        var length = Encoding.UTF8.GetByteCount(text);
        Length(length);
        Encoding.UTF8.GetBytes(text, _output.GetSpan(length));
        _output.Advance(length);
    }

    /// <summary>The binary form of <c>jsonb</c> is its text after a version byte.</summary>
    public void WriteJsonb(ReadOnlySpan<byte> json)
    {
        Length(json.Length + 1);
        _output.GetSpan(1)[0] = 1;
        _output.Advance(1);
        _output.Write(json);
    }

    /// <summary>A <c>timestamptz</c>: microseconds since 2000-01-01 UTC.</summary>
    public void Write(DateTimeOffset time)
    {
        Length(8);
        BinaryPrimitives.WriteInt64BigEndian(_output.GetSpan(8), (time - Epoch).Ticks / TimeSpan.TicksPerMicrosecond);
        _output.Advance(8);
    }

    private void Length(int length)
    {
        BinaryPrimitives.WriteInt32BigEndian(_output.GetSpan(4), length);
        _output.Advance(4);
    }
}
