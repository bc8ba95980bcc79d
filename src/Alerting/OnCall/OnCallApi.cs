using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Alerting.OnCall;

/// <summary>Who is on call by a schedule now.</summary>
/// <param name="User">Null: nobody, a gap.</param>
/// <param name="Until">When that may change; at most a week ahead.</param>
public sealed record OnCallNow(Guid ScheduleId, string Realm, string Schedule, string? User, string? DisplayName, string? Layer, DateTimeOffset Until);

/// <param name="Gaps">The shifts of nobody, apart, so that they are not overlooked.</param>
public sealed record ShiftList(IReadOnlyList<Shift> Shifts, IReadOnlyList<Shift> Gaps);

/// <summary>Users, schedules with their overrides, escalation policies, and who is on call.</summary>
public static class OnCallApi
{
    private const string Prefix = "/api/v1/monitoring";
    private const int LargestPage = 500;
    private static readonly TimeSpan LongestView = TimeSpan.FromDays(100);

    public static IHostApplicationBuilder AddOnCall(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<OnCallOptions>();
        builder.Services.AddSingleton<OnCallStore>();
        builder.AddSettings<WatchdogOptions>();
        builder.Services.AddSingleton<PersonalChannels>();
        builder.Services.AddSingleton<OnCallMetrics>();
        builder.Services.AddSingleton<EscalationStore>();
        builder.Services.AddSingleton<EscalationWorker>();
        builder.Services.AddHostedService(services => services.GetRequiredService<EscalationWorker>());
        builder.Services.AddHostedService<EscalationWatchdog>();
        return builder;
    }

    public static IEndpointRouteBuilder MapOnCall(this IEndpointRouteBuilder app)
    {
        var read = app.MapGroup(Prefix).WithTags("On call").RequireAuthorization(Access.UserRead);
        var write = app.MapGroup(Prefix).WithTags("On call").RequireAuthorization(Access.ModeratorWrite);
        // The methods of a user are channels, and a channel takes data out of the platform: that is for admins.
        MapPlans<OnCallUserBody>(read, app.MapGroup(Prefix).WithTags("On call").RequireAuthorization(Access.AdminWrite), "/on-call/users", "user, who can be on call and how to reach them", """
            {"name": "anna", "display_name": "Anna Weber", "time_zone": "Europe/Berlin", "contact_methods": [{"name": "phone", "type": "ntfy", "target": "anna-5f1c"}, {"name": "mail", "type": "email", "target": "anna@example.com"}],
             "high_urgency": [{"method": "phone"}, {"method": "mail", "after_seconds": 120}], "low_urgency": [{"method": "mail"}], "quiet_hours": [{"from": "22:00", "to": "07:00"}]}
            """);
        MapPlans<ScheduleBody>(read, write, "/schedules", "schedule of whose turn it is", """
            {"name": "primary", "time_zone": "Europe/Berlin", "layers": [{"every": 1, "unit": "weeks", "weekday": "monday", "handover": "09:00", "starts_on": "2026-03-02", "participants": ["anna", "bob"]}]}
            """);
        MapPlans<EscalationPolicyBody>(read, write, "/escalation-policies", "escalation policy of who is told next while nobody acknowledges", """
            {"name": "backend", "repeat": 1, "steps": [{"targets": [{"type": "schedule", "name": "primary"}], "escalate_after_seconds": 300}, {"targets": [{"type": "user", "name": "carla"}, {"type": "channel", "name": "slack"}]}]}
            """);

        read.MapGet("/alerts/{id:guid}/escalation", EscalationAsync).WithSummary("The escalations of an alert: steps taken and due, whom each told.");
        read.MapGet("/on-call", NowAsync).WithSummary("Who is on call now by every schedule, and until when.");
        read.MapGet("/schedules/{id:guid}/shifts", ShiftsAsync).WithSummary("Who is on call when, and the gaps; four weeks from now unless asked otherwise.");
        read.MapGet("/schedules/{id:guid}/overrides", OverridesAsync).WithSummary("Overrides of a schedule.");
        write.MapPost("/schedules/{id:guid}/overrides", OverrideAsync).WithSummary("Somebody takes over for a while; the newest override counts.")
            .WithExample("""{"user": "bob", "from": "2026-03-05T08:00:00Z", "to": "2026-03-06T08:00:00Z", "reason": "dentist"}""");
        write.MapDelete("/schedules/{id:guid}/overrides/{number:guid}", EndOverrideAsync).WithSummary("Take an override back; one that runs ends now.");
        return app;
    }

