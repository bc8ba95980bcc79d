using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Npgsql;
using Platform.Testing;

namespace Platform.Instrumentation.Tests;

/// <summary>What an application exposes on <c>/metrics</c>, under the names that the requirements give.</summary>
public sealed class MetricsTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Requests_are_counted_by_route_template_and_never_by_path()
    {
        await using var app = await StartAsync(web =>
        {
            web.MapGet("/users/{id}", (string id) => id == "0" ? Results.NotFound() : Results.Text("0123456789"));
            web.MapGet("/broken", string () => throw new InvalidOperationException("broken on purpose"));
        });

        await GetAsync(app, "/users/1?secret=x", "/users/2", "/users/0", "/broken", "/nowhere/at/all", "/health");

        var text = await MetricsAsync(app);
        Has(text, "http_requests_total{endpoint=\"/users/{id}\",method=\"GET\",status_code=\"200\"} 2");
        Has(text, "http_requests_total{endpoint=\"/broken\",method=\"GET\",status_code=\"500\"} 1");
        Has(text, "http_requests_total{endpoint=\"(none)\",method=\"GET\",status_code=\"404\"} 1");
        Has(text, "http_errors_total{endpoint=\"/users/{id}\",method=\"GET\",status_code=\"404\"} 1");
        Has(text, "http_request_duration_seconds_count{endpoint=\"/users/{id}\",method=\"GET\"} 3");
        Has(text, "api_request_duration_seconds_count{endpoint=\"/users/{id}\",method=\"GET\",status_code=\"200\"} 2");
        Has(text, "http_response_size_bytes_sum{endpoint=\"/users/{id}\"} 20");
        Has(text, "http_requests_active 0");
        Assert.DoesNotContain("nowhere", text, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", text, StringComparison.Ordinal);
        Assert.DoesNotContain(text.Split((char)10), line => line.StartsWith("http_requests_total", StringComparison.Ordinal) && line.Contains("/health", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Every_way_of_writing_an_answer_is_measured()
    {
        await using var app = await StartAsync(web =>
        {
            web.MapGet("/stream", async (HttpContext context) => await context.Response.Body.WriteAsync(new byte[1_000]));
            web.MapGet("/pipe", async (HttpContext context) => await context.Response.BodyWriter.WriteAsync(new byte[2_000]));
            web.MapGet("/json", () => Results.Json(new string('x', 98)));
            web.MapGet("/file", () => Results.File(typeof(MetricsTests).Assembly.Location));
            web.MapGet("/empty", () => Results.NoContent());
        });

        await GetAsync(app, "/stream", "/pipe", "/json", "/file", "/empty");

        var text = await MetricsAsync(app);
        Has(text, "http_response_size_bytes_sum{endpoint=\"/stream\"} 1000");
        Has(text, "http_response_size_bytes_sum{endpoint=\"/pipe\"} 2000");
        Has(text, "http_response_size_bytes_sum{endpoint=\"/json\"} 100");
        Has(text, $"http_response_size_bytes_sum{{endpoint=\"/file\"}} {new FileInfo(typeof(MetricsTests).Assembly.Location).Length}");
        Has(text, "http_response_size_bytes_sum{endpoint=\"/empty\"} 0");
    }

    [Fact]
    public async Task A_share_of_the_requests_is_measured_and_all_are_counted()
    {
        await using var app = await StartAsync(web => web.MapGet("/", () => "x"), options => options.MetricsSampleRate = 0.3);

        await GetAsync(app, [.. Enumerable.Repeat("/", 20)]);

        var text = await MetricsAsync(app);
        Has(text, "http_requests_total{endpoint=\"/\",method=\"GET\",status_code=\"200\"} 20");
        Has(text, "http_request_duration_seconds_count{endpoint=\"/\",method=\"GET\"} 6");
    }

    [Fact]
    public async Task What_users_do_is_counted_by_the_logs_that_record_it()
    {
        await using var app = await StartAsync(web =>
        {
            web.MapPost("/login", (SecurityLog security) =>
            {
                security.Login("anna", Outcome.Success);
                security.TokenIssue(Outcome.Success, "anna");
            });
            web.MapPost("/other", (SecurityLog security, AuditLog audit, PlatformMetrics metrics) =>
            {
                security.Login("anna", Outcome.Failure, "wrong_password");
                security.Register("bela", Outcome.Success);
                security.MfaChallenge("totp", Outcome.Success);
                security.TokenRefresh(Outcome.Denied);
                audit.RoleAssign("bela", "auditor");
                metrics.DriftDetected("critical");
                metrics.CacheHit("sessions");
                metrics.CacheHit("sessions");
                metrics.CacheMiss("sessions");
                metrics.DatabaseQuery("select", TimeSpan.FromMilliseconds(3));
                metrics.ObserveActiveSessions(() => 7);
            });
        });

        var before = await MetricsAsync(app);
        foreach (var path in (string[])["/login", "/other"])
        {
            using var answer = await app.Http.PostAsync(new Uri(path, UriKind.Relative), null, Ct);
        }

        var text = await MetricsAsync(app);
        Has(before, "login_success_total 0");
        Has(before, "webhook_delivery_success 0");
        Has(before, "user_registrations_total 0");
        Has(text, "login_success_total 1");
        Has(text, "login_failure_total 1");
        Has(text, "registration_total 1");
        Has(text, "user_registrations_total 1");
        Has(text, "role_assignments_total 1");
        Has(text, "mfa_challenge_total 1");
        Has(text, "user_login_attempts_total{status=\"failure\"} 1");
        Has(text, "token_operations_total{operation=\"issue\",status=\"success\",token_type=\"access\"} 1");
        Has(text, "token_operations_total{operation=\"refresh\",status=\"denied\",token_type=\"refresh\"} 1");
        Has(text, "user_operations_total{operation=\"role_assign\",status=\"success\"} 1");
        Has(text, "auth_requests_total{endpoint=\"/login\",method=\"POST\",status=\"success\"} 1");
        Has(text, "auth_requests_total{endpoint=\"/other\",method=\"POST\",status=\"failure\"} 1");
        Has(text, "auth_request_duration_seconds_count{endpoint=\"/login\"} 1");
        Has(text, "drift_detections_total{severity=\"critical\",status=\"detected\"} 1");
        Has(text, "cache_hits_total{cache=\"sessions\"} 2");
        Has(text, "cache_misses_total{cache=\"sessions\"} 1");
        Has(text, "database_query_duration_seconds_bucket{operation=\"select\",le=\"0.005\"} 1");
        Has(text, "active_sessions 7");
    }

    [Fact]
    public async Task An_attribute_a_filter_and_a_wrapper_count_calls()
    {
        await using var app = await StartAsync(web =>
        {
            web.MapGet("/attribute/{status}", [CountCalls("by_attribute")] (int status) => Results.StatusCode(status));
            web.MapGroup("/filter").CountCalls("by_filter").MapGet("/{status}", (int status) => status == 0 ? throw new InvalidOperationException("broken on purpose") : Results.StatusCode(status));
            web.MapGet("/wrapper", async (PlatformMetrics metrics) => await metrics.CountAsync("by_wrapper", () => Task.FromResult(1)));
        });

        await GetAsync(app, "/attribute/200", "/attribute/403", "/attribute/500", "/filter/200", "/filter/401", "/filter/0", "/wrapper");

        var text = await MetricsAsync(app);
        foreach (var operation in (string[])["by_attribute", "by_filter"])
        {
            foreach (var status in (string[])["success", "denied", "failure"])
            {
                Has(text, $"service_calls_total{{operation=\"{operation}\",status=\"{status}\"}} 1");
            }
        }

        Has(text, "service_calls_total{operation=\"by_wrapper\",status=\"success\"} 1");
    }

    [Fact]
    public async Task Statements_and_connections_of_Npgsql_are_measured()
    {
        var servers = await TestServers.GetAsync();
        await using var db = NpgsqlDataSource.Create(await servers.Postgres.CreateDatabaseAsync());
        await using var app = await StartAsync(web => web.MapGet("/query", async () =>
        {
            await using var command = db.CreateCommand("select 1");
            await command.ExecuteScalarAsync(Ct);
        }));

        await GetAsync(app, "/query");

        var text = await MetricsAsync(app);
        Assert.Contains("database_query_duration_seconds_count{operation=\"select\"}", text, StringComparison.Ordinal);
        Assert.Contains("database_connection_pool_size{state=\"idle\"}", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Switched_off_nothing_is_measured_and_the_endpoint_says_so()
    {
        await using var app = await StartAsync(web => web.MapGet("/", () => "x"), options => options.MetricsEnabled = false);

        await GetAsync(app, "/");
        using var answer = await app.Http.GetAsync(new Uri("/metrics", UriKind.Relative), Ct);

        Assert.Equal(System.Net.HttpStatusCode.NotFound, answer.StatusCode);
        Assert.Contains("METRICS_ENABLED", await answer.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Promtool_has_nothing_to_object()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/promtool"), "promtool is not installed");
        await using var app = await StartAsync(web => web.MapGet("/", (SecurityLog security) => security.Login("anna", Outcome.Success)));
        await GetAsync(app, "/");

        // Only this package's own: names of the runtime's meters are .NET's to answer for.
        var families = string.Join('\n', (await MetricsAsync(app)).Split('\n').Where(line =>
            ((string[])["http_requests_", "http_request_", "http_response_size", "http_errors", "auth_", "api_", "login_", "registration_", "user_", "token_", "mfa_", "role_", "webhook_", "service_calls"])
            .Any(name => line.StartsWith(name, StringComparison.Ordinal) || line.StartsWith("# HELP " + name, StringComparison.Ordinal) || line.StartsWith("# TYPE " + name, StringComparison.Ordinal)))) + "\n";
        using var promtool = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("/usr/bin/promtool", ["check", "metrics"]) { RedirectStandardInput = true, RedirectStandardError = true })!;
        await promtool.StandardInput.WriteAsync(families);
        promtool.StandardInput.Close();
        var said = await promtool.StandardError.ReadToEndAsync(Ct);
        await promtool.WaitForExitAsync(Ct);
        Assert.True(promtool.ExitCode == 0, said);
    }

    private static Task<MonitoredApp> StartAsync(Action<WebApplication> map, Action<PlatformMonitoringOptions>? configure = null) =>
        MonitoredApp.StartAsync(new Uri("http://127.0.0.1:9"), configure, web =>
        {
            web.MapPlatformMetrics();
            web.MapGet("/health", () => "Healthy");
            map(web);
        });

    private static async Task GetAsync(MonitoredApp app, params string[] paths)
    {
        foreach (var path in paths)
        {
            using var answer = await app.Http.GetAsync(new Uri(path, UriKind.Relative), Ct);
        }
    }

    private static Task<string> MetricsAsync(MonitoredApp app) => app.Http.GetStringAsync(new Uri("/metrics", UriKind.Relative), Ct);

    private static void Has(string text, string line) => Assert.Contains(line, text.Split('\n'));
}
