using System.Runtime.Intrinsics;

namespace Platform.PromQL;

/// <summary>Takes the columns of series, one after the other. One per worker; what they took comes together in the end.</summary>
internal abstract class Sink(int steps)
{
    private readonly double[] _column = new double[steps];

    protected int Steps { get; } = steps;

    /// <summary>Points that it keeps and that grow with the number of series.</summary>
    public virtual long Held => 0;

    /// <summary>Where the next column may be computed.</summary>
    public virtual Span<double> Room() => _column;

    /// <param name="dropName">The name does not count any more, or will be dropped in the end: see <see cref="EngineOptions.DelayedNameRemoval"/>.</param>
    /// <param name="points">How many steps have a value; at least one.</param>
    public abstract void Add(Labels labels, bool dropName, Span<double> column, int points);

    /// <summary>A batch of the source is done: what needs the order of the series takes it from the workers now.</summary>
    public virtual void AfterBatch(Sink other)
    {
    }

    /// <summary>Takes over what another worker's sink holds, which is done.</summary>
    public virtual void Merge(Sink other)
    {
    }
}

/// <summary>Keeps the columns.</summary>
internal sealed class Collected(int steps, bool delayed) : Sink(steps)
{
    public Table Table { get; } = new(steps);

    public override long Held => Table.Points;

    public override Span<double> Room() => Table.Room();

    public override void Add(Labels labels, bool dropName, Span<double> column, int points) =>
        Table.Add(dropName && !delayed ? labels.WithoutReserved() : labels, dropName, points);

    public override void AfterBatch(Sink other)
    {
        var theirs = ((Collected)other).Table;
        Table.Append(theirs);
        theirs.Clear();
    }
}

/// <summary>Remembers at which steps anything had a value.</summary>
internal sealed class Presence(int steps) : Sink(steps)
{
    public bool[] Seen { get; } = new bool[steps];

    public override void Add(Labels labels, bool dropName, Span<double> column, int points)
    {
        for (var step = 0; step < column.Length; step++)
        {
            Seen[step] |= !Absent.Is(column[step]);
        }
    }

    public override void Merge(Sink other)
    {
        var theirs = ((Presence)other).Seen;
        for (var step = 0; step < theirs.Length; step++)
        {
            Seen[step] |= theirs[step];
        }
    }
}

/// <summary>Which labels make a group.</summary>
internal sealed class Grouping(IReadOnlyList<string> labels, bool without, bool delayed)
{
    // Only then does it matter whether a name, type or unit that was dropped is still among the labels of the series.
    private readonly bool _reserved = without || labels.Any(Labels.IsReserved);

    public Groups NewGroups() => without ? new Groups([.. labels, Labels.MetricName], only: false) : new Groups(labels, only: true);

    public int Of(Groups groups, Labels series, bool dropName) => groups.Of(_reserved ? Result(series, dropName) : series);

    /// <summary>The labels of the series, as far as they count: without the name if that was dropped at once.</summary>
    public Labels Result(Labels series, bool dropName) => dropName && !delayed ? series.WithoutReserved() : series;
}

/// <summary>sum, avg, count, min, max, group, stddev and stdvar: a few numbers for each group and step, whatever the number of series.</summary>
internal sealed class Aggregated(int steps, AggregateOperator operation, Grouping grouping) : Sink(steps)
{
    private readonly Groups _groups = grouping.NewGroups();
    private readonly List<State> _states = [];

    private sealed class State(int steps, AggregateOperator operation)
    {
        /// <summary>The sum, the extreme or the mean; absent before the first value.</summary>
        public readonly double[] Value = Filled(steps);

        /// <summary>What rounding lost of <see cref="Value"/>, or the sum of squared differences from the mean.</summary>
        public readonly double[] Second = operation is AggregateOperator.Sum or AggregateOperator.Avg or AggregateOperator.StdDev or AggregateOperator.StdVar
            ? new double[steps] : [];

        public readonly double[] Count = operation is AggregateOperator.Avg or AggregateOperator.StdDev or AggregateOperator.StdVar ? new double[steps] : [];

        /// <summary>Steps whose mean went over to being corrected with each value, because the sum would overflow.</summary>
        public bool[]? Incremental;

        public bool DropName;

        /// <summary>Every step has a value.</summary>
        public bool IsFull;

        private static double[] Filled(int steps)
        {
            var column = new double[steps];
            column.AsSpan().Fill(Absent.Value);
            return column;
        }
    }

