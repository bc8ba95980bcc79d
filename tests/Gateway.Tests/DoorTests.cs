using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Microsoft.AspNetCore.Http;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Tests;

/// <summary>Who gets in, what is let through, and what every refusal looks like.</summary>
public sealed class DoorTests(GatewayFixture fixture) : IClassFixture<GatewayFixture>
{
    private const string Events = "api/v1/monitoring/events";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_services_get_a_ticket_and_never_the_key()
    {
        var (id, key) = await fixture.CreateKeyAsync("moderator", "tickets", ["ingest"]);
        using var client = fixture.Client(key);
        using var answer = await client.GetAsync($"{Events}?source=a%2Fb", Ct);

        var arrival = fixture.Backend.Last($"/{Events}");
        Assert.Equal("?source=a%2Fb", arrival.Query);
        Assert.DoesNotContain(arrival.Headers, header => header.Value.Contains(key, StringComparison.Ordinal));
        var caller = await CallerOfAsync(arrival.Headers["Authorization"]);
        Assert.Equal(new Caller($"key:{id}", Role.Moderator, "tickets", Scopes.Ingest), caller);
    }

    [Fact]
    public async Task A_ticket_from_inside_is_no_credential_outside()
    {
        var ticket = await fixture.World.TicketAsync(new Caller("system:metrics", Role.Service, Realm.All, Scopes.All));
        using var client = fixture.Client(ticket);

        using var answer = await client.GetAsync(Events, Ct);

        await GatewayFixture.ProblemAsync(answer, HttpStatusCode.Unauthorized);
        Assert.Equal("Bearer", answer.Headers.WwwAuthenticate.Single().Scheme);
    }

    [Fact]
    public async Task Its_own_metrics_are_for_admins_and_at_a_path_of_their_own_for_the_service_that_scrapes()
    {
        var ticket = await fixture.World.TicketAsync(new Caller("system:scrape", Role.Service, Realm.All, Scopes.Read));
        var (_, userKey) = await fixture.CreateKeyAsync("admin", "scraped");
        using var anonymous = fixture.Client(null);
        using var scraper = fixture.Client(ticket);
        using var key = fixture.Client(userKey);

        Assert.Contains("# TYPE ", await fixture.Admin.GetStringAsync("internal/metrics", Ct), StringComparison.Ordinal);
        Assert.Contains("# TYPE ", await scraper.GetStringAsync("internal/metrics/scrape", Ct), StringComparison.Ordinal);
        foreach (var (client, path) in new[] { (scraper, "internal/metrics"), (anonymous, "internal/metrics/scrape"), (key, "internal/metrics/scrape") })
        {
            using var answer = await client.GetAsync(path, Ct);
            Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
        }
    }

