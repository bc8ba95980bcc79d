using System.Diagnostics;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>How long the platform takes to be healthy, and what it holds in memory when nothing happens.</summary>
internal static class Footprint
{
    private static readonly TimeSpan Settling = TimeSpan.FromSeconds(60);

    public static async Task RunAsync(CancellationToken ct)
    {
        using var folder = TemporaryFolder.Create("bench");
        foreach (var what in (string[])["first start (empty data folder)", "next start (kept data)"])
        {
            var clock = Stopwatch.StartNew();
            await using var platform = await PlatformProcess.StartAsync(args: ["--no-demo"], dataFolder: folder.Path, ct: ct);
            Console.WriteLine($"{what} to all healthy: {clock.Elapsed.TotalSeconds:F1} s (bar: 45 s, with the build check of run.sh)");
            if (what.StartsWith("next", StringComparison.Ordinal))
            {
                await Task.Delay(Settling, ct);
                Report(platform.ProcessId);
            }
        }
    }

    // The proportional set size counts a page that several processes share once altogether.
    private static void Report(int host)
    {
        var tree = ProcessTree.Of(host);
        var sizes = tree.GroupBy(ProcessTree.NameOf).Select(group => (Name: group.Key, Kilobytes: group.Sum(ProcessTree.PssOf))).OrderByDescending(group => group.Kilobytes).ToList();
        foreach (var (name, kilobytes) in sizes.Where(size => size.Kilobytes > 1024))
        {
            Console.WriteLine($"  {name,-28} {kilobytes / 1024,6} MB");
        }

        Console.WriteLine($"idle platform, PSS of {tree.Count} processes: {sizes.Sum(size => size.Kilobytes) / 1024} MB (bar: 1500 MB)");
    }
}