    private static void MapPlans<TBody>(RouteGroupBuilder read, RouteGroupBuilder write, string path, string what, string example) where TBody : IPlanBody
    {
        var kind = TBody.Kind;
        read.MapGet(path, (Caller caller, OnCallStore store, CancellationToken ct, string? cursor = null, int limit = 100) => ListAsync(kind, caller, store, cursor, limit, ct))
            .WithSummary($"Every {what}; oldest first.");
        read.MapGet($"{path}/{{id:guid}}", (Guid id, Caller caller, OnCallStore store, CancellationToken ct) => FindAsync(kind, id, caller, store, ct))
            .WithSummary($"One {what}.");
        write.MapPost(path, CreateAsync<TBody>).WithSummary($"Make one {what}.").WithExample(example);
        write.MapPut($"{path}/{{id:guid}}", ChangeAsync<TBody>).WithSummary($"Change one {what}. The body is the whole of it; the name stays.").WithExample(example);
        write.MapDelete($"{path}/{{id:guid}}", (Guid id, Caller caller, PersonalChannels personal, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct) =>
            DeleteAsync(kind, id, caller, personal, db, clock, ct))
            .WithSummary($"Delete one {what}. Refused while something names it.");
    }

    private static async Task<Results<Ok<Envelope<Page<JsonObject>>>, ValidationProblem>> ListAsync(
        PlanKind kind, Caller caller, OnCallStore store, string? cursor, int limit, CancellationToken ct)
    {
        Cursor? after = null;
        if (cursor is not null && !Cursor.TryParse(cursor, out after))
        {
            return Wrong("cursor", "A next_cursor of an earlier answer.");
        }

        var size = Math.Clamp(limit, 1, LargestPage);
        var page = await store.ListAsync(kind, caller.RealmFilter, after, size + 1, ct);
        var next = page.Count > size ? new Cursor(page[size - 1].CreatedAt, page[size - 1].Id).ToString() : null;
        return TypedResults.Ok(Envelope.Page<JsonObject>([.. page.Take(size).Select(Show)], next));
    }

    private static async Task<Results<Ok<Envelope<JsonObject>>, NotFound, ProblemHttpResult>> FindAsync(PlanKind kind, Guid id, Caller caller, OnCallStore store, CancellationToken ct) =>
        await store.FindAsync(kind, id, ct) is not { } plan ? TypedResults.NotFound()
        : !MayRead(caller, plan) ? Access.ForeignRealm(caller, plan.Realm)
        : TypedResults.Ok(Envelope.Of(Show(plan)));

