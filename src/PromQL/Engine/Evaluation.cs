namespace Platform.PromQL;

/// <summary>
/// The evaluation of one expression. A vector is a <see cref="Table"/> over all steps, a scalar an array with a value for each. What looks
/// at one series at a time runs as a <see cref="Pipeline"/> while the series stream from the source, on all processors when there are many.
/// </summary>
internal sealed class Evaluation
{
    /// <summary>Fewer series than this are not worth a second thread.</summary>
    private const int FewSeries = 64;

    private readonly ISeriesSource _source;
    private readonly EngineOptions _options;
    private readonly Steps _query;
    private readonly bool _instant;
    private readonly Notes _notes;
    private readonly CancellationToken _ct;
    private readonly long _lookBack;
    private readonly bool _closed;
    private long _samples;
    private long _held;
    private long _peak;

    private Evaluation(ISeriesSource source, EngineOptions options, Steps query, bool instant, Notes notes, CancellationToken ct)
    {
        (_source, _options, _query, _instant, _notes, _ct) = (source, options, query, instant, notes, ct);
        _lookBack = Math.Max(1, (long)options.LookBack.TotalMilliseconds);
        _closed = options.Ranges == RangeSemantics.Closed;
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
            var (kind, series, answer) = await evaluation.ResultAsync(expr);
            var stats = new QueryStats(evaluation._samples, evaluation._peak, clock.GetElapsedTime(started));
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
        expr = Bare(expr);
        var times = new long[_query.Count];
        for (var step = 0; step < times.Length; step++)
        {
            times[step] = _query[step];
        }

        switch (expr.Kind)
        {
            case ValueKind.Text:
                return (ValueKind.Text, [], ((Expr.Text)expr).Value);
            case ValueKind.Scalar:
                var scalar = new ResultSeries(Labels.Empty, times, await ScalarAsync(expr, _query));
                return (_instant ? ValueKind.Scalar : ValueKind.RangeVector, [scalar], null);
            case ValueKind.RangeVector:
                return (ValueKind.RangeVector, Sorted(await SamplesAsync(expr)), null);
        }

        var table = await VectorAsync(expr, _query);
        if (_options.DelayedNameRemoval)
        {
            DropNamesNow(table);
        }

        CheckCount(table.Count);
        var series = new ResultSeries[table.Count];
        for (var row = 0; row < series.Length; row++)
        {
            series[row] = SeriesOf(table.Rows[row], times);
        }

        return _instant ? (ValueKind.InstantVector, series, null) : (ValueKind.RangeVector, Sorted(series), null);
    }

    /// <summary>Series without gaps share the times and point into the blocks of the table; the others get columns of their own.</summary>
    private static ResultSeries SeriesOf(in Table.Row row, long[] times)
    {
        var column = row.Block.AsMemory(row.Offset, times.Length);
        if (row.Points == times.Length)
        {
            return new ResultSeries(row.Labels, times, column);
        }

        var (ownTimes, values) = (new long[row.Points], new double[row.Points]);
        var count = 0;
        for (var step = 0; step < times.Length; step++)
        {
            if (!Absent.Is(column.Span[step]))
            {
                ownTimes[count] = times[step];
                values[count++] = column.Span[step];
            }
        }

        return new ResultSeries(row.Labels, ownTimes, values);
    }

    private static ResultSeries[] Sorted(ResultSeries[] series)
    {
        Array.Sort(series, (left, right) => left.Labels.CompareTo(right.Labels));
        return series;
    }

    private void CheckCount(int series)
    {
        if (series > _options.MaxSeries)
        {
            throw new QueryException(
                QueryFault.Execution, $"the result has {series:N0} series and at most {_options.MaxSeries:N0} are allowed: aggregate, or select fewer");
        }
    }

    // ---- samples of a range vector at the top of an instant query

