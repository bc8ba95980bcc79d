using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;
using Platform.Testing;

namespace Platform.Postgres.Tests;

public sealed class MigratorTests
{
    private static readonly MigrationSet Set = new("test", typeof(MigratorTests).Assembly);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Replicas_that_start_together_apply_each_file_once_in_order()
    {
        await using var db = await EmptyAsync();

        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Migrate(db)));

        Assert.Equal(["0001_first.sql", "0002_second.sql"], await db.QueryAsync($"select file from schema_migrations order by applied_at, version", row => row.GetString(0), Ct));
        Assert.Equal(2, await db.FindAsync($"select value from migrated", row => row.GetInt32(0), Ct));
    }

    [Fact]
    public async Task A_file_that_changed_after_it_was_applied_stops_the_start()
    {
        await using var db = await EmptyAsync();
        await Migrate(db);
        await db.ExecuteAsync($"update schema_migrations set checksum = 'other' where version = 1", Ct);

        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => Migrate(db));

        Assert.Contains("0001_first.sql", error.Message, StringComparison.Ordinal);
    }

    private static Task Migrate(NpgsqlDataSource db) => new Migrator(db, [Set], NullLogger<Migrator>.Instance).MigrateAsync(Ct);

    private static async Task<NpgsqlDataSource> EmptyAsync() => NpgsqlDataSource.Create(await (await TestServers.GetAsync()).Postgres.CreateDatabaseAsync());
}
