using System.Security.Cryptography;
using Platform.Contracts;
using Platform.PromQL;

namespace Platform.Alerting.RuleGroups;

/// <summary>
/// A group that this process evaluates, with what is in the database about it: a copy that is true as long as the process owns the group.
/// Touched by one evaluation at a time, and by the worker between two.
/// </summary>
internal sealed class RunningGroup
{
    private readonly TimeSpan _interval;
    private readonly TimeSpan _phase;

    public RunningGroup(RuleGroup group, RuleGroupOptions options, IEnumerable<StoredRuleAlert> alerts, RunningGroup? before)
    {
        Group = group;
        IsAlone = before?.IsAlone ?? false;
        _interval = group.Interval ?? options.Interval;
        _phase = PhaseOf(group, _interval);
        var stored = alerts.GroupBy(alert => alert.RuleId).ToDictionary(of => of.Key, of => of.Select(alert => alert.Alert).ToDictionary(alert => alert.Labels));
        var former = before?.Rules.ToDictionary(rule => rule.Rule.Id) ?? [];
        var made = new List<RunningRule>();
        foreach (var rule in group.Rules)
        {
            made.Add(new RunningRule(rule, options, StageOf(rule, made), stored.GetValueOrDefault(rule.Id) ?? [], former.GetValueOrDefault(rule.Id)));
            former.Remove(rule.Id);
        }

        Rules = made;
        // What rules that are gone made ends now; without a copy from before, it ends after the look-back.
        Orphans = [.. former.Values.SelectMany(rule => rule.Written), .. before?.Orphans ?? []];
    }

    public RuleGroup Group { get; }

    public IReadOnlyList<RunningRule> Rules { get; }

    /// <summary>Series of rules that are no more, to be ended.</summary>
    public HashSet<Labels> Orphans { get; set; }

    public TimeSpan Offset => Group.QueryOffset ?? TimeSpan.Zero;

    /// <summary>An evaluation is going on.</summary>
    public bool IsBusy { get; set; }

    /// <summary>The copy may not be what the database has; it is read again before the next evaluation.</summary>
    public bool IsDoubtful { get; set; }

    /// <summary>A request or transaction that it shared with other groups failed: until it has been evaluated alone, it does no harm to others.</summary>
    public bool IsAlone { get; set; }

    public DateTimeOffset Next { get; private set; }

    /// <summary>How long the last evaluation took; slow groups get requests of their own.</summary>
    public TimeSpan Took { get; set; }

    public int Stages => Rules.Count == 0 ? 0 : Rules.Max(rule => rule.Stage) + 1;

    /// <summary>The newest time of evaluation that is not after <paramref name="now"/>: always the same grid, whatever was late or missed.</summary>
    public DateTimeOffset SlotAt(DateTimeOffset now)
    {
        var since = now.UtcTicks - _phase.Ticks;
        return new DateTimeOffset(since - since % _interval.Ticks + _phase.Ticks, TimeSpan.Zero);
    }

    /// <summary>Its time has come, or lies so far ahead that the clock must have been set back.</summary>
    public bool IsDue(DateTimeOffset now) => Next <= now || Next > now + _interval;

    public void BeginAt(DateTimeOffset? evaluated, DateTimeOffset now) => Next = evaluated >= SlotAt(now) ? SlotAt(now) + _interval : SlotAt(now);

    /// <summary>The same group, read again: its next time stays.</summary>
    public void GoOnLike(RunningGroup before) => Next = before.Next;

    public void GoOnAfter(DateTimeOffset slot) => Next = slot + _interval;

    // Groups of one pace are spread over it, on whole seconds so that those of one second share a request.
    private static TimeSpan PhaseOf(RuleGroup group, TimeSpan interval)
    {
        var hash = BitConverter.ToUInt32(SHA256.HashData(group.Id.ToByteArray()));
        return interval < TimeSpan.FromSeconds(2) ? TimeSpan.Zero : TimeSpan.FromSeconds(hash % (long)interval.TotalSeconds);
    }

    // A rule that reads what an earlier one makes comes after it has been written.
    private static int StageOf(QueryRule rule, List<RunningRule> earlier)
    {
        var stage = 0;
        var selectors = Selectors.Of(Parser.Parse(rule.Expr), TimeSpan.Zero);
        foreach (var one in earlier)
        {
            if (one.Stage >= stage && selectors.Any(reach => Reads(reach.Selector, one.Rule)))
            {
                stage = one.Stage + 1;
            }
        }

        return stage;
    }

    private static bool Reads(Expr.VectorSelector selector, QueryRule rule)
    {
        var names = rule.Record is { } record ? [record] : new[] { RunningRule.Alerts, RunningRule.AlertsForState };
        return names.Any(name => selector.Matchers.Where(matcher => matcher.Name == Labels.MetricName).All(matcher => matcher.Matches(name)));
    }
}

/// <summary>A rule of such a group.</summary>
internal sealed class RunningRule
{
    public const string Alerts = "ALERTS";
    public const string AlertsForState = "ALERTS_FOR_STATE";

    public RunningRule(QueryRule rule, RuleGroupOptions options, int stage, IReadOnlyDictionary<Labels, ActiveAlert> active, RunningRule? before)
    {
        (Rule, Stage, Active) = (rule, stage, active);
        Written = before?.Written ?? [.. active.Values.SelectMany(SeriesOf)];
        LastAt = before?.Rule.Expr == rule.Expr ? before.LastAt : DateTimeOffset.MinValue;
        HasTemplates = rule.Annotations.Values.Any(text => text.Contains("{{", StringComparison.Ordinal));
        IsOnData = rule.Alert is not null && options.OnData switch { OnData.All => true, OnData.Critical => rule.Severity == Severity.Critical, OnData.None => false };
        // What looks at another time than now is not moved by a sample of now.
        Selectors = [.. PromQL.Selectors.Of(Parser.Parse(rule.Expr), TimeSpan.Zero)
            .Where(reach => reach.Selector.Shift is { At: null, Offset.Ticks: 0 })
            .Select(reach => Printer.Print(reach.Selector with { Shift = default })).Distinct(StringComparer.Ordinal)];
    }

    public QueryRule Rule { get; }

    /// <summary>Rules of one stage are evaluated in one request; those of the next read what it wrote.</summary>
    public int Stage { get; }

    public IReadOnlyDictionary<Labels, ActiveAlert> Active { get; set; }

    /// <summary>Series that the last evaluation wrote and that go on until they are ended.</summary>
    public HashSet<Labels> Written { get; set; }

    public DateTimeOffset LastAt { get; set; }

    public TimeSpan Took { get; set; }

    public string? Error { get; set; }

    public bool HasTemplates { get; }

    public bool IsOnData { get; }

    public IReadOnlyList<string> Selectors { get; }

    /// <summary>A series that it reads got a sample since its last evaluation.</summary>
    public volatile bool IsTouched;

    /// <summary>The series that stand for an alert while it is active.</summary>
    public static Labels[] SeriesOf(ActiveAlert alert) =>
    [
        alert.Labels.With(Labels.MetricName, Alerts).With("alertstate", alert.Phase == AlertPhase.Firing ? "firing" : "pending"),
        alert.Labels.With(Labels.MetricName, AlertsForState),
    ];
}