    private async Task<ResultSeries[]> SamplesAsync(Expr expr)
    {
        var result = new List<ResultSeries>();
        if (expr is Expr.Subquery subquery)
        {
            var windows = WindowsOf(subquery.Range, subquery.Shift, _query);
            var inner = InnerSteps(subquery, windows);
            var table = inner.Count == 0 ? new Table(1) : await VectorAsync(subquery.Inner, inner);
            if (_options.DelayedNameRemoval)
            {
                DropNamesNow(table);
            }

            var times = Enumerable.Range(0, inner.Count).Select(step => inner[step]).ToArray();
            for (var row = 0; row < table.Count; row++)
            {
                result.Add(SeriesOf(table.Rows[row], times));
            }

            CheckCount(result.Count);
            return [.. result];
        }

        var matrix = (Expr.MatrixSelector)expr;
        var window = WindowsOf(matrix.Range, matrix.Selector.Shift, _query);
        var samples = new SampleColumns();
        await foreach (var batch in _source.SelectAsync(new Selection(matrix.Selector.Matchers, window.From, window.To), _ct))
        {
            foreach (var series in batch)
            {
                _ct.ThrowIfCancellationRequested();
                samples.Clear();
                series.Read(window.From, window.To, samples);
                _samples += samples.Count;
                samples.RemoveStale();
                if (samples.Count > 0)
                {
                    Hold(samples.Count);
                    result.Add(new ResultSeries(series.Labels, samples.Times.ToArray(), samples.Values.ToArray()));
                }
            }
        }

        CheckCount(result.Count);
        return [.. result];
    }

    // ---- what is what

    private static Expr Bare(Expr expr)
    {
        while (expr is Expr.Parentheses parentheses)
        {
            expr = parentheses.Inner;
        }

        return expr;
    }

    private static string TextOf(Expr expr) => ((Expr.Text)Bare(expr)).Value;

    /// <summary>The expression has the same value whenever it is evaluated: everything it reads stands under <c>@</c>.</summary>
    private static bool IsConstant(Expr expr) => expr switch
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

    private long TimeOf(AtTime at) => at.Anchor switch
    {
        AtAnchor.Fixed => at.Milliseconds,
        AtAnchor.Start => _query.Start,
        AtAnchor.End => _query.End,
    };

    /// <summary>The time that a selector looks at in the first step, and how far it moves from step to step.</summary>
    private (long First, long Advance) Shifted(TimeShift shift, Steps steps)
    {
        var offset = (long)shift.Offset.TotalMilliseconds;
        return shift.At is { } at ? (TimeOf(at) - offset, 0) : (steps.Start - offset, steps.Count > 1 ? steps.Interval : 0);
    }

    private Windows WindowsOf(TimeSpan range, TimeShift shift, Steps steps)
    {
        var (first, advance) = Shifted(shift, steps);
        return new Windows(first, advance, (long)range.TotalMilliseconds, _closed, steps);
    }

    /// <summary>The times at which a subquery evaluates: multiples of its step, whatever the query's times, so that they do not wander.</summary>
    private Steps InnerSteps(Expr.Subquery subquery, Windows windows)
    {
        var interval = (long)(subquery.Step ?? _options.SubqueryStep).TotalMilliseconds;
        var from = windows.FirstEnd - windows.Range;
        var start = interval * (from / interval);
        if (_closed ? start < from : start <= from)
        {
            start += interval;
        }

        var end = windows.To;
        return new Steps(start, end < start ? start - 1 : start + (end - start) / interval * interval, interval);
    }

    // ---- bounds

    private void Hold(long samples)
    {
        _held += samples;
        _peak = Math.Max(_peak, _held);
        if (_held > _options.MaxSamples)
        {
            throw TooMany();
        }
    }

    private void Release(Table table) => _held -= table.Points;

    private QueryException TooMany() => new(
        QueryFault.Execution,
        $"query processing would load too many samples into memory in query execution: at most {_options.MaxSamples:N0} are allowed; select fewer series, a shorter range or larger steps");

    // ---- scalars

    private async Task<double[]> ScalarAsync(Expr expr, Steps steps)
    {
        _ct.ThrowIfCancellationRequested();
        expr = Bare(expr);
        var values = new double[steps.Count];
        switch (expr)
        {
            case Expr.Number number:
                values.AsSpan().Fill(number.Value);
                return values;
            case Expr.Negate negate:
                values = await ScalarAsync(negate.Operand, steps);
                for (var step = 0; step < values.Length; step++)
                {
                    values[step] = -values[step];
                }

                return values;
            case Expr.Binary binary:
                var left = await ScalarAsync(binary.Left, steps);
                var right = await ScalarAsync(binary.Right, steps);
                Operators.Apply(binary.Operator, left, right, left, asBool: true);
                return left;
            case Expr.Call { Function.Name: "time" }:
                for (var step = 0; step < values.Length; step++)
                {
                    values[step] = steps[step] / 1000.0;
                }

                return values;
            case Expr.Call { Function.Name: "start" or "end" } call:
                values.AsSpan().Fill((call.Function.Name == "start" ? _query.Start : _query.End) / 1000.0);
                return values;
            case Expr.Call { Function.Name: "pi" }:
                values.AsSpan().Fill(Math.PI);
                return values;
            case Expr.Call { Function.Name: "scalar" } call:
                return Single(await VectorAsync(call.Arguments[0], steps));
            default:
                throw new NotSupportedException($"No rule evaluates {expr.GetType().Name} as a scalar.");
        }
    }

