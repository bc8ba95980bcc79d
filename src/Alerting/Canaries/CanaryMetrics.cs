using System.Diagnostics.Metrics;

namespace Platform.Alerting.Canaries;

/// <summary>What canaries say about the pipeline, the same in every replica, and what pings came to. Without canaries there are no such series.</summary>
public sealed class CanaryMetrics : IDisposable
{
    private readonly Meter _meter = new("Platform.Alerting.Canaries");
    private readonly Counter<long> _pings;
    private CanaryFlight? _flight;

    public CanaryMetrics(CanaryOptions options, TimeProvider clock)
    {
        _pings = _meter.CreateCounter<long>("alerting_pings", null, "Pings to the system that watches this one, by outcome.");
        if (!options.Enabled)
        {
            return;
        }

        _meter.CreateObservableGauge<double>(
            "alerting_canary_latency",
            () => Volatile.Read(ref _flight)?.LatencyAt(clock.GetUtcNow()) is { } latency ? [new Measurement<double>(latency.TotalSeconds)] : [],
            "s",
            "Time of the newest test alert from its event to its channel, or so far of one that has not arrived.");
        _meter.CreateObservableGauge(
            "alerting_canary_last_success_timestamp",
            () => (Volatile.Read(ref _flight)?.ArrivedAt ?? DateTimeOffset.UnixEpoch).ToUnixTimeMilliseconds() / 1000d,
            "s",
            "When a test alert last arrived, in seconds since 1970; 0 for never.");
        _meter.CreateObservableGauge("alerting_canary_interval", () => options.Interval.TotalSeconds, "s", "From one test alert to the next.");
    }

    public void Saw(CanaryFlight flight) => Volatile.Write(ref _flight, flight);

    public void Pinged(bool accepted) => _pings.Add(1, new KeyValuePair<string, object?>("outcome", accepted ? "accepted" : "failed"));

    public void Dispose() => _meter.Dispose();
}
