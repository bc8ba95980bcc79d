using System.ComponentModel.DataAnnotations;
using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Keys;

/// <summary>Keys that exist from the first start on.</summary>
public sealed class SeedOptions : IValidatableObject
{
    /// <summary>The admin key of all realms, at least 32 characters. Another value replaces the one before. Without it the first start makes a key.</summary>
    [Setting("PLATFORM_ADMIN_KEY", Secret = true)]
    public string? AdminKey { get; init; }

    /// <summary>A key that may only send, to the realm <c>default</c>, at least 32 characters: for the application deployed with the platform.</summary>
    [Setting("PLATFORM_INGEST_KEY", Secret = true)]
    public string? IngestKey { get; init; }

    /// <summary>Where the platform keeps files on this machine.</summary>
    [Setting("PLATFORM_DATA_DIR"), Required]
    public string DataFolder { get; init; } = ".data";

    /// <summary>Where the admin key made at the first start is kept; <c>admin-key</c> in the data folder unless given.</summary>
    [Setting("PLATFORM_ADMIN_KEY_FILE")]
    public string? AdminKeyFile { get; init; }

    public string AdminKeyPath => AdminKeyFile ?? Path.Combine(DataFolder, "admin-key");

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        foreach (var (name, key) in (IEnumerable<(string, string?)>)[("PLATFORM_ADMIN_KEY", AdminKey), ("PLATFORM_INGEST_KEY", IngestKey)])
        {
            if (key is not null && !KeyText.IsPossible(key))
            {
                yield return new($"{name} is no key: it needs {KeyText.MinLength} to {KeyText.MaxLength} printable characters without spaces. `openssl rand -hex 32` makes one.");
            }
        }

        if (AdminKey is not null && AdminKey == IngestKey)
        {
            yield return new("PLATFORM_ADMIN_KEY and PLATFORM_INGEST_KEY are the same. The key of an application must not be an admin's: change one of them.");
        }
    }
}

/// <summary>
/// Before the gateway serves: sees to it that somebody can get in. Gateways that start together take turns, so that they make one key.
/// <list type="bullet">
/// <item>A key in the settings is stored under a fixed id; another value replaces it. Removing the setting leaves the key: revoke it.</item>
/// <item>File there, database new: the file's key is stored, so that it goes on working.</item>
/// <item>Database there, file gone (or on another machine): no key is made as long as a valid admin key of all realms exists.</item>
/// <item>Neither, or no such key is left: one is made, written to the file, and printed once.</item>
/// </list>
/// A revoked key stays revoked, whatever the settings or the file say.
/// </summary>
public sealed partial class SeededKeys(NpgsqlDataSource db, SeedOptions options, TimeProvider clock, ILogger<SeededKeys> logger) : IHostedLifecycleService
{
    private const long Lock = 0x61646d696e2d6b65;
    private const string Seeder = "system:gateway";

    internal static readonly Guid AdminKeyId = new("00000000-0000-7000-8000-000000000001");
    internal static readonly Guid IngestKeyId = new("00000000-0000-7000-8000-000000000002");

    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        string? made;
        await using (var connection = await db.OpenConnectionAsync(cancellationToken))
        await using (var tx = await connection.BeginTransactionAsync(cancellationToken))
        {
            await tx.ExecuteAsync($"select pg_advisory_xact_lock({Lock})", cancellationToken);
            made = await SeedAdminAsync(tx, cancellationToken);
            if (options.IngestKey is { } ingest)
            {
                await ReplaceAsync(tx, New(IngestKeyId, "ingest", Role.User, Realm.Default, Scopes.Ingest, ingest), ingest, "PLATFORM_INGEST_KEY", cancellationToken);
            }

            await tx.CommitAsync(cancellationToken);
        }

