using System.Net;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Platform.Testing;

namespace Platform.ServiceDefaults.Tests;

public sealed class HealthTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(HealthStatus.Healthy, 200)]
    [InlineData(HealthStatus.Degraded, 200)]
    [InlineData(HealthStatus.Unhealthy, 503)]
    public async Task Health_is_the_worst_of_all_checks_and_alive_only_the_process(HealthStatus status, int expected)
    {
        await using var service = await StartAsync(() => new HealthCheckResult(status, "Password=hunter2 did not work."));

        using var health = await service.Http.GetAsync("/health", Ct);
        using var alive = await service.Http.GetAsync("/alive", Ct);
        var body = JsonDocument.Parse(await health.Content.ReadAsStringAsync(Ct)).RootElement;

        Assert.Equal(expected, (int)health.StatusCode);
        Assert.Equal(HttpStatusCode.OK, alive.StatusCode);
        Assert.Equal(status.ToString(), body.GetProperty("status").GetString());
        var entry = body.GetProperty("entries").GetProperty("probe");
        Assert.Equal(status.ToString(), entry.GetProperty("status").GetString());
        Assert.Equal("Password=[redacted] did not work.", entry.GetProperty("description").GetString());
        Assert.True(entry.TryGetProperty("duration_ms", out _));
    }

    [Fact]
    public async Task A_check_that_hangs_fails_instead()
    {
        await using var service = await TestService.StartAsync(_ => { }, builder => builder.Services.AddHealthChecks().AddAsyncCheck("hung", () => new TaskCompletionSource<HealthCheckResult>().Task));

        using var health = await service.Http.GetAsync("/health", Ct);

        Assert.Equal(HttpStatusCode.ServiceUnavailable, health.StatusCode);
        Assert.Contains("No answer within 2 s.", await health.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Missing_cache_and_broker_degrade_a_missing_database_makes_unhealthy()
    {
        await using var degraded = await TestService.StartAsync(
            _ => { },
            builder =>
            {
                builder.AddRedisClient("cache");
                builder.AddRabbitMQClient("messaging");
            },
            new() { ["ConnectionStrings:cache"] = "127.0.0.1:1,password=x", ["ConnectionStrings:messaging"] = "amqp://guest:s3cret@127.0.0.1:1" });
        await using var unhealthy = await TestService.StartAsync(
            _ => { },
            builder => builder.AddNpgsqlDataSource("db"),
            new() { ["ConnectionStrings:db"] = "Host=127.0.0.1;Port=1;Username=app;Password=s3cret;Database=db" });

        using var without = await degraded.Http.GetAsync("/health", Ct);
        using var down = await unhealthy.Http.GetAsync("/health", Ct);
        var entries = JsonDocument.Parse(await without.Content.ReadAsStringAsync(Ct)).RootElement.GetProperty("entries");

        Assert.Equal(HttpStatusCode.OK, without.StatusCode);
        Assert.Equal("Degraded", entries.GetProperty("StackExchange.Redis").GetProperty("status").GetString());
        Assert.Equal("Degraded", entries.GetProperty("RabbitMQ.Client").GetProperty("status").GetString());
        Assert.DoesNotContain("s3cret", entries.ToString(), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, down.StatusCode);
        Assert.DoesNotContain("s3cret", await down.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stopping_process_says_no_ends_its_requests_and_then_goes()
    {
        var arrived = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        var service = await TestService.StartAsync(
            app => app.MapGet("/work", async () =>
            {
                arrived.SetResult();
                await release.Task;
                return "done";
            }),
            settings: new() { ["PLATFORM_DRAIN_SECONDS"] = "1" });
        await using var owned = service;

        var work = service.Http.GetStringAsync("/work", Ct);
        await arrived.Task.WaitAsync(Ct);
        var stopping = service.StopAsync(Ct);

        await Eventually.TrueAsync(async () =>
        {
            using var health = await service.Http.GetAsync("/health", Ct);
            return health.StatusCode == HttpStatusCode.ServiceUnavailable;
        });
        release.SetResult();
        Assert.Equal("done", await work);
        await stopping.WaitAsync(TimeSpan.FromSeconds(15), Ct);
        await Assert.ThrowsAsync<HttpRequestException>(() => service.Http.GetAsync("/health", Ct));
    }

    private static Task<TestService> StartAsync(Func<HealthCheckResult> check) =>
        TestService.StartAsync(_ => { }, builder => builder.Services.AddHealthChecks().AddCheck("probe", check));
}
