using System.ComponentModel.DataAnnotations;
using System.Security.Cryptography;
using System.Text;
using System.Xml.Linq;
using Microsoft.AspNetCore.DataProtection.KeyManagement;
using Microsoft.AspNetCore.DataProtection.Repositories;
using Microsoft.AspNetCore.DataProtection.XmlEncryption;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Npgsql;

namespace Platform.ServiceDefaults;

/// <summary>What protects the key ring where it is stored.</summary>
public sealed class TicketKeyOptions
{
    /// <summary>32 random bytes, base64url. Encrypts the key ring in the database; all services need the same one.</summary>
    [Setting("PLATFORM_MASTER_KEY", Secret = true)]
    [Required(ErrorMessage = "32 random bytes in base64url, the same for all services (AppHost makes one by itself).")]
    public string MasterKey { get; init; } = "";
}

/// <summary>
/// The data-protection key ring in the table <c>data_protection_keys</c> of the <c>identity</c> database: the one table that services
/// share. Keys are encrypted with AES-256-GCM under a key derived from the master key, so that reading the database is not enough to
/// mint tickets.
/// </summary>
public sealed class TicketKeyRing : IXmlRepository, IXmlEncryptor, IAsyncDisposable
{
    internal const long Lock = 0x6b6579732d72696e;

    private readonly byte[] _key;

    public TicketKeyRing(string connectionString, TicketKeyOptions options)
    {
        byte[] master;
        try
        {
            master = WebEncoders.Base64UrlDecode(options.MasterKey);
        }
        catch (FormatException)
        {
            master = [];
        }

        if (master.Length < 32)
        {
            throw new InvalidOperationException("PLATFORM_MASTER_KEY must be at least 32 bytes in base64url. `openssl rand -base64 32 | tr '+/' '-_' | tr -d '='` makes one.");
        }

        _key = HKDF.DeriveKey(HashAlgorithmName.SHA256, master, 32, info: Encoding.UTF8.GetBytes("platform key ring v1"));
        // Two connections are plenty: the ring is read at start and about once a day.
        Source = NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(connectionString) { MaxPoolSize = 2, ConnectionIdleLifetime = 10 });
    }

    internal NpgsqlDataSource Source { get; }

    public IReadOnlyCollection<XElement> GetAllElements()
    {
        using var command = Source.CreateCommand("select xml from data_protection_keys order by id");
        using var rows = command.ExecuteReader();
        var elements = new List<XElement>();
        while (rows.Read())
        {
            elements.Add(XElement.Parse(rows.GetString(0)));
        }

        return elements;
    }

    public void StoreElement(XElement element, string friendlyName)
    {
        using var command = Source.CreateCommand("insert into data_protection_keys (name, xml) values ($1, $2)");
        command.Parameters.Add(new NpgsqlParameter { Value = friendlyName });
        command.Parameters.Add(new NpgsqlParameter { Value = element.ToString(SaveOptions.DisableFormatting) });
        command.ExecuteNonQuery();
    }

    public EncryptedXmlInfo Encrypt(XElement plaintextElement)
    {
        var plain = Encoding.UTF8.GetBytes(plaintextElement.ToString(SaveOptions.DisableFormatting));
        var box = new byte[12 + plain.Length + 16];
        RandomNumberGenerator.Fill(box.AsSpan(0, 12));
        using var aes = new AesGcm(_key, 16);
        aes.Encrypt(box.AsSpan(0, 12), plain, box.AsSpan(12, plain.Length), box.AsSpan(12 + plain.Length));
        return new EncryptedXmlInfo(new XElement("masterKeyEncrypted", Convert.ToBase64String(box)), typeof(TicketKeyDecryptor));
    }

    internal XElement Decrypt(XElement encrypted)
    {
        var box = Convert.FromBase64String(encrypted.Value);
        var plain = new byte[box.Length - 28];
        using var aes = new AesGcm(_key, 16);
        try
        {
            aes.Decrypt(box.AsSpan(0, 12), box.AsSpan(12, plain.Length), box.AsSpan(box.Length - 16), plain);
        }
        catch (AuthenticationTagMismatchException error)
        {
            throw new InvalidOperationException("The key ring was encrypted under another PLATFORM_MASTER_KEY; start with the one it was made with.", error);
        }

        return XElement.Parse(Encoding.UTF8.GetString(plain));
    }

    public ValueTask DisposeAsync() => Source.DisposeAsync();
}

/// <summary>Found by type name in the stored key; the framework makes it with the services at hand.</summary>
public sealed class TicketKeyDecryptor(IServiceProvider services) : IXmlDecryptor
{
    public XElement Decrypt(XElement encryptedElement) => services.GetRequiredService<TicketKeyRing>().Decrypt(encryptedElement);
}

/// <summary>
/// Sees to it, before anything else starts, that the ring's table and its first key exist. Services that start together for the first
/// time take turns, so that all of them begin with the same key.
/// </summary>
public sealed class TicketKeys(TicketKeyRing ring, IKeyManager keys, TimeProvider clock) : IHostedLifecycleService
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        var until = clock.GetUtcNow() + Patience;
        while (true)
        {
            try
            {
                await EnsureAsync(cancellationToken);
                return;
            }
            catch (NpgsqlException error) when (error.IsTransient && clock.GetUtcNow() < until)
            {
                await Task.Delay(TimeSpan.FromSeconds(1), cancellationToken);
            }
        }
    }

    private async Task EnsureAsync(CancellationToken ct)
    {
        // The table is committed before the first key is made, because the ring reads and writes on a connection of its own;
        // the session's lock spans both steps and ends with the connection.
        await using var connection = await ring.Source.OpenConnectionAsync(ct);
        await using var command = connection.CreateCommand();
        command.CommandText = $"select pg_advisory_lock({TicketKeyRing.Lock})";
        await command.ExecuteNonQueryAsync(ct);
        try
        {
            command.CommandText = """
                create table if not exists data_protection_keys (
                    id         bigint generated always as identity primary key,
                    name       text not null,
                    xml        text not null,
                    created_at timestamptz not null default now())
                """;
            await command.ExecuteNonQueryAsync(ct);
            var now = clock.GetUtcNow();
            if (!keys.GetAllKeys().Any(key => !key.IsRevoked && key.ExpirationDate > now))
            {
                keys.CreateNewKey(now, now.AddDays(90));
            }
        }
        finally
        {
            command.CommandText = $"select pg_advisory_unlock({TicketKeyRing.Lock})";
            await command.ExecuteNonQueryAsync(CancellationToken.None);
        }
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
