using System.Diagnostics.Metrics;

namespace Platform.Alerting.OnCall;

/// <summary>What escalations count.</summary>
public sealed class OnCallMetrics : IDisposable
{
    private readonly Meter _meter = new("Platform.Alerting.OnCall");
    private readonly Counter<long> _steps;
    private int _overdue;

    public OnCallMetrics()
    {
        _steps = _meter.CreateCounter<long>("alerting_escalation_steps", null, "Escalations that went to a further step because nobody acknowledged.");
        _meter.CreateObservableGauge("alerting_escalations_overdue", () => Volatile.Read(ref _overdue), null, "Critical alerts for which the due step was not taken, as the watchdog sees them.");
    }

    public void Escalated() => _steps.Add(1);

    public void Overdue(int escalations) => Volatile.Write(ref _overdue, escalations);

    public void Dispose() => _meter.Dispose();
}
