using System.Diagnostics.Metrics;
using Platform.Contracts;
using Platform.Health.Status;

namespace Platform.Health.Checks;

/// <summary>What this service measures about its work. Labels are names of checks, whose number the settings bound.</summary>
public sealed class HealthMetrics : IDisposable
{
    private readonly Meter _meter = new("Platform.Health");
    private readonly Histogram<double> _duration;
    private volatile bool _isRunner;

    public HealthMetrics(Board board)
    {
        _duration = _meter.CreateHistogram(
            "health_check_duration",
            "s",
            "Time a run of a check took.",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] });
        _meter.CreateObservableGauge(
            "health_check_state",
            () => board.Look().Components.Select(component => new Measurement<int>(Value(component.State), new KeyValuePair<string, object?>("component", component.Component))),
            null,
            "State of a component: 2 healthy, 1 degraded, 0 unhealthy, -1 unknown.");
        foreach (var kind in (string[])["postgres", "redis", "rabbitmq"])
        {
            _meter.CreateObservableGauge($"{kind}_up", () => Up(board, kind), null, $"Whether {kind} answered its last check: 1 or 0; missing while nobody knows.");
        }

        _meter.CreateObservableGauge("health_check_runner", () => _isRunner ? 1 : 0, null, "1 on the replica that runs the checks.");
    }

    public bool IsRunner
    {
        set => _isRunner = value;
    }

    public void Checked(Check check, CheckResult result) =>
        _duration.Record(result.Latency.TotalSeconds, new("component", check.Component), new("result", CheckStore.Word(result.State)));

    // A server that answers has details to tell, also when it is degraded or read-only. That the states cannot be read is an answer about
    // PostgreSQL: they lie there.
    private static IEnumerable<Measurement<int>> Up(Board board, string kind) =>
        board.Look().Components.FirstOrDefault(component => component.Kind == kind) is not { } server ? []
        : kind == "postgres" && !board.IsReadable ? [new(0)]
        : server.State == HealthState.Unknown || server.Last is null ? []
        : [new(server.Last.State == HealthState.Healthy || server.Last.Details.Count > 0 ? 1 : 0)];

    private static int Value(HealthState state) => state switch
    {
        HealthState.Healthy => 2,
        HealthState.Degraded => 1,
        HealthState.Unhealthy => 0,
        HealthState.Unknown => -1,
    };

    public void Dispose() => _meter.Dispose();
}