        if (made is not null)
        {
            // Not through the logger, which would blacken it: this is the one time that the key is shown.
            await Console.Out.WriteLineAsync($"{Environment.NewLine}  ==> Admin key, shown this once: {made}{Environment.NewLine}      kept in {Path.GetFullPath(options.AdminKeyPath)}{Environment.NewLine}");
        }
    }

    /// <returns>The key, when one was made.</returns>
    private async Task<string?> SeedAdminAsync(NpgsqlTransaction tx, CancellationToken ct)
    {
        if (options.AdminKey is { } given)
        {
            await ReplaceAsync(tx, New(AdminKeyId, "admin", Role.Admin, Realm.All, Scopes.All, given), given, "PLATFORM_ADMIN_KEY", ct);
            return null;
        }

        if (await AdminKeyFile.FindAsync(options.AdminKeyPath, ct) is { } kept)
        {
            if (!KeyText.IsPossible(kept))
            {
                throw new SettingsException($"{options.AdminKeyPath} holds no key. Put the key there again, or move the file away: the next start makes a new key if no admin key is left.");
            }

            var stored = await FindAsync(tx, kept, ct);
            if (stored is null)
            {
                await StoreAsync(tx, New(Guid.CreateVersion7(clock.GetUtcNow()), "admin", Role.Admin, Realm.All, Scopes.All, kept), kept, "api_key.created", ct);
            }
            else if (!stored.IsValidAt(clock.GetUtcNow()))
            {
                FileKeyIsRevoked(options.AdminKeyPath);
            }

            return null;
        }

        if (await tx.FindAsync(
                $"select 1 from api_keys where role = 'admin' and realm = '*' and revoked_at is null and (expires_at is null or expires_at > {clock.GetUtcNow()}) limit 1",
                row => (int?)row.GetInt32(0), ct) is not null)
        {
            FileIsGone(options.AdminKeyPath);
            return null;
        }

        // The file first: should the process die before the commit, the next start finds the key there and stores it.
        var key = KeyText.New();
        await AdminKeyFile.WriteAsync(options.AdminKeyPath, key, ct);
        await StoreAsync(tx, New(Guid.CreateVersion7(clock.GetUtcNow()), "admin", Role.Admin, Realm.All, Scopes.All, key), key, "api_key.created", ct);
        return key;
    }

    private async Task ReplaceAsync(NpgsqlTransaction tx, ApiKey key, string text, string setting, CancellationToken ct)
    {
        if (await FindAsync(tx, text, ct) is { } same)
        {
            if (same.Id != key.Id)
            {
                // Already stored as another one, such as the key from the file; what the setting held before goes all the same.
                if ((same.Role, same.Realm, same.Scopes) != (key.Role, key.Realm, key.Scopes))
                {
                    throw new SettingsException($"{setting} is the key \"{same.Name}\" (role {WireJson.Name(same.Role.ToString())}, realm {same.Realm}), which is made for something else. Set another value.");
                }

                await tx.ExecuteAsync($"delete from api_keys where id = {key.Id}", ct);
            }

            if (!same.IsValidAt(clock.GetUtcNow()))
            {
                SettingIsRevoked(setting);
            }

            return;
        }

        var replaced = await tx.ExecuteAsync($"delete from api_keys where id = {key.Id}", ct);
        await StoreAsync(tx, key, text, replaced == 0 ? "api_key.created" : "api_key.replaced", ct);
    }

    private async Task StoreAsync(NpgsqlTransaction tx, ApiKey key, string text, string action, CancellationToken ct)
    {
        await KeyStore.InsertAsync(tx, key, KeyText.Hash(text), ct);
        await tx.SendAsync(
            new Audited(key.Caller.RealmOfNewData, Seeder, "service", action, "api_key", key.Id.ToString(), AuditOutcome.Success, clock.GetUtcNow(), Details: KeysApi.Facts(key)),
            ct);
    }

    private static Task<ApiKey?> FindAsync(NpgsqlTransaction tx, string text, CancellationToken ct) =>
        tx.FindAsync($"{KeyStore.Columns()} where key_hash = {KeyText.Hash(text)}", KeyStore.Read, ct);

    private ApiKey New(Guid id, string name, Role role, string realm, Scopes scopes, string text) =>
        new(id, name, role, realm, scopes, KeyText.Prefix(text), clock.GetUtcNow(), Seeder, null, null, null);

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    [LoggerMessage(LogLevel.Warning, "The admin key in {path} is revoked or expired. Move the file away; the next start makes a new key if no admin key is left")]
    private partial void FileKeyIsRevoked(string path);

    [LoggerMessage(LogLevel.Information, "An admin key exists, and {path} is not on this machine. To get in without it set PLATFORM_ADMIN_KEY")]
    private partial void FileIsGone(string path);

    [LoggerMessage(LogLevel.Warning, "The key in {setting} was revoked and does not work. Set another value")]
    private partial void SettingIsRevoked(string setting);
}

/// <summary>The file that keeps the admin key: readable by its owner only, and whole or not there.</summary>
internal static class AdminKeyFile
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public static async Task<string?> FindAsync(string path, CancellationToken ct)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        if (!OperatingSystem.IsWindows() && File.GetUnixFileMode(path) is var mode && (mode & ~OwnerOnly) != 0)
        {
            File.SetUnixFileMode(path, OwnerOnly);
        }

        return (await File.ReadAllTextAsync(path, ct)).Trim();
    }

    public static async Task WriteAsync(string path, string key, CancellationToken ct)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        var draft = $"{path}.{Environment.ProcessId}";
        var how = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            how.UnixCreateMode = OwnerOnly;
        }

        await using (var file = new FileStream(draft, how))
        {
            await file.WriteAsync(System.Text.Encoding.UTF8.GetBytes($"{key}\n"), ct);
            file.Flush(flushToDisk: true);
        }

        File.Move(draft, path, overwrite: true);
    }
}
