using Platform.PromQL;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Prometheus;

/// <summary>What there is to query: series, label names and values, metadata; and <c>/federate</c>, the newest sample of each series as text.</summary>
public static class SeriesApi
{
    private const string Truncated = "results truncated due to limit";

    // Where a request names a time but no selector, every series of that time is meant.
    private static readonly Matcher s_any = new(Labels.MetricName, MatchKind.NotEqual, "");

    public static async Task SeriesAsync(HttpContext context, Caller caller, ISampleStore store, QueryGate gate, QueryOptions options, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        if (parameters.All("match[]").Count == 0)
        {
            throw Parameters.Bad("no match[] parameter provided");
        }

        var limit = parameters.Limit();
        IReadOnlyList<Selection> selections;
        try
        {
            selections = Selections(parameters);
        }
        catch (QueryException error) when (!error.Message.StartsWith("invalid parameter", StringComparison.Ordinal))
        {
            throw Parameters.Invalid("match[]", error.Message);
        }

        await gate.RunAsync("series", null, async ends =>
        {
            var found = new HashSet<Labels>();
            foreach (var selection in selections)
            {
                await foreach (var batch in store.Source(caller.RealmFilter).SelectAsync(selection, ends))
                {
                    foreach (var series in batch)
                    {
                        found.Add(series.Labels);
                    }

                    if (found.Count > options.MaxSeries && limit > options.MaxSeries)
                    {
                        throw new QueryException(QueryFault.Execution, $"the selectors find more than {options.MaxSeries} series (METRICS_QUERY_MAX_SERIES); narrow them, or give a limit");
                    }

                    if (found.Count > limit)
                    {
                        break;
                    }
                }
            }

            var sorted = found.ToArray();
            Array.Sort(sorted, SeriesOrder.Compare);
            await WriteAsync(context, sorted, limit, static (answer, labels) => answer.Metric(labels), ends);
        }, ct);
    }

    public static async Task LabelsAsync(HttpContext context, Caller caller, ISampleStore store, QueryGate gate, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        var limit = parameters.Limit();
        var selections = Selections(parameters);
        await gate.RunAsync("labels", null, async ends =>
        {
            var names = await store.LabelNamesAsync(caller.RealmFilter, selections, OneMore(limit), ends);
            await WriteAsync(context, names, limit, static (answer, name) => answer.Text(name), ends);
        }, ct);
    }

    public static async Task ValuesAsync(HttpContext context, string name, Caller caller, ISampleStore store, QueryGate gate, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        var label = LabelEscape.Undo(name);
        if (label.Length == 0)
        {
            throw Parameters.Bad($"invalid label name: {Printer.Quote(label)}");
        }

        var limit = parameters.Limit();
        var selections = Selections(parameters);
        await gate.RunAsync("labels", null, async ends =>
        {
            var values = await store.LabelValuesAsync(caller.RealmFilter, label, selections, OneMore(limit), ends);
            await WriteAsync(context, values, limit, static (answer, value) => answer.Text(value), ends);
        }, ct);
    }

    public static async Task<IResult> MetadataAsync(HttpContext context, Caller caller, ISampleStore store, QueryOptions options, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        var limit = parameters.Count("limit") is { } most and >= 0 ? most : int.MaxValue;
        var perFamily = parameters.Count("limit_per_metric") is { } few and > 0 ? few : int.MaxValue;
        var known = limit == 0 ? [] : await store.MetadataAsync(caller.RealmFilter, parameters.Find("metric"), options.MaxSeries, ct);
        return Answers.Success(known
            .GroupBy(metadata => metadata.Family, StringComparer.Ordinal)
            .OrderBy(family => family.Key, StringComparer.Ordinal)
            .Take(limit)
            .ToDictionary(family => family.Key, family => family.Select(said => new { type = said.Type, help = said.Help, unit = said.Unit }).Distinct().Take(perFamily)));
    }

