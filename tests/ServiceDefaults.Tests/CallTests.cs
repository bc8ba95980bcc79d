using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Platform.ServiceDefaults.Tests;

/// <summary>Calls between services: who is found, what is repeated, and what is left alone.</summary>
public sealed class CallTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Replicas_take_turns()
    {
        await using var one = await TestService.StartAsync(app => app.MapGet("/who", () => "one"));
        await using var two = await TestService.StartAsync(app => app.MapGet("/who", () => "two"));
        await using var caller = await CallerAsync(new() { ["services:peer:http:0"] = one.Address.ToString(), ["services:peer:http:1"] = two.Address.ToString() });

        List<string> answers = [];
        for (var call = 0; call < 4; call++)
        {
            answers.Add(await caller.Client.GetStringAsync(new Uri("http://peer/who"), Ct));
        }

        Assert.Equal(["one", "two", "one", "two"], answers);
    }

    [Theory]
    [InlineData("GET")]
    [InlineData("POST")]
    public async Task A_replica_that_cannot_be_connected_to_is_passed_over(string method)
    {
        await using var alive = await TestService.StartAsync(app => app.MapMethods("/who", ["GET", "POST"], () => "alive"));
        await using var caller = await CallerAsync(new() { ["services:peer:http:0"] = $"http://127.0.0.1:{ClosedPort()}", ["services:peer:http:1"] = alive.Address.ToString() });

        for (var call = 0; call < 4; call++)
        {
            using var response = await caller.Client.SendAsync(new HttpRequestMessage(new HttpMethod(method), "http://peer/who"), Ct);
            Assert.Equal("alive", await response.Content.ReadAsStringAsync(Ct));
        }
    }

    [Fact]
    public async Task Names_that_are_no_services_pass_untouched()
    {
        await using var target = await TestService.StartAsync(app => app.MapGet("/host", (HttpContext context) => context.Request.Host.Host));
        await using var caller = await CallerAsync([]);

        Assert.Equal("localhost", await caller.Client.GetStringAsync(new Uri($"http://localhost:{target.Address.Port}/host"), Ct));
    }

    [Theory]
    [InlineData("GET", 503, 3)]
    [InlineData("GET", 429, 3)]
    [InlineData("GET", 408, 3)]
    [InlineData("GET", 400, 1)]
    [InlineData("POST", 503, 1)]
    [InlineData("DELETE", 503, 1)]
    public async Task Only_safe_methods_are_repeated_and_only_after_passing_failures(string method, int status, int expected)
    {
        var calls = 0;
        await using var flaky = await TestService.StartAsync(app => app.MapMethods("/", [method], (HttpContext context) =>
        {
            context.Response.Headers.RetryAfter = "0";
            return Interlocked.Increment(ref calls) < 3 ? Results.StatusCode(status) : Results.Ok();
        }));
        await using var caller = await CallerAsync(new() { ["services:peer:http:0"] = flaky.Address.ToString() });

        using var response = await caller.Client.SendAsync(new HttpRequestMessage(new HttpMethod(method), "http://peer/"), Ct);

        Assert.Equal(expected, calls);
        Assert.Equal(expected == 1 ? status : 200, (int)response.StatusCode);
    }

    [Fact]
    public async Task A_silent_peer_costs_the_attempt_timeout_and_names_itself()
    {
        await using var silent = await TestService.StartAsync(app => app.MapPost("/", async (CancellationToken ct) => await new TaskCompletionSource().Task.WaitAsync(ct)));
        await using var caller = await CallerAsync(new() { ["services:peer:http:0"] = silent.Address.ToString(), ["PLATFORM_HTTP_ATTEMPT_TIMEOUT_SECONDS"] = "0.2" });

        var error = await Assert.ThrowsAsync<HttpRequestException>(() => caller.Client.PostAsync(new Uri("http://peer/"), null, Ct));

        Assert.Contains("POST http://peer/ did not answer in time", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_wait_longer_than_the_total_timeout_is_not_waited_for_in_full()
    {
        await using var busy = await TestService.StartAsync(app => app.MapGet("/", (HttpContext context) =>
        {
            context.Response.Headers.RetryAfter = "3600";
            return Results.StatusCode(429);
        }));
        await using var caller = await CallerAsync(new() { ["services:peer:http:0"] = busy.Address.ToString(), ["PLATFORM_HTTP_TOTAL_TIMEOUT_SECONDS"] = "0.5" });

        await Assert.ThrowsAsync<HttpRequestException>(() => caller.Client.GetAsync(new Uri("http://peer/"), Ct));
    }

    [Fact]
    public async Task A_host_that_keeps_failing_is_left_alone()
    {
        var calls = 0;
        await using var broken = await TestService.StartAsync(app => app.MapPost("/", () =>
        {
            Interlocked.Increment(ref calls);
            return Results.StatusCode(500);
        }));
        await using var caller = await CallerAsync(new() { ["services:peer:http:0"] = broken.Address.ToString(), ["PLATFORM_HTTP_BREAK_SECONDS"] = "300" });

        var refused = 0;
        for (var call = 0; call < 40; call++)
        {
            try
            {
                using var response = await caller.Client.PostAsync(new Uri("http://peer/"), null, Ct);
            }
            catch (HttpRequestException error) when (error.Message.Contains("failed too often", StringComparison.Ordinal))
            {
                refused++;
            }
        }

        Assert.Equal((20, 20), (calls, refused));
    }

    [Fact]
    public async Task A_host_that_is_busy_and_says_when_to_come_back_stays_open_for_the_others()
    {
        var calls = 0;
        await using var busy = await TestService.StartAsync(app => app.MapPost("/", (HttpContext context) =>
        {
            Interlocked.Increment(ref calls);
            context.Response.Headers.RetryAfter = "1";
            return Results.StatusCode(503);
        }));
        await using var caller = await CallerAsync(new() { ["services:peer:http:0"] = busy.Address.ToString(), ["PLATFORM_HTTP_BREAK_SECONDS"] = "300" });

        for (var call = 0; call < 40; call++)
        {
            using var response = await caller.Client.PostAsync(new Uri("http://peer/"), null, Ct);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
        }

        Assert.Equal(40, calls);
    }

    private static async Task<Caller> CallerAsync(Dictionary<string, string?> settings)
    {
        var service = await TestService.StartAsync(_ => { }, settings: settings);
        return new Caller(service, service.Services.GetRequiredService<IHttpClientFactory>().CreateClient("peer"));
    }

    private static int ClosedPort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private sealed record Caller(TestService Service, HttpClient Client) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            Client.Dispose();
            await Service.DisposeAsync();
        }
    }
}
