using System.Buffers;

namespace Platform.PromQL;

/// <summary>
/// The part of an expression that looks at one series at a time: from the samples of a selector through functions and operators with
/// scalars to a column. Aggregations drink from it directly, so that the columns of a wide query are never all there at once.
/// </summary>
/// <param name="DropsName">What comes out has no metric name any more.</param>
/// <param name="ManyNames">The selector does not pin the name, so that without it two series may be called the same.</param>
/// <param name="Strict">Two series that are called the same are an error even if they never have a value at the same time.</param>
internal sealed record Pipeline(Selection Selection, Stage Stage, bool DropsName, bool ManyNames, bool Strict);

/// <summary>What one thread needs while it evaluates series after series.</summary>
internal sealed class Worker
{
    public SampleColumns Samples { get; } = new();

    public Scratch Scratch { get; } = new();

    /// <summary>Samples read since somebody last asked.</summary>
    public long SamplesRead { get; set; }

    /// <summary>The longest series so far, of which all samples were held at once.</summary>
    public int LongestSeries { get; set; }

    public void Read(Series series, long from, long to)
    {
        Samples.Clear();
        series.Read(from, to, Samples);
        SamplesRead += Samples.Count;
        LongestSeries = Math.Max(LongestSeries, Samples.Count);
    }
}

/// <summary>One link of a pipeline. Without state of its own: workers share it.</summary>
internal abstract class Stage
{
    /// <summary>Fills the column of one series.</summary>
    /// <returns>How many steps have a value.</returns>
    public abstract int Fill(Series series, Span<double> column, Worker worker);
}

/// <summary>The value of a series at each step: its last sample that is not older than the look-back and no stale marker.</summary>
/// <param name="first">The time that the first step looks at.</param>
/// <param name="advance">How far that time moves from step to step; 0 with <c>@</c>.</param>
/// <param name="times">The result is when the sample was taken, in seconds, instead of its value.</param>
internal sealed class LastSample(long first, long advance, long lookBack, bool closed, bool times) : Stage
{
    public override int Fill(Series series, Span<double> column, Worker worker)
    {
        // Older than this is too old: at the edge itself the sample is out, or still in with the semantics of 2.x.
        var reach = closed ? lookBack : lookBack - 1;
        worker.Read(series, first - reach, first + advance * (column.Length - 1));
        var at = worker.Samples.Times;
        var values = worker.Samples.Values;
        if (at.Length == 0)
        {
            return 0;
        }

        var (next, points) = (0, 0);
        var now = first;
        for (var step = 0; step < column.Length; step++)
        {
            while (next < at.Length && at[next] <= now)
            {
                next++;
            }

            var value = Absent.Value;
            if (next > 0 && at[next - 1] >= now - reach)
            {
                value = values[next - 1];
                if (!Absent.Is(value))
                {
                    points++;
                    value = times ? at[next - 1] / 1000.0 : value;
                }
            }

            column[step] = value;
            now += advance;
        }

        return points;
    }
}

/// <summary>A range function over the samples of a series.</summary>
internal sealed class OverSamples(RangeFunction function, Windows windows, double[][] parameters, Action<Labels>? noticed) : Stage
{
    public override int Fill(Series series, Span<double> column, Worker worker)
    {
        worker.Read(series, windows.From, windows.To);
        worker.Samples.RemoveStale();
        if (worker.Samples.Count == 0)
        {
            return 0;
        }

        var window = new Window(windows, worker.Samples.Times, worker.Samples.Values);
        function(ref window, windows, parameters, worker.Scratch, column);
        var points = Absent.CountPresent(column);
        if (points > 0)
        {
            noticed?.Invoke(series.Labels);
        }

        return points;
    }
}

/// <summary>A range function over the column that an inner pipeline makes of the series: a subquery.</summary>
internal sealed class OverColumn(Stage inner, Steps innerSteps, RangeFunction function, Windows windows, double[][] parameters, Action<Labels>? noticed) : Stage
{
    public override int Fill(Series series, Span<double> column, Worker worker)
    {
        var count = innerSteps.Count;
        var values = ArrayPool<double>.Shared.Rent(count);
        try
        {
            if (inner.Fill(series, values.AsSpan(0, count), worker) == 0)
            {
                return 0;
            }

            var points = Apply(innerSteps, values.AsSpan(0, count), function, windows, parameters, worker.Scratch, column);
            if (points > 0)
            {
                noticed?.Invoke(series.Labels);
            }

            return points;
        }
        finally
        {
            ArrayPool<double>.Shared.Return(values);
        }
    }

    /// <summary>The steps with a value are the samples of the range function. Overwrites the inner column.</summary>
    public static int Apply(
        Steps innerSteps, Span<double> inner, RangeFunction function, Windows windows, double[][] parameters, Scratch scratch, Span<double> column)
    {
        var times = ArrayPool<long>.Shared.Rent(inner.Length);
        try
        {
            var count = 0;
            for (var step = 0; step < inner.Length; step++)
            {
                if (!Absent.Is(inner[step]))
                {
                    times[count] = innerSteps.Start + step * innerSteps.Interval;
                    inner[count++] = inner[step];
                }
            }

            var window = new Window(windows, times.AsSpan(0, count), inner[..count]);
            function(ref window, windows, parameters, scratch, column);
            return Absent.CountPresent(column);
        }
        finally
        {
            ArrayPool<long>.Shared.Return(times);
        }
    }
}

/// <summary>A function or an operator that changes each value of the column.</summary>
internal sealed class Changed(Stage inner, ColumnChange change) : Stage
{
    public override int Fill(Series series, Span<double> column, Worker worker)
    {
        if (inner.Fill(series, column, worker) == 0)
        {
            return 0;
        }

        change(column);
        return Absent.CountPresent(column);
    }
}
