using System.Text.Json;
using Platform.PromQL;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Prometheus;

/// <summary>
/// The HTTP API of Prometheus below <c>/prometheus</c>: whatever speaks to a Prometheus server is given this as its address. Expressions
/// are evaluated over the platform's own store, or, when the samples live in another engine, passed on to it with the caller's realm in
/// every selector.
/// </summary>
public static class PrometheusApi
{
    private static readonly string[] s_getOrPost = [HttpMethods.Get, HttpMethods.Post];

    public static IEndpointRouteBuilder MapPrometheus(this IEndpointRouteBuilder app)
    {
        var root = app.MapGroup("/prometheus").WithTags("Prometheus").RequireAuthorization(Access.UserRead).AddEndpointFilter(Answers.RefuseAsync);
        var api = root.MapGroup("/api/v1");

        // Where the samples are decides who evaluates.
        var isRemote = app.ServiceProvider.GetRequiredService<SampleStoreOptions>().Backend == StorageBackend.Prometheus;
        api.MapMethods("/query", s_getOrPost, Here(QueryApi.InstantAsync, ForwardApi.InstantAsync)).WithSummary("The value of an expression at one time.");
        api.MapMethods("/query_range", s_getOrPost, Here(QueryApi.RangeAsync, ForwardApi.RangeAsync)).WithSummary("The values of an expression over a stretch of time.");
        api.MapMethods("/series", s_getOrPost, Here(SeriesApi.SeriesAsync, ForwardApi.SeriesAsync)).WithSummary("The series that selectors (match[]) find.");
        api.MapMethods("/labels", s_getOrPost, Here(SeriesApi.LabelsAsync, ForwardApi.LabelsAsync)).WithSummary("Names of labels.");
        api.MapGet("/label/{name}/values", Here(SeriesApi.ValuesAsync, ForwardApi.ValuesAsync)).WithSummary("Values of one label.");
        root.MapGet("/federate", Here(SeriesApi.FederateAsync, ForwardApi.FederateAsync)).WithSummary("The newest sample of each selected series, as text.");
        api.MapGet("/metadata", SeriesApi.MetadataAsync).WithSummary("Type, help and unit of metric families.");
        api.MapMethods("/query_exemplars", s_getOrPost, ExemplarsAsync).WithSummary("Always empty: exemplars are not kept.");

        api.MapMethods("/format_query", s_getOrPost, FormatAsync).WithSummary("An expression, laid out for people.");
        api.MapMethods("/parse_query", s_getOrPost, ParseAsync).WithSummary("The tree of an expression.");
        root.MapStatus();
        return app;

        Delegate Here(Delegate here, Delegate behind) => isRemote ? behind : here;
    }

    private static async Task<IResult> FormatAsync(HttpContext context, CancellationToken ct) =>
        Answers.Success(Printer.Pretty(QueryApi.ExprOf(await Parameters.ReadAsync(context.Request, ct))));

    private static async Task<IResult> ParseAsync(HttpContext context, CancellationToken ct)
    {
        var expr = QueryApi.ExprOf(await Parameters.ReadAsync(context.Request, ct));
        using var tree = new MemoryStream();
        // A level of an expression takes up to three levels of JSON, and the parser bounds the expression's.
        await using (var json = new Utf8JsonWriter(tree, new JsonWriterOptions { MaxDepth = 4_000 }))
        {
            json.WriteStartObject();
            json.WriteString("status", "success");
            json.WritePropertyName("data");
            ExprJson.Write(json, expr);
            json.WriteEndObject();
        }

        return TypedResults.Bytes(tree.ToArray(), "application/json");
    }

    private static async Task<IResult> ExemplarsAsync(HttpContext context, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        if (parameters.Time("end", Parameters.MaxMilliseconds) < parameters.Time("start", -Parameters.MaxMilliseconds))
        {
            throw Parameters.Bad("end timestamp must not be before start timestamp");
        }

        QueryApi.ExprOf(parameters);
        return Answers.Success(Array.Empty<object>());
    }
}

public static class PrometheusHosting
{
    /// <summary>Queries in PromQL over the sample store.</summary>
    public static IHostApplicationBuilder AddPrometheus(this IHostApplicationBuilder builder)
    {
        var options = builder.AddSettings<QueryOptions>();
        builder.Services.AddSingleton<QueryGate>();
        builder.Services.AddSingleton(services => new Engine(
            new EngineOptions { LookBack = options.Lookback, MaxSamples = options.MaxSamples, MaxSeries = options.MaxSeries, Timeout = options.Timeout },
            services.GetRequiredService<TimeProvider>()));
        return builder;
    }
}
