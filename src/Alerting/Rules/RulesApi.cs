using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Detections;
using Platform.Alerting.Routing;
using Platform.Alerting.RuleGroups;
using Platform.Alerting.Windows;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Rules;

/// <summary>Create, read, change and delete rules. A change reaches every replica with the first batch of events after its commit.</summary>
public static class RulesApi
{
    private const int LargestPage = 500;

    public static IHostApplicationBuilder AddRules(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<DetectionOptions>();
        builder.Services.AddSingleton<RuleStore>();
        builder.Services.AddSingleton<DefaultRules>();
        builder.Services.AddHostedService(services => services.GetRequiredService<DefaultRules>());
        return builder;
    }

    public static IEndpointRouteBuilder MapRules(this IEndpointRouteBuilder app)
    {
        var read = app.MapGroup("/api/v1/monitoring").WithTags("Rules").RequireAuthorization(Access.ModeratorRead);
        read.MapGet("/rules", ListAsync).WithSummary("Rules over events, oldest first: the realm's own and those of all realms.");
        read.MapGet("/rules/{id:guid}", FindAsync).AddEndpointFilter(SimpleRules.TakeKnownAsync).WithSummary("One rule over events, or with a query.");

        var write = app.MapGroup("/api/v1/monitoring").WithTags("Rules").RequireAuthorization(Access.ModeratorWrite);
        write.MapPost("/alerts", CreateAsync).AddEndpointFilter(SimpleRules.TakeNewAsync).WithSummary("Make a rule: with query one in PromQL, with match one over events. The same as POST …/rules.")
            .WithExample("""{"name": "cpu", "query": "cpu_usage", "threshold_value": 80, "for": "5m", "severity": "high"}""");
        write.MapPost("/rules", CreateAsync).AddEndpointFilter(SimpleRules.TakeNewAsync).WithSummary("Make a rule: with match one over events, with query one in PromQL.")
            .WithExample("""{"name": "password guessing", "match": {"tags": {"action": "login", "outcome": "failure"}}, "threshold": 5, "window_seconds": 300, "group_by": ["tags.ip_address"], "severity": "high"}""");
        write.MapPost("/rules/restore-defaults", RestoreDefaultsAsync).WithSummary("Make the built-in rules again, as the settings say.");
        write.MapPut("/rules/{id:guid}", ChangeAsync).AddEndpointFilter(SimpleRules.TakeKnownAsync).WithSummary("Change a rule; the body is the whole rule, version guards against overwriting another's change.")
            .WithExample("""{"name": "password guessing", "match": {"tags": {"action": "login", "outcome": "failure"}}, "threshold": 5, "window_seconds": 300, "group_by": ["tags.ip_address"], "severity": "high"}""");
        write.MapDelete("/rules/{id:guid}", DeleteAsync).AddEndpointFilter(SimpleRules.TakeKnownAsync).WithSummary("Delete a rule; its alerts resolve.");
        return app;
    }

    private static async Task<Results<Ok<Envelope<Page<Rule>>>, ValidationProblem>> ListAsync(
        Caller caller, RuleStore rules, HttpResponse response, CancellationToken ct, string? cursor = null, int limit = 100)
    {
        // These count events; those with a query are listed in their groups.
        response.Headers.Link = "</api/v1/monitoring/rule-groups>; rel=\"related\"";
        Cursor? after = null;
        if (cursor is not null && !Cursor.TryParse(cursor, out after))
        {
            return Wrong("cursor", "A next_cursor of an earlier answer.");
        }

        var size = Math.Clamp(limit, 1, LargestPage);
        var page = await rules.ListAsync(caller.RealmFilter, after, size + 1, ct);
        var next = page.Count > size ? new Cursor(page[size - 1].CreatedAt, page[size - 1].Id).ToString() : null;
        return TypedResults.Ok(Envelope.Page<Rule>([.. page.Take(size)], next));
    }

    private static async Task<Results<Ok<Envelope<Rule>>, NotFound, ProblemHttpResult>> FindAsync(Guid id, Caller caller, RuleStore rules, CancellationToken ct) =>
        await rules.FindAsync(id, ct) is not { } rule ? TypedResults.NotFound()
        : rule.Realm != Realm.All && !caller.Reaches(rule.Realm) ? Access.ForeignRealm(caller, rule.Realm)
        : TypedResults.Ok(Envelope.Of(rule));

    private static async Task<Results<Created<Envelope<Rule>>, ValidationProblem, ProblemHttpResult>> CreateAsync(
        RuleBody body, Caller caller, RuleStore rules, WindowOptions windows, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var realm = body.Realm ?? caller.RealmOfNewData;
        if (!caller.Reaches(realm))
        {
            return Access.RealmOutOfReach(caller, realm);
        }

        var now = clock.GetUtcNow();
        var (rule, errors) = body.Check(Guid.CreateVersion7(now), realm, caller.Subject, now);
        if (rule is null)
        {
            return TypedResults.ValidationProblem(errors);
        }

        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RuleStore.LockForChangeAsync(tx, ct);
        if (await RuleStore.CountAsync(tx, realm, ct) is var count && count >= windows.MaxRules)
        {
            return TypedResults.Problem($"The realm {realm} has {count} rules over events, and each is asked of every event. Delete some, or raise ALERT_MAX_EVENT_RULES.", statusCode: StatusCodes.Status409Conflict, title: "Too many rules");
        }

        if (!await rules.InsertAsync(tx, rule, ct))
        {
            return NameTaken(rule);
        }

        await WindowStore.StartAsync(tx, rule, windows, BatchMatch.Microseconds(now), ct);
        await tx.SendAsync(caller.Did("rule.created", "rule", rule.Id.ToString(), now, realm, Describe(rule)), ct);
        await tx.CommitAsync(ct);
        return TypedResults.Created($"/api/v1/monitoring/rules/{rule.Id}", Envelope.Of(rule));
    }

