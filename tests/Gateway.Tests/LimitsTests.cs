using System.Diagnostics;
using System.Globalization;
using System.Net;
using Aspire.Hosting;
using Platform.Testing;

namespace Platform.Gateway.Tests;

public sealed class LimitsTests(GatewayFixture fixture) : IClassFixture<GatewayFixture>
{
    private const string Events = "api/v1/monitoring/events";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(5, 20, 60)]
    [InlineData(200, 200, 1000)]
    public async Task Gateways_share_the_bucket_of_a_key(int perSecond, int burst, int requests)
    {
        (string, string)[] settings = [.. Limits(perSecond, burst), ("GATEWAY_RATE_LIMIT_PREFIX", $"{Guid.NewGuid():N}:")];
        await using var first = await fixture.StartAsync(settings);
        await using var second = await fixture.StartAsync(settings);
        var (_, key) = await fixture.CreateKeyAsync("user", "limited");
        using var here = fixture.Client(key, first);
        using var there = fixture.Client(key, second);

        var (passed, seconds) = await FloodAsync([here, there], requests);

        // What the bucket held and what it gained meanwhile. The lease that each gateway holds may come from the gain of the last moment.
        Assert.InRange(passed, burst, burst + (perSecond * seconds) + 2);
        using var refused = await RefusedAsync(here);
        var problem = await GatewayFixture.ProblemAsync(refused, HttpStatusCode.TooManyRequests);
        Assert.Contains("GATEWAY_RATE_LIMIT_PER_SECOND", problem.GetProperty("detail").GetString(), StringComparison.Ordinal);
        Assert.True(refused.Headers.RetryAfter!.Delta >= TimeSpan.FromSeconds(1));
        await Eventually.TrueAsync(async () => (await there.GetAsync(Events, Ct)).IsSuccessStatusCode, TimeSpan.FromSeconds(5), "the key may ask again");
    }

    [Fact]
    public async Task Without_Redis_each_gateway_limits_by_itself()
    {
        using var folder = TemporaryFolder.Create("redis");
        var builder = DistributedApplication.CreateBuilder([$"--PLATFORM_DATA_DIR={folder.Path}", "--PLATFORM_PORT_BASE=0", "--quiet"]);
        var redis = builder.AddRedis("cache");
        var server = builder.Build();
        await server.StartAsync(Ct);
        var address = (await redis.Resource.GetConnectionStringAsync(Ct))!;
        await using var gateway = await fixture.StartAsync([.. Limits(5, 20), ("ConnectionStrings__cache", address)]);
        var (_, key) = await fixture.CreateKeyAsync("user", "limited");
        using var client = fixture.Client(key, gateway);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync(Events, Ct)).StatusCode);

        await server.DisposeAsync();
        var clock = Stopwatch.StartNew();
        using var answer = await client.GetAsync(Events, Ct);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(2), $"The first answer without Redis took {clock.Elapsed}.");

        var (passed, seconds) = await FloodAsync([client], 60);
        Assert.InRange(passed, 15, 20 + (5 * (seconds + clock.Elapsed.TotalSeconds)) + 1);
        Assert.Single(gateway.Log, line => line.Contains("Redis does not answer", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Whoever_guesses_is_slowed_down_and_others_from_there_are_not()
    {
        await using var gateway = await fixture.StartAsync(("GATEWAY_ANONYMOUS_RATE_LIMIT_PER_SECOND", "1"), ("GATEWAY_ANONYMOUS_RATE_LIMIT_BURST", "10"));
        using var known = fixture.Client(GatewayFixture.AdminKey, gateway);
        Assert.Equal(HttpStatusCode.OK, (await known.GetAsync(Events, Ct)).StatusCode);

        var statuses = new List<HttpStatusCode>();
        for (var number = 0; number < 40; number++)
        {
            using var guess = fixture.Client($"pk_{number.ToString(CultureInfo.InvariantCulture).PadLeft(43, 'A')}", gateway);
            using var answer = await guess.GetAsync(Events, Ct);
            statuses.Add(answer.StatusCode);
        }

        Assert.InRange(statuses.Count(status => status == HttpStatusCode.Unauthorized), 9, 25);
        Assert.Equal(HttpStatusCode.TooManyRequests, statuses[^1]);
        Assert.Equal(HttpStatusCode.OK, (await known.GetAsync(Events, Ct)).StatusCode);
        using var probe = fixture.Client(null, gateway);
        Assert.Equal(HttpStatusCode.OK, (await probe.GetAsync("health", Ct)).StatusCode);
    }

    private static (string, string)[] Limits(int perSecond, int burst) =>
    [
        ("GATEWAY_RATE_LIMIT_PER_SECOND", perSecond.ToString(CultureInfo.InvariantCulture)),
        ("GATEWAY_RATE_LIMIT_BURST", burst.ToString(CultureInfo.InvariantCulture)),
    ];

    private static async Task<HttpResponseMessage> RefusedAsync(HttpClient client)
    {
        while (true)
        {
            var answer = await client.GetAsync(Events, Ct);
            if (answer.StatusCode == HttpStatusCode.TooManyRequests)
            {
                return answer;
            }

            answer.Dispose();
        }
    }

    private static async Task<(int Passed, double Seconds)> FloodAsync(HttpClient[] clients, int requests)
    {
        var passed = 0;
        var clock = Stopwatch.StartNew();
        await Parallel.ForEachAsync(Enumerable.Range(0, requests), new ParallelOptions { MaxDegreeOfParallelism = 8, CancellationToken = Ct }, async (number, ct) =>
        {
            using var answer = await clients[number % clients.Length].GetAsync(Events, ct);
            if (answer.IsSuccessStatusCode)
            {
                Interlocked.Increment(ref passed);
            }
            else
            {
                Assert.Equal(HttpStatusCode.TooManyRequests, answer.StatusCode);
            }
        });
        return (passed, clock.Elapsed.TotalSeconds);
    }
}
