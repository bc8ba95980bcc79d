using Npgsql;

namespace Platform.Postgres;

/// <summary>
/// The right to do something that one replica does for all: an advisory lock on a connection of its own that does nothing else. When the
/// process or its connection dies, PostgreSQL releases the lock, and another replica takes over with its next try.
/// </summary>
/// <param name="number">Any constant that nothing else in the database uses.</param>
/// <param name="applicationName">What the session calls itself in <c>pg_stat_activity</c>.</param>
public sealed class SessionLock(string connectionString, long number, string applicationName)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    // Without a pool: closing must end the session, and with it the lock, at once.
    private readonly string _connectionString = new NpgsqlConnectionStringBuilder(connectionString)
    {
        Pooling = false,
        ApplicationName = applicationName,
        CommandTimeout = (int)Patience.TotalSeconds,
        KeepAlive = 0,
    }.ConnectionString;

    /// <summary>A session to hold the lock on; disposing it gives the lock back.</summary>
    public async Task<NpgsqlConnection> OpenAsync(CancellationToken ct)
    {
        var connection = new NpgsqlConnection(_connectionString);
        try
        {
            await connection.OpenAsync(ct);
            // A machine that vanishes says no goodbye; the server should notice within half a minute, not after two hours.
            await using var settings = new NpgsqlCommand("set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3", connection);
            await settings.ExecuteNonQueryAsync(ct);
            return connection;
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    public async Task<bool> TryTakeAsync(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var take = new NpgsqlCommand("select pg_try_advisory_lock($1)", connection) { Parameters = { new() { Value = number } } };
        return await take.ExecuteScalarAsync(ct) is true;
    }

    /// <exception cref="NpgsqlException">The session, and the lock with it, is gone.</exception>
    public static async Task ProveAsync(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand("select 1", connection);
        await ask.ExecuteScalarAsync(ct);
    }
}
