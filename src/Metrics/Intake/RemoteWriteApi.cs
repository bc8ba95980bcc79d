using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Intake;

/// <summary>
/// <c>POST /prometheus/api/v1/write</c>: remote write 1.0 and 2.0, told apart by the content type. Answers are Prometheus' own: 204 when
/// everything is durable; 400 with a text when some of it can never be stored (the rest is); 429 when the sender should come again.
/// </summary>
internal static class RemoteWriteApi
{
    private const string V1 = "prometheus.WriteRequest";
    private const string V2 = "io.prometheus.write.v2.Request";

    public static void MapRemoteWrite(this IEndpointRouteBuilder app) =>
        app.MapPost("/prometheus/api/v1/write", WriteAsync).RequireAuthorization(Access.Ingest).WithTags("Prometheus")
            .WithSummary("Remote write 1.0 and 2.0: protobuf, compressed with snappy. 204 means committed.");

    private static async Task WriteAsync(
        HttpContext context, Caller caller, ISampleStore store, KnownMetadata known, IntakeOptions limits, IntakeBodies bodies, IntakeMetrics metrics, SampleCounts counts, CancellationToken ct)
    {
        var version = VersionOf(context.Request, out var problem);
        if (problem is not null)
        {
            await AnswerAsync(context, StatusCodes.Status415UnsupportedMediaType, problem, ct);
            return;
        }

        if (version == V2)
        {
            // Without them, a sender of 2.0 takes this for a receiver that did not look at the content type.
            Written(context.Response, 0);
        }

        using var run = new IntakeRun(store, known, limits, caller.RealmOfNewData);
        try
        {
            using var body = await bodies.ReadAsync(context.Request, ct);
            Parse(bodies, run, version, body);
        }
        catch (RefusedBodyException refused)
        {
            await AnswerAsync(context, refused.Status, refused.Message, ct);
            return;
        }

        var result = await run.CommitAsync();
        if (result.Outcome == CommitOutcome.Busy)
        {
            context.Response.Headers.RetryAfter = Seconds(result.RetryAfter);
            await AnswerAsync(context, StatusCodes.Status429TooManyRequests, "More samples are waiting to be stored than the queue takes. Nothing of this request was stored; send it again.", ct);
            return;
        }

        if (version == V2)
        {
            Written(context.Response, result.Written);
        }

        run.Refusals.Add(result, run.Given);
        counts.Add(run.Realm, result.Written);
        metrics.Done(version == V2 ? "remote_write_2" : "remote_write", run.Realm, result.Written, run.Exemplars, run.Refusals);
        if (run.Refusals.Count == 0)
        {
            context.Response.StatusCode = StatusCodes.Status204NoContent;
            return;
        }

        await AnswerAsync(
            context, StatusCodes.Status400BadRequest,
            $"{run.Refusals.Count} of {run.Refusals.Count + result.Written} samples are not stored; the others are, and need not be sent again.\n{string.Join('\n', run.Refusals.Sentences)}", ct);
    }

    private static void Parse(IntakeBodies bodies, IntakeRun run, string version, PooledBytes body)
    {
        using var decoded = bodies.Unsnap(body.Span);
        if (version == V2)
        {
            new RemoteWrite2Parser(run).Read(decoded.Span);
        }
        else
        {
            new RemoteWriteParser(run).Read(decoded.Span);
        }
    }

    private static string VersionOf(HttpRequest request, out string? problem)
    {
        var encoding = request.Headers.ContentEncoding.ToString();
        problem = encoding is "" || encoding.Equals("snappy", StringComparison.OrdinalIgnoreCase)
            ? null : $"The Content-Encoding {encoding} is not understood here; send snappy in the block format.";
        if (string.IsNullOrEmpty(request.ContentType))
        {
            return V1;
        }

        if (!MediaTypeHeaderValue.TryParse(request.ContentType, out var type) || !string.Equals(type.MediaType, "application/x-protobuf", StringComparison.OrdinalIgnoreCase))
        {
            problem = $"The Content-Type {request.ContentType} is not understood here; send application/x-protobuf.";
            return V1;
        }

        var message = type.Parameters.FirstOrDefault(parameter => parameter.Name.Equals("proto", StringComparison.OrdinalIgnoreCase))?.Value?.Trim('"') ?? V1;
        if (message is not (V1 or V2))
        {
            problem = $"The message {message} is not understood here; send proto={V1} or proto={V2}.";
        }

        return message;
    }

    private static void Written(HttpResponse response, int samples)
    {
        response.Headers["X-Prometheus-Remote-Write-Samples-Written"] = samples.ToString(CultureInfo.InvariantCulture);
        response.Headers["X-Prometheus-Remote-Write-Histograms-Written"] = "0";
        response.Headers["X-Prometheus-Remote-Write-Exemplars-Written"] = "0";
    }

    internal static string Seconds(TimeSpan wait) => Math.Max(1, Math.Ceiling(wait.TotalSeconds)).ToString(CultureInfo.InvariantCulture);

    private static async Task AnswerAsync(HttpContext context, int status, string text, CancellationToken ct)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "text/plain; charset=utf-8";
        if (status == StatusCodes.Status429TooManyRequests && context.Response.Headers.RetryAfter.Count == 0)
        {
            context.Response.Headers.RetryAfter = "1";
        }

        await context.Response.WriteAsync(text + "\n", Encoding.UTF8, ct);
    }
}
