namespace Platform.PromQL;

/// <summary>
/// The evaluation of one expression. A vector is a <see cref="Table"/> over all steps, a scalar an array with a value for each. What looks
/// at one series at a time runs as a <see cref="Pipeline"/> while the series stream from the source; everything else takes tables and
/// makes one.
/// </summary>
internal sealed class Evaluation
{
    private readonly ISeriesSource _source;
    private readonly bool _instant;
    private readonly Notes _notes;
    private readonly CancellationToken _ct;
    private readonly bool _delayed;
    private readonly QueryTimes _times;
    private readonly Budget _budget;
    private readonly SeriesStream _stream;
    private readonly Planner _planner;

    private Evaluation(ISeriesSource source, EngineOptions options, Steps query, bool instant, Notes notes, CancellationToken ct)
    {
        (_source, _instant, _notes, _ct) = (source, instant, notes, ct);
        _delayed = options.DelayedNameRemoval;
        _times = new QueryTimes(options, query);
        _budget = new Budget(options.MaxSamples);
        _stream = new SeriesStream(source, _budget, options.Parallelism, ct);
        _planner = new Planner(_times, notes, _delayed, ScalarsAsync);
    }

    /// <param name="text">What the expression was parsed from, for the places in notes; null: it stood on one line.</param>
    public static async Task<QueryResult> RunAsync(
        Expr expr, string? text, ISeriesSource source, Steps steps, bool instant, EngineOptions options, TimeProvider clock, CancellationToken ct)
    {
        Check(expr, steps, instant, options);
        var started = clock.GetTimestamp();
        using var timeout = new CancellationTokenSource(options.Timeout, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, timeout.Token);
        var notes = new Notes(text);
        var evaluation = new Evaluation(source, options, steps, instant, notes, either.Token);
        try
        {
            var (kind, series, answer) = await evaluation.ResultAsync(Syntax.Bare(expr));
            if (series.Length > options.MaxSeries)
            {
                throw new QueryException(
                    QueryFault.Execution, $"the result has {series.Length:N0} series and at most {options.MaxSeries:N0} are allowed: aggregate, or select fewer");
            }

            var stats = new QueryStats(evaluation._budget.SamplesRead, evaluation._budget.Peak, clock.GetElapsedTime(started));
            return new QueryResult(kind, series, answer, notes.Warnings, notes.Infos, stats);
        }
        catch (OperationCanceledException) when (either.IsCancellationRequested)
        {
            throw ct.IsCancellationRequested
                ? new QueryException(QueryFault.Canceled, "query was canceled in expression evaluation")
                : new QueryException(QueryFault.Timeout, $"query timed out in expression evaluation after {options.Timeout}: ask for fewer series, a shorter range or larger steps");
        }
    }

    private static void Check(Expr expr, Steps steps, bool instant, EngineOptions options)
    {
        if (instant)
        {
            return;
        }

        if (expr.Kind is not (ValueKind.Scalar or ValueKind.InstantVector))
        {
            var name = expr.Kind == ValueKind.Text ? "string" : "range vector";
            throw new QueryException(QueryFault.BadData, $"invalid expression type \"{name}\" for range query, must be Scalar or instant Vector", expr.At);
        }

        if (steps.Interval <= 0)
        {
            throw new QueryException(QueryFault.BadData, "zero or negative query resolution step widths are not accepted. Try a positive integer");
        }

        if (steps.End < steps.Start)
        {
            throw new QueryException(QueryFault.BadData, "end timestamp must not be before start time");
        }

        if ((steps.End - steps.Start) / steps.Interval > options.MaxSteps)
        {
            throw new QueryException(
                QueryFault.BadData,
                $"exceeded maximum resolution of {options.MaxSteps:N0} points per timeseries. Try decreasing the query resolution (?step=XX)");
        }
    }

    private async Task<(ValueKind Kind, ResultSeries[] Series, string? Text)> ResultAsync(Expr expr)
    {
        var times = Answer.TimesOf(_times.Query);
        switch (expr.Kind)
        {
            case ValueKind.Text:
                return (ValueKind.Text, [], Syntax.TextOf(expr));
            case ValueKind.Scalar:
                var scalar = new ResultSeries(Labels.Empty, times, await ScalarAsync(expr, _times.Query));
                return (_instant ? ValueKind.Scalar : ValueKind.RangeVector, [scalar], null);
            case ValueKind.RangeVector:
                return (ValueKind.RangeVector, Answer.Sorted(expr is Expr.Subquery subquery ? await StepsOfAsync(subquery) : await SamplesOfAsync((Expr.MatrixSelector)expr)), null);
        }

        var series = Answer.Of(AtTheEnd(await VectorAsync(expr, _times.Query)), times);
        return _instant ? (ValueKind.InstantVector, series, null) : (ValueKind.RangeVector, Answer.Sorted(series), null);
    }

