using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using Platform.Alerting.Alerts;
using Platform.Alerting.Routing;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Doors;

/// <summary>
/// Alertmanager's API, version 2, so that Prometheus, amtool and Grafana talk to the platform as they talk to an Alertmanager: same
/// paths, same shapes, errors as bare JSON strings. Below <c>/alertmanager</c>, in the realm of the credential.
/// https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
/// </summary>
public static class AlertmanagerApi
{
    internal const string Prefix = "/alertmanager";

    // Groups are answered whole, so all of their alerts are in memory at once.
    private const int MostGrouped = 50_000;

    private const int MostFilters = 100;
    private const int LongestFilter = 1_000;

    internal static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    private static readonly DateTimeOffset Started = DateTimeOffset.UtcNow;

    public static IHostApplicationBuilder AddDoors(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<DoorOptions>();
        builder.Services.AddSingleton<AlertIntake>();
        builder.Services.AddSingleton<IntegrationKeyStore>();
        return builder;
    }

    public static IEndpointRouteBuilder MapDoors(this IEndpointRouteBuilder app)
    {
        var read = app.MapGroup(Prefix).WithTags("Alertmanager").RequireAuthorization(Access.UserRead);
        read.MapGet("/api/v2/alerts", ListAsync).WithSummary("Open alerts as an Alertmanager lists them.");
        read.MapGet("/api/v2/alerts/groups", GroupsAsync).WithSummary("Open alerts by receiver and grouping labels.");
        read.MapGet("/api/v2/receivers", ReceiversAsync).WithSummary("Names of the receivers of the realm's routing.");
        read.MapGet("/api/v2/status", StatusAsync).WithSummary("What Alertmanager's clients ask first.");
        read.MapGet("/-/healthy", () => TypedResults.Text("OK")).WithSummary("Alerting lives.");
        read.MapGet("/-/ready", () => TypedResults.Text("OK")).WithSummary("Alerting answers.");

        // What sends data may push alerts: a Prometheus needs no more than that.
        app.MapPost(Prefix + "/api/v2/alerts", PushAsync).WithTags("Alertmanager").RequireAuthorization(Access.Ingest)
            .WithSummary("Push alerts, as a Prometheus does; a label set is an identity, repeated it goes on, with a past endsAt it is over.")
            .WithExample("""[{"labels": {"alertname": "DiskFull", "severity": "critical", "host": "db-1"}, "annotations": {"summary": "97 % of /var"}, "startsAt": "2026-03-01T09:15:00Z"}]""");
        // Alertmanager reads its file again. Here a configuration holds from its commit on, so there is nothing left to do.
        app.MapPost(Prefix + "/-/reload", () => TypedResults.Ok()).WithTags("Alertmanager").RequireAuthorization(Access.ModeratorWrite).WithSummary("Does nothing: a configuration holds from its commit on.");
        app.MapAlertmanagerSilences();
        app.MapWebhookDoor();
        app.MapPagerDutyDoor();
        app.MapIntegrationKeys();
        return app;
    }

    /// <summary>Alertmanager's way to say what is wrong.</summary>
    internal static IResult Refused(string why, int status = StatusCodes.Status400BadRequest) => Results.Json(why, Json, statusCode: status);

    /// <summary>
    /// A boolean of the query as Alertmanager reads it: these words in any case are true, nothing is the default, and whatever else is false.
    /// </summary>
    internal static bool Flag(string? text, bool otherwise) => string.IsNullOrEmpty(text)
        ? otherwise
        : text.ToLowerInvariant() is "true" or "1" or "yes" or "ok" or "y" or "on" or "selected" or "checked" or "t" or "enabled";

