using System.ComponentModel.DataAnnotations;
using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Claims;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Npgsql;
using Platform.Testing;

namespace Platform.ServiceDefaults.Tests;

public sealed class ServiceTests
{
    public enum Level
    {
        Low,
        VeryHigh,
    }

    public sealed record Rule([Required, StringLength(5)] string? Name, [Range(1, 10)] int WindowSeconds, Level Level, IReadOnlyList<Step>? Steps = null);

    public sealed record Step([Required] string? EventType);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private static Task<TestService> StartAsync(Dictionary<string, string?>? settings = null) => TestService.StartAsync(
        app =>
        {
            app.MapGet("/rules/{id:int}", (int id) => TypedResults.Ok(new Rule("a", id, Level.VeryHigh)));
            app.MapPost("/rules", (Rule rule) => TypedResults.Ok(rule));
            app.MapPost("/invalid", () => TypedResults.ValidationProblem(new Dictionary<string, string[]> { ["Match.EventType"] = ["is unknown"] }));
            app.MapPost("/conflict", () => TypedResults.Problem("It is closed.", statusCode: 409));
            app.MapGet("/boom", string () => throw new InvalidOperationException("password=hunter2"));
            app.MapGet("/unreachable", async (CancellationToken ct) =>
            {
                await using var connection = new NpgsqlConnection("Host=127.0.0.1;Port=1;Username=app;Password=hunter2;Database=none");
                await connection.OpenAsync(ct);
            });
            app.MapGet("/correlation", () => Correlation.Current);
            app.MapGet("/forbidden", () => TypedResults.StatusCode(403));
            app.MapGet("/unauthorized", () => TypedResults.Unauthorized());
            app.MapGet("/work/{id}", (string id, HttpContext context, ILogger<ServiceTests> logger) =>
            {
                context.User = new ClaimsPrincipal(new ClaimsIdentity([new Claim("sub", "ada"), new Claim("realm", "acme")], "test"));
                logger.LogInformation("Work on {Item} with {ApiKey}", id, "k-123");
            });
        },
        settings: settings);

