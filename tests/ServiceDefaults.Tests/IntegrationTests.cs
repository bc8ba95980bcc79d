using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;
using Platform.Testing;
using RabbitMQ.Client;

namespace Platform.ServiceDefaults.Tests;

public sealed class IntegrationTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task All_three_servers_are_reached_and_healthy()
    {
        await using var service = await StartAsync();

        await Eventually.TrueAsync(async () => await StatusAsync(service) == "Healthy", because: "all servers are connected");

        await using var command = service.Services.GetRequiredService<NpgsqlDataSource>().CreateCommand("select 40 + 2");
        Assert.Equal(42, await command.ExecuteScalarAsync(Ct));
        var cache = service.Services.GetRequiredService<Cache>();
        Assert.True(await cache.TrySetAsync("defaults:test", [1, 2, 3], TimeSpan.FromMinutes(1), Ct));
        var found = await cache.FindAsync("defaults:test", Ct);
        var evaluated = await cache.TryEvaluateAsync("return {tonumber(ARGV[1]), redis.call('strlen', KEYS[1]) + 1}", ["defaults:test"], [3], Ct);
        Assert.Equal("1,2,3 then 3,4", $"{string.Join(',', found ?? [])} then {string.Join(',', evaluated ?? [])}");
        Assert.True(await cache.TryRemoveAsync("defaults:test", Ct));
        Assert.Null(await cache.FindAsync("defaults:test", Ct));
    }

    [Fact]
    public async Task The_health_check_opens_one_broker_connection_and_none_beside_a_reported_one()
    {
        await using var service = await StartAsync();
        var factory = service.Services.GetRequiredService<IConnectionFactory>();
        var shared = service.Services.GetRequiredService<IConnection>();
        await Eventually.TrueAsync(async () => await StatusAsync(service) == "Healthy");

        await using var own = await factory.CreateConnectionAsync(Ct);
        service.Services.GetRequiredService<BrokerConnection>().Report(own);
        Assert.True(shared.IsOpen);
        await own.CloseAsync(Ct);

        Assert.Equal("Degraded", await StatusAsync(service));
    }

    [Fact]
    public async Task A_cache_without_its_server_answers_at_once_that_nothing_is_there()
    {
        await using var service = await TestService.StartAsync(_ => { }, builder => builder.AddRedisClient("cache"), new() { ["ConnectionStrings:cache"] = "127.0.0.1:1,password=x,connectTimeout=200" });
        var cache = service.Services.GetRequiredService<Cache>();

        Assert.False(await cache.TrySetAsync("k", [1], TimeSpan.FromMinutes(1), Ct));
        Assert.Null(await cache.FindAsync("k", Ct));
        Assert.Null(await cache.TryEvaluateAsync("return {1}", [], [], Ct));
    }

    private static async Task<TestService> StartAsync()
    {
        var servers = await TestServers.GetAsync();
        return await TestService.StartAsync(
            _ => { },
            builder =>
            {
                builder.AddNpgsqlDataSource("db");
                builder.AddRedisClient("cache");
                builder.AddRabbitMQClient("messaging");
            },
            new() { ["ConnectionStrings:db"] = servers.Postgres.ConnectionString, ["ConnectionStrings:cache"] = servers.Redis.ConnectionString, ["ConnectionStrings:messaging"] = servers.RabbitMq.ConnectionString });
    }

    private static async Task<string?> StatusAsync(TestService service)
    {
        using var response = await service.Http.GetAsync("/health", Ct);
        return JsonDocument.Parse(await response.Content.ReadAsStringAsync(Ct)).RootElement.GetProperty("status").GetString();
    }
}
