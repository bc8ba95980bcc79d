using Platform.PromQL;

namespace Platform.Alerting.RuleGroups;

public enum AlertPhase
{
    /// <summary>The condition holds, and has not held for long enough.</summary>
    Pending,

    /// <summary>People are told.</summary>
    Firing,
}

/// <summary>An alert of a rule while it is not inactive. Its labels are its identity within the rule.</summary>
/// <param name="ActiveAt">Since when the condition holds.</param>
/// <param name="FiredAt">Null while it is pending.</param>
/// <param name="KeepFiringSince">When the condition ended, while the alert goes on firing nevertheless.</param>
/// <param name="Value">As of the last change.</param>
/// <param name="AlertId">What the rest of the platform knows it as, once it fires.</param>
public sealed record ActiveAlert(
    Labels Labels, AlertPhase Phase, DateTimeOffset ActiveAt, DateTimeOffset? FiredAt, DateTimeOffset? KeepFiringSince, double Value, Guid? AlertId = null)
{
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = new Dictionary<string, string>();

    /// <summary>What began later than now has begun now: the clock was set back, and nobody is to wait until it has caught up.</summary>
    public ActiveAlert NotAfter(DateTimeOffset at) => ActiveAt <= at && !(KeepFiringSince > at) ? this : this with
    {
        ActiveAt = ActiveAt < at ? ActiveAt : at,
        KeepFiringSince = KeepFiringSince > at ? at : KeepFiringSince,
    };
}

/// <summary>What an expression said: for each label set of an alert its value; or that nothing is known.</summary>
public abstract record RuleFinding
{
    private RuleFinding()
    {
    }

    public sealed record Hits(IReadOnlyDictionary<Labels, double> Values) : RuleFinding;

    /// <summary>No selector found a sample.</summary>
    /// <param name="Own">Labels of the alert that says so, when the policy wants one.</param>
    public sealed record NoData(Labels Own) : RuleFinding;

    public sealed record Failed(string Message, Labels Own) : RuleFinding;
}

public enum AlertMove
{
    /// <summary>The condition began to hold.</summary>
    Pending,

    /// <summary>It has held for long enough. An alert without <c>for</c> makes this move from nothing.</summary>
    Fired,

    /// <summary>It ended; the alert goes on firing for a while.</summary>
    Kept,

    /// <summary>It holds again, before that while was over.</summary>
    Back,

    /// <summary>A firing alert is over.</summary>
    Resolved,

    /// <summary>A pending alert is over; nobody was told of it.</summary>
    Dropped,
}

/// <param name="Alert">As it is after the move; as it was before, when it is over.</param>
public sealed record AlertChange(AlertMove Move, ActiveAlert Alert);

/// <param name="Active">All alerts that are not inactive now; unchanged ones are the same objects as before.</param>
/// <param name="Changes">What is to be written down. Usually nothing.</param>
public sealed record RuleStep(IReadOnlyDictionary<Labels, ActiveAlert> Active, IReadOnlyList<AlertChange> Changes);

/// <summary>
/// The life of a rule's alerts, as Prometheus has it: inactive, pending, firing, resolved. A function of the rule, what was, what its
/// expression says, and the time; it knows neither clock nor store. So it is the same live, after a restart and over stored data.
/// </summary>
public static class RuleMachine
{
    public static RuleStep Next(QueryRule rule, IReadOnlyDictionary<Labels, ActiveAlert> before, RuleFinding finding, DateTimeOffset at) => finding switch
    {
        RuleFinding.Hits hits => Next(rule, before, hits.Values, at),
        RuleFinding.NoData none => NothingKnown(rule, rule.NoData, before, none.Own, at),
        RuleFinding.Failed failed => NothingKnown(rule, rule.OnError, before, failed.Own, at),
        _ => throw new NotSupportedException($"No rule judges {finding.GetType().Name}."),
    };

    private static RuleStep NothingKnown(QueryRule rule, AbsencePolicy policy, IReadOnlyDictionary<Labels, ActiveAlert> before, Labels own, DateTimeOffset at)
    {
        switch (policy)
        {
            case AbsencePolicy.Keep:
                return new RuleStep(before, []);
            case AbsencePolicy.Resolve:
                return Next(rule, before, new Dictionary<Labels, double>(), at);
        }

        // The alert that nothing is known lives like any other; the rest stands still.
        var (rest, mine) = (before.Where(alert => !alert.Key.Equals(own)), before.Where(alert => alert.Key.Equals(own)).ToDictionary());
        var step = Next(rule, mine, new Dictionary<Labels, double> { [own] = double.NaN }, at);
        return new RuleStep(rest.Concat(step.Active).ToDictionary(), step.Changes);
    }

    private static RuleStep Next(QueryRule rule, IReadOnlyDictionary<Labels, ActiveAlert> before, IReadOnlyDictionary<Labels, double> hits, DateTimeOffset at)
    {
        if (before.Count == 0 && hits.Count == 0)
        {
            return new RuleStep(before, []);
        }

        var active = new Dictionary<Labels, ActiveAlert>(Math.Max(before.Count, hits.Count));
        var changes = new List<AlertChange>();
        foreach (var (labels, value) in hits)
        {
            var known = before.GetValueOrDefault(labels)?.NotAfter(at);
            var alert = known ?? new ActiveAlert(labels, AlertPhase.Pending, at, null, null, value);
            var move = known is null ? AlertMove.Pending : (AlertMove?)null;
            if (alert.KeepFiringSince is not null)
            {
                (alert, move) = (alert with { KeepFiringSince = null }, AlertMove.Back);
            }

            if (alert.Phase == AlertPhase.Pending && at - alert.ActiveAt >= rule.For)
            {
                (alert, move) = (alert with { Phase = AlertPhase.Firing, FiredAt = at, Value = value }, AlertMove.Fired);
            }

            active.Add(labels, alert);
            if (move is { } made)
            {
                changes.Add(new AlertChange(made, alert));
            }
        }

        foreach (var (labels, former) in before)
        {
            if (hits.ContainsKey(labels))
            {
                continue;
            }

            var alert = former.NotAfter(at);
            if (alert.Phase == AlertPhase.Pending)
            {
                changes.Add(new AlertChange(AlertMove.Dropped, alert));
                continue;
            }

            if (rule.KeepFiringFor == TimeSpan.Zero || at - (alert.KeepFiringSince ?? at) >= rule.KeepFiringFor)
            {
                changes.Add(new AlertChange(AlertMove.Resolved, alert));
                continue;
            }

            var kept = alert.KeepFiringSince is null ? alert with { KeepFiringSince = at } : alert;
            active.Add(labels, kept);
            if (!ReferenceEquals(kept, alert))
            {
                changes.Add(new AlertChange(AlertMove.Kept, kept));
            }
        }

        return new RuleStep(active, changes);
    }
}
