using Npgsql;
using Platform.PromQL;
using Platform.Testing;

namespace Platform.SampleStore.Tests;

public sealed class PostgresSampleStoreTests
{
    [Fact]
    public async Task What_is_committed_is_read_at_once_and_after_a_restart()
    {
        await using var world = await StoreWorld.CreateAsync();
        var first = await world.StartAsync();
        await first.WriteAsync(StoreWorld.Labels("up", ("job", "a")), (world.Now - 2000, 1), (world.Now - 1000, double.NaN), (world.Now, StaleMarker.Value));

        var before = await first.ReadAsync("default", "up", 0, world.Now);
        var restarted = await world.StartAsync();
        var after = await restarted.ReadAsync("default", "up", 0, world.Now);

        Assert.Equal([world.Now - 2000, world.Now - 1000, world.Now], before.Times);
        Assert.True(StaleMarker.Is(before.Values[2]));
        Assert.Equal(before.Times, after.Times);
        Assert.Equal(before.Values.Select(BitConverter.DoubleToInt64Bits), after.Values.Select(BitConverter.DoubleToInt64Bits));
        Assert.Empty((await restarted.ReadAsync("other", "up", 0, world.Now)).Times);
    }

    [Fact]
    public async Task Two_replicas_see_what_the_other_commits_and_agree_on_series_that_both_make()
    {
        await using var world = await StoreWorld.CreateAsync();
        var (left, right) = (await world.StartAsync(), await world.StartAsync());
        await Task.WhenAll(Enumerable.Range(0, 40).Select(at => (at % 2 == 0 ? left : right)
            .WriteAsync(StoreWorld.Labels("up", ("job", $"{at / 4}")), (world.Now + at, at))));

        foreach (var store in (PostgresSampleStore[])[left, right])
        {
            await store.FollowAsync(StoreWorld.Ct);
            Assert.Equal(Enumerable.Range(0, 40).Select(at => (double)at), (await store.ReadAsync(null, "up", 0, world.Now + 100)).Values.Order());
        }

        Assert.Equal(10, await world.ScalarAsync<long>("select count(*) from series"));
    }

    [Fact]
    public async Task A_commit_that_is_overtaken_by_a_later_one_is_not_skipped()
    {
        await using var world = await StoreWorld.CreateAsync();
        var store = await world.StartAsync(new SampleStoreOptions { FollowEvery = TimeSpan.FromSeconds(60) });
        await store.WriteAsync(StoreWorld.Labels("up"), (world.Now, 1));
        // The store also looks by itself when it hears of its own commit, so what counts is how much it has met in all.
        var before = await AppliedAsync(store);
        // Two rows of another replica: the first one takes its number and its txid, the second one commits before it.
        await using var slow = await world.Db.OpenConnectionAsync(StoreWorld.Ct);
        await using var slowTx = await slow.BeginTransactionAsync(StoreWorld.Ct);
        await InsertCopyAsync(slow);
        await using (var fast = await world.Db.OpenConnectionAsync(StoreWorld.Ct))
        {
            await InsertCopyAsync(fast);
        }

        Assert.Equal(before + 1, await AppliedAsync(store));
        Assert.Equal(before + 1, await AppliedAsync(store));
        await slowTx.CommitAsync(StoreWorld.Ct);

        Assert.Equal(before + 2, await AppliedAsync(store));
        Assert.Equal(before + 2, await AppliedAsync(store));
    }

    [Fact]
    public async Task A_transaction_id_that_a_crashed_server_gives_a_second_time_hides_no_commit()
    {
        await using var world = await StoreWorld.CreateAsync();
        var store = await world.StartAsync(new SampleStoreOptions { FollowEvery = TimeSpan.FromSeconds(60) });
        await store.WriteAsync(StoreWorld.Labels("up"), (world.Now, 1));
        var before = await AppliedAsync(store);
        // As if an id below the last snapshot's xmax had been given again.
        await using (var insert = world.Db.CreateCommand("insert into sample_batches (txid, token, samples, bytes) select txid, gen_random_uuid(), samples, bytes from sample_batches"))
        {
            await insert.ExecuteNonQueryAsync(StoreWorld.Ct);
        }

        Assert.Equal(before, await AppliedAsync(store));
        store.Follower.ServerWentAway();

        Assert.Equal(before + 1, await AppliedAsync(store));
        Assert.Equal(before + 1, await AppliedAsync(store));
    }

    [Fact]
    public async Task Increments_from_two_replicas_add_up_and_repeated_ones_count_once()
    {
        await using var world = await StoreWorld.CreateAsync();
        var (left, right) = (await world.StartAsync(), await world.StartAsync());
        var labels = StoreWorld.Labels("logins_total");
        await Task.WhenAll(Enumerable.Range(0, 50).Select(async at =>
        {
            var store = at % 2 == 0 ? left : right;
            using var batch = new WriteBatch();
            batch.Increment(store.Intern(labels, out _)!, world.Now, 1);
            batch.IncrementOnce(store.Intern(StoreWorld.Labels("delta_total"), out _)!, world.Now + at / 10, 1);
            Assert.Equal(CommitOutcome.Stored, (await store.CommitAsync(batch, StoreWorld.Ct)).Outcome);
        }));
        await left.FollowAsync(StoreWorld.Ct);

        var (times, values) = await left.ReadAsync(null, "logins_total", 0, world.Now + 1000);

        Assert.Equal(50, values[^1]);
        Assert.Equal(values.Order(), values);
        Assert.Equal(times.Distinct(), times);
        // Which of the five times comes first is open, so how many of them count is; each of them counts at most once.
        Assert.InRange((await left.ReadAsync(null, "delta_total", 0, world.Now + 1000)).Values[^1], 1, 5);
    }

