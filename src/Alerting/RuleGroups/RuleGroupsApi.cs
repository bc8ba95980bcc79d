using System.Diagnostics.CodeAnalysis;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Messaging;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>A group as the API answers it.</summary>
/// <param name="File">The rule file that it comes from; empty for one made here. A group of a file is changed in its file.</param>
/// <param name="Errors">Of rules whose last evaluation failed, by the rule's id. Of a group of all realms, the words are for callers of all realms.</param>
public sealed record RuleGroupAnswer(
    Guid Id, string Realm, string File, string Name, string? Interval, int Limit, string? QueryOffset, IReadOnlyDictionary<string, string> Labels, IReadOnlyList<RuleText> Rules,
    DateTimeOffset? LastEvaluation, IReadOnlyDictionary<Guid, string> Errors, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, int Version);

/// <param name="Files">The rule files that were seen, with what is wrong with them; none for a caller who does not reach the realm of their groups.</param>
public sealed record RuleGroupList(IReadOnlyList<RuleGroupAnswer> Items, string? NextCursor, IReadOnlyList<RuleFileState> Files);

/// <summary>Rule groups: in JSON one at a time, in Prometheus' YAML as whole files. What is wrong is answered 400 with every place, and nothing is stored.</summary>
public static class RuleGroupsApi
{
    private const string Yaml = "application/yaml";

    private static readonly JsonDocumentOptions EachFieldOnce = new() { AllowDuplicateProperties = false };

    public static IHostApplicationBuilder AddRuleGroups(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<RuleGroupOptions>();
        builder.AddMetricsClient();
        builder.Services.AddSingleton<RuleGroupStore>();
        builder.Services.AddSingleton<RuleGroupChanges>();
        builder.Services.AddSingleton<RuleEvaluation>();
        builder.Services.AddSingleton<DataSource>();
        builder.Services.AddSingleton<DataSignals>();
        builder.Services.AddSingleton<BacktestGate>();
        builder.Services.AddSingleton<Backtest>();
        builder.Services.AddSingleton<BacktestPaging>();
        builder.Services.AddHostedService<RuleFiles>();
        builder.Services.AddHostedService<RuleWorker>();
        return builder;
    }

    public static IEndpointRouteBuilder MapRuleGroups(this IEndpointRouteBuilder app)
    {
        var read = app.MapGroup("/api/v1/monitoring").WithTags("Rule groups").RequireAuthorization(Access.ModeratorRead);
        read.MapGet("/rule-groups", ListAsync).WithSummary("Rule groups, in JSON or (Accept: application/yaml, ?format=yaml) as a rule file of Prometheus.");
        read.MapGet("/rule-groups/{id:guid}", FindAsync).WithSummary("One rule group.");
        read.MapPost("/rules/backtest", BacktestApi.RunAsync).WithSummary("What a rule would have done over stored data, beside another one.")
            .WithExample("""{"rule": {"alert": "Load", "expr": "load > 5", "for": "5m"}, "before": {"alert": "Load", "expr": "load > 5"}, "from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z", "step": "15s"}""");

        var write = app.MapGroup("/api/v1/monitoring").WithTags("Rule groups").RequireAuthorization(Access.ModeratorWrite);
        write.MapPost("/rule-groups", CreateAsync).WithSummary("Make a rule group of JSON, or make and replace those of a rule file of Prometheus.")
            .WithExample("""{"name": "shop", "interval": "15s", "rules": [{"alert": "OrdersFailing", "expr": "orders_failing > 10", "for": "2m", "labels": {"severity": "critical"}, "annotations": {"summary": "{{ $value }} orders fail"}}]}""")
            .WithExample("""
                groups:
                  - name: shop
                    interval: 15s
                    rules:
                      - alert: OrdersFailing
                        expr: orders_failing > 10
                        for: 2m
                        labels: {severity: critical}
                """, "application/yaml");
        write.MapPut("/rule-groups/{id:guid}", ChangeAsync).WithSummary("Change a rule group, with JSON or YAML of the whole group.")
            .WithExample("""{"name": "shop", "interval": "15s", "rules": [{"alert": "OrdersFailing", "expr": "orders_failing > 20", "labels": {"severity": "critical"}}], "version": 1}""");
        write.MapDelete("/rule-groups/{id:guid}", DeleteAsync).WithSummary("Delete a rule group; alerts of its rules resolve.");
        app.MapPrometheusRules();
        return app;
    }

