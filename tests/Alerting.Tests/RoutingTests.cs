using System.Diagnostics;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.PromQL;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>The routing tree, its notation, intervals and inhibitions; compared with Alertmanager's own amtool where this machine has it.</summary>
public sealed class RoutingTests
{
    private const string Tree = """
        route:
          receiver: default
          group_by: [alertname, cluster]
          routes:
            - receiver: database
              matchers: ['service=~"mysql|postgres"', 'severity!="info"']
              continue: true
              routes:
                - {receiver: owner, matchers: ['owner=~".+"'], group_by: ['...'], repeat_interval: 1d12h}
            - receiver: team
              match: {team: web}
              match_re: {severity: critical|high}
              mute_time_intervals: [night]
            - {receiver: none, matchers: ['severity="info"', 'team=""']}
        receivers:
          - {name: default, webhook_configs: [{url: 'http://channel.invalid/webhook'}]}
          - {name: database, webhook_configs: [{url: 'http://channel.invalid/database%2Fslack'}, {url: 'http://escalation.invalid/dba'}]}
          - name: owner
          - {name: team, webhook_configs: [{url: 'http://channel.invalid/webhook'}]}
          - name: none
        inhibit_rules:
          - {source_matchers: ['severity="critical"'], target_matchers: ['severity=~"medium|low"'], equal: [cluster]}
        time_intervals:
          - name: night
            time_intervals:
              - {times: [{start_time: '22:00', end_time: '24:00'}], weekdays: ['monday:friday'], days_of_month: ['-3:-1'], months: ['march:june'], years: ['2026:2030'], location: Europe/Berlin}
        """;

    private static readonly string[] Samples =
    [
        "alertname=A", "service=mysql", "service=mysql severity=info", "service=postgres owner=anna", "service=mysqld", "team=web severity=critical", "team=web severity=low",
        "team=web severity=critical service=mysql owner=x", "severity=info", "severity=info team=web", "service=mysql team=web severity=high",
    ];

    [Theory]
    [InlineData("a=\"1\"", "a=\"1\"")]
    [InlineData("{a!=1, b=~\"x|y\"}", "a!=\"1\",b=~\"x|y\"")]
    [InlineData("\"a\"=1", "a=\"1\"")]
    [InlineData("\"host.name\" !~ \"a=b\"", "\"host.name\"!~\"a=b\"")]
    [InlineData("{\"a, \\\"b\\\" = ü\"=\"=\"}", "\"a, \\\"b\\\" = ü\"=\"=\"")]
    [InlineData("\"1\\\\\"=2", "\"1\\\\\"=\"2\"")]
    public void Matchers_are_written_so_that_they_are_read_the_same(string text, string written)
    {
        var matchers = MatcherNotation.Parse(text);

        Assert.Equal(written, string.Join(',', matchers.Select(MatcherNotation.Write)));
        Assert.Equal(matchers, MatcherNotation.Parse(written));
    }

    [Theory]
    [InlineData("a b=1")]
    [InlineData("\"a b\"")]
    [InlineData("\"a b=1")]
    [InlineData("\"\"=1")]
    [InlineData("=1")]
    public void What_is_no_matcher_is_said(string text) => Assert.Throws<FormatException>(() => MatcherNotation.Parse(text));

    [Fact]
    public void An_empty_group_by_means_what_the_parent_says()
    {
        var config = Read("{route: {receiver: a, group_by: [x], routes: [{matchers: ['y=\"1\"'], group_by: []}]}, receivers: [{name: a}]}");

        Assert.Equal(["x"], Platform.Alerting.Routing.Routing.Match(config.Route, Labels.Of(("y", "1")))[0].GroupBy);
    }

    [Fact]
    public void A_configuration_reads_back_as_it_was_written_in_both_notations()
    {
        var config = Read(Tree);
        var again = Read(RoutingDocument.WriteJson(config).ToJsonString());
        var yaml = Read(RoutingDocument.WriteYaml(again));

        Assert.Equal(RoutingDocument.WriteJson(config).ToJsonString(), RoutingDocument.WriteJson(yaml).ToJsonString());
        Assert.Equal(["database/slack"], yaml.Find("database")!.Channels);
        Assert.Equal("dba", yaml.Find("database")!.EscalationPolicy);
        Assert.Equal(TimeSpan.FromHours(36), yaml.Route.Routes[0].Routes[0].RepeatInterval);
    }

    [Fact]
    public void A_dependency_is_exported_as_an_inhibition_and_stays_one_when_it_comes_back()
    {
        var config = Read(Tree + "\ndependencies: [{name: shops, parent_matchers: ['alertname=\"DatabaseDown\"'], child_matchers: ['service=\"shop\"'], equal: [region]}]");

        var (back, _, _, faults) = RoutingDocument.ReadForeign(RoutingDocument.WriteYaml(config), config);

        Assert.Empty(faults);
        Assert.Equal("shops", Assert.Single(back!.Dependencies).Name);
        Assert.Single(back.InhibitRules);
        Assert.Equal(2, Read(RoutingDocument.WriteYaml(config)).InhibitRules.Count);
    }

