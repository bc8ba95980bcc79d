using Platform.Alerting.Alerts;
using Platform.Alerting.Silences;
using Platform.PromQL;

namespace Platform.Alerting.Routing;

/// <summary>An open alert that may keep others quiet.</summary>
public sealed record OpenAlert(Guid Id, string Realm, string Name, Labels Labels);

/// <summary>Finds what keeps an alert from being told. Pure.</summary>
public static class Suppressing
{
    /// <summary>More reasons than these are not written down.</summary>
    private const int MostReasons = 20;

    /// <param name="before">What it was: a reason that goes on keeps its beginning.</param>
    /// <param name="others">Open alerts that may inhibit it, or be its parent.</param>
    public static IReadOnlyList<Suppression> Judge(
        Guid id, string realm, Labels labels, IReadOnlyList<Suppression> before,
        IEnumerable<Silence> silences, RoutingConfig config, IEnumerable<OpenAlert> others, IEnumerable<RouteMatch> routes, DateTimeOffset now)
    {
        var reasons = new List<Suppression>();
        foreach (var silence in silences.Where(silence => silence.Holds(realm, labels, now)))
        {
            Add(SuppressionKind.Silence, silence.Id, silence.Owner, silence.Comment);
        }

        foreach (var other in others.Where(other => other.Id != id && other.Realm == realm))
        {
            foreach (var rule in config.Rules.Where(rule => rule.Holds(other.Labels, labels)).DistinctBy(rule => rule.IsDependency))
            {
                Add(rule.IsDependency ? SuppressionKind.Parent : SuppressionKind.Inhibition, other.Id, other.Name,
                    rule.IsDependency ? $"{rule.Name}: {other.Name} fires, on which this depends" : $"inhibited while {other.Name} fires");
            }
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
