using Platform.Contracts;

namespace Platform.Alerting.Notifications;

/// <summary>An alert as it is told: a copy of the moment, so that a later attempt says the same as the first.</summary>
/// <param name="EndsAt">Null while it fires.</param>
/// <param name="GeneratorUrl">Where the sender of the alert explains it; empty when it gave none.</param>
public sealed record ToldAlert(
    Guid Id,
    string Fingerprint,
    string Name,
    Severity Severity,
    NotificationStatus Status,
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyDictionary<string, string> Annotations,
    DateTimeOffset StartsAt,
    DateTimeOffset? EndsAt,
    double? Value,
    double? Threshold,
    string GeneratorUrl);

/// <summary>
/// What one notification says, in no channel's format: the alerts of one group for one receiver, and why they are told now. It is stored
/// with the notification; each channel makes its own message of it.
/// </summary>
/// <param name="Status"><see cref="NotificationStatus.Resolved"/> when every alert in it is over.</param>
/// <param name="Receiver">Name of the receiver in the routing tree, or of the escalation step.</param>
/// <param name="GroupKey">Equal for all notifications of the same group to the same receiver: the key by which receivers merge, thread and resolve.</param>
/// <param name="Reason">In words: "first notification", "2 alerts were added", "repeated after 4 h", "escalated: nobody acknowledged within 5 min".</param>
/// <param name="Alerts">Firing first, worst severity first; bounded, see <paramref name="TruncatedAlerts"/>.</param>
/// <param name="TruncatedAlerts">How many alerts of the group were left out.</param>
public sealed record NotificationContent(
    NotificationStatus Status,
    string Receiver,
    string GroupKey,
    IReadOnlyDictionary<string, string> GroupLabels,
    string Reason,
    IReadOnlyList<ToldAlert> Alerts,
    int TruncatedAlerts = 0)
{
    /// <summary>The worst severity among the alerts that fire, or among all of them when none does.</summary>
    public Severity Severity()
    {
        var firing = Alerts.Where(alert => alert.Status == NotificationStatus.Firing).Select(alert => alert.Severity);
        return firing.Concat(Status == NotificationStatus.Resolved ? Alerts.Select(alert => alert.Severity) : []).DefaultIfEmpty(Contracts.Severity.Info).Min();
    }

    /// <summary>Labels that all alerts have with equal values.</summary>
    public IReadOnlyDictionary<string, string> CommonLabels() => Common(Alerts.Select(alert => alert.Labels));

    /// <summary>Annotations that all alerts have with equal values.</summary>
    public IReadOnlyDictionary<string, string> CommonAnnotations() => Common(Alerts.Select(alert => alert.Annotations));

    private static SortedDictionary<string, string> Common(IEnumerable<IReadOnlyDictionary<string, string>> sets)
    {
        SortedDictionary<string, string>? common = null;
        foreach (var set in sets)
        {
            common = common is null
                ? new(set.ToDictionary(), StringComparer.Ordinal)
                : new(common.Where(pair => set.TryGetValue(pair.Key, out var value) && value == pair.Value).ToDictionary(), StringComparer.Ordinal);
        }

        return common ?? new(StringComparer.Ordinal);
    }
}