    private Table AtTheEnd(Table table)
    {
        if (_delayed)
        {
            table.DropNamesNow();
            table.MergeSame();
        }

        return table;
    }

    /// <summary>The value of a subquery itself: what it evaluates at its own times.</summary>
    private async Task<ResultSeries[]> StepsOfAsync(Expr.Subquery subquery)
    {
        var steps = _times.InnerSteps(subquery, _times.WindowsOf(subquery.Range, subquery.Shift, _times.Query));
        return steps.Count == 0 ? [] : Answer.Of(AtTheEnd(await VectorAsync(subquery.Inner, steps)), Answer.TimesOf(steps));
    }

    /// <summary>The value of a range selector itself: the samples as they are.</summary>
    private async Task<ResultSeries[]> SamplesOfAsync(Expr.MatrixSelector matrix)
    {
        var result = new List<ResultSeries>();
        var window = _times.WindowsOf(matrix.Range, matrix.Selector.Shift, _times.Query);
        var samples = new SampleColumns();
        await foreach (var batch in _source.SelectAsync(new Selection(matrix.Selector.Matchers, window.From, window.To), _ct))
        {
            foreach (var series in batch)
            {
                _ct.ThrowIfCancellationRequested();
                samples.Clear();
                series.Read(window.From, window.To, samples);
                _budget.Read(samples.Count);
                samples.RemoveStale();
                if (samples.Count > 0)
                {
                    _budget.Hold(_budget.Held + samples.Count);
                    result.Add(new ResultSeries(series.Labels, samples.Times.ToArray(), samples.Values.ToArray()));
                }
            }
        }

        return [.. result];
    }

    private async Task<double[]> ScalarAsync(Expr expr, Steps steps)
    {
        _ct.ThrowIfCancellationRequested();
        expr = Syntax.Bare(expr);
        var values = new double[steps.Count];
        switch (expr)
        {
            case Expr.Number number:
                values.AsSpan().Fill(number.Value);
                return values;
            case Expr.Negate negate:
                values = await ScalarAsync(negate.Operand, steps);
                ValueFunctions.Negate(values);
                return values;
            case Expr.Binary binary:
                var left = await ScalarAsync(binary.Left, steps);
                var right = await ScalarAsync(binary.Right, steps);
                Operators.Apply(binary.Operator, left, right, left, asBool: true);
                return left;
            case Expr.Call { Function.Name: "time" }:
                return ClockOf(steps);
            case Expr.Call { Function.Name: "start" }:
                values.AsSpan().Fill(_times.Query.Start / 1000.0);
                return values;
            case Expr.Call { Function.Name: "end" }:
                values.AsSpan().Fill(_times.Query.End / 1000.0);
                return values;
            case Expr.Call { Function.Name: "pi" }:
                values.AsSpan().Fill(Math.PI);
                return values;
            case Expr.Call { Function.Name: "scalar" } call:
                var held = _budget.Held;
                values = Single(await VectorAsync(call.Arguments[0], steps));
                _budget.Hold(held);
                return values;
            default:
                throw new NotSupportedException($"No rule evaluates {expr.GetType().Name} as a scalar.");
        }
    }

    private static double[] ClockOf(Steps steps)
    {
        var seconds = new double[steps.Count];
        for (var step = 0; step < seconds.Length; step++)
        {
            seconds[step] = steps[step] / 1000.0;
        }

        return seconds;
    }

    /// <summary>The value of the only series; NaN where there is none or more than one.</summary>
    private static double[] Single(Table table)
    {
        var values = new double[table.Steps];
        var counts = new int[table.Steps];
        for (var row = 0; row < table.Count; row++)
        {
            var column = table[row];
            for (var step = 0; step < column.Length; step++)
            {
                if (!Absent.Is(column[step]))
                {
                    counts[step]++;
                    values[step] = column[step];
                }
            }
        }

        for (var step = 0; step < values.Length; step++)
        {
            values[step] = counts[step] == 1 ? values[step] : double.NaN;
        }

        return values;
    }

