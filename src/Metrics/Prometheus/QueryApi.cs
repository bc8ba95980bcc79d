using System.Globalization;
using Platform.PromQL;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Prometheus;

/// <summary><c>query</c> and <c>query_range</c>, evaluated here.</summary>
public static class QueryApi
{
    private const long MaxSteps = 11_000;

    public static async Task InstantAsync(
        HttpContext context, Caller caller, ISampleStore store, Engine engine, QueryGate gate, TimeProvider clock, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        var query = InstantQuery.Of(parameters, clock);
        await gate.RunAsync("instant", query.Timeout, async ends =>
        {
            var result = await engine.InstantAsync(query.Expr, store.Source(caller.RealmFilter), query.At, new(query.LookBack, query.Timeout), ends);
            await WriteAsync(context, result, query.At, query.Limit, parameters.Find("stats") is not null, ends);
        }, ct);
    }

    public static async Task RangeAsync(HttpContext context, Caller caller, ISampleStore store, Engine engine, QueryGate gate, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        var query = RangeQuery.Of(parameters);
        await gate.RunAsync("range", query.Timeout, async ends =>
        {
            var result = await engine.RangeAsync(query.Expr, store.Source(caller.RealmFilter), query.Start, query.End, query.Step, new(query.LookBack, query.Timeout), ends);
            await WriteAsync(context, result, query.End, query.Limit, parameters.Find("stats") is not null, ends);
        }, ct);
    }

    /// <summary>Streams a result: the first byte leaves when the evaluation is over, the last when the client has taken the rest.</summary>
    internal static async Task WriteAsync(HttpContext context, QueryResult result, long at, int limit, bool withStats, CancellationToken ct)
    {
        using var answer = AnswerWriter.To(context, "application/json");
        answer.Raw("{\"status\":\"success\",\"data\":{\"resultType\":"u8);
        answer.Text(ExprJson.Name(result.Kind));
        answer.Raw(",\"result\":"u8);
        await WriteValueAsync(answer, result, at, limit, ct);
        if (withStats)
        {
            WriteStats(answer, result.Stats);
        }

        answer.Raw("}"u8);
        var isCut = result.Kind is ValueKind.InstantVector or ValueKind.RangeVector && result.Series.Count > limit;
        Write(answer, ",\"warnings\":["u8, isCut ? [.. result.Warnings, "results truncated due to limit"] : result.Warnings);
        Write(answer, ",\"infos\":["u8, result.Infos);
        answer.Raw("}"u8);
        await answer.EndAsync(ct);
    }

    private static async ValueTask WriteValueAsync(AnswerWriter answer, QueryResult result, long at, int limit, CancellationToken ct)
    {
        switch (result.Kind)
        {
            case ValueKind.Scalar:
                answer.Scalar(result.Series[0].Times.Span[0], result.Series[0].Values.Span[0]);
                return;
            case ValueKind.Text:
                answer.Raw("["u8);
                answer.Seconds(at);
                answer.Raw(","u8);
                answer.Text(result.Text);
                answer.Raw("]"u8);
                return;
        }

        answer.Raw("["u8);
        for (var index = 0; index < result.Series.Count && index < limit; index++)
        {
            var series = result.Series[index];
            answer.Raw(index == 0 ? "{\"metric\":"u8 : ",{\"metric\":"u8);
            answer.Metric(series.Labels);
            if (result.Kind == ValueKind.InstantVector)
            {
                answer.Raw(",\"value\":"u8);
                answer.Point(series.Times.Span[0], series.Values.Span[0]);
                answer.Raw("}"u8);
                await answer.PassOnAsync(ct);
            }
            else
            {
                answer.Raw(",\"values\":["u8);
                await answer.PointsAsync(series.Times, series.Values, ct);
                answer.Raw("]}"u8);
            }
        }

        answer.Raw("]"u8);
    }

    private static void WriteStats(AnswerWriter answer, QueryStats stats)
    {
        var seconds = stats.Elapsed.TotalSeconds.ToString("0.#########", CultureInfo.InvariantCulture);
        answer.Utf8($$""","stats":{"timings":{"evalTotalTime":{{seconds}},"resultSortTime":0,"queryPreparationTime":0,"innerEvalTime":{{seconds}},"execQueueTime":0,"execTotalTime":{{seconds}}},"samples":{"totalQueryableSamples":""");
        answer.Number(stats.Samples);
        answer.Raw(",\"peakSamples\":"u8);
        answer.Number(stats.PeakSamples);
        answer.Raw("}}"u8);
    }

    private static void Write(AnswerWriter answer, ReadOnlySpan<byte> start, IReadOnlyList<string> texts)
    {
        for (var index = 0; index < texts.Count; index++)
        {
            answer.Raw(index == 0 ? start : ","u8);
            answer.Text(texts[index]);
        }

        answer.Raw(texts.Count > 0 ? "]"u8 : ""u8);
    }

    /// <summary>The parameters of <c>query</c>, checked in the order in which Prometheus does.</summary>
    internal sealed record InstantQuery(Expr Expr, long At, int Limit, TimeSpan? Timeout, TimeSpan? LookBack)
    {
        public static InstantQuery Of(Parameters parameters, TimeProvider clock)
        {
            var limit = parameters.Limit();
            var at = parameters.Time("time", clock.GetUtcNow().ToUnixTimeMilliseconds());
            var timeout = parameters.FindDuration("timeout");
            var lookBack = parameters.Lookback();
            return new(ExprOf(parameters), at, limit, timeout, lookBack);
        }
    }

    /// <summary>The parameters of <c>query_range</c>; times in milliseconds.</summary>
    internal sealed record RangeQuery(Expr Expr, long Start, long End, long Step, int Limit, TimeSpan? Timeout, TimeSpan? LookBack)
    {
        public static RangeQuery Of(Parameters parameters)
        {
            var limit = parameters.Limit();
            var start = parameters.Time("start");
            var end = parameters.Time("end");
            if (end < start)
            {
                throw Parameters.Invalid("end", "end timestamp must not be before start time");
            }

            var step = parameters.Duration("step").Ticks / TimeSpan.TicksPerMillisecond;
            if (step <= 0)
            {
                throw Parameters.Invalid("step", "zero or negative query resolution step widths are not accepted. Try a positive integer");
            }

            if ((end - start) / step > MaxSteps)
            {
                throw Parameters.Bad("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)");
            }

            var timeout = parameters.FindDuration("timeout");
            var lookBack = parameters.Lookback();
            var expr = ExprOf(parameters);
            return expr.Kind is ValueKind.Scalar or ValueKind.InstantVector
                ? new(expr, start, end, step, limit, timeout, lookBack)
                : throw Parameters.Invalid("query", $"invalid expression type \"{(expr.Kind == ValueKind.Text ? "string" : "range vector")}\" for range query, must be Scalar or instant Vector");
        }
    }

    internal static Expr ExprOf(Parameters parameters)
    {
        try
        {
            return Parser.Parse(parameters.Find("query") ?? "");
        }
        catch (QueryException error)
        {
            throw new QueryException(error.Fault, $"invalid parameter \"query\": {error.Message}", error.At);
        }
    }
}
