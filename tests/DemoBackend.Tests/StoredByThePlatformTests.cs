using System.Net.Http.Json;
using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.DemoBackend.Replay;
using Platform.Instrumentation;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.DemoBackend.Tests;

/// <summary>One Metrics service on real servers; each test works in a realm of its own. A ticket stands in for the gateway's API key.</summary>
public sealed class MetricsFixture : IAsyncLifetime
{
    public TestWorld World { get; private set; } = null!;

    public ServiceProcess Metrics { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        Metrics = await World.StartAsync("Metrics", "metricsdb");
    }

    public ValueTask DisposeAsync() => World.DisposeAsync();
}

public sealed class StoredByThePlatformTests(MetricsFixture fixture) : IClassFixture<MetricsFixture>
{
    [Fact]
    public async Task The_real_log_replayed_is_stored_whole_and_its_failed_logins_are_found_by_tag()
    {
        var log = RealLog.PathOrSkip();
        using var progress = new StringWriter();
        var (delivery, http) = await DeliveryAsync("replay");
        using var _ = http;

        var exit = await new LogReplay(delivery, TimeProvider.System, progress).RunAsync(log, 0, double.PositiveInfinity, TestContext.Current.CancellationToken);

        Assert.True(exit == 0, progress.ToString());
        var failed = await ListAsync("replay", "tags.action=login&tags.outcome=failure&limit=1000");
        Assert.Equal(528, failed.Count);
        Assert.Equal(23, failed.Select(happened => happened.GetProperty("tags").GetProperty("ip_address").GetString()).Distinct().Count());
        Assert.Equal(1_000, (await ListAsync("replay", "limit=1000&offset=1000")).Count);
        Assert.Equal(8, (await ListAsync("replay", "limit=1000&offset=2000")).Count);
    }

    [Fact]
    public async Task Events_with_the_oddest_values_are_stored()
    {
        var (delivery, http) = await DeliveryAsync("odd");
        using var _ = http;
        var tags = new Dictionary<string, object?> { ["user_id"] = "an\0na\ud800<b>\"\\", ["n"] = double.MaxValue, ["nan"] = double.NaN, ["big"] = decimal.MaxValue, ["yes"] = true, ["none"] = null };
        var happened = new MonitoringEvent(EventTypes.Log, "shop", "Zeile 1\nZeile 2 äöü 😀\0", Levels.Critical, DateTimeOffset.Now, tags, new Dictionary<string, object?> { ["a\0b"] = new[] { "x\0y" } });

        var report = await delivery.DeliverAsync([happened.ToJson()], TestContext.Current.CancellationToken);

        Assert.Equal(new DeliveryReport(1, 0, 0), report);
        var stored = Assert.Single(await ListAsync("odd", ""));
        Assert.Equal("an\uFFFDna\uFFFD<b>\"\\", stored.GetProperty("tags").GetProperty("user_id").GetString());
        Assert.Equal("Zeile 1\nZeile 2 äöü 😀\uFFFD", stored.GetProperty("message").GetString());
    }

    [Fact]
    public async Task Of_a_batch_with_events_that_the_platform_refuses_the_others_are_stored()
    {
        var (delivery, http) = await DeliveryAsync("refused");
        using var _ = http;
        var good = new MonitoringEvent(EventTypes.Log, "shop", "good", Levels.Info, DateTimeOffset.UtcNow, new Dictionary<string, object?>());
        byte[][] batch = [good.ToJson(), (good with { Timestamp = DateTimeOffset.UtcNow.AddYears(-5) }).ToJson(), good.ToJson(), (good with { EventType = "rumour" }).ToJson()];

        var report = await delivery.DeliverAsync(batch, TestContext.Current.CancellationToken);

        Assert.Equal(new DeliveryReport(2, 2, 0), report);
        Assert.Equal(2, (await ListAsync("refused", "")).Count);
    }

    private async Task<(EventDelivery Delivery, HttpClient Http)> DeliveryAsync(string realm)
    {
        var ticket = await fixture.World.TicketAsync(new Caller("key:test", Role.User, realm, Scopes.Ingest));
        var http = EventDelivery.CreateClient(fixture.Metrics.Url, ticket, TimeSpan.FromSeconds(30));
        return (new EventDelivery(http, TimeProvider.System, TimeSpan.FromSeconds(1), NullLogger.Instance), http);
    }

    private async Task<List<JsonElement>> ListAsync(string realm, string query)
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: realm);
        var answer = await client.GetFromJsonAsync<JsonElement>($"api/v1/monitoring/events?{query}", TestContext.Current.CancellationToken);
        return [.. answer.GetProperty("data").GetProperty("items").EnumerateArray()];
    }
}
