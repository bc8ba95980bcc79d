using Aspire.Hosting;
using Platform.Testing;

namespace Platform.Health.Tests;

/// <summary>A Redis that the test may stop.</summary>
internal sealed class OwnRedis : IAsyncDisposable
{
    private readonly DistributedApplication _app;
    private readonly TemporaryFolder _folder;

    private OwnRedis(DistributedApplication app, TemporaryFolder folder, string connectionString) =>
        (_app, _folder, ConnectionString) = (app, folder, connectionString);

    public string ConnectionString { get; }

    public static async Task<OwnRedis> StartAsync()
    {
        var folder = TemporaryFolder.Create("redis");
        var builder = DistributedApplication.CreateBuilder([$"--PLATFORM_DATA_DIR={folder.Path}", "--PLATFORM_PORT_BASE=0", "--quiet"]);
        var redis = builder.AddRedis("cache");
        var app = builder.Build();
        await app.StartAsync();
        return new OwnRedis(app, folder, (await redis.Resource.GetConnectionStringAsync())!);
    }

    public Task StopAsync() => _app.StopAsync();

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _folder.Dispose();
    }
}
