using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Serialization;
using Platform.Alerting.Notifications;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Alerts;

public enum AlertState
{
    Firing,
    Acknowledged,
    Resolved,
}

/// <summary>What made the alert.</summary>
public enum AlertSource
{
    /// <summary>A rule over events.</summary>
    Rule,

    /// <summary>A rule over samples, in PromQL.</summary>
    Query,

    /// <summary>News of a component's health.</summary>
    Health,

    /// <summary>A person.</summary>
    Manual,

    /// <summary>Another system, through one of the standard doors.</summary>
    Api,
}

/// <summary>What keeps an alert from being told.</summary>
public enum SuppressionKind
{
    Silence,
    Inhibition,
    MuteInterval,
    Parent,
}

/// <summary>One reason why an alert that is open is not told.</summary>
/// <param name="Id">The silence, the inhibiting alert or the parent alert; null for a time interval.</param>
/// <param name="Name">Name of the time interval, of the other alert, or of the silence's owner.</param>
/// <param name="Reason">For whoever asks why.</param>
public sealed record Suppression(SuppressionKind Kind, Guid? Id, string Name, string Reason, DateTimeOffset Since);

/// <summary>What was at the moment of firing, so that the alert explains itself when the rule has long been changed.</summary>
/// <param name="Value">Measured; null where nothing is.</param>
/// <param name="Threshold">What the value was held against; null where there is no one number.</param>
/// <param name="Match">Which events were counted.</param>
/// <param name="Group">Values of what the rule groups by, in its order.</param>
/// <param name="Seen">What was found, in the words of whoever found it: a check, a sender, a person, an evaluation that failed.</param>
/// <param name="Condition">What was asked: the expression in PromQL, the sentence of a rule over events, what should have been and was not. Null when nobody said.</param>
public sealed record AlertReason(
    double? Value, double? Threshold, int? WindowSeconds = null, int? RuleVersion = null, RuleMatch? Match = null, IReadOnlyList<string>? Group = null, string? Seen = null, string? Condition = null);

/// <summary>Who did something to an alert, when and why.</summary>
/// <param name="By">Null when the condition ended by itself.</param>
public sealed record AlertAct(string? By, DateTimeOffset At, string? Reason);

