using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>
/// The alert pipeline from the data to the receiver, beside a Prometheus and an Alertmanager that are tuned to be as quick as they can be
/// asked to. Everything is real: the whole platform behind its gateway, Debian's programs, HTTP receivers of their own.
/// </summary>
internal static class AlertingBench
{
    private static readonly (string Name, string What, Func<BenchRun, CancellationToken, Task> Run)[] Parts =
    [
        ("event", "one event to the webhook's receiver, idle platform", EventAsync),
        ("sample", "one sample to the receiver, and the first good one to resolved, against Prometheus and Alertmanager at 1 s", SampleAsync),
        ("list", "10,000 firing alerts: list, acknowledge, silence", ListAsync),
        ("delivery", "notifications per second to one receiver, and their order", DeliveryAsync),
        ("rules", "1,000 rules over 20,000 scraped series: processor time against Prometheus", AlertingRulesBench.RunAsync),
    ];

    public static async Task<int> RunAsync(string[] args, CancellationToken ct)
    {
        var run = new BenchRun();
        var parts = new List<string>();
        foreach (var argument in args)
        {
            switch (argument)
            {
                case "--quick":
                    run.Quick = true;
                    break;
                case var part when Parts.Any(known => known.Name == part):
                    parts.Add(part);
                    break;
                default:
                    return Usage(argument is "--help" or "-h" ? 0 : 2);
            }
        }

        foreach (var (name, _, part) in Parts.Where(part => parts.Count == 0 || parts.Contains(part.Name)))
        {
            Console.WriteLine($"== alerting {name}");
            await part(run, ct);
        }

        run.PrintVerdicts();
        return 0;
    }

    private static int Usage(int code)
    {
        Console.WriteLine("Usage: ./bench.sh alerting [--quick] [part …]      all parts unless named");
        foreach (var (name, what, _) in Parts)
        {
            Console.WriteLine($"  {name,-10} {what}");
        }

        Console.WriteLine("  --quick    a tenth of the size: shows that everything works, its figures mean little");
        return code;
    }

    private static async Task EventAsync(BenchRun run, CancellationToken ct)
    {
        var times = await Latency.MeasureAsync(run.Sized(200), ct);
        run.Note("event in to webhook received, median", Milliseconds(At(times, 0.5)));
        run.Judge("event in to webhook received, p99", At(times, 0.99), "F0", "at most 250 ms", At(times, 0.99) <= 250);
    }

    /// <summary>
    /// The same gauge turns bad and good again for both systems at the same moment: ours is sent the sample, Prometheus finds it at its next
    /// scrape. Pauses are random, so that no system's tick is met or missed always.
    /// </summary>
    private static async Task SampleAsync(BenchRun run, CancellationToken ct)
    {
        var rounds = run.Sized(100);
        await using var gauges = await GaugeTarget.StartAsync();
        await using var theirPages = await WebhookReceiver.StartAsync();
        await using var pair = AlertmanagerServer.IsInstalled && PrometheusServer.IsInstalled ? await TunedPair.StartAsync(gauges, theirPages, ct) : null;
        if (pair is null)
        {
            Console.WriteLine("prometheus or prometheus-alertmanager is not installed (deploy/native/install.sh --peers): this run goes without them.");
        }

        await using var pages = await WebhookReceiver.StartAsync();
        await using var platform = await StartAsync(pages, ct);
        using var http = Client(platform);
        await SendYamlAsync(http, HttpMethod.Post, "api/v1/monitoring/rule-groups", """
            groups:
              - name: bench
                interval: 15s
                rules:
                  - alert: BenchValueHigh
                    expr: bench_value > 0
                    labels: {severity: critical}
            """, ct);

        var (ours, oursResolved, theirs, theirsResolved) = (new List<double>(), new List<double>(), new List<double>(), new List<double>());
        var random = new Random(17);
        for (var round = -3; round < rounds; round++)
        {
            var n = $"r{round}";
            // The series is there and good before it turns bad, as in life.
            gauges.Set(n, 0);
            await WriteAsync(http, n, 0, ct);
            await PauseAsync();
            var (fired, firedThere) = await TurnAsync(n, 1, "firing");
            await PauseAsync();
            var (resolved, resolvedThere) = await TurnAsync(n, 0, "resolved");
            gauges.Remove(n);
            if (round >= 0)
            {
                ours.Add(fired);
                oursResolved.Add(resolved);
                theirs.Add(firedThere);
                theirsResolved.Add(resolvedThere);
            }
        }

        Report(run, "sample in to webhook received", ours, theirs, 1_000);
        Report(run, "first good sample in to resolved received", oursResolved, theirsResolved, 1_500);
        if (pair is not null)
        {
            var ratio = At(Sorted(ours), 0.5) / At(Sorted(theirs), 0.5);
            run.Judge("sample in to webhook, median, ours ÷ tuned pair", ratio, "F2", "at most 0.33", ratio <= 1 / 3.0);
        }

        Task PauseAsync() => Task.Delay(random.Next(1_200, 2_200), ct);

        async Task<(double Ours, double Theirs)> TurnAsync(string n, double value, string status)
        {
            var here = pages.NextAsync("n", n, status);
            var there = theirPages.NextAsync("n", n, status);
            gauges.Set(n, value);
            var clock = Stopwatch.StartNew();
            await WriteAsync(http, n, value, ct);
            var limit = TimeSpan.FromSeconds(60);
            var times = await Task.WhenAll(ElapsedAsync(here), pair is null ? Task.FromResult(double.NaN) : ElapsedAsync(there));
            return (times[0], times[1]);

            async Task<double> ElapsedAsync(Task<ReceivedPage> page)
            {
                await page.WaitAsync(limit, ct);
                return clock.Elapsed.TotalMilliseconds;
            }
        }
    }