    /// <summary>The newest sample of each series, if it is not too old, in the text format that Prometheus scrapes.</summary>
    public static async Task<IResult> FederateAsync(HttpContext context, Caller caller, ISampleStore store, QueryGate gate, QueryOptions options, TimeProvider clock, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        IReadOnlyList<IReadOnlyList<Matcher>> selectors;
        try
        {
            selectors = parameters.Matches();
        }
        catch (QueryException error)
        {
            return TypedResults.Text(error.Message + "\n", statusCode: StatusCodes.Status400BadRequest);
        }

        var now = clock.GetUtcNow().ToUnixTimeMilliseconds();
        var from = now - (long)options.Lookback.TotalMilliseconds + 1;
        await gate.RunAsync("federate", null, async ends =>
        {
            var newest = new Dictionary<Labels, (long At, double Value)>();
            var columns = new SampleColumns();
            foreach (var matchers in selectors)
            {
                await foreach (var batch in store.Source(caller.RealmFilter).SelectAsync(new(matchers, from, now), ends))
                {
                    foreach (var series in batch)
                    {
                        columns.Clear();
                        series.Read(from, now, columns);
                        if (columns.Count > 0 && !StaleMarker.Is(columns.Values[^1]) && series.Labels.Name.Length > 0)
                        {
                            newest[series.Labels] = (columns.Times[^1], columns.Values[^1]);
                        }
                    }

                    if (newest.Count > options.MaxSeries)
                    {
                        throw new QueryException(QueryFault.Execution, $"the selectors find more than {options.MaxSeries} series (METRICS_QUERY_MAX_SERIES); narrow them");
                    }
                }
            }

            await WriteTextAsync(context, newest, ends);
        }, ct);
        return Results.Empty;
    }

    private static IReadOnlyList<Selection> Selections(Parameters parameters)
    {
        var from = parameters.Time("start", -Parameters.MaxMilliseconds);
        var to = parameters.Time("end", Parameters.MaxMilliseconds);
        var narrowed = from > -Parameters.MaxMilliseconds || to < Parameters.MaxMilliseconds;
        var selectors = parameters.Matches();
        return [.. (selectors.Count == 0 && narrowed ? [[s_any]] : selectors).Select(matchers => new Selection(matchers, from, to) { LabelsOnly = true })];
    }

    // One more than was asked for tells whether there are more.
    private static int OneMore(int limit) => limit == int.MaxValue ? limit : limit + 1;

    private static async Task WriteAsync<T>(HttpContext context, IReadOnlyList<T> items, int limit, Action<AnswerWriter, T> write, CancellationToken ct)
    {
        using var answer = AnswerWriter.To(context, "application/json");
        answer.Raw("{\"status\":\"success\",\"data\":["u8);
        for (var index = 0; index < items.Count && index < limit; index++)
        {
            if (index > 0)
            {
                answer.Raw(","u8);
            }

            write(answer, items[index]);
            await answer.PassOnAsync(ct);
        }

        answer.Raw("]"u8);
        if (items.Count > limit)
        {
            answer.Raw(",\"warnings\":["u8);
            answer.Text(Truncated);
            answer.Raw("]"u8);
        }

        answer.Raw("}"u8);
        await answer.EndAsync(ct);
    }

    private static async Task WriteTextAsync(HttpContext context, Dictionary<Labels, (long At, double Value)> newest, CancellationToken ct)
    {
        var sorted = newest.Keys.ToArray();
        // Lines of one family must be together, whatever their other labels are called.
        Array.Sort(sorted, static (left, right) => string.CompareOrdinal(left.Name, right.Name) is not 0 and var order ? order : SeriesOrder.Compare(left, right));
        using var text = AnswerWriter.To(context, "text/plain; version=0.0.4; charset=utf-8");
        var family = "";
        foreach (var labels in sorted)
        {
            if (labels.Name != family)
            {
                family = labels.Name;
                text.Raw("# TYPE "u8);
                ExpositionText.Name(text, family);
                text.Raw(" untyped\n"u8);
            }

            var (at, value) = newest[labels];
            ExpositionText.Line(text, labels, value, at);
            await text.PassOnAsync(ct);
        }

        await text.EndAsync(ct);
    }
}
