using Microsoft.Extensions.DependencyInjection;
using Platform.Alerting.Alerts;
using Platform.Alerting.Doors;
using Platform.Postgres;

namespace Platform.Alerting.Tests;

/// <summary>What is over is kept for a while.</summary>
public sealed class AlertHistoryTests(GroupingWorld world) : IClassFixture<GroupingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_revoked_integration_key_is_listed_for_as_long_as_history_is_kept_and_one_that_works_for_ever()
    {
        await using var services = world.Replica(("ALERT_HISTORY_RETENTION_DAYS", "2"));
        var keys = services.GetRequiredService<IntegrationKeyStore>();
        var history = ActivatorUtilities.CreateInstance<AlertHistoryWorker>(services);
        await MakeAsync("works");
        await RevokeAsync(await MakeAsync("first"));
        world.Clock.Advance(TimeSpan.FromDays(1));
        await RevokeAsync(await MakeAsync("second"));
        // More than are deleted at a time.
        await world.Db.ExecuteAsync($"""
            insert into integration_keys (id, realm, name, key_hash, created_by, created_at, revoked_at)
            select gen_random_uuid(), 'many', 'old ' || n, sha256(n::text::bytea), 'anna', {world.Clock.Now.AddDays(-1)}, {world.Clock.Now.AddDays(-1)} from generate_series(1, 1001) n
            """, Ct);

        world.Clock.Advance(TimeSpan.FromDays(1));
        await history.TickAsync(Ct);
        Assert.Equal(["works", "second", "first"], await ListAsync("keys"));
        Assert.Equal(1_001, (await ListAsync("many")).Count);

        world.Clock.Advance(TimeSpan.FromSeconds(1));
        await history.TickAsync(Ct);
        Assert.Equal(["works", "second"], await ListAsync("keys"));
        Assert.Empty(await ListAsync("many"));

        world.Clock.Advance(TimeSpan.FromDays(1_000));
        await history.TickAsync(Ct);
        Assert.Equal(["works"], await ListAsync("keys"));

        async Task<Guid> MakeAsync(string name)
        {
            var made = new NewIntegrationKey(Guid.CreateVersion7(world.Clock.Now), "keys", name, $"the key of {name}");
            Assert.True(await world.InTransactionAsync(tx => keys.InsertAsync(tx, made, "anna", 10, world.Clock.Now, Ct)));
            return made.Id;
        }

        Task<bool> RevokeAsync(Guid id) => world.InTransactionAsync(async tx =>
        {
            await keys.RevokeAsync(tx, id, world.Clock.Now, Ct);
            return true;
        });

        async Task<List<string>> ListAsync(string realm) => [.. (await keys.ListAsync(realm, null, 2_000, Ct)).Select(key => key.Name)];
    }
}