    [Fact]
    public async Task A_key_is_stored_once_also_when_its_repetition_comes_to_another_replica()
    {
        await using var world = await StoreWorld.CreateAsync();
        var (left, right) = (await world.StartAsync(), await world.StartAsync());
        var outcomes = new List<CommitResult>();
        foreach (var (store, hash) in ((PostgresSampleStore, byte)[])[(left, 1), (right, 1), (left, 2)])
        {
            using var batch = new WriteBatch { Key = new BatchKey("key:a", "k", [hash]) };
            batch.Increment(store.Intern(StoreWorld.Labels("logins_total"), out _)!, world.Now, 1);
            outcomes.Add(await store.CommitAsync(batch, StoreWorld.Ct));
        }

        Assert.Equal([CommitOutcome.Stored, CommitOutcome.Repeated, CommitOutcome.KeyReused], outcomes.Select(result => result.Outcome));
        Assert.Equal([1, 1, 0], outcomes.Select(result => result.Written));
        Assert.Equal([1], (await left.ReadAsync(null, "logins_total", 0, long.MaxValue)).Values);
    }

    [Fact]
    public async Task Data_that_postgres_refuses_fails_its_own_request_only()
    {
        await using var world = await StoreWorld.CreateAsync();
        var store = await world.StartAsync(new SampleStoreOptions { Writers = 1 });
        using var bad = new WriteBatch();
        bad.Describe(new MetricMetadata("default", "up", "gauge", "no text \0 for PostgreSQL", ""));
        var commits = new List<Task>();
        for (var at = 0; at < 20; at++)
        {
            commits.Add(store.WriteAsync(StoreWorld.Labels("up", ("job", $"{at}")), (world.Now, at)));
        }

        var failing = store.CommitAsync(bad, StoreWorld.Ct);
        await Assert.ThrowsAsync<PostgresException>(() => failing);
        await Task.WhenAll(commits);

        Assert.Equal(20, (await store.ReadAsync(null, "up", 0, world.Now)).Times.Count);
    }

    [Fact]
    public async Task Metadata_is_what_was_said_last()
    {
        await using var world = await StoreWorld.CreateAsync();
        var store = await world.StartAsync();
        foreach (var help in (string[])["old", "new"])
        {
            using var batch = new WriteBatch();
            batch.Describe(new MetricMetadata("default", "up", "gauge", help, ""));
            await store.CommitAsync(batch, StoreWorld.Ct);
        }

        Assert.Equal([new MetricMetadata("default", "up", "gauge", "new", "")], await store.MetadataAsync("default", null, 10, StoreWorld.Ct));
        Assert.Empty(await store.MetadataAsync("other", "up", 10, StoreWorld.Ct));
    }

    [Fact]
    public async Task A_full_queue_turns_requests_away_and_takes_them_again_when_it_has_emptied()
    {
        await using var world = await StoreWorld.CreateAsync();
        var store = await world.StartAsync(new SampleStoreOptions { QueueSamples = 1000, Writers = 1 });
        // Nothing can be committed while somebody holds the table.
        await using var holder = await world.Db.OpenConnectionAsync(StoreWorld.Ct);
        await using var tx = await holder.BeginTransactionAsync(StoreWorld.Ct);
        await using (var hold = new NpgsqlCommand("lock table sample_batches in share mode", holder))
        {
            await hold.ExecuteNonQueryAsync(StoreWorld.Ct);
        }

        using var first = Filled(store, world.Now, 900);
        using var second = Filled(store, world.Now, 900);
        var waiting = store.CommitAsync(first, StoreWorld.Ct);
        var refused = await store.CommitAsync(second, StoreWorld.Ct);

        Assert.Equal(CommitOutcome.Busy, refused.Outcome);
        Assert.True(refused.RetryAfter > TimeSpan.Zero);
        await tx.RollbackAsync(StoreWorld.Ct);
        Assert.Equal(CommitOutcome.Stored, (await waiting).Outcome);
        await Eventually.TrueAsync(async () => (await store.CommitAsync(second, StoreWorld.Ct)).Outcome == CommitOutcome.Stored, because: "the queue has emptied");
    }

    /// <summary>Commits of other replicas that the store has met by now.</summary>
    private static async Task<int> AppliedAsync(PostgresSampleStore store)
    {
        await store.FollowAsync(StoreWorld.Ct);
        return store.Follower.Applied;
    }

    private static WriteBatch Filled(PostgresSampleStore store, long from, int count)
    {
        var batch = new WriteBatch();
        var series = store.Intern(StoreWorld.Labels("filled"), out _)!;
        for (var at = 0; at < count; at++)
        {
            batch.Add(series, from - at, at);
        }

        return batch;
    }

    private static async Task InsertCopyAsync(NpgsqlConnection connection)
    {
        await using var insert = new NpgsqlCommand("insert into sample_batches (token, samples, bytes) select gen_random_uuid(), samples, bytes from sample_batches limit 1", connection);
        await insert.ExecuteNonQueryAsync(StoreWorld.Ct);
    }
}
