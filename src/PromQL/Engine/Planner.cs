namespace Platform.PromQL;

/// <summary>Finds the parts of an expression that look at one series at a time and makes pipelines of them.</summary>
/// <param name="scalars">Evaluates those of some arguments that are scalars, in their order.</param>
/// <param name="delayed">See <see cref="EngineOptions.DelayedNameRemoval"/>.</param>
internal sealed class Planner(QueryTimes times, Notes notes, bool delayed, Func<IEnumerable<Expr>, Steps, Task<double[][]>> scalars)
{
    /// <summary>The pipeline of an expression that looks at one series at a time; null for all others.</summary>
    public async Task<Pipeline?> PlanAsync(Expr expr, Steps steps)
    {
        expr = Syntax.Bare(expr);
        if (steps.Count > 1 && expr is not Expr.VectorSelector && QueryTimes.IsConstant(expr))
        {
            return null;
        }

        switch (expr)
        {
            case Expr.VectorSelector selector:
                return Plan(selector, steps, whenTaken: false);
            case Expr.Negate { Kind: ValueKind.InstantVector } negate:
                return Then(await PlanAsync(negate.Operand, steps), ValueFunctions.Negate, dropsName: true);
            case Expr.Binary { Kind: ValueKind.InstantVector, Matching: null } binary:
                var vectorLeft = binary.Left.Kind == ValueKind.InstantVector;
                if (await PlanAsync(vectorLeft ? binary.Left : binary.Right, steps) is not { } operand || !CanGoOn(operand))
                {
                    return null;
                }

                var scalar = (await scalars([vectorLeft ? binary.Right : binary.Left], steps))[0];
                return Then(operand, ScalarSide.Of(binary, scalar), ScalarSide.DropsName(binary));
            case Expr.Call { Function.Name: "timestamp" } call when Syntax.Bare(call.Arguments[0]) is Expr.VectorSelector selector:
                return Plan(selector, steps, whenTaken: true) with { DropsName = true };
            case Expr.Call call when call.Function.Name != "absent_over_time" && RangeFunctions.Find(call.Function.Name) is { } function:
                return await PlanRangeAsync(call, function, steps);
            case Expr.Call { Arguments.Count: > 0 } call when ValueFunctions.Find(call.Function.Name, [[], []]) is not null:
                var argument = call.Arguments.First(each => each.Kind == ValueKind.InstantVector);
                if (await PlanAsync(argument, steps) is not { } inner || !CanGoOn(inner))
                {
                    return null;
                }

                return Then(inner, ValueFunctions.Find(call.Function.Name, await scalars(call.Arguments, steps))!, dropsName: true);
            default:
                return null;
        }
    }

    /// <summary>
    /// Whether more may follow in the pipeline. Without their names two series may be called the same, and that has to be found out before
    /// anything else happens to them.
    /// </summary>
    public bool CanGoOn(Pipeline pipeline) => !pipeline.DropsName || !pipeline.ManyNames || delayed;

    private Pipeline? Then(Pipeline? inner, ColumnChange change, bool dropsName) =>
        inner is null || !CanGoOn(inner) ? null : inner with { Stage = new Changed(inner.Stage, change), DropsName = inner.DropsName || dropsName };

    private Pipeline Plan(Expr.VectorSelector selector, Steps steps, bool whenTaken)
    {
        var (first, advance) = times.Shifted(selector.Shift, steps);
        var from = first - (times.Closed ? times.LookBack : times.LookBack - 1);
        return new Pipeline(
            new Selection(selector.Matchers, from, first + advance * (steps.Count - 1)),
            new LastSample(first, advance, times.LookBack, times.Closed, whenTaken),
            DropsName: false,
            HasManyNames(selector),
            Strict: false);
    }

    private static bool HasManyNames(Expr.VectorSelector selector) =>
        !selector.Matchers.Any(matcher => matcher is { Name: Labels.MetricName, Kind: MatchKind.Equal });

    /// <summary>The pipeline of a range function; null when its subquery has to be evaluated as a whole.</summary>
    public async Task<Pipeline?> PlanRangeAsync(Expr.Call call, RangeFunction function, Steps steps)
    {
        var range = Syntax.Bare(call.Arguments.First(argument => argument.Kind == ValueKind.RangeVector));
        var dropsName = !RangeFunctions.KeepsName(call.Function.Name);
        if (range is Expr.MatrixSelector matrix)
        {
            var windows = times.WindowsOf(matrix.Range, matrix.Selector.Shift, steps);
            var given = await scalars(call.Arguments, steps);
            return new Pipeline(
                new Selection(matrix.Selector.Matchers, windows.From, windows.To),
                new OverSamples(function, windows, given, NoticeOf(call, given)),
                dropsName,
                HasManyNames(matrix.Selector),
                Strict: true);
        }

        var subquery = (Expr.Subquery)range;
        var outer = times.WindowsOf(subquery.Range, subquery.Shift, steps);
        var innerSteps = times.InnerSteps(subquery, outer);
        if (innerSteps.Count == 0 || await PlanAsync(subquery.Inner, innerSteps) is not { } inner || !CanGoOn(inner))
        {
            return null;
        }

        var parameters = await scalars(call.Arguments, steps);
        return inner with
        {
            Stage = new OverColumn(inner.Stage, innerSteps, function, outer, parameters, NoticeOf(call, parameters)),
            DropsName = inner.DropsName || dropsName,
            Strict = true,
        };
    }

    /// <summary>What is worth a note once a series has a result. Called by workers, for each series.</summary>
    public Action<Labels>? NoticeOf(Expr.Call call, double[][] parameters)
    {
        if (call.Function.Name is "rate" or "increase")
        {
            var noticed = "";
            var at = Syntax.Bare(call.Arguments[0]).At;
            return labels =>
            {
                var name = labels.Name;
                if (!ReferenceEquals(name, noticed) && name.Length > 0 && !name.EndsWith("_total", StringComparison.Ordinal) && !name.EndsWith("_sum", StringComparison.Ordinal)
                    && !name.EndsWith("_count", StringComparison.Ordinal) && !name.EndsWith("_bucket", StringComparison.Ordinal))
                {
                    noticed = name;
                    notes.Inform($"metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {Printer.Quote(name)}", at);
                }
            };
        }

        if (call.Function.Name == "quantile_over_time" && !parameters[0].All(Quantiles.IsValid))
        {
            var wrong = parameters[0].First(value => !Quantiles.IsValid(value));
            return _ => notes.Warn($"quantile value should be between 0 and 1, got {Printer.Number(wrong)}", Syntax.Bare(call.Arguments[0]).At);
        }

        return null;
    }
}

/// <summary>An operator between a vector and a scalar: a change of each column.</summary>
internal static class ScalarSide
{
    public static ColumnChange Of(Expr.Binary binary, double[] scalar) => binary.Left.Kind == ValueKind.InstantVector
        ? column => Operators.Apply(binary.Operator, column, scalar, column, binary.ReturnBool)
        : column => Operators.Apply(binary.Operator, scalar, column, column, binary.ReturnBool, keepRight: true);

    public static bool DropsName(Expr.Binary binary) => binary.ReturnBool || !Operators.IsComparison(binary.Operator);
}
