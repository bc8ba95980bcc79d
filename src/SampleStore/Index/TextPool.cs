using System.Text;
using System.Text.Unicode;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// One shared string for texts that come again and again (label names and values). A table of recent texts with one place per hash: it
/// needs no lock, cannot grow, and a text that it forgot only costs a second copy. Safe for all threads.
/// </summary>
public sealed class TextPool
{
    private readonly string?[] _recent = new string?[1 << 16];

    /// <summary>The shared string with these characters.</summary>
    public string Share(string text)
    {
        ref var place = ref _recent[string.GetHashCode(text) & (_recent.Length - 1)];
        var known = Volatile.Read(ref place);
        if (known is not null && string.Equals(known, text, StringComparison.Ordinal))
        {
            return known;
        }

        Volatile.Write(ref place, text);
        return text;
    }

    /// <summary>The shared string that is this in UTF-8, without making it first.</summary>
    /// <exception cref="DecoderFallbackException">The bytes are no UTF-8.</exception>
    public string Share(ReadOnlySpan<byte> utf8)
    {
        // Nearly all names and values are short and ASCII. The characters then hash alike, whichever form they came in.
        Span<char> characters = stackalloc char[256];
        if (Utf8.ToUtf16(utf8, characters, out _, out var length, replaceInvalidSequences: false) != System.Buffers.OperationStatus.Done)
        {
            return Share(Strict.GetString(utf8));
        }

        var text = characters[..length];
        ref var place = ref _recent[string.GetHashCode(text) & (_recent.Length - 1)];
        var known = Volatile.Read(ref place);
        if (known is null || !text.SequenceEqual(known))
        {
            known = text.ToString();
            Volatile.Write(ref place, known);
        }

        return known;
    }

    /// <summary>The same labels with shared strings; the same object when they are shared already.</summary>
    public Labels Share(Labels labels)
    {
        string[]? flat = null;
        for (var index = 0; index < labels.Count; index++)
        {
            var (name, value) = (Share(labels.NameAt(index)), Share(labels.ValueAt(index)));
            if (flat is null && ReferenceEquals(name, labels.NameAt(index)) && ReferenceEquals(value, labels.ValueAt(index)))
            {
                continue;
            }

            if (flat is null)
            {
                flat = new string[2 * labels.Count];
                for (var before = 0; before < index; before++)
                {
                    (flat[2 * before], flat[2 * before + 1]) = (labels.NameAt(before), labels.ValueAt(before));
                }
            }

            (flat[2 * index], flat[2 * index + 1]) = (name, value);
        }

        return flat is null ? labels : Labels.FromSorted(flat);
    }

    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);
}
