using System.Text.Json;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.Messaging;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>
/// Rules with a query, one at a time, at the addresses of rules over events: seed 003's <c>{name, description, query, threshold_value}</c>.
/// They live in rule groups; what is made here goes into the realm's group <see cref="Group"/>. An alerting rule of any group is found
/// here by its id, and what this form does not name of it stays as it is.
/// </summary>
public static class SimpleRules
{
    /// <summary>The group of rules that are made one by one.</summary>
    public const string Group = "api";

    /// <summary>Lets a new rule with a query through to the rule groups, before anybody looks at it as a rule over events.</summary>
    public static async ValueTask<object?> TakeNewAsync(EndpointFilterInvocationContext invocation, EndpointFilterDelegate next)
    {
        var body = invocation.Arguments.OfType<RuleBody>().First();
        if (body.Query is not { ValueKind: not (JsonValueKind.Null or JsonValueKind.Undefined) })
        {
            return await next(invocation);
        }

        var caller = invocation.Arguments.OfType<Caller>().First();
        var realm = body.Realm ?? caller.RealmOfNewData;
        if (!caller.Reaches(realm))
        {
            return Access.RealmOutOfReach(caller, realm);
        }

        var (simple, wrong) = Read(body);
        return simple is null ? wrong : await CreateAsync(simple, realm, caller, Tools.Of(invocation));
    }

    /// <summary>Looks among the rule groups for a rule that is none over events.</summary>
    public static async ValueTask<object?> TakeKnownAsync(EndpointFilterInvocationContext invocation, EndpointFilterDelegate next)
    {
        var answer = await next(invocation);
        if (answer is not INestedHttpResult { Result: IStatusCodeHttpResult { StatusCode: StatusCodes.Status404NotFound } })
        {
            return answer;
        }

        var (id, caller) = (invocation.Arguments.OfType<Guid>().First(), invocation.Arguments.OfType<Caller>().First());
        var method = invocation.HttpContext.Request.Method;
        return HttpMethods.IsPut(method) ? await ChangeAsync(id, invocation.Arguments.OfType<RuleBody>().First(), caller, Tools.Of(invocation))
            : HttpMethods.IsDelete(method) ? await DeleteAsync(id, caller, Tools.Of(invocation))
            : await FindAsync(id, caller, Tools.Of(invocation));
    }

    private static async Task<IResult> FindAsync(Guid id, Caller caller, Tools tools) =>
        await tools.Groups.FindOfRuleAsync(id, tools.Ct) is not { } group ? TypedResults.NotFound()
        : group.Realm != Realm.All && !caller.Reaches(group.Realm) ? Access.ForeignRealm(caller, group.Realm)
        : TypedResults.Ok(Envelope.Of(SimpleRuleAnswer.Of(group, group.Rules.First(rule => rule.Id == id))));

    private static async Task<IResult> CreateAsync(SimpleRule simple, string realm, Caller caller, Tools tools)
    {
        await using var connection = await tools.Db.OpenConnectionAsync(tools.Ct);
        await using var tx = await connection.BeginTransactionAsync(tools.Ct);
        await RuleGroupStore.LockForChangeAsync(tx, tools.Ct);
        var old = await RuleGroupStore.FindAsync(tx, realm, "", Group, tools.Ct);
        if (old?.Rules.Any(rule => rule.Alert == simple.Name) == true)
        {
            return NameTaken(old, simple.Name);
        }

        var texts = old is null ? [] : RuleGroupText.Of(old).Rules!;
        var faults = new List<RuleFault>();
        var text = new RuleGroupText(Group, null, null, null, null, [.. texts, simple.Text(null)]);
        var group = RuleGroupCheck.Check(text, realm, "", old, caller.Subject, tools.Now, tools.Options, faults);
        if (group is null)
        {
            return Wrong(faults, texts.Count);
        }

        var made = group.Rules[^1];
        return await SaveAsync(tx, old, group, made, "rule.created", caller, tools) ?? TypedResults.Created($"/api/v1/monitoring/rules/{made.Id}", Envelope.Of(SimpleRuleAnswer.Of(group, made)));
    }

