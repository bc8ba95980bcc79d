using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Metrics.Tests.Scraping;

/// <summary>The running service scrapes, reloads and takes over; real exporters on one side, a real Prometheus on the other.</summary>
public sealed class ScrapeServiceTests : IAsyncLifetime
{
    private readonly TemporaryFolder _folder = TemporaryFolder.Create("scrape");
    private TestWorld _world = null!;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private string ConfigFile => Path.Combine(_folder.Path, "scrape.yml");

    public async ValueTask InitializeAsync() => _world = await TestWorld.CreateAsync();

    public async ValueTask DisposeAsync()
    {
        await _world.DisposeAsync();
        _folder.Dispose();
    }

    [Fact]
    public async Task Two_replicas_scrape_a_target_once_follow_its_file_and_one_takes_over_from_the_other()
    {
        await using var left = await ScrapedTarget.StartAsync("a 1\n");
        await using var right = await ScrapedTarget.StartAsync("a 1\n");
        var targets = Path.Combine(_folder.Path, "targets.json");
        await WriteAsync(targets, $$"""[{"targets": ["{{left.Address}}"]}]""");
        await WriteAsync(ConfigFile, """
            global: {scrape_interval: 1s, scrape_timeout: 1s}
            scrape_configs:
            - job_name: files
              file_sd_configs: [{files: ['*.json']}]
            """);
        var first = await StartAsync();
        await Eventually.TrueAsync(() => left.Requests > 0, because: "the first replica scrapes");
        var second = await StartAsync();

        var clock = Stopwatch.StartNew();
        var before = left.Requests;
        await Eventually.TrueAsync(() => left.Requests >= before + 3, because: "scrapes go on");
        Assert.InRange(left.Requests - before, 3, (int)clock.Elapsed.TotalSeconds + 2);

        await WriteAsync(targets, $$"""[{"targets": ["{{right.Address}}"]}]""");
        await Eventually.TrueAsync(() => right.Requests > 0, because: "the new target is scraped");
        await WriteAsync(targets, "[{");
        await WriteAsync(ConfigFile, "scrape_configs: [{job_name: x, nonsense: 1}]");
        var seen = right.Requests;
        await Eventually.TrueAsync(() => right.Requests > seen + 1, because: "what is not understood leaves the old one in force");
        await Eventually.TrueAsync(() => first.Log.Any(line => line.Contains("nonsense", StringComparison.Ordinal)), because: "the fault is told");

        await first.KillAsync();
        seen = right.Requests;
        await WriteAsync(targets, $$"""[{"targets": ["{{right.Address}}"]}]""");
        await WriteAsync(ConfigFile, "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs: [{job_name: files, file_sd_configs: [{files: ['*.json']}]}]");
        await Eventually.TrueAsync(() => right.Requests > seen + 1, because: "the second replica takes over");
        await second.StopAsync();
    }

