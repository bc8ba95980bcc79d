using System.Security.Cryptography;
using Npgsql;
using Platform.Postgres;

namespace Platform.Compliance.Audit;

/// <summary>What the service vouched for at a moment: the chain of this realm had this many records, and the last one had this hash.</summary>
/// <param name="Hash">Hex.</param>
/// <param name="Count">Equal to <paramref name="Seq"/>: sequences have no gaps.</param>
/// <param name="KeyId">The first 16 hex digits of the SHA-256 of the public key.</param>
/// <param name="Signature">ECDSA P-256 over SHA-256, ASN.1 DER, base64.</param>
public sealed record SignedHead(string Realm, long Seq, string Hash, long Count, DateTimeOffset At, string KeyId, string Signature)
{
    /// <summary>What is signed: canonical JSON of everything but the signature.</summary>
    public byte[] SignedBytes() => CanonicalJson.Of(new { Realm, Seq, Hash, Count, At = Time.Canonical(At), KeyId });

    /// <summary>Whether the holder of the private key signed exactly this.</summary>
    /// <param name="publicKey">SubjectPublicKeyInfo.</param>
    public bool IsSignedBy(byte[] publicKey)
    {
        var signature = new byte[128];
        if (!Convert.TryFromBase64String(Signature, signature, out var length))
        {
            return false;
        }

        using var key = ECDsa.Create();
        key.ImportSubjectPublicKeyInfo(publicKey, out _);
        return key.VerifyData(SignedBytes(), signature.AsSpan(0, length), HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence);
    }

    public static string KeyIdOf(byte[] publicKey) => Convert.ToHexStringLower(SHA256.HashData(publicKey))[..16];
}

/// <summary>The signing key, made at first use, and the history of what it signed.</summary>
public sealed class SignedHeads(NpgsqlDataSource db, ServiceKeys keys, TimeProvider clock)
{
    private (byte[] Secret, byte[] PublicKey)? _key;

    /// <summary>SubjectPublicKeyInfo of the key that signs.</summary>
    public async Task<byte[]> GetPublicKeyAsync(CancellationToken ct) => (await KeyAsync(ct)).PublicKey;

    public async Task<SignedHead> SignAsync(string realm, long seq, byte[] hash, CancellationToken ct)
    {
        var (secret, publicKey) = await KeyAsync(ct);
        var head = new SignedHead(realm, seq, Convert.ToHexStringLower(hash), seq, Time.Micro(clock.GetUtcNow()), SignedHead.KeyIdOf(publicKey), "");
        using var key = ECDsa.Create();
        key.ImportPkcs8PrivateKey(secret, out _);
        return head with { Signature = Convert.ToBase64String(key.SignData(head.SignedBytes(), HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence)) };
    }

    public Task<int> KeepAsync(SignedHead head, CancellationToken ct) => db.ExecuteAsync($"""
        insert into audit_heads (realm, seq, hash, count, at, key_id, signature)
        values ({head.Realm}, {head.Seq}, {Convert.FromHexString(head.Hash)}, {head.Count}, {head.At}, {head.KeyId}, {Convert.FromBase64String(head.Signature)})
        on conflict do nothing
        """, ct);

    public Task<SignedHead?> FindNewestAsync(string realm, CancellationToken ct) => db.FindAsync(
        $"select realm, seq, hash, count, at, key_id, signature from audit_heads where realm = {realm} order by seq desc limit 1", Read, ct);

    public Task<List<SignedHead>> ListAsync(string realm, long fromSeq, int most, CancellationToken ct) => db.QueryAsync(
        $"select realm, seq, hash, count, at, key_id, signature from audit_heads where realm = {realm} and seq >= {fromSeq} order by seq limit {most}", Read, ct);

    /// <summary>Heads of chains that grew beyond their newest signature.</summary>
    public Task<List<ChainHead>> ListUnsignedAsync(int most, CancellationToken ct) => db.QueryAsync($"""
        select c.realm, c.seq, c.hash, c.recorded_at
        from audit_chains c
        where c.seq > coalesce((select max(h.seq) from audit_heads h where h.realm = c.realm), 0)
        order by c.recorded_at limit {most}
        """, ChainHead.Read, ct);

    /// <summary>Keeps every head of the last day, and of older hours the last one each: bounded by time, and no stretch stays without a witness.</summary>
    public Task<int> ThinOutAsync(int most, CancellationToken ct) => db.ExecuteAsync($"""
        delete from audit_heads where (realm, seq) in (
            select h.realm, h.seq from audit_heads h
            where h.at < {clock.GetUtcNow().AddDays(-1)}
              and exists (select 1 from audit_heads later
                          where later.realm = h.realm and later.seq > h.seq and later.at < date_trunc('hour', h.at, 'UTC') + interval '1 hour')
            limit {most})
        """, ct);

    private async Task<(byte[] Secret, byte[] PublicKey)> KeyAsync(CancellationToken ct)
    {
        if (_key is { } known)
        {
            return known;
        }

        var (secret, publicKey) = await keys.GetAsync("head-signing", Make, ct);
        _key = (secret, publicKey!);
        return _key.Value;
    }

    private static (byte[] Secret, byte[]? PublicKey) Make()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        return (key.ExportPkcs8PrivateKey(), key.ExportSubjectPublicKeyInfo());
    }

    private static SignedHead Read(NpgsqlDataReader row) => new(
        row.GetString(0), row.GetInt64(1), Convert.ToHexStringLower(row.GetFieldValue<byte[]>(2)), row.GetInt64(3), row.GetTime(4), row.GetString(5),
        Convert.ToBase64String(row.GetFieldValue<byte[]>(6)));
}