    private static async Task<IResult> PushAsync(HttpRequest request, Caller caller, AlertIntake intake, DoorOptions options, TimeProvider clock, CancellationToken ct)
    {
        if (await PushedBody.ReadAsync(request, options.MaxBytes, ct) is not { ValueKind: JsonValueKind.Array } list)
        {
            return Refused($"A JSON list of alerts of at most {options.MaxBytes} bytes (ALERT_PUSH_MAX_BYTES) is expected.");
        }

        if (list.GetArrayLength() > options.MaxAlerts)
        {
            return Refused($"{list.GetArrayLength()} alerts in one request; at most {options.MaxAlerts} are taken (ALERT_PUSH_MAX_ALERTS).");
        }

        var now = clock.GetUtcNow();
        var read = list.EnumerateArray().Select((one, i) => PushedAlert.Read(one, $"[{i}]", options.ResolveTimeout, options.MaxAlertCharacters, now)).ToList();
        // As in Alertmanager, what is right is taken in even beside what is wrong.
        var leftOut = await intake.TakeAsync(caller.RealmOfNewData, [.. read.Select(one => one.Alert).OfType<PushedAlert>()], "Its sender", ct);
        var faults = read.Select(one => one.Fault).OfType<string>().Take(20).ToList();
        return leftOut is not null ? Refused(leftOut, StatusCodes.Status429TooManyRequests)
            : faults.Count > 0 ? Refused(string.Join(' ', faults))
            : Results.Ok();
    }

    private static async Task<IResult> ListAsync(
        Caller caller, AlertStore alerts, RoutingStore routing, DoorOptions options, TimeProvider clock, CancellationToken ct,
        string[]? filter = null, string? receiver = null, string? active = null, string? silenced = null, string? inhibited = null)
    {
        if (!TryRead(filter, receiver, out var matchers, out var wanted, out var fault))
        {
            return Refused(fault);
        }

        var now = clock.GetUtcNow();
        var found = OpenAsync(caller, alerts, await routing.TableAsync(ct), ct)
            .Where(one => Takes(one.Alert, Flag(active, true), Flag(silenced, true), Flag(inhibited, true)) && one.Labels.Matches(matchers) && one.Routes.Any(route => IsFor(wanted, route.Receiver)));
        return Results.Json(found.Select(one => Show(one, one.MutedBy(), isMuted: false, options, now)), Json);
    }

    private static async Task<IResult> GroupsAsync(
        Caller caller, AlertStore alerts, RoutingStore routing, DoorOptions options, TimeProvider clock, CancellationToken ct,
        string[]? filter = null, string? receiver = null, string? active = null, string? silenced = null, string? inhibited = null, string? muted = null)
    {
        if (!TryRead(filter, receiver, out var matchers, out var wanted, out var fault))
        {
            return Refused(fault);
        }

        var now = clock.GetUtcNow();
        var table = await routing.TableAsync(ct);
        var open = OpenAsync(caller, alerts, table, ct).Where(one => Takes(one.Alert, Flag(active, true), Flag(silenced, true), Flag(inhibited, true)) && one.Labels.Matches(matchers));
        var groups = (await open.Take(MostGrouped).ToListAsync(ct))
            .SelectMany(one => one.Routes.Where(route => IsFor(wanted, route.Receiver)).Select(route => (
                route.Receiver, Labels: route.GroupLabels(one.Labels), One: one,
                MutedBy: Muting.MutedBy(route.MuteTimeIntervals, route.ActiveTimeIntervals, table.For(one.Alert.Realm).Config.TimeIntervals, now))))
            .Where(one => one.MutedBy is null || Flag(muted, true))
            .GroupBy(one => (one.Receiver, one.Labels))
            .OrderBy(group => group.Key.Receiver, StringComparer.Ordinal);
        return Results.Json(
            groups.Select(group => new
            {
                labels = group.Key.Labels.ToDictionary(),
                receiver = new { name = group.Key.Receiver },
                // What mutes the route of a group keeps all of it from being told.
                alerts = group.Select(one => Show(one.One, one.MutedBy is { } by ? [by] : [], one.MutedBy is not null, options, now)),
            }),
            Json);
    }

    private static async Task<IResult> ReceiversAsync(Caller caller, RoutingStore routing, CancellationToken ct) =>
        Results.Json((await routing.TableAsync(ct)).For(caller.RealmOfNewData).Config.Receivers.Select(receiver => new { name = receiver.Name }), Json);

