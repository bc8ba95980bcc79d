using Platform.Bench;

var benches = new (string Name, string What, Func<CancellationToken, Task> Run)[]
{
    ("start", "from nothing and from kept data to everything healthy, and the memory of the idle platform", Footprint.RunAsync),
    ("ingest", "events through the gateway against binary COPY into the same table", Ingest.RunAsync),
    ("latency", "one event to the webhook's receiver", Latency.RunAsync),
    ("timeline", "first page of an incident's timeline over ten million events", Timeline.RunAsync),
};

using var stop = new CancellationTokenSource();
Console.CancelKeyPress += (_, press) =>
{
    press.Cancel = true;
    stop.Cancel();
};

// These have parts and switches of their own.
switch (args)
{
    case ["metrics", ..]:
        return await MetricsBench.RunAsync(args[1..], stop.Token);
    case ["alerting", ..]:
        return await AlertingBench.RunAsync(args[1..], stop.Token);
}

if (args is [] or ["--help"] or ["-h"] || args.Except(benches.Select(bench => bench.Name)).FirstOrDefault() is not null)
{
    Console.WriteLine("Usage: ./bench.sh [name …]      all of them unless named; faults runs the fault tests at full size");
    foreach (var (name, what, _) in benches)
    {
        Console.WriteLine($"  {name,-10} {what}");
    }

    Console.WriteLine("  alerting   data in to page out, beside Prometheus with Alertmanager; ./bench.sh alerting --help");
    Console.WriteLine("  metrics    the metrics engine against Prometheus and VictoriaMetrics; ./bench.sh metrics --help");
    return args is [] or ["--help"] or ["-h"] ? 0 : 2;
}

foreach (var name in args)
{
    Console.WriteLine($"== {name}");
    await benches.Single(bench => bench.Name == name).Run(stop.Token);
}

return 0;
