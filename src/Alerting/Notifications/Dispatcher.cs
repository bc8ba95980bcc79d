using System.Collections.Concurrent;
using System.Threading.Channels;
using Npgsql;
using Platform.Alerting.Canaries;
using Platform.Alerting.Channels;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Channel = Platform.Alerting.Channels.Channel;

namespace Platform.Alerting.Notifications;

/// <summary>
/// Sends what is due. Woken within the process as soon as an alert is committed, by NOTIFY for what other replicas wrote, and once a
/// second for retries and deadlines. Notifications are claimed for a while, many at a time, sent outside of any transaction, and settled,
/// many at a time: a crash in between sends one again, with the same id, and never loses it.
/// </summary>
public sealed partial class Dispatcher : BackgroundService
{
    /// <summary>Longer than any attempt takes: nobody else sends a test while its asker does.</summary>
    public static readonly TimeSpan TestLease = TimeSpan.FromMinutes(10);

    private const int MostSettledAtOnce = 256;
    private const int MostOverdueAtOnce = 500;
    private const int LooksPerForgetting = 10;
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan SettleTime = TimeSpan.FromSeconds(20);

    private readonly NpgsqlDataSource _db;
    private readonly DeliveryStore _deliveries;
    private readonly ChannelStore _channels;
    private readonly SettingsChannels _settings;
    private readonly Dictionary<ChannelKind, INotifier> _notifiers;
    private readonly NotificationOptions _options;
    private readonly FlowOptions _flow;
    private readonly ChannelSettings _channelSettings;
    private readonly AlertingMetrics _metrics;
    private readonly TimeProvider _clock;
    private readonly ILogger<Dispatcher> _logger;

    /// <summary>The longest that one attempt takes.</summary>
    private readonly TimeSpan _patience;

    private readonly Signal _wake = new();
    private readonly ClockWatch _clocks = new();
    private readonly SemaphoreSlim _senders;
    private readonly ConcurrentDictionary<(string Realm, string Name), Lane> _lanes = new();
    private readonly Channel<Settlement> _settlements;

    // Stored channels as last seen, with their secrets opened; replaced when a claim shows another version.
    private readonly ConcurrentDictionary<Guid, Channel> _known = new();
    private int _busy;

    public Dispatcher(
        NpgsqlDataSource db, DeliveryStore deliveries, ChannelStore channels, SettingsChannels settings, IEnumerable<INotifier> notifiers, NotificationOptions options, FlowOptions flow,
        ChannelSettings channelSettings, SmtpSettings smtp, AlertingMetrics metrics, TimeProvider clock, ILogger<Dispatcher> logger)
    {
        (_db, _deliveries, _channels, _settings, _options, _flow, _channelSettings, _metrics, _clock, _logger) =
            (db, deliveries, channels, settings, options, flow, channelSettings, metrics, clock, logger);
        _notifiers = notifiers.ToDictionary(notifier => notifier.Kind);
        // A bot makes two requests for one notification.
        _patience = TimeSpan.FromTicks(Math.Max(2 * options.Timeout.Ticks, smtp.Timeout.Ticks));
        _senders = new SemaphoreSlim(options.Concurrency);
        _settlements = System.Threading.Channels.Channel.CreateBounded<Settlement>(new BoundedChannelOptions(4 * MostSettledAtOnce) { SingleReader = true });
    }

    private TimeSpan Lease => _patience + SettleTime;

    // So many are held in hand that senders need not wait for the next claim.
    private int MostInHand => 4 * _options.Concurrency;

    /// <summary>From any thread: look now instead of at the next poll.</summary>
    public void Wake() => _wake.Raise();

