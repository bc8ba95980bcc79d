using Platform.Alerting.RuleGroups;
using Platform.Testing;

namespace Platform.Alerting.Tests.RuleGroups;

/// <summary>The rules that come with the platform, each over series as the platform, its package for applications, and exporters make them.</summary>
public sealed class ShippedRulesTests
{
    private static readonly string Yaml = "groups:\n" + string.Concat(
        Directory.GetFiles(Path.Combine(RepositoryFolder.Path, "deploy", "rules"), "*.yml").Order().Select(file => File.ReadAllText(file)[(File.ReadAllText(file).IndexOf("groups:\n", StringComparison.Ordinal) + 8)..]));

    // A point a minute each.
    private static readonly Dictionary<string, string[]> Breaking = new()
    {
        ["ApiDown"] = ["up{job=\"api\", instance=\"a:1\", realm=\"*\"} 1 0x5"],
        ["DatabaseDown"] = ["postgres_up{job=\"health\", realm=\"*\"} 1 0x3"],
        ["RedisDown"] = ["redis_up{job=\"health\", realm=\"*\"} 1 0x3"],
        ["VeryHighLatency"] = Buckets("http_server_request_duration_seconds_bucket", "2.5", "5"),
        ["HighRequestLatency"] = Buckets("http_request_duration_seconds_bucket", "0.5", "2.5"),
        ["SlowDatabaseQueries"] = Buckets("database_query_duration_seconds_bucket", "0.25", "1"),
        ["PotentialBruteForceAttack"] = ["login_failure_total{job=\"events\", realm=\"default\"} 0+120x10"],
        ["HighErrorRate"] = ["http_requests_total{job=\"demo\", status_code=\"500\", realm=\"default\"} 0+10x20", "http_requests_total{job=\"demo\", status_code=\"200\", realm=\"default\"} 0+90x20"],
        ["ConnectionPoolExhausted"] = ["database_connection_pool_size{job=\"demo\", instance=\"a\", state=\"idle\", realm=\"default\"} 0x20", "database_connection_pool_size{job=\"demo\", instance=\"a\", state=\"used\", realm=\"default\"} 20x20"],
        ["LowCacheHitRate"] = ["cache_misses_total{job=\"demo\", cache=\"sessions\", realm=\"default\"} 0+10x30"],
        ["HighCpuUsage"] = ["node_cpu_seconds_total{instance=\"n\", cpu=\"0\", mode=\"idle\", realm=\"default\"} 0+3x30"],
        ["HighMemoryUsage"] = ["node_memory_MemAvailable_bytes{instance=\"n\", realm=\"default\"} 5x20", "node_memory_MemTotal_bytes{instance=\"n\", realm=\"default\"} 100x20"],
        ["DiskAlmostFull"] = ["node_filesystem_avail_bytes{instance=\"n\", mountpoint=\"/\", fstype=\"ext4\", realm=\"default\"} 5x20", "node_filesystem_size_bytes{instance=\"n\", mountpoint=\"/\", fstype=\"ext4\", realm=\"default\"} 100x20"],
        ["PermissionViolations"] = ["permission_denials_total{job=\"events\", realm=\"default\"} 0+60x20"],
        ["TokenRevocationSpike"] = ["token_operations_total{job=\"events\", operation=\"revoke\", token_type=\"any\", status=\"success\", realm=\"default\"} 0+10x20"],
        ["ConfigurationDrift"] = ["drift_detections_total{job=\"events\", severity=\"high\", status=\"detected\", realm=\"default\"} 0x3 1x5"],
        ["CertificateExpiresSoon"] = ["probe_ssl_earliest_cert_expiry{instance=\"shop\", realm=\"default\"} 86400x80"],
        ["NoNewRegistrations"] = ["user_registrations_total{job=\"events\", realm=\"default\"} 5x140"],
        ["RegistrationSpike"] = ["user_registrations_total{job=\"events\", realm=\"default\"} 0x200 60+60x30"],
        ["UnusualActivity"] = ["user_login_attempts_total{job=\"events\", status=\"failure\", realm=\"default\"} 0x200 120+120x30"],
        ["MessagesPileUp"] = ["messaging_outbox_messages{job=\"metrics\", realm=\"*\"} 20000x20"],
        ["MessagesFailing"] = ["messaging_failures_total{job=\"alerting\", queue=\"q\", last=\"true\", realm=\"*\"} 0x3 1x5"],
        ["SamplesRefused"] = ["metrics_samples_refused_total{job=\"metrics\", reason=\"old\", realm=\"*\"} 0+1200x30"],
        ["RulesFailing"] = ["alerting_rule_evaluation_failures_total{job=\"alerting\", realm=\"*\"} 0+1x30"],
        ["AlertPipelineSlow"] = ["alerting_canary_latency_seconds{job=\"alerting\", realm=\"*\"} 0.1x5 7+60x10"],
        ["AlertPipelineSilent"] = ["alerting_canary_last_success_timestamp_seconds{job=\"alerting\", realm=\"*\"} 1x20", "alerting_canary_interval_seconds{job=\"alerting\", realm=\"*\"} 60x20"],
        ["AuditChainBroken"] = ["compliance_verification_failures_total{job=\"compliance\", realm=\"*\"} 0 1x3"],
    };

    public static TheoryData<string> Alerts { get; } = [.. new Simulation(Yaml, "*").Groups.SelectMany(group => group.Rules).Where(rule => rule.Alert is not null).Select(rule => rule.Alert!)];

    [Theory]
    [MemberData(nameof(Alerts))]
    public async Task A_rule_of_the_platform_can_fire_and_is_quiet_without_its_series(string alert)
    {
        var quiet = new Simulation(Yaml, "*");
        await quiet.EvaluateAsync(DateTimeOffset.UnixEpoch.AddHours(2), alert);
        var simulation = new Simulation(Yaml, "*");
        foreach (var line in Breaking[alert])
        {
            simulation.Series.Load(line, 60_000);
        }

        for (var minute = 0; minute < 240; minute++)
        {
            await simulation.EvaluateAsync(DateTimeOffset.UnixEpoch.AddMinutes(minute), alert);
        }

        Assert.Empty(quiet.Changes);
        var fired = simulation.Changes.First(change => change.Move == AlertMove.Fired).Alert;
        Assert.Contains(Breaking[alert], line => line.Contains($"realm=\"{fired.Labels["realm"]}\"", StringComparison.Ordinal));
        Assert.Contains(fired.Labels["severity"], (string[])["critical", "warning", "info"]);
        Assert.DoesNotContain("error expanding", string.Concat(fired.Annotations.Values), StringComparison.Ordinal);
    }

    private static string[] Buckets(string name, string below, string above) =>
    [
        $"{name}{{job=\"api\", le=\"{below}\", realm=\"*\"}} 0x20",
        $"{name}{{job=\"api\", le=\"{above}\", realm=\"*\"}} 0+100x20",
        $"{name}{{job=\"api\", le=\"+Inf\", realm=\"*\"}} 0+100x20",
    ];
}
