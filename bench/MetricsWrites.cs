using System.Diagnostics;
using System.Globalization;

namespace Platform.Bench;

/// <summary>How fast samples are acknowledged, what series cost in memory, and how long a restart takes.</summary>
internal static class MetricsWrites
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    /// <summary>Engines stay; each round has series of its own, so that their first appearance counts too.</summary>
    public static async Task WriteAsync(BenchRun run, CancellationToken ct)
    {
        var engines = await StartAsync(run, ct);
        try
        {
            // Twice as much as one round: the runtimes optimise what runs often.
            await WarmUpAsync(engines, pods: run.Sized(100), samples: 200, ct);
            var rates = engines.ToDictionary(engine => engine.Name, _ => new List<double>());
            for (var round = 0; round < run.Rounds; round++)
            {
                var load = new MetricsLoad($"write-{round}", run.Sized(200), 100, BenchRun.RecentMinute());
                var bodies = load.Bodies();
                foreach (var engine in run.Turn(round).Select(name => engines.Single(engine => engine.Name == name)))
                {
                    rates[engine.Name].Add(await MeasureAsync(engine, load, bodies, round, ct));
                }
            }

            JudgeRates(run, "write", rates, victoriaMetrics: 1.5, prometheus: 4);
        }
        finally
        {
            await StopAsync(engines);
        }
    }

    /// <summary>Fresh engines in each round, so that the memory afterwards is that of these series (and of a small warm-up).</summary>
    public static async Task ChurnAsync(BenchRun run, CancellationToken ct)
    {
        var rates = run.Engines.ToDictionary(name => name, _ => new List<double>());
        var memory = run.Engines.ToDictionary(name => name, _ => new List<double>());
        var postgres = new List<double>();
        for (var round = 0; round < run.Rounds; round++)
        {
            var engines = await StartAsync(run, ct);
            try
            {
                await WarmUpAsync(engines, pods: 50, samples: 200, ct);
                var load = new MetricsLoad($"churn-{round}", run.Sized(5_000), 10, BenchRun.RecentMinute());
                var bodies = load.Bodies();
                foreach (var engine in run.Turn(round).Select(name => engines.Single(engine => engine.Name == name)))
                {
                    rates[engine.Name].Add(await MeasureAsync(engine, load, bodies, round, ct));
                }

                foreach (var engine in engines)
                {
                    var pid = await engine.ProcessIdAsync(ct);
                    memory[engine.Name].Add(ProcessTree.PssOf(pid) / 1024.0);
                    Console.WriteLine($"  {engine.Name,-17} {load.Series + 5_000:N0} series: PSS {ProcessTree.PssOf(pid) / 1024} MB, most resident {ProcessTree.PeakOf(pid) / 1024} MB");
                    if (engine is PlatformEngine platform)
                    {
                        var server = ProcessTree.Of(await platform.PostgresAsync(ct));
                        postgres.Add(server.Sum(ProcessTree.PssOf) / 1024.0);
                        Console.WriteLine($"  {"its PostgreSQL",-17} PSS of {server.Count} processes {postgres[^1]:F0} MB");
                    }
                }
            }
            finally
            {
                await StopAsync(engines);
            }
        }

        JudgeRates(run, "churn", rates, victoriaMetrics: null, prometheus: 1);
        foreach (var (name, sizes) in memory)
        {
            run.Note($"memory with {run.Sized(5_000) * MetricsLoad.SeriesPerPod:N0} series, {name}, PSS", $"{BenchRun.Median(sizes):F0} MB");
        }

        if (postgres.Count > 0)
        {
            run.Note("  PostgreSQL beside it", $"{BenchRun.Median(postgres):F0} MB");
        }

        if (run.Has(MetricsEngine.Platform) && run.Has(MetricsEngine.PrometheusName))
        {
            var ratio = BenchRun.Median(memory[MetricsEngine.Platform].Zip(memory[MetricsEngine.PrometheusName], (ours, theirs) => ours / theirs));
            run.Judge("memory, Metrics ÷ Prometheus", ratio, "F2", "at most 1.0", ratio <= 1);
        }
    }

    /// <summary>Without VictoriaMetrics, which does not have all that it acknowledged after a kill.</summary>
    public static async Task RestartAsync(BenchRun run, CancellationToken ct)
    {
        var engines = run.Engines.Where(name => name != MetricsEngine.VictoriaMetricsName).ToList();
        var load = new MetricsLoad("restart", run.Sized(500), 200, BenchRun.RecentMinute());
        var bodies = load.Bodies();
        var times = engines.ToDictionary(name => name, _ => new List<double>());
        foreach (var name in engines)
        {
            await using var engine = await MetricsEngine.StartAsync(name, ct);
            await MetricsLoad.SendAsync(engine, bodies, ct);
            await load.ArrivedAsync(engine, Patience, ct);
            for (var round = 0; round < run.Rounds; round++)
            {
                await engine.SettleAsync(ct);
                var clock = await engine.KillAndStartAsync(ct);
                await load.ArrivedAsync(engine, Patience, ct);
                times[name].Add(clock.Elapsed.TotalSeconds);
                Console.WriteLine($"  {name,-17} round {round + 1}: {load.Samples:N0} samples there {clock.Elapsed.TotalSeconds:F2} s after the start");
            }
        }

        foreach (var (name, seconds) in times)
        {
            run.Note($"restart with {load.Samples:N0} recent samples, {name}", $"{BenchRun.Median(seconds):F2} s");
        }

        if (run.Has(MetricsEngine.Platform) && run.Has(MetricsEngine.PrometheusName))
        {
            var ratio = BenchRun.Median(times[MetricsEngine.Platform]) / BenchRun.Median(times[MetricsEngine.PrometheusName]);
            run.Judge("restart, ours ÷ Prometheus", ratio, "F2", "at most 1.0", ratio <= 1);
        }
    }

    internal static async Task<List<MetricsEngine>> StartAsync(BenchRun run, CancellationToken ct)
    {
        var engines = new List<MetricsEngine>();
        try
        {
            foreach (var name in run.Engines)
            {
                engines.Add(await MetricsEngine.StartAsync(name, ct));
            }

            return engines;
        }
        catch
        {
            await StopAsync(engines);
            throw;
        }
    }

    internal static async Task StopAsync(List<MetricsEngine> engines)
    {
        foreach (var engine in engines)
        {
            await engine.DisposeAsync();
        }
    }

    private static async Task WarmUpAsync(List<MetricsEngine> engines, int pods, int samples, CancellationToken ct)
    {
        // Ends where the measured samples begin, so that no engine meets old samples after young ones.
        var load = new MetricsLoad("warm-up", pods, samples, BenchRun.RecentMinute() - 30 * 60_000);
        var bodies = load.Bodies();
        foreach (var engine in engines)
        {
            await MetricsLoad.SendAsync(engine, bodies, ct);
            await load.ArrivedAsync(engine, Patience, ct);
            await engine.SettleAsync(ct);
        }
    }

    private static async Task<double> MeasureAsync(MetricsEngine engine, MetricsLoad load, List<byte[]>[] bodies, int round, CancellationToken ct)
    {
        GC.Collect();
        var before = engine.ProcessorSeconds();
        var elapsed = await MetricsLoad.SendAsync(engine, bodies, ct);
        var acknowledged = engine.ProcessorSeconds();
        var found = Stopwatch.StartNew();
        await load.ArrivedAsync(engine, Patience, ct);
        var wait = found.Elapsed;
        await engine.SettleAsync(ct);
        var settled = engine.ProcessorSeconds();
        var rate = load.Samples / elapsed.TotalSeconds;
        var programs = acknowledged.Select(program => (Name: program.Key, Seconds: program.Value - before.GetValueOrDefault(program.Key)))
            .Where(program => program.Seconds >= 0.05).OrderByDescending(program => program.Seconds)
            .Select(program => string.Create(CultureInfo.InvariantCulture, $"{program.Name} {program.Seconds:F1}"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"  {engine.Name,-17} round {round + 1}: {rate,10:N0} samples/s ({elapsed.TotalSeconds:F2} s); found by a query after {wait.TotalMilliseconds:F0} ms; processor seconds: {string.Join(", ", programs)}, afterwards {settled.Values.Sum() - acknowledged.Values.Sum():F1}"));
        return rate;
    }

    private static void JudgeRates(BenchRun run, string what, Dictionary<string, List<double>> rates, double? victoriaMetrics, double prometheus)
    {
        foreach (var (name, values) in rates)
        {
            run.Note($"{what}, {name}, acknowledged samples/s", BenchRun.Median(values).ToString("N0", CultureInfo.InvariantCulture));
        }

        if (!run.Has(MetricsEngine.Platform))
        {
            return;
        }

        foreach (var (peer, bar) in ((string, double?)[])[(MetricsEngine.VictoriaMetricsName, victoriaMetrics), (MetricsEngine.PrometheusName, prometheus)])
        {
            if (run.Has(peer))
            {
                var ratio = BenchRun.Median(rates[MetricsEngine.Platform].Zip(rates[peer], (ours, theirs) => ours / theirs));
                run.Judge(
                    $"{what}, ours ÷ {peer}", ratio, "F2",
                    bar is { } least ? string.Create(CultureInfo.InvariantCulture, $"at least {least:F1}") : "goal 1.0",
                    ratio >= (bar ?? 1));
            }
        }
    }
}