    private static async Task<IResult> ChangeAsync(Guid id, RuleBody body, Caller caller, Tools tools)
    {
        await using var connection = await tools.Db.OpenConnectionAsync(tools.Ct);
        await using var tx = await connection.BeginTransactionAsync(tools.Ct);
        await RuleGroupStore.LockForChangeAsync(tx, tools.Ct);
        if (!RuleGroupsApi.MayChange(caller, await RuleGroupStore.FindOfRuleAsync(tx, id, tools.Ct), out var old, out var refusal))
        {
            return refusal;
        }

        var (simple, wrong) = Read(body);
        if (simple is null)
        {
            return wrong!;
        }

        if (body.Version is { } from && from != old.Version)
        {
            return TypedResults.Problem($"The group of the rule is at version {old.Version}, your change was made from version {from}. Read the rule again and repeat the change.",
                statusCode: StatusCodes.Status409Conflict, title: "Somebody else changed the group");
        }

        if (old.Rules.Any(rule => rule.Alert == simple.Name && rule.Id != id) && old.Rules.First(rule => rule.Id == id).Alert != simple.Name)
        {
            return NameTaken(old, simple.Name);
        }

        var text = RuleGroupText.Of(old);
        var at = text.Rules!.FindIndex(rule => rule!.Id == id);
        text.Rules[at] = simple.Text(text.Rules[at]);
        var faults = new List<RuleFault>();
        if (RuleGroupCheck.Check(text, old.Realm, "", old, old.CreatedBy, tools.Now, tools.Options, faults) is not { } group)
        {
            return Wrong(faults, at);
        }

        // It stays the same rule, also with another name: alerts of the former one end with the next evaluation.
        group = group with { Rules = [.. group.Rules.Select((rule, index) => rule with { Id = old.Rules[index].Id })] };
        return await SaveAsync(tx, old, group, group.Rules[at], "rule.changed", caller, tools) ?? TypedResults.Ok(Envelope.Of(SimpleRuleAnswer.Of(group, group.Rules[at])));
    }

    private static async Task<IResult> DeleteAsync(Guid id, Caller caller, Tools tools)
    {
        await using var connection = await tools.Db.OpenConnectionAsync(tools.Ct);
        await using var tx = await connection.BeginTransactionAsync(tools.Ct);
        await RuleGroupStore.LockForChangeAsync(tx, tools.Ct);
        if (!RuleGroupsApi.MayChange(caller, await RuleGroupStore.FindOfRuleAsync(tx, id, tools.Ct), out var old, out var refusal))
        {
            return refusal;
        }

        var gone = old.Rules.First(rule => rule.Id == id);
        if (old.Rules.Count == 1)
        {
            await tools.Changes.DeleteAsync(tx, old, tools.Now, tools.Ct);
        }
        else
        {
            await tools.Changes.SaveAsync(tx, old, old with { Rules = [.. old.Rules.Where(rule => rule.Id != id)], UpdatedAt = tools.Now, Version = old.Version + 1 }, tools.Ct);
        }

        await tx.SendAsync(caller.Did("rule.deleted", "rule", id.ToString(), tools.Now, old.Realm, Describe(gone)), tools.Ct);
        await tx.CommitAsync(tools.Ct);
        tools.Flusher.Wake();
        return TypedResults.NoContent();
    }

    private static async Task<IResult?> SaveAsync(NpgsqlTransaction tx, RuleGroup? old, RuleGroup group, QueryRule rule, string verb, Caller caller, Tools tools)
    {
        await tools.Changes.SaveAsync(tx, old, group, tools.Ct);
        if (await tools.Changes.CheckRoomAsync(tx, group.Realm, tools.Ct) is { } full)
        {
            return RuleGroupsApi.Wrong([new("rules", 0, "realm", full)]);
        }

        await tx.SendAsync(caller.Did(verb, "rule", rule.Id.ToString(), tools.Now, group.Realm, Describe(rule)), tools.Ct);
        await tx.CommitAsync(tools.Ct);
        tools.Flusher.Wake();
        return null;
    }

    private static (SimpleRule? Rule, IResult? Wrong) Read(RuleBody body) =>
        body.Query is not { ValueKind: JsonValueKind.String } query ? (null, RuleGroupsApi.Wrong([new("query", 0, "query", "An expression in PromQL, as a text.")]))
        : body.Enabled == false ? (null, RuleGroupsApi.Wrong([new("enabled", 0, "enabled", "A rule with a query is not switched off; delete it, or silence its alerts.")]))
        : (new SimpleRule(body.Name, body.Description, query.GetString()!, body.ThresholdValue, body.Severity, body.For), null);

