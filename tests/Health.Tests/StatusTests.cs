using System.Net;
using System.Text.Json;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Health.Tests;

/// <summary>Who sees what, on one running service with a public and a private target, the private one down.</summary>
public sealed class StatusTests(StatusTests.Running running) : IClassFixture<StatusTests.Running>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("monitoring/health/", "*/*")]
    [InlineData("monitoring/status/", "application/json")]
    [InlineData("monitoring/status/", "text/html")]
    public async Task Strangers_learn_words_and_public_names_and_nothing_else(string path, string accept)
    {
        using var anyone = TestWorld.Anonymous(running.Service);
        anyone.DefaultRequestHeaders.Accept.ParseAdd(accept);

        using var answer = await anyone.GetAsync(new Uri(path, UriKind.Relative), Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Contains("degraded", text, StringComparison.Ordinal);
        Assert.Equal(path.Contains("status", StringComparison.Ordinal), text.Contains("shop", StringComparison.Ordinal));
        foreach (var secret in (string[])["ledger", "127.0.0.1", "answered", "postgres", "redis", "rabbitmq", "latency", "reason", running.ShopAddress])
        {
            Assert.DoesNotContain(secret, text.Replace("system-ui", "", StringComparison.Ordinal), StringComparison.OrdinalIgnoreCase);
        }
    }

    [Fact]
    public async Task The_status_is_a_page_for_browsers_and_JSON_for_everybody_else()
    {
        using var anyone = TestWorld.Anonymous(running.Service);
        using var browser = new HttpRequestMessage(HttpMethod.Get, new Uri("monitoring/status/", UriKind.Relative));
        browser.Headers.Accept.ParseAdd("text/html,application/xhtml+xml,*/*;q=0.8");

        using var page = await anyone.SendAsync(browser, Ct);
        var json = await anyone.GetJsonAsync("monitoring/status/");

        Assert.Equal("text/html", page.Content.Headers.ContentType!.MediaType);
        Assert.DoesNotContain("<script", await page.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
        Assert.Contains("default-src 'none'", page.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        Assert.Equal(["health", "shop"], json.GetProperty("components").EnumerateArray().Select(component => component.GetProperty("name").GetString()));
        Assert.Equal(100, json.GetProperty("components")[1].GetProperty("uptime").GetProperty("24h").GetDouble());
    }

    [Theory]
    [InlineData("monitoring/health/detailed/")]
    [InlineData("api/health/")]
    [InlineData("api/v1/monitoring/health/checks/")]
    [InlineData("api/v1/monitoring/health/checks/shop/history/")]
    public async Task Details_need_a_credential_that_may_read(string path)
    {
        using var anyone = TestWorld.Anonymous(running.Service);
        using var sender = await running.World.ClientAsync(running.Service, Role.User, scopes: Scopes.Ingest);
        using var auditor = await running.World.ClientAsync(running.Service, Role.Auditor);
        using var user = await running.World.ClientAsync(running.Service, Role.User);

        Assert.Equal(HttpStatusCode.Unauthorized, await StatusOfAsync(anyone, path));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusOfAsync(sender, path));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusOfAsync(auditor, path));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusOfAsync(user, $"{path}?realm=foreign"));
        Assert.Equal(path == "api/health/" ? HttpStatusCode.ServiceUnavailable : HttpStatusCode.OK, await StatusOfAsync(user, path));
    }

    [Fact]
    public async Task Moderators_see_the_reasons_and_users_do_not()
    {
        using var moderator = await running.World.ClientAsync(running.Service, Role.Moderator);
        using var user = await running.World.ClientAsync(running.Service, Role.User);

        var all = (await moderator.GetJsonAsync("monitoring/health/detailed/")).GetProperty("components");
        var some = (await user.GetJsonAsync("monitoring/health/detailed/")).GetProperty("components");

        Assert.Equal("It answered 500; expected 200-399.", all.GetProperty("ledger").GetProperty("reason").GetString());
        Assert.True(all.GetProperty("postgres").GetProperty("details").GetProperty("connections").GetDouble() > 0);
        Assert.True(all.GetProperty("redis").GetProperty("details").GetProperty("used_memory_bytes").GetDouble() > 0);
        Assert.Equal(JsonValueKind.Null, some.GetProperty("ledger").GetProperty("reason").ValueKind);
        Assert.Equal(JsonValueKind.Null, some.GetProperty("postgres").GetProperty("details").ValueKind);
        Assert.True(some.GetProperty("ledger").GetProperty("consecutive_failures").GetInt32() >= 3);
        Assert.True(some.GetProperty("shop").GetProperty("latency_ms").GetDouble() > 0);
    }

    [Fact]
    public async Task The_simple_answer_has_exactly_the_documented_shape()
    {
        using var moderator = await running.World.ClientAsync(running.Service, Role.Moderator);

        var answer = await moderator.GetJsonAsync("api/health");

        Assert.Equal(["status", "components", "timestamp"], answer.EnumerateObject().Select(property => property.Name));
        Assert.Equal("unhealthy", answer.GetProperty("status").GetString());
        Assert.Equal("""{"healthy":true}""", answer.GetProperty("components").GetProperty("postgres").GetRawText());
        Assert.Equal("""{"healthy":false,"error":"It answered 500; expected 200-399."}""", answer.GetProperty("components").GetProperty("ledger").GetRawText());
    }

    [Fact]
    public async Task History_is_read_page_by_page_newest_first()
    {
        using var user = await running.World.ClientAsync(running.Service, Role.User);
        await Eventually.TrueAsync(async () => (await HistoryAsync(user, "limit=5")).Items.Count == 5, because: "five results are there");
        var to = Uri.EscapeDataString(DateTimeOffset.UtcNow.ToString("O"));
        var whole = (await HistoryAsync(user, $"limit=5&to={to}")).Items;

        var first = await HistoryAsync(user, $"limit=2&to={to}");
        var second = await HistoryAsync(user, $"limit=2&to={to}&cursor={first.Next}");

        Assert.Equal(whole.Take(4), first.Items.Concat(second.Items));
        Assert.Equal(whole.OrderDescending(), whole);
    }

    [Theory]
    [InlineData("shop/history?cursor=nonsense", HttpStatusCode.BadRequest)]
    [InlineData("shop/history?limit=0", HttpStatusCode.BadRequest)]
    [InlineData("shop/history?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", HttpStatusCode.BadRequest)]
    [InlineData("shop/history?from=yesterday", HttpStatusCode.BadRequest)]
    [InlineData("nobody/history", HttpStatusCode.NotFound)]
    public async Task A_wrong_question_is_answered_with_a_problem(string path, HttpStatusCode expected)
    {
        using var user = await running.World.ClientAsync(running.Service, Role.User);

        using var answer = await user.GetAsync(new Uri($"api/v1/monitoring/health/checks/{path}", UriKind.Relative), Ct);

        Assert.Equal(expected, answer.StatusCode);
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType!.MediaType);
    }

    [Fact]
    public async Task States_and_durations_are_on_the_metrics_page()
    {
        using var anyone = TestWorld.Anonymous(running.Service);

        var text = await anyone.GetStringAsync(new Uri("metrics", UriKind.Relative), Ct);

        Assert.Contains("health_check_state{component=\"ledger\"} 0", text, StringComparison.Ordinal);
        Assert.Contains("health_check_state{component=\"shop\"} 2", text, StringComparison.Ordinal);
        Assert.Contains("health_check_runner 1", text, StringComparison.Ordinal);
        Assert.Contains("health_check_duration_seconds_count{component=\"shop\",result=\"healthy\"}", text, StringComparison.Ordinal);
    }

    private static async Task<HttpStatusCode> StatusOfAsync(HttpClient client, string path)
    {
        using var answer = await client.GetAsync(new Uri(path, UriKind.Relative), Ct);
        return answer.StatusCode;
    }

    private static async Task<(List<DateTimeOffset> Items, string? Next)> HistoryAsync(HttpClient client, string query)
    {
        var data = (await client.GetJsonAsync($"api/v1/monitoring/health/checks/shop/history?{query}")).GetProperty("data");
        return ([.. data.GetProperty("items").EnumerateArray().Select(item => item.GetProperty("at").GetDateTimeOffset())], data.GetProperty("next_cursor").GetString());
    }

    public sealed class Running : IAsyncLifetime
    {
        private readonly List<IAsyncDisposable> _targets = [];

        public TestWorld World { get; private set; } = null!;

        public ServiceProcess Service { get; private set; } = null!;

        public string ShopAddress { get; private set; } = "";

        public async ValueTask InitializeAsync()
        {
            World = await TestWorld.CreateAsync();
            var shop = await TargetServer.StartAsync();
            var ledger = await TargetServer.StartAsync();
            _targets.AddRange([shop, ledger]);
            ShopAddress = shop.Url.Authority;
            ledger.Answer(500);
            Service = await World.StartHealthAsync(("HEALTH_CHECK_TARGETS", $"shop={shop.Url} public=true; ledger={ledger.Url}"));
            using var client = await World.ModeratorAsync(Service);
            await client.BecomesAsync("ledger", "unhealthy");
            await client.BecomesAsync("shop", "healthy");
            await client.BecomesAsync("redis", "healthy");
            await client.BecomesAsync("health", "healthy");
        }

        public async ValueTask DisposeAsync()
        {
            await World.DisposeAsync();
            foreach (var target in _targets)
            {
                await target.DisposeAsync();
            }
        }
    }
}
