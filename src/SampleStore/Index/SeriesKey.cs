using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Platform.SampleStore;

/// <summary>
/// 128 bits over realm and label bytes, with secrets that differ from one process to the next, so that nobody can prepare two label sets
/// with one key. Equal keys are taken for equal series without a look at the labels.
/// </summary>
public readonly record struct SeriesKey(ulong High, ulong Low)
{
    private static readonly ulong[] Secrets = NewSecrets();

    /// <summary>What every key of that realm begins with: made once per request, not once per series.</summary>
    public static SeriesKey OfRealm(string realm) => Of(default, MemoryMarshal.AsBytes(realm.AsSpan()));

    /// <summary>The key of a label set as its bytes came over the wire. Another order or spelling of the same set is another key of the same series.</summary>
    /// <param name="realm">From <see cref="OfRealm"/>.</param>
    public static SeriesKey Of(in SeriesKey realm, ReadOnlySpan<byte> labels)
    {
        // Two chains of folded 64 × 64 multiplications over 16 bytes at a time (the idea of wyhash), under secrets of their own.
        ref var secret = ref MemoryMarshal.GetArrayDataReference(Secrets);
        var first = Part(ref secret, 0) ^ realm.High;
        var second = Part(ref secret, 1) ^ realm.Low;
        var rest = labels;
        for (; rest.Length > 16; rest = rest[16..])
        {
            Step(ref secret, ref first, ref second, BinaryPrimitives.ReadUInt64LittleEndian(rest), BinaryPrimitives.ReadUInt64LittleEndian(rest[8..]));
        }

        if (rest.Length < 16 && labels.Length >= 16)
        {
            // The last 16 bytes, some of them for the second time: the length below tells such sets apart.
            rest = labels[^16..];
        }

        if (rest.Length == 16)
        {
            Step(ref secret, ref first, ref second, BinaryPrimitives.ReadUInt64LittleEndian(rest), BinaryPrimitives.ReadUInt64LittleEndian(rest[8..]));
        }
        else
        {
            Span<byte> padded = stackalloc byte[16];
            padded.Clear();
            rest.CopyTo(padded);
            Step(ref secret, ref first, ref second, BinaryPrimitives.ReadUInt64LittleEndian(padded), BinaryPrimitives.ReadUInt64LittleEndian(padded[8..]));
        }

        var length = (ulong)labels.Length;
        return new SeriesKey(Fold(first ^ Part(ref secret, 4), second ^ length), Fold(second ^ Part(ref secret, 5), first + length));
    }

    private static void Step(ref ulong secret, ref ulong first, ref ulong second, ulong left, ulong right)
    {
        first = Fold(left ^ Part(ref secret, 2), right ^ first);
        second = Fold(right ^ Part(ref secret, 3), left ^ second);
    }

    private static ulong Part(ref ulong secret, int index) => System.Runtime.CompilerServices.Unsafe.Add(ref secret, index);

    private static ulong Fold(ulong left, ulong right)
    {
        var high = Math.BigMul(left, right, out var low);
        return high ^ low;
    }

    private static ulong[] NewSecrets()
    {
        var secrets = new ulong[6];
        RandomNumberGenerator.Fill(MemoryMarshal.AsBytes(secrets.AsSpan()));
        return secrets;
    }
}
