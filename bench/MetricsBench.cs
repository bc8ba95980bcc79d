using System.Globalization;

namespace Platform.Bench;

/// <summary>
/// The metrics engine against Prometheus and VictoriaMetrics: all systems in one run on one machine, in rounds whose order rotates, medians
/// and ratios. Bodies are ready before a clock starts; every answer must be 2xx, and a query must find every sample afterwards.
/// </summary>
internal static class MetricsBench
{
    private static readonly (string Name, string What, Func<BenchRun, CancellationToken, Task> Run)[] Parts =
    [
        ("write", "remote write, 20,000 series × 100 samples", MetricsWrites.WriteAsync),
        ("churn", "500,000 new series × 10 samples, and the memory that they take (memory is the same part)", MetricsWrites.ChurnAsync),
        ("query", "twelve queries over recent samples and over a day", MetricsQueries.RunAsync),
        ("size", "bytes per sample of the day after compaction (with query: on the same data)", MetricsQueries.RunAsync),
        ("restart", "kill -9 and start with ten million recent samples, to the first right answer", MetricsWrites.RestartAsync),
    ];

    public static async Task<int> RunAsync(string[] args, CancellationToken ct)
    {
        var run = new BenchRun();
        var parts = new List<string>();
        for (var index = 0; index < args.Length; index++)
        {
            switch (args[index])
            {
                case "--quick":
                    (run.Quick, run.Rounds) = (true, 1);
                    break;
                case "--rounds" when index + 1 < args.Length && int.TryParse(args[index + 1], NumberStyles.None, CultureInfo.InvariantCulture, out var rounds) && rounds > 0:
                    (run.Rounds, index) = (rounds, index + 1);
                    break;
                case "--only" when index + 1 < args.Length:
                    run.Engines = args[++index].Split(',');
                    break;
                case "memory":
                    parts.Add("churn");
                    break;
                case var part when Parts.Any(known => known.Name == part):
                    parts.Add(part);
                    break;
                default:
                    return Usage(args[index] is "--help" or "-h" ? 0 : 2);
            }
        }

        if (run.Engines.Except(MetricsEngine.All).Any())
        {
            return Usage(2);
        }

        foreach (var missing in run.Engines.Where(engine => engine != MetricsEngine.Platform && !Installed(engine)).ToList())
        {
            Console.WriteLine($"{missing} is not installed (deploy/native/install.sh --peers): this run goes without it.");
            run.Engines = [.. run.Engines.Where(engine => engine != missing)];
        }

        // Query and size are one run over the same data.
        foreach (var part in Parts.Where(part => parts.Count == 0 || parts.Contains(part.Name)).DistinctBy(part => part.Run))
        {
            Console.WriteLine($"== metrics {part.Name}");
            await part.Run(run, ct);
        }

        run.PrintVerdicts();
        return 0;
    }

    private static bool Installed(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(folder => File.Exists(Path.Combine(folder, program)));

    private static int Usage(int code)
    {
        Console.WriteLine($"Usage: ./bench.sh metrics [--quick] [--rounds 3] [--only {string.Join(',', MetricsEngine.All)}] [part …]      all parts unless named");
        foreach (var (name, what, _) in Parts)
        {
            Console.WriteLine($"  {name,-10} {what}");
        }

        Console.WriteLine("  --quick    a tenth of the data and one round: shows that everything works, its figures mean little");
        return code;
    }
}
