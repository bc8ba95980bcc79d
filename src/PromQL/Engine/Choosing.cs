using System.Globalization;

namespace Platform.PromQL;

/// <summary>topk and bottomk: a heap of k entries for each group and step, and the labels of the series that ever stood in one.</summary>
/// <param name="most">How many to keep at each step.</param>
internal sealed class Ranked(int steps, bool top, long[] most, Grouping grouping) : Sink(steps)
{
    private readonly Groups _groups = grouping.NewGroups();
    private readonly List<Heap[]> _heaps = [];
    private readonly List<(Labels Labels, bool DropName)> _series = [];

    private record struct Entry(double Value, int Series);

    private struct Heap
    {
        public Entry[] Entries;
        public int Count;
    }

    public override void Add(Labels labels, bool dropName, Span<double> column, int points)
    {
        var heaps = HeapsOf(grouping.Of(_groups, labels, dropName));
        var series = -1;
        for (var step = 0; step < column.Length; step++)
        {
            var value = column[step];
            if (Absent.Is(value) || !Wants(ref heaps[step], step, value))
            {
                continue;
            }

            if (series < 0)
            {
                series = _series.Count;
                _series.Add((grouping.Result(labels, dropName), dropName));
            }

            Put(ref heaps[step], step, new Entry(value, series));
        }
    }

    public override void Merge(Sink other)
    {
        var theirs = (Ranked)other;
        var offset = _series.Count;
        _series.AddRange(theirs._series);
        for (var index = 0; index < theirs._heaps.Count; index++)
        {
            var heaps = HeapsOf(_groups.Of(theirs._groups.FirstOf(index)));
            for (var step = 0; step < Steps; step++)
            {
                var their = theirs._heaps[index][step];
                for (var at = 0; at < their.Count; at++)
                {
                    if (Wants(ref heaps[step], step, their.Entries[at].Value))
                    {
                        Put(ref heaps[step], step, their.Entries[at] with { Series = their.Entries[at].Series + offset });
                    }
                }
            }
        }
    }

    /// <summary>One row for each series that was ever chosen; of an instant vector the best first, group by group.</summary>
    public Table Result()
    {
        var table = new Table(Steps);
        if (Steps == 1)
        {
            foreach (var heaps in _heaps)
            {
                var entries = heaps[0].Entries.AsSpan(0, heaps[0].Count);
                entries.Sort((left, right) => IsBefore(left, right) ? 1 : IsBefore(right, left) ? -1 : left.Series.CompareTo(right.Series));
                foreach (var entry in entries)
                {
                    table.Room()[0] = entry.Value;
                    table.Add(_series[entry.Series].Labels, _series[entry.Series].DropName, 1);
                }
            }

            return table;
        }

        var rows = new int[_series.Count];
        rows.AsSpan().Fill(-1);
        foreach (var heaps in _heaps)
        {
            for (var step = 0; step < Steps; step++)
            {
                foreach (var entry in heaps[step].Entries.AsSpan(0, heaps[step].Count))
                {
                    if (rows[entry.Series] < 0)
                    {
                        rows[entry.Series] = table.Count;
                        table.Room().Fill(Absent.Value);
                        table.Add(_series[entry.Series].Labels, _series[entry.Series].DropName, 0);
                    }

                    table[rows[entry.Series]][step] = entry.Value;
                }
            }
        }

        table.Recount();
        return table;
    }

    private Heap[] HeapsOf(int group)
    {
        if (group == _heaps.Count)
        {
            var heaps = new Heap[Steps];
            heaps.AsSpan().Fill(new Heap { Entries = [] });
            _heaps.Add(heaps);
        }

        return _heaps[group];
    }

    private bool Wants(ref Heap heap, int step, double value) =>
        heap.Count < most[step] || (heap.Count > 0 && IsWorse(heap.Entries[0].Value, value));

    /// <summary>The root is the worst that was kept; NaN is worse than any number.</summary>
    private bool IsWorse(double left, double right) =>
        (top ? left < right : left > right) || (double.IsNaN(left) && !double.IsNaN(right));

    // Among equals the later series is the worse.
    private bool IsBefore(in Entry left, in Entry right) =>
        IsWorse(left.Value, right.Value) || (!IsWorse(right.Value, left.Value) && left.Series > right.Series);

    private void Put(ref Heap heap, int step, in Entry entry)
    {
        if (heap.Count < most[step])
        {
            if (heap.Count == heap.Entries.Length)
            {
                Array.Resize(ref heap.Entries, (int)Math.Min(most[step], Math.Max(4, 2 * heap.Count)));
            }

            var at = heap.Count++;
            while (at > 0 && IsBefore(entry, heap.Entries[(at - 1) / 2]))
            {
                heap.Entries[at] = heap.Entries[(at - 1) / 2];
                at = (at - 1) / 2;
            }

            heap.Entries[at] = entry;
            return;
        }

        var place = 0;
        while (true)
        {
            var child = 2 * place + 1;
            if (child >= heap.Count)
            {
                break;
            }

            if (child + 1 < heap.Count && IsBefore(heap.Entries[child + 1], heap.Entries[child]))
            {
                child++;
            }

            if (!IsBefore(heap.Entries[child], entry))
            {
                break;
            }

            heap.Entries[place] = heap.Entries[child];
            place = child;
        }

        heap.Entries[place] = entry;
    }
}

