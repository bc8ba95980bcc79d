using System.Diagnostics.Metrics;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;

namespace Platform.Instrumentation;

/// <summary>
/// Events that wait to be sent, bounded in number and bytes. Adding never waits: what does not fit is dropped and counted, the oldest events stay,
/// because the beginning of an attack or an outage says more than its middle. Safe from any thread; one reader.
/// </summary>
public sealed partial class EventBuffer
{
    public const string MeterName = "Platform.Instrumentation";

    private static readonly TimeSpan BetweenWarnings = TimeSpan.FromMinutes(1);

    private readonly Channel<byte[]> _events;
    private readonly PlatformMonitoringOptions _options;
    private readonly TimeProvider _clock;
    private readonly ILogger<EventBuffer> _logger;
    private readonly Counter<long> _droppedCounter;
    private readonly Counter<long> _sentCounter;
    private long _bytes;
    private long _dropped;
    private long _reported;
    private long _warnedAt = long.MinValue;

    public EventBuffer(PlatformMonitoringOptions options, TimeProvider clock, IMeterFactory meters, ILogger<EventBuffer> logger)
    {
        _options = options;
        _clock = clock;
        _logger = logger;
        _events = Channel.CreateBounded<byte[]>(new BoundedChannelOptions(options.BufferEvents) { SingleReader = true, FullMode = BoundedChannelFullMode.Wait });

        var meter = meters.Create(MeterName);
        _sentCounter = meter.CreateCounter<long>("platform_monitoring_events_sent_total", description: "Events that the platform has stored.");
        _droppedCounter = meter.CreateCounter<long>("platform_monitoring_events_dropped_total", description: "Events that were dropped, by reason.");
        meter.CreateObservableGauge("platform_monitoring_events_waiting", () => Waiting, description: "Events that wait to be sent.");
        meter.CreateObservableGauge("platform_monitoring_bytes_waiting", () => Interlocked.Read(ref _bytes), "By", "Bytes of the events that wait to be sent.");
    }

    /// <summary>Events dropped since the start, for whatever reason.</summary>
    public long Dropped => Interlocked.Read(ref _dropped);

    /// <summary>Events that wait to be sent, without those of the request under way.</summary>
    public int Waiting => _events.Reader.Count;

    /// <summary>Keeps the event until it is sent, or drops and counts it. Returns at once.</summary>
    public void Add(MonitoringEvent happened)
    {
        if (!_options.Enabled)
        {
            return;
        }

        var json = happened.ToJson();
        if (json.Length > _options.MaxEventBytes)
        {
            Drop(1, "too_large");
            return;
        }

        if (Interlocked.Add(ref _bytes, json.Length) > _options.BufferBytes || !_events.Writer.TryWrite(json))
        {
            Interlocked.Add(ref _bytes, -json.Length);
            Drop(1, "buffer_full");
        }
    }

    /// <summary>True when an event waits; false when none waits and none will come any more.</summary>
    internal ValueTask<bool> WaitAsync(CancellationToken ct) => _events.Reader.WaitToReadAsync(ct);

    /// <summary>Moves waiting events into the batch until it is full. True when it is full.</summary>
    internal bool Fill(Batch batch)
    {
        while (_events.Reader.TryPeek(out var next))
        {
            if (!batch.HasRoomFor(next))
            {
                return true;
            }

            _events.Reader.TryRead(out next);
            Interlocked.Add(ref _bytes, -next!.Length);
            batch.Add(next);
        }

        return false;
    }

    /// <summary>No event is taken from here on; what waits can still be read.</summary>
    internal void Complete() => _events.Writer.TryComplete();

    internal void Sent(int count) => _sentCounter.Add(count);

    internal void Drop(long count, string reason)
    {
        if (count == 0)
        {
            return;
        }

        var total = Interlocked.Add(ref _dropped, count);
        _droppedCounter.Add(count, new KeyValuePair<string, object?>("reason", reason));

        var last = Interlocked.Read(ref _warnedAt);
        var now = _clock.GetTimestamp();
        if ((last == long.MinValue || _clock.GetElapsedTime(last, now) >= BetweenWarnings) && Interlocked.CompareExchange(ref _warnedAt, now, last) == last)
        {
            EventsDropped(total, reason);
        }
    }

    /// <summary>How many drops no shipped event has told of yet. They count as told from now on; <see cref="TellAgain"/> takes that back.</summary>
    internal long TakeUntold()
    {
        var total = Dropped;
        return total - Interlocked.Exchange(ref _reported, total);
    }

    internal void TellAgain(long count) => Interlocked.Add(ref _reported, -count);

    [LoggerMessage(LogLevel.Warning, "Monitoring events are being dropped, {Total} since the start; the last reason was {Reason}. This is said at most once a minute")]
    private partial void EventsDropped(long total, string reason);
}

/// <summary>The events of one request to the gateway.</summary>
internal sealed class Batch(int mostEvents, int mostBytes)
{
    private readonly List<byte[]> _events = [];
    private long _bytes;

    public IReadOnlyList<byte[]> Events => _events;

    // The first event always fits: it is smaller than what the gateway takes.
    public bool HasRoomFor(byte[] json) => _events.Count == 0 || (_events.Count < mostEvents && _bytes + json.Length <= mostBytes);

    public void Add(byte[] json)
    {
        _events.Add(json);
        _bytes += json.Length;
    }
}
