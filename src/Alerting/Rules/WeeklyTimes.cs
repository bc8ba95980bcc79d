using Platform.Alerting.Routing;

namespace Platform.Alerting.Rules;

/// <summary>
/// Times of the week in one line: weekdays, times of day, a time zone, each optional and separated by spaces, lists by commas.
/// <c>saturday:sunday</c> · <c>monday:friday 22:00-24:00 Europe/Berlin</c> · <c>00:00-05:30</c>.
/// </summary>
public static class WeeklyTimes
{
    /// <exception cref="FormatException">The message names the wrong word and what is expected.</exception>
    public static TimePart Parse(string text)
    {
        List<NumberRange>? times = null, weekdays = null;
        TimeZoneInfo? zone = null;
        foreach (var word in text.Split(' ', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (char.IsAsciiDigit(word[0]))
            {
                (times ??= []).AddRange(word.Split(',').Select(ParseTimes));
            }
            else if (word.Contains('/') || word == "UTC")
            {
                zone = TimeZoneInfo.TryFindSystemTimeZoneById(word, out var found) ? found : throw new FormatException($"\"{word}\" is no time zone; expected a name such as Europe/Berlin or UTC.");
            }
            else
            {
                (weekdays ??= []).AddRange(word.Split(',').SelectMany(ParseWeekdays));
            }
        }

        return times is null && weekdays is null
            ? throw new FormatException($"\"{text}\" names neither weekdays nor times of day; expected for example saturday:sunday, or monday:friday 22:00-24:00 Europe/Berlin.")
            : new TimePart(times, weekdays, Location: zone);
    }

    // Alertmanager's weeks begin on Sunday; a weekend does not mind.
    private static IEnumerable<NumberRange> ParseWeekdays(string word) =>
        word.Split(':') is [var first, var last] && (From: TimeNotation.ParseWeekdays(first).First, To: TimeNotation.ParseWeekdays(last).First) is var days && days.From > days.To
            ? [new NumberRange(days.From, 6), new NumberRange(0, days.To)]
            : [TimeNotation.ParseWeekdays(word)];

    private static NumberRange ParseTimes(string word) =>
        word.Split('-') is [var start, var end] ? TimeNotation.ParseTimes(start, end) : throw new FormatException($"\"{word}\" is no time of day; expected for example 22:00-24:00.");
}
