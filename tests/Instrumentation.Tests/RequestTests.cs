using System.Security.Claims;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Platform.Testing;

namespace Platform.Instrumentation.Tests;

public sealed class RequestTests
{
    [Fact]
    public async Task An_event_says_who_did_it_from_where_and_in_which_request()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var app = await MonitoredApp.StartAsync(gateway.Url, map: web =>
        {
            web.Use((context, next) =>
            {
                context.User = new(new ClaimsIdentity([new("sub", "anna"), new("sid", "s-1")], "test"));
                return next(context);
            });
            web.MapPost("/users/{id}/roles", (string id, AuditLog audit) => audit.RoleAssign(id, "auditor"));
        });
        using var request = new HttpRequestMessage(HttpMethod.Post, "/users/bela/roles?token=never");
        request.Headers.Add("User-Agent", "test/1.0");
        request.Headers.Add("X-Correlation-ID", "order-7");
        request.Headers.Add("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

        using var answer = await app.Http.SendAsync(request, TestContext.Current.CancellationToken);

        Assert.Equal("order-7", Assert.Single(answer.Headers.GetValues("X-Correlation-ID")));
        await Eventually.TrueAsync(() => gateway.Events.Count == 1, because: "the event arrives");
        var happened = gateway.Events[0];
        Assert.Equal(("log", "shop", "info", "Role assignment succeeded"), (happened.Text("event_type"), happened.Text("source"), happened.Text("level"), happened.Text("message")));
        Assert.Equal(("role_assign", "success", "anna", "bela", "auditor"), (happened.Tag("action"), happened.Tag("outcome"), happened.Tag("user_id"), happened.Tag("target_user_id"), happened.Tag("role")));
        Assert.Equal(("s-1", "127.0.0.1", "test/1.0"), (happened.Tag("session_id"), happened.Tag("ip_address"), happened.Tag("user_agent")));
        Assert.Equal(("order-7", "4bf92f3577b34da6a3ce929d0e0e4736", "/users/{id}/roles"), (happened.Tag("request_id"), happened.Tag("trace_id"), happened.Tag("endpoint")));
        Assert.InRange(DateTimeOffset.Parse(happened.Text("timestamp"), System.Globalization.CultureInfo.InvariantCulture), DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow);
    }

    [Theory]
    [InlineData("X-Correlation-ID", "abc-123_4.5:6", true)]
    [InlineData("X-Request-ID", "abc", true)]
    [InlineData("X-Correlation-ID", "white space", false)]
    [InlineData("X-Correlation-ID", "<script>", false)]
    [InlineData("X-Correlation-ID", "a;b", false)]
    public async Task A_well_formed_correlation_id_is_kept_and_any_other_replaced(string header, string sent, bool kept)
    {
        await using var app = await MonitoredApp.StartAsync(new Uri("http://127.0.0.1:9"), map: web => web.MapGet("/", (HttpContext context) => context.TraceIdentifier));
        using var request = new HttpRequestMessage(HttpMethod.Get, "/");
        request.Headers.TryAddWithoutValidation(header, sent);

        using var answer = await app.Http.SendAsync(request, TestContext.Current.CancellationToken);

        var returned = Assert.Single(answer.Headers.GetValues("X-Correlation-ID"));
        Assert.Equal(kept, returned == sent);
        Assert.Equal(returned, await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        Assert.NotEmpty(returned);
    }

    [Fact]
    public async Task A_request_that_fails_in_the_application_is_an_error_and_one_that_is_wrong_is_not()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var app = await MonitoredApp.StartAsync(gateway.Url, options => options.SlowRequest = TimeSpan.FromHours(1), web =>
        {
            web.MapGet("/broken/{id}", (int id) => id == 0 ? Results.StatusCode(503) : throw new InvalidOperationException("broken on purpose"));
            web.MapGet("/health", () => Results.StatusCode(503));
            web.MapGet("/wrong", () => Results.StatusCode(400));
        });

        await GetAsync(app, "/health", "/wrong", "/broken/0", "/broken/1");

        await Eventually.TrueAsync(() => gateway.Events.Count == 2, because: "both failures are recorded");
        Assert.Equal(
            [("/broken/{id}", "error", "failure", "503"), ("/broken/{id}", "error", "failure", "500")],
            gateway.Events.Select(happened => (happened.Tag("endpoint")!, happened.Text("level"), happened.Tag("outcome")!, happened.Tag("status_code")!)));
    }

    [Fact]
    public async Task A_slow_request_is_a_warning_unless_it_is_meant_to_stay_open()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var app = await MonitoredApp.StartAsync(gateway.Url, options => options.SlowRequest = TimeSpan.FromMilliseconds(50), web =>
        {
            web.MapGet("/stream", (HttpContext context) =>
            {
                context.Response.ContentType = "text/event-stream";
                return TakeTimeAsync(context);
            });
            web.MapGet("/health", TakeTimeAsync);
            web.MapGet("/slow", TakeTimeAsync);
        });

        await GetAsync(app, "/stream", "/health", "/slow");

        await Eventually.TrueAsync(() => gateway.Events.Count > 0, because: "the slow request is recorded");
        var happened = Assert.Single(gateway.Events);
        Assert.Equal(("/slow", "warning", "success", "200"), (happened.Tag("endpoint"), happened.Text("level"), happened.Tag("outcome"), happened.Tag("status_code")));
        Assert.InRange(happened.GetProperty("tags").GetProperty("duration_ms").GetDouble(), 50, 60_000);
    }

    [Fact]
    public async Task A_user_and_an_address_that_are_not_known_are_left_out()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var app = await MonitoredApp.StartAsync(gateway.Url);

        app.Security.Login("bela", Outcome.Failure, "wrong_password");

        await Eventually.TrueAsync(() => gateway.Events.Count == 1, because: "the event arrives");
        var happened = gateway.Events[0];
        Assert.Equal(("login", "failure", "bela", "wrong_password", "warning"), (happened.Tag("action"), happened.Tag("outcome"), happened.Tag("user_id"), happened.Tag("reason"), happened.Text("level")));
        Assert.Equal((null, null, null), (happened.Tag("ip_address"), happened.Tag("session_id"), happened.Tag("endpoint")));
    }

    [Fact]
    public async Task A_setting_that_is_missing_stops_the_start_and_says_what_to_do()
    {
        var error = await Assert.ThrowsAsync<Microsoft.Extensions.Options.OptionsValidationException>(() => MonitoredApp.StartAsync(new Uri("ftp://gateway"), options => options.ApiKey = " "));

        Assert.Contains("PLATFORM_GATEWAY_URL", error.Message, StringComparison.Ordinal);
        Assert.Contains("PLATFORM_API_KEY", error.Message, StringComparison.Ordinal);
    }

    private static async Task GetAsync(MonitoredApp app, params string[] paths)
    {
        foreach (var path in paths)
        {
            using var _ = await app.Http.GetAsync(new Uri(path, UriKind.Relative), TestContext.Current.CancellationToken);
        }
    }

    private static async Task TakeTimeAsync(HttpContext context)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(100));
        await timer.WaitForNextTickAsync(context.RequestAborted);
    }
}
