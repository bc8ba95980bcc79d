using System.Globalization;
using System.Text.RegularExpressions;
using Platform.PromQL;

namespace Platform.Testing;

/// <summary>
/// Asks what a script asks and compares the answers. An instant query is asked again with its selectors pinned by <c>@</c> from other
/// times, and as a range query around its time: all must answer the same.
/// </summary>
public static class ScriptCheck
{
    private const double Tolerance = 1e-6;

    /// <summary>The scripts are written for ranges open on the left and names dropped in the end.</summary>
    public static EngineOptions Options { get; } = new() { DelayedNameRemoval = true };

    /// <returns>What was wrong; null when everything was as expected.</returns>
    public static async Task<string?> RunAsync(ScriptEval eval, Engine engine, ISeriesSource source, CancellationToken ct)
    {
        try
        {
            if (eval.IsRange)
            {
                return await OnceAsync(eval, () => engine.RangeAsync(eval.Query, source, eval.Start, eval.End, eval.Step, ct));
            }

            if (await OnceAsync(eval, () => engine.InstantAsync(eval.Query, source, eval.Start, ct)) is { } wrong)
            {
                return wrong;
            }

            return await OtherwiseAsync(eval, engine, source, ct);
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            return $"{eval}: {error}";
        }
    }

    private static async Task<string?> OnceAsync(ScriptEval eval, Func<Task<QueryResult>> ask)
    {
        var fails = eval.Expectations.FirstOrDefault(text => text.StartsWith("fail", StringComparison.Ordinal));
        QueryResult result;
        try
        {
            result = await ask();
        }
        catch (QueryException error)
        {
            return fails is null ? $"{eval}: failed with {error.Message}"
                : Says(fails["fail".Length..], [error.Message]) ? null : $"{eval}: failed with another message: {error.Message}";
        }

        if (fails is not null)
        {
            return $"{eval}: was to fail";
        }

        return CheckNotes(eval, result) ?? Compare(eval, result, eval.Start);
    }

    private static async Task<string?> OtherwiseAsync(ScriptEval eval, Engine engine, ISeriesSource source, CancellationToken ct)
    {
        var expr = Parser.Parse(eval.Query);
        if (expr.Kind is ValueKind.RangeVector or ValueKind.Text)
        {
            return null;
        }

        var fails = eval.Expectations.Any(text => text.StartsWith("fail", StringComparison.Ordinal));
        var questions = new List<(Expr Expr, long At)> { (expr, eval.Start) };
        if (!LooksAtTheClock(expr))
        {
            var pinned = Pin(expr, eval.Start);
            long[] times = eval.Start == 0 ? [-1000, 0, 1000] : [-10 * eval.Start, 0, eval.Start / 5, eval.Start, 10 * eval.Start];
            questions.AddRange(times.Select(at => (pinned, at)));
        }

        foreach (var (question, at) in questions)
        {
            var what = $"{eval} asked as {Printer.Print(question)} at {at}";
            try
            {
                var instant = await engine.InstantAsync(question, source, at, ct);
                if (fails)
                {
                    return $"{what}: was to fail";
                }

                if (Compare(eval, instant, at) is { } wrong)
                {
                    return $"{what}: {wrong}";
                }
            }
            catch (QueryException) when (fails)
            {
                continue;
            }

            if (eval.Expectations.Contains("ordered") || eval.Query.Contains("start()", StringComparison.Ordinal) || eval.Query.Contains("end()", StringComparison.Ordinal))
            {
                continue;
            }

            var range = await engine.RangeAsync(question, source, at - 60_000, at + 60_000, 60_000, ct);
            var points = range.Series.Where(series => series.Times.Span.IndexOf(at) >= 0).Select(series =>
            {
                var index = series.Times.Span.IndexOf(at);
                return new ResultSeries(series.Labels, series.Times.Slice(index, 1), series.Values.Slice(index, 1));
            });
            var kind = expr.Kind == ValueKind.Scalar ? ValueKind.Scalar : ValueKind.InstantVector;
            if (Compare(eval, range with { Kind = kind, Series = [.. points] }, at) is { } different)
            {
                return $"{what}, as a range: {different}";
            }
        }

        return null;
    }

    private static bool LooksAtTheClock(Expr expr) => expr switch
    {
        Expr.Call call => call.Function.Name is "time" or "timestamp" or "predict_linear" or "day_of_month" or "day_of_week" or "day_of_year"
            or "days_in_month" or "hour" or "minute" or "month" or "year" or "start" or "end" || call.Arguments.Any(LooksAtTheClock),
        Expr.Parentheses parentheses => LooksAtTheClock(parentheses.Inner),
        Expr.Negate negate => LooksAtTheClock(negate.Operand),
        Expr.Subquery subquery => LooksAtTheClock(subquery.Inner),
        Expr.Aggregate aggregate => LooksAtTheClock(aggregate.Operand) || (aggregate.Parameter is not null && LooksAtTheClock(aggregate.Parameter)),
        Expr.Binary binary => LooksAtTheClock(binary.Left) || LooksAtTheClock(binary.Right),
        _ => false,
    };

    /// <summary>The expression with a fixed time on everything outside of subqueries that has none.</summary>
    private static Expr Pin(Expr expr, long at) => expr switch
    {
        Expr.VectorSelector selector => selector with { Shift = Pin(selector.Shift, at) },
        Expr.MatrixSelector matrix => matrix with { Selector = (Expr.VectorSelector)Pin(matrix.Selector, at) },
        Expr.Subquery subquery => subquery with { Shift = Pin(subquery.Shift, at) },
        Expr.Parentheses parentheses => parentheses with { Inner = Pin(parentheses.Inner, at) },
        Expr.Negate negate => negate with { Operand = Pin(negate.Operand, at) },
        Expr.Call call => call with { Arguments = [.. call.Arguments.Select(argument => Pin(argument, at))] },
        Expr.Aggregate aggregate => aggregate with
        {
            Operand = Pin(aggregate.Operand, at),
            Parameter = aggregate.Parameter is null ? null : Pin(aggregate.Parameter, at),
        },
        Expr.Binary binary => binary with { Left = Pin(binary.Left, at), Right = Pin(binary.Right, at) },
        _ => expr,
    };