    public override void Add(Labels labels, bool dropName, Span<double> column, int points)
    {
        var group = grouping.Of(_groups, labels, dropName);
        if (group == _states.Count)
        {
            _states.Add(new State(Steps, operation));
        }

        var state = _states[group];
        state.DropName |= dropName;
        var full = points == column.Length;
        switch (operation)
        {
            case AggregateOperator.Sum when full && state.IsFull:
                SumFull(state.Value, state.Second, column);
                break;
            case AggregateOperator.Sum:
                Sum(state, column);
                break;
            case AggregateOperator.Avg:
                Average(state, column);
                break;
            case AggregateOperator.Count:
                Count(state, column);
                break;
            case AggregateOperator.Min:
                Least(state, column);
                break;
            case AggregateOperator.Max:
                Greatest(state, column);
                break;
            case AggregateOperator.Group:
                Mark(state, column);
                break;
            case AggregateOperator.StdDev or AggregateOperator.StdVar:
                Spread(state, column);
                break;
            default:
                throw new NotSupportedException($"{operation} keeps series.");
        }

        state.IsFull |= full;
    }

    public override void Merge(Sink other)
    {
        var theirs = (Aggregated)other;
        for (var index = 0; index < theirs._states.Count; index++)
        {
            var group = _groups.Of(theirs._groups.FirstOf(index));
            if (group == _states.Count)
            {
                _states.Add(theirs._states[index]);
            }
            else
            {
                Merge(_states[group], theirs._states[index]);
            }
        }
    }

    public Table Result()
    {
        var table = new Table(Steps);
        for (var group = 0; group < _states.Count; group++)
        {
            var state = _states[group];
            var column = table.Room();
            for (var step = 0; step < column.Length; step++)
            {
                column[step] = Absent.Is(state.Value[step]) ? Absent.Value : Final(state, step);
            }

            table.Add(_groups.LabelsOf(_groups.FirstOf(group)), state.DropName, Absent.CountPresent(column));
        }

        return table;
    }

    private double Final(State state, int step) => operation switch
    {
        AggregateOperator.Sum => state.Value[step] + state.Second[step],
        AggregateOperator.Avg when state.Incremental?[step] == true => state.Value[step] + state.Second[step],
        AggregateOperator.Avg => state.Value[step] / state.Count[step] + state.Second[step] / state.Count[step],
        AggregateOperator.StdVar => state.Second[step] / state.Count[step],
        AggregateOperator.StdDev => Math.Sqrt(state.Second[step] / state.Count[step]),
        _ => state.Value[step],
    };

    private static void Sum(State state, ReadOnlySpan<double> column)
    {
        var (sums, lost) = (state.Value, state.Second);
        for (var step = 0; step < column.Length; step++)
        {
            var value = column[step];
            if (Absent.Is(value))
            {
                continue;
            }

            if (Absent.Is(sums[step]))
            {
                sums[step] = value;
            }
            else
            {
                KahanSum.Add(ref sums[step], ref lost[step], value);
            }
        }
    }

    /// <summary>As <see cref="KahanSum.Add(ref double, ref double, double)"/> where nothing is absent, four steps at a time.</summary>
    private static void SumFull(Span<double> sums, Span<double> losses, ReadOnlySpan<double> column)
    {
        var at = 0;
        if (Vector256.IsHardwareAccelerated)
        {
            for (; at <= column.Length - Vector256<double>.Count; at += Vector256<double>.Count)
            {
                var sum = Vector256.Create<double>(sums[at..]);
                var lost = Vector256.Create<double>(losses[at..]);
                KahanSum.Add(ref sum, ref lost, Vector256.Create(column[at..]));
                sum.CopyTo(sums[at..]);
                lost.CopyTo(losses[at..]);
            }
        }

        for (; at < column.Length; at++)
        {
            KahanSum.Add(ref sums[at], ref losses[at], column[at]);
        }
    }

