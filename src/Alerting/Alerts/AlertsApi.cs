using System.ComponentModel.DataAnnotations;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Alerts;

/// <param name="Reason">For the record and for the others, at most 2000 characters.</param>
/// <param name="For">Of an acknowledgement: when this is over and the alert is not, people are told again; <c>30m</c>, <c>2h</c>.</param>
/// <param name="Until">The same as a time.</param>
public sealed record ActReason([StringLength(2000)] string? Reason, string? For = null, DateTimeOffset? Until = null)
{
    private static readonly TimeSpan Longest = TimeSpan.FromDays(365);

    /// <summary>When an acknowledgement ends, or what is wrong with it by the name of its field.</summary>
    public (DateTimeOffset? Until, Dictionary<string, string[]> Errors) End(DateTimeOffset now)
    {
        var errors = new Dictionary<string, string[]>();
        var length = For is null ? null : AlertDuration.Parse(For);
        if (For is not null && (length is null || length <= TimeSpan.Zero || length > Longest))
        {
            errors["for"] = ["A duration such as 30m or 2h, at most a year."];
        }

        if (Until is { } time && (time <= now || time > now + Longest))
        {
            errors["until"] = ["A time to come, within a year."];
        }

        if (For is not null && Until is not null)
        {
            errors["until"] = ["Either for or until."];
        }

        return (Until?.ToUniversalTime() ?? (length is { } given && errors.Count == 0 ? now + given : null), errors);
    }
}

/// <summary>List and look at alerts, raise one by hand, take care of one, declare one over.</summary>
public static class AlertsApi
{
    private const int LargestPage = 500;

    public static IHostApplicationBuilder AddAlerts(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<AlertHistoryOptions>();
        builder.Services.AddSingleton<AlertStore>();
        builder.Services.AddHostedService<AlertHistoryWorker>();
        builder.Services.AddHostedService<AlertEndings>();
        builder.AddConsumer<HealthChanged, RaiseAlertOnHealthChanged>();
        return builder;
    }

    public static IEndpointRouteBuilder MapAlerts(this IEndpointRouteBuilder app)
    {
        var read = app.MapGroup("/api/v1/monitoring").WithTags("Alerts").RequireAuthorization(Access.UserRead);
        read.MapGet("/alerts", ListAsync).WithSummary("Alerts, newest first, by state, severity, name and time.");
        read.MapGet("/alerts/{id:guid}", FindAsync).WithSummary("One alert, with what suppresses it.");

        // The second prefix is that of seed 001.
        foreach (var prefix in (string[])["/api/v1/monitoring", "/monitoring"])
        {
            var write = app.MapGroup(prefix).WithTags("Alerts").RequireAuthorization(Access.ModeratorWrite);
            write.MapPost("/alerts/create", RaiseAsync).WithSummary("Raise an alert by hand; 200 with the open one when the same is open already.")
                .WithExample("""{"name": "QueueGrows", "severity": "high", "message": "12,000 mails wait", "labels": {"queue": "mail"}}""");
            write.MapPost("/alerts/{id:guid}/acknowledge", AcknowledgeAsync).WithSummary("Take care of an alert; with for or until, people are told again when it is not over by then.")
                .WithExample("""{"reason": "restarting the worker", "for": "30m"}""");
            write.MapPost("/alerts/{id:guid}/resolve", ResolveAsync).WithSummary("Declare an alert over.")
                .WithExample("""{"reason": "worker restarted"}""");
        }

        app.MapGet("/internal/alerts/counts", async (Caller caller, AlertStore alerts, CancellationToken ct) => TypedResults.Ok(Envelope.Of(await alerts.CountAsync(caller.RealmFilter, ct))))
            .RequireAuthorization(Access.Service)
            .ExcludeFromDescription();
        return app;
    }

    /// <param name="state">firing, acknowledged, resolved, open for everything that is not resolved, or suppressed for what is open and kept from being told.</param>
    private static async Task<Results<Ok<Envelope<Page<Alert>>>, ValidationProblem>> ListAsync(
        Caller caller, AlertStore alerts, CancellationToken ct,
        string? state = null, string? severity = null, string? name = null, string? from = null, string? to = null, string? cursor = null, int limit = 100)
    {
        var errors = new Dictionary<string, string[]>();
        AlertState? wanted = state switch { "firing" => AlertState.Firing, "acknowledged" => AlertState.Acknowledged, "resolved" => AlertState.Resolved, _ => null };
        Require("state", state is null or "open" or "suppressed" || wanted is not null, "One of firing, acknowledged, resolved, open, suppressed.");
        Require("severity", severity is null || Severities.Parse(severity) is not null, "One of critical, high, medium, low, info.");
        var start = QueryTime.Parse(from);
        Require("from", from is null || start is not null, QueryTime.Expected);
        var end = QueryTime.Parse(to);
        Require("to", to is null || end is not null, QueryTime.Expected);
        Cursor? after = null;
        Require("cursor", cursor is null || Cursor.TryParse(cursor, out after), "A next_cursor of an earlier answer.");
        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var size = Math.Clamp(limit, 1, LargestPage);
        var page = await alerts.ListAsync(new AlertFilter(caller.RealmFilter, wanted, state == "open", state == "suppressed", Severities.Parse(severity), name, start, end), after, size + 1, ct);
        var next = page.Count > size ? new Cursor(page[size - 1].FiredAt, page[size - 1].Id).ToString() : null;
        return TypedResults.Ok(Envelope.Page<Alert>([.. page.Take(size)], next));

        void Require(string field, bool holds, string expected)
        {
            if (!holds)
            {
                errors[field] = [expected];
            }
        }
    }