    [Theory]
    [InlineData("metrics")]
    [InlineData("metrics/")]
    public async Task The_seeds_path_of_the_exposition_leads_to_the_exposition(string path)
    {
        using var answer = await fixture.Admin.GetAsync($"{path}?realm=somewhere", Ct);

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("?realm=somewhere", fixture.Backend.Last("/api/v1/monitoring/metrics/prometheus").Query);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("Bearer")]
    [InlineData("Bearer short")]
    [InlineData("Basic YTpi")]
    [InlineData("Bearer pk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    public async Task Without_a_valid_key_the_answer_is_401(string? credential)
    {
        using var client = fixture.Client(null);
        using var request = new HttpRequestMessage(HttpMethod.Get, Events);
        if (credential is not null)
        {
            request.Headers.TryAddWithoutValidation("Authorization", credential);
        }

        using var answer = await client.SendAsync(request, Ct);

        await GatewayFixture.ProblemAsync(answer, HttpStatusCode.Unauthorized);
        Assert.Equal("Bearer", answer.Headers.WwwAuthenticate.Single().Scheme);
    }

    [Theory]
    [InlineData("monitoring/status")]
    [InlineData("monitoring/status/")]
    [InlineData("monitoring/health")]
    [InlineData("monitoring/health/")]
    public async Task Anonymous_paths_carry_no_ticket(string path)
    {
        using var client = fixture.Client(null);
        using var answer = await client.GetAsync(path, Ct);

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.DoesNotContain("Authorization", fixture.Backend.Last($"/{path}").Headers.Keys);
    }

    [Theory]
    [InlineData("api/v1/monitoring/events/")]
    [InlineData("api/v1/monitoring/stats")]
    [InlineData("api/health")]
    [InlineData("monitoring/health/detailed/")]
    [InlineData("api/v1/monitoring/alerts/17/acknowledge/")]
    [InlineData("monitoring/alerts/create/")]
    [InlineData("api/v1/monitoring/rules")]
    [InlineData("api/v1/monitoring/incidents/1/timeline")]
    [InlineData("api/v1/monitoring/dead-letters/alerting")]
    public async Task Paths_pass_unchanged(string path)
    {
        using var answer = await fixture.Admin.GetAsync(path, Ct);

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal($"/{path}", fixture.Backend.Last($"/{path}").Path);
    }

    [Theory]
    [InlineData("/internal/alerts/counts")]
    [InlineData("/nothing/here")]
    [InlineData("/api/v1/monitoring/alerts/%252e%252e/%252e%252e/%252e%252e/%252e%252e/internal/alerts/counts")]
    [InlineData("/api/v1/monitoring/alerts/..%2f..%2f..%2f..%2finternal/alerts/counts")]
    public async Task Nothing_internal_is_reached(string path)
    {
        // Written by hand, because HttpClient tidies paths up.
        var (status, body) = await RawAsync($"GET {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {GatewayFixture.AdminKey}\r\nConnection: close\r\n\r\n");

        Assert.DoesNotContain(fixture.Backend.Arrivals, arrival => arrival.Path.StartsWith("/internal", StringComparison.OrdinalIgnoreCase));
        if (!path.Contains("alerts/%", StringComparison.Ordinal) && !path.Contains("..%2f", StringComparison.Ordinal))
        {
            Assert.Equal(404, status);
            Assert.Contains("\"traceId\":", body, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task An_unknown_path_is_404_for_every_key_and_a_wrong_method_405()
    {
        var (_, key) = await fixture.CreateKeyAsync("user", "unknown");
        using var client = fixture.Client(key);

        using var unknown = await client.GetAsync("nothing/here", Ct);
        using var wrong = await client.PutAsync("api/v1/monitoring/api-keys", null, Ct);

        await GatewayFixture.ProblemAsync(unknown, HttpStatusCode.NotFound);
        await GatewayFixture.ProblemAsync(wrong, HttpStatusCode.MethodNotAllowed);
    }

    [Fact]
    public async Task The_client_cannot_say_who_it_is()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, Events);
        foreach (var header in new[] { "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded" })
        {
            request.Headers.TryAddWithoutValidation(header, "203.0.113.9");
        }

        using var answer = await fixture.Admin.SendAsync(request, Ct);

        var headers = fixture.Backend.Last($"/{Events}").Headers;
        Assert.Equal("127.0.0.1", headers["X-Forwarded-For"]);
        Assert.DoesNotContain(headers, header => header.Value.Contains("203.0.113.9", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_trusted_proxy_may_say_who_the_client_is()
    {
        await using var behind = await fixture.StartAsync(("PLATFORM_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8"));
        using var client = fixture.Client(GatewayFixture.AdminKey, behind);
        using var request = new HttpRequestMessage(HttpMethod.Get, "api/v1/monitoring/stats/trusted");
        // From the right: two of ours, then the client; what stands further left is the client's own tale.
        request.Headers.TryAddWithoutValidation("X-Forwarded-For", "198.51.100.1, 203.0.113.9, 10.1.2.3");

        using var answer = await client.SendAsync(request, Ct);

        Assert.Equal("203.0.113.9", fixture.Backend.Last("/api/v1/monitoring/stats/trusted").Headers["X-Forwarded-For"]);
    }

    [Fact]
    public async Task The_trace_and_the_correlation_id_go_on()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "api/v1/monitoring/stats/traced");
        request.Headers.TryAddWithoutValidation("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        request.Headers.TryAddWithoutValidation("X-Correlation-ID", "order-17");

        using var answer = await fixture.Admin.SendAsync(request, Ct);

        var headers = fixture.Backend.Last("/api/v1/monitoring/stats/traced").Headers;
        Assert.StartsWith("00-0af7651916cd43dd8448eb211c80319c-", headers["traceparent"], StringComparison.Ordinal);
        Assert.DoesNotContain("b7ad6b7169203331", headers["traceparent"], StringComparison.Ordinal);
        Assert.Equal("order-17", headers["X-Correlation-ID"]);
        Assert.Equal("order-17", answer.Headers.GetValues("X-Correlation-ID").Single());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_body_that_is_too_large_is_413_and_names_the_setting(bool chunked)
    {
        await using var small = await fixture.StartAsync(("PLATFORM_MAX_REQUEST_BYTES", "20000"));
        var (status, body) = await RawAsync(small.Url, chunked
            ? $"POST /{Events} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {GatewayFixture.AdminKey}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{40_000:x}\r\n{new string('x', 40_000)}\r\n0\r\n\r\n"
            : $"POST /{Events} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {GatewayFixture.AdminKey}\r\nContent-Length: 40000\r\nConnection: close\r\n\r\n{new string('x', 40_000)}");

        Assert.Equal(413, status);
        Assert.Contains("PLATFORM_MAX_REQUEST_BYTES", body, StringComparison.Ordinal);
        Assert.Contains("\"traceId\":", body, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("prometheus/api/v1/write", true)]
    [InlineData("otlp/v1/metrics", true)]
    [InlineData("prometheus/api/v1/query", false)]
    public async Task Bodies_of_the_intakes_have_a_limit_of_their_own(string path, bool isIntake)
    {
        await using var small = await fixture.StartAsync(("PLATFORM_MAX_REQUEST_BYTES", "20000"), ("METRICS_INTAKE_MAX_REQUEST_BYTES", "70000"));
        string Post(int bytes, bool chunked) =>
            $"POST /{path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {GatewayFixture.AdminKey}\r\nConnection: close\r\n"
            + (chunked ? $"Transfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n{new string('x', bytes)}\r\n0\r\n\r\n" : $"Content-Length: {bytes}\r\n\r\n{new string('x', bytes)}");

        foreach (var chunked in (bool[])[true, false])
        {
            Assert.Equal(isIntake ? 200 : 413, (await RawAsync(small.Url, Post(60_000, chunked))).Status);
            var (status, body) = await RawAsync(small.Url, Post(80_000, chunked));
            Assert.Equal(413, status);
            Assert.Contains(isIntake ? "METRICS_INTAKE_MAX_REQUEST_BYTES" : "PLATFORM_MAX_REQUEST_BYTES", body, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_body_streams_through()
    {
        using var answer = await fixture.Admin.PostAsync("api/v1/monitoring/events/large", new ByteArrayContent(new byte[9 * 1024 * 1024]), Ct);

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal(9 * 1024 * 1024, fixture.Backend.Last("/api/v1/monitoring/events/large").BodyBytes);
    }

    [Fact]
    public async Task A_service_that_is_down_is_named()
    {
        await using var alone = await fixture.StartAsync(("services__alerting__http__0", "http://127.0.0.1:9"));
        using var client = fixture.Client(GatewayFixture.AdminKey, alone);

        using var down = await client.GetAsync("api/v1/monitoring/alerts", Ct);
        using var unknown = await client.GetAsync("api/v1/monitoring/compliance/head", Ct);

        foreach (var (answer, service) in new[] { (down, "alerting"), (unknown, "compliance") })
        {
            var problem = await GatewayFixture.ProblemAsync(answer, HttpStatusCode.ServiceUnavailable);
            Assert.Contains($"\"{service}\"", problem.GetProperty("detail").GetString(), StringComparison.Ordinal);
            Assert.NotNull(answer.Headers.RetryAfter);
        }
    }

    [Fact]
    public async Task A_replica_that_is_down_is_not_noticed_outside()
    {
        await using var gateway = await fixture.StartAsync(("services__metrics__http__0", "http://127.0.0.1:9"), ("services__metrics__http__1", fixture.Backend.Url));
        using var client = fixture.Client(GatewayFixture.AdminKey, gateway);

        for (var number = 0; number < 10; number++)
        {
            using var answer = await client.PostAsync($"{Events}/replicas", new ByteArrayContent(new byte[100_000]), Ct);

            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            Assert.Equal(100_000, fixture.Backend.Last($"/{Events}/replicas").BodyBytes);
        }
    }

    [Fact]
    public async Task A_service_that_hangs_up_or_falls_silent_is_a_problem_too()
    {
        await using var backend = await Backend.StartAsync();
        await using var impatient = await fixture.StartAsync(("services__alerting__http__0", backend.Url), ("GATEWAY_PROXY_TIMEOUT_SECONDS", "1"));
        using var client = fixture.Client(GatewayFixture.AdminKey, impatient);
        using var end = new CancellationTokenSource();
        backend.Answer = context =>
        {
            if (context.Request.Path.Value!.EndsWith("silent", StringComparison.Ordinal))
            {
                return Task.Delay(Timeout.Infinite, CancellationTokenSource.CreateLinkedTokenSource(end.Token, context.RequestAborted).Token);
            }

            context.Abort();
            return Task.CompletedTask;
        };

        using var gone = await client.GetAsync("api/v1/monitoring/alerts/gone", Ct);
        using var silent = await client.GetAsync("api/v1/monitoring/alerts/silent", Ct);
        await end.CancelAsync();

        await GatewayFixture.ProblemAsync(gone, HttpStatusCode.BadGateway);
        var late = await GatewayFixture.ProblemAsync(silent, HttpStatusCode.GatewayTimeout);
        Assert.Contains("GATEWAY_PROXY_TIMEOUT_SECONDS", late.GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_problem_of_a_service_passes_untouched()
    {
        await using var backend = await Backend.StartAsync();
        await using var gateway = await fixture.StartAsync(("services__alerting__http__0", backend.Url));
        using var client = fixture.Client(GatewayFixture.AdminKey, gateway);
        backend.Answer = context =>
        {
            context.Response.StatusCode = 409;
            context.Response.ContentType = "application/problem+json";
            return context.Response.WriteAsync("""{"status":409,"title":"Taken","traceId":"theirs"}""");
        };

        using var answer = await client.GetAsync("api/v1/monitoring/alerts", Ct);

        Assert.Equal(HttpStatusCode.Conflict, answer.StatusCode);
        Assert.Equal("""{"status":409,"title":"Taken","traceId":"theirs"}""", await answer.Content.ReadAsStringAsync(Ct));
    }

    [Fact]
    public async Task Security_headers_are_on_every_answer()
    {
        using var anonymous = fixture.Client(null);
        foreach (var path in new[] { Events, "nothing", "monitoring/status/", "health" })
        {
            using var answer = await anonymous.GetAsync(path, Ct);

            Assert.Equal("nosniff", answer.Headers.GetValues("X-Content-Type-Options").Single());
            Assert.Equal("no-referrer", answer.Headers.GetValues("Referrer-Policy").Single());
            Assert.Contains("frame-ancestors 'none'", answer.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
            Assert.True(answer.Headers.CacheControl!.NoStore);
            Assert.False(answer.Headers.Contains("Server"));
        }
    }

    [Fact]
    public async Task Its_own_metrics_are_for_admins()
    {
        var (_, key) = await fixture.CreateKeyAsync("moderator", "metrics");
        using var anonymous = fixture.Client(null);
        using var moderator = fixture.Client(key);

        Assert.Equal(HttpStatusCode.Unauthorized, (await anonymous.GetAsync("internal/metrics", Ct)).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await moderator.GetAsync("internal/metrics", Ct)).StatusCode);
        Assert.Contains("http_server_request_duration", await fixture.Admin.GetStringAsync("internal/metrics", Ct), StringComparison.Ordinal);
    }

    private async Task<Caller?> CallerOfAsync(string authorization)
    {
        var ticket = AuthenticationHeaderValue.Parse(authorization).Parameter!;
        return await fixture.World.ReadTicketAsync(ticket);
    }

    private Task<(int Status, string Body)> RawAsync(string request) => RawAsync(fixture.Gateway.Url, request);

    private static async Task<(int Status, string Body)> RawAsync(Uri url, string request)
    {
        using var client = new System.Net.Sockets.TcpClient();
        await client.ConnectAsync(url.Host, url.Port, Ct);
        var stream = client.GetStream();
        try
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes(request), Ct);
        }
        catch (IOException)
        {
            // A refusal may come before the body has been sent.
        }

        using var reader = new StreamReader(stream);
        var text = await reader.ReadToEndAsync(Ct);
        return (int.Parse(text.AsSpan(9, 3), null), text);
    }
}
