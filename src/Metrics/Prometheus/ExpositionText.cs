using Platform.PromQL;

namespace Platform.Metrics.Prometheus;

/// <summary>Lines of the text format 0.0.4. Names that are not of the old kind are quoted inside the braces, as Prometheus 3 does.</summary>
internal static class ExpositionText
{
    public static void Name(AnswerWriter text, string name)
    {
        if (IsPlain(name, colons: true))
        {
            text.Utf8(name);
        }
        else
        {
            Quoted(text, name);
        }
    }

    /// <summary>One sample. A series without <c>instance</c> gets an empty one, so that whoever scrapes it does not put the own in its place.</summary>
    public static void Line(AnswerWriter text, Labels labels, double value, long at)
    {
        var name = labels.Name;
        var plain = IsPlain(name, colons: true);
        var seenInstance = false;
        if (plain)
        {
            text.Utf8(name);
            text.Raw("{"u8);
        }
        else
        {
            text.Raw("{"u8);
            Quoted(text, name);
            text.Raw(","u8);
        }

        var first = true;
        for (var index = 0; index < labels.Count; index++)
        {
            var label = labels.NameAt(index);
            if (label == Labels.MetricName)
            {
                continue;
            }

            seenInstance |= label == "instance";
            text.Raw(first ? ""u8 : ","u8);
            first = false;
            if (IsPlain(label, colons: false))
            {
                text.Utf8(label);
            }
            else
            {
                Quoted(text, label);
            }

            text.Raw("="u8);
            Quoted(text, labels.ValueAt(index));
        }

        if (!seenInstance)
        {
            text.Raw(first ? "instance=\"\""u8 : ",instance=\"\""u8);
        }

        text.Raw("} "u8);
        text.Exposition(value);
        text.Raw(" "u8);
        text.Number(at);
        text.Raw("\n"u8);
    }

    private static void Quoted(AnswerWriter text, ReadOnlySpan<char> value)
    {
        text.Raw("\""u8);
        while (value.IndexOfAny('"', '\\', '\n') is >= 0 and var special)
        {
            text.Utf8(value[..special]);
            text.Raw(value[special] switch
            {
                '"' => "\\\""u8,
                '\\' => "\\\\"u8,
                _ => "\\n"u8,
            });
            value = value[(special + 1)..];
        }

        text.Utf8(value);
        text.Raw("\""u8);
    }

    private static bool IsPlain(string name, bool colons)
    {
        foreach (var symbol in name)
        {
            if (!char.IsAsciiLetterOrDigit(symbol) && symbol != '_' && !(colons && symbol == ':'))
            {
                return false;
            }
        }

        return name.Length > 0 && !char.IsAsciiDigit(name[0]);
    }
}

/// <summary>The order of series in answers: by their labels, name and value in turn.</summary>
internal static class SeriesOrder
{
    public static int Compare(Labels left, Labels right)
    {
        var shared = Math.Min(left.Count, right.Count);
        for (var index = 0; index < shared; index++)
        {
            var order = string.CompareOrdinal(left.NameAt(index), right.NameAt(index));
            order = order != 0 ? order : string.CompareOrdinal(left.ValueAt(index), right.ValueAt(index));
            if (order != 0)
            {
                return order;
            }
        }

        return left.Count.CompareTo(right.Count);
    }
}

/// <summary>Names that do not fit a path: <c>U__http_2e_status</c> is <c>http.status</c>. https://prometheus.io/docs/instrumenting/escaping_schemes/</summary>
internal static class LabelEscape
{
    /// <summary>The name that was meant; a name that is not escaped, or wrongly so, means itself.</summary>
    public static string Undo(string name)
    {
        if (!name.StartsWith("U__", StringComparison.Ordinal))
        {
            return name;
        }

        var plain = new System.Text.StringBuilder();
        var rest = name.AsSpan(3);
        while (!rest.IsEmpty)
        {
            if (rest[0] != '_')
            {
                plain.Append(rest[0]);
                rest = rest[1..];
                continue;
            }

            var end = rest[1..].IndexOf('_');
            if (end == 0)
            {
                plain.Append('_');
            }
            else if (end is > 0 and <= 6
                && int.TryParse(rest.Slice(1, end), System.Globalization.NumberStyles.AllowHexSpecifier, System.Globalization.CultureInfo.InvariantCulture, out var code)
                && System.Text.Rune.IsValid(code))
            {
                plain.Append(new System.Text.Rune(code));
            }
            else
            {
                return name;
            }

            rest = rest[(end + 2)..];
        }

        return plain.ToString();
    }
}
