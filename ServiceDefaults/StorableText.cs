using System.Buffers;

namespace Platform.ServiceDefaults;

/// <summary>
/// Text from outside as it can be kept: PostgreSQL has no U+0000, and a half of a surrogate pair has no UTF-8. Npgsql throws for both, and
/// what it throws away is the whole statement, with whatever else is in it. So everything that cuts or computes text which is stored or sent
/// does it here.
/// </summary>
public static class StorableText
{
    private static readonly SearchValues<char> Suspects =
        SearchValues.Create([.. Enumerable.Range(0xd800, 0x800).Prepend(0).Select(unit => (char)unit)]);

    /// <summary>The beginning of a text: at most so many UTF-16 units (at least 1), and never the first half of a pair without its second.</summary>
    public static string Cut(string text, int longest) =>
        text.Length <= longest ? text : text[..(char.IsHighSurrogate(text[longest - 1]) ? longest - 1 : longest)];

    /// <summary>As <see cref="Cut"/>, with an ellipsis (which is counted) for what is missing.</summary>
    public static string Shorten(string text, int longest) => text.Length <= longest ? text : Cut(text, longest - 1) + "…";

    /// <summary>The same text with U+FFFD for each U+0000 and each half of a pair that stands alone; as it is when there is none, which is nearly always.</summary>
    public static string Clean(string text)
    {
        var first = text.AsSpan().IndexOfAny(Suspects);
        if (first < 0)
        {
            return text;
        }

        return string.Create(text.Length, text, static (clean, source) =>
        {
            for (var at = 0; at < clean.Length; at++)
            {
                var unit = source[at];
                var isWhole = char.IsHighSurrogate(unit) ? at + 1 < source.Length && char.IsLowSurrogate(source[at + 1])
                    : !char.IsLowSurrogate(unit) || (at > 0 && char.IsHighSurrogate(source[at - 1]));
                clean[at] = isWhole && unit != '\0' ? unit : '\uFFFD';
            }
        });
    }
}
