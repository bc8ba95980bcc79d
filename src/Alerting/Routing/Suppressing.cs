using Platform.Alerting.Alerts;
using Platform.Alerting.Silences;
using Platform.PromQL;

namespace Platform.Alerting.Routing;

/// <summary>An open alert that may keep others quiet.</summary>
public sealed record OpenAlert(Guid Id, string Realm, string Name, Labels Labels);

/// <summary>
/// Open alerts, found by what a rule needs them to have in common with the alert that they may keep quiet: an alert costs the same,
/// however many others are open. Each rule looks at the alerts of its realm once. Not safe for several threads at once.
/// </summary>
public sealed class Inhibitors(IEnumerable<OpenAlert> open)
{
    /// <summary>Alerts that the rules of a realm look at, all together. With more, alerts are told although something would inhibit them.</summary>
    public const int MostLooks = 1_000_000;

    private readonly ILookup<string, OpenAlert> _open = open.OrderBy(one => one.Id).ToLookup(one => one.Realm);
    private readonly Dictionary<string, int> _looks = [];
    private readonly Dictionary<(string Realm, InhibitRule Rule), ILookup<string, (OpenAlert Alert, bool IsTarget)>> _sources = new(new SameRule());

    /// <summary>Those that keep an alert quiet by a rule, in the order of their ids.</summary>
    public IEnumerable<OpenAlert> Of(string realm, InhibitRule rule, Labels target)
    {
        if (!rule.Target.AllMatch(target))
        {
            return [];
        }

        if (!_sources.TryGetValue((realm, rule), out var sources))
        {
            var looks = _looks[realm] = _looks.GetValueOrDefault(realm) + _open[realm].Count();
            var found = looks > MostLooks ? [] : _open[realm].Where(one => rule.Source.AllMatch(one.Labels)).Select(one => (Alert: one, IsTarget: rule.Target.AllMatch(one.Labels)));
            sources = _sources[(realm, rule)] = found.ToLookup(one => In(rule, one.Alert.Labels));
        }

        // Where both could say so of each other, neither does.
        var both = rule.Source.AllMatch(target);
        return sources[In(rule, target)].Where(one => !both || !one.IsTarget).Select(one => one.Alert);
    }

    private static string In(InhibitRule rule, Labels labels) => string.Join('\0', rule.Equal.Select(label => labels[label]));

    // By reference: comparing records compares all their matchers.
    private sealed class SameRule : IEqualityComparer<(string Realm, InhibitRule Rule)>
    {
        public bool Equals((string Realm, InhibitRule Rule) x, (string Realm, InhibitRule Rule) y) => ReferenceEquals(x.Rule, y.Rule) && x.Realm == y.Realm;

        public int GetHashCode((string Realm, InhibitRule Rule) one) => HashCode.Combine(one.Realm, System.Runtime.CompilerServices.RuntimeHelpers.GetHashCode(one.Rule));
    }
}

/// <summary>Finds what keeps an alert from being told. Pure.</summary>
public static class Suppressing
{
    /// <summary>More reasons than these are not written down.</summary>
    private const int MostReasons = 20;

    /// <param name="before">What it was: a reason that goes on keeps its beginning.</param>
    /// <param name="others">Open alerts that may inhibit it, or be its parent.</param>
    public static IReadOnlyList<Suppression> Judge(
        Guid id, string realm, Labels labels, IReadOnlyList<Suppression> before,
        IEnumerable<Silence> silences, RoutingConfig config, Inhibitors others, IEnumerable<RouteMatch> routes, DateTimeOffset now)
    {
        var reasons = new List<Suppression>();
        foreach (var silence in silences.Where(silence => silence.Holds(realm, labels, now)))
        {
            Add(SuppressionKind.Silence, silence.Id, silence.Owner, silence.Comment);
        }

        foreach (var (rule, other) in config.Rules
            .SelectMany(rule => others.Of(realm, rule, labels).Where(other => other.Id != id).Take(MostReasons).Select(other => (Rule: rule, Other: other)))
            .DistinctBy(one => (one.Other.Id, one.Rule.IsDependency)).Take(MostReasons).OrderBy(one => one.Other.Id))
        {
            Add(rule.IsDependency ? SuppressionKind.Parent : SuppressionKind.Inhibition, other.Id, other.Name,
                rule.IsDependency ? $"{rule.Name}: {other.Name} fires, on which this depends" : $"inhibited while {other.Name} fires");
        }

        foreach (var route in routes)
        {
            if (Muting.MutedBy(route.MuteTimeIntervals, route.ActiveTimeIntervals, config.TimeIntervals, now) is { } interval)
            {
                Add(SuppressionKind.MuteInterval, null, interval, $"nothing is told to {route.Receiver} now");
            }
        }

        return reasons;

        void Add(SuppressionKind kind, Guid? by, string name, string reason)
        {
            if (reasons.Count < MostReasons)
            {
                var since = before.FirstOrDefault(known => known.Kind == kind && known.Id == by && known.Name == name && known.Reason == reason)?.Since;
                reasons.Add(new Suppression(kind, by, name, reason, since ?? now));
            }
        }
    }

    /// <summary>Whether no receiver is told. A muted route keeps its own receiver quiet and no other.</summary>
    public static bool HoldsEverywhere(IReadOnlyList<Suppression> reasons) => reasons.Any(reason => reason.Kind != SuppressionKind.MuteInterval);

    /// <summary>Why people are told of an alert again that was suppressed by these.</summary>
    public static string Lifted(IReadOnlyList<Suppression> reasons) =>
        reasons.Any(reason => reason.Kind == SuppressionKind.Silence) ? "silence ended"
        : reasons.Any(reason => reason.Kind == SuppressionKind.Parent) ? "parent alert resolved"
        : "inhibiting alert resolved";
}