    private static async Task<Results<Ok<Envelope<Alert>>, NotFound, ProblemHttpResult>> FindAsync(Guid id, Caller caller, AlertStore alerts, CancellationToken ct) =>
        await alerts.FindAsync(id, ct) is not { } alert ? TypedResults.NotFound()
        : !caller.Reaches(alert.Realm) ? Access.ForeignRealm(caller, alert.Realm)
        : TypedResults.Ok(Envelope.Of(alert));

    /// <summary>201 for a new alert; 200 with the open one when the same label set is open already, so that a repeated request tells nobody twice.</summary>
    private static async Task<Results<Created<Envelope<Alert>>, Ok<Envelope<Alert>>, ValidationProblem>> RaiseAsync(
        NewAlert body, Caller caller, AlertStore alerts, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (alert, errors) = body.Check(caller.RealmOfNewData, now);
        if (alert is null)
        {
            return TypedResults.ValidationProblem(errors);
        }

        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var id = await alerts.FireAsync(tx, alert, ct);
        if (id != alert.Id)
        {
            return TypedResults.Ok(Envelope.Of((await alerts.FindForChangeAsync(tx, id, ct))!));
        }

        await tx.SendAsync(caller.Did("alert.created", "alert", id.ToString(), now, alert.Realm, new Dictionary<string, string> { ["name"] = alert.Name, ["severity"] = alert.Severity.Word() }), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return TypedResults.Created($"/api/v1/monitoring/alerts/{id}", Envelope.Of(alert));
    }

    private static async Task<Results<Ok<Envelope<Alert>>, NotFound, ValidationProblem, ProblemHttpResult>> AcknowledgeAsync(
        Guid id, Caller caller, AlertStore alerts, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct, ActReason? body = null)
    {
        var now = clock.GetUtcNow();
        var (until, errors) = body?.End(now) ?? (null, []);
        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!caller.MayChange(await alerts.FindForChangeAsync(tx, id, ct), out var alert, out var refusal))
        {
            return refusal;
        }

        if (alert.Acknowledge(new AlertAct(caller.Subject, now, body?.Reason), until) is not { } acknowledged)
        {
            return TypedResults.Problem($"The alert was resolved at {alert.Resolved!.At:O}. What is over needs nobody to take care of it.",
                statusCode: StatusCodes.Status409Conflict, title: "The alert is resolved");
        }

        if (acknowledged != alert)
        {
            await alerts.SaveAcknowledgedAsync(tx, acknowledged, ct);
            await tx.SendAsync(caller.Did("alert.acknowledged", "alert", id.ToString(), now, alert.Realm, Describe(alert, body)), ct);
            await tx.CommitAsync(ct);
        }

        return TypedResults.Ok(Envelope.Of(acknowledged));
    }

    /// <summary>An alert of a rule whose events go on does not fire again before their count fell below the threshold and crossed it anew.</summary>
    private static async Task<Results<Ok<Envelope<Alert>>, NotFound, ProblemHttpResult>> ResolveAsync(
        Guid id, Caller caller, AlertStore alerts, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct, ActReason? body = null)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!caller.MayChange(await alerts.FindForChangeAsync(tx, id, ct), out var alert, out var refusal))
        {
            return refusal;
        }

        var resolved = alert.Resolve(new AlertAct(caller.Subject, now, body?.Reason), now);
        if (resolved != alert)
        {
            await alerts.SaveResolvedAsync(tx, [resolved], ct);
            await tx.SendAsync(caller.Did("alert.resolved", "alert", id.ToString(), now, alert.Realm, Describe(alert, body)), ct);
            await tx.CommitAsync(ct);
            flusher.Wake();
        }

        return TypedResults.Ok(Envelope.Of(resolved));
    }

    private static Dictionary<string, string> Describe(Alert alert, ActReason? body)
    {
        var details = new Dictionary<string, string> { ["name"] = alert.Name };
        if (body?.Reason is { Length: > 0 } reason)
        {
            details["reason"] = reason;
        }

        if (body?.For is { Length: > 0 } length)
        {
            details["for"] = length;
        }

        return details;
    }
}

/// <summary>Times in query strings.</summary>
internal static class QueryTime
{
    public const string Expected = "A time with its offset, for example 2026-03-01T09:15:00Z (in a URL, + is written %2B), of the years 1970 to 8999.";

    public static DateTimeOffset? Parse(string? text) =>
        DateTimeOffset.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, System.Globalization.DateTimeStyles.AssumeUniversal | System.Globalization.DateTimeStyles.AdjustToUniversal, out var time)
            && time.Year is >= 1970 and < 9000 ? time : null;
}
