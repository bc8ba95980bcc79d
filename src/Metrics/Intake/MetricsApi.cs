using System.Buffers;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.Metrics.Events;
using Platform.PromQL;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Intake;

/// <summary>How many metrics of the request are committed.</summary>
public sealed record MetricsAccepted(int Count);

/// <summary>
/// <c>POST</c> and <c>GET /api/v1/monitoring/metrics</c> (seed 003). A gauge is a value; a counter is an increment that is added to a
/// durable total; a histogram is one observation that is put into buckets, so that <c>rate</c> and <c>histogram_quantile</c> over them are right.
/// </summary>
internal static class MetricsApi
{
    public static void MapMetrics(this IEndpointRouteBuilder app)
    {
        var metrics = app.MapGroup("/api/v1/monitoring/metrics").WithTags("Metrics");
        metrics.MapPost("/", CreateAsync).RequireAuthorization(Access.Ingest)
            .Accepts<JsonElement>("application/json", "application/x-ndjson")
            .WithSummary("Send one metric, an array of metrics, or NDJSON. 201 means committed.");
        metrics.MapGet("/", ListAsync).TakesQuery(MetricQuery.LabelPrefix).RequireAuthorization(Access.UserRead).WithSummary("Find samples by name, labels and time.");
    }

    private static async Task<Results<Created<Envelope<MetricsAccepted>>, ProblemHttpResult>> CreateAsync(
        HttpContext context, Caller caller, ISampleStore store, KnownMetadata known, MetricParser parser, MetricOptions options, IntakeOptions limits, IntakeBodies bodies,
        IntakeMetrics counters, SampleCounts counts, TimeProvider clock, CancellationToken ct)
    {
        IReadOnlyList<NewMetric> metrics;
        IReadOnlyList<EventFault> faults;
        byte[] hash;
        try
        {
            using var body = await bodies.ReadPlainAsync(context.Request, ct);
            (metrics, faults) = parser.Parse(body.Span, clock.GetUtcNow());
            hash = SHA256.HashData(body.Span);
        }
        catch (RefusedBodyException refused)
        {
            return Refused(context, refused);
        }

        if (faults.Count > 0)
        {
            return Rejected(faults);
        }

        using var run = new IntakeRun(store, known, limits, caller.RealmOfNewData);
        if (context.Request.Headers.TryGetValue("Idempotency-Key", out var header))
        {
            // The draft standard writes the key as a quoted string; bare ones are common and taken as well.
            var key = header.ToString().Trim('"');
            if (key.Length is 0 or > 255)
            {
                return Rejected([new EventFault("Idempotency-Key", "Has 1 to 255 characters.")]);
            }

            run.Batch.Key = new BatchKey(caller.Subject, key, hash);
        }

        faults = Put(run, metrics, options);
        if (faults.Count > 0)
        {
            counters.Done("json", run.Realm, 0, 0, run.Refusals);
            return Rejected(faults);
        }

        var result = await run.CommitAsync();
        switch (result.Outcome)
        {
            case CommitOutcome.KeyReused:
                return TypedResults.Problem("The Idempotency-Key was used before with another body. Use a new key for new metrics.", statusCode: StatusCodes.Status422UnprocessableEntity);
            case CommitOutcome.Busy:
                context.Response.Headers.RetryAfter = RemoteWriteApi.Seconds(result.RetryAfter);
                return TypedResults.Problem("More samples are waiting to be stored than the queue takes. Nothing of this request was stored; send it again.", statusCode: StatusCodes.Status429TooManyRequests);
            case CommitOutcome.Repeated:
                context.Response.Headers["Idempotency-Replayed"] = "true";
                break;
            default:
                run.Refusals.Add(result, run.Given);
                counts.Add(run.Realm, result.Written);
                counters.Done("json", run.Realm, result.Written, 0, run.Refusals);
                break;
        }

        return TypedResults.Created((string?)null, Envelope.Of(new MetricsAccepted(metrics.Count)));
    }

