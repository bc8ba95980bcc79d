namespace Platform.Health.Heartbeats;

/// <summary>
/// Finds heartbeats that did not come, at the moment they are overdue: it sleeps until the next one is due, and never longer than a
/// second, so that one that was made meanwhile, by whatever replica, is not seen late.
/// </summary>
public sealed partial class HeartbeatWorker(HeartbeatStore heartbeats, HeartbeatOptions options, TimeProvider clock, ILogger<HeartbeatWorker> logger) : BackgroundService
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Shortest = TimeSpan.FromMilliseconds(5);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await Task.Delay(options.StartGrace, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        while (!stoppingToken.IsCancellationRequested)
        {
            var pause = await TickAsync(stoppingToken);
            await Task.Delay(pause, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <returns>How long there is nothing to do.</returns>
    internal async Task<TimeSpan> TickAsync(CancellationToken ct)
    {
        try
        {
            var (missed, next) = await heartbeats.MissAsync(clock.GetUtcNow(), ct);
            foreach (var one in missed)
            {
                Missed(one.Name, one.Realm, one.LastBeatAt);
            }

            return next - clock.GetUtcNow() is { } wait && wait < Longest ? wait > Shortest ? wait : Shortest : Longest;
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            LookFailed(error.GetBaseException().Message);
            return Longest;
        }
        catch (OperationCanceledException)
        {
            return Longest;
        }
    }

    [LoggerMessage(LogLevel.Warning, "The heartbeat {Name} of realm {Realm} did not come; the last one was at {Last}")]
    private partial void Missed(string name, string realm, DateTimeOffset? last);

    [LoggerMessage(LogLevel.Warning, "Looking for missed heartbeats failed: {Reason}")]
    private partial void LookFailed(string reason);
}
