using System.Security.Cryptography;
using System.Text;
using Platform.Contracts;
using Platform.Incidents.Lifecycle;
using Platform.ServiceDefaults;

namespace Platform.Incidents.FromAlerts;

/// <summary>What is known of one alert. Its messages come in any order, so every time may be there without the others.</summary>
public sealed record AlertFacts(Guid AlertId, Guid? IncidentId, DateTimeOffset? FiredAt, DateTimeOffset? AcknowledgedAt, DateTimeOffset? ResolvedAt)
{
    public bool IsActive => FiredAt is not null && ResolvedAt is null;
}

/// <summary>The alerts of an incident, taken together.</summary>
/// <param name="Active">How many fire.</param>
public sealed record AlertTotals(int Active, DateTimeOffset FirstFiredAt, DateTimeOffset? FirstAcknowledgedAt, DateTimeOffset? LastResolvedAt);

/// <summary>What just became known of an alert of the incident.</summary>
public enum AlertNews
{
    Joined,
    Acknowledged,
    Resolved,
}

/// <summary>What the policy does about it, and with that the reason that people read.</summary>
public enum Verdict
{
    Leave,

    /// <summary>The incident was resolved and an alert of its group fires again.</summary>
    Reopen,

    /// <summary>No alert fires any more and nobody has taken the incident in hand: it is over.</summary>
    Resolve,

    /// <summary>No alert fires any more, but somebody works on it: said, not done. Whoever works on it decides.</summary>
    Note,
}

/// <summary>
/// How alerts move incidents. Everything follows from the facts known so far, so that the end is the same in whatever order
/// the messages came.
/// </summary>
public static class AlertPolicy
{
    /// <summary>A critical or high alert is worth an incident; anything may join one that is there.</summary>
    public static bool Opens(Severity severity) => severity is Severity.Critical or Severity.High;

    public static Verdict Decide(IncidentStatus status, AlertNews news, AlertFacts alert, AlertTotals all) => status switch
    {
        IncidentStatus.Closed => Verdict.Leave,
        IncidentStatus.Resolved => news is AlertNews.Joined && alert.IsActive ? Verdict.Reopen : Verdict.Leave,
        IncidentStatus.Open => IsOver(news, all) ? Verdict.Resolve : Verdict.Leave,
        IncidentStatus.Investigating or IncidentStatus.Identified or IncidentStatus.Monitoring => IsOver(news, all) ? Verdict.Note : Verdict.Leave,
    };

    /// <summary>The incident with what its alerts say about it.</summary>
    public static Incident Apply(Verdict verdict, Incident incident, AlertFacts alert, AlertTotals all, DateTimeOffset now)
    {
        var known = incident with
        {
            OpenedAt = all.FirstFiredAt < incident.OpenedAt ? all.FirstFiredAt : incident.OpenedAt,
            // Acknowledging is taking notice, whether it was done on the alert or on the incident.
            AcknowledgedAt = Earlier(incident.AcknowledgedAt, all.FirstAcknowledgedAt),
            // News of an alert puts off the closing of a resolved incident, which is not over before its last alert was.
            QuietSince = incident.QuietSince is null ? null : now,
            ResolvedAt = incident.Status is IncidentStatus.Resolved && all.Active == 0 && all.LastResolvedAt > incident.ResolvedAt ? all.LastResolvedAt : incident.ResolvedAt,
        };
        return verdict switch
        {
            Verdict.Reopen => known.In(IncidentStatus.Open, now, now),
            Verdict.Resolve => known.In(IncidentStatus.Resolved, all.LastResolvedAt ?? now, now),
            Verdict.Leave or Verdict.Note => known,
        };
    }

    /// <summary>The new incident for an alert that none of its group is open for.</summary>
    public static Incident Open(AlertFired alert, DateTimeOffset now)
    {
        var startsAt = alert.StartsAt.ToUniversalTime();
        return new Incident(
            Guid.CreateVersion7(now), alert.Realm, Bounded(Title(alert), IncidentInput.MaxTitle),
            alert.Annotations.TryGetValue("description", out var description) ? Bounded(description, IncidentInput.MaxText) : null,
            alert.Severity, IncidentStatus.Open, null, null, Incident.System, GroupKey(alert.GroupKey), alert.EventTags, startsAt, now, null, null, null, now, 1);
    }

    // An acknowledgement ends nothing, and must not repeat what the last resolution said.
    private static bool IsOver(AlertNews news, AlertTotals all) => news is not AlertNews.Acknowledged && all.Active == 0;

    /// <summary>The worse of two.</summary>
    public static Severity Worse(Severity one, Severity other) => one < other ? one : other;

    /// <summary>A key that fits an index: long ones keep their beginning, for people, and a hash, for identity.</summary>
    public static string GroupKey(string key) => key.Length <= 400
        ? Timeline.NewEntry.Bounded(key, 400)
        : $"{Timeline.NewEntry.Bounded(StorableText.Cut(key, 300), 300)}#{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)))}";

    // A summary often says how much and where, and leaves it to the name to say what.
    private static string Title(AlertFired alert) =>
        string.IsNullOrEmpty(alert.Summary) ? alert.Name
        : alert.Summary.Contains(alert.Name, StringComparison.OrdinalIgnoreCase) ? alert.Summary
        : $"{alert.Name}: {alert.Summary}";

    private static string Bounded(string text, int longest) => Timeline.NewEntry.Bounded(text, longest);

    private static DateTimeOffset? Earlier(DateTimeOffset? one, DateTimeOffset? other) => one is null || other < one ? other ?? one : one;
}
