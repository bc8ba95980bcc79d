using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Doors;

/// <summary>An answer of PagerDuty's Events API v2.</summary>
public sealed record EventAnswer(
    string Status,
    string Message,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? DedupKey = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<string>? Errors = null);

/// <summary>
/// PagerDuty's Events API v2, for senders that speak it. The routing key in the body is the credential, so the path is open at the gateway.
/// Routing key and dedup key together name the alert: a trigger while it is open changes nothing, after its end it begins another.
/// https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
/// </summary>
public static class PagerDutyDoor
{
    private const int MaxBytes = 512 * 1024;
    private const int LongestDedupKey = 255;
    private const int LongestSummary = 1_024;
    private const int LongestDetails = 16_384;
    private const int LongestLabel = 256;
    private const int LongestName = 100;
    private const int LongestUrl = 4_096;

    public static IEndpointRouteBuilder MapPagerDutyDoor(this IEndpointRouteBuilder app)
    {
        app.MapPost("/integrations/pagerduty/v2/enqueue", EnqueueAsync).WithTags("Integrations").AllowAnonymous().Produces<EventAnswer>(StatusCodes.Status202Accepted)
            .WithSummary("PagerDuty's Events API v2: trigger, acknowledge, resolve. The routing key in the body is the credential.")
            .WithExample("""{"routing_key": "0123456789abcdef0123456789abcdef", "event_action": "trigger", "dedup_key": "db-1/disk", "payload": {"summary": "Disk is full", "source": "db-1", "severity": "critical"}}""");
        return app;
    }

    private static async Task<IResult> EnqueueAsync(
        HttpRequest request, IntegrationKeyStore keys, AlertStore alerts, AlertIntake intake, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        if (await PushedBody.ReadAsync(request, MaxBytes, ct) is not { ValueKind: JsonValueKind.Object } body)
        {
            return Invalid($"the body is no JSON object, or larger than {MaxBytes} bytes");
        }

        if (!PushedBody.IsWhole(body))
        {
            return Invalid(PushedBody.HalfCharacter);
        }

        // One answer for a key that is missing, wrong or revoked: nothing is to be learned here.
        if (Text(body, "routing_key") is not { Length: >= 16 and <= 128 } routingKey || await keys.FindByKeyAsync(routingKey, ct) is not { } key)
        {
            return Invalid("'routing_key' is missing or not known");
        }

        if (!keys.MaySend(key.Id))
        {
            request.HttpContext.Response.Headers.RetryAfter = "60";
            return Results.Json(new EventAnswer("throttle exceeded", "Events for this key arrive too quickly. Send it again later."), statusCode: StatusCodes.Status429TooManyRequests);
        }

        var now = clock.GetUtcNow();
        var (told, errors) = Read(body, now);
        if (told is null)
        {
            return Invalid([.. errors]);
        }

        if (!await ApplyAsync(key, told, alerts, intake, db, now, ct))
        {
            return Results.Json(new EventAnswer("throttle exceeded", "Too many alerts are open. End some, or raise ALERT_PUSH_MAX_OPEN."), statusCode: StatusCodes.Status429TooManyRequests);
        }

        flusher.Wake();
        return Results.Json(new EventAnswer("success", "Event processed", told.DedupKey), statusCode: StatusCodes.Status202Accepted);
    }

    // False: there is no room for one more.
    private static async Task<bool> ApplyAsync(IntegrationKey key, ToldEvent told, AlertStore alerts, AlertIntake intake, NpgsqlDataSource db, DateTimeOffset now, CancellationToken ct)
    {
        var by = $"integration:{key.Name}";
        var groupKey = $"{key.Realm}/pagerduty:{key.Id}/{told.DedupKey}";
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        // Two triggers of one dedup key may differ in their labels: only one of them may find that there is none.
        await tx.ExecuteAsync($"select pg_advisory_xact_lock(hashtextextended({groupKey}, 0))", ct);
        var latest = await alerts.FindLatestOfGroupAsync(tx, key.Realm, groupKey, ct);
        switch (told.Action)
        {
            case "trigger" when latest is not { IsOpen: true } && await intake.RoomAsync(tx, key.Realm, ct) <= 0:
                return false;
            case "trigger" when latest is not { IsOpen: true }:
                await alerts.FireAsync(tx, Describe(key, told, groupKey, now), ct);
                break;
            case "acknowledge" when latest is { State: AlertState.Firing } && latest.Acknowledge(new AlertAct(by, now, null)) is { } acknowledged:
                await alerts.SaveAcknowledgedAsync(tx, acknowledged, ct);
                break;
            case "resolve" when latest is { IsOpen: true }:
                await alerts.ResolveAsync(tx, latest.Id, now, $"Resolved by {by}.", now, ct);
                break;
        }

        await IntegrationKeyStore.UsedAsync(tx, key.Id, now, ct);
        await tx.CommitAsync(ct);
        return true;
    }

    // An event that was found to be right; all but the first two only of a trigger.
    private sealed record ToldEvent(
        string Action, string DedupKey, string Summary, string Source, Severity Severity, DateTimeOffset At, IReadOnlyDictionary<string, string> Labels, IReadOnlyDictionary<string, string> Annotations, string ClientUrl);

