using System.Security.Cryptography;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.Extensions.Caching.Memory;
using Npgsql;
using Platform.Postgres;

namespace Platform.Compliance.Audit;

/// <summary>
/// The keys of all subjects. Rows hold the key encrypted with the platform's key ring, and instead of the subject's name an HMAC of it,
/// so that the table alone tells nobody who is in the log.
/// </summary>
public sealed class SubjectKeys(NpgsqlDataSource db, ServiceKeys serviceKeys, IDataProtectionProvider protection, TimeProvider clock) : IDisposable
{
    // Decrypting a key costs more than everything else about it; a destroyed one must not live on in memory for long.
    private static readonly TimeSpan KeptFor = TimeSpan.FromMinutes(2);

    private readonly IDataProtector _protector = protection.CreateProtector("compliance.subject-keys.v1");
    private readonly MemoryCache _open = new(new MemoryCacheOptions { SizeLimit = 10_000 });
    private byte[]? _lookupKey;

    /// <summary>What stands for the subject in <c>subject_keys</c>.</summary>
    public async Task<byte[]> LookupAsync(string realm, string subject, CancellationToken ct)
    {
        // Asking twice at the start is harmless: both get the same key.
        _lookupKey ??= (await serviceKeys.GetAsync("subject-lookup", () => (RandomNumberGenerator.GetBytes(32), null), ct)).Secret;
        return HMACSHA256.HashData(_lookupKey, CanonicalJson.Of(new[] { realm, subject }));
    }

    /// <summary>The living key of each subject, made where there was none. The caller holds the head of the realm's chain locked, as an erasure does, so no key can be destroyed meanwhile.</summary>
    public async Task<IReadOnlyDictionary<string, SubjectKey>> GetAsync(string realm, IEnumerable<string> subjects, NpgsqlTransaction tx, CancellationToken ct)
    {
        var lookups = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var subject in subjects)
        {
            lookups[subject] = await LookupAsync(realm, subject, ct);
        }

        var rows = await tx.QueryAsync(
            $"select lookup, id, sealed from subject_keys where realm = {realm} and lookup = any({lookups.Values.ToArray()}) and destroyed_at is null",
            row => (Lookup: row.GetFieldValue<byte[]>(0), Id: row.GetGuid(1), Sealed: row.GetFieldValue<byte[]>(2)),
            ct);
        var known = rows.ToDictionary(row => Convert.ToHexString(row.Lookup), row => Open(row.Id, row.Sealed));
        var keys = new Dictionary<string, SubjectKey>(StringComparer.Ordinal);
        foreach (var (subject, lookup) in lookups)
        {
            keys[subject] = known.GetValueOrDefault(Convert.ToHexString(lookup)) ?? await MakeAsync(realm, lookup, tx, ct);
        }

        return keys;
    }

    /// <summary>The key in the clear; remembered for a short while.</summary>
    public SubjectKey Open(Guid id, byte[] sealedKey) => _open.GetOrCreate(id, entry =>
    {
        entry.Size = 1;
        entry.AbsoluteExpirationRelativeToNow = KeptFor;
        return new SubjectKey(id, _protector.Unprotect(sealedKey));
    })!;

    /// <summary>Ids of the living keys of a subject, in one realm or all.</summary>
    public async Task<Guid[]> FindIdsAsync(string? realm, string subject, CancellationToken ct)
    {
        var realms = realm is not null ? [realm] : await db.QueryAsync($"select realm from audit_chains order by realm limit 10000", row => row.GetString(0), ct);
        var lookups = new List<byte[]>();
        foreach (var each in realms)
        {
            lookups.Add(await LookupAsync(each, subject, ct));
        }

        return [.. await db.QueryAsync($"select id from subject_keys where lookup = any({lookups.ToArray()}) and destroyed_at is null", row => row.GetGuid(0), ct)];
    }

    /// <summary>Destroys the subject's key and forgets whose it was.</summary>
    /// <returns>The id of the key that was, or null when the realm knows no such subject.</returns>
    public async Task<Guid?> DestroyAsync(string realm, string subject, NpgsqlTransaction tx, CancellationToken ct)
    {
        var lookup = await LookupAsync(realm, subject, ct);
        var destroyed = await tx.QueryAsync(
            $"update subject_keys set lookup = null, sealed = null, destroyed_at = {clock.GetUtcNow()} where realm = {realm} and lookup = {lookup} and destroyed_at is null returning id",
            row => row.GetGuid(0),
            ct);
        if (destroyed.Count == 0)
        {
            return null;
        }

        _open.Remove(destroyed[0]);
        return destroyed[0];
    }

    private async Task<SubjectKey> MakeAsync(string realm, byte[] lookup, NpgsqlTransaction tx, CancellationToken ct)
    {
        var secret = SubjectKey.NewSecret();
        var key = new SubjectKey(Guid.CreateVersion7(clock.GetUtcNow()), secret);
        await tx.ExecuteAsync(
            $"insert into subject_keys (id, realm, lookup, sealed, created_at) values ({key.Id}, {realm}, {lookup}, {_protector.Protect(secret)}, {clock.GetUtcNow()})", ct);
        return key;
    }

    public void Dispose() => _open.Dispose();
}
