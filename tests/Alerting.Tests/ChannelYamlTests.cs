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
    public void An_entry_is_a_channel(string key, string yaml, string expected)
    {
        var faults = new List<string>();

        var body = ChannelYaml.Read("team", key, Parse(yaml), Parse("{smtp_smarthost: 'smtp.x.example:587', smtp_from: alerts@x.example, smtp_auth_username: alerts, smtp_auth_password: pw, slack_api_url: 'https://hooks.slack.example/1', resolve_timeout: 5m}"), faults);

        Assert.Empty(faults);
        Assert.Equal(expected, $"{body!.Kind} {body.SendResolved} {string.Join(' ', body.Settings!.OrderBy(field => field.Key, StringComparer.Ordinal).Select(field => $"{field.Key}={field.Value.GetString()}"))}");
    }

    [Theory]
    [InlineData("opsgenie_configs", "{api_key: x}", "line 1: receiver \"team\": opsgenie_configs: opsgenie_configs is not supported; there are webhook_configs, email_configs, slack_configs, pagerduty_configs.")]
    [InlineData("webhook_configs", "{url_file: /etc/secret}", "Write the value itself; it is stored encrypted.")]
    [InlineData("webhook_configs", "{url: 'https://a.example', http_config: {tls_config: {insecure_skip_verify: true}}}", "http_config.tls_config is not supported")]
    [InlineData("webhook_configs", "{url: 'https://a.example', http_config: {follow_redirects: true}}", "redirects are not followed here")]
    [InlineData("webhook_configs", "{url: 'https://a.example', colour: red}", "the key \"colour\" is not known for this kind; known are max_alerts, send_resolved, url.")]
    [InlineData("webhook_configs", "{url: <secret>}", "Write the secret itself.")]
    [InlineData("webhook_configs", "{url: 'https://a.example', send_resolved: perhaps}", "send_resolved is true or false.")]
    [InlineData("slack_configs", "{title: '{{ .GroupLabels }}', channel: x}", "title sets the wording")]
    [InlineData("slack_configs", "{channel: '#{{ .GroupLabels.team }}'}", "channel is a template")]
    [InlineData("pagerduty_configs", "{service_key: x}", "write its routing_key")]
    [InlineData("pagerduty_configs", "[]", "a mapping of keys and values is expected")]
    public void What_means_nothing_here_is_a_fault_with_its_line_and_remedy(string key, string yaml, string expected)
    {
        var faults = new List<string>();

        Assert.Null(ChannelYaml.Read("team", key, Parse(yaml), null, faults));
        Assert.Contains(expected, Assert.Single(faults), StringComparison.Ordinal);
        Assert.StartsWith("line 1: receiver \"team\"", faults[0], StringComparison.Ordinal);
    }

    private static YamlNode Parse(string yaml)
    {
        var stream = new YamlStream();
        stream.Load(new StringReader(yaml));
        return stream.Documents[0].RootNode;
    }
}