    private static (ToldEvent? Event, List<string> Errors) Read(JsonElement body, DateTimeOffset now)
    {
        var errors = new List<string>();
        var action = Text(body, "event_action");
        var dedup = Text(body, "dedup_key") ?? "";
        Require(action is "trigger" or "acknowledge" or "resolve", "'event_action' must be one of trigger, acknowledge, resolve");
        // Taken for missing, it would make a new alert of every event.
        Require(!body.TryGetProperty("dedup_key", out var given) || given.ValueKind is JsonValueKind.String or JsonValueKind.Null, "'dedup_key' must be a text");
        Require(dedup.Length <= LongestDedupKey, $"'dedup_key' must have at most {LongestDedupKey} characters");
        Require(action is not ("acknowledge" or "resolve") || dedup.Length > 0, "'dedup_key' is missing: an event that acknowledges or resolves must name what");
        if (action != "trigger")
        {
            return errors.Count > 0 ? (null, errors) : (new ToldEvent(action!, dedup, "", "", Severity.Info, now, new Dictionary<string, string>(), new Dictionary<string, string>(), ""), errors);
        }

        var hasPayload = body.TryGetProperty("payload", out var payload) && payload.ValueKind == JsonValueKind.Object;
        Require(hasPayload, "'payload' is missing or no object");
        if (!hasPayload)
        {
            return (null, errors);
        }

        var (summary, source, timestamp) = (Text(payload, "summary"), Text(payload, "source"), Text(payload, "timestamp"));
        Severity? severity = Text(payload, "severity") switch { "critical" => Severity.Critical, "error" => Severity.High, "warning" => Severity.Medium, "info" => Severity.Info, _ => null };
        var at = string.IsNullOrEmpty(timestamp) ? now : QueryTime.Parse(timestamp);
        Require(summary is { Length: >= 1 and <= LongestSummary }, $"'payload.summary' must have 1 to {LongestSummary} characters");
        Require(source is { Length: >= 1 and <= LongestSummary }, $"'payload.source' must have 1 to {LongestSummary} characters");
        Require(severity is not null, "'payload.severity' must be one of critical, error, warning, info");
        Require(at is not null, "'payload.timestamp' must be a time of ISO 8601");
        if (errors.Count > 0)
        {
            return (null, errors);
        }

        var labels = new Dictionary<string, string>();
        foreach (var field in (string[])["component", "group", "class"])
        {
            if (Text(payload, field) is { Length: > 0 } value)
            {
                labels[field] = Wording.Cut(value, LongestLabel);
            }
        }

        var url = Text(body, "client_url") is { Length: <= LongestUrl } client ? client : "";
        return (new ToldEvent(
            action, dedup.Length > 0 ? dedup : Guid.CreateVersion7(now).ToString("N"), summary!, source!, severity!.Value, at < now ? at.Value : now, labels, Annotations(body, payload, summary!), url), errors);

        void Require(bool holds, string expected)
        {
            if (!holds)
            {
                errors.Add(expected);
            }
        }
    }

    private static Dictionary<string, string> Annotations(JsonElement body, JsonElement payload, string summary)
    {
        var annotations = new Dictionary<string, string> { ["summary"] = summary };
        if (payload.TryGetProperty("custom_details", out var details) && details.ValueKind != JsonValueKind.Null)
        {
            annotations["custom_details"] = StorableText.Cut(details.GetRawText(), LongestDetails);
        }

        if (body.TryGetProperty("links", out var links) && links.ValueKind == JsonValueKind.Array && links.EnumerateArray().FirstOrDefault() is { ValueKind: JsonValueKind.Object } link
            && Text(link, "href") is { Length: > 0 and <= LongestUrl } href)
        {
            annotations["link"] = href;
        }

        foreach (var name in (string[])["links", "images"])
        {
            if (body.TryGetProperty(name, out var list) && list.ValueKind == JsonValueKind.Array && Whole(list) is { Length: > 2 } text)
            {
                annotations[name] = text;
            }
        }

        if (Text(body, "client") is { Length: > 0 } client)
        {
            annotations["client"] = Wording.Cut(client, LongestSummary);
        }

        return annotations;
    }

    // As many entries as fit, so that it stays JSON.
    private static string Whole(JsonElement list)
    {
        var text = new StringBuilder("[");
        foreach (var entry in list.EnumerateArray().Select(entry => entry.GetRawText().Replace('\0', ' ')).TakeWhile(entry => text.Length + entry.Length + 2 <= LongestDetails))
        {
            text.Append(text.Length > 1 ? "," : "").Append(entry);
        }

        return text.Append(']').ToString();
    }

    private static Alert Describe(IntegrationKey key, ToldEvent told, string groupKey, DateTimeOffset now)
    {
        var name = told.Labels.GetValueOrDefault("class") is { } kind ? Wording.Cut(kind, LongestName) : "PagerDutyEvent";
        var labels = new Dictionary<string, string>(told.Labels)
        {
            ["alertname"] = name,
            ["realm"] = key.Realm,
            ["integration"] = key.Name,
            ["source"] = told.Source,
            ["dedup_key"] = told.DedupKey,
        };
        return Alert.Fire(
            key.Realm, groupKey, null, name, told.Severity, AlertSource.Api, labels, labels.Where(label => label.Key is "integration" or "source" or "dedup_key").ToDictionary(), told.Annotations,
            new Dictionary<string, string>(), null, null, told.At, now, new AlertReason(null, null, Seen: told.Summary, Condition: $"{told.Source} sent it through the integration {key.Name}"), told.ClientUrl);
    }

    // A text may not hold the one character that PostgreSQL cannot store.
    private static string? Text(JsonElement json, string name) =>
        json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()!.Replace('\0', ' ') : null;

    private static IResult Invalid(params string[] errors) =>
        Results.Json(new EventAnswer("invalid event", "Event object is invalid", Errors: errors), statusCode: StatusCodes.Status400BadRequest);
}
