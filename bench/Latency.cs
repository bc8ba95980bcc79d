using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>One event to the webhook's receiver, a fresh group key each, on an idle platform.</summary>
internal static class Latency
{
    private const int Samples = 200;
    private const int WarmUp = 20;

    public static async Task RunAsync(CancellationToken ct)
    {
        var times = await MeasureAsync(Samples, ct);
        Console.WriteLine($"event to webhook, {Samples} samples: p50 {times[Samples / 2]:F0} ms, p90 {times[Samples * 9 / 10]:F0} ms, p99 {times[Samples * 99 / 100]:F0} ms, max {times[^1]:F0} ms (bar: p99 under 250 ms)");
    }

    /// <returns>Milliseconds, sorted.</returns>
    public static async Task<List<double>> MeasureAsync(int samples, CancellationToken ct)
    {
        await using var pages = await WebhookReceiver.StartAsync();
        await using var platform = await PlatformProcess.StartAsync(
            new Dictionary<string, string?> { ["ALERT_WEBHOOK_URL"] = pages.Url, ["OUTBOUND_ALLOWED_NETWORKS"] = "127.0.0.0/8" }, ["--no-demo"], ct: ct);
        using var http = new HttpClient { BaseAddress = platform.GatewayUrl };
        http.DefaultRequestHeaders.Authorization = new("Bearer", platform.AdminKey);
        using var made = await http.PostAsJsonAsync("api/v1/monitoring/alerts", new
        {
            name = "bench",
            match = new { event_type = "log", source = "bench" },
            threshold = 1,
            window_seconds = 60,
            group_by = (string[])["tags.n"],
            severity = "low",
        }, ct);
        made.EnsureSuccessStatusCode();

        var times = new List<double>();
        for (var sample = 0; sample < WarmUp + samples; sample++)
        {
            var n = sample.ToString(CultureInfo.InvariantCulture);
            var page = pages.NextAsync("n", n);
            var clock = Stopwatch.StartNew();
            using var sent = await http.PostAsJsonAsync("api/v1/monitoring/events", new { event_type = "log", source = "bench", tags = new { n } }, ct);
            sent.EnsureSuccessStatusCode();
            await page.WaitAsync(TimeSpan.FromSeconds(30), ct);
            if (sample >= WarmUp)
            {
                times.Add(clock.Elapsed.TotalMilliseconds);
            }
        }

        times.Sort();
        return times;
    }
}
