using System.Security.Cryptography;
using Microsoft.AspNetCore.DataProtection;
using Npgsql;
using Platform.Postgres;

namespace Platform.Compliance.Audit;

/// <summary>
/// Keys that the service makes once and keeps, encrypted with the platform's key ring. The first to ask makes the key; replicas that ask
/// at the same time end up with the same one.
/// </summary>
public sealed class ServiceKeys(NpgsqlDataSource db, IDataProtectionProvider protection, TimeProvider clock)
{
    private readonly IDataProtector _protector = protection.CreateProtector("compliance.service-keys.v1");

    public async Task<(byte[] Secret, byte[]? PublicKey)> GetAsync(string name, Func<(byte[] Secret, byte[]? PublicKey)> make, CancellationToken ct)
    {
        if (await FindAsync(name, ct) is { } known)
        {
            return known;
        }

        var (secret, publicKey) = make();
        await db.ExecuteAsync(
            $"insert into service_keys (name, public_key, sealed, created_at) values ({name}, {publicKey}, {_protector.Protect(secret)}, {clock.GetUtcNow()}) on conflict do nothing",
            ct);
        return (await FindAsync(name, ct))!.Value;
    }

    private async Task<(byte[] Secret, byte[]? PublicKey)?> FindAsync(string name, CancellationToken ct)
    {
        var found = await db.FindAsync(
            $"select sealed, public_key from service_keys where name = {name}",
            row => new Sealed(row.GetFieldValue<byte[]>(0), row.GetOrNull(1, row.GetFieldValue<byte[]>)),
            ct);
        if (found is null)
        {
            return null;
        }

        try
        {
            return (_protector.Unprotect(found.Secret), found.PublicKey);
        }
        catch (CryptographicException error)
        {
            throw new InvalidOperationException(
                $"The key '{name}' cannot be decrypted: the key ring in the identity database is not the one it was encrypted with. Restore both databases from the same backup.", error);
        }
    }

    private sealed record Sealed(byte[] Secret, byte[]? PublicKey);
}
