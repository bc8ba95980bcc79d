using System.Globalization;

namespace Platform.Alerting.Routing;

/// <summary>
/// A named set of recurring times, as Alertmanager's <c>time_intervals</c>: it contains a moment when one of its parts does.
/// https://prometheus.io/docs/alerting/latest/configuration/#time_interval
/// </summary>
public sealed record TimeInterval(string Name, IReadOnlyList<TimePart> Parts)
{
    /// <summary>Of all parts together; a part without any counts as one.</summary>
    public int Ranges => Parts.Sum(part => 1 + (part.Times?.Count ?? 0) + (part.Weekdays?.Count ?? 0) + (part.DaysOfMonth?.Count ?? 0) + (part.Months?.Count ?? 0) + (part.Years?.Count ?? 0));

    public bool Contains(DateTimeOffset moment) => Parts.Any(part => part.Contains(moment));
}

/// <summary>Fields that are given must all hold; a field that is null always holds. Numbers of both ends belong to a range.</summary>
/// <param name="Times">Minutes of the day; the end is exclusive, 1440 is midnight at the end.</param>
/// <param name="Weekdays">0 is Sunday.</param>
/// <param name="DaysOfMonth">1 to 31; -1 is the last day of the month.</param>
/// <param name="Months">1 to 12.</param>
/// <param name="Location">The clock that is looked at; null is UTC.</param>
public sealed record TimePart(
    IReadOnlyList<NumberRange>? Times = null,
    IReadOnlyList<NumberRange>? Weekdays = null,
    IReadOnlyList<NumberRange>? DaysOfMonth = null,
    IReadOnlyList<NumberRange>? Months = null,
    IReadOnlyList<NumberRange>? Years = null,
    TimeZoneInfo? Location = null)
{
    public bool Contains(DateTimeOffset moment)
    {
        // The wall clock of the place: on the day an hour is skipped or repeated, an interval is shorter or longer, as people there expect.
        var local = TimeZoneInfo.ConvertTime(moment, Location ?? TimeZoneInfo.Utc);
        var minute = 60 * local.Hour + local.Minute;
        return (Times is null || Times.Any(range => minute >= range.First && minute < range.Last))
            && (DaysOfMonth is null || DaysOfMonth.Any(range => ContainsDay(range, local)))
            && Holds(Months, local.Month)
            && Holds(Weekdays, (int)local.DayOfWeek)
            && Holds(Years, local.Year);
    }

    private static bool Holds(IReadOnlyList<NumberRange>? ranges, int number) =>
        ranges is null || ranges.Any(range => number >= range.First && number <= range.Last);

    private static bool ContainsDay(NumberRange range, DateTimeOffset local)
    {
        var days = DateTime.DaysInMonth(local.Year, local.Month);
        var first = range.First < 0 ? days + range.First + 1 : range.First;
        var last = range.Last < 0 ? days + range.Last + 1 : range.Last;
        return local.Day >= first && local.Day <= last;
    }
}

/// <summary>Both ends inclusive, except in times of day.</summary>
public readonly record struct NumberRange(int First, int Last);

/// <summary>Reads and writes the notation of Alertmanager: <c>monday:friday</c>, <c>-3:-1</c>, <c>09:00</c>.</summary>
public static class TimeNotation
{
    private static readonly string[] Weekdays = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

    private static readonly string[] Months =
        ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

    /// <exception cref="FormatException">The message says what is wrong and what is expected.</exception>
    public static NumberRange ParseWeekdays(string text) => Parse(text, "weekday", "sunday to saturday", word => Array.IndexOf(Weekdays, word) is >= 0 and var day ? day : null, 0, 6);

    public static NumberRange ParseMonths(string text) =>
        Parse(text, "month", "january to december or 1 to 12", word => Array.IndexOf(Months, word) is >= 0 and var month ? month + 1 : Whole(word), 1, 12);

    public static NumberRange ParseYears(string text) => Parse(text, "year", "a year such as 2026", Whole, 0, 9999);

    public static NumberRange ParseDaysOfMonth(string text)
    {
        const string expected = "1 to 31, or -31 to -1 counted from the end of the month";
        var range = Parse(text, "day of month", expected, Whole, -31, 31, ordered: false);
        return range.First == 0 || range.Last == 0 ? throw Wrong(text, "day of month", expected)
            : range.First < 0 && range.Last > 0 ? throw new FormatException($"\"{text}\": a range that begins at the end of the month must end there too.")
            : range.First < 0 == range.Last < 0 && range.First > range.Last ? throw Backwards(text)
            : range;
    }

    public static NumberRange ParseTimes(string start, string end)
    {
        var range = new NumberRange(ParseTime(start), ParseTime(end));
        return range.First < range.Last ? range : throw new FormatException($"The start time {start} is not before the end time {end}; a night is two ranges, one on each side of midnight.");
    }

    public static string WriteWeekdays(NumberRange range) => Write(range, day => Weekdays[day]);

    public static string WriteMonths(NumberRange range) => Write(range, month => Months[month - 1]);

    public static string WriteNumbers(NumberRange range) => Write(range, number => number.ToString(CultureInfo.InvariantCulture));

    public static string WriteTime(int minute) => $"{minute / 60:00}:{minute % 60:00}";

    private static int ParseTime(string text) =>
        text.Length == 5 && text[2] == ':'
        && int.TryParse(text.AsSpan(0, 2), NumberStyles.None, CultureInfo.InvariantCulture, out var hour)
        && int.TryParse(text.AsSpan(3, 2), NumberStyles.None, CultureInfo.InvariantCulture, out var minute)
        && (hour < 24 && minute < 60 || hour == 24 && minute == 0)
            ? 60 * hour + minute
            : throw Wrong(text, "time", "00:00 to 24:00");

    private static NumberRange Parse(string text, string what, string expected, Func<string, int?> read, int least, int most, bool ordered = true)
    {
        var parts = text.Trim().ToLowerInvariant().Split(':');
        var first = read(parts[0].Trim());
        var last = parts.Length == 1 ? first : read(parts[1].Trim());
        if (parts.Length > 2 || first is not { } from || last is not { } to || from < least || to > most || to < least || from > most)
        {
            throw Wrong(text, what, expected);
        }

        return ordered && from > to ? throw Backwards(text) : new NumberRange(from, to);
    }

    private static int? Whole(string word) => int.TryParse(word, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : null;

    private static string Write(NumberRange range, Func<int, string> name) => range.First == range.Last ? name(range.First) : $"{name(range.First)}:{name(range.Last)}";

    private static FormatException Wrong(string text, string what, string expected) => new($"\"{text}\" is no {what}; expected {expected}, or two of them with a colon between.");

    private static FormatException Backwards(string text) => new($"\"{text}\" ends before it begins.");
}
