using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.OnCall;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Doors;

/// <summary>A routing key of PagerDuty senders, without the key itself.</summary>
public sealed record IntegrationKey(Guid Id, string Realm, string Name, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset? LastUsedAt, DateTimeOffset? RevokedAt) : IOfRealm;

/// <param name="RoutingKey">Shown this once; only its hash is kept.</param>
public sealed record NewIntegrationKey(Guid Id, string Realm, string Name, string RoutingKey);

/// <param name="Realm">Only for callers of all realms: the realm that its alerts belong to. Others: their own.</param>
public sealed record IntegrationKeyBody(string? Name, string? Realm);

/// <summary>Make, list and revoke routing keys.</summary>
public static class IntegrationKeysApi
{
    private const string Path = "/api/v1/monitoring/integration-keys";
    private const int MostKeys = 1_000;

    public static IEndpointRouteBuilder MapIntegrationKeys(this IEndpointRouteBuilder app)
    {
        app.MapGet(Path, ListAsync).WithTags("Integrations").RequireAuthorization(Access.AdminRead).WithSummary("Routing keys of senders, newest first, without the keys themselves.");
        app.MapPost(Path, CreateAsync).WithTags("Integrations").RequireAuthorization(Access.AdminWrite)
            .WithSummary("Make a routing key for senders of PagerDuty events. It is shown in this answer and never again.")
            .WithExample("""{"name": "nagios"}""");
        app.MapDelete(Path + "/{id:guid}", RevokeAsync).WithTags("Integrations").RequireAuthorization(Access.AdminWrite).WithSummary("Revoke a routing key, at once and for good.");
        return app;
    }

    private static async Task<Results<Ok<Envelope<Page<IntegrationKey>>>, ValidationProblem>> ListAsync(
        Caller caller, IntegrationKeyStore keys, CancellationToken ct, string? cursor = null, int limit = MostKeys)
    {
        Cursor? after = null;
        if (cursor is not null && !Cursor.TryParse(cursor, out after))
        {
            return TypedResults.ValidationProblem(new Dictionary<string, string[]> { ["cursor"] = ["A next_cursor of an earlier answer."] });
        }

        var size = Math.Clamp(limit, 1, MostKeys);
        var page = await keys.ListAsync(caller.RealmFilter, after, size + 1, ct);
        var next = page.Count > size ? IntegrationKeyStore.PlaceOf(page[size - 1]).ToString() : null;
        return TypedResults.Ok(Envelope.Page<IntegrationKey>([.. page.Take(size)], next));
    }

    private static async Task<Results<Created<Envelope<NewIntegrationKey>>, ValidationProblem, ProblemHttpResult>> CreateAsync(
        IntegrationKeyBody body, Caller caller, IntegrationKeyStore keys, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var realm = body.Realm ?? caller.RealmOfNewData;
        if (!caller.Reaches(realm))
        {
            return Access.RealmOutOfReach(caller, realm);
        }

        var faults = new Faults();
        faults.Require("name", OnCallName.Holds(body.Name), OnCallName.Expected);
        faults.Require("realm", realm != Realm.All, "One realm: the alerts of a key belong somewhere.");
        if (faults.All.Count > 0)
        {
            return TypedResults.ValidationProblem(faults.All);
        }

        var now = clock.GetUtcNow();
        var made = new NewIntegrationKey(Guid.CreateVersion7(now), realm, body.Name!, Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16)));
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!await keys.InsertAsync(tx, made, caller.Subject, MostKeys, now, ct))
        {
            return TypedResults.Problem(
                $"The realm {realm} already has a key named {body.Name}, or {MostKeys} keys. Choose another name, or revoke one.", statusCode: StatusCodes.Status409Conflict, title: "The key was not made");
        }

        await tx.SendAsync(caller.Did("integration_key.created", "integration_key", made.Id.ToString(), now, realm, new Dictionary<string, string> { ["name"] = made.Name }), ct);
        await tx.CommitAsync(ct);
        return TypedResults.Created($"{Path}/{made.Id}", Envelope.Of(made));
    }

    private static async Task<Results<NoContent, NotFound, ProblemHttpResult>> RevokeAsync(
        Guid id, Caller caller, IntegrationKeyStore keys, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!caller.MayChange(await keys.FindForChangeAsync(tx, id, ct), out var key, out var refusal))
        {
            return refusal;
        }

        // A second time changes nothing and leaves no second record.
        if (key.RevokedAt is null)
        {
            await keys.RevokeAsync(tx, id, now, ct);
            await tx.SendAsync(caller.Did("integration_key.revoked", "integration_key", id.ToString(), now, key.Realm, new Dictionary<string, string> { ["name"] = key.Name }), ct);
            await tx.CommitAsync(ct);
        }

        return TypedResults.NoContent();
    }
}

