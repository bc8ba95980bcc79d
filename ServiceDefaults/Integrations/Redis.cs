using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using StackExchange.Redis;

namespace Platform.ServiceDefaults;

/// <summary>Settings of the section <c>Aspire:StackExchange:Redis</c>, under the names that the Aspire package has.</summary>
public sealed class StackExchangeRedisSettings
{
    public string? ConnectionString { get; set; }

    public bool DisableHealthChecks { get; set; }
}

public static class RedisIntegration
{
    /// <summary>
    /// Registers <see cref="IConnectionMultiplexer"/> and <see cref="Cache"/> for <c>ConnectionStrings:{connectionName}</c>, and the check <c>StackExchange.Redis</c>:
    /// without Redis a service is degraded, never down. A first connect that fails does not abort; the connection is made when Redis is back.
    /// </summary>
    public static void AddRedisClient(this IHostApplicationBuilder builder, string connectionName,
        Action<StackExchangeRedisSettings>? configureSettings = null, Action<ConfigurationOptions>? configureOptions = null)
    {
        var settings = Connections.Bind<StackExchangeRedisSettings>(builder, "Aspire:StackExchange:Redis", connectionName);
        settings.ConnectionString = builder.Configuration.GetConnectionString(connectionName) ?? settings.ConnectionString;
        configureSettings?.Invoke(settings);
        var connectionString = Connections.Require(settings.ConnectionString, connectionName, "localhost:6379,password=…");

        builder.Services.TryAddSingleton<IConnectionMultiplexer>(_ =>
        {
            var options = ConfigurationOptions.Parse(connectionString);
            options.AbortOnConnectFail = false;
            options.ConnectTimeout = Math.Min(options.ConnectTimeout, 2_000);
            configureOptions?.Invoke(options);
            return ConnectionMultiplexer.Connect(options);
        });
        builder.Services.TryAddSingleton<Cache>();
        if (!settings.DisableHealthChecks)
        {
            builder.Services.AddHealthChecks().Add(new HealthCheckRegistration("StackExchange.Redis",
                services => new RedisCheck(services), HealthStatus.Degraded, tags: null));
        }
    }
}

/// <summary>
/// Redis for what may vanish. No method throws because Redis is gone or slow: the answer is then "not there", within <see cref="Patience"/>.
/// The only type that speaks to the client library.
/// </summary>
public sealed class Cache(IConnectionMultiplexer redis)
{
    /// <summary>A cache that takes longer than this is no help.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(250);

    public bool IsConnected => redis.IsConnected;

    public async Task<byte[]?> FindAsync(string key, CancellationToken ct) =>
        await TryAsync(async db => (byte[]?)await db.StringGetAsync(key), ct);

    /// <param name="key">Starts with the owner's prefix, such as <c>gateway:rate:</c>.</param>
    /// <param name="value">What to keep; at most a few KiB.</param>
    /// <param name="ttl">Everything in Redis expires.</param>
    /// <param name="ct">Ends the wait, not the write.</param>
    public Task<bool> TrySetAsync(string key, byte[] value, TimeSpan ttl, CancellationToken ct) =>
        TryAsync(db => db.StringSetAsync(key, value, ttl), ct);

    public Task<bool> TryRemoveAsync(string key, CancellationToken ct) =>
        TryAsync(db => db.KeyDeleteAsync(key), ct);

    /// <summary>Runs a Lua script that answers with integers; null when Redis is gone.</summary>
    public Task<long[]?> TryEvaluateAsync(string script, string[] keys, long[] arguments, CancellationToken ct) =>
        TryAsync(async db =>
        {
            var answer = await db.ScriptEvaluateAsync(script, [.. keys.Select(key => (RedisKey)key)], [.. arguments.Select(argument => (RedisValue)argument)]);
            return (long[]?)answer;
        }, ct);

    /// <summary>For a health check: asks the server and, other than all else here, throws when it does not answer.</summary>
    /// <returns>Bytes in use, and the most it may use; 0 where it has no limit.</returns>
    public async Task<(long UsedBytes, long MaxBytes)> PingAsync(CancellationToken ct)
    {
        // As a bare command: the client's own INFO is for connections that may administer the server.
        var text = (string?)await redis.GetDatabase().ExecuteAsync("INFO", "memory").WaitAsync(ct) ?? "";
        var memory = text.Split('\n').Select(line => line.Trim().Split(':', 2)).Where(pair => pair.Length == 2).ToDictionary(pair => pair[0], pair => pair[1]);
        return (Bytes("used_memory"), Bytes("maxmemory"));

        long Bytes(string name) => memory.TryGetValue(name, out var text) && long.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, out var bytes) ? bytes : 0;
    }

    private async Task<T?> TryAsync<T>(Func<IDatabase, Task<T?>> work, CancellationToken ct)
    {
        if (!redis.IsConnected)
        {
            return default;
        }

        try
        {
            return await work(redis.GetDatabase()).WaitAsync(Patience, ct);
        }
        catch (Exception gone) when (gone is RedisException or TimeoutException or ObjectDisposedException)
        {
            return default;
        }
    }
}

internal sealed class RedisCheck(IServiceProvider services) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken)
    {
        // The first resolve connects and may wait for a server that is not there: not on the caller's thread.
        var redis = await Task.Run(services.GetRequiredService<IConnectionMultiplexer>, cancellationToken);
        if (!redis.IsConnected)
        {
            return new HealthCheckResult(context.Registration.FailureStatus, "Redis is not connected.");
        }

        await redis.GetDatabase().PingAsync();
        return HealthCheckResult.Healthy();
    }
}
