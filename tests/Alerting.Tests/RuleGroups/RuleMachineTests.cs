using System.Text;
using System.Text.Json;
using Platform.Alerting.RuleGroups;
using Platform.PromQL;

namespace Platform.Alerting.Tests.RuleGroups;

public sealed class RuleMachineTests
{
    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);
    private static readonly Labels A = Labels.Of(("alertname", "Down"), ("instance", "a"), ("realm", "default"));
    private static readonly Labels Own = Labels.Of(("alertname", "Down"), ("reason", "no_data"), ("realm", "default"));
    private static readonly Dictionary<Labels, ActiveAlert> Nothing = [];

    /// <summary>Scenarios for promtool and for us: rules, series with a point a minute, and how long to look.</summary>
    public static TheoryData<string, string, string[], int> Scenarios { get; } = new()
    {
        {
            "for",
            """
            groups:
              - name: g
                rules:
                  - alert: Down
                    expr: up == 0
                    for: 2m
                    labels: {severity: critical, place: '{{ $labels.job }}/{{ $labels.instance }}'}
                    annotations: {summary: '{{ $labels.instance }} is {{ $value }}', all: '{{ range query "up" | sortByLabel "instance" }}{{ .Labels.instance }}={{ .Value }};{{ end }}'}
                  - alert: AtOnce
                    expr: up{instance="a"} == 0
            """,
            ["""up{instance="a", job="x", realm="default"} 1 0 0 0 0 1 0 1 0 0 0 stale""", """up{instance="b", job="x", realm="default"} 1x3 0x20"""], 14
        },
        {
            "keep_firing_for",
            """
            groups:
              - name: g
                rules:
                  - alert: Kept
                    expr: temperature > 10
                    keep_firing_for: 3m
                    annotations: {value: '{{ $value | humanize }}'}
                  - alert: HeldAndKept
                    expr: temperature > 10
                    for: 1m
                    keep_firing_for: 2m
                    labels: {severity: page}
            """,
            ["""temperature{room="1", realm="default"} 5 12 13 5 5 14 5 5 5 5 12 5 12 5 5 5 5""", """temperature{room="2", realm="default"} 11 _ _ _ _ _ _ 12x9"""], 16
        },
        {
            "order",
            """
            groups:
              - name: g
                rules:
                  - record: job:up:sum
                    expr: sum by (job, realm) (up)
                    labels: {kind: made}
                  - alert: FewUp
                    expr: job:up:sum < 2
                    for: 1m
                    labels: {level: '{{ if lt $value 1.0 }}none{{ else }}few{{ end }}'}
                    annotations: {text: '{{ printf "%.1f" $value }} of {{ $labels.job }} {{ $labels.kind }}'}
                  - alert: Missing
                    expr: absent(up{job="z", realm="default"})
            """,
            ["""up{instance="a", job="x", realm="default"} 1 1 0 0 0 1 1 0 0 0 0""", """up{instance="b", job="x", realm="default"} 1x5 0 0 1 0 0 1"""], 11
        },
    };

    [Theory]
    [MemberData(nameof(Scenarios))]
    public async Task Alerts_live_as_promtool_says(string name, string rules, string[] series, int minutes)
    {
        Assert.SkipUnless(Promtool.IsInstalled, "promtool is not installed");
        var simulation = new Simulation(rules);
        foreach (var line in series)
        {
            simulation.Series.Load(line, 60_000);
        }

        var test = new StringBuilder("rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n");
        foreach (var line in series)
        {
            var brace = line.IndexOf('}', StringComparison.Ordinal) + 1;
            test.Append($"      - series: {JsonSerializer.Serialize(line[..brace])}\n        values: {JsonSerializer.Serialize(line[brace..].Trim())}\n");
        }

        var alerts = new StringBuilder();
        var states = new StringBuilder();
        for (var minute = 0; minute <= minutes; minute++)
        {
            await simulation.EvaluateAsync(DateTimeOffset.UnixEpoch.AddMinutes(minute));
            foreach (var alert in simulation.Groups[0].Rules.Where(rule => rule.Alert is not null).Select(rule => rule.Alert!))
            {
                var active = simulation.Active(alert).ToList();
                alerts.Append($"      - alertname: {alert}\n        eval_time: {minute}m\n        exp_alerts:{(active.Exists(one => one.Phase == AlertPhase.Firing) ? "" : " []")}\n");
                foreach (var one in active.Where(one => one.Phase == AlertPhase.Firing))
                {
                    var labels = RuleLabels.Words(one.Labels).Where(label => label.Key != "alertname").ToDictionary();
                    alerts.Append($"          - exp_labels: {JsonSerializer.Serialize(labels)}\n            exp_annotations: {JsonSerializer.Serialize(one.Annotations)}\n");
                }

                states.Append($"      - expr: ALERTS{{alertname=\"{alert}\"}}\n        eval_time: {minute}m\n        exp_samples:{(active.Count > 0 ? "" : " []")}\n");
                foreach (var one in active)
                {
                    states.Append($"          - labels: {JsonSerializer.Serialize(RunningRule.SeriesOf(one)[0].ToString())}\n            value: 1\n");
                }
            }
        }

        test.Append("    alert_rule_test:\n").Append(alerts).Append("    promql_expr_test:\n").Append(states);

        var complaint = await Promtool.RunAsync(["test", "rules", "test.yml"], ("rules.yml", rules), ("test.yml", test.ToString()));

        Assert.True(complaint is null, $"{name}: {complaint}");
        Assert.Contains(simulation.Changes, change => change.Move == AlertMove.Fired);
    }

    [Fact]
    public void A_clock_that_is_set_back_keeps_no_alert_pending_or_firing_until_it_has_caught_up()
    {
        var rule = Rule(hold: TimeSpan.FromMinutes(5));
        var ahead = RuleMachine.Next(rule, Nothing, Hits((A, 1)), Noon.AddHours(1));

        var back = RuleMachine.Next(rule, ahead.Active, Hits((A, 1)), Noon);
        var fired = RuleMachine.Next(rule, back.Active, Hits((A, 1)), Noon.AddMinutes(5));
        var over = RuleMachine.Next(rule, fired.Active, Hits(), Noon.AddMinutes(-30));

        Assert.Equal((AlertPhase.Pending, AlertPhase.Firing), (back.Active[A].Phase, fired.Active[A].Phase));
        Assert.Equal([AlertMove.Resolved], over.Changes.Select(change => change.Move));
    }

    [Fact]
    public void A_group_is_due_when_its_time_has_come_and_when_the_clock_was_set_back()
    {
        var group = new RunningGroup(new Simulation("groups: [{name: paced, interval: 1m, rules: [{alert: A, expr: up == 0}]}]").Groups[0], new RuleGroupOptions(), [], null);
        group.GoOnAfter(group.SlotAt(Noon));

        Assert.False(group.IsDue(Noon));
        Assert.True(group.IsDue(Noon.AddMinutes(1)));
        Assert.True(group.IsDue(Noon.AddHours(-1)));
    }

    [Fact]
    public void Nothing_new_gives_the_same_objects_and_no_change()
    {
        var rule = Rule();
        var first = RuleMachine.Next(rule, Nothing, Hits((A, 1)), Noon);

        var second = RuleMachine.Next(rule, first.Active, Hits((A, 2)), Noon.AddSeconds(15));

        Assert.Equal([AlertMove.Fired], first.Changes.Select(change => change.Move));
        Assert.Empty(second.Changes);
        Assert.Same(first.Active[A], second.Active[A]);
    }

    [Fact]
    public void A_pending_alert_goes_on_after_a_pause_of_any_length()
    {
        var rule = Rule(hold: TimeSpan.FromMinutes(5));
        var before = RuleMachine.Next(rule, Nothing, Hits((A, 1)), Noon);

        var after = RuleMachine.Next(rule, before.Active, Hits((A, 1)), Noon.AddHours(3));

        Assert.Equal(AlertPhase.Pending, before.Active[A].Phase);
        Assert.Equal((AlertPhase.Firing, Noon, Noon.AddHours(3)), (after.Active[A].Phase, after.Active[A].ActiveAt, after.Active[A].FiredAt));
    }

    [Theory]
    [InlineData(AbsencePolicy.Keep, false, true, false)]
    [InlineData(AbsencePolicy.Resolve, false, false, false)]
    [InlineData(AbsencePolicy.Alert, false, true, true)]
    [InlineData(AbsencePolicy.Keep, true, true, false)]
    [InlineData(AbsencePolicy.Resolve, true, false, false)]
    [InlineData(AbsencePolicy.Alert, true, true, true)]
    public void When_nothing_is_known_the_policy_decides(AbsencePolicy policy, bool isError, bool staysActive, bool saysSo)
    {
        // The policy of the other case must not matter.
        var other = policy == AbsencePolicy.Keep ? AbsencePolicy.Resolve : AbsencePolicy.Keep;
        var rule = Rule() with { NoData = isError ? other : policy, OnError = isError ? policy : other };
        var before = RuleMachine.Next(rule, Nothing, Hits((A, 1)), Noon).Active;

        var step = RuleMachine.Next(rule, before, isError ? new RuleFinding.Failed("x", Own) : new RuleFinding.NoData(Own), Noon.AddSeconds(15));
        var again = RuleMachine.Next(rule, step.Active, Hits((A, 1)), Noon.AddSeconds(30));

        Assert.Equal(staysActive, step.Active.ContainsKey(A));
        Assert.Equal(saysSo, step.Active.ContainsKey(Own));
        Assert.Equal(saysSo, step.Changes.Any(change => change is { Move: AlertMove.Fired } && change.Alert.Labels.Equals(Own)));
        Assert.Equal(saysSo, again.Changes.Any(change => change is { Move: AlertMove.Resolved } && change.Alert.Labels.Equals(Own)));
        Assert.True(again.Active.ContainsKey(A));
    }

    [Fact]
    public void A_failed_query_moves_no_pending_alert_to_firing()
    {
        var rule = Rule(hold: TimeSpan.FromMinutes(1));
        var before = RuleMachine.Next(rule, Nothing, Hits((A, 1)), Noon).Active;

        var step = RuleMachine.Next(rule, before, new RuleFinding.Failed("x", Own), Noon.AddMinutes(10));

        Assert.Same(before, step.Active);
    }

    [Fact]
    public void The_same_labels_twice_and_more_than_the_limit_are_errors_in_Prometheus_words()
    {
        var rule = Rule() with { Labels = new Dictionary<string, string> { ["instance"] = "all" } };
        var templates = new RuleTemplates(_ => [], new Uri("http://localhost"), new Dictionary<string, string>(), Noon);
        Contracts.RuleSeries[] two = [new(["instance", "a"], 1), new(["instance", "b"], 1)];

        var twice = Assert.Throws<RuleResultException>(() => RuleLabels.Alerts(rule, "default", 0, two, templates, null));
        var many = Assert.Throws<RuleResultException>(() => RuleLabels.Alerts(Rule(), "default", 1, two, templates, null));

        Assert.Equal("vector contains metrics with the same labelset after applying alert labels", twice.Message);
        Assert.Equal("exceeded limit of 1 with 2 alerts", many.Message);
    }

    [Theory]
    [InlineData("default", "other", "default")]
    [InlineData("*", "other", "other")]
    [InlineData("*", null, "*")]
    public void Only_a_group_of_all_realms_makes_alerts_of_another(string ofGroup, string? ofSeries, string expected)
    {
        var templates = new RuleTemplates(_ => [], new Uri("http://localhost"), new Dictionary<string, string>(), Noon);
        var series = new Contracts.RuleSeries(ofSeries is null ? [] : ["realm", ofSeries], 1);

        var alert = RuleLabels.Alerts(Rule(), ofGroup, 0, [series], templates, null).Keys.Single();
        var made = RuleLabels.Recorded(Rule() with { Alert = null, Record = "made" }, ofGroup, 0, [series]).Keys.Single();

        Assert.Equal((expected, expected), (alert["realm"], made["realm"]));
    }

    [Theory]
    [InlineData(1, "1e+00")]
    [InlineData(0, "0e+00")]
    [InlineData(-0.00000025, "-2.5e-07")]
    [InlineData(1234567.125, "1.234567125e+06")]
    [InlineData(1e100, "1e+100")]
    [InlineData(0.1, "1e-01")]
    [InlineData(double.PositiveInfinity, "+Inf")]
    [InlineData(double.NaN, "NaN")]
    public void Values_are_written_as_Go_does(double value, string expected) => Assert.Equal(expected, PrometheusRulesApi.Exponent(value));

    [Theory]
    [InlineData("cpu > 80", 80.0)]
    [InlineData("0.5 < cpu", 0.5)]
    [InlineData("(sum(cpu) <= -3)", -3.0)]
    [InlineData("cpu > memory", null)]
    [InlineData("cpu", null)]
    public void The_threshold_is_read_from_a_comparison(string expr, double? expected) => Assert.Equal(expected, Thresholds.Of(Parser.Parse(expr)));

    private static QueryRule Rule(TimeSpan hold = default) =>
        new(Guid.NewGuid(), "Down", null, "up == 0", hold, TimeSpan.Zero, new Dictionary<string, string>(), new Dictionary<string, string>(), AbsencePolicy.Resolve, AbsencePolicy.Keep, null);

    private static RuleFinding.Hits Hits(params (Labels, double)[] values) => new(values.ToDictionary(value => value.Item1, value => value.Item2));
}
