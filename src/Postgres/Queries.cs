using System.Text.Json;
using Npgsql;
using NpgsqlTypes;

namespace Platform.Postgres;

/// <summary>The three verbs of a store, on a data source (its own connection), and on a transaction.</summary>
public static class Queries
{
    /// <summary>Runs a statement; answers the number of rows it touched.</summary>
    public static async Task<int> ExecuteAsync(this NpgsqlDataSource db, Sql sql, CancellationToken ct)
    {
        await using var command = sql.On(db.CreateCommand());
        return await command.ExecuteNonQueryAsync(ct);
    }

    /// <inheritdoc cref="ExecuteAsync(NpgsqlDataSource, Sql, CancellationToken)"/>
    public static async Task<int> ExecuteAsync(this NpgsqlTransaction tx, Sql sql, CancellationToken ct)
    {
        await using var command = sql.On(CommandOn(tx));
        return await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>Every row, read by <paramref name="read"/>. The statement bounds its own result (<c>limit</c>).</summary>
    public static async Task<List<T>> QueryAsync<T>(this NpgsqlDataSource db, Sql sql, Func<NpgsqlDataReader, T> read, CancellationToken ct)
    {
        await using var command = sql.On(db.CreateCommand());
        return await ReadAsync(command, read, ct);
    }

    /// <inheritdoc cref="QueryAsync{T}(NpgsqlDataSource, Sql, Func{NpgsqlDataReader, T}, CancellationToken)"/>
    public static async Task<List<T>> QueryAsync<T>(this NpgsqlTransaction tx, Sql sql, Func<NpgsqlDataReader, T> read, CancellationToken ct)
    {
        await using var command = sql.On(CommandOn(tx));
        return await ReadAsync(command, read, ct);
    }

    /// <summary>The first row, or the default value (null for a reference type) when there is none.</summary>
    public static async Task<T?> FindAsync<T>(this NpgsqlDataSource db, Sql sql, Func<NpgsqlDataReader, T> read, CancellationToken ct)
    {
        await using var command = sql.On(db.CreateCommand());
        return await ReadFirstAsync(command, read, ct);
    }

    /// <inheritdoc cref="FindAsync{T}(NpgsqlDataSource, Sql, Func{NpgsqlDataReader, T}, CancellationToken)"/>
    public static async Task<T?> FindAsync<T>(this NpgsqlTransaction tx, Sql sql, Func<NpgsqlDataReader, T> read, CancellationToken ct)
    {
        await using var command = sql.On(CommandOn(tx));
        return await ReadFirstAsync(command, read, ct);
    }

    /// <summary>A <c>jsonb</c> parameter from JSON text.</summary>
    public static NpgsqlParameter Jsonb(string json) => new() { Value = json, NpgsqlDbType = NpgsqlDbType.Jsonb };

    /// <summary>A <c>jsonb</c> parameter from a value; null becomes SQL null.</summary>
    public static NpgsqlParameter Jsonb<T>(T value, JsonSerializerOptions options) =>
        new() { Value = value is null ? DBNull.Value : JsonSerializer.Serialize(value, options), NpgsqlDbType = NpgsqlDbType.Jsonb };

    /// <summary>A <c>text[]</c> whose members may be null.</summary>
    public static NpgsqlParameter Texts(IEnumerable<string?> texts) => new() { Value = texts.ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Text };

    /// <summary>A <c>timestamptz[]</c> whose members may be null.</summary>
    public static NpgsqlParameter Times(IEnumerable<DateTimeOffset?> times) =>
        new() { Value = times.Select(time => time?.UtcDateTime).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.TimestampTz };

    /// <summary>A nullable column: <c>row.GetOrNull(3, row.GetString)</c>.</summary>
    public static T? GetOrNull<T>(this NpgsqlDataReader row, int ordinal, Func<int, T> read) where T : class =>
        row.IsDBNull(ordinal) ? null : read(ordinal);

    /// <summary>A nullable timestamp column.</summary>
    public static DateTimeOffset? GetTimeOrNull(this NpgsqlDataReader row, int ordinal) =>
        row.IsDBNull(ordinal) ? null : row.GetFieldValue<DateTimeOffset>(ordinal);

    /// <summary>A timestamp column.</summary>
    public static DateTimeOffset GetTime(this NpgsqlDataReader row, int ordinal) => row.GetFieldValue<DateTimeOffset>(ordinal);

    private static NpgsqlCommand CommandOn(NpgsqlTransaction tx) =>
        new() { Connection = tx.Connection ?? throw new InvalidOperationException("The transaction has ended; a statement came after its commit."), Transaction = tx };

    private static async Task<List<T>> ReadAsync<T>(NpgsqlCommand command, Func<NpgsqlDataReader, T> read, CancellationToken ct)
    {
        await using var rows = await command.ExecuteReaderAsync(ct);
        var result = new List<T>();
        while (await rows.ReadAsync(ct))
        {
            result.Add(read(rows));
        }

        return result;
    }

    private static async Task<T?> ReadFirstAsync<T>(NpgsqlCommand command, Func<NpgsqlDataReader, T> read, CancellationToken ct)
    {
        await using var rows = await command.ExecuteReaderAsync(ct);
        return await rows.ReadAsync(ct) ? read(rows) : default;
    }
}
