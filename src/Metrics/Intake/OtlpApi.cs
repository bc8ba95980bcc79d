using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Npgsql;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Intake;

/// <summary>
/// <c>POST /otlp/v1/metrics</c>: OTLP/HTTP in protobuf or JSON. Answers are in the encoding of the request: 200 with
/// <c>partial_success</c> when single points cannot be stored; anything else is a <c>google.rpc.Status</c>.
/// </summary>
internal static class OtlpApi
{
    private const string Protobuf = "application/x-protobuf";
    private const string Json = "application/json";

    public static void MapOtlp(this IEndpointRouteBuilder app) =>
        app.MapPost("/otlp/v1/metrics", ExportAsync).RequireAuthorization(Access.Ingest).WithTags("OpenTelemetry")
            .WithSummary("OTLP/HTTP metrics, protobuf or JSON, gzip or plain. 200 means committed.");

    private static async Task ExportAsync(
        HttpContext context, Caller caller, ISampleStore store, KnownMetadata known, IntakeOptions limits, OtlpOptions options, IntakeBodies bodies, IntakeMetrics metrics, SampleCounts counts, CancellationToken ct)
    {
        var type = context.Request.ContentType?.Split(';')[0].Trim();
        var isJson = string.Equals(type, Json, StringComparison.OrdinalIgnoreCase);
        try
        {
            if (!isJson && !string.Equals(type, Protobuf, StringComparison.OrdinalIgnoreCase))
            {
                throw new RefusedBodyException($"The Content-Type {context.Request.ContentType} is not understood here; send {Protobuf} or {Json}.", StatusCodes.Status415UnsupportedMediaType);
            }

            using var run = new IntakeRun(store, known, limits, caller.RealmOfNewData);
            using (var body = await bodies.ReadPlainAsync(context.Request, ct))
            {
                Parse(bodies, run, options, isJson, body);
            }

            var result = await run.CommitAsync();
            if (result.Outcome == CommitOutcome.Busy)
            {
                context.Response.Headers.RetryAfter = RemoteWriteApi.Seconds(result.RetryAfter);
                throw new RefusedBodyException("More samples are waiting to be stored than the queue takes. Nothing of this request was stored; send it again.", StatusCodes.Status429TooManyRequests);
            }

            run.Refusals.Add(result, run.Given);
            counts.Add(run.Realm, result.Written);
            metrics.Done("otlp", run.Realm, result.Written, run.Exemplars, run.Refusals);
            await AcceptAsync(context, isJson, run.Refusals, ct);
        }
        catch (RefusedBodyException refused)
        {
            await RefuseAsync(context, isJson, refused.Status, refused.Message, ct);
        }
        catch (NpgsqlException error) when (error.IsTransient)
        {
            await RefuseAsync(context, isJson, StatusCodes.Status503ServiceUnavailable, "The database cannot be reached just now. Send the request again.", ct);
        }
    }

    private static void Parse(IntakeBodies bodies, IntakeRun run, OtlpOptions options, bool isJson, PooledBytes body)
    {
        if (isJson)
        {
            using var message = OtlpJson.ToProtobuf(bodies, body.Span);
            new OtlpMetricsParser(run, options).Read(message.Written);
        }
        else
        {
            new OtlpMetricsParser(run, options).Read(body.Span);
        }
    }

    // An ExportMetricsServiceResponse; without anything to say, it is empty.
    private static Task AcceptAsync(HttpContext context, bool isJson, Refusals refusals, CancellationToken ct)
    {
        var body = new ArrayBufferWriter<byte>();
        var message = string.Join(' ', refusals.Sentences);
        if (isJson)
        {
            using var json = new Utf8JsonWriter(body);
            json.WriteStartObject();
            if (refusals.Count > 0)
            {
                json.WriteStartObject("partialSuccess"u8);
                json.WriteString("rejectedDataPoints"u8, refusals.Count.ToString(CultureInfo.InvariantCulture));
                json.WriteString("errorMessage"u8, message);
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }
        else if (refusals.Count > 0)
        {
            var partial = new ArrayBufferWriter<byte>();
            WriteNumberAndText(partial, (ulong)refusals.Count, message);
            WriteVarint(body, (1 << 3) | 2);
            WriteVarint(body, (ulong)partial.WrittenCount);
            body.Write(partial.WrittenSpan);
        }

        return AnswerAsync(context, isJson, StatusCodes.Status200OK, body, ct);
    }

    // A google.rpc.Status, with the numbers of google.rpc.Code.
    private static Task RefuseAsync(HttpContext context, bool isJson, int status, string message, CancellationToken ct)
    {
        if (status is StatusCodes.Status429TooManyRequests or StatusCodes.Status503ServiceUnavailable && context.Response.Headers.RetryAfter.Count == 0)
        {
            context.Response.Headers.RetryAfter = "1";
        }

        var code = status switch
        {
            StatusCodes.Status429TooManyRequests => 8,
            StatusCodes.Status503ServiceUnavailable => 14,
            _ => 3,
        };
        var body = new ArrayBufferWriter<byte>();
        if (isJson)
        {
            using var json = new Utf8JsonWriter(body);
            json.WriteStartObject();
            json.WriteNumber("code"u8, code);
            json.WriteString("message"u8, message);
            json.WriteEndObject();
        }
        else
        {
            WriteNumberAndText(body, (ulong)code, message);
        }

        return AnswerAsync(context, isJson, status, body, ct);
    }

    private static async Task AnswerAsync(HttpContext context, bool isJson, int status, ArrayBufferWriter<byte> body, CancellationToken ct)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = isJson ? Json : Protobuf;
        context.Response.ContentLength = body.WrittenCount;
        await context.Response.Body.WriteAsync(body.WrittenMemory, ct);
    }

    // Field 1 a number, field 2 a text: what both a partial success and a status are.
    private static void WriteNumberAndText(ArrayBufferWriter<byte> into, ulong number, string text)
    {
        WriteVarint(into, 1 << 3);
        WriteVarint(into, number);
        WriteVarint(into, (2 << 3) | 2);
        WriteVarint(into, (ulong)Encoding.UTF8.GetByteCount(text));
        Encoding.UTF8.GetBytes(text, into);
    }

    private static void WriteVarint(ArrayBufferWriter<byte> into, ulong value)
    {
        for (; value >= 0x80; value >>= 7)
        {
            into.Write([(byte)(value | 0x80)]);
        }

        into.Write([(byte)value]);
    }
}