    private static async Task<Results<Created<Envelope<JsonObject>>, ValidationProblem, ProblemHttpResult>> CreateAsync<TBody>(
        TBody body, Caller caller, PersonalChannels personal, OnCallOptions options, NpgsqlDataSource db, TimeProvider clock, HttpContext http, CancellationToken ct)
        where TBody : IPlanBody
    {
        var realm = body.Realm ?? caller.RealmOfNewData;
        if (!caller.Reaches(realm))
        {
            return Access.RealmOutOfReach(caller, realm);
        }

        var faults = new Faults();
        var draft = body.Check(faults);
        if (draft is null)
        {
            return TypedResults.ValidationProblem(faults.All);
        }

        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await OnCallStore.LockForChangeAsync(tx, ct);
        if (await OnCallStore.CountAsync(tx, TBody.Kind, realm, ct) >= options.MaxEntries)
        {
            return TypedResults.Problem($"The realm {realm} has {options.MaxEntries} already. Delete some, or raise ALERT_ON_CALL_MAX_ENTRIES.", statusCode: StatusCodes.Status409Conflict, title: "Too many");
        }

        await CheckNamedAsync(tx, realm, draft, personal, faults, ct);
        var plan = new Plan(Guid.CreateVersion7(now), realm, TBody.Kind, draft.Name, Text(draft), 1, caller.Subject, now, now);
        if (faults.All.Count == 0 && !await OnCallStore.InsertAsync(tx, plan, Refers(draft), ct))
        {
            return TypedResults.Problem($"The realm {realm} already has the {Word(plan)} {draft.Name}. Choose another name, or change that one.", statusCode: StatusCodes.Status409Conflict, title: "The name is taken");
        }

        await SaveChannelsAsync(tx, plan, draft, personal, caller, faults, now, ct);
        if (faults.All.Count > 0)
        {
            return TypedResults.ValidationProblem(faults.All);
        }

        await tx.SendAsync(Did(caller, plan, "created", now), ct);
        await tx.CommitAsync(ct);
        return TypedResults.Created($"{http.Request.Path.Value!.TrimEnd('/')}/{plan.Id}", Envelope.Of(Show(plan)));
    }

    private static async Task<Results<Ok<Envelope<JsonObject>>, NotFound, ValidationProblem, ProblemHttpResult>> ChangeAsync<TBody>(
        Guid id, TBody body, Caller caller, PersonalChannels personal, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
        where TBody : IPlanBody
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await OnCallStore.LockForChangeAsync(tx, ct);
        if (!caller.MayChange(await OnCallStore.FindForChangeAsync(tx, TBody.Kind, id, ct), out var old, out var refusal))
        {
            return refusal;
        }

        var faults = new Faults();
        if (body.Check(faults) is not { } draft)
        {
            return TypedResults.ValidationProblem(faults.All);
        }

        if (body.Version is { } from && from != old.Version)
        {
            return TypedResults.Problem($"It is at version {old.Version}, your change was made from version {from}. Read it again and repeat the change.", statusCode: StatusCodes.Status409Conflict, title: "Somebody else changed it");
        }

        faults.Require("name", draft.Name == old.Name, $"\"{old.Name}\": others refer to it by its name, which cannot change. Make a new one instead.");
        await CheckNamedAsync(tx, old.Realm, draft, personal, faults, ct);
        var plan = old with { Document = Text(draft), Version = old.Version + 1, UpdatedAt = now };
        await SaveChannelsAsync(tx, plan, draft, personal, caller, faults, now, ct);
        if (faults.All.Count > 0)
        {
            return TypedResults.ValidationProblem(faults.All);
        }

        if (plan.Kind == PlanKind.User)
        {
            var kept = draft.Methods.Select(method => method.Name).ToHashSet();
            await personal.DeleteAsync(tx, plan.Realm, plan.Name, old.As<OnCallUser>().ContactMethods.Where(method => !kept.Contains(method.Name)), ct);
        }

        await OnCallStore.UpdateAsync(tx, plan, Refers(draft), ct);
        await tx.SendAsync(Did(caller, plan, "changed", now), ct);
        await tx.CommitAsync(ct);
        return TypedResults.Ok(Envelope.Of(Show(plan)));
    }

