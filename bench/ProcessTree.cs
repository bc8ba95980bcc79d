using System.Globalization;

namespace Platform.Bench;

/// <summary>The processes of a platform, as Linux shows them under <c>/proc</c>. One that ends meanwhile counts nothing.</summary>
internal static class ProcessTree
{
    // What the kernel counts processor time in, on every Linux that .NET runs on.
    private const double TicksPerSecond = 100;

    /// <summary>The process and all below it.</summary>
    public static List<int> Of(int root)
    {
        var children = Directory.GetDirectories("/proc").Select(Path.GetFileName).Where(name => int.TryParse(name, out _)).Select(name => int.Parse(name!, CultureInfo.InvariantCulture))
            .ToLookup(pid => StatOf(pid) is [_, var parent, ..] ? int.Parse(parent, CultureInfo.InvariantCulture) : 0);
        var tree = new List<int> { root };
        for (var index = 0; index < tree.Count; index++)
        {
            tree.AddRange(children[tree[index]]);
        }

        return tree;
    }

    /// <summary>Processor seconds that each program of the tree has used so far, those of its ended children included: PostgreSQL has a process per connection.</summary>
    public static Dictionary<string, double> ProcessorSecondsOf(int root) =>
        Of(root).GroupBy(NameOf).ToDictionary(group => group.Key, group => group.Sum(pid =>
            StatOf(pid) is { Length: > 14 } stat ? stat[11..15].Sum(ticks => double.Parse(ticks, CultureInfo.InvariantCulture)) / TicksPerSecond : 0));

    public static string NameOf(int pid)
    {
        try
        {
            var words = File.ReadAllText($"/proc/{pid}/cmdline").Split('\0');
            return Path.GetFileName(words.FirstOrDefault(word => word.Contains("Platform.", StringComparison.Ordinal)) ?? words[0].Split(':', ' ')[0]);
        }
        catch (IOException)
        {
            return "";
        }
    }

    /// <summary>Proportional set size now, in kilobytes: a page that several processes share counts once altogether.</summary>
    public static long PssOf(int pid) => KilobytesOf(pid, "smaps_rollup", "Pss:");

    /// <summary>The most that was resident at once so far, in kilobytes.</summary>
    public static long PeakOf(int pid) => KilobytesOf(pid, "status", "VmHWM:");

    private static long KilobytesOf(int pid, string file, string field)
    {
        try
        {
            var line = File.ReadLines($"/proc/{pid}/{file}").First(line => line.StartsWith(field, StringComparison.Ordinal));
            return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return 0;
        }
    }

    // The fields after the program's name, which may hold spaces: state, parent, …, user time (12th), system time (13th), and those of children that have ended.
    private static string[] StatOf(int pid)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            return stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        }
        catch (IOException)
        {
            return [];
        }
    }
}