    private async Task<double[][]> ScalarsAsync(IEnumerable<Expr> arguments, Steps steps)
    {
        var scalars = new List<double[]>();
        foreach (var argument in arguments.Where(argument => argument.Kind == ValueKind.Scalar))
        {
            scalars.Add(await ScalarAsync(argument, steps));
        }

        return [.. scalars];
    }

    private async Task<Table> VectorAsync(Expr expr, Steps steps)
    {
        _ct.ThrowIfCancellationRequested();
        expr = Syntax.Bare(expr);
        var held = _budget.Held;
        var table = steps.Count > 1 && QueryTimes.IsConstant(expr)
            ? (await VectorAsync(expr, steps.First)).Broadcast(steps.Count)
            : await _planner.PlanAsync(expr, steps) is { } pipeline
                ? await CollectAsync(pipeline, steps)
                : await WholeAsync(expr, steps);

        // Whatever it was made of is not needed any more.
        _budget.Hold(held + table.Points);
        return table;
    }

    private async Task<Table> CollectAsync(Pipeline pipeline, Steps steps)
    {
        var table = (await _stream.RunAsync(pipeline, () => new Collected(steps.Count, _delayed))).Table;
        if (!_planner.CanGoOn(pipeline))
        {
            table.MergeSame(pipeline.Strict);
        }

        return table;
    }

    /// <summary>Gives every row of the vector to a sink, straight from the source where the expression allows it.</summary>
    private async Task<TSink> StreamAsync<TSink>(Expr expr, Steps steps, Func<TSink> create)
        where TSink : Sink
    {
        if (!(steps.Count > 1 && QueryTimes.IsConstant(expr)) && await _planner.PlanAsync(expr, steps) is { } pipeline && _planner.CanGoOn(pipeline))
        {
            return await _stream.RunAsync(pipeline, create);
        }

        var table = await VectorAsync(expr, steps);
        var sink = create();
        for (var row = 0; row < table.Count; row++)
        {
            sink.Add(table.Rows[row].Labels, table.Rows[row].DropName, table[row], table.Rows[row].Points);
        }

        return sink;
    }

    /// <summary>What needs all series of its operands together.</summary>
    private async Task<Table> WholeAsync(Expr expr, Steps steps) => expr switch
    {
        Expr.Negate negate => Nameless(Changed(await VectorAsync(negate.Operand, steps), ValueFunctions.Negate)),
        Expr.Aggregate aggregate => await AggregateAsync(aggregate, steps),
        Expr.Binary { Matching: { } matching } binary => await BetweenVectorsAsync(binary, matching, steps),
        Expr.Binary binary => await WithScalarAsync(binary, steps),
        Expr.Call call => await CallAsync(call, steps),
        _ => throw new NotSupportedException($"No rule evaluates {expr.GetType().Name}."),
    };

    private static Table Changed(Table table, ColumnChange change)
    {
        table.Change(change);
        return table;
    }

    /// <summary>Drops the names. Two rows that are called the same then become one, if they never have a value at the same step.</summary>
    private Table Nameless(Table table, bool strict = false)
    {
        table.DropNames(_delayed);
        if (!_delayed)
        {
            table.MergeSame(strict);
        }

        return table;
    }

    private async Task<Table> BetweenVectorsAsync(Expr.Binary binary, VectorMatching on, Steps steps)
    {
        var left = await VectorAsync(binary.Left, steps);
        var right = await VectorAsync(binary.Right, steps);
        var matching = new Matching(left, right, on);
        switch (binary.Operator)
        {
            case BinaryOperator.And:
                return matching.Filter(partnered: true);
            case BinaryOperator.Unless:
                return matching.Filter(partnered: false);
            case BinaryOperator.Or:
                var either = matching.Or();
                if (right.Count > 0 && either.Count > right.Count)
                {
                    either.MergeSame();
                }

                return either;
            default:
                var result = matching.Compute(binary.Operator, binary.ReturnBool, _delayed, binary.At, out var mayRepeat);
                if (mayRepeat)
                {
                    result.MergeSame();
                }

                return result;
        }
    }

    private async Task<Table> WithScalarAsync(Expr.Binary binary, Steps steps)
    {
        var vectorLeft = binary.Left.Kind == ValueKind.InstantVector;
        var scalar = await ScalarAsync(vectorLeft ? binary.Right : binary.Left, steps);
        var table = Changed(await VectorAsync(vectorLeft ? binary.Left : binary.Right, steps), ScalarSide.Of(binary, scalar));
        return ScalarSide.DropsName(binary) ? Nameless(table) : table;
    }

