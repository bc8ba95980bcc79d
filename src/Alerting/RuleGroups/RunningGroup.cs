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
    private static readonly TimeSpan Slow = TimeSpan.FromSeconds(1);

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
        var stages = new Stages();
        foreach (var rule in group.Rules)
        {
            var reads = PromQL.Selectors.Of(Parser.Parse(rule.Expr), TimeSpan.Zero).ToList();
            made.Add(new RunningRule(rule, options, reads, stages.Add(rule, reads.Select(reach => reach.Selector)), stored.GetValueOrDefault(rule.Id) ?? [], former.GetValueOrDefault(rule.Id)));
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

    /// <summary>It waits, because its realm has as many slow groups in evaluation as one may.</summary>
    public bool IsHeld { get; set; }

    /// <summary>Between two evaluations; one that takes longer is broken off.</summary>
    public TimeSpan Interval => _interval;

    /// <summary>The copy may not be what the database has; it is read again before the next evaluation.</summary>
    public bool IsDoubtful { get; set; }

    /// <summary>A request or transaction that it shared with other groups failed: until it has been evaluated alone, it does no harm to others.</summary>
    public bool IsAlone { get; set; }

    public DateTimeOffset Next { get; private set; }

    /// <summary>Gets requests of its own, so that nobody waits for it: it takes long, has several stages, or failed with others.</summary>
    public bool IsSlow => Stages > 1 || Took > Slow || IsAlone;

    /// <summary>How long the last evaluation took.</summary>
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
}

/// <summary>
/// Which rules of a group wait for which: a rule that reads what an earlier one makes comes after it has been written. Looked up by name,
/// because groups are large.
/// </summary>
internal sealed class Stages
{
    /// <summary>A rule that would come later shares the last stage, and reads what was made an interval ago.</summary>
    public const int Most = 20;

    /// <summary>Names that selectors without a plain name are compared with, for all rules of a group; beyond that they are taken to read everything.</summary>
    public const int MostLooks = 1_000_000;

    private static readonly string[] OfAlerts = [RunningRule.Alerts, RunningRule.AlertsForState];

    // For each name that rules make, the stage that comes after the last of them.
    private readonly Dictionary<string, int> _after = [];
    private int _looks;
    private int _afterAll;

    /// <returns>The stage of the next rule.</returns>
    public int Add(QueryRule rule, IEnumerable<Expr.VectorSelector> reads)
    {
        var stage = Math.Min(reads.Select(After).DefaultIfEmpty(0).Max(), Most - 1);
        foreach (var name in rule.Record is { } record ? [record] : OfAlerts)
        {
            _after[name] = Math.Max(_after.GetValueOrDefault(name), stage + 1);
        }

        _afterAll = Math.Max(_afterAll, stage + 1);
        return stage;
    }

    private int After(Expr.VectorSelector selector)
    {
        var names = selector.Matchers.Where(matcher => matcher.Name == Labels.MetricName).ToList();
        if (names.Find(matcher => matcher.Kind == MatchKind.Equal) is { } plain)
        {
            return names.TrueForAll(matcher => matcher.Matches(plain.Value)) ? _after.GetValueOrDefault(plain.Value) : 0;
        }

        return (_looks += _after.Count) > MostLooks ? _afterAll
            : _after.Where(made => names.TrueForAll(matcher => matcher.Matches(made.Key))).Select(made => made.Value).DefaultIfEmpty(0).Max();
    }
}

/// <summary>A rule of such a group.</summary>
internal sealed class RunningRule
{
    public const string Alerts = "ALERTS";
    public const string AlertsForState = "ALERTS_FOR_STATE";

    public RunningRule(QueryRule rule, RuleGroupOptions options, IReadOnlyList<SelectorReach> reads, int stage, IReadOnlyDictionary<Labels, ActiveAlert> active, RunningRule? before)
    {
        (Rule, Stage, Active) = (rule, stage, active);
        Written = before?.Written ?? [.. active.Values.SelectMany(SeriesOf)];
        LastAt = before?.Rule.Expr == rule.Expr ? before.LastAt : DateTimeOffset.MinValue;
        HasTemplates = rule.Annotations.Values.Any(text => text.Contains("{{", StringComparison.Ordinal));
        IsOnData = rule.Alert is not null && options.OnData switch { OnData.All => true, OnData.Critical => rule.Severity == Severity.Critical, OnData.None => false };
        // What looks at another time than now is not moved by a sample of now.
        Selectors = [.. reads
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
