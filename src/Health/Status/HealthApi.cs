using System.Globalization;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.Health.Checks;
using Platform.ServiceDefaults;

namespace Platform.Health.Status;

/// <param name="Status">healthy, degraded or unhealthy.</param>
public sealed record StatusWord(HealthState Status);

/// <param name="Status">healthy, degraded or unhealthy: unhealthy when the platform cannot take in data or alert.</param>
/// <param name="Score">0 to 100.</param>
public sealed record DetailedHealth(HealthState Status, int Score, DateTimeOffset Timestamp, IReadOnlyDictionary<string, ComponentHealth> Components);

/// <param name="LastChange">When the state was entered; null before the first result.</param>
/// <param name="LatencyMs">Of the last run.</param>
/// <param name="Reason">What the last run saw; for moderators and admins, because it may name addresses.</param>
/// <param name="Details">Numbers that the last run saw; for moderators and admins.</param>
public sealed record ComponentHealth(
    HealthState Status,
    string Kind,
    bool Core,
    double? LatencyMs,
    DateTimeOffset? CheckedAt,
    DateTimeOffset? LastChange,
    int ConsecutiveFailures,
    UptimePercent? Uptime,
    string? Reason,
    IReadOnlyDictionary<string, double>? Details);

/// <summary>Percent of the time that a component was not unhealthy.</summary>
public sealed record UptimePercent(
    [property: JsonPropertyName("24h")] double Day,
    [property: JsonPropertyName("7d")] double Week,
    [property: JsonPropertyName("30d")] double Month)
{
    public static UptimePercent? Of(Uptime? uptime) => uptime is null ? null : new(uptime.Day, uptime.Week, uptime.Month);
}

/// <summary>The health check of applications that know only healthy and unhealthy: all components, or not.</summary>
public sealed record SimpleHealth(string Status, IReadOnlyDictionary<string, SimpleComponent> Components, DateTimeOffset Timestamp);

public sealed record SimpleComponent(bool Healthy, [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Error);

public static class HealthApi
{
    private const int MostResults = 1_000;

    public static IEndpointRouteBuilder MapHealth(this IEndpointRouteBuilder app)
    {
        app.MapGet("/monitoring/health", Word).AllowAnonymous().WithTags("Health");
        app.MapGet("/monitoring/health/detailed", Detailed).RequireAuthorization(Access.UserRead).WithTags("Health");
        app.MapGet("/api/health", Simple).RequireAuthorization(Access.UserRead).WithTags("Health");

        var checks = app.MapGroup("/api/v1/monitoring/health").RequireAuthorization(Access.UserRead).WithTags("Health");
        checks.MapGet("/checks", (Caller caller, Board board) => TypedResults.Ok(Envelope.Of(Detailed(caller, board).Value!)));
        checks.MapGet("/checks/{component}/history", HistoryAsync);
        return app;
    }

    /// <summary>For load balancers: from memory, one word, no more.</summary>
    private static JsonHttpResult<StatusWord> Word(HttpResponse response, Board board)
    {
        response.Headers.CacheControl = "no-store";
        var state = board.Look().State;
        return TypedResults.Json(new StatusWord(state), statusCode: state == HealthState.Unhealthy ? StatusCodes.Status503ServiceUnavailable : StatusCodes.Status200OK);
    }

    private static Ok<DetailedHealth> Detailed(Caller caller, Board board)
    {
        var seen = board.Look();
        return TypedResults.Ok(new DetailedHealth(seen.State, seen.Score, seen.At, seen.Components.ToDictionary(component => component.Component, component => new ComponentHealth(
            component.State,
            component.Kind,
            component.IsCore,
            component.Last is { } last ? Math.Round(last.Latency.TotalMilliseconds, 3) : null,
            component.Last?.At,
            component.Since,
            component.ConsecutiveFailures,
            UptimePercent.Of(component.Uptime),
            SeesReasons(caller) ? component.Reason : null,
            SeesReasons(caller) ? component.Last?.Details : null))));
    }

    private static JsonHttpResult<SimpleHealth> Simple(Caller caller, Board board)
    {
        var seen = board.Look();
        var components = seen.Components.ToDictionary(component => component.Component, component => component.State == HealthState.Healthy
            ? new SimpleComponent(true, null)
            : new SimpleComponent(false, SeesReasons(caller) && component.Reason.Length > 0 ? component.Reason : CheckStore.Word(component.State)));
        var isHealthy = seen.State != HealthState.Unhealthy && components.Values.All(component => component.Healthy);
        return TypedResults.Json(
            new SimpleHealth(isHealthy ? "healthy" : "unhealthy", components, seen.At),
            statusCode: isHealthy ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable);
    }

    private static async Task<Results<Ok<Envelope<Page<PastResult>>>, NotFound, ValidationProblem>> HistoryAsync(
        string component, Caller caller, Checklist checklist, CheckStore store, TimeProvider clock, CancellationToken ct,
        DateTimeOffset? from = null, DateTimeOffset? to = null, string? cursor = null, int limit = 100)
    {
        if (checklist.Checks.All(check => check.Component != component))
        {
            return TypedResults.NotFound();
        }

        var errors = new Dictionary<string, string[]>();
        var before = (to ?? clock.GetUtcNow()).ToUniversalTime();
        var after = (from ?? DateTimeOffset.UnixEpoch).ToUniversalTime();
        if (cursor is not null && (!long.TryParse(cursor, NumberStyles.None, CultureInfo.InvariantCulture, out var microseconds) || microseconds > MostMicroseconds))
        {
            errors["cursor"] = ["Not a cursor of this list. Give back next_cursor as it came, or leave it out for the first page."];
        }
        else if (cursor is not null)
        {
            var place = DateTimeOffset.UnixEpoch.AddTicks(long.Parse(cursor, CultureInfo.InvariantCulture) * TimeSpan.TicksPerMicrosecond);
            before = place < before ? place : before;
        }

        if (from > to)
        {
            errors["from"] = ["It is later than to. Exchange them."];
        }

        if (limit is < 1 or > MostResults)
        {
            errors["limit"] = [$"{limit} is not between 1 and {MostResults}."];
        }

        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var results = await store.ListResultsAsync(component, after, before, limit, ct);
        var next = results.Count < limit ? null : ((results[^1].At - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond).ToString(CultureInfo.InvariantCulture);
        return TypedResults.Ok(Envelope.Page(SeesReasons(caller) ? results : [.. results.Select(result => result with { Reason = null })], next));
    }

    private static readonly long MostMicroseconds = (DateTimeOffset.MaxValue - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;

    // What a check saw may name hosts, ports and queues.
    private static bool SeesReasons(Caller caller) => Access.Allows(Access.ModeratorRead, caller);
}
