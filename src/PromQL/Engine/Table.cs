using System.Runtime.InteropServices;

namespace Platform.PromQL;

/// <summary>
/// A step at which a series has no value, as it stands in a column. It is the bit pattern of the stale marker, a signalling NaN: no
/// arithmetic of the processor ever yields one, because results that are NaN are quiet. Only moving bits can make it, and moving is what
/// it is for; the two operations that touch the sign bit alone look out for it.
/// </summary>
internal static class Absent
{
    public static double Value => StaleMarker.Value;

    public static bool Is(double value) => BitConverter.DoubleToInt64Bits(value) == StaleMarker.Bits;

    /// <summary>A value that is there, whatever its bits are.</summary>
    public static double Never(double value) => Is(value) ? double.NaN : value;

    public static int CountPresent(ReadOnlySpan<double> column)
    {
        var bits = MemoryMarshal.Cast<double, long>(column);
        return bits.Length - MemoryExtensions.Count(bits, StaleMarker.Bits);
    }
}

/// <summary>
/// An instant vector at every step of an evaluation: one row for each series, one column of values as long as there are steps. Rows point
/// into shared blocks, so that half a million series with one step each cost no array of their own.
/// </summary>
internal sealed class Table(int steps)
{
    private const int BlockValues = 4096;

    private readonly List<Row> _rows = [];
    private double[] _block = [];
    private int _used;

    public struct Row
    {
        public Labels Labels;
        public double[] Block;
        public int Offset;

        /// <summary>How many steps have a value.</summary>
        public int Points;

        /// <summary>The name goes when the whole expression is evaluated.</summary>
        public bool DropName;
    }

    public int Steps { get; } = steps;

    public int Count => _rows.Count;

    /// <summary>Values that are there, over all rows.</summary>
    public long Points { get; private set; }

    public Span<Row> Rows => CollectionsMarshal.AsSpan(_rows);

    public Span<double> this[int row] => _rows[row].Block.AsSpan(_rows[row].Offset, Steps);

    /// <summary>Room for the column of the next row. It may be filled and then not added.</summary>
    public Span<double> Room()
    {
        if (_used + Steps > _block.Length)
        {
            _block = GC.AllocateUninitializedArray<double>(Math.Max(1, BlockValues / Steps) * Steps);
            _used = 0;
        }

        return _block.AsSpan(_used, Steps);
    }

    /// <summary>Makes a row of what was filled into <see cref="Room"/>.</summary>
    public void Add(Labels labels, bool dropName, int points)
    {
        _rows.Add(new Row { Labels = labels, Block = _block, Offset = _used, Points = points, DropName = dropName });
        _used += Steps;
        Points += points;
    }

    /// <summary>Adds a row with a copy of the column.</summary>
    public void Add(Labels labels, bool dropName, ReadOnlySpan<double> column)
    {
        column.CopyTo(Room());
        Add(labels, dropName, Absent.CountPresent(column));
    }

    /// <summary>Adds a row that shares its column with a row of another table, which must not be used any more.</summary>
    public void Add(in Row row)
    {
        _rows.Add(row);
        Points += row.Points;
    }

    public void Append(Table other)
    {
        _rows.AddRange(other._rows);
        Points += other.Points;
    }

    /// <summary>Forgets the rows; their blocks stay with whoever took them.</summary>
    public void Clear()
    {
        _rows.Clear();
        Points = 0;
    }

    /// <summary>Drops rows without a value, after operations that filter.</summary>
    public void Recount()
    {
        Points = 0;
        foreach (ref var row in Rows)
        {
            row.Points = Absent.CountPresent(row.Block.AsSpan(row.Offset, Steps));
            Points += row.Points;
        }

        _rows.RemoveAll(row => row.Points == 0);
    }

    public void Sort(Comparison<Row> order) => _rows.Sort(order);

    /// <summary>The value of the only step at each of many.</summary>
    public Table Broadcast(int steps)
    {
        var wide = new Table(steps);
        foreach (ref var row in Rows)
        {
            var value = row.Block[row.Offset];
            if (!Absent.Is(value))
            {
                wide.Room().Fill(value);
                wide.Add(row.Labels, row.DropName, steps);
            }
        }

        return wide;
    }

    public void Change(ColumnChange change)
    {
        for (var row = 0; row < Count; row++)
        {
            change(this[row]);
        }

        Recount();
    }

    /// <summary>The rows have no name any more: from now on, or with <paramref name="delayed"/> at the end of the evaluation.</summary>
    public void DropNames(bool delayed)
    {
        foreach (ref var row in Rows)
        {
            row.DropName = true;
            row.Labels = delayed ? row.Labels : row.Labels.WithoutReserved();
        }
    }

    /// <summary>The end of the evaluation has come.</summary>
    public void DropNamesNow()
    {
        foreach (ref var row in Rows)
        {
            row.Labels = row.DropName ? row.Labels.WithoutReserved() : row.Labels;
        }
    }

    /// <summary>Rows that are called the same become one.</summary>
    /// <param name="strict">They are an error in any case, not only when two have a value at the same step.</param>
    public void MergeSame(bool strict = false)
    {
        if (Count <= 1)
        {
            return;
        }

        var first = new Dictionary<Labels, int>(Count);
        var merged = false;
        for (var row = 0; row < Count; row++)
        {
            if (first.TryAdd(Rows[row].Labels, row))
            {
                continue;
            }

            var into = this[first[Rows[row].Labels]];
            var from = this[row];
            for (var step = 0; step < from.Length; step++)
            {
                if (Absent.Is(from[step]))
                {
                    continue;
                }

                if (strict || !Absent.Is(into[step]))
                {
                    throw new QueryException(QueryFault.Execution, "vector cannot contain metrics with the same labelset");
                }

                into[step] = from[step];
                from[step] = Absent.Value;
            }

            merged = true;
        }

        if (merged)
        {
            Recount();
        }
    }
}
