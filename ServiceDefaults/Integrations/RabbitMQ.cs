using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Polly;
using Polly.Retry;
using RabbitMQ.Client;
using RabbitMQ.Client.Exceptions;

namespace Platform.ServiceDefaults;

/// <summary>Settings of the section <c>Aspire:RabbitMQ:Client</c>, under the names that the Aspire package has.</summary>
public sealed class RabbitMQClientSettings
{
    public string? ConnectionString { get; set; }

    /// <summary>Connect attempts after the first one, with exponential back-off from one second.</summary>
    public int MaxConnectRetryCount { get; set; } = 5;

    public bool DisableHealthChecks { get; set; }
}

public static class RabbitMQIntegration
{
    /// <summary>
    /// Registers <see cref="IConnectionFactory"/> and, opened when first asked for, <see cref="IConnection"/> for <c>ConnectionStrings:{connectionName}</c>,
    /// and the check <c>RabbitMQ.Client</c>: without the broker a service is degraded, because messages wait in the outbox.
    /// </summary>
    public static void AddRabbitMQClient(this IHostApplicationBuilder builder, string connectionName,
        Action<RabbitMQClientSettings>? configureSettings = null, Action<ConnectionFactory>? configureConnectionFactory = null)
    {
        var settings = Connections.Bind<RabbitMQClientSettings>(builder, "Aspire:RabbitMQ:Client", connectionName);
        settings.ConnectionString = builder.Configuration.GetConnectionString(connectionName) ?? settings.ConnectionString;
        configureSettings?.Invoke(settings);
        var connectionString = Connections.Require(settings.ConnectionString, connectionName, "amqp://user:password@localhost:5672");

        builder.Services.TryAddSingleton<IConnectionFactory>(_ =>
        {
            var factory = new ConnectionFactory { Uri = new Uri(connectionString), ClientProvidedName = builder.Environment.ApplicationName };
            configureConnectionFactory?.Invoke(factory);
            return factory;
        });
        builder.Services.TryAddSingleton<BrokerConnection>();
        builder.Services.TryAddSingleton(services => services.GetRequiredService<BrokerConnection>().Connect(settings.MaxConnectRetryCount));
        if (!settings.DisableHealthChecks)
        {
            builder.Services.AddHealthChecks().Add(new HealthCheckRegistration("RabbitMQ.Client",
                services => new RabbitMQCheck(services.GetRequiredService<BrokerConnection>()), HealthStatus.Degraded, tags: null));
        }
    }
}

/// <summary>
/// The process' shared connection. Code that keeps a long-lived connection of its own calls <see cref="Report"/>; nothing else is opened then, also not for the health check.
/// </summary>
public sealed class BrokerConnection(IConnectionFactory factory) : IAsyncDisposable
{
    private readonly SemaphoreSlim _opening = new(1, 1);
    private volatile IConnection? _reported;
    private IConnection? _connection;

    /// <summary>Names the connection whose state is the health of the broker from now on. Its owner disposes it.</summary>
    public void Report(IConnection connection) => _reported = connection;

    // The container resolves synchronously; nothing else may call this.
    internal IConnection Connect(int retries) => Task.Run(async () =>
    {
        var pipeline = new ResiliencePipelineBuilder().AddRetry(new RetryStrategyOptions
        {
            MaxRetryAttempts = Math.Max(1, retries),
            BackoffType = DelayBackoffType.Exponential,
            Delay = TimeSpan.FromSeconds(1),
            UseJitter = true,
            ShouldHandle = new PredicateBuilder().Handle<BrokerUnreachableException>(),
        }).Build();
        return await pipeline.ExecuteAsync(async ct => await OpenAsync(ct));
    }).GetAwaiter().GetResult();

    // Opened once; after that the client library recovers it by itself.
    internal async Task<bool> IsOpenAsync(CancellationToken ct) => (_reported ?? await OpenAsync(ct)).IsOpen;

    private async Task<IConnection> OpenAsync(CancellationToken ct)
    {
        await _opening.WaitAsync(ct);
        try
        {
            return _connection ??= await factory.CreateConnectionAsync(ct);
        }
        finally
        {
            _opening.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        _opening.Dispose();
        if (_connection is not null)
        {
            await _connection.DisposeAsync();
        }
    }
}

internal sealed class RabbitMQCheck(BrokerConnection broker) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken) =>
        await broker.IsOpenAsync(cancellationToken)
            ? HealthCheckResult.Healthy()
            : new HealthCheckResult(context.Registration.FailureStatus, "The connection to RabbitMQ is lost and being made again.");
}
