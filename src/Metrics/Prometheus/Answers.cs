using System.Text.Json;
using Platform.PromQL;

namespace Platform.Metrics.Prometheus;

/// <summary>The envelope of the Prometheus API: <c>{"status":"success","data":…}</c>, or an error with a type. https://prometheus.io/docs/prometheus/latest/querying/api/</summary>
public static class Answers
{
    // Names stand in the records as they are on the wire.
    private static readonly JsonSerializerOptions s_asWritten = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>For answers of moderate size; large ones are streamed by <see cref="AnswerWriter"/>.</summary>
    public static IResult Success(object data) => TypedResults.Json(new { status = "success", data }, s_asWritten);

    public static IResult Error(int status, string type, string message) => TypedResults.Json(new { status = "error", errorType = type, error = message }, s_asWritten, statusCode: status);

    public static IResult Error(QueryException error) => error.Fault switch
    {
        QueryFault.BadData => Error(StatusCodes.Status400BadRequest, "bad_data", error.Message),
        QueryFault.Execution => Error(StatusCodes.Status422UnprocessableEntity, "execution", error.Message),
        QueryFault.Timeout => Error(StatusCodes.Status503ServiceUnavailable, "timeout", error.Message),
        QueryFault.Canceled => Error(StatusCodes.Status503ServiceUnavailable, "canceled", error.Message),
    };

    /// <summary>Turns what a handler below refuses into the envelope. An answer that has begun can only be broken off, so that nobody takes a part for the whole.</summary>
    public static async ValueTask<object?> RefuseAsync(EndpointFilterInvocationContext invocation, EndpointFilterDelegate next)
    {
        var context = invocation.HttpContext;
        try
        {
            return await next(invocation);
        }
        catch (QueryException) when (context.Response.HasStarted)
        {
            context.Abort();
            return Results.Empty;
        }
        catch (QueryException error)
        {
            return Error(error);
        }
        catch (TooManyQueriesException error)
        {
            context.Response.Headers.RetryAfter = "1";
            return Error(StatusCodes.Status503ServiceUnavailable, "unavailable", error.Message);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            return Results.Empty;
        }
    }
}
