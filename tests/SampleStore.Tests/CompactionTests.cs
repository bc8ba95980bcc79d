using Platform.PromQL;

namespace Platform.SampleStore.Tests;

public sealed class CompactionTests
{
    private static readonly Selection Everything = new([new Matcher("__name__", MatchKind.Regex, ".+")], long.MinValue / 2, long.MaxValue / 2);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Whatever_happens_in_whatever_order_the_answers_are_those_of_a_plain_list(int seed)
    {
        await using var world = await StoreWorld.CreateAsync();
        var options = new SampleStoreOptions { HeadWindow = TimeSpan.FromHours(1), IndexWindow = TimeSpan.FromHours(5), CompactAfter = TimeSpan.FromHours(1), FollowEvery = TimeSpan.FromSeconds(30) };
        List<PostgresSampleStore> replicas = [await world.StartAsync(options), await world.StartAsync(options)];
        var random = new Random(seed);
        var expected = new Dictionary<string, SortedDictionary<long, double>>();

        for (var step = 0; step < 60; step++)
        {
            var store = replicas[random.Next(2)];
            switch (random.Next(10))
            {
                case < 5:
                    using (var batch = new WriteBatch())
                    {
                        var series = StoreWorld.Labels("m", ("s", $"{random.Next(6)}"));
                        var own = expected.TryGetValue(series.ToString(), out var known) ? known : expected[series.ToString()] = [];
                        // Mostly recent, some of days ago; often in order, often not; sometimes again.
                        var start = world.Now - (random.Next(4) == 0 ? random.NextInt64(3 * 86_400_000L) : random.NextInt64(7_200_000));
                        for (var at = 0; at < random.Next(1, 400); at++)
                        {
                            var time = random.Next(5) == 0 ? start - random.Next(600) * 1000 : start + at * 1000;
                            // The value follows from the time: which of two writers was first is another test's matter.
                            batch.Add(store.Intern(series, out _)!, time, time % 1009);
                            own.TryAdd(time, time % 1009);
                        }

                        await store.CommitAsync(batch, StoreWorld.Ct);
                    }

                    break;
                case 5:
                    world.Clock.Advance(TimeSpan.FromMinutes(random.Next(1, 200)));
                    break;
                case 6:
                    await store.CompactAsync(everything: random.Next(2) == 0, StoreWorld.Ct);
                    break;
                case 7:
                    await store.TickAsync(StoreWorld.Ct);
                    break;
                case 8:
                    store.Sweep();
                    break;
                default:
                    replicas[random.Next(2)] = await world.StartAsync(options);
                    break;
            }

            foreach (var replica in replicas)
            {
                await replica.FollowAsync(StoreWorld.Ct);
                await AssertHasAsync(replica, expected, step);
            }
        }
    }

    [Fact]
    public async Task Readers_see_every_sample_while_it_is_compacted_and_leaves_memory()
    {
        await using var world = await StoreWorld.CreateAsync();
        var options = new SampleStoreOptions { HeadWindow = TimeSpan.FromMinutes(10), ChunkCacheBytes = 0, FollowEvery = TimeSpan.FromMilliseconds(20) };
        var (left, right) = (await world.StartAsync(options), await world.StartAsync(options));
        var expected = new Dictionary<string, SortedDictionary<long, double>>();
        var reading = new List<Task<int>>();
        for (var round = 0; round < 8; round++)
        {
            for (var series = 0; series < 20; series++)
            {
                var labels = StoreWorld.Labels("m", ("s", $"{series}"));
                var samples = Enumerable.Range(0, 300).Select(at => (At: world.Now + at * 1000L, Value: (double)at)).ToArray();
                await left.WriteAsync(labels, samples);
                var own = expected.TryGetValue(labels.ToString(), out var known) ? known : expected[labels.ToString()] = [];
                foreach (var (at, value) in samples)
                {
                    own.Add(at, value);
                }
            }

            world.Clock.Advance(TimeSpan.FromMinutes(5));
            await right.FollowAsync(StoreWorld.Ct);
            using var compacted = new CancellationTokenSource();
            reading.AddRange(new[] { left, right }.Select(store => Task.Run(async () =>
            {
                var times = 0;
                do
                {
                    await AssertHasAsync(store, expected, times++);
                }
                while (!compacted.IsCancellationRequested);

                return times;
            })));

            await world.CompactAllAsync(round % 2 == 0 ? left : right);
            await left.FollowAsync(StoreWorld.Ct);
            await right.FollowAsync(StoreWorld.Ct);
            left.Sweep();
            right.Sweep();
            await compacted.CancelAsync();
            await Task.WhenAll(reading);
        }

        Assert.Equal(0, await world.ScalarAsync<long>("select count(*) from sample_batches"));
    }

