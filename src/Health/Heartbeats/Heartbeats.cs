using System.ComponentModel.DataAnnotations;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Health.Heartbeats;

public sealed class HeartbeatOptions
{
    /// <summary>Heartbeats of one realm.</summary>
    [Setting("HEALTH_MAX_HEARTBEATS"), Range(1, 100_000)]
    public int MaxHeartbeats { get; init; } = 1_000;

    /// <summary>After its start a replica waits this long before it judges: while nobody listened, no beat could come.</summary>
    [Setting("HEALTH_HEARTBEAT_START_SECONDS"), Range(0, 3_600)]
    public TimeSpan StartGrace { get; init; } = TimeSpan.FromSeconds(10);
}

/// <summary>Somebody who must not fall silent.</summary>
/// <param name="DueAt">Without a beat until then it is missed.</param>
/// <param name="Since">When it was last missed, found again, or made.</param>
public sealed record Heartbeat(
    string Realm, string Name, int IntervalSeconds, int GraceSeconds, bool Missed, DateTimeOffset? LastBeatAt, DateTimeOffset DueAt, DateTimeOffset Since, string CreatedBy, DateTimeOffset CreatedAt)
{
    /// <summary>What the health messages about it call it.</summary>
    public string Component => $"heartbeat/{Name}";
}

/// <param name="IntervalSeconds">How often a beat is expected, 1 to 2678400 (31 days).</param>
/// <param name="GraceSeconds">How late it may be.</param>
public sealed record HeartbeatBody([Range(1, 2_678_400)] int IntervalSeconds, [Range(0, 2_678_400)] int GraceSeconds = 0);

/// <summary>Make, list, remove and send heartbeats.</summary>
public static partial class HeartbeatsApi
{
    private const string Path = "/api/v1/monitoring/health/heartbeats";

    public static IHostApplicationBuilder AddHeartbeats(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<HeartbeatOptions>();
        builder.Services.AddSingleton<HeartbeatStore>();
        builder.Services.AddHostedService<HeartbeatWorker>();
        return builder;
    }

    public static IEndpointRouteBuilder MapHeartbeats(this IEndpointRouteBuilder app)
    {
        app.MapGet(Path, ListAsync).WithTags("Heartbeats").RequireAuthorization(Access.UserRead);
        app.MapPut(Path + "/{name}", SaveAsync).WithTags("Heartbeats").RequireAuthorization(Access.ModeratorWrite);
        app.MapDelete(Path + "/{name}", DeleteAsync).WithTags("Heartbeats").RequireAuthorization(Access.ModeratorWrite);
        app.MapPost(Path + "/{name}", BeatAsync).WithTags("Heartbeats").RequireAuthorization(Access.Ingest);
        return app;
    }

    private static async Task<Ok<Envelope<Page<Heartbeat>>>> ListAsync(Caller caller, HeartbeatStore heartbeats, CancellationToken ct) =>
        TypedResults.Ok(Envelope.Page<Heartbeat>(await heartbeats.ListAsync(caller.RealmFilter, ct), null));

    /// <summary>Makes it, or changes its times. Either counts as a beat.</summary>
    private static async Task<Results<Ok<Envelope<Heartbeat>>, ValidationProblem, ProblemHttpResult>> SaveAsync(
        string name, HeartbeatBody body, Caller caller, HeartbeatStore heartbeats, HeartbeatOptions options, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        if (!Name().IsMatch(name))
        {
            return TypedResults.ValidationProblem(new Dictionary<string, string[]> { ["name"] = ["1 to 100 letters, digits, - _ and ."] });
        }

        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!await heartbeats.SaveAsync(tx, caller.RealmOfNewData, name, body, caller.Subject, options.MaxHeartbeats, now, ct))
        {
            return TypedResults.Problem(
                $"The realm {caller.RealmOfNewData} has {options.MaxHeartbeats} heartbeats. Delete some, or raise HEALTH_MAX_HEARTBEATS.", statusCode: StatusCodes.Status409Conflict, title: "Too many heartbeats");
        }

        var saved = (await heartbeats.BeatAsync(tx, caller.RealmOfNewData, name, now, ct))!;
        await tx.SendAsync(caller.Did("heartbeat.saved", "heartbeat", name, now, saved.Realm, new Dictionary<string, string>
        {
            ["interval_seconds"] = $"{body.IntervalSeconds}",
            ["grace_seconds"] = $"{body.GraceSeconds}",
        }), ct);
        await tx.CommitAsync(ct);
        return TypedResults.Ok(Envelope.Of(saved));
    }

    private static async Task<Results<NoContent, NotFound>> DeleteAsync(string name, Caller caller, HeartbeatStore heartbeats, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!await heartbeats.DeleteAsync(tx, caller.RealmOfNewData, name, now, ct))
        {
            return TypedResults.NotFound();
        }

        await tx.SendAsync(caller.Did("heartbeat.deleted", "heartbeat", name, now, caller.RealmOfNewData), ct);
        await tx.CommitAsync(ct);
        return TypedResults.NoContent();
    }

    /// <summary>"I live." A heartbeat that was missed is found again.</summary>
    private static async Task<Results<Ok<Envelope<Heartbeat>>, NotFound>> BeatAsync(string name, Caller caller, HeartbeatStore heartbeats, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (await heartbeats.BeatAsync(tx, caller.RealmOfNewData, name, clock.GetUtcNow(), ct) is not { } beaten)
        {
            return TypedResults.NotFound();
        }

        await tx.CommitAsync(ct);
        return TypedResults.Ok(Envelope.Of(beaten));
    }

    [GeneratedRegex(@"^[A-Za-z0-9_.\-]{1,100}$")]
    private static partial Regex Name();
}
