using Platform.Alerting.Rules;
using Platform.Alerting.Windows;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>Exact counts with two replicas, after a kill, and when a batch comes twice.</summary>
public sealed class ReplicaTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    [Fact]
    public async Task Hits_before_and_after_a_kill_add_up()
    {
        var handled = await world.CountAsync($"select count(*) from inbox");
        await world.TellAsync([.. Enumerable.Range(0, 4).Select(i => TestEvent.FailedLogin(world.Start.AddSeconds(i), "198.51.100.1"))]);
        await world.HandledAsync(handled + 1);
        await world.Service.KillAsync();
        Assert.Empty(world.Receiver.Of("198.51.100.1"));

        world.Service = await world.StartAsync();
        await world.TellAsync(TestEvent.FailedLogin(world.Start.AddSeconds(4), "198.51.100.1"));

        Assert.Equal(world.Start.AddSeconds(4), Assert.Single(await world.Receiver.WaitAsync("198.51.100.1", 1)).StartsAt);
    }

    [Fact]
    public async Task Two_replicas_that_share_the_events_fire_each_alert_once()
    {
        const int groups = 40;
        await using var second = await world.StartAsync();
        var handled = await world.CountAsync($"select count(*) from inbox");
        for (var hit = 0; hit < 5; hit++)
        {
            for (var group = 0; group < groups; group += 2)
            {
                // Two groups a batch, in both orders: replicas meet on the same windows from both sides.
                string[] pair = hit % 2 == 0 ? [$"shared-{group}-", $"shared-{group + 1}-"] : [$"shared-{group + 1}-", $"shared-{group}-"];
                await world.TellAsync([.. pair.Select(address => TestEvent.FailedLogin(world.Start.AddSeconds(hit), address))]);
            }
        }

        await world.HandledAsync(handled + 5 * groups / 2);
        var received = await world.Receiver.WaitAsync("shared-", groups);

        Assert.Equal(groups, received.Select(one => one.Label("ip_address")).Distinct().Count());
        Assert.Equal(groups, received.Count);
        Assert.Equal(groups, await world.CountAsync($"select count(*) from alerts where labels->>'ip_address' like 'shared-%'"));
        Assert.Contains("alerting_events_evaluated", await MetricsOf(world.Service), StringComparison.Ordinal);
        Assert.Contains("alerting_events_evaluated", await MetricsOf(second), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_window_that_is_forgotten_while_a_batch_waits_for_another_one_is_made_anew()
    {
        var ct = TestContext.Current.CancellationToken;
        await using var batchConnection = await world.Db.OpenConnectionAsync(ct);
        await using var batch = await batchConnection.BeginTransactionAsync(ct);
        var rule = (await RuleStore.ListAllAsync(batch, ct))[0];
        GroupHits[] groups = [new GroupHits(rule, "forgotten", ["a"]), new GroupHits(rule, "forgotten", ["b"])];
        var keys = groups.Select(group => group.Key).OrderBy(key => key.ToString(), StringComparer.Ordinal).ToArray();
        await world.Db.ExecuteAsync($"""
            insert into event_windows (key, rule_id, realm, group_values, position, forget_at)
            select key, {rule.Id}, 'forgotten', array['x'], 7, 9223372036854775807 from unnest({keys}) as fresh (key)
            """, ct);

        await using var otherConnection = await world.Db.OpenConnectionAsync(ct);
        await using var other = await otherConnection.BeginTransactionAsync(ct);
        await other.ExecuteAsync($"select 1 from event_windows where key = {keys[0]} for update", ct);
        var locking = WindowStore.LockAsync(batch, groups, ct);
        await Eventually.TrueAsync(
            async () => await world.CountAsync($"select count(*) from pg_stat_activity where pid = {batchConnection.ProcessID} and wait_event_type = 'Lock'") == 1,
            because: "the batch waits for the first window");
        await world.Db.ExecuteAsync($"delete from event_windows where key = {keys[1]}", ct);
        await other.CommitAsync(ct);
        var (windows, created) = await locking;

        Assert.Equal([7L, 0L], keys.Select(key => windows[key].Position));
        Assert.Equal([rule.Id], created.Select(one => one.Rule));
        Assert.Equal(0, await world.CountAsync($"select count(*) from (select 1 from event_windows where key = any({keys}) for update skip locked) free"));
    }

    [Fact]
    public async Task A_batch_that_is_delivered_twice_counts_once()
    {
        var handled = await world.CountAsync($"select count(*) from inbox");
        var id = Guid.CreateVersion7();
        var body = TestEvent.Batch([.. Enumerable.Range(0, 3).Select(i => TestEvent.FailedLogin(world.Start.AddSeconds(i), "198.51.100.2"))]);
        foreach (var _ in (int[])[1, 2])
        {
            await using var command = world.Db.CreateCommand("insert into outbox (message_id, topic, body, headers) values ($1, 'metrics.events.stored.v1', $2, '{}')");
            command.Parameters.Add(new() { Value = id });
            command.Parameters.Add(new() { Value = body });
            await command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
        }

        await world.TellAsync(TestEvent.FailedLogin(world.Start.AddSeconds(4), "198.51.100.2"));
        await world.HandledAsync(handled + 2);

        Assert.Equal(4, await world.CountAsync($"select sum(cardinality(hits)) from event_windows where '198.51.100.2' = any(group_values)"));
        Assert.Empty(world.Receiver.Of("198.51.100.2"));
    }

    private static async Task<string> MetricsOf(ServiceProcess service)
    {
        using var client = TestWorld.Anonymous(service);
        return await client.GetStringAsync(new Uri("metrics", UriKind.Relative), TestContext.Current.CancellationToken);
    }
}
