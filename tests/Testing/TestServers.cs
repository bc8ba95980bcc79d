using System.Text.Json;
using Aspire.Hosting;
using Npgsql;

namespace Platform.Testing;

/// <summary>
/// Real PostgreSQL, RabbitMQ and Redis for the tests of one process, with nothing in them. Given by the environment
/// (<c>PLATFORM_TEST_SERVERS</c>, a file that tests/TestServers writes) or else started once, on free ports with data in a temporary folder.
/// PostgreSQL does not wait for the disk here; tests that kill servers use <c>PlatformProcess</c>, where it does.
/// </summary>
public sealed class TestServers
{
    private static readonly Lazy<Task<TestServers>> Shared = new(StartOrReuseAsync);

    private TestServers(ServerAddresses addresses)
    {
        Postgres = new(addresses.Postgres);
        RabbitMq = new(addresses.RabbitMq, addresses.RabbitMqManagement);
        Redis = new(addresses.Redis);
    }

    public TestPostgres Postgres { get; }

    public TestRabbitMq RabbitMq { get; }

    public TestRedis Redis { get; }

    /// <summary>The same servers at each call; the first may take ten seconds.</summary>
    public static Task<TestServers> GetAsync() => Shared.Value;

    /// <summary>Starts servers that live until the answer is disposed, or this process ends.</summary>
    public static async Task<(ServerAddresses Addresses, IAsyncDisposable Running)> StartAsync(CancellationToken ct)
    {
        var folder = TemporaryFolder.Create("servers");
        var builder = DistributedApplication.CreateBuilder([$"--PLATFORM_DATA_DIR={folder.Path}", "--PLATFORM_PORT_BASE=0", "--quiet"]);
        var postgres = builder.AddPostgres("postgres")
            .WithServerSetting("fsync", "off")
            .WithServerSetting("synchronous_commit", "off")
            .WithServerSetting("full_page_writes", "off")
            .WithServerSetting("max_connections", "500");
        var cache = builder.AddRedis("cache");
        var messaging = builder.AddRabbitMQ("messaging").WithManagementPlugin();

        var app = builder.Build();
        await app.StartAsync(ct).WaitAsync(TimeSpan.FromMinutes(2), ct);
        var addresses = new ServerAddresses(
            (await postgres.Resource.GetConnectionStringAsync(ct))!,
            (await messaging.Resource.GetConnectionStringAsync(ct))!,
            $"http://localhost:{messaging.Resource.ManagementPort}",
            (await cache.Resource.GetConnectionStringAsync(ct))!);
        return (addresses, new Running(app, folder));
    }

    private static async Task<TestServers> StartOrReuseAsync()
    {
        if (Environment.GetEnvironmentVariable("PLATFORM_TEST_SERVERS") is { Length: > 0 } file)
        {
            return new(JsonSerializer.Deserialize<ServerAddresses>(await File.ReadAllBytesAsync(file))!);
        }

        var (addresses, running) = await StartAsync(CancellationToken.None);
        // The test process has no common end that waits for tasks, so its exit does; should it be killed, the kernel ends the servers.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => running.DisposeAsync().AsTask().Wait(TimeSpan.FromSeconds(20));
        return new(addresses);
    }

    private sealed class Running(DistributedApplication app, TemporaryFolder folder) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            // Nobody reads the data again: no reason to wait for an orderly end.
            await app.StopAsync(new CancellationToken(canceled: true));
            await app.DisposeAsync();
            folder.Dispose();
        }
    }
}

/// <summary>Connection strings of servers that are up.</summary>
public sealed record ServerAddresses(string Postgres, string RabbitMq, string RabbitMqManagement, string Redis);

public sealed class TestPostgres(string serverConnectionString)
{
    /// <summary>Of the server, as its superuser, in the database <c>postgres</c>.</summary>
    public string ConnectionString => $"{serverConnectionString};Database=postgres";

    /// <summary>An empty database of the caller's own; a name is for a second one that must be found by it.</summary>
    /// <returns>Its connection string.</returns>
    public async Task<string> CreateDatabaseAsync(string? name = null)
    {
        name ??= $"t_{Guid.NewGuid():N}";
        await using var connection = new NpgsqlConnection($"{ConnectionString};Pooling=false");
        await connection.OpenAsync();
#pragma warning disable CA2100 // A database name cannot be a parameter; this one comes from the test.
        await using var create = new NpgsqlCommand($"create database \"{name}\"", connection);
#pragma warning restore CA2100
        await create.ExecuteNonQueryAsync();
        return $"{serverConnectionString};Database={name}";
    }
}

public sealed class TestRabbitMq(string connectionString, string managementUrl)
{
    /// <summary>The virtual host <c>/</c>, shared by everybody: fit for tests that name all they declare.</summary>
    public string ConnectionString => connectionString;

    /// <summary>The management API, for looking at queues; its user and password are those of the connection string.</summary>
    public Uri Management { get; } = new(managementUrl);

    /// <summary>A virtual host of the caller's own: exchanges and queues of the same names do not meet.</summary>
    /// <returns>Its connection string.</returns>
    public async Task<string> CreateVirtualHostAsync()
    {
        var name = $"t_{Guid.NewGuid():N}";
        using var http = new HttpClient { BaseAddress = Management };
        http.DefaultRequestHeaders.Authorization = new("Basic", Convert.ToBase64String(
            System.Text.Encoding.UTF8.GetBytes(Uri.UnescapeDataString(new Uri(connectionString).UserInfo))));
        using var created = await http.PutAsync(new Uri($"api/vhosts/{name}", UriKind.Relative), Json("{}"));
        created.EnsureSuccessStatusCode();
        using var permitted = await http.PutAsync(
            new Uri($"api/permissions/{name}/guest", UriKind.Relative), Json("""{"configure":".*","write":".*","read":".*"}"""));
        permitted.EnsureSuccessStatusCode();
        return $"{connectionString}/{name}";
    }

    private static StringContent Json(string text) => new(text, System.Text.Encoding.UTF8, "application/json");
}

public sealed class TestRedis(string connectionString)
{
    /// <summary>Shared by everybody: tests take key prefixes of their own.</summary>
    public string ConnectionString => connectionString;
}
