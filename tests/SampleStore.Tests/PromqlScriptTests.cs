using System.Runtime.CompilerServices;
using Platform.PromQL;
using Platform.Testing;

namespace Platform.SampleStore.Tests;

/// <summary>
/// Prometheus' own test scripts over both stores: over PostgreSQL once from memory and once from the compacted chunks, read by a replica
/// that was started afterwards. Every set of samples is a realm of its own.
/// </summary>
public sealed class PromqlScriptTests
{
    private static readonly Engine s_engine = new(ScriptCheck.Options, TimeProvider.System);
    private static readonly ILookup<string, ScriptEval> s_scripts =
        (PromqlScript.PrometheusFolder is { } folder ? PromqlScript.ReadPrometheus(folder) : []).Where(eval => eval.Skip is null).ToLookup(eval => eval.Script);

    /// <summary>The scripts' time begins in 1970.</summary>
    private static readonly DateTimeOffset s_now = DateTimeOffset.UnixEpoch.AddDays(4);

    private static readonly SampleStoreOptions s_inMemory = new() { HeadWindow = TimeSpan.FromDays(300), MaxSampleFuture = TimeSpan.FromDays(3_000) };
    private static readonly SampleStoreOptions s_onDisk = new() { HeadWindow = TimeSpan.FromMinutes(1), MaxSampleFuture = TimeSpan.FromDays(3_000) };

    [Fact]
    public async Task Memory_answers_as_the_scripts_say()
    {
        Assert.SkipWhen(s_scripts.Count == 0, "Prometheus' scripts are not beside this checkout.");
        using var store = new MemorySampleStore(s_inMemory, new TestClock(s_now));

        await CheckAllAsync(await LoadAllAsync(store), store);
    }

    [Fact]
    public async Task PostgreSQL_answers_as_the_scripts_say()
    {
        Assert.SkipWhen(s_scripts.Count == 0, "Prometheus' scripts are not beside this checkout.");
        await using var world = await StoreWorld.CreateAsync();
        world.Clock.Now = s_now;
        var writer = await world.StartAsync(s_inMemory);
        var realms = await LoadAllAsync(writer);

        await CheckAllAsync(realms, writer);

        await world.CompactAllAsync(writer);
        await CheckAllAsync(realms, await world.StartAsync(s_onDisk));
    }

    private static async Task<Dictionary<IReadOnlyList<LoadedSeries>, string>> LoadAllAsync(ISampleStore store)
    {
        var realms = new Dictionary<IReadOnlyList<LoadedSeries>, string>(ReferenceEqualityComparer.Instance);
        foreach (var eval in s_scripts.SelectMany(script => script))
        {
            if (!realms.TryAdd(eval.Loaded, $"r{realms.Count}"))
            {
                continue;
            }

            using var batch = new WriteBatch();
            foreach (var series in eval.Loaded)
            {
                var stored = store.Intern(series.Labels.With("realm", realms[eval.Loaded]), out var refusal);
                Assert.Null(refusal);
                for (var index = 0; index < series.Times.Count; index++)
                {
                    batch.Add(stored!, series.Times[index], series.Values[index]);
                }
            }

            var written = batch.Count;
            Assert.Equal(written, (await store.CommitAsync(batch, StoreWorld.Ct)).Written);
        }

        return realms;
    }

    private static async Task CheckAllAsync(Dictionary<IReadOnlyList<LoadedSeries>, string> realms, ISampleStore store)
    {
        var wrong = new List<string>();
        foreach (var eval in s_scripts.SelectMany(script => script))
        {
            var source = new WithoutRealm(store.Source(realms[eval.Loaded]));
            if (await ScriptCheck.RunAsync(eval, s_engine, source, StoreWorld.Ct) is { } difference)
            {
                wrong.Add(difference);
            }
        }

        Assert.True(wrong.Count == 0, $"{wrong.Count} of {s_scripts.Sum(script => script.Count())} evals differ:\n{string.Join('\n', wrong.Take(20))}");
    }

    /// <summary>The series as the scripts know them.</summary>
    private sealed class WithoutRealm(ISeriesSource inner) : ISeriesSource
    {
        public async IAsyncEnumerable<IReadOnlyList<Series>> SelectAsync(Selection selection, [EnumeratorCancellation] CancellationToken ct)
        {
            await foreach (var batch in inner.SelectAsync(selection, ct))
            {
                yield return [.. batch.Select(series => new Renamed(series))];
            }
        }

        private sealed class Renamed(Series inner) : Series(inner.Labels.Without("realm"))
        {
            public override void Read(long from, long to, SampleColumns into) => inner.Read(from, to, into);
        }
    }
}