    [Fact]
    public async Task A_day_that_is_over_ends_as_one_row_per_series()
    {
        await using var world = await StoreWorld.CreateAsync();
        var store = await world.StartAsync(new SampleStoreOptions { HeadWindow = TimeSpan.FromMinutes(10), CompactAfter = TimeSpan.FromHours(1) });
        var day = world.Clock.Now.Date;
        for (var hour = 0; hour < 6; hour++)
        {
            await store.WriteAsync(StoreWorld.Labels("m"), [.. Enumerable.Range(0, 60).Select(at => (world.Now + at * 1000L, (double)at))]);
            await world.CompactAllAsync(store);
            world.Clock.Advance(TimeSpan.FromHours(1));
        }

        var before = await store.ReadAsync(null, "m", 0, long.MaxValue);
        Assert.Equal(6, await world.ScalarAsync<long>("select count(*) from sample_chunks"));
        world.Clock.Now = new DateTimeOffset(day, TimeSpan.Zero).AddDays(2);

        await store.TickAsync(StoreWorld.Ct);

        Assert.Equal(1, await world.ScalarAsync<long>("select count(*) from sample_chunks"));
        var after = await store.ReadAsync(null, "m", 0, long.MaxValue);
        Assert.Equal(360, after.Times.Count);
        Assert.Equal(before.Times, after.Times);
        Assert.Equal(before.Values, after.Values);
    }

    [Fact]
    public async Task Retention_drops_days_and_then_series_and_refuses_what_is_older()
    {
        await using var world = await StoreWorld.CreateAsync();
        var store = await world.StartAsync(new SampleStoreOptions { RetentionDays = 2, HeadWindow = TimeSpan.FromHours(1), IndexWindow = TimeSpan.FromHours(1) });
        await store.WriteAsync(StoreWorld.Labels("old"), (world.Now, 1));
        await store.WriteAsync(StoreWorld.Labels("kept"), (world.Now, 1));
        await world.CompactAllAsync(store);
        world.Clock.Advance(TimeSpan.FromDays(3));
        await store.WriteAsync(StoreWorld.Labels("kept"), (world.Now, 2));
        await world.CompactAllAsync(store);

        await store.TickAsync(StoreWorld.Ct);

        Assert.Empty((await store.ReadAsync(null, "old", 0, world.Now)).Times);
        Assert.Equal([2], (await store.ReadAsync(null, "kept", 0, world.Now)).Values);
        using var late = new WriteBatch();
        late.Add(store.Intern(StoreWorld.Labels("kept"), out _)!, world.Now - 3 * 86_400_000L, 1);
        var refused = await store.CommitAsync(late, StoreWorld.Ct);
        Assert.Equal(0, refused.Written);
        Assert.Contains("METRICS_RETENTION_DAYS", Assert.Single(refused.Refusals), StringComparison.Ordinal);

        world.Clock.Advance(TimeSpan.FromDays(3));
        await store.TickAsync(StoreWorld.Ct);

        Assert.Equal("kept", await world.ScalarAsync<string>("select string_agg(name, ',') from series"));
    }

    [Fact]
    public async Task Series_that_went_quiet_leave_memory_and_are_still_found_by_who_looks_back()
    {
        await using var world = await StoreWorld.CreateAsync();
        var store = await world.StartAsync(new SampleStoreOptions { HeadWindow = TimeSpan.FromHours(1), IndexWindow = TimeSpan.FromHours(2) });
        var start = world.Now;
        await store.WriteAsync(StoreWorld.Labels("pod", ("id", "gone")), (start, 1));
        await store.WriteAsync(StoreWorld.Labels("pod", ("id", "stays")), (start, 2));
        await world.CompactAllAsync(store);
        world.Clock.Advance(TimeSpan.FromHours(6));
        await store.WriteAsync(StoreWorld.Labels("pod", ("id", "stays")), (world.Now, 3));

        store.Sweep();

        Assert.Equal(1, store.SeriesInMemory);
        Assert.Equal([3], (await store.ReadAsync(null, "pod", world.Now - 1000, world.Now)).Values);
        Assert.Equal([1, 2, 3], (await store.ReadAsync(null, "pod", 0, world.Now)).Values.Order());
        Assert.Equal(["gone", "stays"], await store.LabelValuesAsync("default", "id", [new Selection([new Matcher("__name__", MatchKind.Equal, "pod")], start, world.Now)], 10, StoreWorld.Ct));
        // Who comes back is the same series as before.
        await store.WriteAsync(StoreWorld.Labels("pod", ("id", "gone")), (world.Now, 4));
        Assert.Equal([1, 2, 3, 4], (await store.ReadAsync(null, "pod", 0, world.Now)).Values.Order());
        Assert.Equal(2, await world.ScalarAsync<long>("select count(*) from series"));
    }

    private static async Task AssertHasAsync(PostgresSampleStore store, Dictionary<string, SortedDictionary<long, double>> expected, int step)
    {
        var columns = new SampleColumns();
        var met = 0;
        await foreach (var batch in store.Source(null).SelectAsync(Everything, CancellationToken.None))
        {
            foreach (var series in batch)
            {
                columns.Clear();
                series.Read(Everything.From, Everything.To, columns);
                if (columns.Count == 0)
                {
                    continue;
                }

                met++;
                var wanted = expected[series.Labels.ToString()];
                Assert.True(wanted.Count == columns.Count, $"step {step}: {series.Labels} has {columns.Count} samples instead of {wanted.Count}");
                Assert.Equal(wanted.Keys, columns.Times.ToArray());
                Assert.Equal(wanted.Values, columns.Values.ToArray());
            }
        }

        Assert.True(expected.Count == met, $"step {step}: {met} series instead of {expected.Count}");
    }
}