    [Theory]
    [InlineData("route: {receiver: a, gruop_by: [x]}\nreceivers: [{name: a}]", "line 1: route: the key \"gruop_by\" is not known here")]
    [InlineData("route: {receiver: a}\nreceivers:\n- name: a\n  chanels: [x]", "line 4: receivers[0]: the key \"chanels\" is not known here")]
    [InlineData("route:\n  receiver: a\n  group_wait: soon\nreceivers: [{name: a}]", "line 3: route: group_wait: \"soon\" is no duration")]
    [InlineData("route:\n  receiver: a\n  routes:\n  - matchers: ['b']\nreceivers: [{name: a}]", "line 4: route.routes[0]: matchers: \"b\" is no matcher")]
    [InlineData("receivers: []", "line 1: route is missing.")]
    [InlineData("route: {receiver: a}\nreceivers:\n- name: a\n  slack_configs: [{channel: '#x'}]", "line 4: receivers[0]: the receiver \"a\" has slack_configs of its own")]
    [InlineData("route: [", "line ")]
    [InlineData("route: {receiver: a}\nreceivers: [{name: a}]\ntime_intervals: [{name: n, time_intervals: [{location: Atlantis}]}]", "line 3: time_intervals[0].time_intervals[0]: location: \"Atlantis\" is no time zone")]
    public void A_mistake_is_answered_with_its_line_and_what_to_write(string text, string expected)
    {
        var (config, faults) = RoutingDocument.Read(text);

        Assert.Null(config);
        Assert.StartsWith(expected, faults[0], StringComparison.Ordinal);
    }

    [Fact]
    public void References_to_what_is_not_there_are_faults()
    {
        var config = Read("route: {receiver: a, routes: [{receiver: b, mute_time_intervals: [n]}]}\nreceivers: [{name: a, channels: [gone]}]");

        Assert.Equal(
            [true, true, true],
            config.Faults(new HashSet<string> { "webhook" }).Select(fault => fault.Contains("\"gone\"", StringComparison.Ordinal) || fault.Contains("\"b\"", StringComparison.Ordinal) || fault.Contains("\"n\"", StringComparison.Ordinal)));
    }

    [Fact]
    public void The_groups_name_is_Alertmanagers_with_the_realm_at_its_root()
    {
        var labels = Labels.Of(("alertname", "Down"), ("service", "mysql"), ("owner", "x\"y"), ("cluster", "c"));
        var (first, config) = (Routing.Routing.Match(Read(Tree).Route, labels)[0], new string('l', 2_000));

        Assert.Equal("0/0", first.Path);
        Assert.Equal(
            """{realm="default"}/{service=~"mysql|postgres",severity!="info"}/{owner=~".+"}:{alertname="Down", cluster="c", owner="x\"y", service="mysql"}""",
            first.GroupKey("default", first.GroupLabels(labels)));
        Assert.Equal(517, first.GroupKey("default", Labels.Of(("long", config))).Length);
        Assert.NotEqual(first.GroupKey("default", Labels.Of(("long", config))), first.GroupKey("default", Labels.Of(("long", config + "l"))));
    }

    [Theory]
    // The clocks of Berlin go from 02:00 to 03:00 on 29 March 2026, and from 03:00 back to 02:00 on 25 October.
    [InlineData("02:00", "03:00", "2026-03-29T00:59:00Z", false)]
    [InlineData("02:00", "03:00", "2026-03-29T01:00:00Z", false)]
    [InlineData("03:00", "04:00", "2026-03-29T01:00:00Z", true)]
    [InlineData("02:00", "03:00", "2026-10-25T00:30:00Z", true)]
    [InlineData("02:00", "03:00", "2026-10-25T01:30:00Z", true)]
    [InlineData("02:00", "03:00", "2026-10-25T02:00:00Z", false)]
    [InlineData("09:00", "17:00", "2026-07-01T07:00:00Z", true)]
    [InlineData("09:00", "17:00", "2026-01-01T07:59:59Z", false)]
    public void An_interval_is_looked_up_on_the_wall_clock_of_its_place(string from, string to, string at, bool contained)
    {
        var interval = new TimeInterval("n", [new TimePart([TimeNotation.ParseTimes(from, to)], Location: TimeZoneInfo.FindSystemTimeZoneById("Europe/Berlin"))]);

        Assert.Equal(contained, interval.Contains(DateTimeOffset.Parse(at, System.Globalization.CultureInfo.InvariantCulture)));
    }

