using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Unicode;

namespace Platform.Metrics.Intake;

/// <summary>
/// Reads one protobuf message from a span, field by field, without objects. Nested messages are read by another reader over
/// <see cref="Bytes"/>. Whatever is cut short or contradicts itself throws <see cref="RefusedBodyException"/>; unknown fields are skipped.
/// </summary>
internal ref struct ProtoReader(ReadOnlySpan<byte> message)
{
    private readonly ReadOnlySpan<byte> _message = message;
    private int _at;

    /// <summary>Number of the field that was reached by <see cref="Next"/>.</summary>
    public int Field { get; private set; }

    /// <summary>0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.</summary>
    public int Wire { get; private set; }

    /// <summary>Where the next field begins, in bytes from the beginning of the message.</summary>
    public readonly int Position => _at;

    /// <summary>Goes to the next field. Its value must be read or skipped before the next call.</summary>
    public bool Next()
    {
        if (_at == _message.Length)
        {
            return false;
        }

        var tag = ReadVarint();
        Field = (int)(tag >> 3);
        Wire = (int)(tag & 7);
        if (tag > uint.MaxValue || Field == 0)
        {
            throw new RefusedBodyException("The body is no valid protobuf message: a field has an impossible number.");
        }

        return true;
    }

    public void Skip()
    {
        switch (Wire)
        {
            case 0:
                ReadVarint();
                break;
            case 1:
                Take(8);
                break;
            case 2:
                Bytes();
                break;
            case 5:
                Take(4);
                break;
            default:
                throw new RefusedBodyException($"The body is no valid protobuf message: wire type {Wire}.");
        }
    }

    public ulong Varint()
    {
        Expect(0);
        return ReadVarint();
    }

    /// <summary>A <c>sint32</c> or <c>sint64</c>.</summary>
    public long ZigZag()
    {
        var value = Varint();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    public ulong Fixed64()
    {
        Expect(1);
        return BinaryPrimitives.ReadUInt64LittleEndian(Take(8));
    }

    public double Double() => BitConverter.UInt64BitsToDouble(Fixed64());

    /// <summary>The bytes of a text, of bytes, of a packed list or of a nested message.</summary>
    public ReadOnlySpan<byte> Bytes()
    {
        Expect(2);
        var length = ReadVarint();
        if (length > (ulong)(_message.Length - _at))
        {
            throw Truncated();
        }

        return Take((int)length);
    }

    /// <summary>A text that can be stored.</summary>
    public string Text() => TextOf(Bytes());

    public static string TextOf(ReadOnlySpan<byte> bytes) =>
        Utf8.IsValid(bytes) ? Encoding.UTF8.GetString(bytes) : throw new RefusedBodyException("A text in the body is not valid UTF-8.");

    /// <summary>Of a packed list: the next varint in <paramref name="list"/>, which is moved on.</summary>
    public static ulong TakeVarint(ref ReadOnlySpan<byte> list)
    {
        var reader = new ProtoReader(list);
        var value = reader.ReadVarint();
        list = list[reader._at..];
        return value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong ReadVarint()
    {
        if (_at < _message.Length && _message[_at] < 0x80)
        {
            return _message[_at++];
        }

        return ReadLongVarint();
    }

    private ulong ReadLongVarint()
    {
        ulong value = 0;
        for (var shift = 0; shift < 70; shift += 7)
        {
            if (_at == _message.Length)
            {
                throw Truncated();
            }

            var next = _message[_at++];
            value |= (ulong)(next & 0x7f) << shift;
            if (next < 0x80)
            {
                return value;
            }
        }

        throw new RefusedBodyException("The body is no valid protobuf message: a number has more than ten bytes.");
    }

    private ReadOnlySpan<byte> Take(int count)
    {
        if (count > _message.Length - _at)
        {
            throw Truncated();
        }

        var taken = _message.Slice(_at, count);
        _at += count;
        return taken;
    }

    private readonly void Expect(int wire)
    {
        if (Wire != wire)
        {
            throw new RefusedBodyException($"The body is no valid protobuf message: field {Field} has wire type {Wire} where {wire} is expected.");
        }
    }

    private static RefusedBodyException Truncated() => new("The body is no valid protobuf message: it ends in the middle of a field.");
}
