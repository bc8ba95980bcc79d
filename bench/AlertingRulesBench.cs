using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Http;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>
/// Both systems scrape the same application with 20,000 series every 15 seconds and evaluate the same 1,000 rules as often, at the same
/// time. Compared is the processor time of everything that takes part: for ours Metrics, Alerting and PostgreSQL. No rule fires.
/// </summary>
internal static class AlertingRulesBench
{
    private const int Pods = 200;

    public static async Task RunAsync(BenchRun run, CancellationToken ct)
    {
        if (!PrometheusServer.IsInstalled)
        {
            Console.WriteLine("prometheus is not installed (deploy/native/install.sh --peers): this part needs it.");
            return;
        }

        await using var application = await StartApplicationAsync();
        var scrape = $$"""
            scrape_configs:
              - job_name: bench
                scrape_interval: 15s
                static_configs:
                  - targets: ['{{application.Url.Authority}}']
            """;
        using var folder = TemporaryFolder.Create("rules");
        var (rulesFile, scrapeFile) = (Path.Combine(folder.Path, "rules.yml"), Path.Combine(folder.Path, "scrape.yml"));
        await File.WriteAllTextAsync(rulesFile, Rules(), ct);
        await File.WriteAllTextAsync(scrapeFile, scrape, ct);

        await using var prometheus = await PrometheusServer.StartAsync($"global:\n  evaluation_interval: 15s\nrule_files: ['{rulesFile}']\n{scrape}\n");
        await using var platform = await AlertingBench.StartAsync(null, ct, ("METRICS_SCRAPE_CONFIG_FILE", scrapeFile), ("METRICS_SCRAPE_REALM", "default"), ("ALERT_RULE_FILES", "none"));
        using var http = AlertingBench.Client(platform);
        await AlertingBench.SendYamlAsync(http, HttpMethod.Post, "api/v1/monitoring/rule-groups?realm=default", Rules(), ct);

        // Code is optimised, series are known, and ranges are filled by the time that counts.
        await Task.Delay(TimeSpan.FromSeconds(run.Sized(180)), ct);
        var (oursBefore, theirsBefore) = (ProcessTree.ProcessorSecondsOf(platform.ProcessId), ProcessTree.ProcessorSecondsOf(prometheus.ProcessId).Values.Sum());
        var measured = TimeSpan.FromSeconds(run.Sized(180));
        await Task.Delay(measured, ct);
        var oursAfter = ProcessTree.ProcessorSecondsOf(platform.ProcessId);
        var theirs = ProcessTree.ProcessorSecondsOf(prometheus.ProcessId).Values.Sum() - theirsBefore;

        string[] programs = ["Platform.Metrics", "Platform.Alerting", "postgres"];
        var each = programs.Select(program => oursAfter.GetValueOrDefault(program) - oursBefore.GetValueOrDefault(program)).ToArray();
        var ours = each.Sum();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"  {measured.TotalSeconds:F0} s: prometheus {theirs:F1}; {string.Join(", ", programs.Zip(each, (program, seconds) => string.Create(CultureInfo.InvariantCulture, $"{program} {seconds:F1}")))} processor seconds"));
        run.Note("1,000 rules on 15 s, 20,000 series, Prometheus, cores", (theirs / measured.TotalSeconds).ToString("F3", CultureInfo.InvariantCulture));
        run.Judge("1,000 rules on 15 s, 20,000 series, ours, cores", ours / measured.TotalSeconds, "F3", "under 1", ours < measured.TotalSeconds);
        run.Judge("  ours ÷ Prometheus", ours / theirs, "F2", "at most 1.5", ours <= 1.5 * theirs);
    }

    // Twenty groups of fifty, of the kinds that are written most.
    private static string Rules()
    {
        var text = new StringBuilder("groups:\n");
        for (var group = 0; group < 20; group++)
        {
            text.Append(CultureInfo.InvariantCulture, $"  - name: bench-{group}\n    interval: 15s\n    rules:\n");
            for (var rule = 0; rule < 50; rule++)
            {
                var pod = $"pod-{(group * 50 + rule) % Pods}";
                var expression = (rule % 5) switch
                {
                    0 => $"sum by (path) (rate(bench_requests_total{{pod=\"{pod}\"}}[5m])) > 1e9",
                    1 => $"bench_gauge{{pod=\"{pod}\"}} > 1e9",
                    2 => $"sum(rate(bench_requests_total{{pod=\"{pod}\",status=\"500\"}}[5m])) / sum(rate(bench_requests_total{{pod=\"{pod}\"}}[5m])) > 2",
                    3 => $"avg_over_time(bench_gauge{{pod=\"{pod}\"}}[5m]) > 1e9",
                    _ => $"absent(bench_gauge{{pod=\"{pod}\"}})",
                };
                text.Append(CultureInfo.InvariantCulture, $"      - alert: Bench{group}x{rule}\n        expr: '{expression}'\n        for: 1m\n        labels: {{severity: warning}}\n");
            }
        }

        return text.ToString();
    }

    // A hundred series for each pod: counters that grow with time, and gauges.
    private static Task<LoopbackServer> StartApplicationAsync()
    {
        var began = DateTimeOffset.UtcNow;
        return LoopbackServer.StartAsync(context =>
        {
            var seconds = (long)(DateTimeOffset.UtcNow - began).TotalSeconds;
            var text = new StringBuilder();
            text.Append("# TYPE bench_requests_total counter\n");
            for (var pod = 0; pod < Pods; pod++)
            {
                for (var path = 0; path < 20; path++)
                {
                    foreach (var status in (string[])["200", "302", "404", "500"])
                    {
                        text.Append(CultureInfo.InvariantCulture, $"bench_requests_total{{pod=\"pod-{pod}\",path=\"/api/v1/{path}\",status=\"{status}\"}} {seconds * (1 + path % 7)}\n");
                    }
                }
            }

            text.Append("# TYPE bench_gauge gauge\n");
            for (var pod = 0; pod < Pods; pod++)
            {
                for (var slot = 0; slot < 20; slot++)
                {
                    text.Append(CultureInfo.InvariantCulture, $"bench_gauge{{pod=\"pod-{pod}\",slot=\"{slot}\"}} {(pod * 31 + slot * 17 + seconds) % 100}\n");
                }
            }

            return Results.Text(text.ToString(), "text/plain; version=0.0.4").ExecuteAsync(context);
        });
    }
}
