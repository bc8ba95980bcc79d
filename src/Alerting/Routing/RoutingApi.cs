using System.Text;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.OnCall;
using Platform.Alerting.Rules;
using Platform.Alerting.Silences;
using Platform.Contracts;
using Platform.Messaging;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Routing;

/// <summary>A realm's configuration as it is shown.</summary>
/// <param name="Realm">Whose it is: <c>*</c> when the realm has none of its own.</param>
/// <param name="Version">0 for the default, which nobody wrote.</param>
/// <param name="Config">With Alertmanager's keys; receivers name channels.</param>
public sealed record RoutingView(string Realm, int Version, string ChangedBy, DateTimeOffset? ChangedAt, JsonObject Config)
{
    /// <summary>Of a change: what the file says that means nothing here, each with its line. Null for nothing.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? Ignored { get; init; }

    public static RoutingView Of(StoredRouting stored) => new(stored.Realm, stored.Version, stored.ChangedBy, stored.ChangedAt, RoutingDocument.WriteJson(stored.Config));
}

/// <param name="Labels">Of an alert as it might come.</param>
/// <param name="At">When; null for now.</param>
public sealed record SimulatedAlert(Dictionary<string, string?>? Labels, DateTimeOffset? At = null);

/// <summary>Where one route would take an alert.</summary>
/// <param name="Because">The matchers that led there.</param>
/// <param name="FirstNotificationAfter">How long the first alert of a group waits.</param>
/// <param name="MutedBy">The time interval that keeps the route quiet at that time; null for none.</param>
public sealed record SimulatedRoute(
    string Path, string Receiver, IReadOnlyList<string> Channels, string? EscalationPolicy, IReadOnlyList<string> Because, IReadOnlyDictionary<string, string> GroupLabels,
    string GroupKey, string FirstNotificationAfter, string GroupInterval, string RepeatInterval, string? MutedBy, DateTimeOffset? MutedUntil);

/// <param name="SuppressedBy">Silences, inhibiting alerts and parents of this moment.</param>
/// <param name="Told">Whether anybody would be told.</param>
public sealed record Simulation(
    string Realm, int Version, DateTimeOffset At, IReadOnlyList<SimulatedRoute> Routes, IReadOnlyList<Suppression> SuppressedBy, bool Told);

/// <summary>Read and write who is told what, and try it out.</summary>
public static class RoutingApi
{
    private const int LargestBody = 1024 * 1024;
    private const int MostFaults = 50;

    public static IHostApplicationBuilder AddRouting(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<GroupingOptions>();
        builder.Services.AddSingleton<RoutingStore>();
        builder.Services.AddSingleton<GroupNotifications>();
        builder.Services.AddSingleton<FlushPass>();
        builder.Services.AddSingleton<Flusher>();
        builder.Services.AddHostedService(services => services.GetRequiredService<Flusher>());
        return builder;
    }

    public static IEndpointRouteBuilder MapRouting(this IEndpointRouteBuilder app)
    {
        var read = app.MapGroup("/api/v1/monitoring/routing").WithTags("Routing").RequireAuthorization(Access.ModeratorRead);
        read.MapGet("", GetAsync).WithSummary("Who is told what, in JSON or (Accept: application/yaml, ?format=yaml) as Alertmanager's YAML.");
        read.MapGet("/history", HistoryAsync).WithSummary("Every version of the routing, newest first, and who wrote it.");
        read.MapPost("/simulate", SimulateAsync).WithSummary("Who would be told about an alert with these labels, when, and what would keep it quiet.")
            .WithExample("""{"labels": {"alertname": "Down", "severity": "critical"}, "at": "2026-03-01T23:00:00Z"}""");
        // Whoever writes this decides who is not told: that is for admins.
        app.MapPut("/api/v1/monitoring/routing", PutAsync).WithTags("Routing").RequireAuthorization(Access.AdminWrite)
            .WithSummary("Replace the realm's routing, with JSON or with an Alertmanager's file.")
            .WithExample("""{"route": {"receiver": "team", "group_by": ["alertname"], "routes": [{"matchers": ["severity=\"low\""], "receiver": "mail"}]}, "receivers": [{"name": "team", "channels": ["slack"]}, {"name": "mail", "channels": ["email"]}]}""")
            .WithExample("""
                route:
                  receiver: team
                receivers:
                  - name: team
                    webhook_configs: [{url: "https://hooks.example.com/team"}]
                """, "application/yaml");
        return app;
    }

