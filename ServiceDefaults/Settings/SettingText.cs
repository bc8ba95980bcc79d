using System.ComponentModel.DataAnnotations;
using System.Globalization;

namespace Platform.ServiceDefaults;

/// <summary>Settings as text: how each type is read, shown and described.</summary>
internal static class SettingText
{
    private static readonly (string Suffix, string Unit, TimeSpan Length)[] Units =
    [
        ("_MILLISECONDS", "milliseconds", TimeSpan.FromMilliseconds(1)),
        ("_SECONDS", "seconds", TimeSpan.FromSeconds(1)),
        ("_MINUTES", "minutes", TimeSpan.FromMinutes(1)),
        ("_HOURS", "hours", TimeSpan.FromHours(1)),
        ("_DAYS", "days", TimeSpan.FromDays(1)),
    ];

    public static bool TryParse(string text, Type type, string name, out object? value)
    {
        var invariant = CultureInfo.InvariantCulture;
        type = Nullable.GetUnderlyingType(type) ?? type;
        value = null;
        if (type == typeof(string))
        {
            value = text;
        }
        else if (type == typeof(bool))
        {
            value = text.ToLowerInvariant() switch { "true" or "1" or "yes" or "on" => true, "false" or "0" or "no" or "off" => false, _ => null };
        }
        else if (type == typeof(int))
        {
            value = int.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out var number) ? number : null;
        }
        else if (type == typeof(long))
        {
            value = long.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out var number) ? number : null;
        }
        else if (type == typeof(double))
        {
            value = double.TryParse(text, NumberStyles.Float, invariant, out var number) && double.IsFinite(number) ? number : null;
        }
        else if (type == typeof(TimeSpan))
        {
            value = ParseTime(text, name);
        }
        else if (type == typeof(Uri))
        {
            value = Uri.TryCreate(text, UriKind.Absolute, out var uri) ? uri : null;
        }
        else if (type.IsEnum)
        {
            value = Enum.TryParse(type, text.Replace("_", "", StringComparison.Ordinal), ignoreCase: true, out var member) && Enum.IsDefined(type, member) && !int.TryParse(text, out _) ? member : null;
        }
        else if (type.IsAssignableFrom(typeof(string[])))
        {
            value = text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        }

        return value is not null;
    }

    public static string Expected(Type type, string name, RangeAttribute? range)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        var bounds = range is null ? "" : string.Create(CultureInfo.InvariantCulture, $" between {range.Minimum} and {range.Maximum}");
        return type switch
        {
            _ when type == typeof(bool) => "true or false",
            _ when type == typeof(int) || type == typeof(long) => $"a whole number{bounds}",
            _ when type == typeof(TimeSpan) && UnitOf(name) is { } unit => $"a number of {unit.Unit}{bounds}",
            _ when type == typeof(TimeSpan) => $"a duration such as 00:00:30{bounds}",
            _ when type == typeof(double) => $"a number{bounds}",
            _ when type == typeof(Uri) => "an absolute URL",
            _ when type.IsEnum => $"one of {string.Join(", ", Enum.GetNames(type).Select(WireJson.Name))}",
            _ => $"text{bounds}",
        };
    }

    public static string Show(object? value, string name) => value switch
    {
        TimeSpan time when UnitOf(name) is not null => InUnit(time, name).ToString(CultureInfo.InvariantCulture),
        IEnumerable<string> list => string.Join(',', list),
        bool flag => flag ? "true" : "false",
        Enum member => WireJson.Name(member.ToString()),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => value?.ToString() ?? "",
    };

    public static double InUnit(TimeSpan time, string name) => time / (UnitOf(name)?.Length ?? TimeSpan.FromSeconds(1));

    private static TimeSpan? ParseTime(string text, string name)
    {
        if (UnitOf(name) is not { } unit)
        {
            return TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out var time) ? time : null;
        }

        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && Math.Abs(number) <= TimeSpan.MaxValue / unit.Length / 2 ? number * unit.Length : null;
    }

    private static (string Suffix, string Unit, TimeSpan Length)? UnitOf(string name)
    {
        foreach (var unit in Units)
        {
            if (name.EndsWith(unit.Suffix, StringComparison.OrdinalIgnoreCase))
            {
                return unit;
            }
        }

        return null;
    }
}
