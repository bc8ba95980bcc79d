using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Platform.DemoBackend.Accounts;

/// <summary>A password as it is kept: PBKDF2-SHA256 with its own salt. Checking costs the rounds it was made with.</summary>
public sealed record PasswordHash(byte[] Salt, byte[] Hash, int Rounds)
{
    public static PasswordHash Of(string password, int rounds)
    {
        var salt = RandomNumberGenerator.GetBytes(16);
        return new(salt, Derive(password, salt, rounds), rounds);
    }

    public bool Matches(string password) => CryptographicOperations.FixedTimeEquals(Hash, Derive(password, Salt, Rounds));

    private static byte[] Derive(string password, byte[] salt, int rounds) => Rfc2898DeriveBytes.Pbkdf2(password, salt, rounds, HashAlgorithmName.SHA256, 32);
}

/// <summary>Time-based one-time codes as authenticator apps make them (RFC 6238: SHA-1, 30 seconds, six digits).</summary>
public static class Totp
{
    private const string Base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    private const int StepSeconds = 30;

    public static byte[] NewSecret() => RandomNumberGenerator.GetBytes(20);

    public static string Code(byte[] secret, DateTimeOffset now) => CodeOfStep(secret, StepOf(now));

    /// <summary>The step whose code was given, one step early or late allowed for clocks that differ; null for a wrong code.</summary>
    public static long? Match(byte[] secret, string code, DateTimeOffset now)
    {
        var step = StepOf(now);
        return new long?[] { step, step - 1, step + 1 }
            .FirstOrDefault(candidate => CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(CodeOfStep(secret, candidate!.Value)), Encoding.ASCII.GetBytes(code)));
    }

    /// <summary>The secret as authenticator apps take it.</summary>
    public static string ToBase32(byte[] secret)
    {
        var text = new StringBuilder();
        for (var bit = 0; bit < secret.Length * 8; bit += 5)
        {
            var pair = (secret[bit / 8] << 8) | (bit / 8 + 1 < secret.Length ? secret[(bit / 8) + 1] : 0);
            text.Append(Base32[(pair >> (11 - (bit % 8))) & 31]);
        }

        return text.ToString();
    }

    public static byte[] FromBase32(string text)
    {
        var (bytes, buffer, bits) = (new List<byte>(), 0, 0);
        foreach (var letter in text)
        {
            buffer = ((buffer << 5) | Base32.IndexOf(letter, StringComparison.Ordinal)) & 0xFFFF;
            bits += 5;
            if (bits >= 8)
            {
                bits -= 8;
                bytes.Add((byte)(buffer >> bits));
            }
        }

        return [.. bytes];
    }

    private static long StepOf(DateTimeOffset now) => now.ToUnixTimeSeconds() / StepSeconds;

    // RFC 6238 prescribes SHA-1; its weakness against collisions does not touch an HMAC.
#pragma warning disable CA5350
    private static string CodeOfStep(byte[] secret, long step)
    {
        Span<byte> counter = stackalloc byte[8];
        BinaryPrimitives.WriteInt64BigEndian(counter, step);
        Span<byte> mac = stackalloc byte[20];
        HMACSHA1.HashData(secret, counter, mac);
        var number = BinaryPrimitives.ReadInt32BigEndian(mac[(mac[19] & 15)..]) & int.MaxValue;
        return (number % 1_000_000).ToString("D6", System.Globalization.CultureInfo.InvariantCulture);
    }
#pragma warning restore CA5350
}

/// <summary>A secret that its owner gets once and the backend keeps only as SHA-256.</summary>
public static class OpaqueToken
{
    public static string New() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));

    public static string Hash(string token) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(token)));
}
