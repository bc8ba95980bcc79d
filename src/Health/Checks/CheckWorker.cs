using Npgsql;
using Platform.Postgres;

namespace Platform.Health.Checks;

/// <summary>
/// Of all replicas, one runs the checks: the one that holds an advisory lock, on a connection of its own that does nothing else. When the
/// process or its connection dies, PostgreSQL releases the lock and another replica takes over within the next try.
/// </summary>
public sealed partial class CheckWorker(
    HealthOptions options, SessionLock runner, CheckStore store, IEnumerable<CheckLoop> loops, HealthMetrics metrics, TimeProvider clock, ILogger<CheckWorker> logger) : BackgroundService
{
    internal const long LockNumber = 0x6865616c74682d31;

    private readonly CheckLoop[] _loops = [.. loops];

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (options.Enabled && !stoppingToken.IsCancellationRequested)
        {
            try
            {
                await using var connection = await runner.OpenAsync(stoppingToken);
                while (!await runner.TryTakeAsync(connection, stoppingToken))
                {
                    await Task.Delay(options.Takeover, clock, stoppingToken);
                }

                await RunChecksAsync(connection, stoppingToken);
            }
            catch (Exception error) when (!stoppingToken.IsCancellationRequested)
            {
                NotRunning(error.GetBaseException().Message);
                await Task.Delay(options.Takeover, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    // Ends by exception: the connection with the lock is gone, or the process stops.
    private async Task RunChecksAsync(NpgsqlConnection connection, CancellationToken ct)
    {
        await store.RetireAllButAsync([.. _loops.Select(loop => loop.Component)], clock.GetUtcNow(), ct);
        using var term = CancellationTokenSource.CreateLinkedTokenSource(ct);
        Running(_loops.Length);
        metrics.IsRunner = true;
        var running = Task.WhenAll(_loops.Select(loop => loop.RunAsync(term.Token)));
        try
        {
            while (!running.IsCompleted)
            {
                await Task.WhenAny(running, Task.Delay(options.Takeover, clock, ct));
                await SessionLock.ProveAsync(connection, ct);
            }
        }
        finally
        {
            await term.CancelAsync();
            metrics.IsRunner = false;
            await running;
        }
    }

    [LoggerMessage(LogLevel.Information, "This replica runs the {Count} checks")]
    private partial void Running(int count);

    [LoggerMessage(LogLevel.Warning, "This replica cannot run the checks: {Reason}")]
    private partial void NotRunning(string reason);
}

/// <summary>Deletes what is older than the retention, once an hour, in small steps. Every replica does; two at once only share the work.</summary>
public sealed partial class RetentionWorker(HealthOptions options, CheckStore store, TimeProvider clock, ILogger<RetentionWorker> logger) : BackgroundService
{
    private static readonly TimeSpan Every = TimeSpan.FromHours(1);
    private static readonly TimeSpan UptimeLooksBack = TimeSpan.FromDays(30);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await TickAsync(stoppingToken);
            }
            catch (Exception error) when (!stoppingToken.IsCancellationRequested)
            {
                RetentionFailed(error.GetBaseException().Message);
            }

            await Task.Delay(Every, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public async Task TickAsync(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var keepChanges = options.HistoryRetention > UptimeLooksBack ? options.HistoryRetention : UptimeLooksBack;
        while (await store.DeleteSomeAsync(now - options.HistoryRetention, now - keepChanges, ct))
        {
        }
    }

    [LoggerMessage(LogLevel.Warning, "Deleting old results failed: {Reason}. Trying again in an hour")]
    private partial void RetentionFailed(string reason);
}