    [Theory]
    [InlineData("GET", "/nowhere", null, 404)]
    [InlineData("DELETE", "/rules", null, 405)]
    [InlineData("POST", "/rules", "text/plain", 415)]
    [InlineData("GET", "/rules/abc", null, 404)]
    [InlineData("POST", "/conflict", null, 409)]
    [InlineData("POST", "/invalid", null, 400)]
    [InlineData("GET", "/forbidden", null, 403)]
    [InlineData("GET", "/unauthorized", null, 401)]
    [InlineData("GET", "/boom", null, 500)]
    [InlineData("GET", "/unreachable", null, 503)]
    public async Task Every_failure_is_a_problem_with_the_ids_that_lead_to_the_log(string method, string path, string? type, int status)
    {
        await using var service = await StartAsync();
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        request.Headers.Add("X-Correlation-ID", "c-42");
        request.Headers.Accept.ParseAdd("text/html");
        request.Content = type is null ? null : new StringContent("x", new MediaTypeHeaderValue(type));

        using var response = await service.Http.SendAsync(request, Ct);
        var body = await response.Content.ReadAsStringAsync(Ct);

        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        var problem = JsonDocument.Parse(body).RootElement;
        Assert.Equal(status, problem.GetProperty("status").GetInt32());
        Assert.Equal("c-42", problem.GetProperty("correlationId").GetString());
        Assert.Matches("^[0-9a-f]{32}$", problem.GetProperty("traceId").GetString());
        Assert.Equal("c-42", Assert.Single(response.Headers.GetValues("X-Correlation-ID")));
        Assert.DoesNotContain("hunter2", body, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", body, StringComparison.Ordinal);
        Assert.Equal(status == 401, response.Headers.WwwAuthenticate.Count > 0);
        Assert.Equal(status == 503, response.Headers.RetryAfter is not null);
    }

    [Theory]
    [InlineData("{\"name\":\"a\",", "line 1")]
    [InlineData("{\"name\":\"a\",\n\"window_seconds\":\"soon\"}", "$.window_seconds at line 2")]
    [InlineData("{\"window_seconds\":\"soon\"}", "Reading stopped in $.window_seconds")]
    [InlineData("{\"name\":1}", "a text is expected.")]
    [InlineData("{\"level\":\"extreme\"}", "$.level")]
    [InlineData("", "body")]
    public async Task A_body_that_cannot_be_read_gets_400_and_the_place(string body, string place)
    {
        await using var service = await StartAsync();

        using var response = await service.Http.PostAsync("/rules", new StringContent(body, Encoding.UTF8, "application/json"), Ct);
        var text = await response.Content.ReadAsStringAsync(Ct);

        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        Assert.Contains(place, JsonDocument.Parse(text).RootElement.GetProperty("detail").GetString(), StringComparison.Ordinal);
        Assert.DoesNotContain(service.Log.Lines, line => line.Contains("\"level\":\"error\"", StringComparison.Ordinal));
    }

    [Fact]
    public async Task All_invalid_fields_are_named_as_on_the_wire()
    {
        await using var service = await StartAsync();

        using var response = await service.Http.PostAsJsonAsync("/rules", new { name = "too long", window_seconds = 11, steps = new object[] { new { event_type = "x" }, new { } } }, Ct);
        var text = await response.Content.ReadAsStringAsync(Ct);

        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        var problem = JsonDocument.Parse(text).RootElement;
        Assert.Equal(["name", "steps[1].event_type", "window_seconds"], problem.GetProperty("errors").EnumerateObject().Select(error => error.Name).Order(StringComparer.Ordinal));
        Assert.True(problem.TryGetProperty("traceId", out _), text);
        Assert.Contains("window_seconds", problem.GetProperty("errors").GetProperty("window_seconds")[0].GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_handlers_own_validation_problem_has_the_ids_and_wire_names_too()
    {
        await using var service = await StartAsync();

        using var response = await service.Http.PostAsync("/invalid", null, Ct);
        var problem = JsonDocument.Parse(await response.Content.ReadAsStringAsync(Ct)).RootElement;

        Assert.Equal("is unknown", problem.GetProperty("errors").GetProperty("match.event_type")[0].GetString());
    }

    [Fact]
    public async Task Json_is_snake_case_and_unknown_fields_are_ignored()
    {
        await using var service = await StartAsync();

        using var response = await service.Http.PostAsync("/rules", new StringContent("{\"name\":\"a\",\"window_seconds\":3,\"level\":\"very_high\",\"later\":1}", Encoding.UTF8, "application/json"), Ct);

        Assert.Equal("{\"name\":\"a\",\"window_seconds\":3,\"level\":\"very_high\",\"steps\":null}", await response.Content.ReadAsStringAsync(Ct));
    }

    [Theory]
    [InlineData("X-Correlation-ID", "abc.DEF_1:2-3", true)]
    [InlineData("X-Request-ID", "abc", true)]
    [InlineData("X-Correlation-ID", "has space", false)]
    [InlineData("X-Correlation-ID", "{injection}", false)]
    public async Task The_correlation_id_is_taken_when_valid_and_made_otherwise(string header, string id, bool taken)
    {
        await using var service = await StartAsync();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/correlation");
        request.Headers.TryAddWithoutValidation(header, id);

        using var response = await service.Http.SendAsync(request, Ct);

        var answered = Assert.Single(response.Headers.GetValues("X-Correlation-ID"));
        Assert.Equal(answered, await response.Content.ReadAsStringAsync(Ct));
        Assert.Equal(taken, answered == id);
        Assert.True(Correlation.IsValid(answered));
    }

    [Fact]
    public async Task Correlation_and_trace_reach_the_next_service()
    {
        await using var second = await TestService.StartAsync(app => app.MapGet("/who", () => $"{Correlation.Current} {Activity.Current?.TraceId}"));
        await using var first = await TestService.StartAsync(
            app => app.MapGet("/ask", async (IHttpClientFactory clients, CancellationToken ct) => await clients.CreateClient("second").GetStringAsync(new Uri("http://second/who"), ct)),
            builder => builder.Services.AddHttpClient("second"),
            new() { ["services:second:http:0"] = second.Address.ToString() });
        using var request = new HttpRequestMessage(HttpMethod.Get, "/ask");
        request.Headers.Add("X-Correlation-ID", "c-7");
        request.Headers.Add("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

        using var response = await first.Http.SendAsync(request, Ct);

        Assert.Equal("c-7 4bf92f3577b34da6a3ce929d0e0e4736", await response.Content.ReadAsStringAsync(Ct));
    }

    [Fact]
    public async Task A_log_line_says_who_where_and_for_which_request()
    {
        await using var service = await StartAsync();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/work/42");
        request.Headers.Add("X-Correlation-ID", "c-9");
        request.Headers.Add("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

        using var response = await service.Http.SendAsync(request, Ct);

        var line = JsonDocument.Parse(Assert.Single(service.Log.Lines, line => line.Contains("Work on", StringComparison.Ordinal))).RootElement;
        Assert.Equal("info", line.GetProperty("level").GetString());
        Assert.Equal("probe", line.GetProperty("service").GetString());
        Assert.Equal("c-9", line.GetProperty("correlation_id").GetString());
        Assert.Equal("4bf92f3577b34da6a3ce929d0e0e4736", line.GetProperty("trace_id").GetString());
        Assert.Equal("ada", line.GetProperty("user").GetString());
        Assert.Equal("acme", line.GetProperty("realm").GetString());
        Assert.Equal("/work/{id}", line.GetProperty("endpoint").GetString());
        Assert.Equal("42", line.GetProperty("fields").GetProperty("Item").GetString());
        Assert.Equal("[redacted]", line.GetProperty("fields").GetProperty("ApiKey").GetString());
    }

    [Fact]
    public async Task A_fault_is_logged_once_as_an_error_with_its_stack_and_without_the_secret()
    {
        await using var service = await StartAsync();

        using var response = await service.Http.GetAsync("/boom", Ct);

        var line = Assert.Single(service.Log.Lines, line => line.Contains("\"level\":\"error\"", StringComparison.Ordinal));
        Assert.Contains("InvalidOperationException", line, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", line, StringComparison.Ordinal);
        Assert.Equal("/boom", JsonDocument.Parse(line).RootElement.GetProperty("endpoint").GetString());
    }

    [Fact]
    public async Task A_slow_request_is_logged_with_its_route()
    {
        await using var service = await TestService.StartAsync(
            app => app.MapGet("/slow/{id}", async (string id, TimeProvider clock, CancellationToken ct) =>
            {
                // Any request is slower than a millisecond once it has waited for two ticks of the timer.
                using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(5), clock);
                await timer.WaitForNextTickAsync(ct);
                await timer.WaitForNextTickAsync(ct);
            }),
            settings: new() { ["PLATFORM_SLOW_REQUEST_MILLISECONDS"] = "1" });

        using var response = await service.Http.GetAsync("/slow/4711", Ct);

        var line = JsonDocument.Parse(Assert.Single(service.Log.Lines, line => line.Contains("/slow/", StringComparison.Ordinal) && line.Contains("A request was slow", StringComparison.Ordinal))).RootElement;
        Assert.Equal("/slow/{id}", line.GetProperty("fields").GetProperty("route").GetString());
        Assert.DoesNotContain("4711", line.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Request_metrics_carry_route_templates_and_never_paths()
    {
        await using var service = await StartAsync();
        using var found = await service.Http.GetAsync("/rules/4711", Ct);
        using var missing = await service.Http.GetAsync("/nowhere/4711", Ct);

        // A request is recorded just after its answer has been sent.
        var text = await Eventually.GetAsync(async () => await service.Http.GetStringAsync("/metrics", Ct) is var metrics && metrics.Contains("http_response_status_code=\"404\"", StringComparison.Ordinal) ? metrics : null);

        Assert.Contains("http_route=\"/rules/{id:int}\"", text, StringComparison.Ordinal);
        Assert.DoesNotContain("4711", text, StringComparison.Ordinal);
        ExpositionTests.AssertWellFormed(text);
        await ExpositionTests.AssertPromtoolAgreesAsync(text);
    }

    [Fact]
    public async Task The_document_of_the_api_is_served()
    {
        await using var service = await StartAsync();

        var document = JsonDocument.Parse(await service.Http.GetStringAsync("/openapi/v1.json", Ct)).RootElement;

        Assert.True(document.GetProperty("paths").TryGetProperty("/rules/{id}", out _));
        Assert.True(document.GetProperty("components").GetProperty("schemas").GetProperty("Rule").GetProperty("properties").TryGetProperty("window_seconds", out _));
    }

    [Fact]
    public async Task A_body_over_the_limit_gets_413()
    {
        await using var service = await StartAsync(new() { ["PLATFORM_MAX_REQUEST_BYTES"] = "2048" });

        using var response = await service.Http.PostAsync("/rules", new StringContent($"{{\"name\":\"{new string('x', 4_000)}\"}}", Encoding.UTF8, "application/json"), Ct);

        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
    }
}