    /// <summary>All groups in reach: JSON, or a rule file for Prometheus when YAML is accepted (<c>Accept: application/yaml</c>, <c>?format=yaml</c>).</summary>
    private static async Task<IResult> ListAsync(HttpRequest request, Caller caller, RuleGroupStore store, RuleGroupOptions options, CancellationToken ct, string? format = null, string? name = null, string? file = null)
    {
        var groups = (await store.ListAsync(caller.RealmFilter, ct)).Where(group => (name is null || group.Name == name) && (file is null || group.File == file)).ToList();
        if (format == "yaml" || (format is null && WantsYaml(request)))
        {
            // Names are unique in a file; those of several realms and files need not be.
            var names = new HashSet<string>();
            return TypedResults.Text(RuleFile.Write(groups.Select(group => group with { Name = names.Add(group.Name) ? group.Name : $"{group.Name} ({group.Realm}{(group.File.Length > 0 ? $", {group.File}" : "")})" })), Yaml);
        }

        var runs = (await store.RunsAsync([.. groups.Select(group => group.Id)], ct)).ToDictionary(run => run.GroupId);
        return TypedResults.Ok(Envelope.Of(new RuleGroupList(
            [.. groups.Select(group => Answer(group, runs.GetValueOrDefault(group.Id)?.For(caller, group)))], null, caller.Reaches(options.FilesRealm) ? await store.FilesAsync(ct) : [])));
    }

    private static async Task<IResult> FindAsync(Guid id, HttpRequest request, Caller caller, RuleGroupStore store, CancellationToken ct) =>
        await store.FindAsync(id, ct) is not { } group ? TypedResults.NotFound()
        : group.Realm != Realm.All && !caller.Reaches(group.Realm) ? Access.ForeignRealm(caller, group.Realm)
        : WantsYaml(request) ? TypedResults.Text(RuleFile.Write([group]), Yaml)
        : TypedResults.Ok(Envelope.Of(Answer(group, (await store.RunsAsync([id], ct)).FirstOrDefault()?.For(caller, group))));

    /// <summary>
    /// JSON: a new group. YAML: a rule file of Prometheus; each group of it is made, or replaces the one of its name, all in one
    /// transaction. Nothing happens to groups that it does not name.
    /// </summary>
    private static async Task<IResult> CreateAsync(
        HttpRequest request, Caller caller, RuleGroupChanges changes, Flusher flusher, RuleGroupOptions options, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct,
        string? realm = null)
    {
        var faults = new List<RuleFault>();
        var isYaml = request.ContentType?.Contains("yaml", StringComparison.OrdinalIgnoreCase) == true;
        var texts = isYaml ? RuleFile.Parse(await BodyAsync(request, ct), faults) : [await JsonAsync(request, ct)];
        // ?realm=* is meant: these rules read all realms.
        realm = texts.FirstOrDefault()?.Realm ?? (realm == Realm.All ? Realm.All : caller.RealmOfNewData);
        if (!caller.Reaches(realm))
        {
            return Access.RealmOutOfReach(caller, realm);
        }

        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RuleGroupStore.LockForChangeAsync(tx, ct);
        var made = new List<RuleGroup>();
        foreach (var text in texts)
        {
            var old = text.Name is null ? null : await RuleGroupStore.FindAsync(tx, realm, "", text.Name, ct);
            if (old is not null && !isYaml)
            {
                return TypedResults.Problem($"The realm {realm} already has a group named {text.Name}. Choose another name, or change that group: {old.Id}.", statusCode: StatusCodes.Status409Conflict, title: "The name is taken");
            }

            if (RuleGroupCheck.Check(text, realm, "", old, caller.Subject, now, options, faults) is { } group && faults.Count == 0)
            {
                await changes.SaveAsync(tx, old, group, ct);
                await tx.SendAsync(caller.Did(old is null ? "rule_group.created" : "rule_group.changed", "rule_group", group.Id.ToString(), now, realm, Describe(group)), ct);
                made.Add(group);
            }
        }

        if (faults.Count > 0)
        {
            return Wrong(faults);
        }

        if (await changes.CheckRoomAsync(tx, realm, ct) is { } full)
        {
            return Wrong([new("rules", 0, "realm", full)]);
        }

        await tx.CommitAsync(ct);
        flusher.Wake();
        return isYaml
            ? TypedResults.Ok(Envelope.Page<RuleGroupAnswer>([.. made.Select(group => Answer(group, null))], null))
            : TypedResults.Created($"/api/v1/monitoring/rule-groups/{made[0].Id}", Envelope.Of(Answer(made[0], null)));
    }

