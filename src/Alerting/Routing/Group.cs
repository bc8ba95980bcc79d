using Platform.Alerting.Alerts;
using Platform.Contracts;

namespace Platform.Alerting.Routing;

/// <summary>An alert in a group, as far as it matters for telling.</summary>
/// <param name="TellAt">When its firing is due.</param>
/// <param name="Told">People know that it fires; until they know that it is over.</param>
/// <param name="Again">Why they are to be told once more although they know; null for no reason.</param>
/// <param name="Suppressed">By a silence, another alert or its parent.</param>
/// <param name="Leaving">It is routed elsewhere now: only its end is still told here.</param>
public sealed record Member(
    Guid AlertId, AlertState State, Severity Severity, DateTimeOffset TellAt, DateTimeOffset? ResolvedAt, bool Told, string? Again = null, bool Suppressed = false, bool Leaving = false)
{
    /// <summary>It fires, somebody should know, and nobody takes care of it yet.</summary>
    public bool Calls => State == AlertState.Firing && !Suppressed && !Leaving;
}

/// <summary>What a group remembers between two tellings.</summary>
/// <param name="LastToldAt">Of whatever was told last; null when nothing was.</param>
/// <param name="Active">Some member was told to fire and not yet to be over.</param>
/// <param name="CriticalTold">One of those is critical.</param>
public sealed record GroupMemory(DateTimeOffset? LastToldAt, bool Active, bool CriticalTold);

/// <summary>One notification of a group.</summary>
/// <param name="Reason">As Alertmanager words it, or why somebody is told once more.</param>
public sealed record Telling(string Reason, IReadOnlyList<Guid> Firing, IReadOnlyList<Guid> Resolved);

/// <summary>What follows from a look at a group.</summary>
/// <param name="Told">Members that are known to fire from now on.</param>
/// <param name="First">Those of them that were not known before.</param>
/// <param name="Gone">Members that are over.</param>
/// <param name="Untold">Those of them that nobody was told about.</param>
/// <param name="DueAt">When to look again without further news; null: never.</param>
public sealed record GroupVerdict(
    IReadOnlyList<Telling> Tellings,
    IReadOnlyList<Guid> Told,
    IReadOnlyList<Guid> First,
    IReadOnlyList<Guid> Gone,
    IReadOnlyList<Guid> Untold,
    GroupMemory Memory,
    DateTimeOffset? DueAt);

/// <summary>
/// Decides what is told about a group, and when. Pure. It is Alertmanager's dispatcher with three differences: the first critical alert
/// of a group does not wait, the end is told at once, and what has come to an end before its turn is told when its turn had come.
/// </summary>
public static class Grouping
{
    public const string First = "first notification";
    public const string Added = "new alerts added";
    public const string SomeResolved = "some alerts resolved";
    public const string AllResolved = "all alerts resolved";
    public const string Repeated = "repeat interval elapsed";

    /// <summary>When the firing of an alert that joins a group is due.</summary>
    /// <param name="firedAt">When the platform noticed the alert.</param>
    /// <param name="passed">It was over when it came to light: waiting would only make old news older.</param>
    public static DateTimeOffset TellAt(GroupMemory group, Severity severity, DateTimeOffset firedAt, bool passed, TimeSpan wait, TimeSpan interval) =>
        passed || (severity == Severity.Critical && !group.CriticalTold) ? firedAt
        : !group.Active ? firedAt + wait
        : group.LastToldAt is { } last && last + interval > firedAt ? last + interval
        : firedAt;

    /// <param name="mutedUntil">Null when the route may send now. Nothing is told before, not even an end.</param>
    public static GroupVerdict Judge(GroupMemory group, IReadOnlyList<Member> members, TimeSpan repeat, DateTimeOffset? mutedUntil, DateTimeOffset now)
    {
        var known = members.Where(member => member.Told).ToList();
        var over = members.Where(member => member.State == AlertState.Resolved).ToList();
        // Came and went before anybody was told, in spite of being due: people hear of both.
        var late = mutedUntil is null ? over.Where(member => !member.Told && !member.Suppressed && !member.Leaving && member.TellAt <= member.ResolvedAt).ToList() : [];
        var untold = over.Where(member => !member.Told && !late.Contains(member)).ToList();
        if (mutedUntil is { } until)
        {
            return new GroupVerdict([], [], [], Ids(untold), Ids(untold), group, members.Count > untold.Count ? until : null);
        }

        var waiting = members.Where(member => !member.Told && member.Calls).ToList();
        // Once something is due, everything that waits goes with it.
        var fresh = waiting.Any(member => member.TellAt <= now) || late.Count > 0 ? waiting : [];
        var again = known.Where(member => member.Again is not null && member.Calls).ToList();
        var ended = over.Where(member => member.Told).ToList();
        var stillKnown = known.Where(member => member.State != AlertState.Resolved && !member.Suppressed && !member.Leaving).ToList();

        List<Guid> firing = [.. Ids(stillKnown), .. Ids(fresh)];
        var tellings = new List<Telling>();
        if (fresh.Count + late.Count + again.Count > 0)
        {
            var reason = known.Count == 0 ? First : fresh.Count + late.Count > 0 ? Added : again[0].Again!;
            tellings.Add(new Telling(reason, [.. firing, .. Ids(late)], Ids(ended)));
            if (late.Count > 0)
            {
                tellings.Add(new Telling(firing.Count == 0 ? AllResolved : SomeResolved, firing, Ids(late)));
            }
        }
        else if (ended.Count > 0)
        {
            tellings.Add(new Telling(firing.Count == 0 ? AllResolved : SomeResolved, firing, Ids(ended)));
        }
        else if (stillKnown.Any(member => member.Calls) && group.LastToldAt + repeat <= now)
        {
            tellings.Add(new Telling(Repeated, firing, []));
        }

        var memory = new GroupMemory(
            tellings.Count > 0 ? now : group.LastToldAt,
            known.Any(member => member.State != AlertState.Resolved) || fresh.Count > 0,
            known.Any(member => member.State != AlertState.Resolved && member.Severity == Severity.Critical) || fresh.Any(member => member.Severity == Severity.Critical));
        List<DateTimeOffset> due =
        [
            .. waiting.Except(fresh).Select(member => member.TellAt),
            .. stillKnown.Concat(fresh).Any(member => member.Calls) && memory.LastToldAt is { } told ? [told + repeat] : Array.Empty<DateTimeOffset>(),
        ];
        return new GroupVerdict(
            tellings, [.. Ids(fresh), .. Ids(again)], [.. Ids(fresh), .. Ids(late)], Ids(over), Ids(untold), memory, due.Count == 0 ? null : due.Min());
    }

    private static List<Guid> Ids(IEnumerable<Member> members) => [.. members.Select(member => member.AlertId)];
}
