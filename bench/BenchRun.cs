using System.Globalization;

namespace Platform.Bench;

/// <summary>What one run of the bench measures, and how it turned out.</summary>
internal sealed class BenchRun
{
    private readonly List<(string What, string Measured, string Bar, bool? Passed)> _verdicts = [];

    public bool Quick { get; set; }

    public string[] Engines { get; set; } = MetricsEngine.All;

    public int Rounds { get; set; } = 3;

    /// <summary>A size of the issue's table, or a tenth of it in a quick run.</summary>
    public int Sized(int full) => Quick ? full / 10 : full;

    public bool Has(string engine) => Engines.Contains(engine);

    /// <summary>The engines in the order of a round: each is first, second and last once.</summary>
    public IEnumerable<string> Turn(int round) => Enumerable.Range(0, Engines.Length).Select(index => Engines[(index + round) % Engines.Length]);

    public void Judge(string what, double measured, string format, string bar, bool passed) =>
        _verdicts.Add((what, measured.ToString(format, CultureInfo.InvariantCulture), bar, passed));

    public void Note(string what, string measured) => _verdicts.Add((what, measured, "", null));

    public void PrintVerdicts()
    {
        Console.WriteLine();
        Console.WriteLine($"{"what",-62} {"measured",14}  bar");
        foreach (var (what, measured, bar, passed) in _verdicts)
        {
            Console.WriteLine($"{what,-62} {measured,14}  {bar,-18} {passed switch { true => "PASS", false => "MISS", null => "" }}");
        }

        if (Quick)
        {
            Console.WriteLine("A quick run: the ratios above are no result.");
        }
    }

    public static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[sorted.Length / 2 - 1] + sorted[sorted.Length / 2]) / 2;
    }

    /// <summary>The last whole minute that is at least one minute ago: no engine refuses it as future or hides it as too fresh.</summary>
    public static long RecentMinute() => (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 60_000 - 1) * 60_000;
}