    /// <summary>The group as it is to be from now on, in JSON or as YAML with one group. Alerts of rules that keep name and labels go on.</summary>
    private static async Task<IResult> ChangeAsync(
        Guid id, HttpRequest request, Caller caller, RuleGroupChanges changes, Flusher flusher, RuleGroupOptions options, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var faults = new List<RuleFault>();
        var isYaml = request.ContentType?.Contains("yaml", StringComparison.OrdinalIgnoreCase) == true;
        var texts = isYaml ? RuleFile.Parse(await BodyAsync(request, ct), faults) : [await JsonAsync(request, ct)];
        if (faults.Count == 0 && texts.Count != 1)
        {
            faults.Add(new("groups", 0, "file", $"one group is changed at a time; here are {texts.Count}."));
        }

        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RuleGroupStore.LockForChangeAsync(tx, ct);
        if (!MayChange(caller, await RuleGroupStore.FindAsync(tx, id, ct), out var old, out var refusal))
        {
            return refusal;
        }

        var group = texts.Count == 1 ? RuleGroupCheck.Check(texts[0], old.Realm, "", old, old.CreatedBy, now, options, faults) : null;
        if (group is null || faults.Count > 0)
        {
            return Wrong(faults);
        }

        if (texts[0].Version is { } from && from != old.Version)
        {
            return TypedResults.Problem($"The group is at version {old.Version}, your change was made from version {from}. Read it again and repeat the change.",
                statusCode: StatusCodes.Status409Conflict, title: "Somebody else changed the group");
        }

        if (group.Name != old.Name && await RuleGroupStore.FindAsync(tx, old.Realm, "", group.Name, ct) is not null)
        {
            return TypedResults.Problem($"The realm {old.Realm} already has a group named {group.Name}.", statusCode: StatusCodes.Status409Conflict, title: "The name is taken");
        }

        await changes.SaveAsync(tx, old, group, ct);
        if (await changes.CheckRoomAsync(tx, old.Realm, ct) is { } full)
        {
            return Wrong([new("rules", 0, "realm", full)]);
        }

        await tx.SendAsync(caller.Did("rule_group.changed", "rule_group", id.ToString(), now, old.Realm, Describe(group)), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return TypedResults.Ok(Envelope.Of(Answer(group, null)));
    }

    private static async Task<IResult> DeleteAsync(
        Guid id, Caller caller, RuleGroupChanges changes, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RuleGroupStore.LockForChangeAsync(tx, ct);
        if (!MayChange(caller, await RuleGroupStore.FindAsync(tx, id, ct), out var group, out var refusal))
        {
            return refusal;
        }

        await changes.DeleteAsync(tx, group, now, ct);
        await tx.SendAsync(caller.Did("rule_group.deleted", "rule_group", id.ToString(), now, group.Realm, Describe(group)), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return TypedResults.NoContent();
    }

    /// <summary>Whether the caller may change what was found: a group of a file follows its file only.</summary>
    internal static bool MayChange(Caller caller, RuleGroup? found, [NotNullWhen(true)] out RuleGroup? group, [NotNullWhen(false)] out ProblemHttpResult? refusal)
    {
        if (caller.MayChange(found, out group, out refusal) && group.File.Length > 0)
        {
            refusal = TypedResults.Problem($"The group comes from the rule file {group.File}. Change the file; the platform follows it.", statusCode: StatusCodes.Status409Conflict, title: "The group is kept in a file");
        }

        return refusal is null;
    }

    private static RuleGroupAnswer Answer(RuleGroup group, RuleGroupRun? run)
    {
        var text = RuleGroupText.Of(group);
        return new RuleGroupAnswer(
            group.Id, group.Realm, group.File, group.Name, text.Interval, group.Limit, text.QueryOffset, group.Labels, [.. text.Rules!.Select(rule => rule!)],
            run?.EvaluatedAt, run?.Errors ?? new Dictionary<Guid, string>(), group.CreatedBy, group.CreatedAt, group.UpdatedAt, group.Version);
    }

    private static bool WantsYaml(HttpRequest request) => request.Headers.Accept.ToString().Contains("yaml", StringComparison.OrdinalIgnoreCase);

    // A group as it was answered may come back, changed: what only answers say is left out.
    private static async Task<RuleGroupText> JsonAsync(HttpRequest request, CancellationToken ct)
    {
        using var body = await JsonDocument.ParseAsync(request.Body, EachFieldOnce, ct);
        var group = body.RootElement.ValueKind == JsonValueKind.Object ? JsonObject.Create(body.RootElement)! : throw new JsonException("a group is an object.");

        foreach (var answered in (string[])["id", "file", "last_evaluation", "errors", "created_by", "created_at", "updated_at"])
        {
            group.Remove(answered);
        }

        return group.Deserialize<RuleGroupText>(WireJson.Options)!;
    }

    private static async Task<string> BodyAsync(HttpRequest request, CancellationToken ct)
    {
        using var reader = new StreamReader(request.Body, Encoding.UTF8);
        return await reader.ReadToEndAsync(ct);
    }

    internal static ValidationProblem Wrong(List<RuleFault> faults) =>
        TypedResults.ValidationProblem(faults.Take(50).GroupBy(fault => fault.Field).ToDictionary(field => field.Key, field => field.Select(fault => fault.ToString()).ToArray()));

    private static Dictionary<string, string> Describe(RuleGroup group) => new()
    {
        ["name"] = group.Name,
        ["rules"] = $"{group.Rules.Count}",
        ["interval"] = group.Interval is { } interval ? Printer.Duration(interval) : "default",
        ["version"] = $"{group.Version}",
    };
}
