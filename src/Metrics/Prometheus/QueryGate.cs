using System.ComponentModel.DataAnnotations;
using System.Diagnostics.Metrics;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Prometheus;

/// <summary>What queries may cost.</summary>
public sealed class QueryOptions
{
    /// <summary>Samples that one query may hold at a time; more is an error (422) instead of memory.</summary>
    [Setting("METRICS_QUERY_MAX_SAMPLES"), Range(1_000, 2_000_000_000)]
    public long MaxSamples { get; init; } = 50_000_000;

    /// <summary>Series that a query may answer with.</summary>
    [Setting("METRICS_QUERY_MAX_SERIES"), Range(1, 100_000_000)]
    public int MaxSeries { get; init; } = 1_000_000;

    /// <summary>Time for a query: waiting for its turn, evaluation and sending the answer together. A request may ask for less (<c>timeout</c>). Stay below what the gateway waits for.</summary>
    [Setting("METRICS_QUERY_TIMEOUT_SECONDS"), Range(0.1, 3600)]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(50);

    /// <summary>Queries that run at the same time; further ones wait.</summary>
    [Setting("METRICS_QUERY_MAX_CONCURRENT"), Range(1, 10_000)]
    public int MaxConcurrent { get; init; } = 20;

    /// <summary>Queries that may wait for their turn; further ones are refused (503).</summary>
    [Setting("METRICS_QUERY_QUEUE"), Range(0, 100_000)]
    public int Queue { get; init; } = 200;

    /// <summary>How old a sample may be to count as a series' value now. A request may ask for another time (<c>lookback_delta</c>).</summary>
    [Setting("METRICS_QUERY_LOOKBACK_SECONDS"), Range(1, 86_400)]
    public TimeSpan Lookback { get; init; } = TimeSpan.FromMinutes(5);
}

/// <summary>As many queries run as the settings say, and as many again wait.</summary>
public sealed class TooManyQueriesException(string message) : Exception(message);

/// <summary>Where queries wait for their turn, and where their time ends.</summary>
public sealed class QueryGate : IDisposable
{
    private readonly QueryOptions _options;
    private readonly TimeProvider _clock;
    private readonly SemaphoreSlim _free;
    private readonly Counter<long> _ended;
    private readonly Histogram<double> _seconds;
    private int _inside;

    public QueryGate(QueryOptions options, TimeProvider clock, IMeterFactory meters)
    {
        _options = options;
        _clock = clock;
        _free = new(options.MaxConcurrent, options.MaxConcurrent);
        var meter = meters.Create("Platform.Metrics");
        _ended = meter.CreateCounter<long>("metrics_queries", null, "Queries by how they ended.");
        _seconds = meter.CreateHistogram<double>("metrics_query_duration", "s", "From the request to the last byte of the answer.",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 20, 60] });
        meter.CreateObservableGauge("metrics_queries_waiting", () => Math.Max(0, Volatile.Read(ref _inside) - _options.MaxConcurrent), null, "Queries that wait for their turn.");
    }

    /// <summary>Runs one query, reading and answering included, within its time.</summary>
    /// <param name="timeout">What the request asks for; never longer than the setting.</param>
    /// <exception cref="QueryException">It took too long.</exception>
    /// <exception cref="TooManyQueriesException">The queue is full.</exception>
    public async Task RunAsync(string kind, TimeSpan? timeout, Func<CancellationToken, Task> query, CancellationToken aborted)
    {
        var started = _clock.GetTimestamp();
        var time = timeout < _options.Timeout ? timeout.Value : _options.Timeout;
        // Timers count milliseconds: a shorter time is over at once, instead of sometimes.
        using var deadline = new CancellationTokenSource(time >= TimeSpan.FromMilliseconds(1) ? time : TimeSpan.Zero, _clock);
        using var ends = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, aborted);
        var (outcome, stage) = ("error", "query queue");
        try
        {
            await EnterAsync(ends.Token);
            try
            {
                stage = "expression evaluation";
                await query(ends.Token);
                outcome = "ok";
            }
            finally
            {
                Leave();
            }
        }
        catch (Exception error) when (deadline.IsCancellationRequested && !aborted.IsCancellationRequested
            && error is OperationCanceledException or QueryException { Fault: QueryFault.Canceled })
        {
            outcome = "timeout";
            throw new QueryException(QueryFault.Timeout, $"query timed out in {stage}");
        }
        catch (Exception) when (aborted.IsCancellationRequested)
        {
            outcome = "canceled";
            throw;
        }
        catch (TooManyQueriesException)
        {
            outcome = "refused";
            throw;
        }
        finally
        {
            _ended.Add(1, new("kind", kind), new("outcome", outcome));
            _seconds.Record(_clock.GetElapsedTime(started).TotalSeconds, new KeyValuePair<string, object?>("kind", kind));
        }
    }

    public void Dispose() => _free.Dispose();

    private async Task EnterAsync(CancellationToken ct)
    {
        if (Interlocked.Increment(ref _inside) > (long)_options.MaxConcurrent + _options.Queue)
        {
            Interlocked.Decrement(ref _inside);
            throw new TooManyQueriesException(
                $"{_options.MaxConcurrent} queries run and {_options.Queue} wait already (METRICS_QUERY_MAX_CONCURRENT, METRICS_QUERY_QUEUE). Try again in a moment.");
        }

        try
        {
            await _free.WaitAsync(ct);
        }
        catch
        {
            Interlocked.Decrement(ref _inside);
            throw;
        }
    }

    private void Leave()
    {
        _free.Release();
        Interlocked.Decrement(ref _inside);
    }
}
