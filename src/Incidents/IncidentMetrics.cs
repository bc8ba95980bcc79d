using System.Diagnostics.Metrics;
using Platform.Contracts;
using Platform.Incidents.Lifecycle;

namespace Platform.Incidents;

/// <summary>What this service counts, on its own port at <c>/metrics</c>.</summary>
public sealed class IncidentMetrics : IDisposable
{
    private readonly Meter _meter = new("Platform.Incidents");
    private readonly Counter<long> _opened;
    private readonly Counter<long> _closed;
    private IReadOnlyList<Measurement<long>> _open = [];

    public IncidentMetrics()
    {
        _opened = _meter.CreateCounter<long>("incidents_opened", null, "Incidents that were opened, by severity, and by what: alert or person.");
        _closed = _meter.CreateCounter<long>("incidents_closed", null, "Incidents that were closed, by policy or by a person.");
        _meter.CreateObservableGauge("incidents_open", () => Volatile.Read(ref _open), null, "Incidents that are not closed, by severity; the same number on every replica.");
    }

    public void Opened(Severity severity, bool byAlert) =>
        _opened.Add(1, new("severity", severity.Word()), new("by", byAlert ? "alert" : "person"));

    public void Closed(int count, bool byPolicy) => _closed.Add(count, new KeyValuePair<string, object?>("by", byPolicy ? "policy" : "person"));

    /// <summary>The numbers as just read from the database, swapped whole.</summary>
    public void SetOpen(IEnumerable<(string Severity, long Count)> counts) =>
        Volatile.Write(ref _open, [.. counts.Select(count => new Measurement<long>(count.Count, new KeyValuePair<string, object?>("severity", count.Severity)))]);

    public void Dispose() => _meter.Dispose();
}
