using Platform.Metrics.Scraping;
using Platform.PromQL;

namespace Platform.Metrics.Tests.Scraping;

public sealed class ScrapeConfigTests
{
    [Fact]
    public void The_example_of_seed_002_is_read()
    {
        var job = Parse("""
            global:
              scrape_interval: 15s
              evaluation_interval: 15s

            scrape_configs:
              - job_name: 'blindspotx'
                static_configs:
                  - targets: ['localhost:8000']
                metrics_path: '/metrics'
            """).Jobs.Single();

        var target = Assert.Single(Targets(job));
        Assert.Equal("http://localhost:8000/metrics", target.Url.ToString());
        Assert.Equal("{instance=\"localhost:8000\", job=\"blindspotx\", realm=\"default\"}", target.Labels.ToString());
        Assert.Equal(TimeSpan.FromSeconds(15), target.Interval);
        Assert.Equal(TimeSpan.FromSeconds(10), target.Timeout);
    }

    [Fact]
    public void Every_key_is_read()
    {
        var job = Parse("""
            scrape_configs:
            - job_name: all
              realm: shop
              scrape_interval: 1m30s
              scrape_timeout: 500ms
              scheme: https
              metrics_path: /probe
              params: {module: [http_2xx], debug: ["a b", "c"]}
              honor_labels: true
              honor_timestamps: false
              basic_auth: {username: u, password_file: secret}
              static_configs:
              - targets: [a:1, b:2]
                labels: {zone: eu, realm: stolen}
              relabel_configs:
              - {source_labels: [__address__], target_label: __param_target}
              - {source_labels: [__param_target], target_label: instance}
              - {target_label: __address__, replacement: prober:9115}
              sample_limit: 1
              target_limit: 2
              label_limit: 3
              label_name_length_limit: 4
              label_value_length_limit: 5
              body_size_limit: 10MB
            """).Jobs.Single();

        var target = Targets(job)[0];
        Assert.Equal("https://prober:9115/probe?debug=a%20b&debug=c&module=http_2xx&target=a%3A1", target.Url.AbsoluteUri);
        Assert.Equal("{instance=\"a:1\", job=\"all\", realm=\"shop\", zone=\"eu\"}", target.Labels.ToString());
        Assert.Equal((TimeSpan.FromSeconds(90), TimeSpan.FromSeconds(0.5)), (target.Interval, target.Timeout));
        Assert.True(job.HonorLabels);
        Assert.False(job.HonorTimestamps);
        Assert.Equal((1, 2, 3, 4, 5, 10 * 1024 * 1024), (job.SampleLimit, job.TargetLimit, job.LabelLimit, job.LabelNameLengthLimit, job.LabelValueLengthLimit, (int)job.BodySizeLimit));
        Assert.Equal(Path.GetFullPath("secret"), job.Auth!.SecretFile);
        Assert.DoesNotContain("secret", job.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("scrape_configs:\n- job_name: a\n  scrape_intervall: 1s", "line 3: the key \"scrape_intervall\" is not known in an entry of scrape_configs")]
    [InlineData("scrape_configs:\n- scheme: http", "line 2: job_name is missing")]
    [InlineData("scrape_configs:\n- job_name: a\n- job_name: a", "used twice")]
    [InlineData("scrape_configs:\n- job_name: a\n  scrape_interval: soon", "line 3: scrape_interval is to be a duration")]
    [InlineData("scrape_configs:\n- job_name: a\n  scrape_interval: 1s\n  scrape_timeout: 2s", "longer than scrape_interval")]
    [InlineData("scrape_configs:\n- job_name: a\n  scheme: ftp", "one of http, https")]
    [InlineData("scrape_configs:\n- job_name: a\n  honor_labels: maybe", "true or false")]
    [InlineData("scrape_configs:\n- job_name: a\n  kubernetes_sd_configs: []", "static_configs and file_sd_configs")]
    [InlineData("scrape_configs:\n- job_name: a\n  tls_config: {}", "the machine's authorities")]
    [InlineData("scrape_configs:\n- job_name: a\n  follow_redirects: true", "redirects are never followed")]
    [InlineData("scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['http://a/metrics']}]", "is no address")]
    [InlineData("scrape_configs:\n- job_name: a\n  static_configs: [{targets: [a], labels: {a-b: c}}]", "no name of a label")]
    [InlineData("scrape_configs:\n- job_name: a\n  file_sd_configs: [{files: ['x*/y.txt']}]", "ends in .json")]
    [InlineData("scrape_configs:\n- job_name: a\n  relabel_configs: [{action: rename}]", "\"rename\" is no action")]
    [InlineData("scrape_configs:\n- job_name: a\n  relabel_configs: [{action: hashmod, target_label: b}]", "needs a modulus")]
    [InlineData("scrape_configs:\n- job_name: a\n  relabel_configs: [{regex: b}]", "needs target_label")]
    [InlineData("scrape_configs:\n- job_name: a\n  relabel_configs: [{regex: '(b', target_label: c}]", "missing closing )")]
    [InlineData("scrape_configs:\n- job_name: a\n  relabel_configs: [{regex: '(?=b)', target_label: c}]", "error parsing regexp: invalid or unsupported")]
    [InlineData("scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: p, password_file: f}", "not both")]
    [InlineData("scrape_configs:\n- job_name: a\n  basic_auth: {username: u}\n  authorization: {credentials: c}", "exclude each other")]
    [InlineData("scrape_configs: {a: b}", "scrape_configs is to be a list")]
    [InlineData("- a", "")]
    [InlineData("scrape_configs:\n- job_name: a\n  bad: [", "this is no YAML")]
    public void What_is_not_understood_is_named_with_its_place(string yaml, string message)
    {
        if (message.Length == 0)
        {
            Assert.Empty(Parse(yaml).Jobs);
            return;
        }

        var fault = Assert.Throws<ScrapeConfigException>(() => Parse(yaml));

        Assert.StartsWith("test.yml, line ", fault.Message, StringComparison.Ordinal);
        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void All_faults_are_told_at_once() =>
        Assert.Equal(2, Assert.Throws<ScrapeConfigException>(() => Parse("scrape_configs:\n- job_name: a\n  x: 1\n- job_name: b\n  y: 2")).Message.Split('\n').Length);

    [Fact]
    public void Sections_that_mean_nothing_here_are_told_and_left_out() =>
        Assert.Equal(["rule_files", "alerting"], Parse("rule_files: [a.yml]\nalerting: {}\nscrape_configs: []").Ignored);

    [Fact]
    public void A_file_of_targets_is_JSON_or_YAML()
    {
        var json = ScrapeConfigFile.ParseTargets("""[{"targets": ["a:1"], "labels": {"zone": "eu"}}]""", "t.json").Single();
        var yaml = ScrapeConfigFile.ParseTargets("- targets: [a:1]\n  labels: {zone: eu}\n", "t.yml").Single();

        Assert.Equal(json.Targets, yaml.Targets);
        Assert.Equal(["eu", "t.json"], json.Labels.Values);
        Assert.Contains("line 1: [0]", Assert.Throws<ScrapeConfigException>(() => ScrapeConfigFile.ParseTargets("[3]", "t.json")).Message, StringComparison.Ordinal);
        Assert.Throws<ScrapeConfigException>(() => ScrapeConfigFile.ParseTargets("{}", "t.json"));
    }

    [Fact]
    public void More_targets_than_the_limit_are_all_down_and_say_why()
    {
        var targets = Targets(Parse("scrape_configs: [{job_name: a, target_limit: 1, static_configs: [{targets: [a:1, b:1]}]}]").Jobs.Single());

        Assert.Equal(2, targets.Count);
        Assert.All(targets, target => Assert.Equal("target_limit exceeded (number of targets: 2, limit: 1)", target.Error));
    }

    [Fact]
    public void Relabelling_drops_targets_and_two_that_come_out_alike_are_one()
    {
        var job = Parse("""
            scrape_configs:
            - job_name: a
              static_configs: [{targets: [a:1, a:1, b:1]}]
              relabel_configs: [{source_labels: [__address__], regex: 'b.*', action: drop}]
            """).Jobs.Single();
        var dropped = new List<DroppedTarget>();
        var targets = new List<TargetPlan>();

        TargetPlans.Add(job, job.Groups, targets, dropped, []);

        Assert.Equal("a:1", Assert.Single(targets).Labels["instance"]);
        Assert.Equal("b:1", Assert.Single(dropped).Discovered["__address__"]);
    }

    [Fact]
    public void A_target_can_choose_its_interval_and_one_without_an_address_is_told()
    {
        var job = Parse("""
            scrape_configs:
            - job_name: a
              static_configs: [{targets: [a:1], labels: {__scrape_interval__: 1m, __scrape_timeout__: 5s}}, {targets: ["b c"]}]
            """).Jobs.Single();
        var faults = new List<string>();
        var targets = new List<TargetPlan>();

        TargetPlans.Add(job, job.Groups, targets, [], faults);

        Assert.Equal(TimeSpan.FromMinutes(1), Assert.Single(targets).Interval);
        Assert.Contains("b c", Assert.Single(faults), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true, "a{exported_realm=\"theirs\", instance=\"i\", job=\"theirs\", realm=\"r\"}")]
    [InlineData(false, "a{exported_exported_job=\"theirs\", exported_job=\"odd\", exported_realm=\"theirs\", instance=\"i\", job=\"j\", realm=\"r\"}")]
    public void Labels_that_both_have_go_to_the_target_unless_it_is_said_otherwise_and_the_realm_always(bool honorLabels, string expected)
    {
        List<KeyValuePair<string, string>> exposed = [new("__name__", "a"), new("job", "theirs"), new("realm", "theirs")];
        if (!honorLabels)
        {
            exposed.Add(new("exported_job", "odd"));
        }

        var job = new ScrapeJob("j", "r", TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1))
        {
            HonorLabels = honorLabels,
            MetricRelabel = [new(RelabelAction.Replace, [], target: "realm", replacement: "stolen")],
        };

        Assert.True(new SeriesLabels(job, Labels.Of(("job", "j"), ("instance", "i"), ("realm", "r"))).TryMake(exposed, out var labels));
        Assert.Equal(expected, labels.ToString());
    }

    [Fact]
    public void A_label_that_is_exposed_as_empty_takes_the_targets_one_away_when_labels_are_honoured()
    {
        var job = new ScrapeJob("j", "r", TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1)) { HonorLabels = true };

        Assert.True(new SeriesLabels(job, Labels.Of(("instance", "i"), ("realm", "r"))).TryMake([new("__name__", "a"), new("instance", "")], out var labels));
        Assert.Equal("a{realm=\"r\"}", labels.ToString());
    }

    [Theory]
    [InlineData(1, 0, 0, "label_limit exceeded (metric: abc, number of labels: 3, limit: 1)")]
    [InlineData(0, 5, 0, "label_name_length_limit exceeded (metric: abc, label: __name__, length: 8, limit: 5)")]
    [InlineData(0, 0, 3, "label_value_length_limit exceeded (metric: abc, label: name, length: 5, limit: 3)")]
    public void Limits_of_labels_are_named(int count, int name, int value, string message)
    {
        var job = new ScrapeJob("j", "r", TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1)) { LabelLimit = count, LabelNameLengthLimit = name, LabelValueLengthLimit = value };

        var fault = Assert.Throws<ScrapeException>(() => new SeriesLabels(job, Labels.Of(("realm", "r"))).TryMake([new("__name__", "abc"), new("name", "value")], out _));

        Assert.Equal(message, fault.Message);
    }

    private static ScrapeConfig Parse(string yaml) => ScrapeConfigFile.Parse(yaml, "test.yml", new ScrapeOptions());

    private static List<TargetPlan> Targets(ScrapeJob job)
    {
        var targets = new List<TargetPlan>();
        TargetPlans.Add(job, job.Groups, targets, [], []);
        return targets;
    }
}
