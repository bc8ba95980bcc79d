using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Events;

/// <param name="Ids">In the order of the request.</param>
public sealed record EventsAccepted(int Count, IReadOnlyList<Guid> Ids);

/// <summary><c>POST</c> and <c>GET /api/v1/monitoring/events</c>, and the counts that other services ask for.</summary>
public static class EventsApi
{
    public static IEndpointRouteBuilder MapEvents(this IEndpointRouteBuilder app)
    {
        var events = app.MapGroup("/api/v1/monitoring/events").WithTags("Events");
        events.MapPost("/", CreateAsync)
            .RequireAuthorization(Access.Ingest)
            .Accepts<JsonElement>("application/json", "application/x-ndjson")
            .WithSummary("Send one event, an array of events, or NDJSON. 201 means committed.");
        events.MapGet("/", ListAsync).TakesQuery(EventQuery.TagPrefix).RequireAuthorization(Access.UserRead).WithSummary("Find events by type, source, level, time and tags.");
        app.MapGet("/internal/events/actions", CountActionsAsync).RequireAuthorization(Access.Service).ExcludeFromDescription();
        return app;
    }

    private static async Task<Results<Created<Envelope<EventsAccepted>>, ProblemHttpResult>> CreateAsync(
        HttpContext context, Caller caller, EventParser parser, EventWriter writer, EventOptions options, TimeProvider clock, CancellationToken ct)
    {
        if (await ReadBodyAsync(context.Request, options, ct) is not { } body)
        {
            return TypedResults.Problem(
                $"The body is larger than {options.MaxRequestBytes} bytes (MONITORING_EVENT_MAX_REQUEST_BYTES). Send the events in several requests.",
                statusCode: StatusCodes.Status413PayloadTooLarge);
        }

        var (events, faults) = parser.Parse(body.WrittenSpan, caller.RealmOfNewData, clock.GetUtcNow());
        if (events is null)
        {
            return Rejected(faults);
        }

        var key = IdempotencyKeyOf(context.Request, caller, body.WrittenSpan, out var badKey);
        if (badKey)
        {
            return Rejected([new EventFault("Idempotency-Key", "Has 1 to 255 characters.")]);
        }

        switch (await writer.WriteAsync(new EventRequest(events, caller.RealmOfNewData, key), ct))
        {
            case EventsWritten.Stored stored:
                var ids = new Guid[stored.Count];
                for (var index = 0; index < ids.Length; index++)
                {
                    ids[index] = ParsedEvents.IdAt(stored.FirstId, index);
                }

                if (stored.Replayed)
                {
                    context.Response.Headers["Idempotency-Replayed"] = "true";
                }

                return TypedResults.Created((string?)null, Envelope.Of(new EventsAccepted(ids.Length, ids)));
            case EventsWritten.KeyReused:
                return TypedResults.Problem("The Idempotency-Key was used before with another body. Use a new key for new events.", statusCode: StatusCodes.Status422UnprocessableEntity);
            case EventsWritten.Refused refused:
                return Rejected([new EventFault("", $"The database refused the events: {refused.Reason}.")]);
            default:
                context.Response.Headers.RetryAfter = "1";
                return TypedResults.Problem("More events are waiting to be stored than fit the queue (MONITORING_EVENT_QUEUE_BYTES). Nothing of this request was stored; send it again.", statusCode: StatusCodes.Status429TooManyRequests);
        }
    }

    private static ProblemHttpResult Rejected(IReadOnlyList<EventFault> faults) =>
        TypedResults.Problem(
            "Nothing of the request was stored.",
            statusCode: faults.All(fault => fault.TooLarge) ? StatusCodes.Status413PayloadTooLarge : StatusCodes.Status400BadRequest,
            title: "The events are not valid.",
            extensions: new Dictionary<string, object?>
            {
                ["errors"] = faults.GroupBy(fault => fault.Path).ToDictionary(group => group.Key, group => group.Select(fault => fault.Message).ToArray()),
            });

    private static async Task<ArrayBufferWriter<byte>?> ReadBodyAsync(HttpRequest request, EventOptions options, CancellationToken ct)
    {
        if (request.ContentLength > options.MaxRequestBytes)
        {
            return null;
        }

        var body = new ArrayBufferWriter<byte>((int)Math.Max(request.ContentLength ?? 0, 4096));
        while (true)
        {
            var read = await request.Body.ReadAsync(body.GetMemory(4096), ct);
            if (read == 0)
            {
                return body;
            }

            body.Advance(read);
            if (body.WrittenCount > options.MaxRequestBytes)
            {
                return null;
            }
        }
    }

    // The draft standard writes the key as a quoted string; bare ones are common and taken as well.
    private static IdempotencyKey? IdempotencyKeyOf(HttpRequest request, Caller caller, ReadOnlySpan<byte> body, out bool bad)
    {
        bad = false;
        if (!request.Headers.TryGetValue("Idempotency-Key", out var header))
        {
            return null;
        }

        var key = header.ToString().Trim('"');
        bad = key.Length is 0 or > 255;
        return bad ? null : new IdempotencyKey(caller.Subject, key, SHA256.HashData(body));
    }

    private static async Task<Results<Ok<Envelope<Page<EventRecord>>>, ValidationProblem>> ListAsync(
        [AsParameters] EventQueryText asked, HttpRequest request, Caller caller, EventStore store, CancellationToken ct)
    {
        var (query, errors) = EventQuery.Parse(asked, request.Query, caller.RealmFilter);
        if (query is null)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var (items, next) = await store.ListAsync(query, ct);
        return TypedResults.Ok(Envelope.Page(items, next));
    }

    private static async Task<Ok<Envelope<List<ActionCount>>>> CountActionsAsync(
        Caller caller, DateTimeOffset from, DateTimeOffset to, EventStore store, CancellationToken ct) =>
        TypedResults.Ok(Envelope.Of(await store.CountActionsAsync(caller.RealmFilter, from.ToUniversalTime(), to.ToUniversalTime(), ct)));
}
