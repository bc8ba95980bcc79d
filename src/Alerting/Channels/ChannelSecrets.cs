using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.DataProtection;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>
/// Secrets of channels at rest: sealed with the key ring that all services share through PostgreSQL, each under a purpose that names its
/// channel, so that what was sealed for one cannot be put into another's row.
/// </summary>
public sealed class ChannelSecrets(IDataProtectionProvider protection, TicketKeyOptions keys)
{
    private readonly byte[] _fingerprints = HKDF.DeriveKey(
        HashAlgorithmName.SHA256, Encoding.UTF8.GetBytes(keys.MasterKey), 32, info: Encoding.UTF8.GetBytes("platform channel fingerprints v1"));

    public byte[] Seal(Guid channel, IReadOnlyDictionary<string, string> secrets) =>
        Protector(channel).Protect(JsonSerializer.SerializeToUtf8Bytes(secrets));

    /// <summary>Null when the key ring of today cannot open it.</summary>
    public IReadOnlyDictionary<string, string>? Open(Guid channel, byte[] sealedSecrets)
    {
        try
        {
            return JsonSerializer.Deserialize<Dictionary<string, string>>(Protector(channel).Unprotect(sealedSecrets))!;
        }
        catch (CryptographicException)
        {
            return null;
        }
    }

    /// <summary>Tells whether two secrets are the same without telling anything else of them.</summary>
    public string Fingerprint(string secret) => Convert.ToHexStringLower(HMACSHA256.HashData(_fingerprints, Encoding.UTF8.GetBytes(secret)).AsSpan(0, 6));

    private IDataProtector Protector(Guid channel) => protection.CreateProtector("Platform.Alerting.Channels.v1", channel.ToString());
}
