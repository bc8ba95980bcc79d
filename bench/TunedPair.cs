using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Http;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>An application with a gauge per name, to be scraped.</summary>
internal sealed class GaugeTarget : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, double> _values = new();
    private LoopbackServer _server = null!;

    public string Address => _server.Url.Authority;

    public static async Task<GaugeTarget> StartAsync()
    {
        var target = new GaugeTarget();
        target._server = await LoopbackServer.StartAsync(target.ExposeAsync);
        return target;
    }

    public void Set(string n, double value) => _values[n] = value;

    public void Remove(string n) => _values.TryRemove(n, out _);

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    private Task ExposeAsync(HttpContext context)
    {
        var text = new StringBuilder("# TYPE bench_value gauge\n");
        foreach (var (n, value) in _values)
        {
            text.Append(CultureInfo.InvariantCulture, $"bench_value{{n=\"{n}\"}} {value}\n");
        }

        return Results.Text(text.ToString(), "text/plain; version=0.0.4").ExecuteAsync(context);
    }
}

/// <summary>Prometheus and Alertmanager, as quick as their settings allow without being unreasonable: 1 s scrape, 1 s evaluation, no wait for a group.</summary>
internal sealed class TunedPair(TemporaryFolder folder, AlertmanagerServer alertmanager, PrometheusServer prometheus) : IAsyncDisposable
{
    public static async Task<TunedPair> StartAsync(GaugeTarget gauges, WebhookReceiver pages, CancellationToken ct)
    {
        var alertmanager = await AlertmanagerServer.StartAsync($$"""
            route:
              receiver: bench
              group_by: ['...']
              group_wait: 0s
              group_interval: 1s
              repeat_interval: 4h
            receivers:
              - name: bench
                webhook_configs:
                  - url: {{pages.Url}}
                    send_resolved: true
            """);
        var folder = TemporaryFolder.Create("pair");
        var rules = Path.Combine(folder.Path, "rules.yml");
        await File.WriteAllTextAsync(rules, """
            groups:
              - name: bench
                rules:
                  - alert: BenchValueHigh
                    expr: bench_value > 0
                    labels: {severity: critical}
            """, ct);
        var prometheus = await PrometheusServer.StartAsync($$"""
            global:
              scrape_interval: 1s
              evaluation_interval: 1s
            rule_files: ['{{rules}}']
            alerting:
              alertmanagers:
                - static_configs:
                    - targets: ['{{alertmanager.Url.Authority}}']
            scrape_configs:
              - job_name: bench
                static_configs:
                  - targets: ['{{gauges.Address}}']
            """);
        return new TunedPair(folder, alertmanager, prometheus);
    }

    public async ValueTask DisposeAsync()
    {
        await prometheus.DisposeAsync();
        await alertmanager.DisposeAsync();
        folder.Dispose();
    }
}
