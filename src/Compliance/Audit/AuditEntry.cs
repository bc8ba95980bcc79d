using System.Collections.Frozen;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

/// <param name="Field"><c>actor</c>, <c>source_address</c>, <c>target_id</c>, or <c>details.NAME</c>.</param>
/// <param name="Subject">The person whose key protects the value.</param>
public sealed record PersonalValue(string Field, string Value, string Subject);

/// <summary>What an <see cref="Audited"/> message becomes before it is chained: bounded, and parted into what everybody may keep and what belongs to a person.</summary>
/// <param name="TargetId">Null when the target is a person; the id is then among <paramref name="Personal"/>.</param>
public sealed record AuditEntry(
    string Realm,
    DateTimeOffset At,
    string Action,
    string TargetType,
    string? TargetId,
    string ActorRole,
    string Outcome,
    int Count,
    string? CorrelationId,
    string? TraceId,
    IReadOnlyDictionary<string, string> Details,
    IReadOnlyList<PersonalValue> Personal)
{
    /// <summary>Longest realm, action, target type, role or id that is kept whole.</summary>
    public const int MaxWord = 200;

    /// <summary>Longest target id, and longest value among the details.</summary>
    public const int MaxValue = 1_000;

    /// <summary>Further details are left out; the detail <c>details_left_out</c> says how many.</summary>
    public const int MaxDetails = 32;

    private const string Anonymous = "anonymous";

    /// <summary>Details that name a person: the value is the subject.</summary>
    private static readonly FrozenSet<string> Names = FrozenSet.Create(
        "user_id", "target_user_id", "subject", "subject_id", "account_id", "username", "user_name", "actor", "assignee", "assigned_to", "on_call", "by");

    /// <summary>Details about a person: they belong to the person named beside them, or else to the actor.</summary>
    private static readonly FrozenSet<string> Traits = FrozenSet.Create(
        "email", "email_address", "phone", "phone_number", "ip", "ip_address", "client_ip", "remote_ip", "source_address", "user_agent", "session_id",
        "latitude", "longitude", "first_name", "last_name", "full_name", "display_name", "birth_date");

    private static readonly FrozenSet<string> People = FrozenSet.Create("user", "subject", "account", "person");

    public static AuditEntry From(Audited said)
    {
        var targetIsPerson = People.Contains(said.TargetType);
        var given = (said.Details ?? new Dictionary<string, string>())
            .OrderBy(detail => detail.Key, StringComparer.Ordinal)
            .Take(MaxDetails)
            .ToDictionary(detail => Bounded(detail.Key, MaxWord), detail => Bounded(detail.Value, MaxValue), StringComparer.Ordinal);
        var actor = Bounded(said.Actor, MaxWord);
        var target = Bounded(said.TargetId, MaxValue);
        var person = given.OrderBy(detail => detail.Key, StringComparer.Ordinal).FirstOrDefault(detail => NamesSomebody(detail.Key)).Value
            ?? (targetIsPerson ? target : actor);

        List<PersonalValue> personal = [new("actor", actor, actor)];
        if (said.SourceAddress is { Length: > 0 } address)
        {
            personal.Add(new("source_address", Bounded(address, MaxWord), OwnerOf(Bounded(address, MaxWord), actor)));
        }

        if (targetIsPerson)
        {
            personal.Add(new("target_id", target, target));
        }

        var plain = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, value) in given)
        {
            if (NamesSomebody(name))
            {
                personal.Add(new($"details.{name}", value, value));
            }
            else if (SaysSomethingOfSomebody(name))
            {
                personal.Add(new($"details.{name}", value, OwnerOf(value, person)));
            }
            else
            {
                plain[name] = value;
            }
        }

        if (said.Details?.Count > MaxDetails)
        {
            plain["details_left_out"] = (said.Details.Count - MaxDetails).ToString(System.Globalization.CultureInfo.InvariantCulture);
        }

        return new AuditEntry(
            Bounded(said.Realm, MaxWord),
            Time.Micro(said.At),
            Bounded(said.Action, MaxWord),
            Bounded(said.TargetType, MaxWord),
            targetIsPerson ? null : target,
            Bounded(said.ActorRole, MaxWord),
            said.Outcome.ToString().ToLowerInvariant(),
            Math.Max(1, said.Count),
            said.CorrelationId is null ? null : Bounded(said.CorrelationId, MaxWord),
            said.TraceId is null ? null : Bounded(said.TraceId, MaxWord),
            plain,
            personal);
    }

    // Nobody can ask for the erasure of "anonymous"; what such a caller left behind is its own subject.
    private static string OwnerOf(string value, string person) => person == Anonymous ? value : person;

    private static bool NamesSomebody(string detail) => Names.Contains(detail) || detail.EndsWith("_user_id", StringComparison.Ordinal);

    private static bool SaysSomethingOfSomebody(string detail) =>
        Traits.Contains(detail) || detail.EndsWith("_email", StringComparison.Ordinal) || detail.EndsWith("_ip", StringComparison.Ordinal)
        || detail.EndsWith("_ip_address", StringComparison.Ordinal) || detail.EndsWith("_phone", StringComparison.Ordinal);

    // PostgreSQL's text cannot hold U+0000, canonical JSON no half of a surrogate pair: neither may stop a record from being kept.
    private static string Bounded(string? text, int longest) => StorableText.Shorten(StorableText.Clean(text ?? ""), longest);
}

internal static class Time
{
    /// <summary>UTC and whole microseconds, as PostgreSQL keeps it: what is hashed is what is stored.</summary>
    public static DateTimeOffset Micro(DateTimeOffset time) => new(time.UtcTicks - (time.UtcTicks % TimeSpan.TicksPerMicrosecond), TimeSpan.Zero);

    /// <summary>The one spelling of a time in hashed and signed bytes: <c>2026-01-15T12:00:00.000000Z</c>.</summary>
    public static string Canonical(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", System.Globalization.CultureInfo.InvariantCulture);
}
