namespace Platform.PromQL;

/// <summary>Quantiles of plain values.</summary>
internal static class Quantiles
{
    /// <summary>The quantile with linear interpolation between the two nearest values; sorts them.</summary>
    public static double Of(double quantile, Span<double> values)
    {
        if (values.Length == 0 || double.IsNaN(quantile))
        {
            return double.NaN;
        }

        if (quantile < 0)
        {
            return double.NegativeInfinity;
        }

        if (quantile > 1)
        {
            return double.PositiveInfinity;
        }

        // NaN sorts first, here as there.
        values.Sort();
        double last = values.Length - 1;
        var rank = quantile * last;
        var lower = Math.Max(0, Math.Floor(rank));
        var upper = Math.Min(last, lower + 1);
        var weight = rank - Math.Floor(rank);
        return values[(int)lower] * (1 - weight) + values[(int)upper] * weight;
    }

    public static bool IsValid(double quantile) => quantile is >= 0 and <= 1;

    /// <summary>The quantile of the values of each group at each step.</summary>
    public static Table OfGroups(Table table, double[] quantiles, Grouping grouping, CancellationToken ct)
    {
        var groups = grouping.NewGroups();
        var members = new List<List<int>>();
        for (var row = 0; row < table.Count; row++)
        {
            var group = grouping.Of(groups, table.Rows[row].Labels, table.Rows[row].DropName);
            if (group == members.Count)
            {
                members.Add([]);
            }

            members[group].Add(row);
        }

        var result = new Table(table.Steps);
        var values = new double[members.Count == 0 ? 0 : members.Max(rows => rows.Count)];
        for (var group = 0; group < members.Count; group++)
        {
            ct.ThrowIfCancellationRequested();
            var column = result.Room();
            var points = 0;
            for (var step = 0; step < column.Length; step++)
            {
                var count = 0;
                foreach (var row in members[group])
                {
                    ref var entry = ref table.Rows[row];
                    var value = entry.Block[entry.Offset + step];
                    if (!Absent.Is(value))
                    {
                        values[count++] = value;
                    }
                }

                column[step] = count == 0 ? Absent.Value : Of(quantiles[step], values.AsSpan(0, count));
                points += count == 0 ? 0 : 1;
            }

            var dropName = members[group].Exists(row => table.Rows[row].DropName);
            result.Add(groups.LabelsOf(groups.FirstOf(group)), dropName, points);
        }

        return result;
    }
}
