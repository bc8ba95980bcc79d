using System.Text.Json.Serialization;
using Platform.Contracts;

namespace Platform.Incidents.Lifecycle;

public enum IncidentStatus
{
    /// <summary>Nobody works on it yet.</summary>
    Open,

    /// <summary>Somebody looks for the cause.</summary>
    Investigating,

    /// <summary>The cause is known.</summary>
    Identified,

    /// <summary>A remedy is in place and is being watched.</summary>
    Monitoring,

    /// <summary>Over, but the same trouble coming back reopens it.</summary>
    Resolved,

    /// <summary>Final: the same trouble coming back opens another incident.</summary>
    Closed,
}

/// <summary>Something that people have to deal with, from its first alert to its root cause.</summary>
/// <param name="CreatedBy">Subject of the credential that opened it; <c>system:incidents</c> when an alert did.</param>
/// <param name="GroupKey">What its alerts have in common; null when a person opened it.</param>
/// <param name="EventTags">Tags that the events behind its alerts carry; empty when a person opened it.</param>
/// <param name="OpenedAt">Event time of the first alert, or the time of opening by hand.</param>
/// <param name="AcknowledgedAt">When somebody first took notice: acknowledged an alert, or moved the incident on.</param>
/// <param name="Version">Counts changes; the entity tag of the HTTP answer.</param>
public sealed record Incident(
    Guid Id,
    string Realm,
    string Title,
    string? Description,
    Severity Severity,
    IncidentStatus Status,
    string? RootCause,
    string? AssignedTo,
    string CreatedBy,
    string? GroupKey,
    IReadOnlyDictionary<string, string> EventTags,
    DateTimeOffset OpenedAt,
    DateTimeOffset CreatedAt,
    DateTimeOffset? AcknowledgedAt,
    DateTimeOffset? ResolvedAt,
    DateTimeOffset? ClosedAt,
    DateTimeOffset UpdatedAt,
    int Version)
{
    /// <summary>The actor of what the platform does to incidents by itself.</summary>
    public const string System = "system:incidents";

    /// <summary>Since when nothing has happened to it while resolved, by the service's clock; null in every other status.</summary>
    [JsonIgnore]
    public DateTimeOffset? QuietSince { get; init; }

    /// <summary>The incident in another status, with the times that go with it. Whether the move is legal was decided before (<see cref="Transitions"/>).</summary>
    /// <param name="at">When it happened; for a resolution, when the trouble ended.</param>
    /// <param name="now">The clock of this service.</param>
    public Incident In(IncidentStatus status, DateTimeOffset at, DateTimeOffset now) => this with
    {
        Status = status,
        ResolvedAt = status switch
        {
            IncidentStatus.Resolved => at > OpenedAt ? at : OpenedAt,
            IncidentStatus.Closed => ResolvedAt,
            _ => null,
        },
        ClosedAt = status is IncidentStatus.Closed ? now : null,
        QuietSince = status is IncidentStatus.Resolved ? now : null,
    };

    /// <summary>What a person's change makes of it. The move, if any, is legal.</summary>
    public Incident After(IncidentChange change, DateTimeOffset now)
    {
        var changed = this with
        {
            Title = change.Title ?? Title,
            Description = change.Description is { } description ? description.Text : Description,
            RootCause = change.RootCause is { } cause ? cause.Text : RootCause,
            AssignedTo = change.AssignedTo is { } assignee ? assignee.Text : AssignedTo,
            Severity = change.Severity ?? Severity,
        };
        return change.Status is { } status && status != Status
            ? changed.In(status, now, now) with { AcknowledgedAt = AcknowledgedAt ?? now }
            : changed;
    }

    /// <summary>What differs from <paramref name="before"/>, for audit and timeline. Long texts are named, not repeated.</summary>
    public IReadOnlyDictionary<string, string> ChangesSince(Incident before)
    {
        var changes = new Dictionary<string, string>();
        Note("status", before.Status.Word(), Status.Word());
        Note("severity", before.Severity.Word(), Severity.Word());
        Note("assigned_to", before.AssignedTo ?? "nobody", AssignedTo ?? "nobody");
        Note("title", before.Title, Title);
        NoteText("description", before.Description, Description);
        NoteText("root_cause", before.RootCause, RootCause);
        return changes;

        void Note(string field, string old, string @new)
        {
            if (old != @new)
            {
                changes[field] = $"{old} → {@new}";
            }
        }

        void NoteText(string field, string? old, string? @new)
        {
            if (old != @new)
            {
                changes[field] = @new is null ? "cleared" : old is null ? "set" : "changed";
            }
        }
    }
}

/// <summary>A text that is to be set, or cleared when it is null.</summary>
public readonly record struct NewText(string? Text);

/// <summary>What a request wants changed; null leaves a field as it is.</summary>
public sealed record IncidentChange(
    string? Title, NewText? Description, Severity? Severity, IncidentStatus? Status, NewText? RootCause, NewText? AssignedTo);

/// <summary>Which status may follow which. Working states may be left in any order, because a supposed cause can turn out wrong.</summary>
public static class Transitions
{
    /// <summary>The statuses that may follow; none after closed.</summary>
    public static IReadOnlyList<IncidentStatus> From(IncidentStatus status) => status switch
    {
        IncidentStatus.Open => [IncidentStatus.Investigating, IncidentStatus.Identified, IncidentStatus.Monitoring, IncidentStatus.Resolved],
        IncidentStatus.Investigating => [IncidentStatus.Identified, IncidentStatus.Monitoring, IncidentStatus.Resolved],
        IncidentStatus.Identified => [IncidentStatus.Investigating, IncidentStatus.Monitoring, IncidentStatus.Resolved],
        IncidentStatus.Monitoring => [IncidentStatus.Investigating, IncidentStatus.Identified, IncidentStatus.Resolved],
        IncidentStatus.Resolved => [IncidentStatus.Closed, IncidentStatus.Open, IncidentStatus.Investigating],
        IncidentStatus.Closed => [],
    };

    /// <summary>Why an incident cannot go from one status to another; null when it can. Staying is always possible.</summary>
    public static string? Objection(IncidentStatus from, IncidentStatus to) => (from, to) switch
    {
        _ when from == to || From(from).Contains(to) => null,
        (IncidentStatus.Closed, _) => "A closed incident is final. Open a new one if the trouble is back.",
        (_, IncidentStatus.Closed) => "Only a resolved incident can be closed. Resolve it first.",
        (_, IncidentStatus.Open) => "Work on it has begun. Only a resolved incident can be opened again.",
        _ => "A resolved incident goes back to open or investigating before anything else.",
    };
}

public static class Words
{
    /// <summary>The word of a status on the wire and in the database.</summary>
    public static string Word(this IncidentStatus status) => status.ToString().ToLowerInvariant();

    /// <summary>The word of a severity on the wire and in the database.</summary>
    public static string Word(this Severity severity) => severity.ToString().ToLowerInvariant();
}