    private static async Task<Results<NoContent, NotFound, ProblemHttpResult>> DeleteAsync(
        PlanKind kind, Guid id, Caller caller, PersonalChannels personal, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RoutingStore.LockForChangeAsync(tx, ct);
        await OnCallStore.LockForChangeAsync(tx, ct);
        if (!caller.MayChange(await OnCallStore.FindForChangeAsync(tx, kind, id, ct), out var plan, out var refusal))
        {
            return refusal;
        }

        var users = await OnCallStore.NamedByAsync(tx, plan, ct);
        // A realm's own policy may hide one of all realms, which its receivers climb from then on.
        if (kind == PlanKind.Policy && (plan.Realm == Realm.All || await OnCallStore.FindAsync(tx, kind, Realm.All, plan.Name, ct) is null))
        {
            users.AddRange(await RoutingStore.ReceiversOfPolicyAsync(tx, plan.Realm, plan.Name, ct));
        }

        if (users.Count > 0)
        {
            return TypedResults.Problem($"Named by {string.Join(", ", users)}. Take it out there first.", statusCode: StatusCodes.Status409Conflict, title: "It is in use");
        }

        if (kind == PlanKind.User)
        {
            await personal.DeleteAsync(tx, plan.Realm, plan.Name, plan.As<OnCallUser>().ContactMethods, ct);
        }

        await OnCallStore.DeleteAsync(tx, id, ct);
        await tx.SendAsync(Did(caller, plan, "deleted", clock.GetUtcNow()), ct);
        await tx.CommitAsync(ct);
        return TypedResults.NoContent();
    }

    private static async Task<Ok<Envelope<Page<OnCallNow>>>> NowAsync(Caller caller, OnCallStore store, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var horizon = now.AddDays(7);
        var schedules = await store.ListAsync(PlanKind.Schedule, caller.RealmFilter, null, LargestPage, ct);
        var overrides = (await store.OverridesAsync([.. schedules.Select(plan => plan.Id)], now, horizon, ct)).ToLookup(one => one.Schedule, one => one.Override);
        var names = new Dictionary<(string, string), string>();
        foreach (var user in await store.ListAsync(PlanKind.User, caller.RealmFilter, null, int.MaxValue, ct))
        {
            names[(user.Realm, user.Name)] = user.As<OnCallUser>().DisplayName;
        }

        return TypedResults.Ok(Envelope.Page<OnCallNow>([.. schedules.Select(plan =>
        {
            ct.ThrowIfCancellationRequested();
            var shift = plan.As<Schedule>().ShiftAt([.. overrides[plan.Id]], now, horizon);
            var name = shift.User is { } user ? names.GetValueOrDefault((plan.Realm, user)) ?? names.GetValueOrDefault((Realm.All, user)) ?? user : null;
            return new OnCallNow(plan.Id, plan.Realm, plan.Name, shift.User, name, shift.Layer, shift.To);
        })], null));
    }

    private static async Task<Results<Ok<Envelope<Page<Escalation>>>, NotFound, ProblemHttpResult>> EscalationAsync(Guid id, Caller caller, EscalationStore escalations, Alerts.AlertStore alerts, CancellationToken ct) =>
        await alerts.FindAsync(id, ct) is not { } alert ? TypedResults.NotFound()
        : !caller.Reaches(alert.Realm) ? Access.ForeignRealm(caller, alert.Realm)
        : TypedResults.Ok(Envelope.Page<Escalation>(await escalations.OfAlertAsync(id, ct), null));