    /// <summary>Sends one that the caller has claimed, past buckets and pauses, and settles it.</summary>
    public async Task<Settlement> DeliverNowAsync(Claimed claimed, Channel channel)
    {
        var settlement = await AttemptAsync(claimed, channel);
        await _deliveries.SettleAsync([settlement], _clock.GetUtcNow(), CancellationToken.None);
        return settlement;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (_settings.All.Count == 0)
        {
            NoChannel();
        }

        var settling = SettleAsync();
        var listening = _db.ListenAsync("notifications", Wake, ListeningFailed, _clock, stoppingToken);
        var (nextLook, looks) = (_clock.GetTimestamp(), 0);
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                if (_clock.GetElapsedTime(nextLook) >= TimeSpan.Zero)
                {
                    nextLook = _clock.GetTimestamp() + (long)(Poll.TotalSeconds * _clock.TimestampFrequency);
                    try
                    {
                        await GiveUpOverdueAsync(stoppingToken);
                        if (looks++ % LooksPerForgetting == 0)
                        {
                            await _deliveries.ForgetDeletedAsync(_clock.GetUtcNow(), stoppingToken);
                        }
                    }
                    catch (Exception error) when (!stoppingToken.IsCancellationRequested)
                    {
                        // What cannot be given up must not keep from being sent what can.
                        GivingUpFailed(error);
                    }
                }

                var now = _clock.GetUtcNow();
                if (_clocks.SetBackBy(now) > TimeSpan.Zero)
                {
                    await _deliveries.LookAgainAsync(now, stoppingToken);
                }

                _clocks.Saw(now);
                if (Volatile.Read(ref _busy) < MostInHand)
                {
                    var claimed = await _deliveries.ClaimAsync(RoomFor, Lease, _clock.GetUtcNow(), stoppingToken);
                    await LearnAsync(claimed, stoppingToken);
                    foreach (var one in claimed)
                    {
                        Take(one, stoppingToken);
                    }
                }

                await _wake.WaitAsync(Poll, stoppingToken);
            }
            catch (Exception error) when (!stoppingToken.IsCancellationRequested)
            {
                DispatchFailed(error);
                await Task.Delay(Poll, _clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (OperationCanceledException)
            {
                break;
            }
        }

        // What is on its way comes to its end; it is bounded by the timeouts.
        while (Volatile.Read(ref _busy) > 0)
        {
            await _wake.WaitAsync(Poll, CancellationToken.None);
        }

        _settlements.Writer.Complete();
        await settling;
        await listening;
    }

    // In hand are those that wait for a sender here, too: one slow channel must not fill both hands.
    private Room RoomFor(ChannelQueue queue)
    {
        var inHand = _lanes.TryGetValue((queue.Realm, queue.Name), out var lane) ? lane.InHand : 0;
        var space = Math.Min(MostInHand - Volatile.Read(ref _busy), MostInHand / 2 - inHand);
        return Flow.Of(queue, RatePerMinute(queue), space, _flow, _clock.GetUtcNow());
    }

    private int RatePerMinute(ChannelQueue queue)
    {
        var known = queue.Stored is null ? _settings.Find(queue.Name) : null;
        return queue.RatePerMinute ?? known?.RatePerMinute ?? ((queue.Kind ?? known?.Kind) is ChannelKind.Webhook or null ? 0 : _channelSettings.RatePerMinute);
    }

    private TimeSpan DeadlineOf(Channel? channel, string kind) =>
        channel?.Deadline ?? (channel?.Fallback is not null && kind != "fallback" ? _channelSettings.FallbackAfter : _options.Deadline);

    private void Take(Claimed claimed, CancellationToken stopping)
    {
        var lane = _lanes.GetOrAdd((claimed.ChannelRealm, claimed.Channel), _ => new Lane(Math.Max(1, _options.Concurrency / 2)));
        Interlocked.Increment(ref _busy);
        Interlocked.Increment(ref lane.InHand);
        if (!claimed.IsProbe)
        {
            lane.Trust();
        }

        _ = DeliverAsync(claimed, lane, stopping);
    }

    private async Task DeliverAsync(Claimed claimed, Lane lane, CancellationToken stopping)
    {
        try
        {
            Settlement settlement;
            // The lane first: whoever waits for a slow channel must not hold a sender meanwhile.
            await lane.Senders.WaitAsync(CancellationToken.None);
            try
            {
                await _senders.WaitAsync(CancellationToken.None);
                try
                {
                    // Too late in the claim, or the channel stopped answering while this one waited: others may have it.
                    settlement = stopping.IsCancellationRequested || (lane.Silent >= _flow.CircuitFailures && !claimed.IsProbe) || _clock.GetUtcNow() + _patience > claimed.Until
                        ? new Settlement(claimed, null, null, null, new Verdict(NotificationState.Pending, _clock.GetUtcNow()))
                        : await AttemptAsync(claimed, ChannelOf(claimed));
                    lane.Heard(settlement.Answer);
                }
                finally
                {
                    _senders.Release();
                }
            }
            finally
            {
                lane.Senders.Release();
            }

            await _settlements.Writer.WriteAsync(settlement, CancellationToken.None);
        }
        catch (Exception error)
        {
            // Claimed but not settled: it is sent again when the claim ends.
            DispatchFailed(error);
            Done(lane);
        }
    }

    private void Done(Lane lane)
    {
        Interlocked.Decrement(ref lane.InHand);
        Interlocked.Decrement(ref _busy);
        // There is room again, and the next notification of the same group may go.
        Wake();
    }

