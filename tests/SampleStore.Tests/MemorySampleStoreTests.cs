using Platform.PromQL;
using Platform.Testing;

namespace Platform.SampleStore.Tests;

public sealed class MemorySampleStoreTests
{
    private readonly TestClock _clock = new();

    private long Now => _clock.Now.ToUnixTimeMilliseconds();

    [Fact]
    public async Task Samples_are_read_in_order_of_time_however_they_came()
    {
        using var store = new MemorySampleStore(new SampleStoreOptions(), _clock);
        var up = Up(store, "a");
        var expected = new SortedDictionary<long, double>();
        // 7919 is prime to 1000: every time comes once, in a scattered order, in small and large requests.
        for (var start = 0; start < 1000; start += 50)
        {
            using var batch = new WriteBatch();
            for (var at = start; at < start + 50; at++)
            {
                var step = at * 7919L % 1000;
                batch.Add(up, Now - step * 1000, step);
                expected[Now - step * 1000] = step;
            }

            await store.CommitAsync(batch, TestContext.Current.CancellationToken);
        }

        var (times, values) = await store.ReadAsync("a", "up", Now - 900_000, Now - 100_000);

        var wanted = expected.Where(sample => sample.Key >= Now - 900_000 && sample.Key <= Now - 100_000).ToList();
        Assert.Equal(wanted.Select(sample => sample.Key), times);
        Assert.Equal(wanted.Select(sample => sample.Value), values);
    }

    [Fact]
    public async Task Of_two_samples_with_one_time_the_first_stays()
    {
        using var store = new MemorySampleStore(new SampleStoreOptions(), _clock);
        var up = Up(store, "a");
        foreach (var value in (double[])[1, 2])
        {
            using var batch = new WriteBatch();
            // Enough to be sealed, so that the second round meets chunks.
            for (var at = 0; at < 300; at++)
            {
                batch.Add(up, Now - 300_000 + at * 1000, value);
            }

            await store.CommitAsync(batch, TestContext.Current.CancellationToken);
        }

        var (times, values) = await store.ReadAsync(null, "up", 0, long.MaxValue);

        Assert.Equal(300, times.Count);
        Assert.All(values, value => Assert.Equal(1, value));
    }

    [Fact]
    public async Task A_realm_sees_its_own_series_only()
    {
        using var store = new MemorySampleStore(new SampleStoreOptions(), _clock);
        using var batch = new WriteBatch();
        batch.Add(Up(store, "mine"), Now, 1);
        batch.Add(Up(store, "other"), Now, 2);
        await store.CommitAsync(batch, TestContext.Current.CancellationToken);

        Assert.Equal([1], (await store.ReadAsync("mine", "up", 0, Now)).Values);
        Assert.Equal(["mine"], await store.LabelValuesAsync("mine", "realm", [], 10, TestContext.Current.CancellationToken));
        Assert.Equal(["mine", "other"], await store.LabelValuesAsync(null, "realm", [], 10, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Samples_that_are_too_old_or_too_far_ahead_are_refused_and_the_others_stored()
    {
        using var store = new MemorySampleStore(new SampleStoreOptions { RetentionDays = 7 }, _clock);
        var up = Up(store, "a");
        using var batch = new WriteBatch();
        batch.Add(up, Now - 9 * 86_400_000L, 1);
        batch.Add(up, Now, 2);
        batch.Add(up, Now + 3_600_000, 3);

        var result = await store.CommitAsync(batch, TestContext.Current.CancellationToken);

        Assert.Equal((CommitOutcome.Stored, 1), (result.Outcome, result.Written));
        Assert.Collection(
            result.Refusals,
            reason => Assert.Contains("1 samples are older than 2026-01-08T00:00:00Z", reason, StringComparison.Ordinal),
            reason => Assert.Contains("METRICS_MAX_SAMPLE_FUTURE_SECONDS", reason, StringComparison.Ordinal));
        Assert.Equal([2], (await store.ReadAsync(null, "up", 0, long.MaxValue)).Values);
    }

    [Fact]
    public async Task Increments_become_samples_of_a_growing_total()
    {
        using var store = new MemorySampleStore(new SampleStoreOptions(), _clock);
        var up = Up(store, "a");
        using var batch = new WriteBatch();
        batch.Increment(up, Now, 1);
        batch.Increment(up, Now, 2);
        batch.IncrementOnce(up, Now - 5, 4);
        batch.IncrementOnce(up, Now - 5, 4);
        await store.CommitAsync(batch, TestContext.Current.CancellationToken);

        var (times, values) = await store.ReadAsync(null, "up", 0, long.MaxValue);

        Assert.Equal([Now, Now + 1, Now + 2], times);
        Assert.Equal([1, 3, 7], values);
    }

    [Fact]
    public async Task A_request_with_a_key_is_stored_once()
    {
        using var store = new MemorySampleStore(new SampleStoreOptions(), _clock);
        var outcomes = new List<CommitOutcome>();
        foreach (var hash in (byte[])[1, 1, 2])
        {
            using var batch = new WriteBatch { Key = new BatchKey("key:a", "k1", [hash]) };
            batch.Increment(Up(store, "a"), Now, 1);
            outcomes.Add((await store.CommitAsync(batch, TestContext.Current.CancellationToken)).Outcome);
        }

        Assert.Equal([CommitOutcome.Stored, CommitOutcome.Repeated, CommitOutcome.KeyReused], outcomes);
        Assert.Equal([1], (await store.ReadAsync(null, "up", 0, long.MaxValue)).Values);
    }

    private static StoredSeries Up(MemorySampleStore store, string realm) => store.Intern(Labels.Of(("__name__", "up"), ("realm", realm)), out _)!;
}
