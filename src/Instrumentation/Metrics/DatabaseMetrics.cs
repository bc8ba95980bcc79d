using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Hosting;

namespace Platform.Instrumentation;

/// <summary>
/// Measures statements and connections of Npgsql by listening to what it tells about itself, so that no query has to be wrapped:
/// <c>database_query_duration_seconds{operation}</c> and <c>database_connection_pool_size{state}</c>. Other drivers call
/// <see cref="PlatformMetrics.DatabaseQuery"/>.
/// </summary>
internal sealed class DatabaseMetrics : IHostedService, IDisposable
{
    private static readonly string[] Operations = ["select", "insert", "update", "delete", "copy", "with", "create", "drop", "call"];

    private readonly PlatformMetrics _metrics;
    private readonly PlatformMonitoringOptions _options;
    private readonly ActivityListener _statements;
    private readonly MeterListener _connections = new();
    private readonly Dictionary<string, long> _byState = [];

    public DatabaseMetrics(PlatformMetrics metrics, PlatformMonitoringOptions options)
    {
        _metrics = metrics;
        _options = options;
        _statements = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Npgsql",
            Sample = (ref _) => ActivitySamplingResult.AllData,
            ActivityStopped = Stopped,
        };
        _connections.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument is { Meter.Name: "Npgsql", Name: "db.client.connection.count" or "db.client.connections.usage" })
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _connections.SetMeasurementEventCallback<int>((_, count, labels, _) => Connections(count, labels));
        _connections.SetMeasurementEventCallback<long>((_, count, labels, _) => Connections(count, labels));
    }

    public Task StartAsync(CancellationToken cancellationToken)
    {
        if (_options.MetricsEnabled)
        {
            ActivitySource.AddActivityListener(_statements);
            _connections.Start();
            _metrics.Meter.CreateObservableGauge("database_connection_pool_size", Observe, description: "Connections of the pools, by state.");
        }

        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public void Dispose()
    {
        _statements.Dispose();
        _connections.Dispose();
    }

    private void Stopped(Activity activity)
    {
        // Opening a connection has no text.
        if ((activity.GetTagItem("db.query.text") ?? activity.GetTagItem("db.statement")) is string statement)
        {
            var text = statement.AsSpan().TrimStart();
            var known = "other";
            foreach (var operation in Operations)
            {
                if (text.StartsWith(operation, StringComparison.OrdinalIgnoreCase))
                {
                    known = operation;
                    break;
                }
            }

            _metrics.DatabaseQuery(known, activity.Duration);
        }
    }

    // Collections take turns, and each of them asks all pools anew.
    private IEnumerable<Measurement<long>> Observe()
    {
        lock (_byState)
        {
            _byState.Clear();
            _connections.RecordObservableInstruments();
            return [.. _byState.Select(state => new Measurement<long>(state.Value, new KeyValuePair<string, object?>("state", state.Key)))];
        }
    }

    private void Connections(long count, ReadOnlySpan<KeyValuePair<string, object?>> labels)
    {
        foreach (var (name, value) in labels)
        {
            if (name is "db.client.connection.state" or "state" && value is string state)
            {
                _byState[state] = _byState.GetValueOrDefault(state) + count;
            }
        }
    }
}