    private static async Task<Results<Ok<Envelope<Rule>>, NotFound, ValidationProblem, ProblemHttpResult>> ChangeAsync(
        Guid id, RuleBody body, Caller caller, RuleStore rules, AlertStore alerts, WindowOptions windows, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RuleStore.LockForChangeAsync(tx, ct);
        if (!caller.MayChange(await rules.FindForChangeAsync(tx, id, ct), out var old, out var refusal))
        {
            return refusal;
        }

        var (changed, errors) = body.Check(id, old.Realm, old.CreatedBy, now);
        if (changed is null)
        {
            return TypedResults.ValidationProblem(errors);
        }

        if (body.Version is { } from && from != old.Version)
        {
            return TypedResults.Problem($"The rule is at version {old.Version}, your change was made from version {from}. Read it again and repeat the change.",
                statusCode: StatusCodes.Status409Conflict, title: "Somebody else changed the rule");
        }

        var rule = changed with { CreatedAt = old.CreatedAt, Version = old.Version + 1, Cause = old.Cause, CauseBy = old.CauseBy };
        if (!await rules.UpdateAsync(tx, rule, ct))
        {
            return NameTaken(rule);
        }

        if (rule.CountsDifferently(old))
        {
            await rules.ForgetCountsAsync(tx, id, ct);
            await alerts.ResolveOfRuleAsync(tx, id, rule.Enabled ? "The rule was changed." : "The rule was switched off.", now, ct);
            await WindowStore.StartAsync(tx, rule, windows, BatchMatch.Microseconds(now), ct);
        }

        await tx.SendAsync(caller.Did("rule.changed", "rule", id.ToString(), now, rule.Realm, Describe(rule)), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return TypedResults.Ok(Envelope.Of(rule));
    }

    private static async Task<Results<NoContent, NotFound, ProblemHttpResult>> DeleteAsync(
        Guid id, Caller caller, RuleStore rules, AlertStore alerts, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RuleStore.LockForChangeAsync(tx, ct);
        if (!caller.MayChange(await rules.FindForChangeAsync(tx, id, ct), out var rule, out var refusal))
        {
            return refusal;
        }

        await rules.DeleteAsync(tx, id, ct);
        await alerts.ResolveOfRuleAsync(tx, id, "The rule was deleted.", now, ct);
        await tx.SendAsync(caller.Did("rule.deleted", "rule", id.ToString(), now, rule.Realm, Describe(rule)), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return TypedResults.NoContent();
    }

    /// <summary>Makes the built-in rules again as the settings say. They hold in all realms, so this takes a caller of all realms.</summary>
    private static async Task<Results<Ok<Envelope<Page<Rule>>>, ProblemHttpResult>> RestoreDefaultsAsync(
        Caller caller, RuleStore rules, DefaultRules defaults, DetectionOptions detections, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        if (!caller.SeesAllRealms)
        {
            return Access.ForeignRealm(caller, Realm.All);
        }

        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RuleStore.LockForChangeAsync(tx, ct);
        var restored = new List<Rule>();
        foreach (var rule in DefaultRules.At(detections, now))
        {
            if (!await defaults.RestoreAsync(tx, rule, now, ct))
            {
                return NameTaken(rule);
            }

            var wanted = (await rules.FindForChangeAsync(tx, rule.Id, ct))!;
            await tx.SendAsync(caller.Did("rule.restored", "rule", rule.Id.ToString(), now, rule.Realm, Describe(wanted)), ct);
            restored.Add(wanted);
        }

        await tx.CommitAsync(ct);
        flusher.Wake();
        return TypedResults.Ok(Envelope.Page<Rule>(restored, null));
    }

    private static Dictionary<string, string> Describe(Rule rule) => new()
    {
        ["name"] = rule.Name,
        ["threshold"] = $"{rule.Threshold} in {rule.WindowSeconds} s",
        ["condition"] = rule.Condition?.Text ?? "count",
        ["severity"] = rule.Severity.Word(),
        ["enabled"] = rule.Enabled ? "true" : "false",
        ["version"] = $"{rule.Version}",
    };

    private static ValidationProblem Wrong(string field, string expected) =>
        TypedResults.ValidationProblem(new Dictionary<string, string[]> { [field] = [expected] });

    private static ProblemHttpResult NameTaken(Rule rule) => TypedResults.Problem(
        $"The realm {rule.Realm} already has a rule named {rule.Name}. Choose another name, or change that rule.",
        statusCode: StatusCodes.Status409Conflict, title: "The name is taken");
}
