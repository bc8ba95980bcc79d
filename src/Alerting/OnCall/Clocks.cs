using System.Globalization;

namespace Platform.Alerting.OnCall;

/// <summary>
/// What the clock on the wall shows, as moments. The way from wall to moment never goes back: two handovers in order stay in order on the
/// day an hour is skipped or repeated, so that shifts always tile the time.
/// </summary>
public static class Clocks
{
    /// <summary>The zone of an IANA name such as <c>Europe/Berlin</c>; null when there is none.</summary>
    public static TimeZoneInfo? FindZone(string? name) =>
        name is { Length: > 0 and <= 64 } && TimeZoneInfo.TryFindSystemTimeZoneById(name, out var zone) ? zone : null;

    /// <summary>When the wall shows this time: the first of two when the hour is repeated, the moment of the jump when it is skipped.</summary>
    public static DateTimeOffset Moment(DateTime wall, TimeZoneInfo zone)
    {
        while (zone.IsInvalidTime(wall))
        {
            wall = wall.AddMinutes(1);
        }

        var offset = zone.IsAmbiguousTime(wall) ? zone.GetAmbiguousTimeOffsets(wall).Max() : zone.GetUtcOffset(wall);
        return new DateTimeOffset(wall, offset).ToUniversalTime();
    }

    public static DateTime Wall(DateTimeOffset moment, TimeZoneInfo zone) => TimeZoneInfo.ConvertTime(moment, zone).DateTime;

    /// <summary><c>09:00</c>; null for anything else.</summary>
    public static TimeOnly? ParseTime(string? text) =>
        TimeOnly.TryParseExact(text, (string[])["HH:mm", "HH:mm:00"], CultureInfo.InvariantCulture, DateTimeStyles.None, out var time) ? time : null;

    /// <summary><c>monday</c>, in any case; null for anything else.</summary>
    public static DayOfWeek? ParseWeekday(string? text) =>
        text is { Length: > 5 } && Enum.TryParse<DayOfWeek>(text, ignoreCase: true, out var day) ? day : null;
}

/// <summary>Hours that come every week: from a time of the wall clock to another, which may be on the next day.</summary>
/// <param name="To">Not later than <paramref name="From"/> means the next day; equal means a whole day.</param>
/// <param name="Weekdays">The days on which they begin; none means every day.</param>
public sealed record WeeklyHours(TimeOnly From, TimeOnly To, IReadOnlyList<DayOfWeek> Weekdays)
{
    public bool Contains(DateTimeOffset moment, TimeZoneInfo zone) => End(moment, zone) is not null;

    /// <summary>The end of the hours that contain the moment; null when none do.</summary>
    public DateTimeOffset? End(DateTimeOffset moment, TimeZoneInfo zone)
    {
        var today = DateOnly.FromDateTime(Clocks.Wall(moment, zone));
        DateTimeOffset? end = null;
        for (var day = today.AddDays(-1); day <= today; day = day.AddDays(1))
        {
            if (On(day, zone) is { } hours && moment >= hours.From && moment < hours.To && (end is null || hours.To > end))
            {
                end = hours.To;
            }
        }

        return end;
    }

    /// <summary>Every beginning and end from one moment to another, in no particular order.</summary>
    public IEnumerable<DateTimeOffset> Edges(DateTimeOffset from, DateTimeOffset to, TimeZoneInfo zone)
    {
        var last = DateOnly.FromDateTime(Clocks.Wall(to, zone)).AddDays(1);
        for (var day = DateOnly.FromDateTime(Clocks.Wall(from, zone)).AddDays(-2); day <= last; day = day.AddDays(1))
        {
            if (On(day, zone) is { } hours)
            {
                yield return hours.From;
                yield return hours.To;
            }
        }
    }

    private (DateTimeOffset From, DateTimeOffset To)? On(DateOnly day, TimeZoneInfo zone) =>
        Weekdays.Count > 0 && !Weekdays.Contains(day.DayOfWeek)
            ? null
            : (Clocks.Moment(day.ToDateTime(From), zone), Clocks.Moment((To > From ? day : day.AddDays(1)).ToDateTime(To), zone));
}
