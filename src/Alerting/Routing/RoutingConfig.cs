using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.PromQL;

namespace Platform.Alerting.Routing;

/// <summary>Who is told: channels by their names, and a policy that climbs when nobody acknowledges.</summary>
/// <param name="EscalationPolicy">Name of an escalation policy; null for none.</param>
public sealed record RoutingReceiver(string Name, IReadOnlyList<string> Channels, string? EscalationPolicy = null);

/// <summary>
/// While an alert fires that the source matchers take, alerts of the target matchers are not told, provided that both have the same
/// values of the labels in <paramref name="Equal"/> (a label that both lack counts as the same).
/// https://prometheus.io/docs/alerting/latest/configuration/#inhibition-related-settings
/// </summary>
/// <param name="Name">Set for a dependency, where the source is the parent and the targets its children; null for a plain inhibition.</param>
public sealed record InhibitRule(IReadOnlyList<Matcher> Source, IReadOnlyList<Matcher> Target, IReadOnlyList<string> Equal, string? Name = null)
{
    public bool IsDependency => Name is not null;

    /// <summary>Whether <paramref name="source"/>, which fires, keeps <paramref name="target"/> quiet. Not when both could say so of each other.</summary>
    public bool Holds(Labels source, Labels target) =>
        Source.AllMatch(source) && Target.AllMatch(target)
        && Equal.All(label => source[label] == target[label])
        && !(Target.AllMatch(source) && Source.AllMatch(target));

    /// <summary>Labels that every alert on the other side of <paramref name="alert"/> has; more conditions may follow.</summary>
    public Dictionary<string, string> Probe(IReadOnlyList<Matcher> otherSide, Labels alert)
    {
        var wanted = new Dictionary<string, string>();
        foreach (var matcher in otherSide.Where(matcher => matcher.Kind == MatchKind.Equal && matcher.Value.Length > 0))
        {
            wanted[matcher.Name] = matcher.Value;
        }

        foreach (var label in Equal.Where(label => alert[label].Length > 0))
        {
            wanted[label] = alert[label];
        }

        return wanted;
    }
}

/// <summary>All that decides who is told about the alerts of a realm. Immutable; checked by <see cref="Faults"/> before it is stored.</summary>
public sealed record RoutingConfig(
    Route Route,
    IReadOnlyList<RoutingReceiver> Receivers,
    IReadOnlyList<InhibitRule> InhibitRules,
    IReadOnlyList<InhibitRule> Dependencies,
    IReadOnlyList<TimeInterval> TimeIntervals)
{
    public const int MostRoutes = 1_000;
    public const int MostReceivers = 500;
    public const int MostRules = 500;
    public const int DeepestRoute = 20;

    /// <summary>Ranges of times, days and so on in all time intervals together: each is looked at for every minute of a day.</summary>
    public const int MostTimeRanges = 1_000;

    /// <summary>Inhibitions and dependencies alike.</summary>
    public IEnumerable<InhibitRule> Rules => InhibitRules.Concat(Dependencies);

    public RoutingReceiver? Find(string receiver) => Receivers.FirstOrDefault(known => known.Name == receiver);

    /// <summary>
    /// What holds where nobody wrote anything: each alert on its own and at once, over the channels of the settings that its severity
    /// deserves. The words are those that <see cref="Severities.OfLabel"/> knows; an alert that says nothing of the kind is
    /// medium.
    /// </summary>
    public static RoutingConfig Default(Func<Severity, IReadOnlyList<string>> channels)
    {
        (Severity Severity, string Words)[] urgent = [(Severity.Critical, "critical|page"), (Severity.High, "high|error"), (Severity.Low, "low"), (Severity.Info, "info")];
        return new RoutingConfig(
            new Route
            {
                Receiver = Severity.Medium.Word(),
                GroupBy = [RouteMatch.AllLabels],
                GroupWait = TimeSpan.Zero,
                GroupInterval = TimeSpan.FromMinutes(5),
                RepeatInterval = TimeSpan.FromHours(4),
                Routes = [.. urgent.Select(one => new Route { Receiver = one.Severity.Word(), Matchers = [new Matcher("severity", MatchKind.Regex, $"(?i:{one.Words})")] })],
            },
            [.. Enum.GetValues<Severity>().Select(severity => new RoutingReceiver(severity.Word(), channels(severity)))],
            [
                // The detections say who and where; the rules over counters see the same only from afar.
                SameCause("brute_force|credential_stuffing|password_spray|distributed_spray", "PotentialBruteForceAttack"),
                SameCause("token_revocation", "TokenRevocationSpike"),
                SameCause("drift_detected", "ConfigurationDrift"),
            ],
            [],
            []);

        static InhibitRule SameCause(string detections, string rule) =>
            new([new Matcher(RuleGroups.RuleLabels.AlertName, MatchKind.Regex, detections)], [new Matcher(RuleGroups.RuleLabels.AlertName, MatchKind.Equal, rule)], [RuleGroups.RuleLabels.Realm]);
    }

    /// <summary>Everything that is wrong with it, each with its place and the remedy.</summary>
    /// <param name="channels">Names that mean a channel in the realm.</param>
    public IEnumerable<string> Faults(IReadOnlySet<string> channels)
    {
        foreach (var twice in Receivers.GroupBy(receiver => receiver.Name).Where(same => same.Count() > 1))
        {
            yield return $"The receiver \"{twice.Key}\" is defined twice. Give one of them another name.";
        }

        foreach (var twice in TimeIntervals.GroupBy(interval => interval.Name).Where(same => same.Count() > 1))
        {
            yield return $"The time interval \"{twice.Key}\" is defined twice. Give one of them another name.";
        }

        foreach (var twice in Dependencies.GroupBy(dependency => dependency.Name).Where(same => same.Count() > 1))
        {
            yield return $"The dependency \"{twice.Key}\" is defined twice. Give one of them another name.";
        }

        foreach (var receiver in Receivers)
        {
            foreach (var channel in receiver.Channels.Where(channel => !channels.Contains(channel)))
            {
                yield return $"The receiver \"{receiver.Name}\" names the channel \"{channel}\", which is not there ({(channels.Count == 0 ? "there is none" : $"there is {string.Join(", ", channels.Order(StringComparer.Ordinal).Take(20))}")}). Create it first at /api/v1/monitoring/channels, or name another.";
            }
        }

        if (Receivers.Count > MostReceivers || InhibitRules.Count > MostRules || Dependencies.Count > MostRules || TimeIntervals.Count > MostRules)
        {
            yield return $"There are more than {MostReceivers} receivers, or more than {MostRules} inhibit_rules, dependencies or time_intervals. Merge some.";
        }

        if (TimeIntervals.Sum(interval => interval.Ranges) > MostTimeRanges)
        {
            var largest = TimeIntervals.MaxBy(interval => interval.Ranges)!;
            yield return $"The time_intervals have more than {MostTimeRanges} ranges of times, days, months and years together; \"{largest.Name}\" alone has {largest.Ranges}. Merge some.";
        }

        var routes = Routing.Walk(Route, "").Take(MostRoutes + 1).ToList();
        if (routes.Count > MostRoutes || routes.Any(route => route.Path.Count(letter => letter == '/') >= DeepestRoute))
        {
            yield return $"There are more than {MostRoutes} routes, or they are nested more than {DeepestRoute} deep. Merge some.";
        }

        foreach (var fault in Routing.Faults(Route, Receivers.Select(receiver => receiver.Name).ToHashSet(), TimeIntervals.Select(interval => interval.Name).ToHashSet()))
        {
            yield return fault;
        }
    }
}

