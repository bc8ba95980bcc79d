namespace Platform.PromQL;

/// <summary>Which times the parts of a query look at.</summary>
/// <param name="query">The times of the whole query.</param>
internal sealed class QueryTimes(EngineOptions options, Steps query)
{
    public Steps Query { get; } = query;

    /// <summary>In milliseconds.</summary>
    public long LookBack { get; } = Math.Max(1, (long)options.LookBack.TotalMilliseconds);

    /// <summary>The left edge of a range and of the look-back is inside.</summary>
    public bool Closed { get; } = options.Ranges == RangeSemantics.Closed;

    /// <summary>The time that a selector looks at in the first step, and how far it moves from step to step.</summary>
    public (long First, long Advance) Shifted(TimeShift shift, Steps steps)
    {
        var offset = (long)shift.Offset.TotalMilliseconds;
        return shift.At is { } at ? (TimeOf(at) - offset, 0) : (steps.Start - offset, steps.Count > 1 ? steps.Interval : 0);
    }

    public Windows WindowsOf(TimeSpan range, TimeShift shift, Steps steps)
    {
        var (first, advance) = Shifted(shift, steps);
        return new Windows(first, advance, (long)range.TotalMilliseconds, Closed, steps);
    }

    /// <summary>The times at which a subquery evaluates: multiples of its step, whatever the query's times, so that they do not wander.</summary>
    /// <exception cref="QueryException">More steps than <see cref="EngineOptions.MaxSamples"/>.</exception>
    public Steps InnerSteps(Expr.Subquery subquery, Windows windows)
    {
        var interval = (long)(subquery.Step ?? options.SubqueryStep).TotalMilliseconds;
        var from = windows.FirstEnd - windows.Range;
        var start = interval * (from / interval);
        if (Closed ? start < from : start <= from)
        {
            start += interval;
        }

        if ((windows.To - start) / interval >= Math.Min(options.MaxSamples, int.MaxValue))
        {
            throw new QueryException(
                QueryFault.Execution, $"the subquery has more than {options.MaxSamples:N0} steps: shorten its range or make its step longer", subquery.At);
        }

        return new Steps(start, windows.To < start ? start - 1 : start + (windows.To - start) / interval * interval, interval);
    }

    private long TimeOf(AtTime at) => at.Anchor switch
    {
        AtAnchor.Fixed => at.Milliseconds,
        AtAnchor.Start => Query.Start,
        AtAnchor.End => Query.End,
    };

    /// <summary>The expression has the same value whenever it is evaluated: everything it reads stands under <c>@</c>.</summary>
    public static bool IsConstant(Expr expr) => expr switch
    {
        Expr.Number or Expr.Text => true,
        Expr.Parentheses parentheses => IsConstant(parentheses.Inner),
        Expr.Negate negate => IsConstant(negate.Operand),
        Expr.VectorSelector selector => selector.Shift.At is not null,
        Expr.MatrixSelector matrix => matrix.Selector.Shift.At is not null,
        Expr.Subquery subquery => subquery.Shift.At is not null,
        Expr.Aggregate aggregate => IsConstant(aggregate.Operand) && (aggregate.Parameter is null || IsConstant(aggregate.Parameter)),
        Expr.Binary binary => IsConstant(binary.Left) && IsConstant(binary.Right),
        Expr.Call call => !LooksAtTheClock(call) && call.Arguments.All(IsConstant),
        _ => throw new NotSupportedException($"No rule for {expr.GetType().Name}."),
    };

    private static bool LooksAtTheClock(Expr.Call call) =>
        call.Function.Name is "time" or "timestamp" or "predict_linear" || (call.Arguments.Count == 0 && ValueFunctions.IsOfTime(call.Function.Name));
}
