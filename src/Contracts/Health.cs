namespace Platform.Contracts;

/// <summary>A component is well, works with a part missing, does not work, or was not asked yet.</summary>
public enum HealthState
{
    Healthy,
    Degraded,
    Unhealthy,
    Unknown,
}

/// <summary>A component changed its state, after the failure or success threshold of its check was reached.</summary>
/// <param name="Component">Name of the check: <c>postgres</c>, <c>metrics</c>, or a target's name.</param>
/// <param name="Current">Unknown only when the check was taken out of the settings.</param>
/// <param name="Reason">What the check saw, without secrets.</param>
public sealed record HealthChanged(
    string Realm, string Component, string Kind, HealthState Previous, HealthState Current, string Reason, DateTimeOffset At) : IMessage
{
    public static string Topic => "health.component.changed.v1";
}
