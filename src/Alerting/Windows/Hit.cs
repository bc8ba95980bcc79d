using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Platform.Alerting.Windows;

/// <summary>An event that counts: when it happened, and what it says besides. A hit of a rule that only counts is its time.</summary>
/// <param name="At">Microseconds of event time since 1970.</param>
/// <param name="A">
/// Distinct: the number of the value of the first field, 0 for none. Ratio: how many events. Sequence: 0 for the earlier step, 1 for the
/// one that follows. Travel: latitude in microdegrees.
/// </param>
/// <param name="B">Distinct: the same for the second field. Ratio: how many of them match. Travel: longitude.</param>
public readonly record struct Hit(long At, long A = 0, long B = 0)
{
    public static implicit operator Hit(long at) => new(at);

    /// <summary>By time; hits of the same moment in an order that depends on nothing but them.</summary>
    public static int InOrder(Hit one, Hit other) =>
        one.At != other.At ? one.At.CompareTo(other.At) : one.A != other.A ? one.A.CompareTo(other.A) : one.B.CompareTo(other.B);

    /// <summary>
    /// A number that stands for a text: the same one in every process, and nobody can find two texts that share one in order to be counted
    /// as one. 0 only for no text.
    /// </summary>
    public static long NumberOf(string? text)
    {
        if (string.IsNullOrEmpty(text))
        {
            return 0;
        }

        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes(text), hash);
        return BinaryPrimitives.ReadInt64LittleEndian(hash) is var number and not 0 ? number : 1;
    }
}
