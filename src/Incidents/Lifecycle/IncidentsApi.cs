using System.Text.Json;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.Net.Http.Headers;
using Npgsql;
using Platform.Contracts;
using Platform.Incidents.Timeline;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Incidents.Lifecycle;

/// <summary><c>/api/v1/monitoring/incidents</c>: users open incidents and see those that they opened or are assigned to; moderators see and change all of their realm.</summary>
public static class IncidentsApi
{
    public const string Path = "/api/v1/monitoring/incidents";

    public static IHostApplicationBuilder AddLifecycle(this IHostApplicationBuilder builder)
    {
        builder.Services.AddSingleton<IncidentStore>();
        builder.Services.AddSingleton<IncidentChanges>();
        builder.Services.AddSingleton<IncidentMetrics>();
        return builder;
    }

    public static IEndpointRouteBuilder MapIncidents(this IEndpointRouteBuilder app)
    {
        var incidents = app.MapGroup(Path).WithTags("Incidents");
        incidents.MapPost("/", CreateAsync).RequireAuthorization(Access.UserWrite).Accepts<NewIncident>("application/json");
        incidents.MapGet("/", ListAsync).RequireAuthorization(Access.UserRead);
        incidents.MapGet("/{id:guid}", FindAsync).RequireAuthorization(Access.UserRead);
        incidents.MapPut("/{id:guid}", UpdateAsync).RequireAuthorization(Access.ModeratorWrite).Accepts<IncidentUpdate>("application/json");
        incidents.MapPost("/{id:guid}/assign", AssignAsync).RequireAuthorization(Access.ModeratorWrite).Accepts<Assignment>("application/json");
        incidents.MapPost("/{id:guid}/notes", NoteAsync).RequireAuthorization(Access.UserWrite).Accepts<NewNote>("application/json");
        app.MapGet("/internal/incidents/counts", CountAsync).RequireAuthorization(Access.Service).ExcludeFromDescription();
        return app;
    }

    private static async Task<Results<Created<Envelope<Incident>>, ValidationProblem>> CreateAsync(
        JsonElement body, Caller caller, HttpResponse response, NpgsqlDataSource db, IncidentStore store, TimelineStore timeline, IncidentMetrics metrics, TimeProvider clock, CancellationToken ct)
    {
        var (change, errors) = IncidentInput.ReadNew(body);
        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var now = clock.GetUtcNow();
        var incident = new Incident(
            Guid.CreateVersion7(now), caller.RealmOfNewData, change.Title!, change.Description?.Text, change.Severity ?? Severity.Medium, IncidentStatus.Open, null,
            change.AssignedTo?.Text, caller.Subject, null, new Dictionary<string, string>(), now, now, null, null, null, now, 1);

        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await store.TryInsertAsync(tx, incident, ct);
        await timeline.AddAsync(tx, Deeds.Entry(incident, "opened", caller.Subject, "Incident opened", now), ct);
        await tx.SendAsync(caller.Did("incident.created", "incident", incident.Id.ToString(), now, incident.Realm, Deeds.Summary(incident)), ct);
        await tx.CommitAsync(ct);

        metrics.Opened(incident.Severity, byAlert: false);
        Tag(response, incident);
        return TypedResults.Created($"{Path}/{incident.Id}", Envelope.Of(incident));
    }

    private static async Task<Results<Ok<Envelope<Page<Incident>>>, ValidationProblem>> ListAsync(
        Caller caller, IncidentStore store, CancellationToken ct,
        string? status = null, string? severity = null, string? assigned_to = null, string? from = null, string? to = null, string? cursor = null, string? limit = null)
    {
        var query = new QueryInput();
        var filter = new IncidentFilter(
            caller.RealmFilter, caller.SeesAll() ? null : caller.Subject,
            query.Words<IncidentStatus>("status", status), query.Words<Severity>("severity", severity), assigned_to, query.Time("from", from), query.Time("to", to));
        var after = query.Cursor("cursor", cursor, ListCursor.Parse);
        var most = query.Number("limit", limit, fallback: 100, from: 1, to: 500);
        if (query.Errors.Count > 0)
        {
            return TypedResults.ValidationProblem(query.Errors);
        }

        var found = await store.ListAsync(filter, after, most + 1, ct);
        var page = found.Take(most).ToList();
        return TypedResults.Ok(Envelope.Page(page, found.Count > most ? ListCursor.After(page[^1]) : null));
    }

