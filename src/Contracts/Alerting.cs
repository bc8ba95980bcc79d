using Microsoft.Extensions.Hosting;
using RestEase;

namespace Platform.Contracts;

/// <summary>From "wake somebody" to "for the record". <c>warning</c> of Prometheus files means <see cref="Medium"/>.</summary>
public enum Severity
{
    Critical,
    High,
    Medium,
    Low,
    Info,
}

/// <summary>An alert began. Sent once per episode: firing again after it had resolved is a new alert with a new id.</summary>
/// <param name="Fingerprint">Identity of the label set, 16 hex digits as in Alertmanager.</param>
/// <param name="GroupKey">What an incident is opened for: realm, rule and grouped labels. Equal across episodes.</param>
/// <param name="Source">What made it: <c>rule</c>, <c>health</c> or <c>manual</c>.</param>
/// <param name="EventTags">Tags that the events behind the alert have in common (rule match and group), so that they can be found again.</param>
/// <param name="StartsAt">Event time at which the threshold was crossed.</param>
/// <param name="Value">The count, or other measured value, at that moment.</param>
public sealed record AlertFired(
    Guid AlertId,
    string Realm,
    string Fingerprint,
    string GroupKey,
    string Name,
    Severity Severity,
    string Source,
    string Summary,
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyDictionary<string, string> Annotations,
    IReadOnlyDictionary<string, string> EventTags,
    DateTimeOffset StartsAt,
    double? Value,
    double? Threshold) : IMessage
{
    public static string Topic => "alerting.alert.fired.v1";
}

/// <param name="By">Who resolved it; null when the condition ended by itself.</param>
public sealed record AlertResolved(
    Guid AlertId, string Realm, string Fingerprint, string GroupKey, string Name, DateTimeOffset EndsAt, string? By, string? Reason) : IMessage
{
    public static string Topic => "alerting.alert.resolved.v1";
}

public sealed record AlertAcknowledged(
    Guid AlertId, string Realm, string Fingerprint, string GroupKey, string Name, DateTimeOffset At, string By, string? Reason) : IMessage
{
    public static string Topic => "alerting.alert.acknowledged.v1";
}

/// <summary>An attempt to tell people has an answer.</summary>
/// <param name="AlertId">The first of <paramref name="AlertIds"/>, for hearers of the version before.</param>
/// <param name="Status">firing or resolved: what was being told.</param>
/// <param name="Outcome">accepted, try_again or refused.</param>
/// <param name="AlertIds">All alerts that were told about; null from a sender of the version before.</param>
public sealed record NotificationAttempted(
    Guid NotificationId,
    Guid AlertId,
    string Realm,
    string GroupKey,
    string Channel,
    string Status,
    int Attempt,
    string Outcome,
    string Reason,
    DateTimeOffset At,
    IReadOnlyList<Guid>? AlertIds = null) : IMessage
{
    public static string Topic => "alerting.notification.attempted.v1";
}

/// <summary>Figures of one realm, or of all realms together.</summary>
/// <param name="Active">Alerts that are not resolved. History is not counted: it would cost more with every day that is kept.</param>
public sealed record AlertCounts(long Active);

public interface IAlertingClient
{
    /// <param name="realm">A realm, or null for all.</param>
    [Get("internal/alerts/counts")]
    Task<Envelope<AlertCounts>> GetCountsAsync([Query] string? realm, CancellationToken ct);
}

public static class AlertingClient
{
    public static IHostApplicationBuilder AddAlertingClient(this IHostApplicationBuilder builder) => builder.AddServiceClient<IAlertingClient>("alerting");
}
