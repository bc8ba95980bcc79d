using System.Collections.Concurrent;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Platform.Testing;

namespace Platform.ServiceDefaults.Tests;

public sealed class TelemetryTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Traces_metrics_and_logs_go_to_the_collector_without_secrets()
    {
        var received = new ConcurrentDictionary<string, string>();
        await using var collector = await TestService.StartAsync(app => app.MapPost("/v1/{signal}", async (string signal, HttpContext context) =>
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            received.AddOrUpdate(signal, Encoding.Latin1.GetString(body.ToArray()), (_, before) => before + Encoding.Latin1.GetString(body.ToArray()));
        }));
        await using var service = await TestService.StartAsync(
            app => app.MapGet("/work", (ILogger<TelemetryTests> logger) =>
            {
                logger.LogWarning(new InvalidOperationException("token=abc123secret"), "Sent to {Email} with {Password}", "ada@example.org", "hunter2");
                return "done";
            }),
            settings: new()
            {
                ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.Address.ToString().TrimEnd('/'),
                ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf",
                ["OTEL_BSP_SCHEDULE_DELAY"] = "100",
                ["OTEL_BLRP_SCHEDULE_DELAY"] = "100",
                ["OTEL_METRIC_EXPORT_INTERVAL"] = "200",
                ["OTEL_RESOURCE_ATTRIBUTES"] = "service.instance.id=probe-1",
            });

        Assert.Equal("done", await service.Http.GetStringAsync("/work", Ct));

        await Eventually.TrueAsync(() => Has("traces", "/work") && Has("metrics", "http.server.request.duration") && Has("logs", "[email]"), because: "all three signals arrive");
        Assert.Contains("probe-1", received["traces"], StringComparison.Ordinal);
        Assert.Contains("exception.stacktrace", received["logs"], StringComparison.Ordinal);
        foreach (var secret in (string[])["ada@example.org", "hunter2", "abc123secret"])
        {
            Assert.DoesNotContain(secret, received["logs"], StringComparison.Ordinal);
        }

        bool Has(string signal, string text) => received.TryGetValue(signal, out var body) && body.Contains(text, StringComparison.Ordinal);
    }
}
