using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json;
using Npgsql;
using Platform.Testing;

namespace Platform.Gateway.Tests;

/// <summary>A gateway in a world of its own, with an admin of all realms, and two replicas of one thing where the services would be.</summary>
public sealed class GatewayFixture : IAsyncLifetime
{
    public static string AdminKey { get; } = $"admin-{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32))}";

    public TestWorld World { get; private set; } = null!;

    public Backend Backend { get; private set; } = null!;

    public ServiceProcess Gateway { get; private set; } = null!;

    public NpgsqlDataSource Db { get; private set; } = null!;

    public HttpClient Admin { get; private set; } = null!;

    private readonly TemporaryFolder _folder = TemporaryFolder.Create("gateway");

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        Backend = await Backend.StartAsync();
        Gateway = await StartAsync();
        Db = await World.OpenAsync("identity");
        Admin = Client(AdminKey);
    }

    /// <summary>Another gateway in the same world, or a first one with other settings.</summary>
    public Task<ServiceProcess> StartAsync(params (string Name, string Value)[] settings) => World.StartAsync("Gateway", "identity",
    [
        .. Routes.Services.Where(service => service != "compliance").Select(service => ($"services__{service}__http__0", Backend.Url)),
        ("PLATFORM_ADMIN_KEY", AdminKey),
        ("PLATFORM_DATA_DIR", _folder.Path),
        ("GATEWAY_RATE_LIMIT_PREFIX", $"{Guid.NewGuid():N}:"),
        ("GATEWAY_ANONYMOUS_RATE_LIMIT_PER_SECOND", "100000"),
        ("GATEWAY_ANONYMOUS_RATE_LIMIT_BURST", "100000"),
        .. settings,
    ]);

    public HttpClient Client(string? key, ServiceProcess? gateway = null)
    {
        var client = TestWorld.Anonymous(gateway ?? Gateway);
        client.DefaultRequestHeaders.Authorization = key is null ? null : new AuthenticationHeaderValue("Bearer", key);
        return client;
    }

    /// <summary>A new key, by the admin of all realms unless another client is given.</summary>
    public async Task<(Guid Id, string Key)> CreateKeyAsync(string role, string realm, string[]? scopes = null, HttpClient? by = null, DateTimeOffset? expires = null)
    {
        using var answer = await (by ?? Admin).PostAsJsonAsync("api/v1/monitoring/api-keys", new { name = $"{role} of {realm}", role, realm, scopes, expires_at = expires });
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        var data = (await Backend.JsonAsync(answer)).GetProperty("data");
        return (data.GetProperty("id").GetGuid(), data.GetProperty("key").GetString()!);
    }

    /// <summary>Asserts that the answer is a problem as the gateway promises it, and returns it.</summary>
    public static async Task<JsonElement> ProblemAsync(HttpResponseMessage answer, HttpStatusCode status)
    {
        Assert.Equal(status, answer.StatusCode);
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType?.MediaType);
        var problem = await Backend.JsonAsync(answer);
        Assert.Equal((int)status, problem.GetProperty("status").GetInt32());
        Assert.Matches("^[0-9a-f]{32}$", problem.GetProperty("traceId").GetString());
        return problem;
    }

    public async ValueTask DisposeAsync()
    {
        Admin.Dispose();
        await World.DisposeAsync();
        await Db.DisposeAsync();
        await Backend.DisposeAsync();
        _folder.Dispose();
    }
}
