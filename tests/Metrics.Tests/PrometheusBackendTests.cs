using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;
using Platform.SampleStore;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Metrics.Tests;

/// <summary>The service with its samples in another engine: a real Prometheus, and a real VictoriaMetrics.</summary>
public sealed class PrometheusBackendFixture : IAsyncLifetime
{
    public TestWorld World { get; private set; } = null!;

    public PrometheusServer? Prometheus { get; private set; }

    public VictoriaServer? Victoria { get; private set; }

    public Dictionary<string, ServiceProcess> Services { get; } = [];

    /// <summary>When the samples of the tests end, by engine: written once, because Prometheus takes nothing older than it has.</summary>
    public Dictionary<string, long> Written { get; } = [];

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        if (PrometheusServer.IsInstalled)
        {
            Prometheus = await PrometheusServer.StartAsync();
            Services["prometheus"] = await StartAsync(Prometheus.Url);
        }

        if (VictoriaServer.IsInstalled)
        {
            Victoria = await VictoriaServer.StartAsync();
            Services["victoria-metrics"] = await StartAsync(Victoria.Url);
        }
    }

    public Task<ServiceProcess> StartAsync(Uri engine) => World.StartAsync(
        "Metrics", "metricsdb",
        ("METRICS_STORAGE_BACKEND", "prometheus"), ("METRICS_PROMETHEUS_URL", engine.ToString()), ("METRICS_SCRAPE_SERVICES", "none"), ("METRICS_COLLECTION_ENABLED", "false"));

    public async ValueTask DisposeAsync()
    {
        await World.DisposeAsync();
        if (Prometheus is not null)
        {
            await Prometheus.DisposeAsync();
        }

        if (Victoria is not null)
        {
            await Victoria.DisposeAsync();
        }
    }
}

/// <summary>A VictoriaMetrics of its own on a free port, empty.</summary>
public sealed class VictoriaServer : IAsyncDisposable
{
    private const string Program = "/usr/bin/victoria-metrics";

    private readonly TemporaryFolder _folder = TemporaryFolder.Create("victoria-metrics");
    private readonly Process _process;

