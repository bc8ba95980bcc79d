using Platform.Contracts;

namespace Platform.Health.Checks;

/// <summary>One thing that is asked how it is, again and again.</summary>
/// <param name="Component">Its name: unique, and what people, messages and metrics call it.</param>
/// <param name="Kind">What is asked: <c>service</c>, <c>postgres</c>, <c>redis</c>, <c>rabbitmq</c>, <c>http</c> or <c>tcp</c>.</param>
public sealed record Check(string Component, string Kind, IProbe Probe, Pace Pace, Thresholds Thresholds)
{
    /// <summary>Without it the platform cannot take in data or alert: when it is unhealthy, so is the platform.</summary>
    public bool IsCore { get; init; }

    /// <summary>Its name, state and uptime stand on the public status page.</summary>
    public bool IsPublic { get; init; }

    /// <summary>The worst that a failure of this component means. Redis and RabbitMQ are <see cref="HealthState.Degraded"/>: the platform works on without them.</summary>
    public HealthState WhenFailing { get; init; } = HealthState.Unhealthy;
}

/// <param name="Interval">From one run to the next.</param>
/// <param name="Timeout">A run without an answer after this long has failed.</param>
public sealed record Pace(TimeSpan Interval, TimeSpan Timeout);

/// <summary>One way to ask. Implementations answer or throw; timing, thresholds and keeping are the runner's.</summary>
public interface IProbe
{
    /// <param name="ct">Cancelled when the check's timeout is over. A probe that ignores it is abandoned, and not asked again before it has ended.</param>
    Task<ProbeAnswer> AskAsync(CancellationToken ct);
}

/// <param name="Reason">What was seen, as one sentence without secrets; empty when all is well and nothing is to be said.</param>
/// <param name="Details">Numbers worth showing: connections, memory, queue depths. Few and small.</param>
public sealed record ProbeAnswer(HealthState State, string Reason, IReadOnlyDictionary<string, double> Details)
{
    public static readonly IReadOnlyDictionary<string, double> NoDetails = new Dictionary<string, double>();

    public static ProbeAnswer Healthy { get; } = new(HealthState.Healthy, "", NoDetails);

    public static ProbeAnswer Unhealthy(string reason) => new(HealthState.Unhealthy, reason, NoDetails);

    public static ProbeAnswer Degraded(string reason) => new(HealthState.Degraded, reason, NoDetails);
}
