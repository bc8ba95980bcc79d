using Platform.Testing;

namespace Platform.PromQL.Tests;

/// <summary>Two hours of samples with everything that makes evaluation difficult; the same at each run.</summary>
internal static class ComparedData
{
    /// <summary>2024-01-01T00:00:00Z, in milliseconds.</summary>
    public const long Start = 1_704_067_200_000;

    public const long Step = 15_000;
    public const int Samples = 480;
    public const long End = Start + Step * (Samples - 1);

    private delegate double? Shape(int index, Random random);

    public static IReadOnlyList<WrittenSeries> Create()
    {
        var random = new Random(20_240_101);
        var all = new List<WrittenSeries>();

        // Counters: resets, a late start, a gap, ends with and without a marker, one that comes and goes, one that stands still.
        foreach (var (number, (job, instance, code)) in
            (from job in new[] { "api", "web", "db" } from instance in new[] { "0", "1" } from code in new[] { "200", "404", "500" } select (job, instance, code)).Index())
        {
            var total = number * 1000d;
            Add("requests_total", [("job", job), ("instance", instance), ("code", code)], (index, chance) =>
            {
                total = number % 5 == 1 && index % 97 == 0 ? chance.Next(3) : total + (number == 4 ? 0 : chance.Next(10 + number));
                return number switch
                {
                    2 when index < 200 => null,
                    6 when index is > 150 and < 190 => null,
                    7 when index == 300 => StaleMarker.Value,
                    7 when index > 300 => null,
                    8 when index > 330 => null,
                    9 when index % 20 == 10 => StaleMarker.Value,
                    9 when index % 20 > 10 => null,
                    10 when index % 7 != 0 => null,
                    _ => total,
                };
            });
        }

        // Gauges.
        foreach (var (number, room) in new[] { "kitchen", "hall", "cellar", "roof", "attic" }.Index())
        {
            Add("temperature", [("room", room), ("job", number % 2 == 0 ? "sensor" : "probe")], (index, chance) => number switch
            {
                0 => 20 + 5 * Math.Sin(index / 40d) + chance.NextDouble(),
                1 => -3.5 + chance.NextDouble() / 1000,
                2 => index % 30 == 5 ? double.NaN : index / 10d,
                3 => index % 50 == 7 ? double.PositiveInfinity : index % 50 == 9 ? double.NegativeInfinity : 1 - index,
                _ => 21.5,
            });
            Add("memory_bytes", [("instance", number % 2 == 0 ? "0" : "1"), ("job", new[] { "api", "web", "db", "api", "web" }[number])], (index, chance) =>
                index % 3 == 1 && number == 3 ? null : 1e9 * (number + 1) + chance.Next(1_000_000) * 4096d);
        }

        foreach (var instance in new[] { "0", "1", "2" })
        {
            Add("up", [("job", "api"), ("instance", instance)], (index, chance) => chance.Next(10) == 0 ? 0 : 1);
            Add("info", [("instance", instance), ("node", $"node-{instance}"), ("zone", instance == "2" ? "b" : "a")], (_, _) => 1);
        }

        Add("limit", [("job", "api")], (_, _) => 50);
        Add("limit", [("job", "web")], (_, _) => 0);
        Add("sparse", [("kind", "slow")], (index, _) => index % 27 == 0 ? index : null);
        Add("sparse", [("kind", "once")], (index, _) => index == 100 ? 7 : null);
        Add("switch", [("kind", "a")], (index, _) => index / 13 % 2);
        Add("switch", [("kind", "b")], (index, _) => index / 40 % 3 - 1);
        Add("tiny", [("kind", "a")], (index, chance) => 1e-9 * chance.NextDouble() * index);
        Add("tiny", [("kind", "b")], (index, chance) => (1L << 53) + chance.Next(5));
        Add("left", [("a", "1"), ("b", "x")], (index, _) => index);
        Add("left", [("a", "2"), ("b", "y")], (index, _) => index * 2);
        Add("right", [("a", "1"), ("b", "x")], (index, _) => 3);
        Add("right", [("a", "3"), ("b", "y")], (index, _) => 5);
        Add("twin", [("a", "1")], (index, _) => index);
        Add("twin_other", [("a", "1")], (index, _) => -index);

        // Classic histograms; one without +Inf, one whose buckets are not cumulative.
        foreach (var (number, (job, instance)) in new[] { ("api", "0"), ("api", "1"), ("web", "0"), ("db", "0") }.Index())
        {
            var bounds = new[] { "0.1", "0.5", "1", "2.5", "10", "+Inf" };
            var counts = new double[bounds.Length];
            var series = bounds.Select(_ => new List<(long, double)>()).ToList();
            var (sum, sums, totals) = (0d, new List<(long, double)>(), new List<(long, double)>());
            for (var index = 0; index < Samples; index++)
            {
                for (var request = 0; request < 5 + number; request++)
                {
                    var seconds = -Math.Log(1 - random.NextDouble()) * (0.3 + number);
                    sum += seconds;
                    for (var bucket = 0; bucket < bounds.Length; bucket++)
                    {
                        if (bounds[bucket] == "+Inf" || seconds <= double.Parse(bounds[bucket], System.Globalization.CultureInfo.InvariantCulture))
                        {
                            counts[bucket]++;
                        }
                    }
                }

                var at = Start + index * Step + number * 1234;
                for (var bucket = 0; bucket < bounds.Length; bucket++)
                {
                    series[bucket].Add((at, counts[bucket] + (number == 3 && bucket == 2 ? 50 : 0)));
                }

                sums.Add((at, sum));
                totals.Add((at, counts[^1]));
            }

            for (var bucket = 0; bucket < bounds.Length; bucket++)
            {
                if (number != 2 || bounds[bucket] != "+Inf")
                {
                    all.Add(Written("duration_seconds_bucket", [("job", job), ("instance", instance), ("le", bounds[bucket])], series[bucket]));
                }
            }

            all.Add(Written("duration_seconds_sum", [("job", job), ("instance", instance)], sums));
            all.Add(Written("duration_seconds_count", [("job", job), ("instance", instance)], totals));
        }

        return all;

        void Add(string name, (string Name, string Value)[] labels, Shape shape)
        {
            var jitter = all.Count % 3 == 2 ? 4000 : all.Count % 3 == 1 ? 1 : 0;
            var samples = new List<(long, double)>();
            for (var index = 0; index < Samples; index++)
            {
                if (shape(index, random) is { } value)
                {
                    samples.Add((Start + index * Step + (jitter > 1 ? random.Next(jitter) : 0), value));
                }
            }

            all.Add(Written(name, labels, samples));
        }
    }

    private static WrittenSeries Written(string name, (string Name, string Value)[] labels, List<(long, double)> samples) =>
        new([.. labels.Append(("__name__", name)).OrderBy(label => label.Item1, StringComparer.Ordinal)], samples);
}
