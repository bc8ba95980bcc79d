using System.Net.Http.Json;
using System.Text.Json;
using Npgsql;
using Platform.Alerting.Notifications;
using Platform.Contracts;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>Alerting with receivers of every kind, and ways to have something told over one channel.</summary>
public sealed class ChannelWorld : IAsyncLifetime
{
    private readonly AlertingMetrics _metrics = new();
    private readonly (string Name, string Value)[] _environment;
    private ServiceProcess _service = null!;

    public ChannelWorld()
        : this([])
    {
    }

    /// <param name="environment">More settings of the service.</param>
    internal ChannelWorld((string Name, string Value)[] environment) => _environment = environment;

    public TestWorld World { get; private set; } = null!;

    public WebhookReceiver Receiver { get; private set; } = null!;

    public NpgsqlDataSource Db { get; private set; } = null!;

    public HttpClient Admin { get; private set; } = null!;

    public ServiceProcess Service => _service;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        Receiver = await WebhookReceiver.StartAsync();
        await StartAsync(_environment);
        Db = await World.OpenAsync("alertingdb");
        Admin = Client(Role.Admin);
    }

    public async Task StartAsync(params (string Name, string Value)[] more) => _service = await World.StartAsync("Alerting", "alertingdb", [
        ("ALERT_SLACK_API_URL", $"{Receiver.Url}/slack-api/"),
        ("ALERT_PAGERDUTY_URL", $"{Receiver.Url}/pagerduty"),
        ("ALERT_NTFY_TOPIC", "all-realms"),
        ("ALERT_NTFY_URL", $"{Receiver.Url}/ntfy-of-settings"),
        ("ALERT_WEBHOOK_TIMEOUT_SECONDS", "1"),
        ("ALERT_CIRCUIT_LONGEST_SECONDS", "1"),
        ("ALERT_CANARY_ENABLED", "false"),
        ("OUTBOUND_ALLOWED_NETWORKS", "public,127.0.0.0/8"),
        .. more]);

    public HttpClient Client(Role role, string realm = "default") =>
        new(new FreshTicket(this, new Caller($"key:{role}".ToLowerInvariant(), role, realm, Scopes.All))) { BaseAddress = new Uri("http://alerting/") };

    /// <summary>Makes a webhook channel for a path of the receiver.</summary>
    public Task<JsonElement> WebhookAsync(string name, string path, object? more = null) =>
        ChannelAsync(name, "webhook", new { url = Receiver.Url + path }, more);

    public async Task<JsonElement> ChannelAsync(string name, string kind, object settings, object? more = null)
    {
        var body = JsonSerializer.SerializeToNode(more ?? new { })!.AsObject();
        body["name"] = name;
        body["kind"] = kind;
        body["settings"] = JsonSerializer.SerializeToNode(settings);
        using var answer = await Admin.PostAsJsonAsync("api/v1/monitoring/channels", body, Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);
        Assert.True(answer.StatusCode == System.Net.HttpStatusCode.Created, text);
        return JsonElement.Parse(text).GetProperty("data");
    }

    public async Task<JsonElement> GetAsync(string path)
    {
        using var answer = await Admin.GetAsync(new Uri($"api/v1/monitoring/{path}", UriKind.Relative), Ct);
        answer.EnsureSuccessStatusCode();
        return (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("data");
    }

    public async Task<JsonElement> PostAsync(string path)
    {
        using var answer = await Admin.PostAsync(new Uri($"api/v1/monitoring/{path}", UriKind.Relative), null, Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);
        Assert.True(answer.IsSuccessStatusCode, text);
        return JsonElement.Parse(text).GetProperty("data");
    }

    public Task<JsonElement> TestAsync(JsonElement channel) => PostAsync($"channels/{channel.GetProperty("id").GetString()}/test");

    /// <summary>Has something told, as routing does.</summary>
    public Task TellAsync(string channel, string group, NotificationStatus status = NotificationStatus.Firing, string reason = "first notification") =>
        TellAsync([Outgoing(channel, group, status, reason)]);

    public async Task TellAsync(IReadOnlyList<OutgoingNotification> notifications)
    {
        await using var connection = await Db.OpenConnectionAsync(Ct);
        await using var tx = await connection.BeginTransactionAsync(Ct);
        await new NotificationStore(Db, _metrics).EnqueueAsync(tx, notifications, DateTimeOffset.UtcNow, Ct);
        await tx.CommitAsync(Ct);
    }

    public static OutgoingNotification Outgoing(string channel, string group, NotificationStatus status = NotificationStatus.Firing, string reason = "first notification", Severity severity = Severity.High)
    {
        var labels = new Dictionary<string, string> { ["alertname"] = "Down", ["group"] = group };
        var alert = new ToldAlert(Guid.CreateVersion7(), "0", "Down", severity, status, labels, new Dictionary<string, string> { ["summary"] = $"{group} is down" }, DateTimeOffset.UtcNow,
            status == NotificationStatus.Resolved ? DateTimeOffset.UtcNow : null, null, null, "");
        return new OutgoingNotification("default", channel, new NotificationContent(status, "team", group, labels, reason, [alert]), "alert");
    }

    /// <summary>The notifications over a channel once so many of them are settled, oldest first.</summary>
    public async Task<IReadOnlyList<JsonElement>> SettledAsync(string channel, int count) => await Eventually.GetAsync<IReadOnlyList<JsonElement>>(async () =>
    {
        var found = (await GetAsync($"notifications?channel={Uri.EscapeDataString(channel)}&limit=200")).GetProperty("items").EnumerateArray()
            .Where(one => one.GetProperty("state").GetString() != "pending").Reverse().ToList();
        return found.Count >= count ? found : null;
    }, because: $"{count} notifications over {channel} are settled");

    public async ValueTask DisposeAsync()
    {
        Admin?.Dispose();
        if (Db is not null)
        {
            await Db.DisposeAsync();
        }

        await World.DisposeAsync();
        await Receiver.DisposeAsync();
        _metrics.Dispose();
    }

    private sealed class FreshTicket(ChannelWorld world, Caller caller) : DelegatingHandler(new SocketsHttpHandler())
    {
        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            request.RequestUri = new Uri(world.Service.Url, request.RequestUri!.PathAndQuery);
            request.Headers.Authorization = new("Bearer", await world.World.TicketAsync(caller));
            return await base.SendAsync(request, cancellationToken);
        }
    }
}
