using System.Text.Json.Serialization;
using Platform.Alerting.Routing;
using Platform.PromQL;

namespace Platform.Alerting.OnCall;

/// <summary>Somebody or something that a step told, or why it could not.</summary>
/// <param name="Target">As the policy names it: <c>schedule primary</c>.</param>
/// <param name="User">The person behind it; null for a channel, and when nobody is on call.</param>
/// <param name="Channel">Null when nobody was told.</param>
/// <param name="At">When the message goes; later than the step in quiet hours and for second methods.</param>
/// <param name="Note">Why not, or why later; empty when there is nothing to say.</param>
public sealed record Told(string Target, string? User, string? Channel, DateTimeOffset? At, string Note);

/// <summary>A step as it was taken.</summary>
/// <param name="Number">Counted through all rounds, from 0.</param>
/// <param name="ToldAt">When the first of its messages was due.</param>
public sealed record TakenStep(int Number, DateTimeOffset DueAt, DateTimeOffset TakenAt, DateTimeOffset ToldAt, string Reason, IReadOnlyList<Told> Told);

/// <summary>A policy at work for an alert.</summary>
/// <param name="Policy">As it was when the escalation began; null when there was none of this name.</param>
/// <param name="NextAt">When <paramref name="NextStep"/> is due unless somebody acknowledges; null when every step was taken.</param>
public sealed record Escalation(
    Guid Id, Guid AlertId, string Realm, [property: JsonPropertyName("policy")] string PolicyName, [property: JsonIgnore] EscalationPolicy? Policy, DateTimeOffset StartedAt, int NextStep, DateTimeOffset? NextAt,
    DateTimeOffset? EndedAt, string? EndReason, IReadOnlyList<TakenStep> Steps)
{
    /// <summary>
    /// What should have happened by now and has not, in words; null when all is as the policy says. Decides from the policy and from what
    /// was recorded, not from what the worker means to do next.
    /// </summary>
    public string? Overdue(DateTimeOffset now, TimeSpan grace)
    {
        if (EndedAt is not null)
        {
            return null;
        }

        if (Policy is null)
        {
            return $"There is no escalation policy {PolicyName}: nobody was told by it.";
        }

        // A whole round, and nobody: later rounds may find somebody, but now nobody knows.
        if (Steps.Count >= Policy.Steps.Count && Steps.All(step => step.Told.All(told => told.Channel is null)))
        {
            return $"Every step of the policy {PolicyName} was taken, and none could tell anybody.";
        }

        var (taken, due) = Steps is [.., var last] ? (last.Number + 1, last.ToldAt + Policy.Wait(last.Number)) : (0, StartedAt);
        if (taken == Policy.Count)
        {
            return null;
        }

        return now > due + grace ? $"Step {taken % Policy.Steps.Count + 1} of the policy {PolicyName} was due at {due:u} and has not been taken." : null;
    }
}

/// <summary>A critical alert that fires, that nobody has acknowledged and nothing suppresses.</summary>
/// <param name="Since">From when people were to be told: it fired, was released from what suppressed it, or its acknowledgement ran out.</param>
/// <param name="Running">Names of the policies that are at work for it.</param>
public sealed record CriticalAlert(Guid Id, string Realm, string Name, Labels Labels, DateTimeOffset FiredAt, DateTimeOffset Since, IReadOnlyList<string> Running)
{
    /// <summary>
    /// The policies on its routes that should be at work by now and are not. Decides from the alert and the routing alone, not from what
    /// the flusher remembers: nothing that the flusher forgot is forgotten here. A further alert of a group may wait for the group's
    /// interval, so this long is waited for every one.
    /// </summary>
    /// <param name="routing">What holds in its realm. An alert from before it was changed was told by what held then, and is passed over.</param>
    public IEnumerable<string> NotBegun(StoredRouting routing, DateTimeOffset now, TimeSpan grace)
    {
        if (routing.ChangedAt >= FiredAt)
        {
            yield break;
        }

        foreach (var ofPolicy in Routing.Routing.Match(routing.Config.Route, Labels)
            .Select(route => (Route: route, Policy: routing.Config.Find(route.Receiver)?.EscalationPolicy))
            .Where(one => one.Policy is not null && !Running.Contains(one.Policy))
            .GroupBy(one => one.Policy!))
        {
            if (ofPolicy.Any(one => now - Since > one.Route.GroupInterval + grace && IsOpen(one.Route, routing.Config, now - one.Route.GroupInterval - grace, now)))
            {
                yield return ofPolicy.Key;
            }
        }
    }

    // Whether the route could send all the time.
    private static bool IsOpen(RouteMatch route, RoutingConfig config, DateTimeOffset from, DateTimeOffset to)
    {
        var (mute, active) = (route.MuteTimeIntervals, route.ActiveTimeIntervals);
        return mute.Count + active.Count == 0
            || (Muting.MutedBy(mute, active, config.TimeIntervals, from) is null && Muting.NextChange(mute, active, config.TimeIntervals, from) > to);
    }
}
