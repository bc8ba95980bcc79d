using Npgsql;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;

namespace Platform.Alerting.Alerts;

/// <summary>A component that is not well is an alert, until it is well again. One at a time per component: a change of degree ends it and begins another.</summary>
public sealed class RaiseAlertOnHealthChanged(AlertStore alerts, Flusher flusher, TimeProvider clock) : IConsumer<HealthChanged>
{
    private const string Name = "HealthCheckFailed";

    public async Task HandleAsync(HealthChanged message, NpgsqlTransaction tx, CancellationToken ct)
    {
        if (!await IsNewestAsync(tx, message, ct))
        {
            return; // overtaken by newer news, for example after waiting for a retry
        }

        var now = clock.GetUtcNow();
        var groupKey = $"{message.Realm}/health:{{component=\"{message.Component}\"}}";
        var latest = await alerts.FindLatestOfGroupAsync(tx, message.Realm, groupKey, ct);
        if (latest is { IsOpen: true })
        {
            await alerts.ResolveAsync(tx, latest.Id, message.At, Reason(message), now, ct);
        }

        if (message.Current is HealthState.Unhealthy or HealthState.Degraded)
        {
            await alerts.FireAsync(tx, Describe(message, groupKey, now), ct);
        }
    }

    public void Committed() => flusher.Wake();

    // Alerts do not tell: a component that was never ill has none. The row also makes replicas take a component's news one after the other.
    private static async Task<bool> IsNewestAsync(NpgsqlTransaction tx, HealthChanged message, CancellationToken ct) =>
        await tx.ExecuteAsync($"""
            insert into health_news as known (realm, component, at) values ({message.Realm}, {message.Component}, {message.At})
            on conflict (realm, component) do update set at = excluded.at where known.at < excluded.at
            """, ct) == 1;

    internal static Alert Describe(HealthChanged message, string groupKey, DateTimeOffset now) => Alert.Fire(
        message.Realm,
        groupKey,
        null,
        Name,
        message.Current == HealthState.Degraded ? Severity.Medium : message.Kind is "service" or "postgres" ? Severity.Critical : Severity.High,
        AlertSource.Health,
        new Dictionary<string, string> { ["alertname"] = Name, ["realm"] = message.Realm, ["component"] = message.Component, ["kind"] = message.Kind },
        new Dictionary<string, string> { ["component"] = message.Component },
        new Dictionary<string, string> { ["summary"] = $"{message.Component} is {message.Current.ToString().ToLowerInvariant()}", ["description"] = message.Reason },
        new Dictionary<string, string>(),
        null,
        null,
        message.At,
        now,
        new AlertReason(null, null, Seen: message.Reason, Condition: $"the {message.Kind} check of {message.Component} is healthy"));

    private static string Reason(HealthChanged message) => message.Current switch
    {
        HealthState.Healthy => "The component is healthy again.",
        HealthState.Unknown => "The component is not checked any more.",
        HealthState.Degraded or HealthState.Unhealthy => $"The component is {message.Current.ToString().ToLowerInvariant()} now.",
    };
}