    private static void Average(State state, ReadOnlySpan<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            var value = column[step];
            if (Absent.Is(value))
            {
                continue;
            }

            if (Absent.Is(state.Value[step]))
            {
                state.Value[step] = value;
                state.Count[step] = 1;
                continue;
            }

            var mean = MeanAt(state, step);
            mean.Add(value);
            SetMean(state, step, mean);
        }
    }

    private static RunningMean MeanAt(State state, int step) => new()
    {
        Sum = state.Value[step],
        Lost = state.Second[step],
        Count = state.Count[step],
        Incremental = state.Incremental?[step] ?? false,
    };

    private static void SetMean(State state, int step, in RunningMean mean)
    {
        (state.Value[step], state.Second[step], state.Count[step]) = (mean.Sum, mean.Lost, mean.Count);
        if (mean.Incremental)
        {
            (state.Incremental ??= new bool[state.Value.Length])[step] = true;
        }
    }

    private static void Count(State state, ReadOnlySpan<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            if (!Absent.Is(column[step]))
            {
                state.Value[step] = Absent.Is(state.Value[step]) ? 1 : state.Value[step] + 1;
            }
        }
    }

    private static void Least(State state, ReadOnlySpan<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            // A group without a value holds a NaN, and any value beats NaN.
            if (!Absent.Is(column[step]) && (state.Value[step] > column[step] || double.IsNaN(state.Value[step])))
            {
                state.Value[step] = column[step];
            }
        }
    }

    private static void Greatest(State state, ReadOnlySpan<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            if (!Absent.Is(column[step]) && (state.Value[step] < column[step] || double.IsNaN(state.Value[step])))
            {
                state.Value[step] = column[step];
            }
        }
    }

    private static void Mark(State state, ReadOnlySpan<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            if (!Absent.Is(column[step]))
            {
                state.Value[step] = 1;
            }
        }
    }

    /// <summary>Mean and squared differences from it in one pass (Welford).</summary>
    private static void Spread(State state, ReadOnlySpan<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            var value = column[step];
            if (Absent.Is(value))
            {
                continue;
            }

            if (Absent.Is(state.Value[step]))
            {
                state.Value[step] = value;
                state.Count[step] = 1;
                state.Second[step] = double.IsFinite(value) ? 0 : double.NaN;
                continue;
            }

            state.Count[step]++;
            var delta = value - state.Value[step];
            state.Value[step] += delta / state.Count[step];
            state.Second[step] += delta * (value - state.Value[step]);
        }
    }

    private void Merge(State into, State from)
    {
        into.DropName |= from.DropName;
        switch (operation)
        {
            case AggregateOperator.Min:
                Least(into, from.Value);
                return;
            case AggregateOperator.Max:
                Greatest(into, from.Value);
                return;
            case AggregateOperator.Group:
                Mark(into, from.Value);
                return;
        }

        for (var step = 0; step < from.Value.Length; step++)
        {
            if (Absent.Is(from.Value[step]))
            {
                continue;
            }

            if (Absent.Is(into.Value[step]))
            {
                into.Value[step] = from.Value[step];
                if (into.Second.Length > 0)
                {
                    into.Second[step] = from.Second[step];
                }

                if (into.Count.Length > 0)
                {
                    into.Count[step] = from.Count[step];
                }

                if (from.Incremental?[step] == true)
                {
                    (into.Incremental ??= new bool[into.Value.Length])[step] = true;
                }

                continue;
            }

            switch (operation)
            {
                case AggregateOperator.Sum:
                    KahanSum.Add(ref into.Value[step], ref into.Second[step], from.Value[step]);
                    into.Second[step] += double.IsInfinity(into.Value[step]) ? 0 : from.Second[step];
                    break;
                case AggregateOperator.Count:
                    into.Value[step] += from.Value[step];
                    break;
                case AggregateOperator.Avg:
                    MergeMeans(into, from, step);
                    break;
                case AggregateOperator.StdDev or AggregateOperator.StdVar:
                    var count = into.Count[step] + from.Count[step];
                    var delta = from.Value[step] - into.Value[step];
                    into.Second[step] += from.Second[step] + delta * delta * into.Count[step] * from.Count[step] / count;
                    into.Value[step] += delta * from.Count[step] / count;
                    into.Count[step] = count;
                    break;
            }
        }
    }

    private static void MergeMeans(State into, State from, int step)
    {
        var (left, right) = (MeanAt(into, step), MeanAt(from, step));
        var count = left.Count + right.Count;
        if (!left.Incremental && !right.Incremental)
        {
            var (sum, lost) = (left.Sum, left.Lost);
            KahanSum.Add(ref sum, ref lost, right.Sum);
            if (!double.IsInfinity(sum))
            {
                SetMean(into, step, new RunningMean { Sum = sum, Lost = lost + right.Lost, Count = count });
                return;
            }
        }

        SetMean(into, step, new RunningMean
        {
            Sum = left.Value * (left.Count / count) + right.Value * (right.Count / count),
            Count = count,
            Incremental = true,
        });
    }
}
