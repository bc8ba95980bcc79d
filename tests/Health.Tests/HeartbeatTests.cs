using System.Net;
using System.Net.Http.Json;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Contracts;
using Platform.Health.Heartbeats;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Health.Tests;

/// <summary>Who must not fall silent, and what is said when somebody does.</summary>
public sealed class HeartbeatTests : IAsyncLifetime
{
    private const string Path = "api/v1/monitoring/health/heartbeats";

    private TestWorld _world = null!;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _world = await TestWorld.CreateAsync();

    public async ValueTask DisposeAsync() => await _world.DisposeAsync();

    [Fact]
    public async Task A_heartbeat_that_does_not_come_is_told_once_and_again_when_it_is_back()
    {
        await using var bus = await HealthServiceTests.Bus.ListenAsync(_world.Broker);
        var service = await _world.StartHealthAsync(("HEALTH_HEARTBEAT_START_SECONDS", "0"));
        // A replica beside it sees the same, and says nothing twice.
        await _world.StartHealthAsync(("HEALTH_HEARTBEAT_START_SECONDS", "0"));
        using var moderator = await _world.ClientAsync(service, Role.Moderator, "shop");
        using var made = await moderator.PutAsJsonAsync($"{Path}/backup", new { interval_seconds = 1 }, Ct);
        Assert.Equal(HttpStatusCode.OK, made.StatusCode);

        var missed = await bus.NextAsync("heartbeat/backup");
        Assert.Equal(("shop", "heartbeat", HealthState.Healthy, HealthState.Unhealthy), (missed.Realm, missed.Kind, missed.Previous, missed.Current));

        using var ingest = await _world.ClientAsync(service, Role.User, "shop", Scopes.Ingest);
        using var beat = await ingest.PostAsync(new Uri($"{Path}/backup", UriKind.Relative), null, Ct);
        Assert.Equal(HttpStatusCode.OK, beat.StatusCode);
        var back = await bus.NextAsync("heartbeat/backup");
        Assert.Equal((HealthState.Unhealthy, HealthState.Healthy), (back.Previous, back.Current));
        Assert.Equal(HealthState.Unhealthy, (await bus.NextAsync("heartbeat/backup")).Current);

        // Deleted while it is missed: whoever was alarmed is told that nothing is expected any more.
        using var deleted = await moderator.DeleteAsync(new Uri($"{Path}/backup", UriKind.Relative), Ct);
        Assert.Equal(HttpStatusCode.NoContent, deleted.StatusCode);
        Assert.Equal(HealthState.Unknown, (await bus.NextAsync("heartbeat/backup")).Current);
        using var unknown = await ingest.PostAsync(new Uri($"{Path}/backup", UriKind.Relative), null, Ct);
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
    }

    [Fact]
    public async Task It_is_missed_at_the_very_moment_it_is_overdue_and_the_worker_sleeps_until_then()
    {
        // The migrations come with the service; its own worker judges by the clock on the wall, on which the beat below lies ahead.
        var service = await _world.StartHealthAsync();
        await using var db = await _world.OpenAsync("healthdb");
        var clock = new TestClock(DateTimeOffset.FromUnixTimeSeconds(DateTimeOffset.UtcNow.ToUnixTimeSeconds()).AddDays(1));
        var store = new HeartbeatStore(db);
        await using (var connection = await db.OpenConnectionAsync(Ct))
        await using (var tx = await connection.BeginTransactionAsync(Ct))
        {
            Assert.True(await store.SaveAsync(tx, "shop", "precise", new HeartbeatBody(10, 5), "test", 1, clock.Now, Ct));
            Assert.False(await store.SaveAsync(tx, "shop", "one-too-many", new HeartbeatBody(10), "test", 1, clock.Now, Ct));
            await store.BeatAsync(tx, "shop", "precise", clock.Now, Ct);
            await tx.CommitAsync(Ct);
        }

        using var worker = new HeartbeatWorker(store, new HeartbeatOptions(), clock, NullLogger<HeartbeatWorker>.Instance);
        Assert.Equal(TimeSpan.FromSeconds(1), await worker.TickAsync(Ct));
        clock.Advance(TimeSpan.FromSeconds(14.7));
        Assert.Equal(TimeSpan.FromSeconds(0.3), await worker.TickAsync(Ct));
        clock.Advance(TimeSpan.FromSeconds(0.299));
        Assert.Empty((await store.MissAsync(clock.Now, Ct)).Missed);
        clock.Advance(TimeSpan.FromSeconds(0.001));
        Assert.Equal("precise", Assert.Single((await store.MissAsync(clock.Now, Ct)).Missed).Name);
        Assert.Empty((await store.MissAsync(clock.Now, Ct)).Missed);
        Assert.Equal(1, await db.FindAsync($"select count(*) from heartbeats where missed", row => row.GetInt64(0), Ct));
        Assert.NotNull(service);
    }

    [Fact]
    public async Task Wrong_times_and_names_are_refused_and_realms_keep_apart()
    {
        var service = await _world.StartHealthAsync();
        using var moderator = await _world.ClientAsync(service, Role.Moderator, "here");
        using var foreign = await _world.ClientAsync(service, Role.Moderator, "there");
        using var user = await _world.ClientAsync(service, Role.User, "here");
        async Task<HttpStatusCode> PutAsync(HttpClient client, string name, int interval)
        {
            using var answer = await client.PutAsJsonAsync($"{Path}/{name}", new { interval_seconds = interval }, Ct);
            return answer.StatusCode;
        }

        Assert.Equal(HttpStatusCode.BadRequest, await PutAsync(moderator, "x", 0));
        Assert.Equal(HttpStatusCode.BadRequest, await PutAsync(moderator, "a%20b", 10));
        Assert.Equal(HttpStatusCode.Forbidden, await PutAsync(user, "x", 10));
        Assert.Equal(HttpStatusCode.OK, await PutAsync(moderator, "nightly", 10));
        Assert.Single((await moderator.GetJsonAsync(Path)).GetProperty("data").GetProperty("items").EnumerateArray());
        Assert.Empty((await foreign.GetJsonAsync(Path)).GetProperty("data").GetProperty("items").EnumerateArray());
    }
}
