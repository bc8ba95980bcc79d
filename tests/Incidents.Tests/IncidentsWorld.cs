using System.Net.Http.Json;
using System.Text.Json;
using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;
using Platform.Testing;

[assembly: AssemblyFixture(typeof(Platform.Incidents.Tests.IncidentsWorld))]

namespace Platform.Incidents.Tests;

/// <summary>One world with Incidents and Metrics for all tests; each works in a realm of its own. Nothing closes by itself here.</summary>
public sealed class IncidentsWorld : IAsyncLifetime
{
    private NpgsqlDataSource _db = null!;

    public TestWorld World { get; private set; } = null!;

    public ServiceProcess Incidents { get; private set; } = null!;

    public ServiceProcess Metrics { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        Metrics = await World.StartAsync("Metrics", "metricsdb");
        Incidents = await World.StartAsync(
            "Incidents", "incidentsdb", ("services__metrics__http__0", Metrics.Url.ToString()), ("INCIDENT_CLOSE_POLICY", "manual"));
        _db = await World.OpenAsync("incidentsdb");
    }

    public async Task<IncidentsClientOf> AsAsync(Role role, string realm, string subject = "key:test") =>
        new(await World.ClientAsync(Incidents, role, realm, Scopes.All, subject));

    /// <summary>Tells the bus, as Alerting would: through an outbox and its relay.</summary>
    public Task TellAsync<T>(T message) where T : IMessage => TellAsync(_db, message);

    public static async Task TellAsync<T>(NpgsqlDataSource db, T message) where T : IMessage
    {
        await using var connection = await db.OpenConnectionAsync();
        await using var tx = await connection.BeginTransactionAsync();
        await tx.SendAsync(message, CancellationToken.None);
        await tx.CommitAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _db.DisposeAsync();
        await World.DisposeAsync();
    }
}

/// <summary>The API as a person with one credential uses it.</summary>
public sealed class IncidentsClientOf(HttpClient http) : IDisposable
{
    public const string Path = "/api/v1/monitoring/incidents";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, object? body = null, string? ifMatch = null)
    {
        var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative))
        {
            Content = body is null ? null : body is string text ? new StringContent(text, System.Text.Encoding.UTF8, "application/json") : JsonContent.Create(body),
        };
        if (ifMatch is not null)
        {
            request.Headers.TryAddWithoutValidation("If-Match", ifMatch);
        }

        return http.SendAsync(request, Ct);
    }

    /// <summary>The answer's data; fails when the answer is no success.</summary>
    public async Task<JsonElement> DataAsync(HttpMethod method, string path, object? body = null)
    {
        using var answer = await SendAsync(method, path, body);
        var json = await answer.Content.ReadAsStringAsync(Ct);
        Assert.True(answer.IsSuccessStatusCode, $"{method} {path}: {(int)answer.StatusCode} {json}");
        return JsonDocument.Parse(json).RootElement.GetProperty("data").Clone();
    }

    public Task<JsonElement> GetAsync(string path) => DataAsync(HttpMethod.Get, path);

    public async Task<Guid> OpenAsync(string title = "Logins are slow", string severity = "high") =>
        (await DataAsync(HttpMethod.Post, Path, new { title, severity })).GetProperty("id").GetGuid();

    public Task<JsonElement> UpdateAsync(Guid id, object change) => DataAsync(HttpMethod.Put, $"{Path}/{id}", change);

    public async Task<List<JsonElement>> ListAsync(string query = "") =>
        [.. (await GetAsync($"{Path}?{query}")).GetProperty("items").EnumerateArray()];

    /// <summary>The one incident of the realm, once there is one that is as described.</summary>
    public Task<JsonElement> OneAsync(Func<JsonElement, bool> isSo, string because) => WaitAsync(
        async () => await ListAsync() is [var one] && isSo(one) ? one : null, because);

    public async Task<List<JsonElement>> TimelineAsync(Guid id, string query = "limit=500") =>
        [.. (await GetAsync($"{Path}/{id}/timeline?{query}")).GetProperty("items").EnumerateArray()];

    public static async Task<JsonElement> WaitAsync(Func<Task<JsonElement?>> find, string because) =>
        (JsonElement)await Eventually.GetAsync<object>(async () => await find(), because: because);

    public void Dispose() => http.Dispose();
}

/// <summary>Messages as Alerting sends them.</summary>
internal static class Messages
{
    public static AlertFired Fired(Guid alertId, string realm, string groupKey, DateTimeOffset at, Severity severity = Severity.High, string address = "203.0.113.9") => new(
        alertId, realm, "00000000000000ab", groupKey, "Failed logins", severity, "rule", $"5 failed logins from {address}",
        new Dictionary<string, string> { ["alertname"] = "Failed logins", ["ip_address"] = address },
        new Dictionary<string, string> { ["description"] = "Somebody guesses passwords." },
        new Dictionary<string, string> { ["action"] = "login", ["outcome"] = "failure", ["ip_address"] = address },
        at, 5, 5);

    public static AlertResolved Resolved(AlertFired alert, DateTimeOffset at) =>
        new(alert.AlertId, alert.Realm, alert.Fingerprint, alert.GroupKey, alert.Name, at, null, "The count fell below the threshold.");

    public static AlertAcknowledged Acknowledged(AlertFired alert, DateTimeOffset at) =>
        new(alert.AlertId, alert.Realm, alert.Fingerprint, alert.GroupKey, alert.Name, at, "key:anna", "Looking into it.");

    public static NotificationAttempted Attempted(AlertFired alert, DateTimeOffset at, int attempt = 1) =>
        new(Guid.CreateVersion7(at), alert.AlertId, alert.Realm, alert.GroupKey, "webhook", "firing", attempt, "accepted", "200", at, [alert.AlertId]);
}
