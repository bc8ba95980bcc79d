using System.Net;
using System.Text.Json;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Gateway.Tests;

public sealed class DenialsTests(GatewayFixture fixture) : IClassFixture<GatewayFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Anonymous_denials_are_audited_at_once_and_their_repeats_folded()
    {
        await using var gateway = await fixture.StartAsync(("GATEWAY_DENIAL_WINDOW_SECONDS", "3"));
        using var client = fixture.Client(null, gateway);
        for (var number = 0; number < 5; number++)
        {
            using var answer = await client.GetAsync($"monitoring/compliance/report/?number={number}", Ct);
            Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
        }

        var heard = await AuditQueue.ReadAsync(fixture.World, OnRoute("/monitoring/compliance/report"), atLeast: 2);

        Assert.Equal([1, 4], heard.Select(message => message.GetProperty("count").GetInt32()));
        Assert.All(heard, message =>
        {
            Assert.Equal("access.denied", message.GetProperty("action").GetString());
            Assert.Equal("denied", message.GetProperty("outcome").GetString());
            Assert.Equal("platform", message.GetProperty("realm").GetString());
            Assert.Equal("address:127.0.0.1", message.GetProperty("actor").GetString());
            Assert.Equal("anonymous", message.GetProperty("actor_role").GetString());
            Assert.Matches("^[0-9a-f]{32}$", message.GetProperty("trace_id").GetString());
        });
    }

    [Fact]
    public async Task What_a_service_denies_is_audited_with_its_credential()
    {
        await using var backend = await Backend.StartAsync();
        backend.Answer = context =>
        {
            context.Response.StatusCode = 403;
            return Task.CompletedTask;
        };
        await using var gateway = await fixture.StartAsync(("services__incidents__http__0", backend.Url), ("GATEWAY_DENIAL_WINDOW_SECONDS", "3600"));
        var (id, key) = await fixture.CreateKeyAsync("user", "denied");
        using var client = fixture.Client(key, gateway);
        for (var number = 0; number < 3; number++)
        {
            using var answer = await client.GetAsync($"api/v1/monitoring/incidents/{number}", Ct);
            await GatewayFixture.ProblemAsync(answer, HttpStatusCode.Forbidden);
        }

        await Eventually.TrueAsync(async () => await SumAsync($"key:{id}") == 1, because: "the first denial is recorded at once");
        // What is folded and not yet written is written when the gateway is told to stop.
        await gateway.StopAsync();

        Assert.Equal(3, await SumAsync($"key:{id}"));
        var heard = await AuditQueue.ReadAsync(fixture.World, message => message.GetProperty("actor").GetString() == $"key:{id}", atLeast: 2);
        Assert.Equal([1, 2], heard.Select(message => message.GetProperty("count").GetInt32()));
        Assert.All(heard, message => Assert.Equal("denied", message.GetProperty("realm").GetString()));
        Assert.All(heard, message => Assert.Equal("/api/v1/monitoring/incidents/{**rest}", message.GetProperty("target_id").GetString()));
    }

    private static Func<JsonElement, bool> OnRoute(string route) => message => message.GetProperty("target_id").GetString() == route;

    private Task<long> SumAsync(string actor) =>
        fixture.Db.FindAsync($"select coalesce(sum(count), 0) from denials where actor = {actor}", row => row.GetInt64(0), Ct);
}
