using System.Globalization;
using System.Text;

namespace Platform.Alerting.Templates;

/// <summary>Numbers and <c>printf</c> as Go's package fmt writes them (https://pkg.go.dev/fmt).</summary>
internal static class GoFormat
{
    private const int MaxWidth = 1000;

    /// <summary><c>%v</c>: the shortest digits that read back to the same number, with an exponent below 1e-4 and from 1e21.</summary>
    public static string Shortest(double value) => Digits(value, value.ToString("E16", CultureInfo.InvariantCulture), shortest: true, 21);

    /// <summary><c>%.Ng</c>: so many significant digits, without zeros at the end.</summary>
    public static string General(double value, int precision) =>
        Digits(value, value.ToString($"E{Math.Max(precision, 1) - 1}", CultureInfo.InvariantCulture), shortest: false, Math.Max(precision, 1));

    public static string Duration(TimeSpan span)
    {
        if (span == TimeSpan.Zero)
        {
            return "0s";
        }

        var sign = span < TimeSpan.Zero ? "-" : "";
        var size = span.Duration();
        if (size < TimeSpan.FromSeconds(1))
        {
            var ticks = size.Ticks;
            return sign + (ticks >= TimeSpan.TicksPerMillisecond ? Fraction(ticks / (decimal)TimeSpan.TicksPerMillisecond) + "ms" : Fraction(ticks / 10m) + "µs");
        }

        var seconds = Fraction(size.Ticks % TimeSpan.TicksPerMinute / (decimal)TimeSpan.TicksPerSecond) + "s";
        var hours = (long)size.TotalHours;
        return sign + (hours > 0 ? $"{hours}h{size.Minutes}m{seconds}" : size.TotalMinutes >= 1 ? $"{size.Minutes}m{seconds}" : seconds);

        static string Fraction(decimal number) => number.ToString("0.#########", CultureInfo.InvariantCulture);
    }

    /// <summary>
    /// The verbs <c>v s q d f F e E g G t x X o b c U T %</c> with flags, width and precision. As in Go, a wrong verb or a missing
    /// argument shows in the output and is no error.
    /// </summary>
    public static string Printf(string format, IReadOnlyList<object?> arguments, TemplateBudget budget)
    {
        var output = new TemplateText(budget);
        var next = 0;
        for (var at = 0; at < format.Length; at++)
        {
            if (format[at] != '%')
            {
                var literal = format.IndexOf('%', at) is >= 0 and var following ? following : format.Length;
                output.Append(format[at..literal]);
                at = literal - 1;
                continue;
            }

            var flags = "";
            while (++at < format.Length && "+-# 0".Contains(format[at]))
            {
                flags += flags.Contains(format[at]) ? "" : format[at];
            }

            var width = Number(format, ref at, arguments, ref next);
            int? precision = null;
            if (at < format.Length && format[at] == '.')
            {
                at++;
                precision = Number(format, ref at, arguments, ref next) ?? 0;
            }

            if (at >= format.Length)
            {
                output.Append("%!(NOVERB)");
                break;
            }

            var verb = format[at];
            if (verb == '%')
            {
                output.Append("%");
                continue;
            }

            var text = next < arguments.Count ? One(verb, flags, precision, arguments[next++], budget) : $"%!{verb}(MISSING)";
            output.Append(Pad(text, width ?? 0, flags, verb));
        }

        if (next < arguments.Count)
        {
            output.Append("%!(EXTRA ");
            foreach (var (index, extra) in arguments.Skip(next).Index())
            {
                output.Append(index > 0 ? ", " : "").Append(TypeName(extra)).Append("=").Append(TemplateFunctions.Print(extra, budget));
            }

            output.Append(")");
        }

        return output.Taken();
    }

    private static int? Number(string format, ref int at, IReadOnlyList<object?> arguments, ref int next)
    {
        if (at < format.Length && format[at] == '*')
        {
            at++;
            return next < arguments.Count && arguments[next++] is long given ? (int)Math.Clamp(given, 0, MaxWidth) : null;
        }

        int? number = null;
        while (at < format.Length && char.IsAsciiDigit(format[at]))
        {
            number = Math.Min(MaxWidth, 10 * (number ?? 0) + (format[at++] - '0'));
        }

        return number;
    }

    private static string Pad(string text, int width, string flags, char verb)
    {
        var missing = width - text.EnumerateRunes().Count();
        if (missing <= 0)
        {
            return text;
        }

        if (flags.Contains('-'))
        {
            return text + new string(' ', missing);
        }

        if (!flags.Contains('0') || verb is 's' or 'q' or 'v' or 'T')
        {
            return new string(' ', missing) + text;
        }

        var sign = text.Length > 0 && text[0] is '+' or '-' ? 1 : 0;
        return text.Insert(sign, new string('0', missing));
    }

