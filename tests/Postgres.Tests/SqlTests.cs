using Npgsql;
using Platform.Testing;

namespace Platform.Postgres.Tests;

public sealed class SqlTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Holes_are_parameters_and_pieces_compose()
    {
        await using var db = NpgsqlDataSource.Create(await (await TestServers.GetAsync()).Postgres.CreateDatabaseAsync());
        const string hostile = "x'; drop table things; --";
        await db.ExecuteAsync($"create table things (id int, name text, at timestamptz)", Ct);
        await db.ExecuteAsync($"insert into things values ({1}, {hostile}, {DateTimeOffset.UnixEpoch}), ({2}, {(string?)null}, {DateTimeOffset.UnixEpoch})", Ct);

        Sql where = $"id >= {1}";
        where = $"{where} and name = {hostile}";
        var found = await db.QueryAsync($"select name, at from things where {where} and at = {DateTimeOffset.UnixEpoch}", row => (row.GetString(0), row.GetTime(1)), Ct);

        Assert.Equal((hostile, DateTimeOffset.UnixEpoch), Assert.Single(found));
        Assert.Null(await db.FindAsync($"select name from things where id = {2}", row => row.GetOrNull(0, row.GetString), Ct));
    }

    [Theory]
    [InlineData("select 1", "select")]
    [InlineData("\n  INSERT into x", "insert")]
    [InlineData("copy events from stdin", "copy")]
    [InlineData("vacuum", "other")]
    public void The_operation_of_a_statement_is_one_of_a_few_words(string statement, string operation) =>
        Assert.Equal(operation, QueryTelemetry.Operation(statement));
}
