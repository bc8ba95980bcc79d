using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Platform.DemoBackend.Accounts;
using Platform.Instrumentation.Tests;
using Platform.Testing;

namespace Platform.DemoBackend.Tests;

public sealed class BackendTests
{
    private const string Password = "correct horse battery";

    [Fact]
    public async Task Somebody_registers_signs_in_with_a_second_factor_and_every_step_is_an_event_without_secrets()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var demo = await Demo.StartAsync(gateway);

        var created = await demo.PostAsync("/register", new { user_name = "anna", password = Password, mfa = true });
        var secret = (string)created["totp_secret"]!;
        var challenge = (string)(await demo.PostAsync("/login", new { user_name = "anna", password = Password }))["challenge_id"]!;
        var code = Totp.Code(Totp.FromBase32(secret), DateTimeOffset.UtcNow);
        var tokens = (await demo.PostAsync("/mfa/verify", new { challenge_id = challenge, code }))["tokens"]!;
        await demo.PostAsync("/consents", new { purpose = "marketing" }, (string)tokens["access_token"]!);
        await demo.PostAsync("/webhooks/deliver", new { target = "crm" }, (string)tokens["access_token"]!);
        await demo.PostAsync("/logout", null, (string)tokens["access_token"]!);

        await Eventually.TrueAsync(() => gateway.Events.Any(happened => Tag(happened, "action") == "logout"), because: "the last event arrives");
        Assert.Equal(
            ["register", "mfa_enroll", "login", "mfa_challenge", "mfa_verify", "token_issue", "consent_grant", "webhook_deliver", "logout"],
            gateway.Events.Select(happened => Tag(happened, "action")));
        Assert.All(gateway.Events, happened =>
        {
            Assert.Equal(("success", (string)created["user_id"]!, "127.0.0.1"), (Tag(happened, "outcome"), Tag(happened, "user_id"), Tag(happened, "ip_address")));
            Assert.NotNull(Tag(happened, "request_id"));
            Assert.NotNull(Tag(happened, "trace_id"));
            string[] secrets = [Password, secret, code, challenge, (string)tokens["access_token"]!, (string)tokens["refresh_token"]!];
            Assert.All(secrets, text => Assert.DoesNotContain(text, happened.GetRawText(), StringComparison.Ordinal));
        });
        Assert.Single(gateway.Events.Skip(5).Select(happened => Tag(happened, "session_id")).Distinct());
    }

    [Fact]
    public async Task A_second_factor_works_once()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var demo = await Demo.StartAsync(gateway);
        var secret = Totp.FromBase32((string)(await demo.PostAsync("/register", new { user_name = "anna", password = Password, mfa = true }))["totp_secret"]!);
        var code = Totp.Code(secret, DateTimeOffset.UtcNow);
        var first = (string)(await demo.PostAsync("/login", new { user_name = "anna", password = Password }))["challenge_id"]!;
        var second = (string)(await demo.PostAsync("/login", new { user_name = "anna", password = Password }))["challenge_id"]!;

        Assert.Equal(HttpStatusCode.OK, await demo.StatusAsync("/mfa/verify", new { challenge_id = first, code }));
        Assert.Equal(HttpStatusCode.Unauthorized, await demo.StatusAsync("/mfa/verify", new { challenge_id = second, code }));
        Assert.Equal(HttpStatusCode.Unauthorized, await demo.StatusAsync("/mfa/verify", new { challenge_id = first, code }));

        await Eventually.TrueAsync(() => gateway.Events.Count(happened => Tag(happened, "action") == "mfa_verify") == 3, because: "three tries are reported");
        Assert.Equal([null, "wrong_code", "expired"], gateway.Events.Where(happened => Tag(happened, "action") == "mfa_verify").Select(happened => Tag(happened, "reason")));
    }

    [Fact]
    public async Task A_refresh_token_that_is_used_twice_ends_the_session()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var demo = await Demo.StartAsync(gateway);
        var old = (await demo.SignedInAsync("anna"))["refresh_token"]!.GetValue<string>();
        var renewed = await demo.PostAsync("/token/refresh", new { refresh_token = old });

        Assert.Equal(HttpStatusCode.Unauthorized, await demo.StatusAsync("/token/refresh", new { refresh_token = old }));
        Assert.Equal(HttpStatusCode.Unauthorized, await demo.StatusAsync("/token/refresh", new { refresh_token = (string)renewed["refresh_token"]! }));
        Assert.Equal(HttpStatusCode.Unauthorized, await demo.StatusAsync("/logout", null, (string)renewed["access_token"]!));

        await Eventually.TrueAsync(() => gateway.Events.Any(happened => Tag(happened, "action") == "token_revoke"), because: "the revocation is reported");
        Assert.Contains(gateway.Events, happened => (Tag(happened, "action"), Tag(happened, "outcome"), Tag(happened, "reason")) == ("token_refresh", "denied", "reused"));
    }

    [Fact]
    public async Task Wrong_passwords_are_failed_logins_of_the_forwarded_address_and_the_tenth_locks_the_account()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var demo = await Demo.StartAsync(gateway);
        await demo.PostAsync("/register", new { user_name = "anna", password = Password });

        for (var attempt = 0; attempt < 10; attempt++)
        {
            Assert.Equal(HttpStatusCode.Unauthorized, await demo.StatusAsync("/login", new { user_name = "anna", password = "wrong" }, from: "203.0.113.9"));
        }

        Assert.Equal(HttpStatusCode.Unauthorized, await demo.StatusAsync("/login", new { user_name = "anna", password = Password }, from: "203.0.113.9"));
        Assert.Equal(HttpStatusCode.Unauthorized, await demo.StatusAsync("/login", new { user_name = "stranger", password = Password }, from: "203.0.113.9"));

        await Eventually.TrueAsync(() => gateway.Events.Count(happened => Tag(happened, "action") == "login") == 12, because: "every attempt is one event");
        var logins = gateway.Events.Where(happened => Tag(happened, "action") == "login").ToArray();
        Assert.All(logins, happened => Assert.Equal("203.0.113.9", Tag(happened, "ip_address")));
        Assert.Equal(10, logins.Count(happened => Tag(happened, "reason") == "wrong_password" && Tag(happened, "outcome") == "failure"));
        Assert.Equal(("denied", "account_locked"), (Tag(logins[10], "outcome"), Tag(logins[10], "reason")));
        Assert.Equal(("failure", "unknown_user", "stranger"), (Tag(logins[11], "outcome"), Tag(logins[11], "reason"), Tag(logins[11], "user_id")));
    }

    [Fact]
    public async Task Only_the_administrator_gives_roles_and_who_tries_without_right_is_reported()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var demo = await Demo.StartAsync(gateway);
        var anna = await demo.SignedInAsync("anna");
        var admin = (await demo.PostAsync("/login", new { user_name = "admin", password = Demo.AdminPassword }))["tokens"]!;

        Assert.Equal(HttpStatusCode.Unauthorized, await demo.StatusAsync("/users/admin/roles", new { role = "auditor" }));
        Assert.Equal(HttpStatusCode.Forbidden, await demo.StatusAsync("/users/admin/roles", new { role = "auditor" }, (string)anna["access_token"]!));
        Assert.Equal(HttpStatusCode.NoContent, await demo.StatusAsync("/users/admin/roles", new { role = "auditor" }, (string)admin["access_token"]!));
        Assert.Equal(HttpStatusCode.NotFound, await demo.StatusAsync("/users/nobody/roles", new { role = "auditor" }, (string)admin["access_token"]!));

        await Eventually.TrueAsync(() => gateway.Events.Count(happened => Tag(happened, "action") == "role_assign") == 2, because: "both assignments are reported");
        Assert.Contains(gateway.Events, happened => (Tag(happened, "action"), Tag(happened, "permission"), Tag(happened, "endpoint")) == ("permission_denied", "role:admin", "/users/{id}/roles"));
        Assert.Contains(gateway.Events, happened => (Tag(happened, "action"), Tag(happened, "outcome"), Tag(happened, "user_id"), Tag(happened, "role")) == ("role_assign", "success", "admin", "auditor"));
    }

    [Fact]
    public async Task In_an_outage_requests_fail_with_errors_that_are_not_failed_logins()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var demo = await Demo.StartAsync(gateway);
        Assert.Equal(HttpStatusCode.NotFound, await demo.StatusAsync("/demo/outage", new { dependency = "user-directory", seconds = 60 }, from: "203.0.113.9"));
        Assert.Equal(HttpStatusCode.BadRequest, await demo.StatusAsync("/demo/outage", new { dependency = "the moon", seconds = 60 }));
        Assert.Equal(HttpStatusCode.NoContent, await demo.StatusAsync("/demo/outage", new { dependency = "user-directory", seconds = 60 }));

        Assert.Equal(HttpStatusCode.ServiceUnavailable, await demo.StatusAsync("/login", new { user_name = "anna", password = Password }));

        await Eventually.TrueAsync(() => gateway.Events.Count == 2, because: "the dependency and the request are reported");
        Assert.Equal([("dependency_call", "error"), ("request", "error")], gateway.Events.Select(happened => (Tag(happened, "action")!, happened.GetProperty("level").GetString()!)));
    }

    [Fact]
    public async Task Pages_are_kept_as_they_came_the_last_thousand()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var demo = await Demo.StartAsync(gateway);
        for (var number = 0; number < 1_005; number++)
        {
            await demo.PostAsync("/", new { version = "4", status = "firing", number });
        }

        var items = (await demo.GetAsync("/received"))["items"]!.AsArray();

        Assert.Equal(1_000, items.Count);
        Assert.Equal((5, 1_004), ((int)items[0]!["body"]!["number"]!, (int)items[^1]!["body"]!["number"]!));
        Assert.InRange(items[^1]!["received_at"]!.GetValue<DateTimeOffset>(), DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow);
    }

    [Theory]
    [InlineData("""{"status":"firing","alerts":[{"labels":{"alertname":"AuthFailures","ip_address":"203.0.113.9"}}]}""", "firing AuthFailures ip_address=203.0.113.9")]
    [InlineData("""{"status":"resolved","alerts":[{"labels":{"alertname":"A"}},{"labels":{"x":"1"}},{}]}""", "resolved A; unnamed x=1; an alert without labels")]
    [InlineData("""{"status":"firing\nlevel=critical forged"}""", "firing level=critical forged")]
    [InlineData("""{"status":"firing\nforged","alerts":[]}""", "firing forged ")]
    [InlineData("[1]", "something that is not a notification")]
    [InlineData("{}", "unknown")]
    public void A_page_is_told_in_one_line(string body, string line) => Assert.Equal(line, Pages.PagesApi.Describe(JsonDocument.Parse(body).RootElement));

    [Fact]
    public async Task The_traffic_trips_the_rule_for_failed_logins_soon_after_the_start()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var demo = await Demo.StartAsync(gateway, "--DEMO_TRAFFIC=on", "--DEMO_TRAFFIC_SEED=5", "--DEMO_TRAFFIC_PEOPLE=5", "--DEMO_TRAFFIC_RATE=20", "--DEMO_FIRST_BURST_SECONDS=1");

        await Eventually.TrueAsync(
            () => gateway.Events.Where(happened => Tag(happened, "action") == "login" && Tag(happened, "outcome") == "failure").GroupBy(happened => Tag(happened, "ip_address")).Any(address => address.Count() >= 5),
            because: "five logins from one address fail");

        await Eventually.TrueAsync(
            () => new[] { "login", "token_issue", "token_refresh", "logout", "mfa_verify" }.All(action => gateway.Events.Any(happened => (Tag(happened, "action"), Tag(happened, "outcome")) == (action, "success"))),
            TimeSpan.FromMinutes(1), "ordinary people sign in, refresh and sign out");
        Assert.DoesNotContain(gateway.Events, happened => Tag(happened, "action") == "request" && Tag(happened, "status_code") == "500");
    }

    private static string? Tag(JsonElement happened, string name) => happened.GetProperty("tags").TryGetProperty(name, out var value) ? value.ToString() : null;

    private sealed class Demo : IAsyncDisposable
    {
        public const string AdminPassword = "admin of the test";

        private readonly WebApplication _app;
        private readonly HttpClient _http;

        private Demo(WebApplication app)
        {
            _app = app;
            _http = new HttpClient { BaseAddress = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single()) };
        }

        public static async Task<Demo> StartAsync(PlayedGateway gateway, params string[] settings)
        {
            var app = DemoApp.Create(
            [
                "--urls=http://127.0.0.1:0", $"--PLATFORM_GATEWAY_URL={gateway.Url}", "--PLATFORM_API_KEY=key-of-the-test", "--PlatformMonitoring:FlushInterval=00:00:00.020", "--PlatformMonitoring:SlowRequest=01:00:00",
                "--DEMO_TRAFFIC=off", "--DEMO_PASSWORD_ROUNDS=1000", $"--DEMO_ADMIN_PASSWORD={AdminPassword}", .. settings,
            ]);
            await app.StartAsync(TestContext.Current.CancellationToken);
            return new(app);
        }

        public async Task<JsonNode> SignedInAsync(string name)
        {
            await PostAsync("/register", new { user_name = name, password = Password });
            return (await PostAsync("/login", new { user_name = name, password = Password }))["tokens"]!;
        }

        public async Task<JsonNode> PostAsync(string path, object? body, string? accessToken = null)
        {
            using var answer = await SendAsync(path, body, accessToken, null);
            Assert.True(answer.IsSuccessStatusCode, $"{path} answered {(int)answer.StatusCode}");
            var text = await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
            return JsonNode.Parse(text is "" ? "{}" : text)!;
        }

        public async Task<HttpStatusCode> StatusAsync(string path, object? body, string? accessToken = null, string? from = null)
        {
            using var answer = await SendAsync(path, body, accessToken, from);
            return answer.StatusCode;
        }

        public async Task<JsonNode> GetAsync(string path) => (await _http.GetFromJsonAsync<JsonNode>(path, TestContext.Current.CancellationToken))!;

        public async ValueTask DisposeAsync()
        {
            _http.Dispose();
            await _app.StopAsync(TestContext.Current.CancellationToken);
            await _app.DisposeAsync();
        }

        private async Task<HttpResponseMessage> SendAsync(string path, object? body, string? accessToken, string? from)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = body is null ? null : JsonContent.Create(body) };
            request.Headers.Authorization = accessToken is null ? null : new AuthenticationHeaderValue("Bearer", accessToken);
            if (from is not null)
            {
                request.Headers.Add("X-Forwarded-For", from);
            }

            return await _http.SendAsync(request, TestContext.Current.CancellationToken);
        }
    }
}
