using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Npgsql;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Alerting.Tests.RuleGroups;

/// <summary>Metrics and Alerting as processes in one world, and a receiver of webhooks.</summary>
public sealed class RulesWorld : IAsyncLifetime
{
    private readonly TemporaryFolder _rules = TemporaryFolder.Create("rules");

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public TestWorld World { get; private set; } = null!;

    public WebhookReceiver Receiver { get; private set; } = null!;

    public ServiceProcess Metrics { get; set; } = null!;

    public ServiceProcess Alerting { get; set; } = null!;

    public NpgsqlDataSource Db { get; private set; } = null!;

    /// <summary>The watched folder.</summary>
    public string RuleFolder => _rules.Path;

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        Receiver = await WebhookReceiver.StartAsync();
        Metrics = await StartMetricsAsync();
        Alerting = await StartAlertingAsync();
        Db = await World.OpenAsync("alertingdb");
    }

    public Task<ServiceProcess> StartMetricsAsync() =>
        World.StartAsync("Metrics", "metricsdb", ("METRICS_SCRAPE_SERVICES", "none"), ("METRICS_COLLECTION_ENABLED", "false"));

    public Task<ServiceProcess> StartAlertingAsync(params (string Name, string Value)[] more) => World.StartAsync("Alerting", "alertingdb", [
        ("services__metrics__http__0", Metrics.Url.ToString()),
        ("ALERT_WEBHOOK_URL", Receiver.Url),
        ("OUTBOUND_ALLOWED_NETWORKS", "public,127.0.0.0/8"),
        ("ALERT_RULE_FILES", Path.Combine(RuleFolder, "*.yml")),
        ("ALERT_RULE_FILES_POLL_SECONDS", "0.2"),
        ("ALERT_RULE_LEASE_SECONDS", "2"),
        ("ALERT_RULE_SOURCE_FAILURE_SECONDS", "2"),
        ("ALERT_CANARY_ENABLED", "false"),
        .. more]);

    public async Task<JsonElement> SendAsync(HttpMethod method, string path, HttpContent? body = null, HttpStatusCode expected = HttpStatusCode.OK, string realm = "default", Role role = Role.Moderator, ServiceProcess? to = null)
    {
        using var client = await World.ClientAsync(to ?? Alerting, role, realm);
        using var request = new HttpRequestMessage(method, path) { Content = body };
        using var answer = await client.SendAsync(request, Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);
        Assert.True(answer.StatusCode == expected, $"{(int)answer.StatusCode}: {text}");
        return text.StartsWith('{') ? JsonElement.Parse(text) : default;
    }

    public Task<JsonElement> ImportAsync(string yaml, HttpStatusCode expected = HttpStatusCode.OK, string realm = "default") =>
        SendAsync(HttpMethod.Post, $"api/v1/monitoring/rule-groups?realm={realm}", Yaml(yaml), expected, realm);

    public static StringContent Yaml(string yaml) => new(yaml, Encoding.UTF8, "application/yaml");

    public static JsonContent Json(object body) => JsonContent.Create(body);

    public async Task<string> TextAsync(string path, string realm = "default")
    {
        using var client = await World.ClientAsync(Alerting, Role.Moderator, realm);
        return await client.GetStringAsync(new Uri(path, UriKind.Relative), Ct);
    }

    /// <summary>One sample of now.</summary>
    public Task SampleAsync(string name, double value, params (string Name, string Value)[] labels) => SampleAsync("default", name, value, labels);

    public Task SampleAsync(string realm, string name, double value, params (string Name, string Value)[] labels) =>
        WriteAsync(realm, new WrittenSeries(Sorted(name, realm, labels), [(DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(), value)]));

    /// <summary>A sample a little ago, so that whatever is evaluated from now on sees it.</summary>
    public Task EarlierAsync(string name, double value, params (string Name, string Value)[] labels) =>
        WriteAsync("default", new WrittenSeries(Sorted(name, "default", labels), [(DateTimeOffset.UtcNow.AddSeconds(-5).ToUnixTimeMilliseconds(), value)]));

    public static IReadOnlyList<(string, string)> Sorted(string name, string realm, params (string Name, string Value)[] labels) =>
        [.. labels.Append(("__name__", name)).Append(("realm", realm)).OrderBy(label => label.Item1, StringComparer.Ordinal)];

    public async Task WriteAsync(string realm, params WrittenSeries[] series)
    {
        using var client = await World.ClientAsync(Metrics, Role.User, realm);
        using var answer = await client.PostAsync(new Uri("prometheus/api/v1/write", UriKind.Relative), RemoteWrite.Content(series), Ct);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Ct));
    }

    /// <summary>The series that an expression finds now, as label sets with their values.</summary>
    public async Task<IReadOnlyList<(JsonElement Labels, string Value)>> QueryAsync(string query, string realm = "default")
    {
        using var client = await World.ClientAsync(Metrics, Role.User, realm);
        var answer = await client.GetFromJsonAsync<JsonElement>(new Uri($"prometheus/api/v1/query?query={Uri.EscapeDataString(query)}", UriKind.Relative), Ct);
        return [.. answer.GetProperty("data").GetProperty("result").EnumerateArray().Select(one => (one.GetProperty("metric"), one.GetProperty("value")[1].GetString()!))];
    }

    /// <summary>Groups as Prometheus' API shows them.</summary>
    public async Task<IReadOnlyList<JsonElement>> RulesAsync(string filter = "", string realm = "default", ServiceProcess? of = null) =>
        [.. (await SendAsync(HttpMethod.Get, $"prometheus/api/v1/rules{filter}", realm: realm, role: Role.User, to: of)).GetProperty("data").GetProperty("groups").EnumerateArray()];

    public async Task<IReadOnlyList<JsonElement>> AlertsAsync(string name, string realm = "default") =>
        [.. (await SendAsync(HttpMethod.Get, $"api/v1/monitoring/alerts?name={name}", realm: realm)).GetProperty("data").GetProperty("items").EnumerateArray()];

    public Task<long> CountAsync(Sql sql) => Db.FindAsync(sql, row => row.GetInt64(0), Ct);

    public async ValueTask DisposeAsync()
    {
        if (Db is not null)
        {
            await Db.DisposeAsync();
        }

        await World.DisposeAsync();
        await Receiver.DisposeAsync();
        _rules.Dispose();
    }
}
