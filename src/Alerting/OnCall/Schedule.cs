namespace Platform.Alerting.OnCall;

public enum RotationUnit
{
    Hours,
    Days,
    Weeks,
}

/// <summary>
/// People who take turns. Handovers are on the wall clock of the schedule: one at 09:00 stays at 09:00 when the clocks change, so that
/// shift is an hour shorter or longer. A handover in the hour that is skipped takes place at the jump, one in the hour that comes twice
/// at its first coming.
/// </summary>
/// <param name="Every">Length of a turn, in <paramref name="Unit"/>.</param>
/// <param name="StartsOn">The layer begins on this day, at the time of the handover, with the first participant.</param>
/// <param name="Weekday">For weeks: the day of the handover. The first turn is shorter when the layer starts on another day.</param>
/// <param name="Participants">Names of users, in the order of their turns.</param>
/// <param name="Restrictions">The layer counts only in these hours; none: always.</param>
/// <param name="EndsOn">Ends on this day at the time of the handover; null: never.</param>
public sealed record Layer(
    string Name,
    int Every,
    RotationUnit Unit,
    TimeOnly Handover,
    DayOfWeek? Weekday,
    DateOnly StartsOn,
    DateOnly? EndsOn,
    IReadOnlyList<string> Participants,
    IReadOnlyList<WeeklyHours> Restrictions)
{
    private DateTime FirstHandover
    {
        get
        {
            var back = Unit == RotationUnit.Weeks && Weekday is { } weekday ? ((int)StartsOn.DayOfWeek - (int)weekday + 7) % 7 : 0;
            return StartsOn.AddDays(-back).ToDateTime(Handover);
        }
    }

    private TimeSpan Turn => Every * (Unit switch { RotationUnit.Hours => TimeSpan.FromHours(1), RotationUnit.Days => TimeSpan.FromDays(1), RotationUnit.Weeks => TimeSpan.FromDays(7) });

    /// <summary>Whose turn it is; null before the start, after the end, and outside of the restrictions.</summary>
    public string? WhoseTurn(DateTimeOffset moment, TimeZoneInfo zone) =>
        moment < Start(zone) || moment >= End(zone) || Restrictions.Count > 0 && !Restrictions.Any(hours => hours.Contains(moment, zone))
            ? null
            : Participants[(int)(TurnAt(moment, zone) % Participants.Count)];

    /// <summary>Every moment at which <see cref="WhoseTurn"/> may change, from one moment to another.</summary>
    internal IEnumerable<DateTimeOffset> Edges(DateTimeOffset from, DateTimeOffset to, TimeZoneInfo zone)
    {
        yield return Start(zone);
        yield return End(zone);
        for (var turn = Math.Max(0, TurnAt(from, zone)); HandoverOf(turn, zone) is var handover && handover <= to; turn++)
        {
            yield return handover;
        }

        foreach (var edge in Restrictions.SelectMany(hours => hours.Edges(from, to, zone)))
        {
            yield return edge;
        }
    }

    private DateTimeOffset Start(TimeZoneInfo zone) => Clocks.Moment(StartsOn.ToDateTime(Handover), zone);

    private DateTimeOffset End(TimeZoneInfo zone) => EndsOn is { } day ? Clocks.Moment(day.ToDateTime(Handover), zone) : DateTimeOffset.MaxValue;

    private DateTimeOffset HandoverOf(long turn, TimeZoneInfo zone) => Clocks.Moment(FirstHandover + turn * Turn, zone);

    // Counted on the wall clock, then corrected: in the hour after a change the wall may be one turn off.
    private long TurnAt(DateTimeOffset moment, TimeZoneInfo zone)
    {
        var turn = (long)Math.Floor((Clocks.Wall(moment, zone) - FirstHandover) / Turn);
        while (HandoverOf(turn + 1, zone) <= moment)
        {
            turn++;
        }

        while (HandoverOf(turn, zone) > moment)
        {
            turn--;
        }

        return turn;
    }
}

/// <summary>Somebody stands in, whatever the rotations say. Of several at once the one that was made last counts.</summary>
public sealed record Override(Guid Id, string User, DateTimeOffset From, DateTimeOffset To, string Reason, string CreatedBy, DateTimeOffset CreatedAt);

/// <summary>A stretch of time and who is on call in it.</summary>
/// <param name="User">Null is a gap: nobody is.</param>
/// <param name="Layer">The layer that decides, or <c>override</c>; null in a gap.</param>
public sealed record Shift(DateTimeOffset From, DateTimeOffset To, string? User, string? Layer);

/// <summary>Who is on call when: layers of rotations, each lying on those before it, so that a later one takes over where it counts.</summary>
/// <param name="TimeZone">IANA name.</param>
public sealed record Schedule(string Name, string TimeZone, IReadOnlyList<Layer> Layers)
{
    /// <summary>Stands for a layer where an override decides.</summary>
    public const string Overridden = "override";

