using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.Incidents.Lifecycle;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Incidents.Timeline;

/// <summary><c>GET /api/v1/monitoring/incidents/{id}/timeline</c>.</summary>
public static class TimelineApi
{
    private const int MaxLimit = 500;

    public static IHostApplicationBuilder AddTimeline(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<TimelineOptions>();
        builder.Services.AddSingleton<TimelineStore>();
        builder.Services.AddSingleton<TimelineReader>();
        builder.AddConsumer<HealthChanged, NoteHealthOnHealthChanged>();
        builder.AddConsumer<Audited, NoteDeedOnAudited>();
        builder.Services.AddHostedService<ForgetOldEntries>();
        return builder;
    }

    public static IEndpointRouteBuilder MapTimeline(this IEndpointRouteBuilder app)
    {
        app.MapGet($"{IncidentsApi.Path}/{{id:guid}}/timeline", ReadAsync).WithTags("Incidents").RequireAuthorization(Access.UserRead);
        return app;
    }

    /// <param name="id">The incident.</param>
    /// <param name="limit">Most entries of a page, up to 500; 100 unless given.</param>
    /// <param name="offset">Entries to leave out at the start, up to 400; for more use <paramref name="cursor"/>.</param>
    /// <param name="cursor">The <c>next_cursor</c> of the page before.</param>
    /// <param name="order"><c>asc</c>, oldest first, or <c>desc</c>.</param>
    /// <param name="events"><c>related</c> or <c>all</c>.</param>
    /// <param name="kinds">Which kinds of entries, separated by commas; all unless given.</param>
    private static async Task<Results<Ok<Envelope<TimelinePage>>, NotFound, ValidationProblem, ProblemHttpResult>> ReadAsync(
        Guid id, Caller caller, IncidentStore incidents, TimelineReader reader, CancellationToken ct,
        string? limit = null, string? offset = null, string? cursor = null, string? order = null, string? events = null, string? kinds = null)
    {
        var input = new QueryInput();
        var most = input.Number("limit", limit, fallback: 100, from: 1, to: MaxLimit);
        var skip = input.Number("offset", offset, fallback: 0, from: 0, to: 400);
        if (order is not (null or "" or "asc" or "desc"))
        {
            input.Fail("order", order, "asc or desc");
        }

        var choice = input.Words<EventChoice>("events", events);
        if (choice.Count > 1)
        {
            input.Fail("events", events!, "related or all");
        }

        if (skip > 0 && !string.IsNullOrEmpty(cursor))
        {
            input.Fail("offset", offset!, "no offset beside a cursor, which is a place already");
        }

        var chosen = input.Words<EntryKind>("kinds", kinds);
        var query = new TimelineQuery(order == "desc", choice is [var one, ..] ? one : EventChoice.Related, chosen.Count > 0 ? chosen : Enum.GetValues<EntryKind>());
        TimelineCursor? place = null;
        if (!string.IsNullOrEmpty(cursor) && (place = TimelineCursor.Parse(cursor, query)) is null)
        {
            input.Fail("cursor", cursor, "the next_cursor of the page before, unchanged, with the same order, events and kinds");
        }

        if (input.Errors.Count > 0)
        {
            return TypedResults.ValidationProblem(input.Errors);
        }

        if (await incidents.FindAsync(id, ct) is not { } incident)
        {
            return TypedResults.NotFound();
        }

        if (caller.IsRefused(incident) is { } refusal)
        {
            return refusal;
        }

        var page = await reader.ReadAsync(incident, query, place, caller.SeesAll(), skip + most, ct);
        return TypedResults.Ok(Envelope.Of(page with { Items = [.. page.Items.Skip(skip)] }));
    }
}
