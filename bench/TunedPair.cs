using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>An application with a gauge per name, to be scraped.</summary>
internal sealed class GaugeTarget : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, double> _values = new();
    private readonly WebApplication _app;

    private GaugeTarget(WebApplication app) => _app = app;

    public string Address => new Uri(_app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()).Authority;

    public static async Task<GaugeTarget> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Configuration["urls"] = "http://127.0.0.1:0";
        var target = new GaugeTarget(builder.Build());
        target._app.MapGet("/metrics", target.Exposition);
        await target._app.StartAsync();
        return target;
    }

    public void Set(string n, double value) => _values[n] = value;

    public void Remove(string n) => _values.TryRemove(n, out _);

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private IResult Exposition()
    {
        var text = new StringBuilder("# TYPE bench_value gauge\n");
        foreach (var (n, value) in _values)
        {
            text.Append(CultureInfo.InvariantCulture, $"bench_value{{n=\"{n}\"}} {value}\n");
        }

        return Results.Text(text.ToString(), "text/plain; version=0.0.4");
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
