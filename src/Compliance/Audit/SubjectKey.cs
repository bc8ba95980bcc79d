using System.Security.Cryptography;
using System.Text;

namespace Platform.Compliance.Audit;

/// <summary>
/// The random key of one person in one realm. It does two things, each under a key derived from it: commit to a value (the chain keeps
/// the commitment) and seal the value (kept apart). With the key gone, neither can be undone, matched or guessed.
/// </summary>
public sealed class SubjectKey(Guid id, byte[] secret)
{
    private const int Nonce = 12;
    private const int Tag = 16;

    private readonly byte[] _commits = HKDF.Expand(HashAlgorithmName.SHA256, secret, 32, "platform audit commitment v1"u8.ToArray());
    private readonly byte[] _seals = HKDF.Expand(HashAlgorithmName.SHA256, secret, 32, "platform audit value v1"u8.ToArray());

    public Guid Id => id;

    public static byte[] NewSecret() => RandomNumberGenerator.GetBytes(32);

    /// <summary>HMAC-SHA-256 in hex. The record's id is in it, so that equal values do not look equal once the key is gone.</summary>
    public string Commit(Guid record, string field, string value) =>
        Convert.ToHexStringLower(HMACSHA256.HashData(_commits, CanonicalJson.Of(new[] { record.ToString(), field, value })));

    /// <summary>AES-256-GCM: nonce, ciphertext, tag.</summary>
    public byte[] Seal(Guid record, string field, string value)
    {
        var plain = Encoding.UTF8.GetBytes(value);
        var box = new byte[Nonce + plain.Length + Tag];
        RandomNumberGenerator.Fill(box.AsSpan(0, Nonce));
        using var aes = new AesGcm(_seals, Tag);
        aes.Encrypt(box.AsSpan(0, Nonce), plain, box.AsSpan(Nonce, plain.Length), box.AsSpan(Nonce + plain.Length), Place(record, field));
        return box;
    }

    /// <summary>The value, or null when these bytes were not sealed by this key for this place.</summary>
    public string? Open(Guid record, string field, byte[] box)
    {
        if (box.Length < Nonce + Tag)
        {
            return null;
        }

        var plain = new byte[box.Length - Nonce - Tag];
        using var aes = new AesGcm(_seals, Tag);
        try
        {
            aes.Decrypt(box.AsSpan(0, Nonce), box.AsSpan(Nonce, plain.Length), box.AsSpan(Nonce + plain.Length), plain, Place(record, field));
        }
        catch (AuthenticationTagMismatchException)
        {
            return null;
        }

        return Encoding.UTF8.GetString(plain);
    }

    private static byte[] Place(Guid record, string field) => CanonicalJson.Of(new[] { record.ToString(), field });
}
