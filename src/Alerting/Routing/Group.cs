using Platform.Alerting.Alerts;
using Platform.Contracts;

namespace Platform.Alerting.Routing;

/// <summary>An alert in a group, as far as it matters for telling.</summary>
/// <param name="TellAt">When its firing is due in a group of which nobody knows yet.</param>
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

/// <summary>One notification of a group.</summary>
/// <param name="Reason">As Alertmanager words it, or why somebody is told once more.</param>
public sealed record Telling(string Reason, IReadOnlyList<Guid> Firing, IReadOnlyList<Guid> Resolved);

/// <summary>What follows from a look at a group.</summary>
/// <param name="Told">Members that are known to fire from now on.</param>
/// <param name="First">Those of them that were not known before.</param>
/// <param name="Gone">Members that are over.</param>
/// <param name="Untold">Those of them that nobody was told about.</param>
/// <param name="LastToldAt">When something but an end was told last; null for never.</param>
/// <param name="DueAt">When to look again without further news; null: never.</param>
public sealed record GroupVerdict(
    IReadOnlyList<Telling> Tellings,
    IReadOnlyList<Guid> Told,
    IReadOnlyList<Guid> First,
    IReadOnlyList<Guid> Gone,
    IReadOnlyList<Guid> Untold,
    DateTimeOffset? LastToldAt,
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

    /// <summary>When the firing of an alert is due in a group of which nobody knows yet.</summary>
    /// <param name="firedAt">When the platform noticed the alert.</param>
    /// <param name="passed">It was over when it came to light: waiting would only make old news older.</param>
    public static DateTimeOffset TellAt(Severity severity, DateTimeOffset firedAt, bool passed, TimeSpan wait) =>
        passed || severity == Severity.Critical ? firedAt : firedAt + wait;

    /// <param name="lastToldAt">When the group was told last, of anything but an end.</param>
    /// <param name="mutedUntil">Null when the route may send now. Nothing is told before, not even an end.</param>
    public static GroupVerdict Judge(
        DateTimeOffset? lastToldAt, IReadOnlyList<Member> members, TimeSpan interval, TimeSpan repeat, DateTimeOffset? mutedUntil, DateTimeOffset now)
    {
        var over = members.Where(member => member.State == AlertState.Resolved).ToList();
        // Came and went before anybody was told, in spite of being due: people hear of both.
        var late = mutedUntil is null ? over.Where(member => !member.Told && !member.Suppressed && !member.Leaving && member.TellAt <= member.ResolvedAt).ToList() : [];
        var untold = over.Where(member => !member.Told && !late.Contains(member)).ToList();
        if (mutedUntil is { } until)
        {
            return new GroupVerdict([], [], [], Ids(untold), Ids(untold), lastToldAt, members.Count > untold.Count ? until : null);
        }

        var ended = over.Where(member => member.Told).ToList();
        var open = members.Where(member => member.Told && member.State != AlertState.Resolved).ToList();
        var listed = open.Where(member => !member.Suppressed && !member.Leaving).ToList();
        var waiting = members.Where(member => !member.Told && member.Calls).Select(member => (Member: member, DueAt: DueAt(member))).ToList();
        // Once something is due, everything that waits goes with it.
        var fresh = late.Count > 0 || waiting.Any(one => one.DueAt <= now) ? waiting.ConvertAll(one => one.Member) : [];
        var again = open.Where(member => member.Again is not null && member.Calls).ToList();

        var tellings = new List<Telling>();
        if (ended.Count > 0)
        {
            // Before what is new: the same label set may be both, an episode that ended and the next one.
            tellings.Add(new Telling(listed.Count == 0 ? AllResolved : SomeResolved, Ids(listed), Ids(ended)));
        }

        List<Guid> firing = [.. Ids(listed), .. Ids(fresh)];
        if (fresh.Count + late.Count + again.Count > 0)
        {
            tellings.Add(new Telling(open.Count == 0 ? First : fresh.Count + late.Count > 0 ? Added : again[0].Again!, [.. firing, .. Ids(late)], []));
        }

        if (late.Count > 0)
        {
            tellings.Add(new Telling(firing.Count == 0 ? AllResolved : SomeResolved, firing, Ids(late)));
        }

        if (tellings.Count == 0 && listed.Any(member => member.Calls) && lastToldAt + repeat <= now)
        {
            tellings.Add(new Telling(Repeated, firing, []));
        }

        // An end puts off nothing: otherwise a stream of them would keep what is new waiting for ever.
        var toldAt = tellings.Any(told => told.Resolved.Count == 0) ? now : lastToldAt;
        var due = fresh.Count > 0 ? [] : waiting.ConvertAll(one => one.DueAt);
        if (listed.Concat(fresh).Any(member => member.Calls) && toldAt is { } last)
        {
            due.Add(last + repeat);
        }

        return new GroupVerdict(tellings, [.. Ids(fresh), .. Ids(again)], [.. Ids(fresh), .. Ids(late)], Ids(over), Ids(untold), toldAt, due.Count == 0 ? null : due.Min());

        // The first of a group, and its first critical one, do not wait for those that were told before.
        DateTimeOffset DueAt(Member member) =>
            open.Count == 0 || (member.Severity == Severity.Critical && open.All(known => known.Severity != Severity.Critical)) || lastToldAt is not { } told || told + interval < member.TellAt
                ? member.TellAt
                : told + interval;
    }

    private static List<Guid> Ids(IEnumerable<Member> members) => [.. members.Select(member => member.AlertId)];
}
