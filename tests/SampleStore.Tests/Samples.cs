using FsCheck;
using FsCheck.Fluent;
using Platform.PromQL;

namespace Platform.SampleStore.Tests;

/// <summary>Samples of one series, and generators that reach every form of the encodings as well as their borders.</summary>
public sealed record Samples(long[] Times, double[] Values)
{
    private static readonly double[] Odd =
    [
        0, -0.0, 1, -1, 0.1, -0.1, 100.25, 1e15, 9007199254740992, 9007199254740993, 1e17, 1e300, double.MaxValue, double.MinValue, double.Epsilon, -double.Epsilon,
        double.PositiveInfinity, double.NegativeInfinity, double.NaN, StaleMarker.Value, BitConverter.Int64BitsToDouble(unchecked((long)0xfff8_dead_beef_0001)), BitConverter.Int64BitsToDouble(0x7ff0_0000_0000_0001),
    ];

    private static readonly Gen<double> AnyBits =
        from high in Gen.Choose(int.MinValue, int.MaxValue)
        from low in Gen.Choose(int.MinValue, int.MaxValue)
        select BitConverter.Int64BitsToDouble((long)high << 32 | (uint)low);

    // One way of making the next value from the one before, for stretches of a series.
    private static readonly Gen<Func<Random, double, double>> Ways = Gen.Elements<Func<Random, double, double>>(
        (_, last) => last,
        (random, last) => Math.Floor(double.IsFinite(last) && Math.Abs(last) < 1e14 ? last : 0) + random.Next(100),
        (random, last) => (Math.Abs(last) < 1e6 ? Math.Round(last * 100) : 0) / 100 + random.Next(-50, 50) / 100.0,
        (random, _) => random.Next(1000) / 1000.0,
        (random, last) => (double.IsFinite(last) ? last : 1) + random.NextDouble() - 0.5,
        (random, _) => (float)random.NextDouble(),
        (random, _) => random.Next(-5, 5) / 8.0,
        (random, _) => random.NextInt64(),
        (random, _) => BitConverter.Int64BitsToDouble(random.NextInt64(long.MinValue, long.MaxValue)),
        (random, _) => Math.Round(random.NextDouble() * 1e9, random.Next(15)),
        (random, _) => Odd[random.Next(Odd.Length)],
        (random, last) => random.Next(20) == 0 ? Odd[random.Next(Odd.Length)] : double.IsFinite(last) ? Math.Round(last) : 7,
        (random, last) => random.Next(60) == 0 ? 0 : Math.Round(Math.Abs(last) < 1e9 ? last : 0) + 2);

    private static readonly Gen<Func<Random, long>> Steps = Gen.Elements<Func<Random, long>>(
        _ => 15_000,
        random => 15_000 + random.Next(-3, 4),
        random => random.Next(30) == 0 ? random.Next(1, 100_000_000) : 1_000,
        random => random.Next(1, 100),
        random => random.NextInt64(1, 1L << random.Next(1, 58)),
        _ => 1);

    /// <summary>1 to about 700 samples: stretches of different kinds one after the other.</summary>
    public static readonly Gen<Samples> Any =
        from seed in Gen.Choose(0, int.MaxValue)
        from length in Gen.OneOf(Gen.Choose(1, 5), Gen.Choose(1, 300), Gen.Elements(127, 128, 129, 256, 257, 640), Gen.Choose(300, 700))
        from start in Gen.Elements(0L, 1_700_000_000_000L, -1L, long.MinValue, long.MaxValue - 10_000_000, -1_000_000_000_000L)
        from steps in Gen.ArrayOf(Steps, 3)
        from ways in Gen.ArrayOf(Ways, 4)
        from odd in AnyBits
        select Make(seed, length, start, steps, ways, odd);

    private static Samples Make(int seed, int length, long start, Func<Random, long>[] steps, Func<Random, double, double>[] ways, double odd)
    {
        var random = new Random(seed);
        var times = new List<long>();
        var values = new List<double>();
        var (time, value) = (start, odd);
        while (times.Count < length)
        {
            times.Add(time);
            values.Add(value);
            var step = steps[times.Count * steps.Length / (length + 1)](random);
            if (time > long.MaxValue - step)
            {
                break;
            }

            time += step;
            value = ways[times.Count * ways.Length / (length + 1)](random, value);
        }

        return new Samples([.. times], [.. values]);
    }

    public override string ToString() => $"times {string.Join(' ', Times)}; values {string.Join(' ', Values.Select(value => BitConverter.DoubleToInt64Bits(value).ToString("x", System.Globalization.CultureInfo.InvariantCulture)))}";
}
