using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Platform.Postgres;

/// <summary>A numbered list of SQL files (<c>Migrations/0001_events.sql</c>) embedded in an assembly. Versions count per set.</summary>
public sealed record MigrationSet(string Name, Assembly Assembly)
{
    /// <summary>The files in order of their number.</summary>
    /// <exception cref="InvalidOperationException">A file name without a four-digit number, or a number used twice.</exception>
    internal IReadOnlyList<Migration> Read()
    {
        const string marker = ".Migrations.";
        var migrations = new SortedDictionary<int, Migration>();
        foreach (var resource in Assembly.GetManifestResourceNames().Where(name => name.Contains(marker, StringComparison.Ordinal)))
        {
            var file = resource[(resource.IndexOf(marker, StringComparison.Ordinal) + marker.Length)..];
            if (file.Length < 6 || !int.TryParse(file.AsSpan(0, 4), out var version))
            {
                throw new InvalidOperationException($"The migration '{file}' of '{Name}' has no four-digit number; name it like 0001_events.sql.");
            }

            using var reader = new StreamReader(Assembly.GetManifestResourceStream(resource)!);
            if (!migrations.TryAdd(version, new Migration(version, file, reader.ReadToEnd())))
            {
                throw new InvalidOperationException($"Two migrations of '{Name}' have the number {version}; renumber the newer one.");
            }
        }

        return [.. migrations.Values];
    }
}

internal sealed record Migration(int Version, string File, string Text)
{
    public string Checksum { get; } = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Text)));
}

/// <summary>
/// Brings the service's database up to date before anything else of the service starts. Replicas that start together take turns
/// (advisory lock). Each file runs in a transaction of its own; a file that changed after it was applied stops the start.
/// </summary>
public sealed partial class Migrator(NpgsqlDataSource db, IEnumerable<MigrationSet> sets, ILogger<Migrator> logger) : IHostedLifecycleService
{
    // Any constant will do, as long as nothing else in these databases uses it.
    private const long Lock = 0x706c6174666f726d;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        var until = DateTimeOffset.UtcNow + Patience;
        while (true)
        {
            try
            {
                await MigrateAsync(cancellationToken);
                return;
            }
            catch (NpgsqlException error) when (error.IsTransient && DateTimeOffset.UtcNow < until)
            {
                DatabaseIsAway(error.Message);
                await Task.Delay(TimeSpan.FromSeconds(1), cancellationToken);
            }
        }
    }

    public async Task MigrateAsync(CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await RunAsync(connection, $"select pg_advisory_lock({Lock})", null, ct);
        try
        {
            await RunAsync(connection, $"""
                create table if not exists schema_migrations (
                    set_name   text not null,
                    version    int not null,
                    file       text not null,
                    checksum   text not null,
                    applied_at timestamptz not null default now(),
                    primary key (set_name, version))
                """, null, ct);
            foreach (var set in sets)
            {
                await ApplyAsync(connection, set, ct);
            }
        }
        finally
        {
            // The token may be the reason for leaving; the lock must go all the same.
            await RunAsync(connection, $"select pg_advisory_unlock({Lock})", null, CancellationToken.None);
        }
    }

    private async Task ApplyAsync(NpgsqlConnection connection, MigrationSet set, CancellationToken ct)
    {
        var applied = new Dictionary<int, string>();
        await using (var command = ((Sql)$"select version, checksum from schema_migrations where set_name = {set.Name}").On(connection.CreateCommand()))
        await using (var rows = await command.ExecuteReaderAsync(ct))
        {
            while (await rows.ReadAsync(ct))
            {
                applied.Add(rows.GetInt32(0), rows.GetString(1));
            }
        }

        foreach (var migration in set.Read())
        {
            if (applied.TryGetValue(migration.Version, out var checksum))
            {
                if (checksum != migration.Checksum)
                {
                    throw new InvalidOperationException(
                        $"The migration {migration.File} of '{set.Name}' was changed after it had been applied. Restore it and write a new one instead.");
                }

                continue;
            }

            await using var tx = await connection.BeginTransactionAsync(ct);
            await using (var command = new NpgsqlCommand(migration.Text, connection, tx))
            {
                await command.ExecuteNonQueryAsync(ct);
            }

            await RunAsync(
                connection,
                $"insert into schema_migrations (set_name, version, file, checksum) values ({set.Name}, {migration.Version}, {migration.File}, {migration.Checksum})",
                tx,
                ct);
            await tx.CommitAsync(ct);
            Applied(set.Name, migration.File);
        }
    }

    private static async Task RunAsync(NpgsqlConnection connection, Sql sql, NpgsqlTransaction? tx, CancellationToken ct)
    {
        await using var command = sql.On(connection.CreateCommand());
        command.Transaction = tx;
        // Waiting for another replica's migration may take as long as that migration.
        command.CommandTimeout = 0;
        await command.ExecuteNonQueryAsync(ct);
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    [LoggerMessage(LogLevel.Information, "Applied migration {File} of {Set}")]
    private partial void Applied(string set, string file);

    [LoggerMessage(LogLevel.Warning, "The database does not answer yet: {Reason}")]
    private partial void DatabaseIsAway(string reason);
}
