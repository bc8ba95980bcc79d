using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Prometheus;

/// <summary>
/// Queries when the samples are in another Prometheus-compatible engine. What a caller of one realm asks is parsed, gets the realm into
/// every selector, and goes there as text that was printed anew, with the parameters that are known here and no others; the answer streams
/// back. A caller of all realms asks the engine in its own words.
/// </summary>
public static class ForwardApi
{
    public static async Task InstantAsync(HttpContext context, Caller caller, RemoteEngine engine, QueryGate gate, TimeProvider clock, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        var query = parameters.Find("query") ?? "";
        TimeSpan? timeout = null;
        if (caller.RealmFilter is { } realm)
        {
            var checkedQuery = QueryApi.InstantQuery.Of(parameters, clock);
            (query, timeout) = (RemoteEngine.Restrict(checkedQuery.Expr, realm), checkedQuery.Timeout);
        }

        await ForwardAsync(context, engine, gate, timeout, HttpMethod.Post, "api/v1/query",
            [new("query", query), .. Given(parameters, "time", "timeout", "limit", "lookback_delta", "stats")], ct);
    }

    public static async Task RangeAsync(HttpContext context, Caller caller, RemoteEngine engine, QueryGate gate, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        var query = parameters.Find("query") ?? "";
        TimeSpan? timeout = null;
        if (caller.RealmFilter is { } realm)
        {
            var checkedQuery = QueryApi.RangeQuery.Of(parameters);
            (query, timeout) = (RemoteEngine.Restrict(checkedQuery.Expr, realm), checkedQuery.Timeout);
        }

        await ForwardAsync(context, engine, gate, timeout, HttpMethod.Post, "api/v1/query_range",
            [new("query", query), .. Given(parameters, "start", "end", "step", "timeout", "limit", "lookback_delta", "stats")], ct);
    }

    public static async Task SeriesAsync(HttpContext context, Caller caller, RemoteEngine engine, QueryGate gate, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        if (parameters.All("match[]").Count == 0)
        {
            throw Parameters.Bad("no match[] parameter provided");
        }

        await ForwardAsync(context, engine, gate, null, HttpMethod.Post, "api/v1/series", Matching(parameters, caller.RealmFilter), ct);
    }

    public static async Task LabelsAsync(HttpContext context, Caller caller, RemoteEngine engine, QueryGate gate, CancellationToken ct) =>
        await ForwardAsync(context, engine, gate, null, HttpMethod.Post, "api/v1/labels", Matching(await Parameters.ReadAsync(context.Request, ct), caller.RealmFilter), ct);

    public static async Task ValuesAsync(HttpContext context, string name, Caller caller, RemoteEngine engine, QueryGate gate, CancellationToken ct) =>
        await ForwardAsync(
            context, engine, gate, null, HttpMethod.Get, $"api/v1/label/{Uri.EscapeDataString(name)}/values", Matching(await Parameters.ReadAsync(context.Request, ct), caller.RealmFilter), ct);

    public static async Task FederateAsync(HttpContext context, Caller caller, RemoteEngine engine, QueryGate gate, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        // No selector selects nothing here, and not the whole realm.
        var selectors = parameters.All("match[]").Count == 0 ? [] : Matching(parameters, caller.RealmFilter);
        await ForwardAsync(context, engine, gate, null, HttpMethod.Get, "federate", selectors, ct);
    }

    // Without a selector, those of labels and values mean everything, which is the realm.
    private static List<KeyValuePair<string, string>> Matching(Parameters parameters, string? realm)
    {
        parameters.Limit();
        parameters.Time("start", 0);
        parameters.Time("end", 0);
        List<KeyValuePair<string, string>> given = [.. Given(parameters, "start", "end", "limit")];
        if (realm is null)
        {
            given.AddRange(parameters.All("match[]").Select(text => new KeyValuePair<string, string>("match[]", text ?? "")));
            return given;
        }

        var selectors = parameters.Matches();
        given.AddRange((selectors.Count == 0 ? [[]] : selectors).Select(matchers => new KeyValuePair<string, string>("match[]", RemoteEngine.Restrict(matchers, realm))));
        return given;
    }

    private static IEnumerable<KeyValuePair<string, string>> Given(Parameters parameters, params string[] names) =>
        from name in names
        let value = parameters.Find(name)
        where value is not null
        select new KeyValuePair<string, string>(name, value);

    private static Task ForwardAsync(
        HttpContext context, RemoteEngine engine, QueryGate gate, TimeSpan? timeout, HttpMethod method, string path, IEnumerable<KeyValuePair<string, string>> parameters, CancellationToken ct) =>
        gate.RunAsync("forwarded", timeout, async ends =>
        {
            using var answer = await engine.AskAsync(method, path, parameters, ends);
            var type = answer.Content.Headers.ContentType?.ToString() ?? "";
            if ((int)answer.StatusCode is not (200 or 400 or 404 or 422 or 500 or 503) || !(type.StartsWith("application/json", StringComparison.Ordinal) || type.StartsWith("text/plain", StringComparison.Ordinal)))
            {
                // Not an answer of an engine to a query: a door that did not let the platform in, or a proxy.
                throw new HttpRequestException($"The engine at METRICS_PROMETHEUS_URL answered {path} with {(int)answer.StatusCode}.", null, answer.StatusCode);
            }

            context.Response.StatusCode = (int)answer.StatusCode;
            context.Response.ContentType = type;
            await using var body = await answer.Content.ReadAsStreamAsync(ends);
            await body.CopyToAsync(context.Response.Body, ends);
        }, ct);
}