/// <summary>When a route may send.</summary>
public static class Muting
{
    private const int MinutesAhead = 24 * 60;

    /// <summary>What keeps the route quiet at a moment, in words; null when nothing does.</summary>
    public static string? MutedBy(IReadOnlyList<string> muteIntervals, IReadOnlyList<string> activeIntervals, IReadOnlyList<TimeInterval> intervals, DateTimeOffset at)
    {
        if (muteIntervals.FirstOrDefault(name => Contains(name)) is { } mute)
        {
            return mute;
        }

        return activeIntervals.Count == 0 || activeIntervals.Any(Contains) ? null : $"outside of {string.Join(", ", activeIntervals)}";

        bool Contains(string name) => intervals.FirstOrDefault(interval => interval.Name == name)?.Contains(at) == true;
    }

    /// <summary>The next full minute at which the answer is another one, or a day from now when there is none before.</summary>
    public static DateTimeOffset NextChange(IReadOnlyList<string> muteIntervals, IReadOnlyList<string> activeIntervals, IReadOnlyList<TimeInterval> intervals, DateTimeOffset from)
    {
        var now = MutedBy(muteIntervals, activeIntervals, intervals, from);
        // Intervals begin and end at full minutes on every clock.
        var minute = new DateTimeOffset(from.UtcTicks - from.UtcTicks % TimeSpan.TicksPerMinute, TimeSpan.Zero);
        for (var ahead = 1; ahead < MinutesAhead; ahead++)
        {
            var then = minute.AddMinutes(ahead);
            if (MutedBy(muteIntervals, activeIntervals, intervals, then) != now)
            {
                return then;
            }
        }

        return minute.AddMinutes(MinutesAhead);
    }
}

/// <summary>
/// What keeps routes quiet, and until when: worked out once for each set of intervals, and not again before it changes. Not safe for
/// several threads at once.
/// </summary>
public sealed class MutedRoutes
{
    private const int Most = 10_000;

    private readonly Dictionary<(string Realm, string Set), (string? By, DateTimeOffset From, DateTimeOffset Until)> _known = [];
    private long _version = -1;

    /// <returns>What keeps the route quiet, null for nothing; and when the answer is another one, null for never.</returns>
    public (string? By, DateTimeOffset? Change) Of(RoutingTable table, string realm, GroupRoute route, DateTimeOffset now)
    {
        if (!route.HasIntervals)
        {
            return (null, null);
        }

        if (_version != table.Version || _known.Count >= Most)
        {
            _known.Clear();
            _version = table.Version;
        }

        var stored = table.For(realm);
        var key = (stored.Realm, $"{string.Join('\n', route.MuteTimeIntervals)}\0{string.Join('\n', route.ActiveTimeIntervals)}");
        if (!_known.TryGetValue(key, out var known) || now < known.From || now >= known.Until)
        {
            var intervals = stored.Config.TimeIntervals;
            _known[key] = known = (
                Muting.MutedBy(route.MuteTimeIntervals, route.ActiveTimeIntervals, intervals, now), now,
                Muting.NextChange(route.MuteTimeIntervals, route.ActiveTimeIntervals, intervals, now));
        }

        return (known.By, known.Until);
    }
}
