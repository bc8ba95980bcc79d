namespace Platform.PromQL;

/// <summary>Tables as they are answered.</summary>
internal static class Answer
{
    public static long[] TimesOf(Steps steps)
    {
        var times = new long[steps.Count];
        for (var step = 0; step < times.Length; step++)
        {
            times[step] = steps[step];
        }

        return times;
    }

    /// <summary>The rows in their order.</summary>
    public static ResultSeries[] Of(Table table, long[] times)
    {
        var series = new ResultSeries[table.Count];
        for (var row = 0; row < series.Length; row++)
        {
            series[row] = SeriesOf(table.Rows[row], times);
        }

        return series;
    }

    /// <summary>Series without gaps share the times and point into the blocks of the table; the others get columns of their own.</summary>
    private static ResultSeries SeriesOf(in Table.Row row, long[] times)
    {
        var column = row.Block.AsMemory(row.Offset, times.Length);
        var values = column.Span;
        var first = 0;
        while (Absent.Is(values[first]))
        {
            first++;
        }

        if (Absent.CountPresent(values.Slice(first, row.Points)) == row.Points)
        {
            return new ResultSeries(row.Labels, times.AsMemory(first, row.Points), column.Slice(first, row.Points));
        }

        var ownTimes = new long[row.Points];
        var ownValues = new double[row.Points];
        var count = 0;
        for (var step = first; step < times.Length; step++)
        {
            if (!Absent.Is(values[step]))
            {
                ownTimes[count] = times[step];
                ownValues[count++] = values[step];
            }
        }

        return new ResultSeries(row.Labels, ownTimes, ownValues);
    }

    public static ResultSeries[] Sorted(ResultSeries[] series)
    {
        Array.Sort(series, (left, right) => left.Labels.CompareTo(right.Labels));
        return series;
    }
}
