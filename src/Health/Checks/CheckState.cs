using Platform.Contracts;

namespace Platform.Health.Checks;

/// <summary>How many results in a row it takes to believe a change.</summary>
/// <param name="Failures">Results worse than the state, before it worsens.</param>
/// <param name="Successes">Results better than the state, before it improves.</param>
public sealed record Thresholds(int Failures, int Successes);

/// <summary>What one run of a check gave.</summary>
/// <param name="At">When the run began.</param>
public sealed record CheckResult(DateTimeOffset At, HealthState State, TimeSpan Latency, string Reason, IReadOnlyDictionary<string, double> Details);

/// <summary>A component's state moved.</summary>
public sealed record StateChange(HealthState Previous, HealthState Current, DateTimeOffset At, string Reason)
{
    /// <summary>A component that is found well when it is first looked at is no news.</summary>
    public bool IsNews => (Previous, Current) is not (HealthState.Unknown, HealthState.Healthy);
}

/// <summary>Where a component stands: the state that people see, and the streak of results that may change it.</summary>
/// <param name="Since">When <paramref name="State"/> was entered.</param>
/// <param name="Toward">The state that every result of the streak supports.</param>
/// <param name="Streak">Results in a row that point in one direction away from <paramref name="State"/>; 0 when the last one agreed with it.</param>
/// <param name="ConsecutiveFailures">Results in a row that were not healthy.</param>
/// <param name="Last">The newest result; null before the first.</param>
public sealed record CheckState(HealthState State, DateTimeOffset Since, HealthState Toward, int Streak, int ConsecutiveFailures, CheckResult? Last)
{
    public static CheckState New(DateTimeOffset now) => new(HealthState.Unknown, now, HealthState.Unknown, 0, 0, null);

    /// <summary>
    /// The state after one more result, and the change if there is one. A state is left when the streak reaches its threshold, for the mildest
    /// state of the streak: after unhealthy, degraded, unhealthy only "at least degraded" has been seen three times. A first healthy result counts at once.
    /// </summary>
    public (CheckState Next, StateChange? Change) Take(CheckResult result, Thresholds thresholds)
    {
        var failures = result.State == HealthState.Healthy ? 0 : ConsecutiveFailures + 1;
        var direction = Severity(result.State).CompareTo(Severity(State));
        if (direction == 0 && State != HealthState.Unknown)
        {
            return (this with { Toward = State, Streak = 0, ConsecutiveFailures = failures, Last = result }, null);
        }

        var continues = Streak > 0 && Severity(Toward).CompareTo(Severity(State)) == direction;
        var streak = continues ? Streak + 1 : 1;
        var toward = continues ? NearerToState(Toward, result.State, direction) : result.State;
        var needed = direction > 0 ? thresholds.Failures : State == HealthState.Unknown ? 1 : thresholds.Successes;
        if (streak < needed)
        {
            return (this with { Toward = toward, Streak = streak, ConsecutiveFailures = failures, Last = result }, null);
        }

        return (new CheckState(toward, result.At, toward, 0, failures, result), new StateChange(State, toward, result.At, result.Reason));
    }

    private static HealthState NearerToState(HealthState one, HealthState other, int direction) =>
        direction > 0 == Severity(one) < Severity(other) ? one : other;

    // Nothing known yet counts like healthy: it takes as many failures to alarm.
    private static int Severity(HealthState state) => state switch
    {
        HealthState.Unknown or HealthState.Healthy => 0,
        HealthState.Degraded => 1,
        HealthState.Unhealthy => 2,
    };
}
