namespace Platform.Alerting.OnCall;

/// <summary>How soon somebody must look: what wakes people, and what waits for the morning.</summary>
public enum Urgency
{
    High,
    Low,
}

/// <summary>A way to reach a person. Where it leads is a channel of its own with that address, and is not shown again.</summary>
/// <param name="Type">Kind of the channel, for example <c>email</c>.</param>
public sealed record ContactMethod(string Name, string Type);

/// <summary>Use this method so long after the person was called, unless somebody has acknowledged.</summary>
/// <param name="Method">Name of one of the person's methods.</param>
public sealed record ContactRule(string Method, int AfterSeconds);

/// <summary>One message to one person: over which method, when, and why then.</summary>
public sealed record Call(string Method, DateTimeOffset At, string Reason);

/// <summary>Somebody who can be on call.</summary>
/// <param name="Name">Short name by which schedules and policies mean this person; it cannot change.</param>
/// <param name="TimeZone">IANA name; quiet hours are on this clock.</param>
/// <param name="QuietHours">What is of low urgency waits until they end; high urgency pierces them.</param>
public sealed record OnCallUser(
    string Name,
    string DisplayName,
    string TimeZone,
    IReadOnlyList<ContactMethod> ContactMethods,
    IReadOnlyList<ContactRule> HighUrgency,
    IReadOnlyList<ContactRule> LowUrgency,
    IReadOnlyList<WeeklyHours> QuietHours)
{
    /// <summary>The messages to this person who is called now, earliest first. None when the person has no rule for this urgency.</summary>
    public IReadOnlyList<Call> Calls(Urgency urgency, DateTimeOffset now)
    {
        var calls = new List<Call>();
        foreach (var rule in urgency == Urgency.High ? HighUrgency : LowUrgency)
        {
            var at = now.AddSeconds(rule.AfterSeconds);
            var loud = urgency == Urgency.High ? at : EndOfQuiet(at);
            calls.Add(new Call(rule.Method, loud, loud > at ? "waited for the end of quiet hours" : rule.AfterSeconds > 0 ? $"nobody acknowledged within {Words.Of(TimeSpan.FromSeconds(rule.AfterSeconds))} of the first message" : ""));
        }

        return [.. calls.OrderBy(call => call.At)];
    }

    // Hours may touch each other: the end of one may lie in the next. Hours without an end would be no hours; eight steps are a week.
    private DateTimeOffset EndOfQuiet(DateTimeOffset moment)
    {
        var zone = Clocks.FindZone(TimeZone) ?? TimeZoneInfo.Utc;
        for (var step = 0; step < 8; step++)
        {
            var end = QuietHours.Select(hours => hours.End(moment, zone)).Max();
            if (end is null)
            {
                return moment;
            }

            moment = end.Value;
        }

        return moment;
    }
}

/// <summary>Spans of time as people say them.</summary>
internal static class Words
{
    public static string Of(TimeSpan span) => span switch
    {
        { TotalSeconds: < 60 } => $"{span.TotalSeconds:0} s",
        { TotalMinutes: < 60 } when span.Seconds == 0 => $"{span.TotalMinutes:0} min",
        { TotalHours: < 48 } when span is { Seconds: 0, Minutes: 0 } => $"{span.TotalHours:0} h",
        _ => span.ToString("c", System.Globalization.CultureInfo.InvariantCulture),
    };
}
