using Npgsql;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

/// <summary>
/// Sends what is due. Woken within the process as soon as an alert is committed, by NOTIFY for what other replicas wrote, and once a
/// second for retries. A notification is claimed for a while, sent outside of any transaction, and then settled: a crash in between
/// sends it again, with the same id, and never loses it.
/// </summary>
public sealed partial class Dispatcher(
    NpgsqlDataSource db,
    NotificationStore notifications,
    WebhookSender sender,
    NotificationOptions options,
    AlertingMetrics metrics,
    TimeProvider clock,
    ILogger<Dispatcher> logger) : BackgroundService
{
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan SettleTime = TimeSpan.FromSeconds(20);

    // Holds at most one permit: "there may be something to send".
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly HashSet<Task> _running = [];
    private int _busy;

    /// <summary>From any thread: look now instead of at the next poll.</summary>
    public void Wake()
    {
        try
        {
            _wake.Release();
        }
        catch (SemaphoreFullException)
        {
            // Already awake: one more look covers both.
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (options.WebhookUrls.Count == 0)
        {
            NoChannel();
            return;
        }

        var listening = db.ListenAsync("notifications", Wake, ListeningFailed, clock, stoppingToken);
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                _running.RemoveWhere(task => task.IsCompleted);
                var free = options.Concurrency - Volatile.Read(ref _busy);
                var claimed = free > 0 ? await notifications.ClaimAsync(free, options.Timeout + SettleTime, clock.GetUtcNow(), stoppingToken) : [];
                foreach (var notification in claimed)
                {
                    Interlocked.Increment(ref _busy);
                    _running.Add(DeliverAsync(notification));
                }

                await _wake.WaitAsync(Poll, stoppingToken);
            }
            catch (Exception error) when (!stoppingToken.IsCancellationRequested)
            {
                DispatchFailed(error);
                await Task.Delay(Poll, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (OperationCanceledException)
            {
                break;
            }
        }

        // What is on its way comes to its end; it is bounded by the timeout.
        await Task.WhenAll(_running);
        await listening;
    }

    private async Task DeliverAsync(Claimed notification)
    {
        try
        {
            var started = clock.GetTimestamp();
            var answer = await sender.SendAsync(notification);
            var now = clock.GetUtcNow();
            var verdict = Verdict.On(answer, notification.Attempt, notification.CreatedAt, now, Random.Shared.NextDouble(), options);
            // A claim must be settled even when the process is being stopped.
            await notifications.SettleAsync(
                notification,
                new Attempt(notification.Attempt, now, clock.GetElapsedTime(started).TotalMilliseconds, answer.StatusCode, answer.Outcome, answer.Reason, answer.Response),
                verdict,
                CancellationToken.None);
            metrics.Attempted(notification.Channel, WireJson.Name(answer.Outcome.ToString()));
            Report(notification, answer, verdict, now);
        }
        catch (Exception error)
        {
            // Claimed but not settled: it is sent again when the claim ends.
            DispatchFailed(error);
        }
        finally
        {
            Interlocked.Decrement(ref _busy);
            // There is room again, and the next notification of the same alert may go.
            Wake();
        }
    }

    private void Report(Claimed notification, Answer answer, Verdict verdict, DateTimeOffset now)
    {
        if (verdict.State == NotificationState.Delivered)
        {
            metrics.Delivered(now - notification.CreatedAt);
        }
        else if (verdict.State == NotificationState.Failed)
        {
            GivenUp(notification.Id, notification.Content.GroupKey, notification.Channel, notification.Attempt, answer.Reason);
        }
        else
        {
            WillTryAgain(notification.Id, notification.Channel, notification.Attempt, answer.Reason, verdict.NextAttemptAt!.Value);
        }
    }

    public override void Dispose()
    {
        _wake.Dispose();
        base.Dispose();
    }

    [LoggerMessage(LogLevel.Warning, "ALERT_WEBHOOK_URL is not set: alerts are kept and listed, but nobody is told")]
    private partial void NoChannel();

    [LoggerMessage(LogLevel.Warning, "Sending notifications failed; trying again")]
    private partial void DispatchFailed(Exception error);

    [LoggerMessage(LogLevel.Warning, "Listening for notifications failed: {Reason}. New ones of other replicas are found by polling meanwhile")]
    private partial void ListeningFailed(string reason);

    [LoggerMessage(LogLevel.Warning, "Notification {Notification} over {Channel} was not accepted at attempt {Attempt}: {Reason}. Next attempt at {Next}")]
    private partial void WillTryAgain(Guid notification, string channel, int attempt, string reason, DateTimeOffset next);

    [LoggerMessage(LogLevel.Error, "Notification {Notification} of the group {Group} over {Channel} is given up after attempt {Attempt}: {Reason}")]
    private partial void GivenUp(Guid notification, string group, string channel, int attempt, string reason);
}