    private static async Task<Results<Ok<Envelope<RoutingView>>, ContentHttpResult>> GetAsync(HttpRequest request, Caller caller, RoutingStore routing, CancellationToken ct, string? format = null)
    {
        var stored = (await routing.TableAsync(ct)).For(caller.Realm);
        return format == "yaml" || (format is null && IsYaml(request.Headers.Accept.ToString()))
            ? TypedResults.Content(RoutingDocument.WriteYaml(stored.Config), "application/yaml", Encoding.UTF8)
            : TypedResults.Ok(Envelope.Of(RoutingView.Of(stored)));
    }

    private static async Task<Ok<Envelope<Page<RoutingView>>>> HistoryAsync(Caller caller, RoutingStore routing, CancellationToken ct, int limit = 20) =>
        TypedResults.Ok(Envelope.Page<RoutingView>([.. (await routing.HistoryAsync(caller.Realm, Math.Clamp(limit, 1, 100), ct)).Select(RoutingView.Of)], null));

    /// <param name="version">That the change was made from; when it is given, a newer one is a conflict.</param>
    private static async Task<Results<Ok<Envelope<RoutingView>>, ValidationProblem, ProblemHttpResult>> PutAsync(
        HttpRequest request, Caller caller, RoutingStore routing, ChannelStore channels, ChannelYaml importer, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct, int? version = null)
    {
        var (text, whole) = await ReadAsync(request.Body, ct);
        if (!whole)
        {
            return TypedResults.Problem($"The configuration is longer than {LargestBody} bytes. Merge routes, or shorten it.", statusCode: StatusCodes.Status413PayloadTooLarge, title: "Too large");
        }

        var realm = caller.Realm;
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var newest = await RoutingStore.LockVersionAsync(tx, realm, ct);
        if (version is { } from && from != newest)
        {
            return TypedResults.Problem($"The configuration of realm {realm} is at version {newest}, your change was made from version {from}. Read it again and repeat the change.",
                statusCode: StatusCodes.Status409Conflict, title: "Somebody else changed the routing");
        }

        var (config, foreign, global, faults) = RoutingDocument.ReadForeign(text, (await routing.TableAsync(tx, ct)).For(realm).Config);
        if (config is null)
        {
            return Wrong(faults);
        }

        // Receivers with settings of their own become channels, in the same transaction.
        var (wrong, ignored) = (new List<string>(), new List<string>(ChannelYaml.Ignored(global)));
        var made = new List<(string Receiver, string? Channel)>();
        var taken = new HashSet<string>();
        foreach (var one in foreign)
        {
            made.Add((one.Receiver, await importer.ImportAsync(tx, realm, one.Receiver, one.Key, one.Config, global, taken, caller, now, wrong, ignored, ct)));
        }

        config = config with
        {
            Receivers = [.. config.Receivers.Select(receiver => receiver with { Channels = [.. receiver.Channels, .. made.Where(one => one.Receiver == receiver.Name).Select(one => one.Channel).OfType<string>()] })],
        };
        wrong.AddRange(config.Faults(await channels.NamesAsync(tx, realm, ct)));
        foreach (var receiver in config.Receivers.Where(receiver => receiver.EscalationPolicy is not null))
        {
            if (await OnCallStore.FindAsync(tx, PlanKind.Policy, realm, receiver.EscalationPolicy!, ct) is null)
            {
                wrong.Add($"The receiver \"{receiver.Name}\" names the escalation policy \"{receiver.EscalationPolicy}\", which is not there. Create it first at /api/v1/monitoring/escalation-policies.");
            }
        }

        // What is stored is read again for every alert, of all realms together.
        if (RoutingDocument.Unreadable(config) is { } fault)
        {
            wrong.Add(fault);
        }

        if (wrong.Count > 0)
        {
            return Wrong(wrong);
        }

        var stored = new StoredRouting(realm, newest + 1, caller.Subject, now, config);
        await RoutingStore.InsertAsync(tx, stored, ct);
        await tx.SendAsync(caller.Did("routing.changed", "routing", realm, now, realm, new Dictionary<string, string>
        {
            ["version"] = $"{stored.Version}",
            ["routes"] = $"{Routing.Walk(config.Route, "").Count()}",
            ["receivers"] = $"{config.Receivers.Count}",
            ["inhibit_rules"] = $"{config.InhibitRules.Count}",
            ["dependencies"] = $"{config.Dependencies.Count}",
        }), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return TypedResults.Ok(Envelope.Of(RoutingView.Of(stored) with { Ignored = ignored.Count > 0 ? [.. ignored.Take(MostFaults)] : null }));
    }

    private static async Task<Results<Ok<Envelope<Simulation>>, ValidationProblem>> SimulateAsync(
        SimulatedAlert body, Caller caller, RoutingStore routing, NpgsqlDataSource db, TimeProvider clock, ILogger<LiveSilences> logger, CancellationToken ct)
    {
        if (body.Labels is null || body.Labels.Count > 100 || body.Labels.Any(label => label.Value is null))
        {
            return TypedResults.ValidationProblem(new Dictionary<string, string[]> { ["labels"] = ["Up to 100 labels, each with a text, for example {\"alertname\": \"Down\", \"severity\": \"critical\"}."] });
        }

        var realm = caller.Realm;
        var labels = Labels.Of([.. body.Labels.Select(label => (label.Key, StorableText.Clean(label.Value!)))]);
        var at = (body.At ?? clock.GetUtcNow()).ToUniversalTime();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var stored = (await routing.TableAsync(tx, ct)).For(realm);
        var config = stored.Config;
        var routes = Routing.Match(config.Route, labels);
        var probes = config.Rules.Where(rule => rule.Target.AllMatch(labels)).Select(rule => (realm, System.Text.Json.JsonSerializer.Serialize(rule.Probe(rule.Source, labels)))).ToHashSet();
        var others = await GroupStore.FindOpenAsync(tx, probes, 1_000, ct);
        var silences = (await new LiveSilences(logger).ReadAsync(tx, [realm], ct)).Select(one => one.Silence);
        var suppressed = Suppressing.Judge(Guid.Empty, realm, labels, [], silences, config, new Inhibitors(others), [], at);
        var simulated = routes.Select(route => Simulate(realm, config, route, labels, at)).ToList();
        return TypedResults.Ok(Envelope.Of(new Simulation(
            stored.Realm, stored.Version, at, simulated, suppressed, suppressed.Count == 0 && simulated.Any(route => route.MutedBy is null && (route.Channels.Count > 0 || route.EscalationPolicy is not null)))));
    }

    private static SimulatedRoute Simulate(string realm, RoutingConfig config, RouteMatch route, Labels labels, DateTimeOffset at)
    {
        var mutedBy = Muting.MutedBy(route.MuteTimeIntervals, route.ActiveTimeIntervals, config.TimeIntervals, at);
        var group = route.GroupLabels(labels);
        var severity = Severities.OfLabel(labels["severity"]);
        var first = Grouping.TellAt(severity, at, passed: false, route.GroupWait) - at;
        var receiver = config.Find(route.Receiver);
        return new SimulatedRoute(
            route.Path, route.Receiver, receiver?.Channels ?? [], receiver?.EscalationPolicy, [.. route.Because.Select(MatcherNotation.Write)], group.ToDictionary(),
            route.GroupKey(realm, group), AlertDuration.Write(first), AlertDuration.Write(route.GroupInterval), AlertDuration.Write(route.RepeatInterval), mutedBy,
            mutedBy is null ? null : Muting.NextChange(route.MuteTimeIntervals, route.ActiveTimeIntervals, config.TimeIntervals, at));
    }

    private static bool IsYaml(string header) => header.Contains("yaml", StringComparison.OrdinalIgnoreCase);

    private static ValidationProblem Wrong(IReadOnlyList<string> faults) =>
        TypedResults.ValidationProblem(new Dictionary<string, string[]> { ["config"] = [.. faults.Take(MostFaults)] }, title: "The configuration was not stored");

    private static async Task<(string Text, bool Whole)> ReadAsync(Stream body, CancellationToken ct)
    {
        using var reader = new StreamReader(body, Encoding.UTF8);
        var buffer = new char[LargestBody + 1];
        var length = await reader.ReadBlockAsync(buffer, ct);
        return (new string(buffer, 0, Math.Min(length, LargestBody)), length <= LargestBody);
    }
}