    private static ProblemHttpResult NameTaken(RuleGroup group, string? name) => TypedResults.Problem(
        $"The group {group.Name} of the realm {group.Realm} already has a rule named {name}. Choose another name, or change the group {group.Id}.",
        statusCode: StatusCodes.Status409Conflict, title: "The name is taken");

    // Faults by the field of this form.
    private static ValidationProblem Wrong(List<RuleFault> faults, int at)
    {
        var prefix = $"rules[{at}]";
        return TypedResults.ValidationProblem(faults.GroupBy(fault => Field(fault.Field)).ToDictionary(field => field.Key, field => field.Select(fault => fault.Message).ToArray()));

        string Field(string field) => field.StartsWith(prefix, StringComparison.Ordinal)
            ? field[prefix.Length..].TrimStart('.') switch { "expr" => "query", "alert" or "" => "name", var other => other }
            : field;
    }

    private static Dictionary<string, string> Describe(QueryRule rule) => new() { ["name"] = rule.Name, ["query"] = rule.Expr };

    private sealed record Tools(RuleGroupStore Groups, RuleGroupChanges Changes, RuleGroupOptions Options, Flusher Flusher, NpgsqlDataSource Db, DateTimeOffset Now, CancellationToken Ct)
    {
        public static Tools Of(EndpointFilterInvocationContext invocation)
        {
            var services = invocation.HttpContext.RequestServices;
            return new(
                services.GetRequiredService<RuleGroupStore>(), services.GetRequiredService<RuleGroupChanges>(), services.GetRequiredService<RuleGroupOptions>(), services.GetRequiredService<Flusher>(),
                services.GetRequiredService<NpgsqlDataSource>(), services.GetRequiredService<TimeProvider>().GetUtcNow(), invocation.HttpContext.RequestAborted);
        }
    }
}

/// <summary>A rule in one line, as seed 003 has it.</summary>
/// <param name="Query">PromQL. Without a comparison of its own it is compared with <paramref name="ThresholdValue"/>: above it is an alert.</param>
public sealed record SimpleRule(string? Name, string? Description, string Query, double? ThresholdValue, string? Severity, string? For)
{
    /// <param name="old">The rule that it changes; null: it is new.</param>
    public RuleText Text(RuleText? old) => (old ?? new RuleText(null, null, null, null, null, null, null)) with
    {
        Alert = Name ?? "",
        Expr = Expression(),
        For = For,
        Labels = With(old?.Labels, "severity", Severity),
        Annotations = With(old?.Annotations, "description", Description is { Length: > 0 } ? Description : null),
        Threshold = ThresholdValue,
    };

    private static Dictionary<string, string?>? With(Dictionary<string, string?>? texts, string name, string? value)
    {
        var all = new Dictionary<string, string?>(texts ?? []);
        all.Remove(name);
        if (value is not null)
        {
            all[name] = value;
        }

        return all.Count == 0 ? null : all;
    }

    private string Expression()
    {
        try
        {
            return ThresholdValue is { } threshold && Parser.Parse(Query) is not Expr.Binary { Operator: >= BinaryOperator.Equal and <= BinaryOperator.LessOrEqual }
                ? $"({Query}) > {Printer.Number(threshold)}"
                : Query;
        }
        catch (QueryException)
        {
            return Query; // refused in a moment, with the place
        }
    }
}

/// <param name="Group">The group it is in.</param>
/// <param name="File">The rule file of that group, where it is changed; empty when it was made through the API.</param>
/// <param name="Version">Of the group.</param>
public sealed record SimpleRuleAnswer(
    Guid Id, string Realm, string Name, string Description, string Query, double? ThresholdValue, string? For, string Severity, string Group, Guid GroupId, string File, int Version)
{
    public static SimpleRuleAnswer Of(RuleGroup group, QueryRule rule) => new(
        rule.Id, group.Realm, rule.Name, rule.Annotations.GetValueOrDefault("description", ""), rule.Expr, rule.Threshold, rule.For > TimeSpan.Zero ? Printer.Duration(rule.For) : null,
        rule.Severity.Word(), group.Name, group.Id, group.File, group.Version);
}
