using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;
using Platform.Postgres;
using Platform.PromQL;
using Platform.Testing;

namespace Platform.SampleStore.Tests;

/// <summary>A database of its own on a real server, and stores (replicas) on it.</summary>
internal sealed class StoreWorld : IAsyncDisposable
{
    private readonly List<PostgresSampleStore> _stores = [];
    private readonly List<NpgsqlDataSource> _sources = [];
    private readonly string _connection;

    private StoreWorld(string connection)
    {
        _connection = connection;
        Db = Connect();
    }

    public TestClock Clock { get; } = new();

    public long Now => Clock.Now.ToUnixTimeMilliseconds();

    public NpgsqlDataSource Db { get; }

    public static CancellationToken Ct => TestContext.Current.CancellationToken;

    public static async Task<StoreWorld> CreateAsync()
    {
        var world = new StoreWorld(await (await TestServers.GetAsync()).Postgres.CreateDatabaseAsync());
        await new Migrator(world.Db, [new MigrationSet("SampleStore", typeof(PostgresSampleStore).Assembly)], NullLogger<Migrator>.Instance).MigrateAsync(Ct);
        return world;
    }

    /// <summary>A replica that has read the log.</summary>
    public async Task<PostgresSampleStore> StartAsync(SampleStoreOptions? options = null)
    {
        var store = new PostgresSampleStore(Connect(), options ?? new SampleStoreOptions { FollowEvery = TimeSpan.FromMilliseconds(50) }, Clock, NullLoggerFactory.Instance);
        _stores.Add(store);
        await store.StartAsync(Ct);
        return store;
    }

    public static Labels Labels(string name, params ReadOnlySpan<(string Name, string Value)> more)
    {
        var labels = PromQL.Labels.Of(("__name__", name), ("realm", "default"));
        foreach (var (label, value) in more)
        {
            labels = labels.With(label, value);
        }

        return labels;
    }

    /// <summary>Until the log is empty. Transactions of other tests on the same server may make a compaction leave the newest commits.</summary>
    public Task CompactAllAsync(PostgresSampleStore store) => Eventually.TrueAsync(
        async () => await store.CompactAsync(everything: true, Ct) && await ScalarAsync<long>("select count(*) from sample_batches") == 0,
        because: "all of the log is compacted");

    public async Task<T> ScalarAsync<T>(string sql)
    {
#pragma warning disable CA2100 // written by the test
        await using var command = Db.CreateCommand(sql);
#pragma warning restore CA2100
        return (T)(await command.ExecuteScalarAsync(Ct))!;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var store in _stores)
        {
            await store.StopAsync(CancellationToken.None);
            store.Dispose();
        }

        foreach (var source in _sources)
        {
            await source.DisposeAsync();
        }
    }

    private NpgsqlDataSource Connect()
    {
        var source = NpgsqlDataSource.Create(_connection + ";Maximum Pool Size=10;Max Auto Prepare=64;Auto Prepare Min Usages=2");
        _sources.Add(source);
        return source;
    }
}

internal static class Writing
{
    /// <summary>Commits the samples; fails unless all are stored.</summary>
    public static async Task WriteAsync(this ISampleStore store, Labels labels, params (long At, double Value)[] samples)
    {
        using var batch = new WriteBatch();
        var series = store.Intern(labels, out var refusal);
        Assert.Null(refusal);
        foreach (var (at, value) in samples)
        {
            batch.Add(series!, at, value);
        }

        var result = await store.CommitAsync(batch, StoreWorld.Ct);
        Assert.Equal((CommitOutcome.Stored, samples.Length), (result.Outcome, result.Written));
    }
}
