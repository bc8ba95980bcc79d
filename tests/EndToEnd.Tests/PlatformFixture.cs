using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Platform.EndToEnd.Tests;
using Platform.Testing;

[assembly: AssemblyFixture(typeof(PlatformFixture))]

namespace Platform.EndToEnd.Tests;

/// <summary>The whole platform, started once for the tests that leave it whole, with a webhook receiver as its one channel.</summary>
public sealed class PlatformFixture : IAsyncLifetime
{
    public WebhookReceiver Pages { get; private set; } = null!;

    public PlatformProcess Platform { get; private set; } = null!;

    /// <summary>Calls the gateway as the admin of all realms.</summary>
    public GatewayClient Admin { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Pages = await WebhookReceiver.StartAsync();
        Platform = await StartAsync(Pages);
        Admin = new GatewayClient(Platform.GatewayUrl, Platform.AdminKey);
    }

    /// <summary>A platform without demo, in a temporary folder, that pages <paramref name="pages"/>.</summary>
    public static Task<PlatformProcess> StartAsync(WebhookReceiver pages, params (string Name, string Value)[] environment) =>
        PlatformProcess.StartAsync(
            new Dictionary<string, string?>(environment.Select(setting => KeyValuePair.Create(setting.Name, (string?)setting.Value)))
            {
                ["ALERT_WEBHOOK_URL"] = pages.Url,
                ["OUTBOUND_ALLOWED_NETWORKS"] = "127.0.0.0/8",
            },
            ["--no-demo"],
            ct: TestContext.Current.CancellationToken);

    public async ValueTask DisposeAsync()
    {
        // When the start failed, some of it is not there; a fault of the end would hide the reason.
        Admin?.Dispose();
        if (Platform is not null)
        {
            await Platform.DisposeAsync();
        }

        if (Pages is not null)
        {
            await Pages.DisposeAsync();
        }
    }
}

/// <summary>An API client as anybody would write one: a base address, a key, JSON.</summary>
public sealed class GatewayClient : IDisposable
{
    public GatewayClient(Uri gateway, string? key)
    {
        Http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false }) { BaseAddress = gateway, Timeout = TimeSpan.FromSeconds(30) };
        if (key is not null)
        {
            Http.DefaultRequestHeaders.Authorization = new("Bearer", key);
        }
    }

    public HttpClient Http { get; }

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    /// <summary>The <c>data</c> of an answer; a failure shows the problem.</summary>
    public async Task<JsonElement> GetAsync(string path)
    {
        using var answer = await Http.GetAsync(new Uri(path, UriKind.Relative), Ct);
        return await DataOfAsync(answer);
    }

    public async Task<JsonElement> SendAsync(HttpMethod method, string path, object? body = null)
    {
        using var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative));
        if (body is not null)
        {
            request.Content = body is string text ? new StringContent(text, Encoding.UTF8, "application/json") : JsonContent.Create(body);
        }

        using var answer = await Http.SendAsync(request, Ct);
        return await DataOfAsync(answer);
    }

    /// <summary>Every item of a list, page after page.</summary>
    public async Task<List<JsonElement>> ListAsync(string path)
    {
        var items = new List<JsonElement>();
        string? cursor = null;
        do
        {
            var page = await GetAsync($"{path}{(path.Contains('?', StringComparison.Ordinal) ? '&' : '?')}limit=200{(cursor is null ? "" : $"&cursor={Uri.EscapeDataString(cursor)}")}");
            items.AddRange(page.GetProperty("items").EnumerateArray());
            cursor = page.GetProperty("next_cursor").GetString();
        }
        while (cursor is not null);

        return items;
    }

    /// <summary>A new key of the given role and realm, and a client that uses it.</summary>
    public async Task<GatewayClient> WithKeyAsync(string role, string realm, params string[] scopes)
    {
        var made = await SendAsync(HttpMethod.Post, "/api/v1/monitoring/api-keys", new { name = $"{role} of {realm}", role, realm, scopes = scopes is [] ? ["ingest", "read"] : scopes });
        return new GatewayClient(Http.BaseAddress!, made.GetProperty("key").GetString());
    }

    private static async Task<JsonElement> DataOfAsync(HttpResponseMessage answer)
    {
        var text = await answer.Content.ReadAsStringAsync(Ct);
        if (!answer.IsSuccessStatusCode)
        {
            throw new HttpRequestException($"{answer.RequestMessage!.Method} {answer.RequestMessage.RequestUri} answered {(int)answer.StatusCode}: {text}", null, answer.StatusCode);
        }

        var json = text.Length == 0 ? default : JsonElement.Parse(text);
        return json.ValueKind == JsonValueKind.Object && json.TryGetProperty("data", out var data) ? data : json;
    }

    public void Dispose() => Http.Dispose();
}