    private async Task<Table> AggregateAsync(Expr.Aggregate aggregate, Steps steps)
    {
        var (operation, operand) = (aggregate.Operator, aggregate.Operand);
        var grouping = new Grouping(aggregate.Grouping, aggregate.Without, _delayed);
        if (operation == AggregateOperator.CountValues)
        {
            return await CountValuesAsync(aggregate, steps);
        }

        if (aggregate.Parameter is null)
        {
            return (await StreamAsync(operand, steps, () => new Aggregated(steps.Count, operation, grouping))).Result();
        }

        var parameters = await ScalarAsync(aggregate.Parameter, steps);
        var at = Syntax.Bare(aggregate.Parameter).At;
        switch (operation)
        {
            case AggregateOperator.Quantile:
                Parameters.WarnOfQuantiles(parameters, _notes, at);
                return Quantiles.OfGroups(await VectorAsync(operand, steps), parameters, grouping, _ct);
            case AggregateOperator.LimitRatio:
                Parameters.CheckRatios(parameters, _notes, at);
                return Sampling.Ratio(await VectorAsync(operand, steps), parameters);
            case AggregateOperator.LimitK:
                return Sampling.First(await VectorAsync(operand, steps), Parameters.Counts(parameters), grouping);
            default:
                var most = Parameters.Counts(parameters);
                return (await StreamAsync(operand, steps, () => new Ranked(steps.Count, operation == AggregateOperator.TopK, most, grouping))).Result();
        }
    }

    private async Task<Table> CountValuesAsync(Expr.Aggregate aggregate, Steps steps)
    {
        var label = Syntax.TextOf(aggregate.Parameter!);
        if (label.Length == 0 || !Literals.IsText(label))
        {
            throw new QueryException(QueryFault.Execution, $"invalid label name {Printer.Quote(label)}", aggregate.Parameter!.At);
        }

        // The label gets the value, so whatever the series had there does not tell groups apart.
        var others = aggregate.Without ? [.. aggregate.Grouping, label] : aggregate.Grouping.Where(name => name != label).ToArray();
        var grouping = new Grouping(others, aggregate.Without, _delayed);
        return (await StreamAsync(aggregate.Operand, steps, () => new Counted(steps.Count, label, aggregate.Grouping, aggregate.Without, grouping))).Result();
    }

    private async Task<Table> CallAsync(Expr.Call call, Steps steps)
    {
        var name = call.Function.Name;
        var arguments = call.Arguments;
        switch (name)
        {
            case "absent":
                return Absence((await StreamAsync(arguments[0], steps, () => new Presence(steps.Count))).Seen, Syntax.Bare(arguments[0]));
            case "absent_over_time":
                return Absence((await PresenceAsync(call, steps)).Seen, Syntax.Bare(arguments[0]));
            case "vector":
                return Alone(await ScalarAsync(arguments[0], steps));
            case "label_replace":
                var replaced = await VectorAsync(arguments[0], steps);
                LabelFunctions.Replace(replaced, Syntax.TextOf(arguments[1]), Syntax.TextOf(arguments[2]), Syntax.TextOf(arguments[3]), Syntax.TextOf(arguments[4]));
                replaced.MergeSame();
                return replaced;
            case "label_join":
                var joined = await VectorAsync(arguments[0], steps);
                LabelFunctions.Join(joined, Syntax.TextOf(arguments[1]), Syntax.TextOf(arguments[2]), [.. arguments.Skip(3).Select(Syntax.TextOf)]);
                joined.MergeSame();
                return joined;
            case "sort" or "sort_desc" or "sort_by_label" or "sort_by_label_desc":
                return Sorted(call, await VectorAsync(arguments[0], steps));
            case "timestamp":
                // Of anything but a selector: the time of evaluation.
                var clock = ClockOf(steps);
                return Nameless(Changed(await VectorAsync(arguments[0], steps), column => Stamp(column, clock)));
            case "histogram_quantile" or "histogram_fraction":
                return await OfHistogramsAsync(call, steps);
            case "histogram_avg" or "histogram_count" or "histogram_stddev" or "histogram_stdvar" or "histogram_sum":
                // Of native histograms, and there are none.
                await VectorAsync(arguments[0], steps);
                return new Table(steps.Count);
        }

        if (arguments.Count == 0)
        {
            var now = ClockOf(steps);
            ValueFunctions.Find(name, [])!(now);
            return Alone(now);
        }

        var scalars = await ScalarsAsync(arguments, steps);
        if (ValueFunctions.Find(name, scalars) is { } change)
        {
            return Nameless(Changed(await VectorAsync(Syntax.VectorOf(call), steps), change));
        }

        var function = RangeFunctions.Find(name) ?? throw new NotSupportedException($"No rule evaluates {name}.");
        var result = await OverSubqueryAsync(call, function, scalars, steps);
        return RangeFunctions.KeepsName(name) ? result : Nameless(result, strict: true);
    }