    // A series that a guard refuses is a fault like any other: nothing of the request is stored.
    private static List<EventFault> Put(IntakeRun run, IReadOnlyList<NewMetric> metrics, MetricOptions options)
    {
        var faults = new List<EventFault>();
        var increments = new Dictionary<(StoredSeries Series, long At), double>();
        foreach (var metric in metrics)
        {
            var before = run.Refusals.Sentences.Count;
            Describe(run, metric);
            switch (metric.Type)
            {
                case MetricType.Gauge:
                    if (Find(run, metric, metric.Name, null) is { } gauge)
                    {
                        run.Batch.Add(gauge, metric.At, metric.Value);
                    }

                    break;
                case MetricType.Counter:
                    Increment(metric.Name, null, metric.Value);
                    break;
                case MetricType.Histogram:
                    Observe(metric);
                    break;
            }

            if (run.Refusals.Sentences.Count > before)
            {
                faults.Add(new EventFault($"[{metric.Index}].labels", run.Refusals.Sentences[before]));
            }

            void Increment(string name, double? bound, double by)
            {
                if (Find(run, metric, name, bound) is { } series)
                {
                    CollectionsMarshal.GetValueRefOrAddDefault(increments, (series, metric.At), out _) += by;
                }
            }

            void Observe(NewMetric observation)
            {
                // Buckets that the value does not reach are there too, with nothing added: a histogram is whole from its first observation.
                foreach (var bound in options.BoundsOf(observation.Name))
                {
                    Increment($"{observation.Name}_bucket", bound, observation.Value <= bound ? 1 : 0);
                }

                Increment($"{observation.Name}_bucket", double.PositiveInfinity, 1);
                Increment($"{observation.Name}_sum", null, observation.Value);
                Increment($"{observation.Name}_count", null, 1);
            }
        }

        // What one request adds to a series at one time is one increment.
        foreach (var ((series, at), by) in increments)
        {
            run.Batch.Increment(series, at, by);
        }

        return faults;
    }

    private static void Describe(IntakeRun run, NewMetric metric)
    {
        run.Scratch.ResetWrittenCount();
        run.Scratch.Write((ReadOnlySpan<byte>)[0xff, 0x40, (byte)metric.Type]);
        run.Scratch.Write(MemoryMarshal.AsBytes(metric.Name.AsSpan()));
        var key = run.KeyOf(run.Scratch.WrittenSpan);
        if (run.IsNews(key))
        {
            var type = metric.Type switch { MetricType.Gauge => "gauge", MetricType.Counter => "counter", MetricType.Histogram => "histogram" };
            run.Describe(key, new MetricMetadata(run.Realm, metric.Name, type, "", ""));
        }
    }

    private static StoredSeries? Find(IntakeRun run, NewMetric metric, string name, double? bound)
    {
        run.Scratch.ResetWrittenCount();
        run.Scratch.Write((ReadOnlySpan<byte>)[0xff, 0x41]);
        var at = bound ?? double.NaN;
        run.Scratch.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<double>(in at)));
        Write(run.Scratch, name);
        foreach (var (label, value) in metric.Labels)
        {
            Write(run.Scratch, label);
            Write(run.Scratch, value);
        }

        var key = run.KeyOf(run.Scratch.WrittenSpan);
        if (run.Find(key) is { } series)
        {
            return series;
        }

        run.Labels.Clear();
        run.Labels.Add(Labels.MetricName, name);
        foreach (var (label, value) in metric.Labels)
        {
            run.Labels.Add(label, value);
        }

        if (bound is { } le)
        {
            run.Labels.Add("le", OtlpNames.Number(le));
        }

        return run.Introduce(key, samples: 1);
    }

    // Neither names nor values hold U+0000, so it ends them.
    private static void Write(ArrayBufferWriter<byte> into, string text)
    {
        into.Write(MemoryMarshal.AsBytes(text.AsSpan()));
        into.Write("\0\0"u8);
    }

    private static async Task<Results<Ok<Envelope<Page<MetricRecord>>>, ValidationProblem, ProblemHttpResult>> ListAsync(
        [AsParameters] MetricQueryText asked, HttpRequest request, Caller caller, MetricList list, MetricOptions options, CancellationToken ct)
    {
        var (query, errors) = MetricQuery.Parse(asked, request.Query, caller.RealmFilter);
        if (query is null)
        {
            return TypedResults.ValidationProblem(errors);
        }

        return await list.ReadAsync(query, ct) is { } page
            ? TypedResults.Ok(Envelope.Page(page.Items, page.Next))
            : TypedResults.Problem(
                $"The page would have to look at more than {options.ListMaxSamples} samples (MONITORING_METRIC_LIST_MAX_SAMPLES). Narrow it by name, labels, start_time and end_time.",
                statusCode: StatusCodes.Status422UnprocessableEntity);
    }

    private static ProblemHttpResult Refused(HttpContext context, RefusedBodyException refused)
    {
        if (refused.Status == StatusCodes.Status429TooManyRequests)
        {
            context.Response.Headers.RetryAfter = "1";
        }

        return TypedResults.Problem(refused.Message, statusCode: refused.Status);
    }

    private static ProblemHttpResult Rejected(IReadOnlyList<EventFault> faults) =>
        TypedResults.Problem(
            "Nothing of the request was stored.",
            statusCode: faults.All(fault => fault.TooLarge) ? StatusCodes.Status413PayloadTooLarge : StatusCodes.Status400BadRequest,
            title: "The metrics are not valid.",
            extensions: new Dictionary<string, object?>
            {
                ["errors"] = faults.GroupBy(fault => fault.Path).ToDictionary(group => group.Key, group => group.Select(fault => fault.Message).ToArray()),
            });
}
