using System.Net.Sockets;
using Npgsql;
using Platform.Testing;

namespace Platform.NativeHost.Tests;

public sealed class TestServersTests
{
    [Fact]
    public async Task Each_caller_gets_a_database_of_its_own()
    {
        var servers = await TestServers.GetAsync();

        await using var first = new NpgsqlConnection(await servers.Postgres.CreateDatabaseAsync());
        await using var second = new NpgsqlConnection(await servers.Postgres.CreateDatabaseAsync());
        await first.OpenAsync(TestContext.Current.CancellationToken);
        await second.OpenAsync(TestContext.Current.CancellationToken);

        Assert.NotEqual(first.Database, second.Database);
    }

    [Fact]
    public async Task Each_caller_gets_a_virtual_host_of_its_own()
    {
        var servers = await TestServers.GetAsync();

        var first = new Uri(await servers.RabbitMq.CreateVirtualHostAsync());
        var second = new Uri(await servers.RabbitMq.CreateVirtualHostAsync());

        Assert.NotEqual(first.AbsolutePath, second.AbsolutePath);
    }

    [Fact]
    public async Task Redis_asks_for_the_password()
    {
        var servers = await TestServers.GetAsync();
        var port = int.Parse(servers.Redis.ConnectionString.Split(':', ',')[1], null);

        using var client = new TcpClient();
        await client.ConnectAsync("localhost", port, TestContext.Current.CancellationToken);
        await client.GetStream().WriteAsync("PING\r\n"u8.ToArray(), TestContext.Current.CancellationToken);
        var answer = await new StreamReader(client.GetStream()).ReadLineAsync(TestContext.Current.CancellationToken);

        Assert.StartsWith("-NOAUTH", answer, StringComparison.Ordinal);
    }
}