    private static async Task<Results<Ok<Envelope<Incident>>, NotFound, ProblemHttpResult>> FindAsync(
        Guid id, Caller caller, HttpResponse response, IncidentStore store, CancellationToken ct)
    {
        if (await store.FindAsync(id, ct) is not { } incident)
        {
            return TypedResults.NotFound();
        }

        if (caller.IsRefused(incident) is { } refusal)
        {
            return refusal;
        }

        Tag(response, incident);
        return TypedResults.Ok(Envelope.Of(incident));
    }

    private static Task<Results<Ok<Envelope<Incident>>, NotFound, ValidationProblem, ProblemHttpResult>> UpdateAsync(
        Guid id, JsonElement body, Caller caller, HttpContext http, IncidentChanges changes, CancellationToken ct)
    {
        var (change, errors) = IncidentInput.ReadUpdate(body);
        return ChangeAsync("incident.updated", id, change, errors, caller, http, changes, ct);
    }

    private static Task<Results<Ok<Envelope<Incident>>, NotFound, ValidationProblem, ProblemHttpResult>> AssignAsync(
        Guid id, JsonElement body, Caller caller, HttpContext http, IncidentChanges changes, CancellationToken ct)
    {
        var (change, errors) = IncidentInput.ReadAssignment(body);
        return ChangeAsync("incident.assigned", id, change, errors, caller, http, changes, ct);
    }

    private static async Task<Results<Ok<Envelope<Incident>>, NotFound, ValidationProblem, ProblemHttpResult>> ChangeAsync(
        string action, Guid id, IncidentChange change, IDictionary<string, string[]> errors, Caller caller, HttpContext http, IncidentChanges changes, CancellationToken ct)
    {
        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var outcome = await changes.ApplyAsync(action, id, change, http.Request.Headers.IfMatch.ToString(), caller, ct);
        if (outcome.Incident is { } incident)
        {
            Tag(http.Response, incident);
            return TypedResults.Ok(Envelope.Of(incident));
        }

        return outcome.Refusal is { } refusal ? refusal : TypedResults.NotFound();
    }

    private static async Task<Results<Created, NotFound, ValidationProblem, ProblemHttpResult>> NoteAsync(
        Guid id, JsonElement body, Caller caller, IncidentChanges changes, CancellationToken ct)
    {
        var (text, errors) = IncidentInput.ReadNote(body);
        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var outcome = await changes.NoteAsync(id, text, caller, ct);
        return outcome.Incident is not null ? TypedResults.Created($"{Path}/{id}/timeline")
            : outcome.Refusal is { } refusal ? refusal
            : TypedResults.NotFound();
    }

    private static async Task<Ok<Envelope<IncidentCounts>>> CountAsync(
        Caller caller, IncidentStore store, CancellationToken ct, DateTimeOffset? from = null, DateTimeOffset? to = null) =>
        TypedResults.Ok(Envelope.Of(await store.CountAsync(
            caller.RealmFilter, (from ?? DateTimeOffset.UnixEpoch).ToUniversalTime(), (to ?? DateTimeOffset.MaxValue).ToUniversalTime(), ct)));

    private static void Tag(HttpResponse response, Incident incident) => response.Headers[HeaderNames.ETag] = $"\"{incident.Version}\"";
}

/// <summary>Who may see an incident.</summary>
internal static class Visibility
{
    /// <summary>Everything of the realm, not only what is one's own.</summary>
    public static bool SeesAll(this Caller caller) => caller.Role is Role.Service || caller.IsAtLeast(Role.Moderator);

    /// <summary>403 when the incident is in another realm, or another user's; null when it may be seen.</summary>
    public static ProblemHttpResult? IsRefused(this Caller caller, Incident incident) =>
        !caller.Reaches(incident.Realm) ? Access.ForeignRealm(caller, incident.Realm)
        : caller.SeesAll() || incident.CreatedBy == caller.Subject || incident.AssignedTo == caller.Subject ? null
        : Access.Forbidden("Missing: the role moderator or admin. Users see the incidents that they opened or are assigned to; ask a moderator to assign this one to you.");
}