    /// <summary>With the routing as Alertmanager's YAML, by which amtool shows and tests routes; there are no secrets in it. It is for those who may read routing, others get none.</summary>
    private static async Task<IResult> StatusAsync(Caller caller, RoutingStore routing, CancellationToken ct) => Results.Json(
        new
        {
            cluster = new { status = "disabled", peers = Array.Empty<object>() },
            config = new { original = caller.IsAtLeast(Role.Moderator) ? RoutingDocument.WriteYaml((await routing.TableAsync(ct)).For(caller.RealmOfNewData).Config) : "" },
            uptime = Started,
            versionInfo = new { branch = "", buildDate = "", buildUser = "", goVersion = "", revision = "", version = "0.27.0" },
        },
        Json);

    private sealed record Routed(Alert Alert, Labels Labels, IReadOnlyList<RouteMatch> Routes)
    {
        public IReadOnlyList<string> MutedBy() => [.. (Alert.SuppressedBy ?? []).Where(each => each.Kind == SuppressionKind.MuteInterval).Select(each => each.Name).Distinct()];
    }

    private static IAsyncEnumerable<Routed> OpenAsync(Caller caller, AlertStore alerts, RoutingTable table, CancellationToken ct) =>
        alerts.OpenAsync(caller.RealmFilter, ct).Select(alert =>
        {
            var labels = LabelSet.Of(alert.Labels);
            return new Routed(alert, labels, Routing.Routing.Match(table.For(alert.Realm).Config.Route, labels));
        });

    private static bool Takes(Alert alert, bool active, bool silenced, bool inhibited)
    {
        var by = alert.SuppressedBy ?? [];
        return (active || Suppressing.HoldsEverywhere(by))
            && (silenced || by.All(one => one.Kind != SuppressionKind.Silence))
            && (inhibited || by.All(one => one.Kind is not (SuppressionKind.Inhibition or SuppressionKind.Parent)));
    }

    private static bool Matches(this Labels labels, IReadOnlyList<Matcher> matchers) => matchers.All(matcher => matcher.Matches(labels[matcher.Name]));

    private static bool IsFor(Matcher? wanted, string receiver) => wanted is null || wanted.Matches(receiver);

    internal static bool TryRead(string[]? filter, string? receiver, out IReadOnlyList<Matcher> matchers, out Matcher? wanted, [NotNullWhen(false)] out string? fault)
    {
        (matchers, wanted, fault) = ([], null, null);
        if (filter?.Length > MostFilters || filter?.Any(one => one.Length > LongestFilter) == true || receiver?.Length > LongestFilter)
        {
            fault = $"bad matcher format: at most {MostFilters} filters of {LongestFilter} characters each are taken; leave some out";
            return false;
        }

        try
        {
            matchers = [.. (filter ?? []).SelectMany(MatcherNotation.Parse)];
            wanted = string.IsNullOrEmpty(receiver) ? null : new Matcher("receiver", MatchKind.Regex, receiver);
            return true;
        }
        catch (Exception error) when (error is FormatException or ArgumentException)
        {
            fault = $"bad matcher format: {error.Message}";
            return false;
        }
    }

    /// <param name="isMuted">Whether what mutes it keeps it from being told where it is shown; one muted route of several does not.</param>
    private static object Show(Routed one, IReadOnlyList<string> mutedBy, bool isMuted, DoorOptions options, DateTimeOffset now)
    {
        var (alert, by) = (one.Alert, one.Alert.SuppressedBy ?? []);
        return new
        {
            annotations = alert.Annotations,
            endsAt = alert.ExpiresAt ?? now + options.ResolveTimeout,
            fingerprint = alert.Fingerprint,
            receivers = one.Routes.Select(route => route.Receiver).Distinct().Select(name => new { name }),
            startsAt = alert.StartsAt,
            status = new
            {
                state = isMuted || Suppressing.HoldsEverywhere(by) ? "suppressed" : "active",
                silencedBy = by.Where(each => each.Kind == SuppressionKind.Silence).Select(each => each.Id),
                inhibitedBy = by.Where(each => each.Kind is SuppressionKind.Inhibition or SuppressionKind.Parent).Select(each => each.Id),
                mutedBy,
            },
            updatedAt = alert.Acknowledged?.At ?? alert.FiredAt,
            generatorURL = alert.GeneratorUrl,
            labels = alert.Labels,
        };
    }
}
