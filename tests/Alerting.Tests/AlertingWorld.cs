using System.Net.Http.Json;
using System.Text.Json;
using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>Alerting as a process, with a database and a broker of its own, a receiver of webhooks, and a way to tell it of events as Metrics would.</summary>
public sealed class AlertingWorld : IAsyncLifetime
{
    /// <summary>A moment on a full second; event times are relative to it. Five minutes ago, so that nothing lies in the future.</summary>
    public DateTimeOffset Start { get; } = DateTimeOffset.FromUnixTimeSeconds(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - 300);

    public TestWorld World { get; private set; } = null!;

    public WebhookReceiver Receiver { get; private set; } = null!;

    public ServiceProcess Service { get; set; } = null!;

    public NpgsqlDataSource Db { get; private set; } = null!;

    public HttpClient Moderator { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        Receiver = await WebhookReceiver.StartAsync();
        Service = await StartAsync();
        Db = await World.OpenAsync("alertingdb");
        Moderator = Client(Role.Moderator);
    }

    public Task<ServiceProcess> StartAsync(params (string Name, string Value)[] more) =>
        World.StartAsync("Alerting", "alertingdb", [
            ("ALERT_WEBHOOK_URL", Receiver.Url),
            ("ALERT_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
            ("OUTBOUND_ALLOWED_NETWORKS", "public,127.0.0.0/8"),
            // There is no Metrics here that rules could ask.
            ("ALERT_RULE_FILES", "none"),
            // Tests count messages and look for what is there at all.
            ("ALERT_CANARY_ENABLED", "false"),
            .. more]);

    /// <summary>A client of whatever process <see cref="Service"/> is, with a fresh ticket at each request: tickets live for a minute.</summary>
    public HttpClient Client(Role role, string realm = "default", Scopes scopes = Scopes.All) =>
        new(new FreshTicket(this, new Caller($"key:{role}".ToLowerInvariant(), role, realm, scopes))) { BaseAddress = new Uri("http://alerting/") };

    private sealed class FreshTicket(AlertingWorld world, Caller caller) : DelegatingHandler(new SocketsHttpHandler())
    {
        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            request.RequestUri = new Uri(world.Service.Url, request.RequestUri!.PathAndQuery);
            request.Headers.Authorization = new("Bearer", await world.World.TicketAsync(caller));
            return await base.SendAsync(request, cancellationToken);
        }
    }

    /// <summary>Tells of one committed batch of events, as Metrics does.</summary>
    public async Task TellAsync(params TestEvent[] events)
    {
        await using var connection = await Db.OpenConnectionAsync(TestContext.Current.CancellationToken);
        await using var tx = await connection.BeginTransactionAsync(TestContext.Current.CancellationToken);
        await tx.SendAsync(EventsStored.Topic, TestEvent.Batch(events), TestContext.Current.CancellationToken);
        await tx.CommitAsync(TestContext.Current.CancellationToken);
    }

    public async Task TellAsync<T>(T message) where T : IMessage
    {
        await using var connection = await Db.OpenConnectionAsync(TestContext.Current.CancellationToken);
        await using var tx = await connection.BeginTransactionAsync(TestContext.Current.CancellationToken);
        await tx.SendAsync(message, TestContext.Current.CancellationToken);
        await tx.CommitAsync(TestContext.Current.CancellationToken);
    }

    /// <summary>So many messages were handled, by whatever replica.</summary>
    public Task HandledAsync(long messages) => Eventually.TrueAsync(
        async () => await CountAsync($"select count(*) from inbox") >= messages, because: $"{messages} messages are handled");

    public Task<long> CountAsync(Sql sql) => Db.FindAsync(sql, row => row.GetInt64(0), TestContext.Current.CancellationToken);

    public async Task<JsonElement> CreateRuleAsync(string name, object match, int threshold = 5, int window = 300, string[]? groupBy = null, string severity = "high", HttpClient? by = null)
    {
        using var answer = await (by ?? Moderator).PostAsJsonAsync(
            "api/v1/monitoring/alerts", new { name, match, threshold, window_seconds = window, group_by = groupBy ?? [], severity }, TestContext.Current.CancellationToken);
        var text = await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.True(answer.StatusCode == System.Net.HttpStatusCode.Created, text);
        return JsonElement.Parse(text).GetProperty("data");
    }

    /// <summary>What the API answers to a GET: the envelope's data.</summary>
    public async Task<JsonElement> GetAsync(string path, HttpClient? by = null)
    {
        using var answer = await (by ?? Moderator).GetAsync(new Uri(path, UriKind.Relative), TestContext.Current.CancellationToken);
        answer.EnsureSuccessStatusCode();
        return (await answer.Content.ReadFromJsonAsync<JsonElement>(TestContext.Current.CancellationToken)).GetProperty("data");
    }

    public async Task<IReadOnlyList<JsonElement>> AlertsAsync(string name) =>
        [.. (await GetAsync($"api/v1/monitoring/alerts?name={name}")).GetProperty("items").EnumerateArray()];

    public async ValueTask DisposeAsync()
    {
        Moderator?.Dispose();
        if (Db is not null)
        {
            await Db.DisposeAsync();
        }

        await World.DisposeAsync();
        await Receiver.DisposeAsync();
    }
}

/// <summary>An event as it stands in <see cref="EventsStored"/>.</summary>
public sealed record TestEvent(DateTimeOffset At, string Source = "auth-api", string Realm = "default", string Level = "warning", string Type = "log", params (string Name, object Value)[] Tags)
{
    public static TestEvent FailedLogin(DateTimeOffset at, string address, string source = "auth-api", string realm = "default") =>
        new(at, source, realm, Tags: [("action", "login"), ("outcome", "failure"), ("ip_address", address)]);

    public static TestEvent Action(DateTimeOffset at, string action, string group = "g") => new(at, Tags: [("action", action), ("group", group)]);

    public static byte[] Batch(IEnumerable<TestEvent> events) => JsonSerializer.SerializeToUtf8Bytes(new
    {
        events = events.Select(one => new
        {
            id = Guid.CreateVersion7(),
            realm = one.Realm,
            event_type = one.Type,
            source = one.Source,
            level = one.Level,
            timestamp = one.At,
            tags = one.Tags.ToDictionary(tag => tag.Name, tag => tag.Value),
        }),
    });
}
