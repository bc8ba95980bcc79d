using Platform.Metrics.Scraping;

namespace Platform.Metrics.Tests.Scraping;

/// <summary>The cases, and what comes out of them, follow Prometheus' documentation of <c>relabel_config</c>.</summary>
public sealed class RelabellingTests
{
    [Theory]
    // replace: the expression is anchored; no match changes nothing; an empty result removes the label.
    [InlineData("{source_labels: [a], regex: 'f(.*)', target_label: d, replacement: 'ch${1}-ch${1}'}", "a=foo", "a=foo,d=choo-choo")]
    [InlineData("{source_labels: [a], regex: 'o+', target_label: d}", "a=foo", "a=foo")]
    [InlineData("{source_labels: [a, b], separator: '-', target_label: d}", "a=x,b=y", "a=x,b=y,d=x-y")]
    [InlineData("{source_labels: [a, b], target_label: d}", "a=x", "a=x,d=x;")]
    [InlineData("{target_label: d, replacement: fixed}", "a=x", "a=x,d=fixed")]
    [InlineData("{source_labels: [a], target_label: a, replacement: ''}", "a=x,b=y", "b=y")]
    [InlineData("{source_labels: [missing], target_label: a}", "a=x,b=y", "b=y")]
    [InlineData("{source_labels: [a], regex: '(?P<n>.)(.*)', target_label: d, replacement: '$n:$2:$3:$nope'}", "a=xyz", "a=xyz,d=x:yz::")]
    [InlineData("{source_labels: [a], regex: '(.)(.*)', target_label: d, replacement: '$1_$$_$'}", "a=xyz", "a=xyz,d=$_$")]
    [InlineData("{source_labels: [a], regex: '(.*)', target_label: 'label_${1}', replacement: v}", "a=x", "a=x,label_x=v")]
    [InlineData("{source_labels: [a], regex: '(.*)', target_label: 'not-${1}', replacement: v}", "a=x", "a=x")]
    [InlineData("{source_labels: [a], regex: 'x.y', target_label: d, replacement: v}", "a=x\ny", "a=x\ny,d=v")]
    // keep and drop.
    [InlineData("{source_labels: [a], regex: 'foo|bar', action: keep}", "a=bar", "a=bar")]
    [InlineData("{source_labels: [a], regex: 'foo|ba', action: keep}", "a=bar", null)]
    [InlineData("{source_labels: [missing], regex: '', action: keep}", "a=bar", "a=bar")]
    [InlineData("{source_labels: [a], regex: '.*o.*', action: drop}", "a=foo", null)]
    [InlineData("{source_labels: [a], regex: 'o', action: drop}", "a=foo", "a=foo")]
    [InlineData("{source_labels: [a], target_label: b, action: keepequal}", "a=x,b=x", "a=x,b=x")]
    [InlineData("{source_labels: [a], target_label: b, action: keepequal}", "a=x,b=y", null)]
    [InlineData("{source_labels: [a], target_label: b, action: dropequal}", "a=x,b=x", null)]
    [InlineData("{source_labels: [a], target_label: b, action: dropequal}", "a=x,b=y", "a=x,b=y")]
    // labels by their names.
    [InlineData("{regex: '__meta_(.+)', action: labelmap}", "__meta_zone=eu,a=x", "__meta_zone=eu,a=x,zone=eu")]
    [InlineData("{regex: 'b.*', action: labelmap, replacement: 'bar_${1}'}", "b1=x", "b1=x,bar_=x")]
    [InlineData("{regex: '(b.*)', action: labelmap, replacement: 'bar_${1}'}", "b1=x", "b1=x,bar_b1=x")]
    [InlineData("{regex: 'b.*', action: labeldrop}", "a=1,b=2,bc=3", "a=1")]
    [InlineData("{regex: 'a|b', action: labelkeep}", "a=1,b=2,bc=3", "a=1,b=2")]
    // The rest. The shard is that of Prometheus' own tests.
    [InlineData("{source_labels: [c], target_label: d, separator: ';', action: hashmod, modulus: 1000}", "c=baz", "c=baz,d=976")]
    [InlineData("{source_labels: [a], target_label: u, action: uppercase}", "a=FooBaR", "a=FooBaR,u=FOOBAR")]
    [InlineData("{source_labels: [a], target_label: a, action: lowercase}", "a=FooBaR", "a=foobar")]
    public void A_step_does_what_Prometheus_documents(string step, string labels, string? expected)
    {
        var set = new LabelSet(labels.Split(',').Select(label => label.Split('=', 2)).Select(parts => new KeyValuePair<string, string>(parts[0], parts[1])));

        var isKept = RelabelStep.Apply(Job($"metric_relabel_configs: [{step}]").MetricRelabel, set);

        Assert.Equal(expected, isKept ? string.Join(',', set.OrderBy(label => label.Key, StringComparer.Ordinal).Select(label => $"{label.Key}={label.Value}")) : null);
    }

    [Fact]
    public void Steps_see_what_the_ones_before_them_made()
    {
        var labels = new LabelSet([new("a", "x")]);
        var steps = Job("relabel_configs: [{source_labels: [a], target_label: b}, {source_labels: [b], regex: x, action: drop}]").Relabel;

        Assert.False(RelabelStep.Apply(steps, labels));
        Assert.Equal("x", labels["b"]);
    }

    private static ScrapeJob Job(string keys) =>
        ScrapeConfigFile.Parse($"scrape_configs:\n- job_name: test\n  {keys}\n", "test.yml", new ScrapeOptions()).Jobs.Single();
}
