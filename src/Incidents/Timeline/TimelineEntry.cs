using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Platform.ServiceDefaults;

namespace Platform.Incidents.Timeline;

/// <summary>What an entry of a timeline is about. The numbers rank entries of the same instant: the event comes before the alert that it set off.</summary>
public enum EntryKind
{
    Event = 0,
    Health = 1,
    Alert = 2,
    Notification = 3,
    Action = 4,
    Audit = 5,
}

/// <summary>One thing that happened, as a timeline shows it.</summary>
/// <param name="Source">Who or what said so: an application, a rule, a health check, a channel, a person.</param>
/// <param name="Level">Level of an event, severity of an alert, outcome of an audit record; null where there is none.</param>
/// <param name="Link">Where the thing itself is to be found: a path of the API.</param>
/// <param name="Data">Further facts of the kind: tags of an event, attempt of a notification.</param>
public sealed record TimelineEntry(
    Guid Id, DateTimeOffset Timestamp, EntryKind Kind, string Source, string Title, string? Message, string? Level, string? Link, JsonElement Data)
{
    public TimelinePosition Position => new(Timestamp, Kind, Id);
}

/// <summary>A place on the axis. Total order: time, then kind, then id, all as PostgreSQL orders them.</summary>
public readonly record struct TimelinePosition(DateTimeOffset Timestamp, EntryKind Kind, Guid Id)
{
    // Guid compares like uuid does: from its first byte to its last.
    public int CompareTo(TimelinePosition other) =>
        Timestamp.CompareTo(other.Timestamp) is not 0 and var byTime ? byTime
        : Kind.CompareTo(other.Kind) is not 0 and var byKind ? byKind
        : Id.CompareTo(other.Id);
}

/// <summary>An entry that this service keeps. Exactly one of incident and alert says where it belongs; both null: to the whole realm.</summary>
/// <param name="Key">What makes it the same entry when its message comes a second time.</param>
/// <param name="IncidentId">The incident; null when it is not known (yet).</param>
/// <param name="AlertId">The alert by which an incident will be found.</param>
public sealed record NewEntry(
    string Key, string Realm, Guid? IncidentId, Guid? AlertId, DateTimeOffset Timestamp, EntryKind Kind, string Source, string Title)
{
    public const int MaxTitle = 300;
    public const int MaxMessage = 10_000;

    public string? Message { get; init; }

    public string? Level { get; init; }

    public string? Link { get; init; }

    public IReadOnlyDictionary<string, string> Data { get; init; } = new Dictionary<string, string>();

    /// <summary>The same for the same key, so that a second delivery finds the first.</summary>
    public Guid Id => new(SHA256.HashData(Encoding.UTF8.GetBytes($"{Kind}|{Key}")).AsSpan(0, 16), bigEndian: true);

    /// <summary>Fit to be stored: no longer than <paramref name="longest"/>, and without what PostgreSQL cannot keep.</summary>
    public static string Bounded(string text, int longest) => StorableText.Shorten(StorableText.Clean(text.Replace("\0", "", StringComparison.Ordinal)), longest);
}
