using System.Diagnostics;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Platform.ServiceDefaults;

/// <summary>Every answer that is not a success is a problem (RFC 9457) with the ids that lead to its log lines, and never with a stack trace.</summary>
internal static class Problems
{
    public static void AddProblems(this IHostApplicationBuilder builder)
    {
        builder.Services.AddSingleton<IProblemDetailsWriter, ProblemWriter>();
        builder.Services.AddProblemDetails(options => options.CustomizeProblemDetails = context => Complete(context.HttpContext, context.ProblemDetails));
        builder.Services.AddExceptionHandler<Faults>();

        // Otherwise a body that cannot be read is answered by 400 and silence.
        builder.Services.Configure<RouteHandlerOptions>(options => options.ThrowOnBadRequest = true);
    }

    public static void UseProblems(this WebApplication app)
    {
        app.UseExceptionHandler();
        app.UseStatusCodePages(async pages =>
        {
            var context = pages.HttpContext;
            if (context.Response.StatusCode == StatusCodes.Status401Unauthorized && context.Response.Headers.WWWAuthenticate.Count == 0)
            {
                context.Response.Headers.WWWAuthenticate = "Bearer";
            }

            await context.RequestServices.GetRequiredService<IProblemDetailsService>().WriteAsync(new ProblemDetailsContext
            {
                HttpContext = context,
                ProblemDetails = new ProblemDetails { Status = context.Response.StatusCode, Detail = Hint(context) },
            });
        });
    }

    private static void Complete(HttpContext context, ProblemDetails problem)
    {
        problem.Extensions["traceId"] = Activity.Current?.TraceId.ToHexString() ?? context.TraceIdentifier;
        problem.Extensions["correlationId"] = Correlation.Current;
        if (problem is HttpValidationProblemDetails { Errors.Count: > 0 } validation)
        {
            validation.Errors = validation.Errors.ToDictionary(error => WirePath(error.Key), error => error.Value);
        }
    }

    /// <summary>Clients know the field as it is on the wire: <c>Rules[0].EventType</c> is <c>rules[0].event_type</c>.</summary>
    internal static string WirePath(string path) => string.Join('.', path.Split('.').Select(part =>
    {
        var bracket = part.IndexOf('[', StringComparison.Ordinal);
        return bracket < 0 ? WireJson.Name(part) : WireJson.Name(part[..bracket]) + part[bracket..];
    }));

    /// <summary><c>a, b and c</c>.</summary>
    internal static string Listed(IReadOnlyList<string> words, string last) =>
        words.Count < 2 ? string.Concat(words) : $"{string.Join(", ", words.SkipLast(1))} {last} {words[^1]}";

    private static string? Hint(HttpContext context) => context.Response.StatusCode switch
    {
        StatusCodes.Status401Unauthorized => "The request carries no valid credential. Send \"Authorization: Bearer <key>\".",
        StatusCodes.Status403Forbidden => context.Features.Get<Refusal>()?.Detail ?? "The credential is valid, but its role, scope or realm does not reach this.",
        StatusCodes.Status404NotFound => $"Nothing is at {context.Request.Path}.",
        StatusCodes.Status405MethodNotAllowed => $"{context.Request.Method} is not possible here. Allowed: {context.Response.Headers.Allow}.",
        StatusCodes.Status415UnsupportedMediaType => $"The body's type {context.Request.ContentType ?? "is not given and"} is not understood here. Send application/json.",
        _ => null,
    };
}

/// <summary>The one place where exceptions become answers.</summary>
internal sealed partial class Faults(IProblemDetailsService problems, ILogger<Faults> logger) : IExceptionHandler
{
    public async ValueTask<bool> TryHandleAsync(HttpContext httpContext, Exception exception, CancellationToken cancellationToken)
    {
        var problem = exception switch
        {
            BadHttpRequestException { InnerException: JsonException json } => new ProblemDetails { Status = 400, Title = "The body is not valid JSON for this request.", Detail = Place(json) },
            JsonException json => new ProblemDetails { Status = 400, Title = "The body is not valid JSON for this request.", Detail = Place(json) },
            BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } large => new ProblemDetails { Status = 413, Detail = $"{large.Message} PLATFORM_MAX_REQUEST_BYTES sets the limit; send the data in several requests." },
            BadHttpRequestException bad => new ProblemDetails { Status = bad.StatusCode, Detail = bad.Message },
            // Text that is valid JSON or a valid query, but not text to PostgreSQL.
            PostgresException { SqlState: "22021" or "22P05" } => new ProblemDetails { Status = 400, Title = "The request holds the character U+0000 or half a surrogate pair.", Detail = "Neither can be stored or searched for; leave it out." },
            NpgsqlException { IsTransient: true } => new ProblemDetails { Status = 503, Title = "The database cannot be reached just now.", Detail = "Nothing was changed unless an earlier answer said so. Try again." },
            HttpRequestException => new ProblemDetails { Status = 503, Title = "A service that is needed here does not answer just now.", Detail = "Try again." },
            _ => new ProblemDetails { Status = 500, Title = "The request failed.", Detail = "The fault is on this side and has been logged. Give the trace id when you report it." },
        };
        if (problem.Status >= 500)
        {
            RequestFailed(exception);
        }

