using Platform.Alerting.RuleGroups;
using Platform.Testing;

namespace Platform.Alerting.Tests.RuleGroups;

public sealed class RuleFileTests
{
    [Theory]
    [InlineData("groups:\n  - name: a\n    rulez: []\n", "line 3, group \"a\": the key \"rulez\" is not known here.")]
    [InlineData("groups:\n  - name: a\n    rules:\n      - alert: X\n        expr: up ==\n", "line 5, group \"a\", rule 1 (\"X\"): 1:6: parse error: unexpected end of input")]
    [InlineData("groups:\n  - name: a\n    rules:\n      - alert: X\n        expr: up[5m]\n", "line 5, group \"a\", rule 1 (\"X\"): a rule needs an expression that is an instant vector or a scalar, not a range or a text.")]
    [InlineData("groups:\n  - name: a\n    rules:\n      - alert: X\n        expr: up\n        for: soon\n", "line 4, group \"a\", rule 1 (\"X\"): for \"soon\" is no duration; write it like 5m or 1h30m.")]
    [InlineData("groups:\n  - name: a\n    rules:\n      - record: X\n        expr: up\n        for: 1m\n", "line 4, group \"a\", rule 1 (\"X\"): a recording rule has no for, keep_firing_for and annotations.")]
    [InlineData("groups:\n  - name: a\n    rules:\n      - record: 1x\n        expr: up\n", "line 4, group \"a\", rule 1 (\"1x\"): \"1x\" is no name of a metric: letters, digits, _ and :, no digit first.")]
    [InlineData("groups:\n  - name: a\n    rules:\n      - expr: up\n", "line 4, group \"a\", rule 1 (\"\"): a rule has either alert or record, and not both.")]
    [InlineData("groups:\n  - name: a\n    rules:\n      - alert: X\n        expr: up\n        labels: {x: '{{ $labels.y'}\n", "line 4, group \"a\", rule 1 (\"X\"): x is no template: 1:1: unclosed action")]
    [InlineData("groups:\n  - name: a\n    rules:\n      - alert: X\n        expr: up\n        labels: {realm: other}\n", "line 4, group \"a\", rule 1 (\"X\"): the label realm says to whom an alert belongs and is set by the platform; leave it out.")]
    [InlineData("groups:\n  - name: a\n    rules:\n      - alert: X\n        expr: up\n        annotations: {platform_no_data: maybe}\n", "line 4, group \"a\", rule 1 (\"X\"): platform_no_data is \"maybe\"; it can be keep, alert or resolve.")]
    [InlineData("groups:\n  - name: a\n    rules: []\n", "line 2, group \"a\": a group needs at least one rule.")]
    [InlineData("groups:\n  - name: a\n    interval: 0s\n    rules: [{alert: X, expr: up}]\n", "line 2, group \"a\": interval \"0s\" is no duration from 1s to 1d; write it like 30s or 1m.")]
    [InlineData("groups:\n  - name: a\n    rules: [{alert: X, expr: up}]\n  - name: a\n    rules: [{alert: X, expr: up}]\n", "line 4, group \"a\": the name is used twice in the file.")]
    [InlineData("groups:\n  [", "line 3, file: this YAML is not taken: While parsing a node, did not find expected node content.")]
    public void A_wrong_file_says_where(string yaml, string expected)
    {
        var faults = new List<RuleFault>();

        Check(yaml, faults);

        Assert.Equal(expected, Assert.Single(faults).ToString());
    }

    [Fact]
    public async Task What_is_written_reads_the_same_and_promtool_accepts_it()
    {
        const string yaml = """
            groups:
              - name: 'odd: "name" # 1'
                interval: 1m30s
                limit: 10
                rules:
                  - alert: High CPU Usage
                    expr: |-
                      sum by (job) (rate(cpu_seconds_total{mode!="idle"}[5m]))
                        > 0.8
                    for: 5m
                    keep_firing_for: 90s
                    labels: {severity: warning, 'on': "yes", empty: ""}
                    annotations:
                      summary: "{{ $labels.job }}: \"{{ $value }}\"\nsecond line ü 😀"
                      platform_no_data: alert
                      platform_on_error: resolve
                      platform_threshold: "80"
                  - record: job:up:sum
                    expr: sum by (job) (up)
                    labels: {a: "1"}
            """;
        var faults = new List<RuleFault>();
        var groups = Check(yaml, faults);

        var written = RuleFile.Write(groups!);
        var again = Check(written, faults);

        Assert.Empty(faults);
        var rule = again![0].Rules[0];
        Assert.Equal((AbsencePolicy.Alert, AbsencePolicy.Resolve, 80.0), (rule.NoData, rule.OnError, rule.Threshold));
        Assert.Equal(["summary"], rule.Annotations.Keys);
        Assert.Equal("{{ $labels.job }}: \"{{ $value }}\"\nsecond line ü 😀", rule.Annotations["summary"]);
        Assert.Equal(written, RuleFile.Write(again));
        if (Promtool.IsInstalled)
        {
            Assert.Null(await Promtool.RunAsync(["check", "rules", "rules.yml"], ("rules.yml", written)));
        }
    }

    [Fact]
    public void A_rule_keeps_its_id_while_kind_name_and_labels_stay()
    {
        var faults = new List<RuleFault>();
        var before = Check("groups: [{name: a, rules: [{alert: X, expr: up}, {alert: Y, expr: up, labels: {a: b}}]}]", faults)![0];
        var text = RuleFile.Parse("groups: [{name: a, rules: [{alert: Y, expr: up > 2, for: 1m, labels: {a: b}}, {alert: X, expr: up, labels: {a: b}}]}]", faults)[0];

        var after = RuleGroupCheck.Check(text, "default", "", before, "test", DateTimeOffset.UnixEpoch, new RuleGroupOptions(), faults)!;

        Assert.Equal(before.Id, after.Id);
        Assert.Equal(before.Rules[1].Id, after.Rules[0].Id);
        Assert.DoesNotContain(after.Rules[1].Id, before.Rules.Select(rule => rule.Id));
    }

    [Fact]
    public async Task The_rules_that_come_with_the_platform_are_accepted_by_promtool()
    {
        Assert.SkipUnless(Promtool.IsInstalled, "promtool is not installed");
        foreach (var file in Directory.GetFiles(Path.Combine(RepositoryFolder.Path, "deploy", "rules"), "*.yml"))
        {
            Assert.Null(await Promtool.RunAsync(["check", "rules", file]));
        }
    }

    private static List<RuleGroup>? Check(string yaml, List<RuleFault> faults)
    {
        var texts = RuleFile.Parse(yaml, faults);
        return faults.Count > 0 ? null : [.. texts.Select(text => RuleGroupCheck.Check(text, "default", "", null, "test", DateTimeOffset.UnixEpoch, new RuleGroupOptions(), faults)!)];
    }
}