/// <summary>
/// Something is wrong, from its beginning to its end: one row per episode. The life is firing → acknowledged → resolved, and back from
/// acknowledged to firing when that had an end; every change is one of the functions below, which know neither clock nor store. Whether it
/// is suppressed lies across these states: see <see cref="SuppressedBy"/>.
/// </summary>
/// <param name="Fingerprint">
/// Identity of <see cref="Labels"/>, as Prometheus and Alertmanager compute it. No two open alerts of a realm share one, but that one that
/// was pushed (<see cref="AlertSource.Api"/>) may stand beside one of the platform's own.
/// </param>
/// <param name="GroupKey">Equal for all episodes of the same thing; incidents are opened by it. Bounded: see <see cref="BoundKey"/>.</param>
/// <param name="GroupLabels">The part of the labels that tells this group from others of its rule.</param>
/// <param name="EventTags">Tags that the events behind the alert share.</param>
/// <param name="StartsAt">Event time of the crossing.</param>
/// <param name="FiredAt">When the platform noticed.</param>
/// <param name="EndsAt">Event time of the end; null before.</param>
/// <param name="GeneratorUrl">Where whoever sent the alert explains it; empty for none.</param>
/// <param name="ExpiresAt">The alert is over when its sender has said nothing new by then; null when the source tells of the end itself.</param>
/// <param name="AcknowledgedUntil">When the acknowledgement ends and people are told again; null: it does not.</param>
/// <param name="SuppressedBy">What keeps the alert from being told now; null or empty for nothing. The state is that of the condition all the same.</param>
public sealed record Alert(
    Guid Id,
    string Realm,
    string Fingerprint,
    string GroupKey,
    Guid? RuleId,
    string Name,
    Severity Severity,
    AlertSource Source,
    AlertState State,
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyDictionary<string, string> GroupLabels,
    IReadOnlyDictionary<string, string> Annotations,
    IReadOnlyDictionary<string, string> EventTags,
    double? Value,
    double? Threshold,
    DateTimeOffset StartsAt,
    DateTimeOffset FiredAt,
    DateTimeOffset? EndsAt,
    AlertAct? Acknowledged,
    AlertAct? Resolved,
    AlertReason Why,
    string GeneratorUrl = "",
    DateTimeOffset? ExpiresAt = null,
    DateTimeOffset? AcknowledgedUntil = null,
    IReadOnlyList<Suppression>? SuppressedBy = null) : IOfRealm
{
    /// <summary>Longest group key in bytes of UTF-8: databases have indexes over it, here and in Incidents.</summary>
    public const int LongestKey = 1_000;

    [JsonIgnore]
    public bool IsOpen => State != AlertState.Resolved;

    /// <summary>An alert that begins. Whatever its words were made of, they can be stored: one that cannot would take all of its transaction with it.</summary>
    /// <param name="identity">Labels without the severity, which is added.</param>
    public static Alert Fire(
        string realm,
        string groupKey,
        Guid? ruleId,
        string name,
        Severity severity,
        AlertSource source,
        IReadOnlyDictionary<string, string> identity,
        IReadOnlyDictionary<string, string> groupLabels,
        IReadOnlyDictionary<string, string> annotations,
        IReadOnlyDictionary<string, string> eventTags,
        double? value,
        double? threshold,
        DateTimeOffset startsAt,
        DateTimeOffset now,
        AlertReason why,
        string generatorUrl = "",
        DateTimeOffset? expiresAt = null)
    {
        var labels = new Dictionary<string, string>(Clean(identity)) { ["severity"] = severity.Word() };
        return new Alert(
            Guid.CreateVersion7(now), realm, Alerts.Fingerprint.Of(labels), BoundKey(groupKey), ruleId, StorableText.Clean(name), severity, source, AlertState.Firing,
            labels, Clean(groupLabels), Clean(annotations), Clean(eventTags), value, threshold, startsAt, now, null, null, null,
            why with { Seen = why.Seen is { } seen ? StorableText.Clean(seen) : null }, StorableText.Clean(generatorUrl), expiresAt);
    }

    private static Dictionary<string, string> Clean(IReadOnlyDictionary<string, string> texts) => texts.ToDictionary(text => text.Key, text => StorableText.Clean(text.Value));

    /// <summary>The key itself, or when it is longer than <see cref="LongestKey"/>, its beginning and a hash of the whole. Fit to be stored.</summary>
    public static string BoundKey(string groupKey)
    {
        var bytes = Encoding.UTF8.GetBytes(groupKey);
        if (bytes.Length <= LongestKey)
        {
            return StorableText.Clean(groupKey);
        }

        var hash = "…" + Convert.ToHexStringLower(SHA256.HashData(bytes));
        var end = LongestKey - Encoding.UTF8.GetByteCount(hash);
        while ((bytes[end] & 0xC0) == 0x80)
        {
            end--; // inside a character
        }

        return StorableText.Clean(Encoding.UTF8.GetString(bytes, 0, end)) + hash;
    }

    /// <summary>The alert as it is told: a copy of this moment.</summary>
    /// <param name="status">May be older news than the state: each is told in turn.</param>
    public ToldAlert Told(NotificationStatus status) => new(
        Id, Fingerprint, Name, Severity, status, Labels, Annotations, StartsAt, status == NotificationStatus.Resolved ? EndsAt : null, Value, Threshold, GeneratorUrl);

    /// <summary>Somebody takes care. Null when that cannot be: the alert is over.</summary>
    /// <param name="until">Then people are told again, unless it is over; null: never. Sent again with another time, it moves.</param>
    public Alert? Acknowledge(AlertAct act, DateTimeOffset? until = null) => State switch
    {
        AlertState.Firing => this with { State = AlertState.Acknowledged, Acknowledged = act, AcknowledgedUntil = until },
        AlertState.Acknowledged => until is null || until == AcknowledgedUntil ? this : this with { Acknowledged = act, AcknowledgedUntil = until },
        AlertState.Resolved => null,
    };

    /// <summary>Whoever took care did not end it in time: it fires again.</summary>
    public Alert EndAcknowledgement(DateTimeOffset now) =>
        State == AlertState.Acknowledged && AcknowledgedUntil <= now ? this with { State = AlertState.Firing, Acknowledged = null, AcknowledgedUntil = null } : this;

    /// <summary>
    /// It is over. Resolving what is resolved changes nothing. Never before it fired: who ends it may have looked at the clock before who
    /// fired it, and an end before the beginning would count as one that nobody need be told of.
    /// </summary>
    /// <param name="endsAt">Never before the start, whatever the clocks of the senders say.</param>
    public Alert Resolve(AlertAct act, DateTimeOffset endsAt) => State switch
    {
        AlertState.Firing or AlertState.Acknowledged =>
            this with { State = AlertState.Resolved, EndsAt = endsAt > StartsAt ? endsAt : StartsAt, Resolved = act.At < FiredAt ? act with { At = FiredAt } : act },
        AlertState.Resolved => this,
    };
}

/// <summary>The identity of a label set: FNV-1a over sorted names and values, separated by 0xff, as Prometheus and Alertmanager have it.</summary>
public static class Fingerprint
{
    private const ulong Offset = 14695981039346656037;
    private const ulong Prime = 1099511628211;
    private const byte Separator = 0xff;

    public static string Of(IReadOnlyDictionary<string, string> labels)
    {
        var hash = Offset;
        foreach (var (name, value) in labels.OrderBy(label => label.Key, StringComparer.Ordinal))
        {
            hash = Add(Add(hash, name), value);
        }

        return hash.ToString("x16", System.Globalization.CultureInfo.InvariantCulture);
    }

    private static ulong Add(ulong hash, string text)
    {
        foreach (var unit in Encoding.UTF8.GetBytes(text))
        {
            hash = (hash ^ unit) * Prime;
        }

        return (hash ^ Separator) * Prime;
    }
}