    private VictoriaServer(int port)
    {
        Url = new Uri($"http://127.0.0.1:{port}/");
        var start = new ProcessStartInfo(Program, [$"-storageDataPath={_folder.Path}", $"-httpListenAddr=127.0.0.1:{port}", "-search.latencyOffset=0s", "-search.disableCache", "-retentionPeriod=100y", "-loggerLevel=ERROR"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        _process = Process.Start(start)!;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public static bool IsInstalled => File.Exists(Program);

    public Uri Url { get; }

    public static async Task<VictoriaServer> StartAsync()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        listener.Stop();
        var server = new VictoriaServer(port);
        using var client = new HttpClient();
        await Eventually.TrueAsync(
            async () =>
            {
                try
                {
                    return (await client.GetAsync(new Uri(server.Url, "health"))).IsSuccessStatusCode;
                }
                catch (HttpRequestException)
                {
                    return false;
                }
            },
            because: "victoria-metrics listens");
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _folder.Dispose();
    }
}

public sealed class PrometheusBackendTests(PrometheusBackendFixture fixture) : IClassFixture<PrometheusBackendFixture>
{
    // No expression makes these by itself, so wherever one shows, another realm was read.
    private const string Secret = "blue-secret";
    private const double SecretValue = 424242;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public static TheoryData<string> Engines { get; } = ["prometheus", "victoria-metrics"];

    [Theory]
    [MemberData(nameof(Engines))]
    public async Task What_is_written_through_the_platform_is_read_through_it_by_its_realm_alone(string engine)
    {
        var (red, blue, end) = await WriteAsync(engine);

        var up = await QueryAsync(red, $"query?query=up&time={end}");
        var range = await QueryAsync(red, $"query_range?query=sum(up)&start={end - 60}&end={end}&step=15");
        var federated = await red.GetStringAsync(new Uri("prometheus/federate?match%5B%5D=up", UriKind.Relative), Ct);

        Assert.Equal("red", up.GetProperty("result")[0].GetProperty("metric").GetProperty("realm").GetString());
        Assert.Equal(1, up.GetProperty("result").GetArrayLength());
        Assert.Equal("1", range.GetProperty("result")[0].GetProperty("values")[0][1].GetString());
        Assert.Contains("realm=\"red\"", federated, StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, federated, StringComparison.Ordinal);
        Assert.Contains(Secret, (await QueryAsync(blue, $"query?query=up&time={end}")).GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, (await QueryAsync(red, "label/job/values")).GetRawText(), StringComparison.Ordinal);
        Assert.Contains(Secret, (await QueryAsync(blue, "label/job/values")).GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain("only_blue", (await QueryAsync(red, "labels")).GetRawText(), StringComparison.Ordinal);
        Assert.Equal(["red"], (await QueryAsync(red, "label/realm/values")).EnumerateArray().Select(value => value.GetString()));
        Assert.DoesNotContain(Secret, (await QueryAsync(red, $"series?match%5B%5D={{realm=\"blue\"}}&match%5B%5D=up&start={end - 600}&end={end}")).GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, (await QueryAsync(red, "label/job/values?match%5B%5D={realm=~\".*\",__name__!=\"\"}")).GetRawText(), StringComparison.Ordinal);

        using var admin = await fixture.World.ClientAsync(fixture.Services[engine], Role.Admin, Realm.All);
        Assert.Equal(2, (await QueryAsync(admin, $"query?query=up&time={end}")).GetProperty("result").GetArrayLength());
        Assert.Equal(1, (await QueryAsync(admin, $"query?query=up&time={end}&realm=blue")).GetProperty("result").GetArrayLength());
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public async Task No_expression_reaches_another_realm(string engine)
    {
        var (red, blue, end) = await WriteAsync(engine);
        var answered = 0;
        foreach (var expression in Expressions())
        {
            foreach (var path in (string[])[$"query?time={end}", $"query_range?start={end - 60}&end={end}&step=30"])
            {
                using var form = new FormUrlEncodedContent([new("query", expression), new("extra_label", "realm=blue"), new("extra_filters[]", "{realm=\"blue\"}")]);
                using var answer = await red.PostAsync(new Uri($"prometheus/api/v1/{path}", UriKind.Relative), form, Ct);
                var text = await answer.Content.ReadAsStringAsync(Ct);

                Assert.False(text.Contains(Secret, StringComparison.Ordinal) || text.Contains("424242", StringComparison.Ordinal), $"{path} {expression}\n{text}");
                Assert.True((int)answer.StatusCode is 200 or 400 or 422, $"{path} {expression}\n{text}");
                answered += answer.IsSuccessStatusCode ? 1 : 0;
            }
        }

        // The same expressions find it where it belongs, and most are understood: the test looks at something.
        Assert.Contains(Secret, (await QueryAsync(blue, $"query?query={{job=~\".%2B\"}}&time={end}")).GetRawText(), StringComparison.Ordinal);
        Assert.True(answered > 300, $"{answered} expressions were answered.");
    }

    // Selectors that try to get out, inside everything that an expression can be built of.
    private static IEnumerable<string> Expressions()
    {
        string[] selectors =
        [
            "up", "{realm=\"blue\"}", "{realm=~\".*\", job=~\".+\"}", "{realm!=\"red\", job!=\"\"}", "{__name__=~\".+\"}", "{\"up\"}", "{\"up\", realm=\"blue\"}",
            "up{realm=\"red\", realm=\"blue\"}", "up{realm=~\"red|blue\"}", "up{job=\"x\\\"} or {realm=\\\"blue\"}", "up{job='a\"}, {realm=\"blue'}", "up{job=`\"} or up{realm=\"blue\"} or up{a=\"`}",
            "up # } or {realm=\"blue\"}\n", "up{job!=\"\" # ,\n}", "up{realm=\"\"}", "{job=~\"blue-.*\"}", "secret_metric", "up{\"realm\"=\"blue\"}", "up{realm=\"bl\\u0075e\"}",
        ];
        string[] around =
        [
            "{0}", "({0})", "-{0}", "sum({0})", "sum by (job, realm) ({0})", "max without (instance) ({0})", "topk(3, {0})", "count_values(\"v\", {0})", "{0} or {0}", "{0} and on () up", "up * on () group_left (job) {0}",
            "up unless {0}", "max_over_time({0}[5m])", "last_over_time({0}[5m:30s])", "max_over_time(max_over_time({0}[2m])[5m:1m])", "{0} offset 1s", "{0} @ end()", "label_replace({0}, \"x\", \"$1\", \"job\", \"(.*)\")",
            "label_join({0}, \"realm\", \"\", \"job\")", "absent({0})", "scalar({0})", "clamp_max({0}, 1e9)", "quantile(0.5, {0})", "sort_desc({0})", "topk(scalar({0}), up)", "vector(scalar(sum({0})))", "{0} > bool 1", "1 / {0}",
        ];
        return from wrap in around from selector in selectors select wrap.Replace("{0}", selector, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public async Task Increments_add_up_to_totals_that_the_engine_keeps_and_a_key_counts_once(string engine)
    {
        Assert.SkipUnless(fixture.Services.ContainsKey(engine), $"{engine} is not installed");
        using var client = await fixture.World.ClientAsync(fixture.Services[engine], Role.User, $"counting-{engine}");
        var now = DateTimeOffset.UtcNow;
        foreach (var (by, second, key) in ((int, int, string)[])[(3, 0, "a"), (4, 1, "b"), (4, 1, "b"), (5, 2, "c")])
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, new Uri("api/v1/monitoring/metrics", UriKind.Relative))
            {
                Content = JsonContent.Create(new { name = "orders_total", metric_type = "counter", value = by, timestamp = now.AddSeconds(second - 10) }),
            };
            request.Headers.Add("Idempotency-Key", $"{engine}-{key}");
            using var answer = await client.SendAsync(request, Ct);
            Assert.True(answer.StatusCode == HttpStatusCode.Created, await answer.Content.ReadAsStringAsync(Ct));
        }

        await Eventually.TrueAsync(
            async () => (await QueryAsync(client, $"query?query=orders_total&time={now.ToUnixTimeSeconds()}")).GetProperty("result") is var result && result.GetArrayLength() == 1 && result[0].GetProperty("value")[1].GetString() == "12",
            because: "3 + 4 + 5, the repeated 4 once");
    }

    [Fact]
    public async Task What_the_engine_refuses_is_refused_with_its_reason()
    {
        Assert.SkipUnless(fixture.Prometheus is not null, "prometheus is not installed");
        using var client = await fixture.World.ClientAsync(fixture.Services["prometheus"], Role.User, "late");
        var now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        await PrometheusApiFixture.WriteAsync(client, [new([("__name__", "late")], [(now, 1)])]);

        // This engine takes no sample before the newest of its series.
        using var answer = await client.PostAsync(new Uri("prometheus/api/v1/write", UriKind.Relative), RemoteWrite.Content([new([("__name__", "late")], [(now - 60_000, 1)])]), Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);

        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Contains("out of order", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_the_engine_nothing_is_acknowledged()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var nobody = new Uri($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}");
        listener.Stop();
        await using var service = await fixture.StartAsync(nobody);
        using var client = await fixture.World.ClientAsync(service, Role.User, "red");

        using var written = await client.PostAsync(new Uri("prometheus/api/v1/write", UriKind.Relative), RemoteWrite.Content([new([("__name__", "up")], [(DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(), 1)])]), Ct);
        using var asked = await client.GetAsync(new Uri("prometheus/api/v1/query?query=up", UriKind.Relative), Ct);

        Assert.Equal(HttpStatusCode.ServiceUnavailable, written.StatusCode);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, asked.StatusCode);
    }

    [Fact]
    public void Snappy_comes_back_as_it_went_in()
    {
        var bits = 7UL;
        foreach (var length in (int[])[0, 1, 3, 4, 5, 59, 60, 61, 255, 256, 4096, 65_535, 65_536, 65_537, 70_000, 300_000])
        {
            foreach (var symbols in (int[])[1, 2, 5, 256])
            {
                var plain = new byte[length];
                for (var index = 0; index < length; index++)
                {
                    bits = bits * 6364136223846793005 + 1442695040888963407;
                    plain[index] = (byte)((bits >> 33) % (ulong)symbols);
                }

                Assert.Equal(plain, IronSnappy.Snappy.Decode(SnappyEncoder.Encode(plain)));
            }
        }
    }

    private async Task<(HttpClient Red, HttpClient Blue, long End)> WriteAsync(string engine)
    {
        Assert.SkipUnless(fixture.Services.ContainsKey(engine), $"{engine} is not installed");
        var service = fixture.Services[engine];
        var red = await fixture.World.ClientAsync(service, Role.User, "red");
        var blue = await fixture.World.ClientAsync(service, Role.User, "blue");
        if (fixture.Written.TryGetValue(engine, out var written))
        {
            return (red, blue, written);
        }

        var end = fixture.Written[engine] = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var times = Enumerable.Range(0, 8).Select(step => (end - 105 + step * 15) * 1000).ToArray();
        await PrometheusApiFixture.WriteAsync(red, [new([("__name__", "up"), ("job", "api")], [.. times.Select(time => (time, 1.0))])]);
        await PrometheusApiFixture.WriteAsync(blue,
        [
            // Whoever sends may claim what they like: the realm is that of the credential.
            new([("__name__", "up"), ("job", Secret), ("realm", "red")], [.. times.Select(time => (time, SecretValue))]),
            new([("__name__", "secret_metric"), ("job", Secret), ("only_blue", "1")], [.. times.Select(time => (time, SecretValue))]),
        ]);
        // VictoriaMetrics shows what it has acknowledged a little later.
        await Eventually.TrueAsync(
            async () => (await QueryAsync(red, $"query?query=up&time={end}")).GetProperty("result").GetArrayLength() > 0
                && (await QueryAsync(blue, $"query?query=secret_metric&time={end}")).GetProperty("result").GetArrayLength() > 0,
            because: "the samples are there");
        return (red, blue, end);
    }

    private static async Task<JsonElement> QueryAsync(HttpClient client, string request)
    {
        using var answer = await client.GetAsync(new Uri($"prometheus/api/v1/{request}", UriKind.Relative), Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);
        Assert.True(answer.IsSuccessStatusCode, $"{request}\n{text}");
        return JsonElement.Parse(text).GetProperty("data");
    }
}