    private static string One(char verb, string flags, int? precision, object? value, TemplateBudget budget)
    {
        var text = (verb, value) switch
        {
            ('v', string plain) when flags.Contains('#') => Quote(plain),
            ('v', null) => "<nil>",
            ('v', _) => TemplateFunctions.Print(value, budget),
            ('T', _) => TypeName(value),
            ('s', string plain) => precision is { } length ? string.Concat(plain.EnumerateRunes().Take(length).Select(rune => rune.ToString())) : plain,
            ('s', DateTimeOffset or TimeSpan or IReadOnlyDictionary<string, object?> or IReadOnlyList<object?>) => TemplateFunctions.Print(value, budget),
            ('q', string plain) => Quote(plain),
            ('x' or 'X', string plain) => verb == 'x' ? Convert.ToHexStringLower(Encoding.UTF8.GetBytes(plain)) : Convert.ToHexString(Encoding.UTF8.GetBytes(plain)),
            ('t', bool flag) => flag ? "true" : "false",
            ('d', long whole) => whole.ToString(CultureInfo.InvariantCulture),
            ('d', TimeSpan span) => (span.Ticks * 100).ToString(CultureInfo.InvariantCulture),
            ('x', long whole) => whole < 0 ? "-" + (-whole).ToString("x", CultureInfo.InvariantCulture) : whole.ToString("x", CultureInfo.InvariantCulture),
            ('X', long whole) => whole < 0 ? "-" + (-whole).ToString("X", CultureInfo.InvariantCulture) : whole.ToString("X", CultureInfo.InvariantCulture),
            ('o', long whole) => Convert.ToString(whole, 8),
            ('b', long whole) => Convert.ToString(whole, 2),
            ('c', long whole) when Rune.IsValid((int)whole) => new Rune((int)whole).ToString(),
            ('U', long whole) => "U+" + whole.ToString("X4", CultureInfo.InvariantCulture),
            ('f' or 'F', double real) => double.IsFinite(real) ? real.ToString($"F{precision ?? 6}", CultureInfo.InvariantCulture) : NotFinite(real),
            ('e' or 'E', double real) => Exponent(real, precision ?? 6, verb),
            ('g' or 'G', double real) => precision is { } digits ? General(real, digits) : Shortest(real),
            _ => $"%!{verb}({TypeName(value)}={TemplateFunctions.Print(value, budget)})",
        };
        var signed = flags.Contains('+') || flags.Contains(' ');
        return signed && value is long or double && text.Length > 0 && (char.IsAsciiDigit(text[0]) || text == "Inf")
            ? (flags.Contains('+') ? "+" : " ") + text
            : text;
    }

    private static string Exponent(double real, int precision, char verb)
    {
        if (!double.IsFinite(real))
        {
            return NotFinite(real);
        }

        var text = real.ToString($"{verb}{precision}", CultureInfo.InvariantCulture);
        var at = text.IndexOf(verb);
        var digits = text[(at + 2)..].TrimStart('0').PadLeft(2, '0');
        return text[..(at + 2)] + digits;
    }

    private static string Digits(double value, string exponential, bool shortest, int threshold)
    {
        if (!double.IsFinite(value))
        {
            return NotFinite(value);
        }

        if (shortest)
        {
            exponential = Shortened(value);
        }

        var sign = exponential[0] == '-' ? "-" : "";
        var split = exponential.IndexOf('E');
        var digits = exponential[sign.Length..split].Replace(".", "", StringComparison.Ordinal).TrimEnd('0');
        var exponent = int.Parse(exponential.AsSpan(split + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        digits = digits.Length == 0 ? "0" : digits;
        if (exponent < -4 || exponent >= threshold)
        {
            return $"{sign}{digits[0]}{(digits.Length > 1 ? "." + digits[1..] : "")}e{(exponent < 0 ? "-" : "+")}{Math.Abs(exponent):00}";
        }

        return exponent < 0 ? $"{sign}0.{new string('0', -exponent - 1)}{digits}"
            : digits.Length <= exponent + 1 ? sign + digits.PadRight(exponent + 1, '0')
            : $"{sign}{digits[..(exponent + 1)]}.{digits[(exponent + 1)..]}";
    }

    // "R" gives the shortest digits but its own exponent form; both forms are brought to one.
    private static string Shortened(double value)
    {
        var text = value.ToString("R", CultureInfo.InvariantCulture);
        var sign = text[0] == '-' ? "-" : "";
        text = text[sign.Length..];
        var split = text.IndexOf('E');
        var exponent = split < 0 ? 0 : int.Parse(text.AsSpan(split + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        var mantissa = split < 0 ? text : text[..split];
        var point = mantissa.IndexOf('.');
        var digits = mantissa.Replace(".", "", StringComparison.Ordinal);
        exponent += (point < 0 ? mantissa.Length : point) - 1;
        var leading = digits.Length - digits.TrimStart('0').Length;
        digits = digits[leading..];
        return digits.Length == 0 ? $"{sign}0E+0" : $"{sign}{digits}E{exponent - leading}";
    }

    private static string NotFinite(double value) => double.IsNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";

    private static string Quote(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (var rune in text.EnumerateRunes())
        {
            quoted.Append(rune.Value switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                < 0x20 or 0x7f => $"\\x{rune.Value:x2}",
                _ => rune.ToString(),
            });
        }

        return quoted.Append('"').ToString();
    }

    private static string TypeName(object? value) => value switch
    {
        null => "<nil>",
        string => "string",
        bool => "bool",
        long => "int",
        double => "float64",
        DateTimeOffset => "time.Time",
        TimeSpan => "time.Duration",
        IReadOnlyDictionary<string, object?> => "map[string]interface {}",
        _ => "[]interface {}",
    };
}
