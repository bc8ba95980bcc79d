using System.Buffers.Text;
using System.Globalization;

namespace Platform.Metrics.Prometheus;

/// <summary>Numbers as Prometheus' answers spell them, which is how Go does: the fewest digits that read back to the same number, as UTF-8.</summary>
public static class NumberText
{
    /// <summary>No number takes more bytes than this: 21 digits before the point in the plain form, or 17 digits with six zeros before them.</summary>
    public const int MaxBytes = 32;

    /// <summary>As a JSON answer has it: exponents only below 1e-6 and from 1e21 on.</summary>
    /// <returns>Bytes written; <paramref name="into"/> has room for <see cref="MaxBytes"/>.</returns>
    public static int WriteJson(double value, Span<byte> into)
    {
        // Most samples are counts.
        if (value is > -1e15 and < 1e15 && value == (long)value && (value != 0 || !double.IsNegative(value)))
        {
            Utf8Formatter.TryFormat((long)value, into, out var written);
            return written;
        }

        var magnitude = Math.Abs(value);
        return Write(value, into, magnitude is < 1e-6 or >= 1e21 && magnitude != 0);
    }

    /// <summary>The most bytes of <see cref="WritePlain"/>: a point, a sign, and 324 zeros before 17 digits.</summary>
    public const int MaxPlainBytes = 400;

    /// <summary>As answers that are one scalar have it: never an exponent.</summary>
    /// <returns>Bytes written; <paramref name="into"/> has room for <see cref="MaxPlainBytes"/>.</returns>
    public static int WritePlain(double value, Span<byte> into) => Write(value, into, exponent: false);

    /// <summary>As the text format has it: exponents below 1e-4 and from 1e6 on.</summary>
    /// <returns>Bytes written; <paramref name="into"/> has room for <see cref="MaxBytes"/>.</returns>
    public static int WriteExposition(double value, Span<byte> into)
    {
        var magnitude = Math.Abs(value);
        return Write(value, into, magnitude is < 1e-4 or >= 1e6 && magnitude != 0);
    }

    /// <summary>Milliseconds as seconds with up to three decimals, none of them for whole seconds.</summary>
    public static int WriteSeconds(long milliseconds, Span<byte> into)
    {
        var at = 0;
        if (milliseconds < 0)
        {
            into[at++] = (byte)'-';
        }

        var (seconds, rest) = Math.DivRem(milliseconds < 0 ? 0 - (ulong)milliseconds : (ulong)milliseconds, 1000);
        Utf8Formatter.TryFormat(seconds, into[at..], out var written);
        at += written;
        if (rest != 0)
        {
            into[at] = (byte)'.';
            Utf8Formatter.TryFormat((uint)rest, into[(at + 1)..], out _, new('D', 3));
            at += 4;
        }

        return at;
    }

    private static int Write(double value, Span<byte> into, bool exponent)
    {
        if (!double.IsFinite(value))
        {
            var word = double.IsNaN(value) ? "NaN"u8 : value > 0 ? "+Inf"u8 : "-Inf"u8;
            word.CopyTo(into);
            return word.Length;
        }

        // The framework finds the same digits but places the point by rules of its own, so they are taken apart and put together again.
        Span<byte> text = stackalloc byte[MaxBytes];
        value.TryFormat(text, out var length, default, CultureInfo.InvariantCulture);
        return exponent ? Exponent(text[..length], into) : Plain(text[..length], into);
    }

    private static int Plain(ReadOnlySpan<byte> text, Span<byte> into)
    {
        var mark = text.IndexOf((byte)'E');
        if (mark < 0)
        {
            text.CopyTo(into);
            return text.Length;
        }

        Span<byte> digits = stackalloc byte[MaxBytes];
        var (count, point, negative) = TakeApart(text, mark, digits);
        var at = 0;
        if (negative)
        {
            into[at++] = (byte)'-';
        }

        if (point <= 0)
        {
            "0."u8.CopyTo(into[at..]);
            at += 2;
            into.Slice(at, -point).Fill((byte)'0');
            at -= point;
            digits[..count].CopyTo(into[at..]);
            return at + count;
        }

        for (var index = 0; index < Math.Max(count, point); index++)
        {
            if (index == point)
            {
                into[at++] = (byte)'.';
            }

            into[at++] = index < count ? digits[index] : (byte)'0';
        }

        return at;
    }

    private static int Exponent(ReadOnlySpan<byte> text, Span<byte> into)
    {
        Span<byte> digits = stackalloc byte[MaxBytes];
        var (count, point, negative) = TakeApart(text, text.IndexOf((byte)'E'), digits);
        var at = 0;
        if (negative)
        {
            into[at++] = (byte)'-';
        }

        into[at++] = digits[0];
        if (count > 1)
        {
            into[at++] = (byte)'.';
            digits[1..count].CopyTo(into[at..]);
            at += count - 1;
        }

        var power = point - 1;
        into[at++] = (byte)'e';
        into[at++] = power < 0 ? (byte)'-' : (byte)'+';
        Utf8Formatter.TryFormat((uint)Math.Abs(power), into[at..], out var written, new('D', 2));
        return at + written;
    }

    // Digits without the zeros around them, and how many of them stand before the point (negative: zeros between the point and them).
    private static (int Count, int Point, bool Negative) TakeApart(ReadOnlySpan<byte> text, int mark, Span<byte> digits)
    {
        var power = 0;
        if (mark >= 0)
        {
            power = int.Parse(text[(mark + 1)..], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
            text = text[..mark];
        }

        var negative = text[0] == '-';
        var (count, point, seenPoint) = (0, 0, false);
        foreach (var symbol in negative ? text[1..] : text)
        {
            if (symbol == '.')
            {
                seenPoint = true;
                continue;
            }

            if (count > 0 || symbol != '0')
            {
                digits[count++] = symbol;
                point += seenPoint ? 0 : 1;
            }
            else if (seenPoint)
            {
                point--;
            }
        }

        while (count > 1 && digits[count - 1] == '0')
        {
            count--;
        }

        return (count, point + power, negative);
    }
}
