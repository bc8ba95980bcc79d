namespace Platform.PromQL;

/// <summary>The scalar parameters of aggregations and functions: which values they may have, and what is said about the others.</summary>
internal static class Parameters
{
    /// <exception cref="QueryException">A value that is no number, or none that counts.</exception>
    public static long[] Counts(double[] parameters)
    {
        if (parameters.Any(double.IsNaN))
        {
            throw new QueryException(QueryFault.Execution, "Parameter value is NaN");
        }

        var counts = new long[parameters.Length];
        for (var step = 0; step < counts.Length; step++)
        {
            if (parameters[step] <= long.MinValue)
            {
                throw new QueryException(QueryFault.Execution, $"Scalar value {Printer.Number(parameters[step])} underflows int64");
            }

            if (parameters[step] >= long.MaxValue)
            {
                throw new QueryException(QueryFault.Execution, $"Scalar value {Printer.Number(parameters[step])} overflows int64");
            }

            counts[step] = (long)parameters[step];
        }

        return counts;
    }

    /// <exception cref="QueryException">A value that is no number.</exception>
    public static void CheckRatios(double[] ratios, Notes notes, Position at)
    {
        if (ratios.Any(double.IsNaN))
        {
            throw new QueryException(QueryFault.Execution, "Ratio value is NaN");
        }

        if (ratios.Max() > 1)
        {
            notes.Warn($"ratio value should be between -1 and 1, got {Printer.Number(ratios.Max())}, capping to 1", at);
        }

        if (ratios.Min() < -1)
        {
            notes.Warn($"ratio value should be between -1 and 1, got {Printer.Number(ratios.Min())}, capping to -1", at);
        }
    }

    public static void WarnOfQuantiles(double[] quantiles, Notes notes, Position at)
    {
        foreach (var wrong in quantiles.Where(value => !Quantiles.IsValid(value)).Distinct().Take(3))
        {
            notes.Warn($"quantile value should be between 0 and 1, got {Printer.Number(wrong)}", at);
        }
    }
}
