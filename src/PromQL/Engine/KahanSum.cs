using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Platform.PromQL;

/// <summary>
/// Summation that keeps what rounding loses (Kahan, with Neumaier's improvement), as Prometheus sums, so that results agree and do not
/// depend on the order of the series.
/// </summary>
internal struct KahanSum(double sum)
{
    public double Sum = sum;
    public double Lost;

    public readonly double Total => double.IsInfinity(Sum) ? Sum : Sum + Lost;

    public void Add(double value) => Add(ref Sum, ref Lost, value);

    /// <summary>Adds the values; of many, four sums are kept beside each other and added in the end.</summary>
    public void AddAll(ReadOnlySpan<double> values)
    {
        const int Many = 32;
        if (values.Length >= Many && Vector256.IsHardwareAccelerated)
        {
            var sums = Vector256<double>.Zero;
            var losses = Vector256<double>.Zero;
            var vectors = MemoryMarshal.Cast<double, Vector256<double>>(values);
            foreach (var four in vectors)
            {
                Add(ref sums, ref losses, four);
            }

            for (var lane = 0; lane < Vector256<double>.Count; lane++)
            {
                Add(sums[lane]);
                Lost += double.IsFinite(Sum) ? losses[lane] : 0;
            }

            values = values[(vectors.Length * Vector256<double>.Count)..];
        }

        foreach (var value in values)
        {
            Add(value);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Add(ref Vector256<double> sums, ref Vector256<double> losses, Vector256<double> values)
    {
        var next = sums + values;
        var larger = Vector256.GreaterThanOrEqual(Vector256.Abs(sums), Vector256.Abs(values));
        var lost = losses + (Vector256.ConditionalSelect(larger, sums, values) - next + Vector256.ConditionalSelect(larger, values, sums));
        losses = Vector256.ConditionalSelect(Vector256.Equals(Vector256.Abs(next), Vector256.Create(double.PositiveInfinity)), Vector256<double>.Zero, lost);
        sums = next;
    }

    public static void Add(ref double sum, ref double lost, double value)
    {
        var next = sum + value;
        if (double.IsInfinity(next))
        {
            lost = 0;
        }
        else if (Math.Abs(sum) >= Math.Abs(value))
        {
            lost += sum - next + value;
        }
        else
        {
            lost += value - next + sum;
        }

        sum = next;
    }
}