    private async Task<Settlement> AttemptAsync(Claimed claimed, Channel? channel)
    {
        var started = _clock.GetTimestamp();
        var answer = await AskAsync(claimed, channel);
        var now = _clock.GetUtcNow();
        var attempt = new Attempt(claimed.Attempt, now, _clock.GetElapsedTime(started).TotalMilliseconds, answer.StatusCode, answer.Outcome, answer.Reason, answer.Response);
        // Whoever tries a channel wants to know now; nobody is told again later.
        var deadline = claimed.Kind == "test" ? TimeSpan.Zero : DeadlineOf(channel, claimed.Kind);
        var verdict = Verdict.On(answer, claimed.Attempt, claimed.Since, deadline, now, Random.Shared.NextDouble(), _options);
        if (claimed.Realm != Canary.Realm)
        {
            _metrics.Attempted(channel?.Kind, answer.Outcome);
        }

        Report(claimed, answer, verdict, now);
        return new Settlement(claimed, channel, attempt, answer, verdict);
    }

    private async Task<Answer> AskAsync(Claimed claimed, Channel? channel)
    {
        if (channel is null)
        {
            // A setting that is missing may come back, and must find its notifications waiting; a channel that somebody deleted does not.
            return claimed.ChannelRealm == Realm.All
                ? new(DeliveryOutcome.TryAgain, $"no channel {claimed.Channel} is known here; it was removed from the settings or deleted")
                : new(DeliveryOutcome.Refused, "the channel was deleted");
        }

        if (channel.SecretsAreLost)
        {
            return new(DeliveryOutcome.TryAgain, "the stored secrets of the channel cannot be read; set them again");
        }

        try
        {
            return await _notifiers[channel.Kind].SendAsync(channel, claimed.Message);
        }
        catch (Exception error)
        {
            // A fault of ours must not hold up what comes after it for ever; it is tried again and then given up like any other.
            NotifierFailed(error, claimed.Id, channel.Name);
            return new(DeliveryOutcome.TryAgain, $"sending failed here with {error.GetType().Name}; the log has more");
        }
    }

    // One transaction for all answers that have come while the one before was committed.
    private async Task SettleAsync()
    {
        var batch = new List<Settlement>();
        while (await _settlements.Reader.WaitToReadAsync())
        {
            batch.Clear();
            while (batch.Count < MostSettledAtOnce && _settlements.Reader.TryRead(out var one))
            {
                batch.Add(one);
            }

            try
            {
                await _deliveries.SettleAsync(batch, _clock.GetUtcNow(), CancellationToken.None);
            }
            catch (Exception error)
            {
                DispatchFailed(error);
                await SettleEachAsync(batch);
            }

            foreach (var one in batch)
            {
                Done(_lanes[(one.Claimed.ChannelRealm, one.Claimed.Channel)]);
            }
        }
    }

    // What cannot be settled must not keep the others from it. What fails here is sent again when its claim ends.
    private async Task SettleEachAsync(List<Settlement> batch)
    {
        foreach (var one in batch)
        {
            try
            {
                await _deliveries.SettleAsync([one], _clock.GetUtcNow(), CancellationToken.None);
            }
            catch (Exception error)
            {
                DispatchFailed(error);
            }
        }
    }

    // Behind a channel that does not answer, or whose bucket is too small, a notification may wait past its deadline without ever being tried.
    internal async Task GiveUpOverdueAsync(CancellationToken ct)
    {
        var busy = await _deliveries.BusyAsync(ct);
        if (busy.Count == 0)
        {
            return;
        }

        await _deliveries.EnsureStatesAsync(ct);
        await LearnAsync([.. busy.Where(one => one.Stored is not null).Select(one => one.Stored!.Value)], ct);
        var now = _clock.GetUtcNow();
        var deadlines = busy.ConvertAll(one =>
        {
            var channel = one.Stored is { } stored ? _known.GetValueOrDefault(stored.Id) : _settings.Find(one.Name);
            return (one.Realm, one.Name, now - DeadlineOf(channel, "alert"), now - DeadlineOf(channel, "fallback"));
        });
        var overdue = await _deliveries.ClaimOverdueAsync(deadlines, MostOverdueAtOnce, Lease, now, ct);
        if (overdue.Count == 0)
        {
            return;
        }

        await LearnAsync(overdue, ct);
        var settled = new List<Settlement>();
        foreach (var one in overdue)
        {
            const string reason = "the deadline passed before it could be sent";
            settled.Add(new Settlement(one, ChannelOf(one), new Attempt(one.Attempt, now, 0, null, DeliveryOutcome.TryAgain, reason, ""), null, new Verdict(NotificationState.Failed, null)));
            GivenUp(one.Id, one.Content.GroupKey, one.Channel, one.Attempt, reason);
        }

        try
        {
            await _deliveries.SettleAsync(settled, now, ct);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            GivingUpFailed(error);
            await SettleEachAsync(settled);
        }

        Wake();
    }