    [Fact]
    public async Task A_file_that_is_not_understood_stops_the_start()
    {
        await WriteAsync(ConfigFile, "scrape_configs:\n- job_name: x\n  nonsense: 1");

        var fault = await Assert.ThrowsAnyAsync<Exception>(() => StartAsync());

        Assert.Contains("METRICS_SCRAPE_CONFIG_FILE", fault.Message, StringComparison.Ordinal);
        Assert.Contains("line 3", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Switched_off_nothing_is_scraped()
    {
        await using var target = await ScrapedTarget.StartAsync("a 1\n");
        await WriteAsync(ConfigFile, $"scrape_configs: [{{job_name: x, scrape_interval: 100ms, scrape_timeout: 100ms, static_configs: [{{targets: ['{target.Address}']}}]}}]");
        var service = await StartAsync(("METRICS_COLLECTION_ENABLED", "false"));

        await Eventually.TrueAsync(() => service.Log.Any(line => line.Contains("METRICS_COLLECTION_ENABLED is false", StringComparison.Ordinal)), because: "it says so");
        Assert.Equal(0, target.Requests);
    }

    [Fact]
    public async Task The_counters_of_events_and_the_services_own_metrics_are_queried_like_anything_else()
    {
        await using var application = await ScrapedTarget.StartAsync("app_things_total 4\n");
        await WriteAsync(ConfigFile, "scrape_configs: []");
        var service = await StartAsync(("METRICS_SCRAPE_INTERVAL_SECONDS", "1"), ("METRICS_SCRAPE_TIMEOUT_SECONDS", "1"), ("services__shop__http__0", $"http://{application.Address}"), ("services__health__http__0", "http://127.0.0.1:1"));
        using var client = await _world.ClientAsync(service, realm: "default");
        using var all = await _world.ClientAsync(service, realm: Realm.All);
        using var body = new StringContent("""{"event_type":"log","source":"test","tags":{"action":"login","outcome":"failure"}}""", new System.Net.Http.Headers.MediaTypeHeaderValue("application/json"));
        using var sent = await client.PostAsync(new Uri("api/v1/monitoring/events", UriKind.Relative), body, Ct);
        Assert.Equal(HttpStatusCode.Created, sent.StatusCode);

        await HasAsync(client, "login_failure_total{job=\"events\",realm=\"default\"} == 1");
        await HasAsync(client, "login_success_total{job=\"events\"} == 0");
        await HasAsync(client, "app_things_total{job=\"shop\"} == 4");
        // The platform's own belong to nobody but those who see everything.
        await HasAsync(all, "up{job=\"health\",realm=\"*\"} == 0");
        Assert.DoesNotContain("\"health\"", await AskAsync(client, "up"), StringComparison.Ordinal);
        // No application is ever shown a ticket of the platform.
        Assert.Empty(application.LastHeaders!.Authorization.ToString());
    }

    [Fact]
    public async Task A_real_node_exporter_is_scraped()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/prometheus-node-exporter"), "prometheus-node-exporter is not installed");
        var port = FreePort();
        using var exporter = Start("/usr/bin/prometheus-node-exporter", $"--web.listen-address=127.0.0.1:{port}");
        try
        {
            await WriteAsync(ConfigFile, $"scrape_configs: [{{job_name: node, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]");
            var service = await StartAsync();
            using var client = await _world.ClientAsync(service, realm: "default");

            await HasAsync(client, "up{job=\"node\"} == 1");
            await HasAsync(client, "node_memory_MemAvailable_bytes{job=\"node\"} > 0");
            await HasAsync(client, "node_cpu_seconds_total{mode=\"idle\"} > 0");
            await HasAsync(client, "scrape_samples_scraped{job=\"node\"} > 300");
            Assert.Contains("\"up\"", await client.GetStringAsync(new Uri("prometheus/api/v1/targets", UriKind.Relative), Ct), StringComparison.Ordinal);
        }
        finally
        {
            exporter.Kill();
            await exporter.WaitForExitAsync(Ct);
        }
    }

    [Fact]
    public async Task A_real_Prometheus_scrapes_the_exposition_and_the_services_own_metrics()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/prometheus"), "prometheus is not installed");
        await WriteAsync(ConfigFile, "scrape_configs: []");
        var service = await StartAsync();
        var ticket = Path.Combine(_folder.Path, "ticket");
        await WriteAsync(ticket, await _world.TicketAsync(new Caller("key:test", Role.User, "default", Scopes.Read)));
        var configuration = Path.Combine(_folder.Path, "prometheus.yml");
        await WriteAsync(configuration, $"""
            global: {"{"}scrape_interval: 1s, scrape_timeout: 1s{"}"}
            scrape_configs:
            - job_name: platform
              metrics_path: /monitoring/metrics/
              authorization: {"{"}credentials_file: {ticket}{"}"}
              static_configs: [{"{"}targets: ['{service.Url.Authority}']{"}"}]
            - job_name: own
              static_configs: [{"{"}targets: ['{service.Url.Authority}']{"}"}]
            """);
        var port = FreePort();
        using var prometheus = Start("/usr/bin/prometheus", $"--config.file={configuration}", $"--storage.tsdb.path={Path.Combine(_folder.Path, "tsdb")}", $"--web.listen-address=127.0.0.1:{port}");
        try
        {
            using var client = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
            await Eventually.TrueAsync(
                async () => (await client.GetStringAsync(new Uri("api/v1/query?query=" + Uri.EscapeDataString("sum(up) == 2"), UriKind.Relative), Ct)).Contains("\"2\"", StringComparison.Ordinal),
                because: "Prometheus reads both");
            Assert.Contains("\"0\"", await client.GetStringAsync(new Uri("api/v1/query?query=login_success_total", UriKind.Relative), Ct), StringComparison.Ordinal);
        }
        finally
        {
            prometheus.Kill();
            await prometheus.WaitForExitAsync(Ct);
        }
    }

    private Task<ServiceProcess> StartAsync(params (string Name, string Value)[] settings) =>
        _world.StartAsync("Metrics", "metricsdb",
        [
            ("METRICS_SCRAPE_CONFIG_FILE", ConfigFile), ("METRICS_SCRAPE_RELOAD_SECONDS", "0.2"), ("METRICS_SCRAPE_TAKEOVER_SECONDS", "0.3"),
            ("OUTBOUND_ALLOWED_NETWORKS", "127.0.0.0/8"), .. settings,
        ]);

    private static Task HasAsync(HttpClient client, string query) =>
        Eventually.TrueAsync(async () => (await AskAsync(client, query)).Contains("\"metric\":{", StringComparison.Ordinal), because: query);

    private static Task<string> AskAsync(HttpClient client, string query) =>
        client.GetStringAsync(new Uri("prometheus/api/v1/query?query=" + Uri.EscapeDataString(query), UriKind.Relative), Ct);

    // Written beside and moved over, as a careful tool does it.
    private static async Task WriteAsync(string path, string text)
    {
        await File.WriteAllTextAsync(path + ".new", text, Ct);
        File.Move(path + ".new", path, overwrite: true);
    }

    private static Process Start(string program, params string[] arguments) =>
        Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = false, RedirectStandardOutput = false })!;

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