    private static async Task ListAsync(BenchRun run, CancellationToken ct)
    {
        var alerts = run.Sized(10_000);
        await using var platform = await StartAsync(null, ct);
        using var http = Client(platform);
        await PushAsync(http, "list", alerts, DateTimeOffset.UtcNow.AddHours(6), ct);
        var listed = await http.GetFromJsonAsync<JsonElement>("api/v1/monitoring/alerts?state=firing&limit=500", ct);
        var ids = listed.GetProperty("data").GetProperty("items").EnumerateArray().Select(alert => alert.GetProperty("id").GetString()!).ToArray();

        const int Times = 200;
        await MeasureAsync("list of 100 firing alerts", _ => http.GetAsync(new Uri("api/v1/monitoring/alerts?state=firing&limit=100", UriKind.Relative), ct));
        await MeasureAsync("list by severity and name", _ => http.GetAsync(new Uri("api/v1/monitoring/alerts?state=firing&severity=high&name=BenchList&limit=100", UriKind.Relative), ct));
        await MeasureAsync("acknowledge", index => http.PostAsJsonAsync($"api/v1/monitoring/alerts/{ids[index]}/acknowledge", new { reason = "bench" }, ct));
        await MeasureAsync("silence", index => http.PostAsJsonAsync("api/v1/monitoring/silences", new
        {
            matchers = new[] { $"n=\"list-{index}\"" },
            comment = "bench",
            ends_at = DateTimeOffset.UtcNow.AddHours(1),
        }, ct));
        var whole = Stopwatch.StartNew();
        using var all = await http.GetAsync(new Uri("alertmanager/api/v2/alerts", UriKind.Relative), ct);
        all.EnsureSuccessStatusCode();
        run.Note($"GET /alertmanager/api/v2/alerts, all {alerts:N0}", Milliseconds(whole.Elapsed.TotalMilliseconds));

        async Task MeasureAsync(string what, Func<int, Task<HttpResponseMessage>> ask)
        {
            var times = new List<double>();
            for (var index = 0; index < Times; index++)
            {
                var clock = Stopwatch.StartNew();
                using var answer = await ask(index);
                await answer.Content.ReadAsByteArrayAsync(ct);
                times.Add(clock.Elapsed.TotalMilliseconds);
                if (!answer.IsSuccessStatusCode)
                {
                    throw new InvalidOperationException($"{what}: {(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync(ct)}");
                }
            }

            times.Sort();
            run.Judge($"{alerts:N0} firing: {what}, p95", At(times, 0.95), "F0", "at most 150 ms", At(times, 0.95) <= 150);
        }
    }

    /// <summary>Every alert is a group of its own; each is told when it fires and when it resolves. The rate is that of the receiver.</summary>
    private static async Task DeliveryAsync(BenchRun run, CancellationToken ct)
    {
        var alerts = run.Sized(5_000);
        await using var pages = await WebhookReceiver.StartAsync();
        await using var platform = await StartAsync(pages, ct);
        using var http = Client(platform);
        await SendYamlAsync(http, HttpMethod.Put, "api/v1/monitoring/routing", """
            route:
              receiver: all
              group_by: ['...']
              group_wait: 0s
              group_interval: 1s
              repeat_interval: 12h
            receivers:
              - name: all
                webhook_configs:
                  - url: http://channel.invalid/webhook
                    send_resolved: true
            """, ct);
        var clock = Stopwatch.StartNew();
        await PushAsync(http, "fires", alerts, DateTimeOffset.UtcNow.AddHours(6), ct);
        Console.WriteLine($"  {alerts:N0} alerts taken in after {clock.Elapsed.TotalSeconds:F1} s");
        await Eventually.TrueAsync(() => pages.Pages.Count >= alerts, TimeSpan.FromMinutes(5), "every alert was told");
        var fired = Rate("firing");
        await PushAsync(http, "fires", alerts, DateTimeOffset.UtcNow.AddSeconds(-1), ct);
        await Eventually.TrueAsync(() => pages.Pages.Count >= 2 * alerts, TimeSpan.FromMinutes(5), "every end was told");
        var resolved = Rate("resolved");

        var order = pages.Pages.GroupBy(page => page.Label("n")!).ToDictionary(told => told.Key, told => string.Join(' ', told.Select(page => page.Status)));
        var wrong = order.Values.Count(told => told != "firing resolved") + Math.Abs(order.Count - alerts);
        run.Judge("notifications/s to one receiver, firing", fired, "F0", "at least 500", fired >= 500);
        run.Judge("notifications/s to one receiver, resolved", resolved, "F0", "at least 500", resolved >= 500);
        run.Judge($"alerts of {alerts:N0} not told once each, in order", wrong, "F0", "none", wrong == 0);

        double Rate(string status)
        {
            var times = pages.Pages.Where(page => page.Status == status).Select(page => page.At).Order().ToArray();
            return (times.Length - 1) / (times[^1] - times[0]).TotalSeconds;
        }
    }