    private Task LearnAsync(List<Claimed> claimed, CancellationToken ct) =>
        LearnAsync([.. claimed.Where(one => one.Stored is not null).Select(one => one.Stored!.Value).Distinct()], ct);

    private async Task LearnAsync((Guid Id, int Version)[] stored, CancellationToken ct)
    {
        var stale = stored.Where(one => !_known.TryGetValue(one.Id, out var known) || known.Version != one.Version).Select(one => one.Id).ToArray();
        if (stale.Length > 0)
        {
            foreach (var channel in await _channels.GetAsync(stale, ct))
            {
                _known[channel.Id] = channel;
            }
        }
    }

    private Channel? ChannelOf(Claimed claimed) =>
        claimed.Stored is { } stored ? _known.GetValueOrDefault(stored.Id) : claimed.ChannelRealm == Realm.All ? _settings.Find(claimed.Channel) : null;

    private void Report(Claimed claimed, Answer answer, Verdict verdict, DateTimeOffset now)
    {
        if (verdict.State == NotificationState.Delivered)
        {
            if (claimed.Realm != Canary.Realm)
            {
                _metrics.Delivered(now - claimed.CreatedAt);
            }
        }
        else if (verdict.State == NotificationState.Failed)
        {
            GivenUp(claimed.Id, claimed.Content.GroupKey, claimed.Channel, claimed.Attempt, answer.Reason);
        }
        else
        {
            WillTryAgain(claimed.Id, claimed.Channel, claimed.Attempt, answer.Reason, verdict.NextAttemptAt!.Value);
        }
    }

    public override void Dispose()
    {
        _wake.Dispose();
        _senders.Dispose();
        foreach (var lane in _lanes.Values)
        {
            lane.Senders.Dispose();
        }

        base.Dispose();
    }

    /// <summary>What this process has in hand for one channel. As many lanes as channels that ever had something to tell here.</summary>
    private sealed class Lane(int senders)
    {
        public int InHand;
        private int _silent;

        public SemaphoreSlim Senders { get; } = new(senders);

        /// <summary>Answers in a row that were none, since the channel was last found well when claiming.</summary>
        public int Silent => Volatile.Read(ref _silent);

        /// <summary>What all replicas know says that the channel answers.</summary>
        public void Trust() => Volatile.Write(ref _silent, 0);

        public void Heard(Answer? answer)
        {
            if (answer is { Outcome: DeliveryOutcome.TryAgain, StatusCode: not 429 })
            {
                Interlocked.Increment(ref _silent);
            }
            else if (answer is not null)
            {
                Volatile.Write(ref _silent, 0);
            }
        }
    }

    [LoggerMessage(LogLevel.Warning, "No setting makes a channel (ALERT_WEBHOOK_URL, ALERT_EMAIL_RECIPIENTS, ALERT_SLACK_WEBHOOK_URL, …): only channels that realms made are told of alerts")]
    private partial void NoChannel();

    [LoggerMessage(LogLevel.Error, "Giving up notifications whose deadline has passed failed; trying again in a second")]
    private partial void GivingUpFailed(Exception error);

    [LoggerMessage(LogLevel.Warning, "Sending notifications failed; trying again")]
    private partial void DispatchFailed(Exception error);

    [LoggerMessage(LogLevel.Error, "Notification {Notification} could not be made for {Channel}; trying again")]
    private partial void NotifierFailed(Exception error, Guid notification, string channel);

    [LoggerMessage(LogLevel.Warning, "Listening for notifications failed: {Reason}. New ones of other replicas are found by polling meanwhile")]
    private partial void ListeningFailed(string reason);

    [LoggerMessage(LogLevel.Warning, "Notification {Notification} over {Channel} was not accepted at attempt {Attempt}: {Reason}. Next attempt at {Next}")]
    private partial void WillTryAgain(Guid notification, string channel, int attempt, string reason, DateTimeOffset next);

    [LoggerMessage(LogLevel.Error, "Notification {Notification} about {Group} over {Channel} is given up after attempt {Attempt}: {Reason}")]
    private partial void GivenUp(Guid notification, string group, string channel, int attempt, string reason);
}
