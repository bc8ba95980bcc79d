using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Contracts;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>The webhook's body beside that of a real Alertmanager for the same alerts.</summary>
public sealed class AlertmanagerBodyTests
{
    private const string Program = "/usr/bin/prometheus-alertmanager";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Our_body_is_that_of_a_real_Alertmanager_but_for_the_reason()
    {
        Assert.SkipUnless(File.Exists(Program), "prometheus-alertmanager is not installed (deploy/native/install.sh --peers)");
        await using var receiver = await WebhookReceiver.StartAsync();
        using var folder = TemporaryFolder.Create("alertmanager");
        var file = Path.Combine(folder.Path, "alertmanager.yml");
        await File.WriteAllTextAsync(file, $$"""
            route: {receiver: team, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}
            receivers: [{name: team, webhook_configs: [{url: '{{receiver.Url}}/'}]}]
            """, Ct);
        var address = string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{TestWorld.FreePort()}");
        using var process = Process.Start(new ProcessStartInfo(Program,
            [$"--config.file={file}", $"--storage.path={folder.Path}/data", $"--web.listen-address={address}", "--cluster.listen-address=", "--web.external-url=http://alerts.example"])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        })!;
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        try
        {
            using var client = new HttpClient { BaseAddress = new Uri($"http://{address}/") };
            var starts = new DateTimeOffset(DateTimeOffset.UtcNow.AddMinutes(-5).ToUnixTimeSeconds() * TimeSpan.TicksPerSecond + DateTimeOffset.UnixEpoch.Ticks, TimeSpan.Zero);
            await Eventually.TrueAsync(async () => (await client.PostAsJsonAsync("api/v2/alerts", new[] { Sent("a"), Sent("b") }, Ct)).IsSuccessStatusCode, because: "Alertmanager takes the alerts");
            var theirs = JsonNode.Parse((await receiver.WaitAtAsync("/", 1))[0].Text)!.AsObject();

            var ours = JsonNode.Parse(Webhook.Body(
                new NotificationContent(
                    NotificationStatus.Firing, "team", "{}:{alertname=\"Down\"}", new Dictionary<string, string> { ["alertname"] = "Down" }, "first notification", [Told("a"), Told("b")]),
                "http://alerts.example"))!.AsObject();

            Assert.True(ours.Remove("notification_reason"));
            Assert.True(JsonNode.DeepEquals(theirs, ours), $"theirs: {theirs.ToJsonString()}\nours:   {ours.ToJsonString()}");

            Dictionary<string, string> Labels(string host) => new() { ["alertname"] = "Down", ["host"] = host, ["job"] = "web" };

            object Sent(string host) => new
            {
                labels = Labels(host),
                annotations = new { summary = $"<{host}> & co", runbook = "same" },
                startsAt = starts,
                endsAt = starts.AddHours(1),
                generatorURL = $"http://p.example/graph?host={host}",
            };

            ToldAlert Told(string host) => new(
                Guid.CreateVersion7(), Fingerprint.Of(Labels(host)), "Down", Severity.High, NotificationStatus.Firing, Labels(host),
                new Dictionary<string, string> { ["summary"] = $"<{host}> & co", ["runbook"] = "same" }, starts, null, null, null, $"http://p.example/graph?host={host}");
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
        }
    }
}
