using Npgsql;
using Platform.Contracts;
using Platform.Health.Checks;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;
using RabbitMQ.Client.Exceptions;

namespace Platform.Health.Probes;

/// <summary>Answers, accepts writes, has connections left. On connections of its own, so that a busy pool of this service does not look like a broken server.</summary>
public sealed class PostgresProbe : IProbe, IAsyncDisposable
{
    private readonly HealthOptions _options;
    private readonly NpgsqlDataSource _source;

    public PostgresProbe(HealthOptions options, string connectionString)
    {
        _options = options;
        _source = NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(connectionString) { MaxPoolSize = 2, ApplicationName = "Platform.Health check" });
    }

    public async Task<ProbeAnswer> AskAsync(CancellationToken ct)
    {
        var seen = await _source.FindAsync(
            $"""
            select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean,
                   (select count(*) from pg_stat_activity where backend_type = 'client backend'),
                   current_setting('max_connections')::bigint
            """,
            row => new { IsReadOnly = row.GetBoolean(0), Used = row.GetInt64(1), Most = row.GetInt64(2) },
            ct);
        var details = new Dictionary<string, double> { ["connections"] = seen!.Used, ["connections_max"] = seen.Most };
        return seen switch
        {
            { IsReadOnly: true } => new(HealthState.Unhealthy, "The database is read-only: nothing can be stored.", details),
            _ when seen.Used * 100 > seen.Most * _options.ConnectionsDegradedPercent => new(HealthState.Degraded, $"{seen.Used} of {seen.Most} connections are in use.", details),
            _ => new(HealthState.Healthy, "", details),
        };
    }

    public ValueTask DisposeAsync() => _source.DisposeAsync();
}

/// <summary>PING, and how full the memory is.</summary>
public sealed class RedisProbe(HealthOptions options, IServiceProvider services) : IProbe
{
    public async Task<ProbeAnswer> AskAsync(CancellationToken ct)
    {
        // The first use connects and may wait for a server that is not there; the runner calls probes off the loop's thread.
        var (used, most) = await services.GetRequiredService<Cache>().PingAsync(ct);
        var details = new Dictionary<string, double> { ["used_memory_bytes"] = used, ["max_memory_bytes"] = most };
        return most > 0 && used * 100.0 > most * (double)options.MemoryDegradedPercent
            ? new(HealthState.Degraded, $"{used} of {most} bytes of memory are in use.", details)
            : new(HealthState.Healthy, "", details);
    }
}

/// <summary>Connected, every queue of the bus is there, and none of them fills up.</summary>
public sealed class RabbitMqProbe(HealthOptions options, Broker broker) : IProbe
{
    public async Task<ProbeAnswer> AskAsync(CancellationToken ct)
    {
        var details = new Dictionary<string, double>();
        var full = new List<string>();
        var name = "";
        try
        {
            await using var channel = await broker.OpenChannelAsync(ct);
            var queues = Subscriptions.All.Select(subscription => (Name: broker.NameOf(subscription), Most: options.QueueDepthDegraded))
                .Concat(Subscriptions.All.Select(subscription => subscription.Service).Distinct().Select(service => (Name: broker.DeadLetterQueueOf(service), Most: options.DeadLettersDegraded)));
            foreach (var queue in queues)
            {
                name = queue.Name;
                var depth = (await channel.QueueDeclarePassiveAsync(name, ct)).MessageCount;
                details[name] = depth;
                if (depth > queue.Most)
                {
                    full.Add($"{depth} messages wait in {name}.");
                }
            }
        }
        catch (OperationInterruptedException missing) when (missing.ShutdownReason?.ReplyCode == 404)
        {
            details["queues_missing"] = 1;
            return new(HealthState.Degraded, $"The queue {name} is missing. Services declare it when they connect: restart one.", details);
        }

        return full.Count == 0 ? new(HealthState.Healthy, "", details) : new(HealthState.Degraded, string.Join(' ', full), details);
    }
}
