using System.Globalization;
using System.Text;
using System.Text.Json;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

/// <summary>
/// JSON Canonicalization Scheme (RFC 8785): one and only one sequence of bytes for a JSON value, so that whoever holds the value can
/// compute its hash. No whitespace, members sorted by UTF-16 code units, numbers as ECMAScript writes doubles, strings with the fewest escapes.
/// </summary>
public static class CanonicalJson
{
    /// <summary>The canonical bytes of <paramref name="value"/> as the wire's JSON shows it.</summary>
    public static byte[] Of<T>(T value) => Of(JsonSerializer.SerializeToElement(value, WireJson.Options));

    /// <exception cref="InvalidDataException">A member name twice, a number beyond a double, or half of a surrogate pair: such JSON has no canonical form.</exception>
    public static byte[] Of(JsonElement value)
    {
        var text = new StringBuilder();
        try
        {
            Write(text, value);
        }
        catch (InvalidOperationException error)
        {
            throw new InvalidDataException("A string holds half of a surrogate pair; JSON with it has no canonical form.", error);
        }

        return Encoding.UTF8.GetBytes(text.ToString());
    }

    private static void Write(StringBuilder text, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                WriteObject(text, value);
                break;
            case JsonValueKind.Array:
                text.Append('[');
                var first = true;
                foreach (var item in value.EnumerateArray())
                {
                    text.Append(first ? "" : ",");
                    first = false;
                    Write(text, item);
                }

                text.Append(']');
                break;
            case JsonValueKind.String:
                Write(text, value.GetString()!);
                break;
            case JsonValueKind.Number:
                text.Append(Number(value.GetDouble()));
                break;
            case JsonValueKind.True:
            case JsonValueKind.False:
            case JsonValueKind.Null:
                text.Append(value.GetRawText());
                break;
            case JsonValueKind.Undefined:
            default:
                throw new InvalidDataException("There is no JSON value to write.");
        }
    }

    private static void WriteObject(StringBuilder text, JsonElement value)
    {
        var members = value.EnumerateObject().OrderBy(member => member.Name, StringComparer.Ordinal).ToArray();
        text.Append('{');
        for (var i = 0; i < members.Length; i++)
        {
            if (i > 0 && members[i].Name == members[i - 1].Name)
            {
                throw new InvalidDataException($"The member \"{members[i].Name}\" appears twice; JSON with it has no canonical form.");
            }

            text.Append(i > 0 ? "," : "");
            Write(text, members[i].Name);
            text.Append(':');
            Write(text, members[i].Value);
        }

        text.Append('}');
    }

    private static void Write(StringBuilder text, string value)
    {
        text.Append('"');
        foreach (var character in value)
        {
            _ = character switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\b' => text.Append("\\b"),
                '\t' => text.Append("\\t"),
                '\n' => text.Append("\\n"),
                '\f' => text.Append("\\f"),
                '\r' => text.Append("\\r"),
                < ' ' => text.Append(CultureInfo.InvariantCulture, $"\\u{(int)character:x4}"),
                _ => text.Append(character),
            };
        }

        text.Append('"');
    }

    /// <summary>As <c>Number.prototype.toString</c> of ECMAScript: .NET finds the same shortest digits, only the layout differs.</summary>
    internal static string Number(double value)
    {
        if (!double.IsFinite(value))
        {
            throw new InvalidDataException("A number is beyond the range of a double; JSON with it has no canonical form.");
        }

        if (value == 0)
        {
            return "0";
        }

        var shortest = Math.Abs(value).ToString("R", CultureInfo.InvariantCulture);
        var e = shortest.IndexOf('E', StringComparison.Ordinal);
        var mantissa = e < 0 ? shortest : shortest[..e];
        var point = mantissa.IndexOf('.', StringComparison.Ordinal) is >= 0 and var found ? found : mantissa.Length;
        var exponent = e < 0 ? 0 : int.Parse(shortest.AsSpan(e + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        var all = mantissa.Replace(".", "", StringComparison.Ordinal);
        var digits = all.TrimStart('0');
        // The value is 0.DIGITS times ten to the power of scale.
        var scale = point + exponent - (all.Length - digits.Length);
        digits = digits.TrimEnd('0');
        return (value < 0 ? "-" : "") + Layout(digits, scale);
    }

    private static string Layout(string digits, int scale) => scale switch
    {
        > 0 and <= 21 when digits.Length <= scale => digits.PadRight(scale, '0'),
        > 0 and <= 21 => $"{digits[..scale]}.{digits[scale..]}",
        > -6 and <= 0 => $"0.{new string('0', -scale)}{digits}",
        _ => string.Create(CultureInfo.InvariantCulture, $"{digits[0]}{(digits.Length > 1 ? "." + digits[1..] : "")}e{(scale > 0 ? "+" : "-")}{Math.Abs(scale - 1)}"),
    };
}
