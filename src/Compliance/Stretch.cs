using System.Globalization;

namespace Platform.Compliance;

/// <summary>A stretch of time that a request names with <c>from</c> and <c>to</c>: [From, To), UTC.</summary>
public sealed record Stretch(DateTimeOffset From, DateTimeOffset To)
{
    public static readonly TimeSpan Default = TimeSpan.FromDays(30);

    /// <summary>A year and a month: enough for yearly duties with a little overlap.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromDays(400);

    /// <summary>The stretch, or what is wrong by field. Missing ends mean the last 30 days.</summary>
    public static (Stretch? Stretch, Dictionary<string, string[]> Errors) Read(string? from, string? to, DateTimeOffset now)
    {
        var errors = new Dictionary<string, string[]>();
        var begin = ReadTime("from", from, errors);
        var end = ReadTime("to", to, errors);
        if (errors.Count == 0)
        {
            end ??= now;
            begin ??= end - Default;
            if (begin >= end)
            {
                errors["from"] = [$"{begin:O} is not before {end:O}. Give a from that is earlier than to."];
            }
            else if (end - begin > Longest)
            {
                errors["from"] = [$"From {begin:O} to {end:O} is longer than {Longest.TotalDays:0} days. Ask for shorter stretches one after the other."];
            }
        }

        return errors.Count == 0 ? (new Stretch(begin!.Value, end!.Value), errors) : (null, errors);
    }

    /// <summary>An ISO 8601 time or date; without an offset it is UTC. Null when not given, or when it is wrong and <paramref name="errors"/> says so.</summary>
    public static DateTimeOffset? ReadTime(string name, string? text, Dictionary<string, string[]> errors)
    {
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        // A plus that was not escaped arrives as a blank.
        if (DateTimeOffset.TryParse(text.Replace(' ', '+'), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var time))
        {
            return time;
        }

        errors[name] = [$"\"{text}\" is not a time. Give ISO 8601, for example 2026-01-31 or 2026-01-31T12:00:00Z."];
        return null;
    }
}
