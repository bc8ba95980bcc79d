using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Platform.Postgres;

/// <summary>
/// Measures every statement, COPY included, through the activities that Npgsql emits: the histogram
/// <c>database_query_duration_seconds</c> by database and operation, and a log line for a slow one. Statement text holds
/// placeholders, never values, so nothing personal reaches the log.
/// </summary>
public sealed partial class QueryTelemetry : IHostedService, IDisposable
{
    private readonly ILogger<QueryTelemetry> _logger;
    private readonly PostgresOptions _options;
    private readonly Meter _meter = new("Platform.Postgres");
    private readonly Histogram<double> _duration;
    private readonly ActivityListener _listener;

    public QueryTelemetry(PostgresOptions options, ILogger<QueryTelemetry> logger)
    {
        _options = options;
        _logger = logger;
        _duration = _meter.CreateHistogram(
            "database_query_duration",
            "s",
            "Time a statement took, from sending it to its last row.",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] });
        _listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Npgsql",
            Sample = (ref _) => ActivitySamplingResult.AllData,
            ActivityStopped = Stopped,
        };
    }

    public Task StartAsync(CancellationToken cancellationToken)
    {
        ActivitySource.AddActivityListener(_listener);
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    private void Stopped(Activity activity)
    {
        var statement = activity.GetTagItem("db.query.text") as string ?? activity.GetTagItem("db.statement") as string;
        var database = activity.GetTagItem("db.namespace") as string ?? activity.GetTagItem("db.name") as string ?? "";
        if (statement is null)
        {
            return; // opening a connection, not a statement
        }

        _duration.Record(activity.Duration.TotalSeconds, new("database", database), new("operation", Operation(statement)));
        if (activity.Duration.TotalMilliseconds > _options.SlowQueryMilliseconds)
        {
            SlowQuery(activity.Duration.TotalMilliseconds, database, statement.Length <= 500 ? statement : statement[..500]);
        }
    }

    // The first word, out of a fixed list, so that the label cannot grow.
    internal static string Operation(string statement)
    {
        var text = statement.AsSpan().TrimStart();
        foreach (var operation in (ReadOnlySpan<string>)["select", "insert", "update", "delete", "copy", "with", "create", "drop"])
        {
            if (text.StartsWith(operation, StringComparison.OrdinalIgnoreCase))
            {
                return operation;
            }
        }

        return "other";
    }

    public void Dispose()
    {
        _listener.Dispose();
        _meter.Dispose();
    }

    [LoggerMessage(LogLevel.Warning, "Slow query: {Milliseconds:F0} ms in {Database}: {Statement}")]
    private partial void SlowQuery(double milliseconds, string database, string statement);
}
