using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Platform.Metrics.Events;
using Platform.Metrics.Exposition;
using Platform.Metrics.Scraping;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Tests;

public sealed class ExpositionTests(MetricsFixture fixture) : IClassFixture<MetricsFixture>
{
    private const string Path = "api/v1/monitoring/metrics/prometheus";

    private static readonly string[] SeedsEight =
    [
        "login_success_total", "login_failure_total", "registration_total", "role_assignments_total",
        "mfa_challenge_total", "user_consent_granted_total", "webhook_delivery_success", "webhook_delivery_failure",
    ];

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Logins_registrations_and_consents_increment_their_counters()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "counted");
        await SendAsync(client, ("login", "success"), ("login", "success"), ("login", "failure"), ("login", "denied"), ("register", "success"), ("register", "failure"),
            ("role_assign", "success"), ("mfa_challenge", "success"), ("mfa_challenge", "failure"), ("consent_grant", "success"), ("webhook_deliver", "success"),
            ("webhook_deliver", "failure"), ("token_issue", "success"), ("token_refresh", "denied"), ("config_drift", "failure"), ("dance", "success"));
        await SendAsync(client, ("login", "success"));

        var text = await client.GetStringAsync(new Uri(Path, UriKind.Relative), Ct);

        Assert.Equal(
            ["3", "1", "1", "1", "2", "1", "1", "1"],
            SeedsEight.Select(name => text.Split('\n').Single(line => line.StartsWith(name + " ", StringComparison.Ordinal)).Split(' ')[1]));
        Assert.Contains("\nmonitoring_total_events 17\n", text, StringComparison.Ordinal);
        Assert.Contains("\nuser_login_attempts_total{status=\"denied\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("\nauth_requests_total{method=\"event\",endpoint=\"login\",status=\"success\"} 3\n", text, StringComparison.Ordinal);
        Assert.Contains("\ntoken_operations_total{operation=\"refresh\",token_type=\"refresh\",status=\"denied\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("\nuser_operations_total{operation=\"register\",status=\"failure\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("\npermission_denials_total ", text, StringComparison.Ordinal);
        Assert.Contains("\ndrift_detections_total{severity=\"high\",status=\"detected\"} 1\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain("dance", text, StringComparison.Ordinal);
        Assert.All(SeedsEight, name => Assert.Contains($"# HELP {name} ", text, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_realm_sees_its_own_numbers_and_a_key_of_all_realms_their_sum_or_the_one_it_names()
    {
        using var left = await fixture.World.ClientAsync(fixture.Metrics, realm: "left");
        using var right = await fixture.World.ClientAsync(fixture.Metrics, realm: "right");
        using var all = await fixture.World.ClientAsync(fixture.Metrics, realm: Realm.All);
        const string Counter = "user_operations_total{operation=\"role_revoke\",status=\"denied\"}";
        await SendAsync(left, ("role_revoke", "denied"));
        // Other tests of this class may have counted the same in realms of their own.
        var before = int.Parse(await ValueAsync(all, "monitoring/metrics/", Counter), CultureInfo.InvariantCulture);
        await SendAsync(right, ("role_revoke", "denied"), ("role_revoke", "denied"));

        Assert.Equal("1", await ValueAsync(left, Path, Counter));
        Assert.Equal("2", await ValueAsync(all, Path + "?realm=right", Counter));
        Assert.Equal(before + 2, int.Parse(await ValueAsync(all, "monitoring/metrics/", Counter), CultureInfo.InvariantCulture));
        using var foreign = await left.GetAsync(new Uri(Path + "?realm=right", UriKind.Relative), Ct);
        Assert.Equal(HttpStatusCode.Forbidden, foreign.StatusCode);
    }

    [Fact]
    public async Task Sending_again_with_the_same_key_counts_once()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "once");
        client.DefaultRequestHeaders.Add("Idempotency-Key", "\"again\"");

        await SendAsync(client, ("login", "success"));
        await SendAsync(client, ("login", "success"));

        Assert.Equal("1", await ValueAsync(client, Path, "login_success_total"));
    }

    [Fact]
    public async Task OpenMetrics_is_written_for_those_who_ask_for_it_and_reads_back()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "open");
        await SendAsync(client, ("login", "success"));
        client.DefaultRequestHeaders.Accept.ParseAdd("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1");

        using var answer = await client.GetAsync(new Uri(Path, UriKind.Relative), Ct);

        var body = await answer.Content.ReadAsByteArrayAsync(Ct);
        Assert.Equal(ExpositionText.OpenMetrics, answer.Content.Headers.ContentType!.ToString());
        Assert.Contains("# TYPE login_success counter\nlogin_success_total 1\n", Encoding.UTF8.GetString(body), StringComparison.Ordinal);
        Assert.Contains("# TYPE webhook_delivery_success unknown\n", Encoding.UTF8.GetString(body), StringComparison.Ordinal);
        Assert.True(SamplesIn(body, TextFormat.OpenMetrics) > 10);
    }

    [Theory]
    [InlineData(null, TextFormat.Prometheus)]
    [InlineData("*/*", TextFormat.Prometheus)]
    [InlineData("text/plain", TextFormat.Prometheus)]
    [InlineData("application/openmetrics-text", TextFormat.OpenMetrics)]
    [InlineData("application/openmetrics-text;q=0.2,text/plain;q=0.5", TextFormat.Prometheus)]
    [InlineData("application/openmetrics-text; version=1.0.0; q=0", TextFormat.Prometheus)]
    public void The_format_is_the_preferred_one(string? accept, TextFormat format) =>
        Assert.Equal(format, ExpositionText.Preferred(accept is null ? null : Microsoft.Net.Http.Headers.MediaTypeHeaderValue.ParseList([accept])));

    [Theory]
    [InlineData("METRICS_EXPORT_PROMETHEUS")]
    [InlineData("METRICS_ENABLED")]
    public async Task Switched_off_the_exposition_is_not_there_and_says_which_setting(string setting)
    {
        var service = await fixture.World.StartAsync("Metrics", "metricsdb", (setting, "false"));
        using var client = await fixture.World.ClientAsync(service);

        using var answer = await client.GetAsync(new Uri(Path, UriKind.Relative), Ct);

        Assert.Equal(HttpStatusCode.NotFound, answer.StatusCode);
        Assert.Contains(setting, JsonElement.Parse(await answer.Content.ReadAsStringAsync(Ct)).GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Promtool_has_nothing_to_object()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/promtool"), "promtool is not installed");
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "promtool");
        await SendAsync(client, [.. Vocabulary.Actions.SelectMany(action => Vocabulary.Outcomes.Select(outcome => (action, outcome)))]);

        var text = await client.GetStringAsync(new Uri(Path, UriKind.Relative), Ct);

        var start = new ProcessStartInfo("/usr/bin/promtool", ["check", "metrics"]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        using var promtool = Process.Start(start)!;
        await promtool.StandardInput.WriteAsync(text);
        promtool.StandardInput.Close();
        var said = await promtool.StandardError.ReadToEndAsync(Ct) + await promtool.StandardOutput.ReadToEndAsync(Ct);
        await promtool.WaitForExitAsync(Ct);
        Assert.True(promtool.ExitCode == 0 && said.Length == 0, said);
    }

    private static int SamplesIn(ReadOnlySpan<byte> body, TextFormat format)
    {
        var reader = new TextFormatReader(body, format);
        var samples = 0;
        for (var entry = reader.Read(); entry != TextEntry.End; entry = reader.Read())
        {
            samples += entry == TextEntry.Sample ? 1 : 0;
        }

        return samples;
    }

    private static async Task<string> ValueAsync(HttpClient client, string path, string series)
    {
        var text = await client.GetStringAsync(new Uri(path, UriKind.Relative), Ct);
        return text.Split('\n').Single(line => line.StartsWith(series + " ", StringComparison.Ordinal))[(series.Length + 1)..];
    }

    private static async Task SendAsync(HttpClient client, params (string Action, string Outcome)[] events)
    {
        var lines = events.Select(one => $$$"""{"event_type":"log","source":"test","tags":{"action":"{{{one.Action}}}","outcome":"{{{one.Outcome}}}"}}""");
        using var body = new StringContent(string.Join('\n', lines), new MediaTypeHeaderValue("application/x-ndjson"));
        using var answer = await client.PostAsync(new Uri("api/v1/monitoring/events", UriKind.Relative), body, Ct);
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
    }
}