    /// <summary>The value of the only series; NaN where there is none or more than one.</summary>
    private double[] Single(Table table)
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

        Release(table);
        return values;
    }

    private async Task<double[][]> ScalarsAsync(IEnumerable<Expr> arguments, Steps steps)
    {
        var scalars = new List<double[]>();
        foreach (var argument in arguments)
        {
            if (argument.Kind == ValueKind.Scalar)
            {
                scalars.Add(await ScalarAsync(argument, steps));
            }
        }

        return [.. scalars];
    }

    // ---- vectors

    private async Task<Table> VectorAsync(Expr expr, Steps steps)
    {
        _ct.ThrowIfCancellationRequested();
        expr = Bare(expr);
        if (steps.Count > 1 && IsConstant(expr))
        {
            var once = await VectorAsync(expr, steps.First);
            Release(once);
            var wide = once.Broadcast(steps.Count);
            Hold(wide.Points);
            return wide;
        }

        if (await PlanAsync(expr, steps) is { } pipeline)
        {
            return await CollectAsync(pipeline, steps);
        }

        return expr switch
        {
            Expr.Negate negate => Merged(DropNames(Change(await VectorAsync(negate.Operand, steps), ValueFunctions.Negate))),
            Expr.Aggregate aggregate => await AggregateAsync(aggregate, steps),
            Expr.Binary { Matching: { } matching } binary => await BetweenVectorsAsync(binary, matching, steps),
            Expr.Binary binary => await WithScalarAsync(binary, steps),
            Expr.Call call => await CallAsync(call, steps),
            _ => throw new NotSupportedException($"No rule evaluates {expr.GetType().Name}."),
        };
    }

    private Table Change(Table table, ColumnChange change)
    {
        for (var row = 0; row < table.Count; row++)
        {
            change(table[row]);
        }

        var before = table.Points;
        table.Recount();
        _held -= before - table.Points;
        return table;
    }

    private Table DropNames(Table table)
    {
        foreach (ref var row in table.Rows)
        {
            row.DropName = true;
            if (!_options.DelayedNameRemoval)
            {
                row.Labels = row.Labels.WithoutReserved();
            }
        }

        return table;
    }

    private static void DropNamesNow(Table table)
    {
        foreach (ref var row in table.Rows)
        {
            if (row.DropName)
            {
                row.Labels = row.Labels.WithoutReserved();
            }
        }

        MergeSame(table, strict: false);
    }

    private Table Merged(Table table)
    {
        if (!_options.DelayedNameRemoval)
        {
            MergeSame(table, strict: false);
        }

        return table;
    }

    /// <summary>Rows that are called the same become one.</summary>
    /// <param name="strict">They are an error in any case, not only when two have a value at the same step.</param>
    private static void MergeSame(Table table, bool strict)
    {
        if (table.Count <= 1)
        {
            return;
        }

        var first = new Dictionary<Labels, int>(table.Count);
        var merged = false;
        for (var row = 0; row < table.Count; row++)
        {
            if (first.TryAdd(table.Rows[row].Labels, row))
            {
                continue;
            }

            var into = table[first[table.Rows[row].Labels]];
            var from = table[row];
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
            table.Recount();
        }
    }

    private async Task<Table> BetweenVectorsAsync(Expr.Binary binary, VectorMatching on, Steps steps)
    {
        var left = await VectorAsync(binary.Left, steps);
        var right = await VectorAsync(binary.Right, steps);
        var held = left.Points + right.Points;
        var matching = new Matching(left, right, on);
        var mayRepeat = false;
        var result = binary.Operator switch
        {
            BinaryOperator.And => matching.Filter(partnered: true),
            BinaryOperator.Unless => matching.Filter(partnered: false),
            BinaryOperator.Or => matching.Or(),
            _ => matching.Compute(binary.Operator, binary.ReturnBool, _options.DelayedNameRemoval, binary.At, out mayRepeat),
        };
        if (mayRepeat || (binary.Operator == BinaryOperator.Or && right.Count > 0 && left.Count > right.Count))
        {
            MergeSame(result, strict: false);
        }

        Hold(result.Points);
        _held -= held;
        return result;
    }

    private async Task<Table> WithScalarAsync(Expr.Binary binary, Steps steps)
    {
        var vectorLeft = binary.Left.Kind == ValueKind.InstantVector;
        var scalar = await ScalarAsync(vectorLeft ? binary.Right : binary.Left, steps);
        var table = Change(await VectorAsync(vectorLeft ? binary.Left : binary.Right, steps), WithScalar(binary, scalar));
        return DropsName(binary) ? Merged(DropNames(table)) : table;
    }

    private static ColumnChange WithScalar(Expr.Binary binary, double[] scalar) => binary.Left.Kind == ValueKind.InstantVector
        ? column => Operators.Apply(binary.Operator, column, scalar, column, binary.ReturnBool)
        : column => Operators.Apply(binary.Operator, scalar, column, column, binary.ReturnBool, keepRight: true);

    private static bool DropsName(Expr.Binary binary) => binary.ReturnBool || !Operators.IsComparison(binary.Operator);

    // ---- pipelines

    /// <summary>The pipeline of an expression that looks at one series at a time; null for all others.</summary>
    private async Task<Pipeline?> PlanAsync(Expr expr, Steps steps)
    {
        expr = Bare(expr);
        if (steps.Count > 1 && expr is not Expr.VectorSelector && IsConstant(expr))
        {
            return null;
        }

        switch (expr)
        {
            case Expr.VectorSelector selector:
                return Plan(selector, steps, times: false);
            case Expr.Negate { Kind: ValueKind.InstantVector } negate:
                return Then(await PlanAsync(negate.Operand, steps), ValueFunctions.Negate, dropsName: true);
            case Expr.Binary { Kind: ValueKind.InstantVector, Matching: null } binary:
                var vectorLeft = binary.Left.Kind == ValueKind.InstantVector;
                if (await PlanAsync(vectorLeft ? binary.Left : binary.Right, steps) is not { } operand || !CanGoOn(operand))
                {
                    return null;
                }

                var scalar = await ScalarAsync(vectorLeft ? binary.Right : binary.Left, steps);
                return Then(operand, WithScalar(binary, scalar), DropsName(binary));
            case Expr.Call { Function.Name: "timestamp" } call when Bare(call.Arguments[0]) is Expr.VectorSelector selector:
                return Plan(selector, steps, times: true) with { DropsName = true };
            case Expr.Call call when call.Function.Name != "absent_over_time" && RangeFunctions.Find(call.Function.Name) is { } function:
                return await PlanRangeAsync(call, function, steps);
            case Expr.Call { Arguments.Count: > 0 } call when ValueFunctions.Find(call.Function.Name, [[], []]) is not null:
                var argument = call.Arguments.First(each => each.Kind == ValueKind.InstantVector);
                if (await PlanAsync(argument, steps) is not { } inner || !CanGoOn(inner))
                {
                    return null;
                }

                return Then(inner, ValueFunctions.Find(call.Function.Name, await ScalarsAsync(call.Arguments, steps))!, dropsName: true);
            default:
                return null;
        }
    }

    // Without their names two series may be called the same. That has to be found out before anything else happens to them.
    private bool CanGoOn(Pipeline pipeline) => !pipeline.DropsName || !pipeline.ManyNames || _options.DelayedNameRemoval;

    private Pipeline? Then(Pipeline? inner, ColumnChange change, bool dropsName) =>
        inner is null || !CanGoOn(inner) ? null : inner with { Stage = new Changed(inner.Stage, change), DropsName = inner.DropsName || dropsName };

    private Pipeline Plan(Expr.VectorSelector selector, Steps steps, bool times)
    {
        var (first, advance) = Shifted(selector.Shift, steps);
        var from = first - (_closed ? _lookBack : _lookBack - 1);
        return new Pipeline(
            new Selection(selector.Matchers, from, first + advance * (steps.Count - 1)),
            new LastSample(first, advance, _lookBack, _closed, times),
            DropsName: false,
            HasManyNames(selector),
            Strict: false);
    }

    private static bool HasManyNames(Expr.VectorSelector selector) =>
        !selector.Matchers.Any(matcher => matcher is { Name: Labels.MetricName, Kind: MatchKind.Equal });

    private async Task<Pipeline?> PlanRangeAsync(Expr.Call call, RangeFunction function, Steps steps)
    {
        var range = Bare(call.Arguments.First(argument => argument.Kind == ValueKind.RangeVector));
        var dropsName = !RangeFunctions.KeepsName(call.Function.Name);
        if (range is Expr.MatrixSelector matrix)
        {
            var windows = WindowsOf(matrix.Range, matrix.Selector.Shift, steps);
            var parameters = await ScalarsAsync(call.Arguments, steps);
            return new Pipeline(
                new Selection(matrix.Selector.Matchers, windows.From, windows.To),
                new OverSamples(function, windows, parameters, NoticeOf(call, parameters)),
                dropsName,
                HasManyNames(matrix.Selector),
                Strict: true);
        }

        var subquery = (Expr.Subquery)range;
        var outer = WindowsOf(subquery.Range, subquery.Shift, steps);
        var innerSteps = InnerSteps(subquery, outer);
        if (innerSteps.Count == 0 || await PlanAsync(subquery.Inner, innerSteps) is not { } inner || !CanGoOn(inner))
        {
            return null;
        }

        var scalars = await ScalarsAsync(call.Arguments, steps);
        return inner with
        {
            Stage = new OverColumn(inner.Stage, innerSteps, function, outer, scalars, NoticeOf(call, scalars)),
            DropsName = inner.DropsName || dropsName,
            Strict = true,
        };
    }

    /// <summary>What is worth a note once a series has a result. Called by workers, for each series.</summary>
    private Action<Labels>? NoticeOf(Expr.Call call, double[][] parameters)
    {
        if (call.Function.Name is "rate" or "increase")
        {
            var noticed = "";
            var at = Bare(call.Arguments[0]).At;
            return labels =>
            {
                var name = labels.Name;
                if (!ReferenceEquals(name, noticed) && name.Length > 0 && !name.EndsWith("_total", StringComparison.Ordinal) && !name.EndsWith("_sum", StringComparison.Ordinal)
                    && !name.EndsWith("_count", StringComparison.Ordinal) && !name.EndsWith("_bucket", StringComparison.Ordinal))
                {
                    noticed = name;
                    _notes.Inform($"metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {Printer.Quote(name)}", at);
                }
            };
        }

        if (call.Function.Name == "quantile_over_time" && !parameters[0].All(Quantiles.IsValid))
        {
            var wrong = parameters[0].First(value => !Quantiles.IsValid(value));
            return _ => _notes.Warn($"quantile value should be between 0 and 1, got {Printer.Number(wrong)}", Bare(call.Arguments[0]).At);
        }

        return null;
    }

    private async Task<Table> CollectAsync(Pipeline pipeline, Steps steps)
    {
        var table = (await RunAsync(pipeline, () => new Collected(steps.Count, _options.DelayedNameRemoval))).Table;
        if (pipeline is { DropsName: true, ManyNames: true } && !_options.DelayedNameRemoval)
        {
            MergeSame(table, pipeline.Strict);
        }

        return table;
    }

    /// <summary>Gives every row of the vector to a sink, straight from the source where the expression allows it.</summary>
    private async Task<TSink> StreamAsync<TSink>(Expr expr, Steps steps, Func<TSink> create)
        where TSink : Sink
    {
        if (!(steps.Count > 1 && IsConstant(expr)) && await PlanAsync(expr, steps) is { } pipeline && CanGoOn(pipeline))
        {
            return await RunAsync(pipeline, create);
        }

        var table = await VectorAsync(expr, steps);
        var sink = create();
        for (var row = 0; row < table.Count; row++)
        {
            sink.Add(table.Rows[row].Labels, table.Rows[row].DropName, table[row], table.Rows[row].Points);
        }

        Release(table);
        return sink;
    }

    private async Task<TSink> RunAsync<TSink>(Pipeline pipeline, Func<TSink> create)
        where TSink : Sink
    {
        var most = _options.Parallelism > 0 ? _options.Parallelism : Environment.ProcessorCount;
        var sinks = new List<TSink> { create() };
        var workers = new List<Worker> { new() };
        var held = 0L;
        await foreach (var batch in _source.SelectAsync(pipeline.Selection, _ct))
        {
            var threads = Math.Clamp(batch.Count / FewSeries, 1, most);
            while (sinks.Count < threads)
            {
                sinks.Add(create());
                workers.Add(new Worker());
            }

            // Each thread has a fixed part of the batch and a sink of its own: the result does not depend on who was faster.
            var others = new Task[threads - 1];
            for (var thread = 1; thread < threads; thread++)
            {
                var (from, to) = (batch.Count * thread / threads, batch.Count * (thread + 1) / threads);
                var (worker, sink) = (workers[thread], sinks[thread]);
                others[thread - 1] = Task.Run(() => Fill(pipeline, batch, from, to, worker, sink), _ct);
            }

            try
            {
                Fill(pipeline, batch, 0, batch.Count / threads, workers[0], sinks[0]);
            }
            finally
            {
                await Task.WhenAll(others);
            }

            for (var thread = 1; thread < threads; thread++)
            {
                sinks[0].AfterBatch(sinks[thread]);
            }

            held = Account(workers, sinks, held);
        }

        for (var thread = 1; thread < sinks.Count; thread++)
        {
            sinks[0].Merge(sinks[thread]);
        }

        return sinks[0];
    }

    private void Fill(Pipeline pipeline, IReadOnlyList<Series> batch, int from, int to, Worker worker, Sink sink)
    {
        for (var index = from; index < to; index++)
        {
            _ct.ThrowIfCancellationRequested();
            var column = sink.Room();
            var points = pipeline.Stage.Fill(batch[index], column, worker);
            if (points > 0)
            {
                sink.Add(batch[index].Labels, pipeline.DropsName, column, points);
            }
        }
    }

    /// <summary>Counts what the workers read and what the sinks came to hold since <paramref name="before"/>.</summary>
    private long Account<TSink>(List<Worker> workers, List<TSink> sinks, long before)
        where TSink : Sink
    {
        var (held, reading) = (0L, 0L);
        for (var thread = 0; thread < sinks.Count; thread++)
        {
            held += sinks[thread].Held;
            reading += workers[thread].LongestSeries;
            _samples += workers[thread].SamplesRead;
            workers[thread].SamplesRead = 0;
        }

        Hold(held - before + reading);
        _held -= reading;
        return held;
    }

    // ---- aggregations

    private async Task<Table> AggregateAsync(Expr.Aggregate aggregate, Steps steps)
    {
        var operation = aggregate.Operator;
        var grouping = new Grouping(aggregate.Grouping, aggregate.Without, _options.DelayedNameRemoval);
        if (operation == AggregateOperator.CountValues)
        {
            return await CountValuesAsync(aggregate, steps);
        }

        if (aggregate.Parameter is null)
        {
            return Held((await StreamAsync(aggregate.Operand, steps, () => new Aggregated(steps.Count, operation, grouping))).Result());
        }

        var parameters = await ScalarAsync(aggregate.Parameter, steps);
        switch (operation)
        {
            case AggregateOperator.Quantile:
                WarnOfQuantiles(parameters, Bare(aggregate.Parameter).At);
                return Quantile(await VectorAsync(aggregate.Operand, steps), parameters, grouping);
            case AggregateOperator.LimitRatio:
                CheckRatios(parameters, Bare(aggregate.Parameter).At);
                return Changed(await VectorAsync(aggregate.Operand, steps), table => Sampling.Ratio(table, parameters));
            case AggregateOperator.LimitK:
                var limits = Counts(parameters);
                return Changed(await VectorAsync(aggregate.Operand, steps), table => Sampling.First(table, limits, grouping));
            default:
                var most = Counts(parameters);
                return Held((await StreamAsync(aggregate.Operand, steps, () => new Ranked(steps.Count, operation == AggregateOperator.TopK, most, grouping))).Result());
        }
    }

    private Table Held(Table table)
    {
        Hold(table.Points);
        return table;
    }

    private Table Changed(Table table, Func<Table, Table> change)
    {
        var before = table.Points;
        var result = change(table);
        _held -= before - result.Points;
        return result;
    }

    private static long[] Counts(double[] parameters)
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

    private void CheckRatios(double[] ratios, Position at)
    {
        if (ratios.Any(double.IsNaN))
        {
            throw new QueryException(QueryFault.Execution, "Ratio value is NaN");
        }

        if (ratios.Max() > 1)
        {
            _notes.Warn($"ratio value should be between -1 and 1, got {Printer.Number(ratios.Max())}, capping to 1", at);
        }

        if (ratios.Min() < -1)
        {
            _notes.Warn($"ratio value should be between -1 and 1, got {Printer.Number(ratios.Min())}, capping to -1", at);
        }
    }

    private void WarnOfQuantiles(double[] quantiles, Position at)
    {
        foreach (var wrong in quantiles.Where(value => !Quantiles.IsValid(value)).Distinct().Take(3))
        {
            _notes.Warn($"quantile value should be between 0 and 1, got {Printer.Number(wrong)}", at);
        }
    }

    private Table Quantile(Table table, double[] quantiles, Grouping grouping)
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
            _ct.ThrowIfCancellationRequested();
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

                column[step] = count == 0 ? Absent.Value : Quantiles.Of(quantiles[step], values.AsSpan(0, count));
                points += count == 0 ? 0 : 1;
            }

            var dropName = members[group].Exists(row => table.Rows[row].DropName);
            result.Add(groups.LabelsOf(groups.FirstOf(group)), dropName, points);
        }

        Hold(result.Points);
        Release(table);
        return result;
    }

    private async Task<Table> CountValuesAsync(Expr.Aggregate aggregate, Steps steps)
    {
        var label = TextOf(aggregate.Parameter!);
        if (label.Length == 0 || !Literals.IsText(label))
        {
            throw new QueryException(QueryFault.Execution, $"invalid label name {Printer.Quote(label)}", aggregate.Parameter!.At);
        }

        // The label gets the value, so whatever the series had there does not tell groups apart.
        var others = aggregate.Without ? [.. aggregate.Grouping, label] : aggregate.Grouping.Where(name => name != label).ToArray();
        var grouping = new Grouping(others, aggregate.Without, _options.DelayedNameRemoval);
        var counted = await StreamAsync(aggregate.Operand, steps, () => new Counted(steps.Count, label, aggregate.Grouping, aggregate.Without, grouping));
        return Held(counted.Result());
    }

    // ---- functions

    private async Task<Table> CallAsync(Expr.Call call, Steps steps)
    {
        var name = call.Function.Name;
        var arguments = call.Arguments;
        switch (name)
        {
            case "absent":
                return Absence((await StreamAsync(arguments[0], steps, () => new Presence(steps.Count))).Seen, Bare(arguments[0]));
            case "absent_over_time":
                return Absence((await PresenceAsync(call, steps)).Seen, Bare(arguments[0]));
            case "vector":
                var scalar = new Table(steps.Count);
                scalar.Add(Labels.Empty, false, await ScalarAsync(arguments[0], steps));
                return Held(scalar);
            case "label_replace":
                var replaced = await VectorAsync(arguments[0], steps);
                LabelFunctions.Replace(replaced, TextOf(arguments[1]), TextOf(arguments[2]), TextOf(arguments[3]), TextOf(arguments[4]));
                MergeSame(replaced, strict: false);
                return replaced;
            case "label_join":
                var joined = await VectorAsync(arguments[0], steps);
                LabelFunctions.Join(joined, TextOf(arguments[1]), TextOf(arguments[2]), [.. arguments.Skip(3).Select(TextOf)]);
                MergeSame(joined, strict: false);
                return joined;
            case "sort" or "sort_desc" or "sort_by_label" or "sort_by_label_desc":
                return Sort(call, await VectorAsync(arguments[0], steps));
            case "timestamp":
                // Of anything but a selector: the time of evaluation.
                var stamps = await ScalarAsync(new Expr.Call(Functions.Find("time")!, []), steps);
                return Merged(DropNames(Change(await VectorAsync(arguments[0], steps), column => Stamp(column, stamps))));
            case "histogram_quantile" or "histogram_fraction":
                return await OfHistogramsAsync(call, steps);
            case "histogram_avg" or "histogram_count" or "histogram_stddev" or "histogram_stdvar" or "histogram_sum":
                // Of native histograms, and there are none.
                await VectorAsync(arguments[0], steps);
                return new Table(steps.Count);
        }

        if (arguments.Count == 0)
        {
            var times = await ScalarAsync(new Expr.Call(Functions.Find("time")!, []), steps);
            ValueFunctions.Find(name, [])!(times);
            var now = new Table(steps.Count);
            now.Add(Labels.Empty, false, times);
            return Held(now);
        }

        var scalars = await ScalarsAsync(arguments, steps);
        if (ValueFunctions.Find(name, scalars) is { } change)
        {
            return Merged(DropNames(Change(await VectorAsync(arguments.First(argument => argument.Kind == ValueKind.InstantVector), steps), change)));
        }

        var function = RangeFunctions.Find(name) ?? throw new NotSupportedException($"No rule evaluates {name}.");
        return await OverSubqueryAsync(call, function, scalars, steps);
    }

    private static void Stamp(Span<double> column, double[] stamps)
    {
        for (var step = 0; step < column.Length; step++)
        {
            column[step] = Absent.Is(column[step]) ? Absent.Value : stamps[step];
        }
    }

    private Table Absence(bool[] seen, Expr argument)
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

        return Held(table);
    }

    private async Task<Presence> PresenceAsync(Expr.Call call, Steps steps)
    {
        var sink = new Presence(steps.Count);
        if (await PlanRangeAsync(call, RangeFunctions.Find(call.Function.Name)!, steps) is { } pipeline)
        {
            return await RunAsync(pipeline with { ManyNames = false }, () => new Presence(steps.Count));
        }

        var table = await OverSubqueryAsync(call, RangeFunctions.Find(call.Function.Name)!, [], steps);
        for (var row = 0; row < table.Count; row++)
        {
            sink.Add(table.Rows[row].Labels, true, table[row], table.Rows[row].Points);
        }

        Release(table);
        return sink;
    }

    /// <summary>A range function over a subquery whose expression is evaluated as a whole.</summary>
    private async Task<Table> OverSubqueryAsync(Expr.Call call, RangeFunction function, double[][] parameters, Steps steps)
    {
        var subquery = (Expr.Subquery)Bare(call.Arguments.First(argument => argument.Kind == ValueKind.RangeVector));
        var windows = WindowsOf(subquery.Range, subquery.Shift, steps);
        var innerSteps = InnerSteps(subquery, windows);
        var result = new Table(steps.Count);
        if (innerSteps.Count == 0)
        {
            return result;
        }

        var inner = await VectorAsync(subquery.Inner, innerSteps);
        var noticed = NoticeOf(call, parameters);
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

        Hold(result.Points);
        Release(inner);
        if (!RangeFunctions.KeepsName(call.Function.Name))
        {
            DropNames(result);
            if (!_options.DelayedNameRemoval)
            {
                MergeSame(result, strict: true);
            }
        }

        return result;
    }

    private Table Sort(Expr.Call call, Table table)
    {
        var name = call.Function.Name;
        if (!_instant)
        {
            _notes.Warn("sort is ineffective for range queries since results are always ordered by labels", call.At);
        }

        if (table.Steps > 1)
        {
            return table;
        }

        var labels = call.Arguments.Skip(1).Select(TextOf).ToArray();
        table.Sort(name switch
        {
            "sort" => (left, right) => Ascending(left.Block[left.Offset], right.Block[right.Offset]),
            "sort_desc" => (left, right) => Descending(left.Block[left.Offset], right.Block[right.Offset]),
            "sort_by_label" => (left, right) => ByLabels(left.Labels, right.Labels, labels),
            _ => (left, right) => ByLabels(right.Labels, left.Labels, labels),
        });
        return table;
    }

    // NaN comes last either way.
    private static int Ascending(double left, double right) => (double.IsNaN(left), double.IsNaN(right)) switch
    {
        (false, false) => left.CompareTo(right),
        var (leftIsNaN, rightIsNaN) => leftIsNaN.CompareTo(rightIsNaN),
    };

    private static int Descending(double left, double right) =>
        double.IsNaN(left) || double.IsNaN(right) ? Ascending(left, right) : right.CompareTo(left);

    private static int ByLabels(Labels left, Labels right, string[] names)
    {
        foreach (var name in names)
        {
            var order = LabelFunctions.CompareNaturally(left[name], right[name]);
            if (order != 0)
            {
                return order;
            }
        }

        return left.CompareTo(right);
    }

    private async Task<Table> OfHistogramsAsync(Expr.Call call, Steps steps)
    {
        var vector = Bare(call.Arguments[^1]);
        var scalars = await ScalarsAsync(call.Arguments, steps);
        var isQuantile = call.Function.Name == "histogram_quantile";
        if (isQuantile)
        {
            WarnOfQuantiles(scalars[0], Bare(call.Arguments[0]).At);
        }

        var buckets = await VectorAsync(vector, steps);
        void BadBound(string name, string bound) => _notes.Warn(
            $"bucket label \"le\" is missing or has a malformed value of {Printer.Quote(bound)}{ForMetric(name)}", vector.At);
        void Forced(string name) => _notes.Inform(
            $"input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){ForMetric(name)}", vector.At);

        var result = isQuantile
            ? Histograms.Quantile(buckets, scalars[0], !_closed, BadBound, Forced)
            : Histograms.Fraction(buckets, scalars[0], scalars[1], !_closed, BadBound);
        Hold(result.Points);
        Release(buckets);
        return Merged(DropNames(result));
    }

    private string ForMetric(string name) => _options.DelayedNameRemoval && name.Length > 0 ? $" for metric name {Printer.Quote(name)}" : "";
}
