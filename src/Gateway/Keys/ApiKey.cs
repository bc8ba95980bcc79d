using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.WebUtilities;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Keys;

/// <summary>A credential as it is kept: everything about it but the key itself.</summary>
/// <param name="KeyPrefix">The key's first characters, enough for people to tell keys apart.</param>
/// <param name="CreatedBy">Subject of the credential that made it, or <c>system:gateway</c>.</param>
/// <param name="LastUsedAt">To the minute.</param>
public sealed record ApiKey(
    Guid Id,
    string Name,
    Role Role,
    string Realm,
    Scopes Scopes,
    string KeyPrefix,
    DateTimeOffset CreatedAt,
    string CreatedBy,
    DateTimeOffset? ExpiresAt,
    DateTimeOffset? RevokedAt,
    DateTimeOffset? LastUsedAt)
{
    public Caller Caller => new($"key:{Id}", Role, Realm, Scopes);

    public bool IsValidAt(DateTimeOffset now) => RevokedAt is null && (ExpiresAt is null || now < ExpiresAt);
}

/// <summary>The text that a client sends, and what is derived from it.</summary>
public static class KeyText
{
    /// <summary>Shorter ones can be guessed; ours have 46 characters.</summary>
    public const int MinLength = 32;

    public const int MaxLength = 512;

    private const int ShownCharacters = 8;

    /// <summary>A key with 256 random bits.</summary>
    public static string New() => $"pk_{WebEncoders.Base64UrlEncode(RandomNumberGenerator.GetBytes(32))}";

    public static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));

    public static string Prefix(string key) => key[..ShownCharacters];

    /// <summary>Whether the text can be a key at all: printable, without spaces, long enough.</summary>
    public static bool IsPossible(string? key) => key is { Length: >= MinLength and <= MaxLength } && !key.AsSpan().ContainsAnyExceptInRange('!', '~');
}

/// <summary>Which realms keys can be made for.</summary>
public static partial class RealmName
{
    /// <summary>What concerns no tenant is recorded under this name, so that only credentials for all realms see it. No key can be made for it.</summary>
    public const string Platform = "platform";

    public const string Syntax = "A realm is * (all realms) or 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit; \"platform\" is taken.";

    public static bool IsValid(string realm) => realm == Realm.All || (realm != Platform && Pattern().IsMatch(realm));

    [GeneratedRegex(@"\A[a-z0-9][a-z0-9._-]{0,62}\z")]
    private static partial Regex Pattern();
}

/// <summary>Scopes as the wire and the table spell them.</summary>
public static class ScopeNames
{
    private static readonly Scopes[] Each = [Scopes.Ingest, Scopes.Read];

    public static string[] Of(Scopes scopes) => [.. Each.Where(scope => scopes.HasFlag(scope)).Select(scope => WireJson.Name(scope.ToString()))];

    /// <summary>Null when a name is not known or there is none.</summary>
    public static Scopes? Parse(IEnumerable<string> names)
    {
        var scopes = Scopes.None;
        foreach (var name in names)
        {
            var scope = Each.FirstOrDefault(scope => WireJson.Name(scope.ToString()) == name);
            if (scope == Scopes.None)
            {
                return null;
            }

            scopes |= scope;
        }

        return scopes == Scopes.None ? null : scopes;
    }
}
