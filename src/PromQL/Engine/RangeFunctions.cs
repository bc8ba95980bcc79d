using System.Collections.Frozen;

namespace Platform.PromQL;

/// <summary>
/// The functions of range vectors. Where a window's result follows exactly from the one before, or from sums over the whole series, it
/// takes constant time; elsewhere it is computed from the samples in the window, in the order and with the compensation that Prometheus uses.
/// </summary>
internal static class RangeFunctions
{
    private static readonly FrozenDictionary<string, RangeFunction> s_table = new Dictionary<string, RangeFunction>
    {
        ["absent_over_time"] = Present,
        ["avg_over_time"] = Slide<Average>,
        ["changes"] = Changes,
        ["count_over_time"] = Count,
        ["delta"] = Delta,
        ["deriv"] = Slide<Derivative>,
        ["double_exponential_smoothing"] = Smooth,
        ["first_over_time"] = First,
        ["holt_winters"] = Smooth,
        ["idelta"] = InstantDelta,
        ["increase"] = Increase,
        ["irate"] = InstantRate,
        ["last_over_time"] = Last,
        ["mad_over_time"] = MedianDeviation,
        ["max_over_time"] = Extreme<Greatest>,
        ["min_over_time"] = Extreme<Least>,
        ["predict_linear"] = PredictLinear,
        ["present_over_time"] = Present,
        ["quantile_over_time"] = QuantileOverTime,
        ["rate"] = Rate,
        ["resets"] = Resets,
        ["stddev_over_time"] = Slide<Deviation>,
        ["stdvar_over_time"] = Slide<Variance>,
        ["sum_over_time"] = Sum,
        ["ts_of_first_over_time"] = TimeOfFirst,
        ["ts_of_last_over_time"] = TimeOfLast,
        ["ts_of_max_over_time"] = Slide<TimeOfGreatest>,
        ["ts_of_min_over_time"] = Slide<TimeOfLeast>,
    }.ToFrozenDictionary(StringComparer.Ordinal);

    public static RangeFunction? Find(string name) => s_table.GetValueOrDefault(name);

    /// <summary>These return a sample of the series itself; all others make something new, which has no name.</summary>
    public static bool KeepsName(string name) => name is "last_over_time" or "first_over_time";

    /// <summary>A value from the samples in one window; at least one is inside.</summary>
    private interface IWindowValue
    {
        static abstract double Of(ReadOnlySpan<long> times, ReadOnlySpan<double> values);
    }