/// <summary>count_values: how many series of a group have the same value.</summary>
internal sealed class Counted(int steps, string label, IReadOnlyList<string> labels, bool without, Grouping grouping) : Sink(steps)
{
    private readonly Groups _groups = grouping.NewGroups();
    private readonly Dictionary<(int Group, long Bits), double[]> _counts = [];

    // "without" takes the label away again: then all values of a group are one series.
    private readonly bool _isNamed = !(without && labels.Contains(label));

    public override void Add(Labels series, bool dropName, Span<double> column, int points)
    {
        var group = grouping.Of(_groups, series, dropName);
        var last = Absent.Value;
        double[] counts = [];
        for (var step = 0; step < column.Length; step++)
        {
            var value = column[step];
            if (Absent.Is(value))
            {
                continue;
            }

            // Values repeat from step to step.
            if (BitConverter.DoubleToInt64Bits(value) != BitConverter.DoubleToInt64Bits(last))
            {
                counts = CountsOf(group, value);
                last = value;
            }

            counts[step]++;
        }
    }

    public override void Merge(Sink other)
    {
        var theirs = (Counted)other;
        foreach (var ((group, bits), column) in theirs._counts)
        {
            var counts = CountsOf(_groups.Of(theirs._groups.FirstOf(group)), BitConverter.Int64BitsToDouble(bits));
            for (var step = 0; step < column.Length; step++)
            {
                counts[step] += column[step];
            }
        }
    }

    public Table Result()
    {
        var table = new Table(Steps);
        foreach (var ((group, bits), counts) in _counts)
        {
            for (var step = 0; step < counts.Length; step++)
            {
                counts[step] = counts[step] == 0 ? Absent.Value : counts[step];
            }

            var named = _groups.LabelsOf(_groups.FirstOf(group));
            table.Add(_isNamed ? named.With(label, TextOf(BitConverter.Int64BitsToDouble(bits))) : named, false, counts);
        }

        return table;
    }

    private double[] CountsOf(int group, double value)
    {
        // All NaN are one value.
        var bits = _isNamed ? BitConverter.DoubleToInt64Bits(double.IsNaN(value) ? double.NaN : value) : 0;
        if (!_counts.TryGetValue((group, bits), out var counts))
        {
            counts = new double[Steps];
            _counts.Add((group, bits), counts);
        }

        return counts;
    }

    /// <summary>The shortest digits that read back as the value, never with an exponent.</summary>
    private static string TextOf(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
        }

        var text = value.ToString("R", CultureInfo.InvariantCulture);
        var at = text.IndexOf('E', StringComparison.Ordinal);
        if (at < 0)
        {
            return text;
        }

        var exponent = int.Parse(text.AsSpan(at + 1), CultureInfo.InvariantCulture);
        var sign = text[0] == '-' ? "-" : "";
        var mantissa = text[sign.Length..at];
        var point = mantissa.IndexOf('.', StringComparison.Ordinal);
        var digits = mantissa.Replace(".", "", StringComparison.Ordinal);
        var whole = (point < 0 ? mantissa.Length : point) + exponent;
        return whole <= 0 ? $"{sign}0.{new string('0', -whole)}{digits}"
            : whole >= digits.Length ? sign + digits.PadRight(whole, '0')
            : $"{sign}{digits[..whole]}.{digits[whole..]}";
    }
}

/// <summary>limitk and limit_ratio: some of the series, always the same ones.</summary>
internal static class Sampling
{
    /// <summary>Keeps at each step the first k series of each group that have a value.</summary>
    public static Table First(Table table, long[] most, Grouping grouping)
    {
        var groups = grouping.NewGroups();
        var taken = new List<long[]>();
        for (var row = 0; row < table.Count; row++)
        {
            var group = grouping.Of(groups, table.Rows[row].Labels, table.Rows[row].DropName);
            if (group == taken.Count)
            {
                taken.Add(new long[table.Steps]);
            }

            var column = table[row];
            for (var step = 0; step < column.Length; step++)
            {
                if (!Absent.Is(column[step]) && ++taken[group][step] > most[step])
                {
                    column[step] = Absent.Value;
                }
            }
        }

        table.Recount();
        return table;
    }

    /// <summary>Keeps the series whose place between 0 and 1 is below the ratio, or with a negative one those that the ratio plus 1 leaves out.</summary>
    public static Table Ratio(Table table, double[] ratios)
    {
        for (var row = 0; row < table.Count; row++)
        {
            var place = PlaceOf(table.Rows[row].Labels);
            var column = table[row];
            for (var step = 0; step < column.Length; step++)
            {
                var ratio = Math.Clamp(ratios[step], -1, 1);
                if (ratio == 0 || (ratio > 0 ? place >= ratio : place < 1 + ratio))
                {
                    column[step] = Absent.Value;
                }
            }
        }

        table.Recount();
        return table;
    }

    /// <summary>Where the series stands between 0 and 1: by a hash that every process computes alike (FNV-1a, mixed), so that replicas choose the same.</summary>
    private static double PlaceOf(Labels labels)
    {
        var hash = 14695981039346656037ul;
        foreach (var text in labels.Flat)
        {
            foreach (var unit in text)
            {
                hash = (hash ^ unit) * 1099511628211;
            }

            hash = (hash ^ 0xff) * 1099511628211;
        }

        hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
        hash ^= hash >> 33;
        return (hash >> 11) * (1.0 / (1ul << 53));
    }
}
