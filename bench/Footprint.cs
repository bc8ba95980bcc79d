using System.Diagnostics;
using System.Globalization;
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
        var parents = Directory.GetDirectories("/proc").Select(Path.GetFileName).Where(name => int.TryParse(name, out _)).Select(name => int.Parse(name!, CultureInfo.InvariantCulture))
            .Select(pid => (Pid: pid, Parent: ParentOf(pid))).ToLookup(process => process.Parent, process => process.Pid);
        var tree = new List<int> { host };
        for (var index = 0; index < tree.Count; index++)
        {
            tree.AddRange(parents[tree[index]]);
        }

        var sizes = tree.GroupBy(NameOf).Select(group => (Name: group.Key, Kilobytes: group.Sum(PssOf))).OrderByDescending(group => group.Kilobytes).ToList();
        foreach (var (name, kilobytes) in sizes.Where(size => size.Kilobytes > 1024))
        {
            Console.WriteLine($"  {name,-28} {kilobytes / 1024,6} MB");
        }

        Console.WriteLine($"idle platform, PSS of {tree.Count} processes: {sizes.Sum(size => size.Kilobytes) / 1024} MB (bar: 1500 MB)");
    }

    private static int ParentOf(int pid)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            return int.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return 0; // it has just ended
        }
    }

    private static string NameOf(int pid)
    {
        try
        {
            var words = File.ReadAllText($"/proc/{pid}/cmdline").Split('\0');
            return Path.GetFileName(words.FirstOrDefault(word => word.Contains("Platform.", StringComparison.Ordinal)) ?? words[0].Split(':')[0]);
        }
        catch (IOException)
        {
            return "";
        }
    }

    private static long PssOf(int pid)
    {
        try
        {
            var line = File.ReadLines($"/proc/{pid}/smaps_rollup").First(line => line.StartsWith("Pss:", StringComparison.Ordinal));
            return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