    private static async Task<Results<Ok<Envelope<ShiftList>>, NotFound, ValidationProblem, ProblemHttpResult>> ShiftsAsync(
        Guid id, Caller caller, OnCallStore store, TimeProvider clock, CancellationToken ct, string? from = null, string? to = null)
    {
        if (await store.FindAsync(PlanKind.Schedule, id, ct) is not { } plan)
        {
            return TypedResults.NotFound();
        }

        if (!MayRead(caller, plan))
        {
            return Access.ForeignRealm(caller, plan.Realm);
        }

        var start = from is null ? clock.GetUtcNow() : Alerts.QueryTime.Parse(from);
        var end = to is null ? start?.AddDays(28) : Alerts.QueryTime.Parse(to);
        if (start is not { } first || end is not { } last || last <= first || last - first > LongestView)
        {
            return TypedResults.ValidationProblem(new Dictionary<string, string[]>
            {
                [start is null ? "from" : "to"] = [$"{Alerts.QueryTime.Expected} to is after from, and at most {LongestView.TotalDays:0} days after it."],
            });
        }

        var schedule = plan.As<Schedule>();
        if (schedule.IsTooFine(first, last))
        {
            return TypedResults.Problem(
                $"More than {Schedule.MostEdges} turns and hours of the schedule begin or end in this time. Choose a shorter one, or give the schedule fewer layers and restrictions.",
                statusCode: StatusCodes.Status422UnprocessableEntity, title: "The schedule is too fine for so long a time");
        }

        var overrides = (await store.OverridesAsync([id], first, last, ct)).ConvertAll(one => one.Override);
        var shifts = schedule.Shifts(overrides, first, last, ct);
        return TypedResults.Ok(Envelope.Of(new ShiftList(shifts, [.. shifts.Where(shift => shift.User is null)])));
    }

    private static async Task<Results<Ok<Envelope<Page<Override>>>, NotFound, ProblemHttpResult>> OverridesAsync(Guid id, Caller caller, OnCallStore store, TimeProvider clock, CancellationToken ct) =>
        await store.FindAsync(PlanKind.Schedule, id, ct) is not { } plan ? TypedResults.NotFound()
        : !MayRead(caller, plan) ? Access.ForeignRealm(caller, plan.Realm)
        : TypedResults.Ok(Envelope.Page<Override>((await store.OverridesAsync([id], clock.GetUtcNow(), DateTimeOffset.MaxValue, ct)).ConvertAll(one => one.Override), null));

    private static async Task<Results<Created<Envelope<Override>>, NotFound, ValidationProblem, ProblemHttpResult>> OverrideAsync(
        Guid id, OverrideBody body, Caller caller, OnCallOptions options, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await OnCallStore.LockForChangeAsync(tx, ct);
        if (!caller.MayChange(await OnCallStore.FindForChangeAsync(tx, PlanKind.Schedule, id, ct), out var plan, out var refusal))
        {
            return refusal;
        }

        var faults = new Faults();
        var made = body.Check(faults, caller.Subject, now);
        if (made is not null && await OnCallStore.FindAsync(tx, PlanKind.User, plan.Realm, made.User, ct) is null)
        {
            faults.Require("user", false, $"No user of the realm {plan.Realm} has the name {made.User}.");
        }

        if (made is null || faults.All.Count > 0)
        {
            return TypedResults.ValidationProblem(faults.All);
        }

        if (await OnCallStore.CountOverridesAsync(tx, id, now, ct) >= options.MaxEntries)
        {
            return TypedResults.Problem($"The schedule has {options.MaxEntries} overrides that are not over. Delete some, or raise ALERT_ON_CALL_MAX_ENTRIES.", statusCode: StatusCodes.Status409Conflict, title: "Too many");
        }

        await OnCallStore.InsertAsync(tx, id, made, ct);
        await tx.SendAsync(caller.Did("schedule.overridden", "schedule", id.ToString(), now, plan.Realm, Describe(plan, made)), ct);
        await tx.CommitAsync(ct);
        return TypedResults.Created($"{Prefix}/schedules/{id}/overrides/{made.Id}", Envelope.Of(made));
    }

    private static async Task<Results<NoContent, NotFound, ProblemHttpResult>> EndOverrideAsync(
        Guid id, Guid number, Caller caller, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await OnCallStore.LockForChangeAsync(tx, ct);
        if (!caller.MayChange(await OnCallStore.FindForChangeAsync(tx, PlanKind.Schedule, id, ct), out var plan, out var refusal))
        {
            return refusal;
        }

        if (!await OnCallStore.EndOverrideAsync(tx, id, number, now, ct))
        {
            return TypedResults.NotFound();
        }

        await tx.SendAsync(caller.Did("schedule.override_ended", "schedule", id.ToString(), now, plan.Realm, new Dictionary<string, string> { ["name"] = plan.Name, ["override"] = number.ToString() }), ct);
        await tx.CommitAsync(ct);
        return TypedResults.NoContent();
    }