    // As Prometheus sends them.
    private static async Task PushAsync(HttpClient http, string run, int alerts, DateTimeOffset endsAt, CancellationToken ct)
    {
        foreach (var chunk in Enumerable.Range(0, alerts).Chunk(500))
        {
            using var answer = await http.PostAsJsonAsync("alertmanager/api/v2/alerts", chunk.Select(n => new
            {
                labels = new { alertname = "BenchList", severity = "high", n = $"{run}-{n}" },
                annotations = new { summary = "An alert of the bench" },
                endsAt,
            }), ct);
            await RequireAsync(answer, ct);
        }
    }

    internal static async Task<PlatformProcess> StartAsync(WebhookReceiver? pages, CancellationToken ct, params (string Name, string Value)[] settings)
    {
        var all = new Dictionary<string, string?>
        {
            ["ALERT_WEBHOOK_URL"] = pages?.Url,
            ["ALERT_CHANNEL_RATE_PER_MINUTE"] = "0",
            ["OUTBOUND_ALLOWED_NETWORKS"] = "127.0.0.0/8",
        };
        foreach (var (name, value) in settings)
        {
            all[name] = value;
        }

        return await PlatformProcess.StartAsync(all, ["--no-demo"], ct: ct);
    }

    internal static HttpClient Client(PlatformProcess platform)
    {
        var http = new HttpClient { BaseAddress = platform.GatewayUrl, Timeout = TimeSpan.FromMinutes(2) };
        http.DefaultRequestHeaders.Authorization = new("Bearer", platform.AdminKey);
        return http;
    }

    internal static async Task SendYamlAsync(HttpClient http, HttpMethod method, string path, string yaml, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(method, path) { Content = new StringContent(yaml, Encoding.UTF8, new MediaTypeHeaderValue("application/yaml")) };
        using var answer = await http.SendAsync(request, ct);
        await RequireAsync(answer, ct);
    }

    private static async Task RequireAsync(HttpResponseMessage answer, CancellationToken ct)
    {
        if (!answer.IsSuccessStatusCode)
        {
            throw new InvalidOperationException($"{answer.RequestMessage!.RequestUri}: {(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync(ct)}");
        }
    }

    private static async Task WriteAsync(HttpClient http, string n, double value, CancellationToken ct)
    {
        using var body = RemoteWrite.Content([new WrittenSeries([("__name__", "bench_value"), ("n", n)], [(DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(), value)])]);
        using var answer = await http.PostAsync(new Uri("prometheus/api/v1/write", UriKind.Relative), body, ct);
        await RequireAsync(answer, ct);
    }

    private static void Report(BenchRun run, string what, List<double> ours, List<double> theirs, double bar)
    {
        var (mine, other) = (Sorted(ours), Sorted(theirs));
        run.Note($"{what}, median", Milliseconds(At(mine, 0.5)));
        if (!double.IsNaN(other[0]))
        {
            run.Note($"  tuned pair, median and p99", $"{At(other, 0.5):F0}, {At(other, 0.99):F0} ms");
        }

        run.Judge($"{what}, p99", At(mine, 0.99), "F0", string.Create(CultureInfo.InvariantCulture, $"at most {bar:F0} ms"), At(mine, 0.99) <= bar);
    }

    private static List<double> Sorted(List<double> times) => [.. times.Order()];

    /// <summary>Of sorted times.</summary>
    internal static double At(List<double> sorted, double quantile) => sorted[Math.Min(sorted.Count - 1, (int)(sorted.Count * quantile))];

    private static string Milliseconds(double time) => string.Create(CultureInfo.InvariantCulture, $"{time:F0} ms");
}