        if (problem.Status == 503)
        {
            httpContext.Response.Headers.RetryAfter = "2";
        }

        httpContext.Response.StatusCode = problem.Status!.Value;
        return await problems.TryWriteAsync(new ProblemDetailsContext { HttpContext = httpContext, ProblemDetails = problem, Exception = exception });
    }

    // System.Text.Json counts lines and bytes from 0; people and editors from 1.
    private static string Place(JsonException error)
    {
        var place = error.LineNumber is { } line && error.BytePositionInLine is { } column ? $" at line {line + 1}, byte {column + 1}" : "";
        var path = string.IsNullOrEmpty(error.Path) || error.Path == "$" ? "" : $" in {error.Path}";
        return $"Reading stopped{path}{place}: {Reason(error)}";
    }

    // The framework's sentences end with the place once more, and the inner one is the more exact.
    private static string Reason(JsonException error)
    {
        var message = (error.InnerException as JsonException ?? error).Message;
        var repeat = message.IndexOf(" Path: ", StringComparison.Ordinal) is >= 0 and var path ? path : message.IndexOf(" LineNumber: ", StringComparison.Ordinal);
        return Wanted(error.InnerException) ?? InWords(repeat > 0 ? message[..repeat] : message);
    }

    // Of a field that is a constructor's parameter the framework's sentence names the whole type, and only the inner one what was wanted.
    private static string? Wanted(Exception? inner) =>
        inner is not InvalidOperationException ? null
        : inner.Message.EndsWith("as a string.", StringComparison.Ordinal) ? "a text is expected."
        : inner.Message.EndsWith("as a number.", StringComparison.Ordinal) ? "a number is expected."
        : inner.Message.EndsWith("as a boolean.", StringComparison.Ordinal) ? "true or false is expected."
        : null;

    // The framework speaks of its types; whoever sent the body knows fields, texts and numbers.
    private static string InWords(string message)
    {
        const string Unknown = "The JSON property '", Converted = "The JSON value could not be converted to ";
        if (message.StartsWith(Unknown, StringComparison.Ordinal) && message.IndexOf("' could not be mapped", StringComparison.Ordinal) is > 0 and var end)
        {
            return $"the field \"{message[Unknown.Length..end]}\" is not known here.";
        }

        if (!message.StartsWith(Converted, StringComparison.Ordinal))
        {
            return message;
        }

        var type = message[Converted.Length..].Replace("System.Nullable`1[", "", StringComparison.Ordinal).Split('[', ']')[0].TrimEnd('.');
        return type switch
        {
            "System.String" => "a text is expected.",
            "System.Boolean" => "true or false is expected.",
            "System.Int32" or "System.Int64" => "a whole number is expected.",
            "System.Double" => "a number is expected.",
            "System.DateTimeOffset" => "a time such as 2026-03-01T09:15:00Z is expected.",
            "System.Guid" => "an id (UUID) is expected.",
            _ when type.Contains("List`", StringComparison.Ordinal) => "a list is expected.",
            _ when type.Contains("Dictionary`", StringComparison.Ordinal) => "an object is expected.",
            _ => "a value of this kind is not expected here.",
        };
    }

    [LoggerMessage(LogLevel.Error, "The request failed")]
    private partial void RequestFailed(Exception error);
}

/// <summary>Writes problems whatever the Accept header says: a client that did not ask for JSON still learns what went wrong.</summary>
internal sealed class ProblemWriter : IProblemDetailsWriter
{
    public bool CanWrite(ProblemDetailsContext context) => true;

    public async ValueTask WriteAsync(ProblemDetailsContext context)
    {
        ProblemDetailsDefaults(context);
        // Alertmanager's clients read bare texts; amtool says nothing but "no consumer" about a content type that it does not know.
        if (context.HttpContext.Request.Path.StartsWithSegments("/alertmanager"))
        {
            await context.HttpContext.Response.WriteAsJsonAsync(context.ProblemDetails.Detail ?? context.ProblemDetails.Title);
            return;
        }

        await context.HttpContext.Response.WriteAsJsonAsync(context.ProblemDetails, context.ProblemDetails.GetType(), options: null, "application/problem+json");
    }

    private static void ProblemDetailsDefaults(ProblemDetailsContext context)
    {
        var problem = context.ProblemDetails;
        problem.Status ??= context.HttpContext.Response.StatusCode;
        problem.Title ??= Microsoft.AspNetCore.WebUtilities.ReasonPhrases.GetReasonPhrase(problem.Status.Value);
        problem.Type ??= "about:blank";
        problem.Instance ??= context.HttpContext.Request.Path;
        context.HttpContext.RequestServices.GetRequiredService<Microsoft.Extensions.Options.IOptions<ProblemDetailsOptions>>().Value.CustomizeProblemDetails?.Invoke(context);
    }
}