    /// <summary>Hours to which all layers together may be restricted: each is looked at for every change of every shift.</summary>
    public const int MostRestrictions = 100;

    /// <summary>See <see cref="IsTooFine"/>.</summary>
    public const int MostEdges = 5_000;

    /// <summary>Times at which <see cref="ShiftAt"/> asks whether it is still the same person.</summary>
    public const int MostLooks = 100;

    /// <summary>What to tell people when this machine does not know the time zone, which then is UTC: somebody is called, if at another hour. Null when it does.</summary>
    public string? UnknownZone => Clocks.FindZone(TimeZone) is null ? $"this machine does not know the time zone {TimeZone} of the schedule {Name}, and takes it for UTC" : null;

    private TimeZoneInfo Zone => Clocks.FindZone(TimeZone) ?? TimeZoneInfo.Utc;

    /// <summary>The one person on call; null when nobody is.</summary>
    public string? WhoIsOnCall(IReadOnlyList<Override> overrides, DateTimeOffset moment) => At(overrides, moment, Zone).User;

    /// <summary>
    /// Whether so many turns and hours begin and end in this time that nobody should work it out at once: more than <see cref="MostEdges"/>.
    /// </summary>
    public bool IsTooFine(DateTimeOffset from, DateTimeOffset to)
    {
        var zone = Zone;
        (from, to) = (from.ToUniversalTime(), to.ToUniversalTime());
        return Layers.SelectMany(layer => layer.Edges(from, to, zone)).Where(edge => edge > from && edge < to).Distinct().Take(MostEdges + 1).Count() > MostEdges;
    }

    /// <summary>The time from one moment to another without overlap and without holes; a gap is a shift of nobody.</summary>
    /// <param name="overrides">At least those that touch this time.</param>
    public IReadOnlyList<Shift> Shifts(IReadOnlyList<Override> overrides, DateTimeOffset from, DateTimeOffset to, CancellationToken ct = default)
    {
        var zone = Zone;
        (from, to) = (from.ToUniversalTime(), to.ToUniversalTime());
        var edges = Edges(overrides, from, to, zone);
        var shifts = new List<Shift>();
        for (var i = 0; i < edges.Count; i++)
        {
            ct.ThrowIfCancellationRequested();
            var (user, layer) = At(overrides, edges[i], zone);
            var end = i + 1 < edges.Count ? edges[i + 1] : to;
            if (shifts.Count > 0 && shifts[^1] is var last && last.User == user && last.Layer == layer)
            {
                shifts[^1] = last with { To = end };
            }
            else
            {
                shifts.Add(new Shift(edges[i], end, user, layer));
            }
        }

        return shifts;
    }

    /// <summary>The shift of a moment, from there to its end, or as far as it is sure after <see cref="MostLooks"/> looks.</summary>
    /// <param name="overrides">At least those that touch the time up to <paramref name="horizon"/>, where it ends at the latest.</param>
    public Shift ShiftAt(IReadOnlyList<Override> overrides, DateTimeOffset moment, DateTimeOffset horizon)
    {
        var zone = Zone;
        (moment, horizon) = (moment.ToUniversalTime(), horizon.ToUniversalTime());
        var now = At(overrides, moment, zone);
        var end = Edges(overrides, moment, horizon, zone).Skip(1).Select((edge, i) => (edge, i)).Where(one => one.i == MostLooks || At(overrides, one.edge, zone) != now).Select(one => (DateTimeOffset?)one.edge).FirstOrDefault();
        return new Shift(moment, end ?? horizon, now.User, now.Layer);
    }

    // In order, from the beginning on.
    private List<DateTimeOffset> Edges(IReadOnlyList<Override> overrides, DateTimeOffset from, DateTimeOffset to, TimeZoneInfo zone) =>
        Layers.SelectMany(layer => layer.Edges(from, to, zone))
            .Concat(overrides.SelectMany(one => new[] { one.From.ToUniversalTime(), one.To.ToUniversalTime() }))
            .Where(edge => edge > from && edge < to)
            .Append(from)
            .Distinct()
            .Order()
            .ToList();

    private (string? User, string? Layer) At(IReadOnlyList<Override> overrides, DateTimeOffset moment, TimeZoneInfo zone)
    {
        if (overrides.Where(one => one.From <= moment && moment < one.To).MaxBy(one => (one.CreatedAt, one.Id)) is { } standIn)
        {
            return (standIn.User, Overridden);
        }

        for (var i = Layers.Count - 1; i >= 0; i--)
        {
            if (Layers[i].WhoseTurn(moment, zone) is { } user)
            {
                return (user, Layers[i].Name);
            }
        }

        return (null, null);
    }
}