    // What stands in realm * is part of every realm: everybody may read it, only callers of all realms change it.
    private static bool MayRead(Caller caller, Plan plan) => plan.Realm == Realm.All || caller.Reaches(plan.Realm);

    private static async Task CheckNamedAsync(NpgsqlTransaction tx, string realm, Draft draft, PersonalChannels personal, Faults faults, CancellationToken ct)
    {
        var missing = await OnCallStore.MissingAsync(tx, realm, Refers(draft), ct);
        foreach (var (place, reference) in draft.Refers.Where(one => missing.Contains(one.Reference)))
        {
            faults.Require(place, false, $"The realm {realm} has no {reference.Replace(":", " ", StringComparison.Ordinal)}. Make it first.");
        }

        var unknown = await personal.MissingAsync(tx, realm, [.. draft.Channels.Select(one => one.Channel)], ct);
        foreach (var (place, channel) in draft.Channels.Where(one => unknown.Contains(one.Channel)))
        {
            faults.Require(place, false, $"The realm {realm} has no channel {channel}. Make it first.");
        }
    }

    private static async Task SaveChannelsAsync(NpgsqlTransaction tx, Plan plan, Draft draft, PersonalChannels personal, Caller caller, Faults faults, DateTimeOffset now, CancellationToken ct)
    {
        if (plan.Kind == PlanKind.User && faults.All.Count == 0)
        {
            await personal.SaveAsync(tx, plan.Realm, plan.Name, draft.Methods, caller.Subject, faults, now, ct);
        }
    }

    private static string[] Refers(Draft draft) => [.. draft.Refers.Select(one => one.Reference).Distinct()];

    private static string Text(Draft draft) => JsonSerializer.Serialize(draft.Document, draft.Document.GetType(), WireJson.Options);

    private static string Word(Plan plan) => plan.Kind switch { PlanKind.User => "user", PlanKind.Schedule => "schedule", PlanKind.Policy => "escalation policy" };

    private static Audited Did(Caller caller, Plan plan, string verb, DateTimeOffset now)
    {
        var type = plan.Kind switch { PlanKind.User => "on_call_user", PlanKind.Schedule => "schedule", PlanKind.Policy => "escalation_policy" };
        return caller.Did($"{type}.{verb}", type, plan.Id.ToString(), now, plan.Realm, new Dictionary<string, string> { ["name"] = plan.Name, ["version"] = $"{plan.Version}" });
    }

    private static Dictionary<string, string> Describe(Plan plan, Override one) => new()
    {
        ["name"] = plan.Name,
        ["override"] = one.Id.ToString(),
        ["user"] = one.User,
        ["from"] = one.From.ToString("O"),
        ["to"] = one.To.ToString("O"),
        ["reason"] = one.Reason,
    };

    // The document itself, with what the platform knows of it beside.
    private static JsonObject Show(Plan plan)
    {
        var shown = new JsonObject { ["id"] = plan.Id, ["realm"] = plan.Realm };
        foreach (var (name, value) in JsonNode.Parse(plan.Document)!.AsObject())
        {
            shown[name] = value?.DeepClone();
        }

        shown["version"] = plan.Version;
        shown["created_by"] = plan.CreatedBy;
        shown["created_at"] = plan.CreatedAt;
        shown["updated_at"] = plan.UpdatedAt;
        return shown;
    }

    private static ValidationProblem Wrong(string field, string expected) => TypedResults.ValidationProblem(new Dictionary<string, string[]> { [field] = [expected] });
}
