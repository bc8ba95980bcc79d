using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Keys;

/// <summary>All SQL of the keys. A change and its audit record are one transaction.</summary>
public sealed class KeyStore(NpgsqlDataSource db)
{
    /// <summary>Whatever its state: the caller decides whether it is still valid.</summary>
    public Task<ApiKey?> FindByHashAsync(byte[] hash, CancellationToken ct) =>
        db.FindAsync($"{Columns()} where key_hash = {hash}", Read, ct);

    public Task<ApiKey?> FindAsync(Guid id, CancellationToken ct) =>
        db.FindAsync($"{Columns()} where id = {id}", Read, ct);

    /// <summary>Newest first.</summary>
    /// <param name="realm">One realm, or null for all.</param>
    /// <param name="before">The id that the page before ended with.</param>
    /// <param name="revoked">Whether keys that no longer work are listed too.</param>
    public Task<List<ApiKey>> ListAsync(string? realm, Guid? before, bool revoked, DateTimeOffset now, int limit, CancellationToken ct)
    {
        Sql where = $"true";
        if (realm is not null)
        {
            where = $"{where} and realm = {realm}";
        }

        if (before is { } id)
        {
            where = $"{where} and id < {id}";
        }

        if (!revoked)
        {
            where = $"{where} and revoked_at is null and (expires_at is null or expires_at > {now})";
        }

        return db.QueryAsync($"{Columns()} where {where} order by id desc limit {limit}", Read, ct);
    }

    public async Task CreateAsync(ApiKey key, byte[] hash, Audited audited, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);

        await InsertAsync(tx, key, hash, ct);
        await tx.SendAsync(audited, ct);

        await tx.CommitAsync(ct);
    }

    /// <summary>Revoking again changes nothing and leaves no second record.</summary>
    public async Task RevokeAsync(Guid id, DateTimeOffset now, Audited audited, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);

        if (await tx.ExecuteAsync($"update api_keys set revoked_at = {now} where id = {id} and revoked_at is null", ct) > 0)
        {
            await tx.SendAsync(audited, ct);
        }

        await tx.CommitAsync(ct);
    }

    /// <summary>Notes the latest use of each key. A key noted within the last minute is left as it is, also when another gateway noted it.</summary>
    public Task NoteUseAsync(IReadOnlyDictionary<Guid, DateTimeOffset> uses, CancellationToken ct) =>
        db.ExecuteAsync($"""
            update api_keys as k set last_used_at = u.at
            from unnest({uses.Keys.ToArray()}, {uses.Values.ToArray()}) as u (id, at)
            where k.id = u.id and (k.last_used_at is null or k.last_used_at <= u.at - interval '1 minute')
            """, ct);

    /// <summary>Deletes keys that stopped working before <paramref name="before"/>, a bounded number at a time.</summary>
    public Task<int> ForgetAsync(DateTimeOffset before, CancellationToken ct) =>
        db.ExecuteAsync($"delete from api_keys where id in (select id from api_keys where least(revoked_at, expires_at) < {before} limit 1000)", ct);

    internal static Task InsertAsync(NpgsqlTransaction tx, ApiKey key, byte[] hash, CancellationToken ct) =>
        tx.ExecuteAsync($"""
            insert into api_keys (id, name, role, realm, scopes, key_hash, key_prefix, created_at, created_by, expires_at)
            values ({key.Id}, {key.Name}, {WireJson.Name(key.Role.ToString())}, {key.Realm}, {ScopeNames.Of(key.Scopes)}, {hash}, {key.KeyPrefix},
                    {key.CreatedAt}, {key.CreatedBy}, {key.ExpiresAt})
            """, ct);

    // A piece of SQL belongs to one command, so each statement gets its own.
    internal static Sql Columns() =>
        $"select id, name, role, realm, scopes, key_prefix, created_at, created_by, expires_at, revoked_at, last_used_at from api_keys";

    internal static ApiKey Read(NpgsqlDataReader row) => new(
        row.GetGuid(0),
        row.GetString(1),
        Enum.Parse<Role>(row.GetString(2), ignoreCase: true),
        row.GetString(3),
        ScopeNames.Parse(row.GetFieldValue<string[]>(4)) ?? Scopes.None,
        row.GetString(5),
        row.GetTime(6),
        row.GetString(7),
        row.GetTimeOrNull(8),
        row.GetTimeOrNull(9),
        row.GetTimeOrNull(10));
}