    private static TimeShift Pin(TimeShift shift, long at) => shift.At is null ? shift with { At = new AtTime(AtAnchor.Fixed, at) } : shift;

    private static string? CheckNotes(ScriptEval eval, QueryResult result)
    {
        foreach (var (word, notes) in new[] { ("warn", result.Warnings), ("info", result.Infos) })
        {
            if (eval.Expectations.Contains($"no_{word}") && notes.Count > 0)
            {
                return $"{eval}: unexpected {word}: {string.Join("; ", notes)}";
            }

            foreach (var expected in eval.Expectations.Where(text => text.Split(' ')[0] == word))
            {
                // What a native histogram would have caused cannot come when there is none.
                if (!Says(expected[word.Length..], notes) && !(eval.WithoutHistograms && expected == word))
                {
                    return $"{eval}: expected {expected}, got {(notes.Count == 0 ? "none" : string.Join("; ", notes))}";
                }
            }
        }

        return null;
    }

    /// <summary>An expectation's <c>msg:</c> or <c>regex:</c> holds for one of the texts; without either there need only be one.</summary>
    private static bool Says(string expectation, IReadOnlyList<string> texts)
    {
        expectation = expectation.Trim();
        return expectation switch
        {
            "" => texts.Count > 0,
            ['m', 's', 'g', ':', .. var message] => texts.Contains(message.Trim()),
            ['r', 'e', 'g', 'e', 'x', ':', .. var pattern] => texts.Any(text => Regex.IsMatch(text, pattern.Trim())),
            _ => throw new FormatException($"unknown expectation {expectation}"),
        };
    }

    private static string? Compare(ScriptEval eval, QueryResult result, long at)
    {
        if (eval.Expectations.FirstOrDefault(text => text.StartsWith("string ", StringComparison.Ordinal)) is { } text)
        {
            var wanted = ((Expr.Text)Parser.Parse(text["string ".Length..])).Value;
            return result.Text == wanted ? null : $"{eval}: got the string {result.Text}";
        }

        var (start, step, matrix) = (at, 1L, false);
        if (eval.Expectations.FirstOrDefault(text => text.StartsWith("range vector ", StringComparison.Ordinal)) is { } range)
        {
            var words = range.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            (start, step, matrix) = (PromqlScript.Time(words[3]), PromqlScript.Time(words[7]), true);
        }
        else if (eval.IsRange)
        {
            (start, step, matrix) = (eval.Start, eval.Step, true);
        }

        if (!matrix && eval.Expected is [var only] && !only.Contains('{') && double.TryParse(only.Trim(), CultureInfo.InvariantCulture, out _) | only is "NaN" or "Inf" or "+Inf" or "-Inf")
        {
            return result.Kind == ValueKind.Scalar && Agree(PromqlScript.Number(only), result.Series[0].Values.Span[0])
                ? null : $"{eval}: expected the scalar {only}, got {result.Kind} {string.Join(' ', result.Series.Select(Written))}";
        }

        var expected = eval.Expected.Select(PromqlScript.Series).Where(line => !line.Points.Contains("{{", StringComparison.Ordinal) || line.Points.Length == 0)
            .Select(line => (line.Labels, Points: (PromqlScript.Points(line.Points) ?? []).Select((value, index) => (At: start + index * step, value)).Where(point => point.value is not null).ToArray()))
            .Where(line => line.Points.Length > 0).ToList();
        var actual = result.Series.ToDictionary(series => series.Labels);
        if (expected.Count != result.Series.Count)
        {
            return $"{eval}: expected {expected.Count} series, got {result.Series.Count}: {string.Join(' ', result.Series.Take(20).Select(Written))}";
        }

        for (var index = 0; index < expected.Count; index++)
        {
            var (labels, points) = expected[index];
            if (!actual.TryGetValue(labels, out var series))
            {
                return $"{eval}: {labels} is missing in {string.Join(' ', result.Series.Take(20).Select(Written))}";
            }

            if (eval.Expectations.Contains("ordered") && !result.Series[index].Labels.Equals(labels))
            {
                return $"{eval}: {labels} should be at place {index}, where {result.Series[index].Labels} is";
            }

            if (series.Times.Length != points.Length)
            {
                return $"{eval}: {labels} should have {points.Length} points, got {Written(series)}";
            }

            for (var point = 0; point < points.Length; point++)
            {
                if (series.Times.Span[point] != points[point].At || !Agree(points[point].value!.Value, series.Values.Span[point]))
                {
                    return $"{eval}: {labels} should be {points[point].value} at {points[point].At}, got {Written(series)}";
                }
            }
        }

        return null;
    }

    private static string Written(ResultSeries series)
    {
        var points = Enumerable.Range(0, series.Times.Length).Take(12).Select(index => $"{series.Values.Span[index]}@{series.Times.Span[index]}");
        return $"{series.Labels} {string.Join(' ', points)}";
    }

    private static bool Agree(double expected, double actual)
    {
        if (expected == actual || (double.IsNaN(expected) && double.IsNaN(actual)))
        {
            return true;
        }

        return Math.Abs(expected - actual) / Math.Min(Math.Abs(expected) + Math.Abs(actual), double.MaxValue) < Tolerance;
    }
}