    /// <summary>One series without labels.</summary>
    private static Table Alone(double[] values)
    {
        var table = new Table(values.Length);
        table.Add(Labels.Empty, false, values);
        return table;
    }

    private static void Stamp(Span<double> column, double[] stamps)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = Absent.Is(column[step]) ? Absent.Value : stamps[step];
        }
    }

    private static Table Absence(bool[] seen, Expr argument)
    {
        var table = new Table(seen.Length);
        var column = table.Room();
        for (var step = 0; step < seen.Length; step++)
        {
            column[step] = seen[step] ? Absent.Value : 1;
        }

        var points = Absent.CountPresent(column);
        if (points > 0)
        {
            table.Add(LabelFunctions.OfAbsent(argument), true, points);
        }

        return table;
    }

    private async Task<Presence> PresenceAsync(Expr.Call call, Steps steps)
    {
        var function = RangeFunctions.Find(call.Function.Name)!;
        if (await _planner.PlanRangeAsync(call, function, steps) is { } pipeline)
        {
            return await _stream.RunAsync(pipeline, () => new Presence(steps.Count));
        }

        var sink = new Presence(steps.Count);
        var table = await OverSubqueryAsync(call, function, [], steps);
        for (var row = 0; row < table.Count; row++)
        {
            sink.Add(table.Rows[row].Labels, true, table[row], table.Rows[row].Points);
        }

        return sink;
    }

    /// <summary>A range function over a subquery whose expression is evaluated as a whole.</summary>
    private async Task<Table> OverSubqueryAsync(Expr.Call call, RangeFunction function, double[][] parameters, Steps steps)
    {
        var subquery = Syntax.SubqueryOf(call);
        var windows = _times.WindowsOf(subquery.Range, subquery.Shift, steps);
        var innerSteps = _times.InnerSteps(subquery, windows);
        var result = new Table(steps.Count);
        if (innerSteps.Count == 0)
        {
            return result;
        }

        var inner = await VectorAsync(subquery.Inner, innerSteps);
        var noticed = _planner.NoticeOf(call, parameters);
        var scratch = new Scratch();
        for (var row = 0; row < inner.Count; row++)
        {
            _ct.ThrowIfCancellationRequested();
            var points = OverColumn.Apply(innerSteps, inner[row], function, windows, parameters, scratch, result.Room());
            if (points > 0)
            {
                noticed?.Invoke(inner.Rows[row].Labels);
                result.Add(inner.Rows[row].Labels, inner.Rows[row].DropName, points);
            }
        }

        return result;
    }

    private Table Sorted(Expr.Call call, Table table)
    {
        if (!_instant)
        {
            _notes.Warn("sort is ineffective for range queries since results are always ordered by labels", call.At);
        }

        if (table.Steps == 1)
        {
            Sorting.Sort(table, call.Function.Name, [.. call.Arguments.Skip(1).Select(Syntax.TextOf)]);
        }

        return table;
    }

    private async Task<Table> OfHistogramsAsync(Expr.Call call, Steps steps)
    {
        var vector = Syntax.Bare(call.Arguments[^1]);
        var scalars = await ScalarsAsync(call.Arguments, steps);
        var buckets = await VectorAsync(vector, steps);

        // Before 3.0, series with different names could be buckets of one histogram.
        var nameCounts = !_times.Closed;
        if (call.Function.Name == "histogram_fraction")
        {
            return Nameless(Histograms.Fraction(buckets, scalars[0], scalars[1], nameCounts, BadBound));
        }

        Parameters.WarnOfQuantiles(scalars[0], _notes, Syntax.Bare(call.Arguments[0]).At);
        return Nameless(Histograms.Quantile(buckets, scalars[0], nameCounts, BadBound, Forced));

        void BadBound(string name, string bound) =>
            _notes.Warn($"bucket label \"le\" is missing or has a malformed value of {Printer.Quote(bound)}{ForMetric(name)}", vector.At);

        void Forced(string name) => _notes.Inform(
            $"input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){ForMetric(name)}", vector.At);
    }

    private string ForMetric(string name) => _delayed && name.Length > 0 ? $" for metric name {Printer.Quote(name)}" : "";
}