/// <summary>All SQL about routing keys, and how much each may send.</summary>
public sealed class IntegrationKeyStore(NpgsqlDataSource db, DoorOptions options, TimeProvider clock)
{
    // Tokens left, and when they were counted; one entry per key that sent something, and keys are few.
    private readonly ConcurrentDictionary<Guid, (double Tokens, DateTimeOffset At)> _buckets = new();

    // One kind of place for both: revoked keys as if they had been made long before any that works.
    private const int FirstYear = 1900;
    private static readonly TimeSpan BehindLiveOnes = TimeSpan.FromDays(365_000);

    private static Sql Columns => $"id, realm, name, created_by, created_at, last_used_at, revoked_at";

    /// <summary>The key with this text, unless it was revoked.</summary>
    public Task<IntegrationKey?> FindByKeyAsync(string key, CancellationToken ct) =>
        db.FindAsync($"select {Columns} from integration_keys where key_hash = {Hash(key)} and revoked_at is null", Read, ct);

    /// <summary>False when the key has sent its share of this minute.</summary>
    public bool MaySend(Guid key)
    {
        var now = clock.GetUtcNow();
        var rate = options.RatePerMinute / 60d;
        return _buckets.AddOrUpdate(
            key,
            _ => (options.RatePerMinute - 1, now),
            (_, bucket) => (Math.Min(options.RatePerMinute, Math.Max(bucket.Tokens, 0) + rate * Math.Max(0, (now - bucket.At).TotalSeconds)) - 1, now)).Tokens >= 0;
    }

    /// <summary>One page: those that work, newest first, and then those that were revoked, so that no number of them hides a key that works.</summary>
    public Task<List<IntegrationKey>> ListAsync(string? realm, Cursor? after, int atMost, CancellationToken ct)
    {
        Sql where = $"true";
        where = realm is not null ? $"{where} and realm = {realm}" : where;
        if (after is { At.Year: >= FirstYear } live)
        {
            where = $"{where} and (revoked_at is not null or (created_at, id) < ({live.At}, {live.Id}))";
        }
        else if (after is { } revoked)
        {
            where = $"{where} and revoked_at is not null and (created_at, id) < ({revoked.At + BehindLiveOnes}, {revoked.Id})";
        }

        return db.QueryAsync($"select {Columns} from integration_keys where {where} order by revoked_at is null desc, created_at desc, id desc limit {atMost}", Read, ct);
    }

    /// <summary>Where a key stands in the list.</summary>
    public static Cursor PlaceOf(IntegrationKey key) => new(key.RevokedAt is null ? key.CreatedAt : key.CreatedAt - BehindLiveOnes, key.Id);

    /// <summary>Deletes keys that were revoked before <paramref name="before"/>; who revoked what stays in the audit log.</summary>
    public Task<int> DeleteRevokedAsync(DateTimeOffset before, int atMost, CancellationToken ct) =>
        db.ExecuteAsync($"delete from integration_keys where id = any(array(select id from integration_keys where revoked_at < {before} limit {atMost} for update skip locked))", ct);

    public Task<IntegrationKey?> FindForChangeAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from integration_keys where id = {id} for update", Read, ct);

    /// <returns>False when the name is taken or the realm has enough.</returns>
    public async Task<bool> InsertAsync(NpgsqlTransaction tx, NewIntegrationKey key, string by, int atMost, DateTimeOffset now, CancellationToken ct) =>
        await tx.ExecuteAsync($"""
            insert into integration_keys (id, realm, name, key_hash, created_by, created_at)
            select {key.Id}, {key.Realm}, {key.Name}, {Hash(key.RoutingKey)}, {by}, {now}
            where (select count(*) from integration_keys where realm = {key.Realm} and revoked_at is null) < {atMost}
            on conflict (realm, name) where revoked_at is null do nothing
            """, ct) == 1;

    /// <summary>Once a minute is enough to find the keys that nobody uses.</summary>
    public static Task UsedAsync(NpgsqlTransaction tx, Guid id, DateTimeOffset now, CancellationToken ct) =>
        tx.ExecuteAsync($"update integration_keys set last_used_at = {now} where id = {id} and (last_used_at is null or last_used_at < {now.AddMinutes(-1)})", ct);

    public Task RevokeAsync(NpgsqlTransaction tx, Guid id, DateTimeOffset now, CancellationToken ct) =>
        tx.ExecuteAsync($"update integration_keys set revoked_at = {now} where id = {id}", ct);

    // 128 random bits need no salt and no slow hash.
    private static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));

    private static IntegrationKey Read(NpgsqlDataReader row) =>
        new(row.GetGuid(0), row.GetString(1), row.GetString(2), row.GetString(3), row.GetTime(4), row.GetTimeOrNull(5), row.GetTimeOrNull(6));
}
