using System.Globalization;
using System.Text;

namespace Platform.ServiceDefaults;

internal static class LogMessage
{
    /// <summary>
    /// The formatted message, composed once more without the values whose names are sensitive: in "Login with {Password}" nothing in the text itself gives the password away.
    /// </summary>
    public static string WithoutSecrets(string message, IReadOnlyList<KeyValuePair<string, object?>>? fields)
    {
        var count = fields?.Count ?? 0;
        var sensitive = false;
        for (var i = 0; i < count && !sensitive; i++)
        {
            sensitive = fields![i].Value is not null && Redaction.IsSensitive(fields[i].Key);
        }

        return sensitive && fields![count - 1] is { Key: "{OriginalFormat}", Value: string template } ? Compose(template, fields) : message;
    }

    // Format and alignment of the other values are not kept: the line is for machines, and this way is rare.
    private static string Compose(string template, IReadOnlyList<KeyValuePair<string, object?>> fields)
    {
        var text = new StringBuilder(template.Length + 64);
        for (var at = 0; at < template.Length;)
        {
            var c = template[at];
            if (c is '{' or '}' && at + 1 < template.Length && template[at + 1] == c)
            {
                text.Append(c);
                at += 2;
            }
            else if (c == '{' && template.IndexOf('}', at) is > 0 and var end)
            {
                var hole = template[(at + 1)..end];
                var cut = hole.AsSpan().IndexOfAny(',', ':');
                text.Append(ValueOf(cut < 0 ? hole : hole[..cut], fields));
                at = end + 1;
            }
            else
            {
                text.Append(c);
                at++;
            }
        }

        return text.ToString();
    }

    private static string ValueOf(string name, IReadOnlyList<KeyValuePair<string, object?>> fields)
    {
        foreach (var (key, value) in fields)
        {
            if (string.Equals(key, name, StringComparison.OrdinalIgnoreCase))
            {
                return value is null ? "(null)"
                    : Redaction.IsSensitive(key) ? Redaction.Mark
                    : value is IFormattable formattable ? formattable.ToString(null, CultureInfo.InvariantCulture)
                    : value.ToString() ?? "";
            }
        }

        return Redaction.Mark;
    }
}