    [Fact]
    public void The_next_change_of_an_interval_is_found_across_the_hour_that_is_skipped()
    {
        TimeInterval[] intervals = [new("night", [new TimePart([TimeNotation.ParseTimes("00:00", "07:00")], Location: TimeZoneInfo.FindSystemTimeZoneById("Europe/Berlin"))])];
        var night = new DateTimeOffset(2026, 3, 28, 23, 30, 10, TimeSpan.Zero);

        Assert.Equal(new DateTimeOffset(2026, 3, 29, 5, 0, 0, TimeSpan.Zero), Muting.NextChange(["night"], [], intervals, night));
        Assert.Equal("outside of night", Muting.MutedBy([], ["night"], intervals, night.AddHours(8)));
    }

    [Theory]
    [InlineData("severity=critical cluster=x", "severity=low cluster=x", true)]
    [InlineData("severity=critical cluster=x", "severity=low cluster=y", false)]
    [InlineData("severity=critical", "severity=low", true)]
    [InlineData("severity=critical cluster=x", "severity=low", false)]
    [InlineData("severity=high cluster=x", "severity=low cluster=x", false)]
    [InlineData("severity=critical cluster=x", "severity=high cluster=x", false)]
    public void An_inhibition_holds(string source, string target, bool holds) => Assert.Equal(holds, Read(Tree).InhibitRules[0].Holds(Parse(source), Parse(target)));

    [Fact]
    public void Alerts_that_could_inhibit_each_other_do_not()
    {
        var rule = new InhibitRule(MatcherNotation.Parse("severity=~\"critical|high\""), MatcherNotation.Parse("severity=~\"critical|high|low\""), []);

        Assert.False(rule.Holds(Parse("severity=critical"), Parse("severity=high")));
        Assert.True(rule.Holds(Parse("severity=critical"), Parse("severity=low")));
    }

    [Theory]
    [InlineData("90s", 90)]
    [InlineData("1h30m", 5400)]
    [InlineData("2d", 172_800)]
    [InlineData("0", 0)]
    [InlineData("m", null)]
    [InlineData("30m1h", null)]
    [InlineData("1.5h", null)]
    [InlineData("", null)]
    public void A_duration_is(string text, int? seconds) => Assert.Equal(seconds, AlertDuration.Parse(text)?.TotalSeconds);

    [Theory]
    [InlineData("critical", "critical")]
    [InlineData("page", "critical")]
    [InlineData("HIGH", "high")]
    [InlineData("error", "high")]
    [InlineData("warning", "medium")]
    [InlineData("medium", "medium")]
    [InlineData("", "medium")]
    [InlineData("whatever", "medium")]
    [InlineData("low", "low")]
    [InlineData("info", "info")]
    public void Where_nobody_wrote_anything_the_severity_decides_in_whatever_words(string label, string receiver)
    {
        var root = RoutingConfig.Default(_ => ["email"]).Route;

        Assert.Equal([receiver], Routing.Routing.Match(root, Labels.Of([("alertname", "Anything"), ("severity", label)])).Select(route => route.Receiver));
        Assert.Equal(receiver, Severities.OfLabel(label).Word());
    }

    [Fact]
    public async Task Amtool_accepts_the_export_of_what_anybody_may_write_and_of_the_default()
    {
        await AmtoolAsync(RoutingDocument.WriteYaml(Read(Tree)), "check-config");
        await AmtoolAsync(RoutingDocument.WriteYaml(RoutingConfig.Default(severity => severity <= Severity.High ? ["pagerduty", "webhook"] : ["webhook"])), "check-config");
    }

    [Fact]
    public async Task Alerts_are_routed_as_amtool_routes_them()
    {
        var root = Read(Tree).Route;
        foreach (var sample in Samples)
        {
            var theirs = await AmtoolAsync(RoutingDocument.WriteYaml(Read(Tree)), "config", "routes", "test", sample);
            Assert.Equal(theirs.Trim(), string.Join(',', Routing.Routing.Match(root, Parse(sample)).Select(route => route.Receiver)));
        }
    }

    private static async Task<string> AmtoolAsync(string yaml, params string[] arguments)
    {
        Assert.SkipUnless(File.Exists("/usr/bin/amtool"), "amtool is not installed (deploy/native/install.sh --peers).");
        using var folder = TemporaryFolder.Create("amtool");
        var file = Path.Combine(folder.Path, "alertmanager.yml");
        await File.WriteAllTextAsync(file, yaml, TestContext.Current.CancellationToken);
        var words = arguments[0] == "check-config" ? [.. arguments, file] : (string[])[.. arguments[..3], $"--config.file={file}", .. arguments[3].Split(' ')];
        using var process = Process.Start(new ProcessStartInfo("/usr/bin/amtool", words) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var errors = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, $"{errors}\n{output}\n{yaml}");
        return output;
    }

    private static RoutingConfig Read(string text)
    {
        var (config, faults) = RoutingDocument.Read(text);
        Assert.True(config is not null, string.Join('\n', faults));
        return config!;
    }

    private static Labels Parse(string labels) => Labels.Of([.. labels.Split(' ').Select(one => one.Split('=')).Select(one => (one[0], one[1]))]);
}
