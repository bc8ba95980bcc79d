using Platform.Alerting.Channels;
using YamlDotNet.RepresentationModel;

namespace Platform.Alerting.Tests;

/// <summary>Receivers of an Alertmanager file as channels, and what is said about those parts that mean nothing here.</summary>
public sealed class ChannelYamlTests
{
    [Theory]
    [InlineData("webhook_configs", "{url: 'https://a.example/hook', max_alerts: 5}", "webhook True max_alerts=5 url=https://a.example/hook")]
    [InlineData("webhook_configs", "{url: 'https://a.example', send_resolved: false, http_config: {authorization: {credentials: s3}}}", "webhook False headers=Authorization: Bearer s3 url=https://a.example")]
    [InlineData("webhook_configs", "{url: 'https://a.example', http_config: {basic_auth: {username: u, password: p}, follow_redirects: false}}", "webhook True headers=Authorization: Basic dTpw url=https://a.example")]
    [InlineData("email_configs", "{to: 'a@x.example, b@x.example'}", "email False from=alerts@x.example password=pw smarthost=smtp.x.example:587 tls=starttls to=a@x.example,b@x.example username=alerts")]
    [InlineData("email_configs", "{to: a@x.example, smarthost: 'm.x.example:465', from: f@x.example, auth_username: u, auth_password: p, send_resolved: true}", "email True from=f@x.example password=p smarthost=m.x.example:465 tls=tls to=a@x.example username=u")]
    [InlineData("slack_configs", "{channel: '#ops', username: bot}", "slack False channel=#ops url=https://hooks.slack.example/1 username=bot")]
    [InlineData("slack_configs", "{channel: C1, api_url: 'https://slack.com/api/chat.postMessage', http_config: {authorization: {credentials: xoxb-1}}}", "slack False channel=C1 token=xoxb-1")]
    [InlineData("pagerduty_configs", "{routing_key: R1, component: db}", "pagerduty True component=db routing_key=R1")]
    [InlineData("pagerduty_configs", "{routing_key: R1, http_config: {follow_redirects: false}}", "pagerduty True routing_key=R1")]
    [InlineData("msteamsv2_configs", "{webhook_url: 'https://flows.example/1'}", "teams True url=https://flows.example/1")]
    public void An_entry_is_a_channel(string key, string yaml, string expected)
    {
        var (faults, ignored) = (new List<string>(), new List<string>());

        var body = ChannelYaml.Read("team", key, Parse(yaml), Parse("{smtp_smarthost: 'smtp.x.example:587', smtp_from: alerts@x.example, smtp_auth_username: alerts, smtp_auth_password: pw, slack_api_url: 'https://hooks.slack.example/1', resolve_timeout: 5m}"), faults, ignored);

        Assert.Empty(faults.Concat(ignored));
        Assert.Equal(expected, $"{body!.Kind} {body.SendResolved} {string.Join(' ', body.Settings!.OrderBy(field => field.Key, StringComparer.Ordinal).Select(field => $"{field.Key}={field.Value.GetString()}"))}");
    }

    [Theory]
    [InlineData("opsgenie_configs", "{api_key: x}", "line 1: receiver \"team\": opsgenie_configs: opsgenie_configs is not supported; there are webhook_configs, email_configs, slack_configs, pagerduty_configs, msteamsv2_configs.")]
    [InlineData("msteams_configs", "{webhook_url: x}", "write msteamsv2_configs")]
    [InlineData("msteamsv2_configs", "{webhook_url_file: /etc/secret}", "Write the value itself; it is stored encrypted.")]
    [InlineData("pagerduty_configs", "{routing_key: R1, http_config: {bearer_token: x}}", "http_config.bearer_token is not supported")]
    [InlineData("webhook_configs", "{url_file: /etc/secret}", "Write the value itself; it is stored encrypted.")]
    [InlineData("webhook_configs", "{url: 'https://a.example', http_config: {tls_config: {insecure_skip_verify: true}}}", "http_config.tls_config is not supported")]
    [InlineData("webhook_configs", "{url: 'https://a.example', http_config: {follow_redirects: true}}", "redirects are not followed here")]
    [InlineData("webhook_configs", "{url: 'https://a.example', colour: red}", "the key \"colour\" is not known for this kind; known are max_alerts, send_resolved, url.")]
    [InlineData("webhook_configs", "{url: <secret>}", "Write the secret itself.")]
    [InlineData("webhook_configs", "{url: 'https://a.example', send_resolved: perhaps}", "send_resolved is true or false.")]
    [InlineData("slack_configs", "{channel: '#{{ .GroupLabels.team }}'}", "channel is a template")]
    [InlineData("pagerduty_configs", "{service_key: x}", "write its routing_key")]
    [InlineData("pagerduty_configs", "[]", "a mapping of keys and values is expected")]
    public void What_means_nothing_here_is_a_fault_with_its_line_and_remedy(string key, string yaml, string expected)
    {
        var faults = new List<string>();

        Assert.Null(ChannelYaml.Read("team", key, Parse(yaml), null, faults, []));
        Assert.Contains(expected, Assert.Single(faults), StringComparison.Ordinal);
        Assert.StartsWith("line 1: receiver \"team\"", faults[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("slack_configs", "{api_url: 'https://x.example', channel: x, title: '{{ .GroupLabels }}', text: t, fields: [{title: a, value: b}], actions: [], color: red}", "title text fields actions color")]
    [InlineData("slack_configs", "{api_url: 'https://x.example', channel: x, username: '{{ template \"u\" . }}'}", "username")]
    [InlineData("email_configs", "{to: a@x.example, from: f@x.example, smarthost: 'm.x.example:25', html: h, text: t, headers: {Subject: s}}", "html text headers")]
    [InlineData("pagerduty_configs", "{routing_key: R1, description: d, details: {a: b}, severity: critical, client: '{{ .Client }}'}", "description details severity client")]
    [InlineData("msteamsv2_configs", "{webhook_url: 'https://x.example', title: t, text: u, summary: s}", "title text summary")]
    [InlineData("webhook_configs", "{url: 'https://x.example', timeout: 5s}", "timeout")]
    public void What_only_sets_the_wording_is_left_out_and_named(string key, string yaml, string left)
    {
        var (faults, ignored) = (new List<string>(), new List<string>());

        Assert.NotNull(ChannelYaml.Read("team", key, Parse(yaml), null, faults, ignored));
        Assert.Empty(faults);
        Assert.Equal(left.Split(' ').Select(name => $"line 1: receiver \"team\": {key}: {name} is "), ignored.Select(one => one[..(one.IndexOf(" is ", StringComparison.Ordinal) + 4)]));
    }

    [Fact]
    public void What_the_file_says_of_all_receivers_and_means_nothing_here_is_named()
    {
        var ignored = ChannelYaml.Ignored(Parse("resolve_timeout: 5m\nslack_api_url: https://x.example\nslack_api_url_file: /etc/x\nopsgenie_api_key: k\nhttp_config: {}\n")).ToList();

        Assert.Equal(["line 1: global.resolve_timeout", "line 3: global.slack_api_url_file", "line 4: global.opsgenie_api_key", "line 5: global.http_config"], ignored.Select(one => one[..one.IndexOf(" is ", StringComparison.Ordinal)]));
        Assert.Empty(ChannelYaml.Ignored(null));
    }

    private static YamlNode Parse(string yaml)
    {
        var stream = new YamlStream();
        stream.Load(new StringReader(yaml));
        return stream.Documents[0].RootNode;
    }
}
