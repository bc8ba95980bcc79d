using Platform.Alerting.RuleGroups;
using Platform.Contracts;
using Platform.PromQL;
using Platform.Testing;

namespace Platform.Alerting.Tests.RuleGroups;

/// <summary>A group over series in memory, evaluated at the times that a test says: the engine and the state machine, without services.</summary>
internal sealed class Simulation
{
    private readonly Engine _engine = new(new EngineOptions { Parallelism = 1 }, TimeProvider.System);
    private readonly Dictionary<Guid, IReadOnlyDictionary<Labels, ActiveAlert>> _active = [];

    public Simulation(string yaml, string realm = "default")
    {
        var faults = new List<RuleFault>();
        Groups = [.. RuleFile.Parse(yaml, faults).Select(text => RuleGroupCheck.Check(text, realm, "test.yml", null, "test", DateTimeOffset.UnixEpoch, new RuleGroupOptions(), faults)!)];
        Assert.Empty(faults);
    }

    public IReadOnlyList<RuleGroup> Groups { get; }

    public MemorySeries Series { get; } = new();

    public List<AlertChange> Changes { get; } = [];

    public IEnumerable<ActiveAlert> Active(string alert) =>
        Groups.SelectMany(one => one.Rules).Where(rule => rule.Alert == alert).SelectMany(rule => _active.TryGetValue(rule.Id, out var active) ? active.Values : []);

    /// <param name="only">The rules of that name; all unless given.</param>
    public async Task EvaluateAsync(DateTimeOffset at, string? only = null)
    {
        foreach (var group in Groups)
        {
            foreach (var rule in group.Rules.Where(rule => only is null || rule.Name == only))
            {
                await EvaluateAsync(group, rule, at);
            }
        }
    }

    private async Task EvaluateAsync(RuleGroup group, QueryRule rule, DateTimeOffset at)
    {
        var time = at.ToUnixTimeMilliseconds();
        var series = await AskAsync(rule.Expr, time);
        if (rule.Record is not null)
        {
            foreach (var (labels, value) in RuleLabels.Recorded(rule, group.Realm, group.Limit, series))
            {
                Series.Add(labels, [time], [value]);
            }

            return;
        }

        var templates = new RuleTemplates(
            text => [.. AskAsync(text, time).GetAwaiter().GetResult().Select(one => ((IReadOnlyDictionary<string, string>)RuleLabels.Words(one.Labels), one.Value))],
            new Uri("http://localhost"), new Dictionary<string, string>(), at);
        var samples = new Dictionary<Labels, IReadOnlyDictionary<string, string>>();
        var hits = RuleLabels.Alerts(rule, group.Realm, group.Limit, series, templates, samples);
        var step = RuleMachine.Next(rule, _active.GetValueOrDefault(rule.Id) ?? new Dictionary<Labels, ActiveAlert>(), new RuleFinding.Hits(hits), at);
        // Prometheus shows annotations as of the last evaluation in which the condition held.
        _active[rule.Id] = step.Active.ToDictionary(alert => alert.Key, alert => !hits.TryGetValue(alert.Key, out var value) ? alert.Value : alert.Value with
        {
            Annotations = rule.Annotations.ToDictionary(text => text.Key, text => templates.Expand(text.Value, samples[alert.Key], value)),
        });
        Changes.AddRange(step.Changes);
    }

    private async Task<List<RuleSeries>> AskAsync(string text, long time) =>
        [.. (await _engine.InstantAsync(text, Series, time, TestContext.Current.CancellationToken)).Series.Select(one => new RuleSeries(RuleLabels.Flat(one.Labels), one.Values.Span[0]))];
}