    private static void Slide<T>(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
        where T : struct, IWindowValue
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = window.MoveTo(step) ? T.Of(window.Times, window.Values) : Absent.Value;
        }
    }

    private static void Count(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = window.MoveTo(step) ? window.Count : Absent.Value;
        }
    }

    private static void Present(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = window.MoveTo(step) ? 1 : Absent.Value;
        }
    }

    private static void First(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = window.MoveTo(step) ? window.AllValues[window.From] : Absent.Value;
        }
    }

    private static void Last(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = window.MoveTo(step) ? window.AllValues[window.To - 1] : Absent.Value;
        }
    }

    private static void TimeOfFirst(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = window.MoveTo(step) ? window.AllTimes[window.From] / 1000.0 : Absent.Value;
        }
    }

    private static void TimeOfLast(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = window.MoveTo(step) ? window.AllTimes[window.To - 1] / 1000.0 : Absent.Value;
        }
    }

    private static void Rate(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column) =>
        Extrapolate(ref window, windows, counter: true, windows.Range / 1000.0, scratch, column);

    private static void Increase(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column) =>
        Extrapolate(ref window, windows, counter: true, 1, scratch, column);

    private static void Delta(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column) =>
        Extrapolate(ref window, windows, counter: false, 1, scratch, column);

    /// <summary>
    /// The difference between the last and the first sample, stretched to the edges of the window when the samples come close to them, and
    /// by half an interval otherwise: then the series is taken to begin or end inside. What a counter lost by resets is added, and it is
    /// not stretched to before the time when it was zero.
    /// </summary>
    private static void Extrapolate(ref Window window, Windows windows, bool counter, double per, Scratch scratch, Span<double> column)
    {
        var times = window.AllTimes;
        var values = window.AllValues;
        var resets = counter ? FindResets(values, scratch) : [];
        var nextReset = 0;
        for (var step = 0; step < column.Length; step++)
        {
            if (!window.MoveTo(step) || window.Count < 2)
            {
                column[step] = Absent.Value;
                continue;
            }

            var (from, last) = (window.From, window.To - 1);
            var increase = values[last] - values[from];

            // A reset is noted at the sample after it: one at the first sample happened before the window.
            while (nextReset < resets.Length && resets[nextReset] <= from)
            {
                nextReset++;
            }

            for (var reset = nextReset; reset < resets.Length && resets[reset] <= last; reset++)
            {
                increase += values[resets[reset] - 1];
            }

            var sampled = (times[last] - times[from]) / 1000.0;
            var interval = sampled / (last - from);
            var near = interval * 1.1;
            var toStart = (times[from] - window.Start) / 1000.0;
            var toEnd = (window.End - times[last]) / 1000.0;
            var toZero = counter && increase > 0 && values[from] >= 0 ? sampled * (values[from] / increase) : double.PositiveInfinity;

            if (windows.Closed)
            {
                // The servers before 3.0 look at zero first, and may then stretch to an edge that is not near.
                toStart = Math.Min(toStart, toZero);
                toStart = toStart < near ? toStart : interval / 2;
            }
            else
            {
                toStart = toStart >= near ? interval / 2 : toStart;
                toStart = toZero < toStart ? toZero : toStart;
            }

            toEnd = toEnd >= near ? interval / 2 : toEnd;
            column[step] = increase * ((sampled + toStart + toEnd) / sampled / per);
        }
    }

    /// <summary>Indices of the samples that are less than the one before. Few series have any, so this is one fast pass.</summary>
    private static Span<int> FindResets(ReadOnlySpan<double> values, Scratch scratch)
    {
        var count = 0;
        for (var at = 1; at < values.Length; at++)
        {
            count += values[at] < values[at - 1] ? 1 : 0;
        }

        if (count == 0)
        {
            return [];
        }

        var resets = scratch.Counts(count);
        count = 0;
        for (var at = 1; at < values.Length; at++)
        {
            if (values[at] < values[at - 1])
            {
                resets[count++] = at;
            }
        }

        return resets;
    }

    private static void InstantRate(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = Absent.Value;
            if (window.MoveTo(step) && window.Count >= 2)
            {
                var (before, last) = (window.AllValues[window.To - 2], window.AllValues[window.To - 1]);
                var seconds = (window.AllTimes[window.To - 1] - window.AllTimes[window.To - 2]) / 1000.0;

                // After a reset the counter began at zero.
                column[step] = (last < before ? last : last - before) / seconds;
            }
        }
    }

    private static void InstantDelta(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = window.MoveTo(step) && window.Count >= 2 ? window.AllValues[window.To - 1] - window.AllValues[window.To - 2] : Absent.Value;
        }
    }

    private static void Changes(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        // Changes up to each sample; the difference between two samples is how many lie between them.
        var upTo = scratch.Counts(window.AllValues.Length);
        for (var at = 1; at < upTo.Length; at++)
        {
            var (before, now) = (window.AllValues[at - 1], window.AllValues[at]);
            upTo[at] = (at == 1 ? 0 : upTo[at - 1]) + (now != before && !(double.IsNaN(now) && double.IsNaN(before)) ? 1 : 0);
        }

        CountBetween(ref window, upTo, column);
    }

    private static void Resets(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        var upTo = scratch.Counts(window.AllValues.Length);
        for (var at = 1; at < upTo.Length; at++)
        {
            upTo[at] = (at == 1 ? 0 : upTo[at - 1]) + (window.AllValues[at] < window.AllValues[at - 1] ? 1 : 0);
        }

        CountBetween(ref window, upTo, column);
    }

    private static void CountBetween(ref Window window, Span<int> upTo, Span<double> column)
    {
        if (upTo.Length > 0)
        {
            upTo[0] = 0;
        }

        for (var step = 0; step < column.Length; step++)
        {
            column[step] = window.MoveTo(step) ? upTo[window.To - 1] - upTo[window.From] : Absent.Value;
        }
    }

    private static void Sum(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        var sums = scratch.Numbers(window.AllValues.Length + 1);
        if (column.Length > 1 && TrySumWhole(window.AllValues, sums))
        {
            for (var step = 0; step < column.Length; step++)
            {
                column[step] = window.MoveTo(step) ? sums[window.To] - sums[window.From] : Absent.Value;
            }
        }
        else
        {
            Slide<SumOfWindow>(ref window, windows, parameters, scratch, column);
        }
    }

    /// <summary>Sums up to each sample, if all are whole numbers so small that no sum is ever rounded: differences of them are exact.</summary>
    private static bool TrySumWhole(ReadOnlySpan<double> values, Span<double> sums)
    {
        const double Exact = 1L << 53;
        var (sum, size) = (0.0, 0.0);
        sums[0] = 0;
        for (var at = 0; at < values.Length; at++)
        {
            var value = values[at];
            sum += value;
            size += Math.Abs(value);
            sums[at + 1] = sum;
            if (value != Math.Floor(value) || !(size < Exact))
            {
                return false;
            }
        }

        return true;
    }

    private readonly struct SumOfWindow : IWindowValue
    {
        public static double Of(ReadOnlySpan<long> times, ReadOnlySpan<double> values)
        {
            var sum = new KahanSum();
            sum.AddAll(values);
            return sum.Total;
        }
    }

    private readonly struct Average : IWindowValue
    {
        public static double Of(ReadOnlySpan<long> times, ReadOnlySpan<double> values)
        {
            var sum = new KahanSum();
            sum.AddAll(values);
            if (double.IsFinite(sum.Sum))
            {
                return sum.Sum / values.Length + sum.Lost / values.Length;
            }

            var mean = new RunningMean(values[0]);
            for (var at = 1; at < values.Length; at++)
            {
                mean.Add(values[at]);
            }

            return mean.Value;
        }
    }

    private readonly struct Variance : IWindowValue
    {
        public static double Of(ReadOnlySpan<long> times, ReadOnlySpan<double> values)
        {
            var (mean, squares) = (new KahanSum(), new KahanSum());
            var count = 0.0;
            foreach (var value in values)
            {
                count++;
                var delta = value - (mean.Sum + mean.Lost);
                mean.Add(delta / count);
                squares.Add(delta * (value - (mean.Sum + mean.Lost)));
            }

            return (squares.Sum + squares.Lost) / count;
        }
    }

    private readonly struct Deviation : IWindowValue
    {
        public static double Of(ReadOnlySpan<long> times, ReadOnlySpan<double> values) => Math.Sqrt(Variance.Of(times, values));
    }

    private readonly struct TimeOfGreatest : IWindowValue
    {
        public static double Of(ReadOnlySpan<long> times, ReadOnlySpan<double> values)
        {
            var best = 0;
            for (var at = 0; at < values.Length; at++)
            {
                best = values[at] >= values[best] || double.IsNaN(values[best]) ? at : best;
            }

            return times[best] / 1000.0;
        }
    }

    private readonly struct TimeOfLeast : IWindowValue
    {
        public static double Of(ReadOnlySpan<long> times, ReadOnlySpan<double> values)
        {
            var best = 0;
            for (var at = 0; at < values.Length; at++)
            {
                best = values[at] <= values[best] || double.IsNaN(values[best]) ? at : best;
            }

            return times[best] / 1000.0;
        }
    }

    private readonly struct Derivative : IWindowValue
    {
        // Relative to the first sample: times since 1970 would cost the precision of the products.
        public static double Of(ReadOnlySpan<long> times, ReadOnlySpan<double> values) =>
            times.Length < 2 ? Absent.Value : Line.Through(times, values, times[0]).Slope;
    }

    private static void PredictLinear(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = Absent.Value;
            if (window.MoveTo(step) && window.Count >= 2)
            {
                var line = Line.Through(window.Times, window.Values, windows.Steps[step]);
                column[step] = line.Slope * parameters[0][step] + line.Intercept;
            }
        }
    }

    /// <summary>Least squares.</summary>
    /// <param name="Slope">Per second.</param>
    /// <param name="Intercept">The value at the time that was asked for.</param>
    private readonly record struct Line(double Slope, double Intercept)
    {
        public static Line Through(ReadOnlySpan<long> times, ReadOnlySpan<double> values, long at)
        {
            var (sumX, sumY, sumXY, sumXX) = (new KahanSum(), new KahanSum(), new KahanSum(), new KahanSum());
            var constant = true;
            for (var index = 0; index < times.Length; index++)
            {
                var value = values[index];
                constant &= value == values[0] || index == 0;
                var x = (times[index] - at) / 1e3;
                sumX.Add(x);
                sumY.Add(value);
                sumXY.Add(x * value);
                sumXX.Add(x * x);
            }

            if (constant)
            {
                return double.IsInfinity(values[0]) ? new Line(double.NaN, double.NaN) : new Line(0, values[0]);
            }

            double n = times.Length;
            var (x1, y1) = (sumX.Sum + sumX.Lost, sumY.Sum + sumY.Lost);
            var covariance = sumXY.Sum + sumXY.Lost - x1 * y1 / n;
            var variance = sumXX.Sum + sumXX.Lost - x1 * x1 / n;
            var slope = covariance / variance;
            return new Line(slope, y1 / n - slope * x1 / n);
        }
    }

    /// <summary>Double exponential smoothing: a level and a trend, each the weighted mean of what was and what is new.</summary>
    private static void Smooth(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = Absent.Value;
            if (!window.MoveTo(step))
            {
                continue;
            }

            var (smoothing, trendFactor) = (parameters[0][step], parameters[1][step]);
            if (smoothing is <= 0 or >= 1)
            {
                throw new QueryException(QueryFault.Execution, string.Create(null, $"invalid smoothing factor. Expected: 0 < sf < 1, got: {smoothing:F6}"));
            }

            if (trendFactor is <= 0 or >= 1)
            {
                throw new QueryException(QueryFault.Execution, string.Create(null, $"invalid trend factor. Expected: 0 < tf < 1, got: {trendFactor:F6}"));
            }

            var values = window.Values;
            if (values.Length < 2)
            {
                continue;
            }

            var (before, level, trend) = (0.0, values[0], values[1] - values[0]);
            for (var at = 1; at < values.Length; at++)
            {
                if (at > 1)
                {
                    trend = trendFactor * (level - before) + (1 - trendFactor) * trend;
                }

                (before, level) = (level, smoothing * values[at] + (1 - smoothing) * (level + trend));
            }

            column[step] = level;
        }
    }

    private interface IExtreme
    {
        static abstract bool Beats(double value, double best);
    }

    private readonly struct Greatest : IExtreme
    {
        public static bool Beats(double value, double best) => value > best || double.IsNaN(best);
    }

    private readonly struct Least : IExtreme
    {
        public static bool Beats(double value, double best) => value < best || double.IsNaN(best);
    }

    /// <summary>Keeps the place of the extreme while it is inside; only when it has left are the samples in the window compared again.</summary>
    private static void Extreme<T>(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
        where T : struct, IExtreme
    {
        var (best, compared) = (-1, 0);
        for (var step = 0; step < column.Length; step++)
        {
            if (!window.MoveTo(step))
            {
                column[step] = Absent.Value;
                continue;
            }

            if (best < window.From)
            {
                best = window.From;
                compared = window.From + 1;
            }

            for (; compared < window.To; compared++)
            {
                if (T.Beats(window.AllValues[compared], window.AllValues[best]))
                {
                    best = compared;
                }
            }

            column[step] = window.AllValues[best];
        }
    }

    private static void QuantileOverTime(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = Absent.Value;
            if (window.MoveTo(step))
            {
                var values = scratch.Numbers(window.Count);
                window.Values.CopyTo(values);
                column[step] = Quantiles.Of(parameters[0][step], values);
            }
        }
    }

    private static void MedianDeviation(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = Absent.Value;
            if (window.MoveTo(step))
            {
                var values = scratch.Numbers(window.Count);
                window.Values.CopyTo(values);
                var median = Quantiles.Of(0.5, values);
                for (var at = 0; at < values.Length; at++)
                {
                    values[at] = Math.Abs(values[at] - median);
                }

                column[step] = Quantiles.Of(0.5, values);
            }
        }
    }
}

/// <summary>
/// The mean as Prometheus computes it: a compensated sum divided by the count, or, once the sum would overflow, a mean that is corrected
/// with each value.
/// </summary>
internal struct RunningMean(double first)
{
    public double Sum = first;
    public double Lost;
    public double Count = 1;

    /// <summary><see cref="Sum"/> is the mean already.</summary>
    public bool Incremental;

    public readonly double Value => Incremental ? Sum + Lost : Sum / Count + Lost / Count;

    public void Add(double value)
    {
        Count++;
        if (!Incremental)
        {
            var (sum, lost) = (Sum, Lost);
            KahanSum.Add(ref sum, ref lost, value);
            if (!double.IsInfinity(sum))
            {
                (Sum, Lost) = (sum, lost);
                return;
            }

            Incremental = true;
            Sum /= Count - 1;
            Lost /= Count - 1;
        }

        var share = (Count - 1) / Count;
        Sum *= share;
        Lost *= share;
        KahanSum.Add(ref Sum, ref Lost, value / Count);
    }
}
