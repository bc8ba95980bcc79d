using System.Net;
using System.Runtime.Versioning;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Gateway.Tests;

/// <summary>How the first admin gets in. Each test has a world of its own: what matters is what was there before the start.</summary>
[UnsupportedOSPlatform("windows")]
public sealed class SeededKeysTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_first_start_makes_an_admin_key_that_outlives_restarts()
    {
        await using var world = await TestWorld.CreateAsync();
        using var folder = TemporaryFolder.Create("admin");
        var first = await StartAsync(world, folder);
        var file = Path.Combine(folder.Path, "admin-key");
        var key = (await File.ReadAllTextAsync(file, Ct)).Trim();

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        await Eventually.TrueAsync(() => first.Log.Count(line => line.Contains(key, StringComparison.Ordinal)) == 1, because: "the key is printed once");
        Assert.Equal(HttpStatusCode.OK, await TryAsync(first, key));

        await first.KillAsync();
        var second = await StartAsync(world, folder);

        Assert.Equal(key, (await File.ReadAllTextAsync(file, Ct)).Trim());
        Assert.Equal(HttpStatusCode.OK, await TryAsync(second, key));
        Assert.DoesNotContain(second.Log, line => line.Contains(key, StringComparison.Ordinal));
        Assert.Equal(1, await CountAsync(world));
    }

    [Fact]
    public async Task Gateways_that_start_together_make_one_key()
    {
        await using var world = await TestWorld.CreateAsync();
        using var here = TemporaryFolder.Create("here");
        using var there = TemporaryFolder.Create("there");

        await Task.WhenAll(StartAsync(world, here), StartAsync(world, there));

        Assert.Equal(1, await CountAsync(world));
        Assert.Single(new[] { here, there }, folder => File.Exists(Path.Combine(folder.Path, "admin-key")));
    }

    [Fact]
    public async Task A_kept_file_opens_a_new_database()
    {
        using var folder = TemporaryFolder.Create("kept");
        var key = Keys.KeyText.New();
        await File.WriteAllTextAsync(Path.Combine(folder.Path, "admin-key"), key, Ct);
        await using var world = await TestWorld.CreateAsync();

        var gateway = await StartAsync(world, folder);

        Assert.Equal(HttpStatusCode.OK, await TryAsync(gateway, key));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(folder.Path, "admin-key")));
    }

    [Fact]
    public async Task Another_value_of_the_setting_replaces_the_key_and_the_same_value_does_not_revive_it()
    {
        await using var world = await TestWorld.CreateAsync();
        using var folder = TemporaryFolder.Create("replaced");
        var (old, young) = (Keys.KeyText.New(), Keys.KeyText.New());

        var first = await StartAsync(world, folder, ("PLATFORM_ADMIN_KEY", old));
        Assert.Equal(HttpStatusCode.OK, await TryAsync(first, old));
        await first.KillAsync();
        var second = await StartAsync(world, folder, ("PLATFORM_ADMIN_KEY", young));
        Assert.Equal(HttpStatusCode.Unauthorized, await TryAsync(second, old));
        Assert.Equal(HttpStatusCode.OK, await TryAsync(second, young));
        Assert.False(File.Exists(Path.Combine(folder.Path, "admin-key")));

        using var admin = TestWorld.Anonymous(second);
        admin.DefaultRequestHeaders.Authorization = new("Bearer", young);
        using var revoked = await admin.DeleteAsync($"api/v1/monitoring/api-keys/{Keys.SeededKeys.AdminKeyId}", Ct);
        await second.KillAsync();
        var third = await StartAsync(world, folder, ("PLATFORM_ADMIN_KEY", young));
        Assert.Equal(HttpStatusCode.Unauthorized, await TryAsync(third, young));
    }

    [Fact]
    public async Task The_ingest_key_may_send_and_nothing_else()
    {
        await using var world = await TestWorld.CreateAsync();
        await using var backend = await Backend.StartAsync();
        using var folder = TemporaryFolder.Create("ingest");
        var key = Keys.KeyText.New();

        var gateway = await StartAsync(world, folder, ("PLATFORM_INGEST_KEY", key), ("services__metrics__http__0", backend.Url));
        using var client = TestWorld.Anonymous(gateway);
        client.DefaultRequestHeaders.Authorization = new("Bearer", key);
        using var sent = await client.PostAsync("api/v1/monitoring/events", new StringContent("{}"), Ct);

        Assert.Equal(HttpStatusCode.OK, sent.StatusCode);
        var caller = await world.ReadTicketAsync(backend.Last("/api/v1/monitoring/events").Headers["Authorization"]["Bearer ".Length..]);
        Assert.Equal(new ServiceDefaults.Caller($"key:{Keys.SeededKeys.IngestKeyId}", ServiceDefaults.Role.User, "default", ServiceDefaults.Scopes.Ingest), caller);
        Assert.Equal(HttpStatusCode.Forbidden, await TryAsync(gateway, key));
    }

    [Fact]
    public async Task A_short_key_stops_the_start_with_a_sentence()
    {
        await using var world = await TestWorld.CreateAsync();
        using var folder = TemporaryFolder.Create("short");

        var failure = await Assert.ThrowsAsync<InvalidOperationException>(() => world.StartAsync("Gateway", "identity", ("PLATFORM_ADMIN_KEY", "hunter2"), ("PLATFORM_DATA_DIR", folder.Path)));

        Assert.Contains("PLATFORM_ADMIN_KEY is no key", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", failure.Message, StringComparison.Ordinal);
    }

    private static Task<ServiceProcess> StartAsync(TestWorld world, TemporaryFolder folder, params (string Name, string Value)[] settings) =>
        world.StartAsync("Gateway", "identity", [("PLATFORM_DATA_DIR", folder.Path), ("GATEWAY_RATE_LIMIT_PREFIX", $"{Guid.NewGuid():N}:"), .. settings]);

    private static async Task<HttpStatusCode> TryAsync(ServiceProcess gateway, string key)
    {
        using var client = TestWorld.Anonymous(gateway);
        client.DefaultRequestHeaders.Authorization = new("Bearer", key);
        using var answer = await client.GetAsync("api/v1/monitoring/api-keys", Ct);
        return answer.StatusCode;
    }

    private static async Task<long> CountAsync(TestWorld world)
    {
        await using var db = await world.OpenAsync("identity");
        return await db.FindAsync($"select count(*) from api_keys", row => row.GetInt64(0), Ct);
    }
}
