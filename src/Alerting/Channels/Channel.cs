using System.Text.Json.Serialization;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>The ways to reach people.</summary>
public enum ChannelKind
{
    /// <summary>Text and HTML over SMTP.</summary>
    Email,

    /// <summary>An incoming webhook, or a bot that keeps one message per group up to date.</summary>
    Slack,

    /// <summary>A Workflows webhook that takes an Adaptive Card.</summary>
    Teams,

    /// <summary>Events API v2.</summary>
    Pagerduty,

    /// <summary>Alertmanager's body, signed after Standard Webhooks.</summary>
    Webhook,

    /// <summary>Push messages through an ntfy server.</summary>
    Ntfy,

    /// <summary>The end of test alerts, within the process. There is one such channel, and nobody makes another.</summary>
    Canary,
}

public static class ChannelKinds
{
    /// <summary>The kinds that people make channels of.</summary>
    public static readonly IReadOnlyList<ChannelKind> OfPeople = [.. Enum.GetValues<ChannelKind>().Where(kind => kind != ChannelKind.Canary)];
}

/// <summary>A place where notifications go. Receivers name channels; within a realm a name is taken once, and hides the same name of realm <c>*</c>.</summary>
/// <param name="Fields">What <see cref="ChannelFields"/> lists for the kind, secrets included and in the clear: this record is never serialized, see <see cref="ChannelView"/>.</param>
public sealed record Channel(Guid Id, string Realm, string Name, ChannelKind Kind, IReadOnlyDictionary<string, string> Fields) : IOfRealm
{
    /// <summary>Notifications in a minute; 0 for no limit, null for the default of the kind.</summary>
    public int? RatePerMinute { get; init; }

    /// <summary>Name of the channel that gets what this one could not deliver; null for none.</summary>
    public string? Fallback { get; init; }

    /// <summary>How long it is tried before the fallback takes over, or before it is given up; null for the default.</summary>
    public TimeSpan? Deadline { get; init; }

    /// <summary>False: the end of alerts is not told here.</summary>
    public bool SendResolved { get; init; } = true;

    /// <summary>Made from the settings of the process, not stored; nobody changes it through the API.</summary>
    public bool FromSettings { get; init; }

    /// <summary>The stored secrets cannot be opened with the key ring of today. They must be set again.</summary>
    public bool SecretsAreLost { get; init; }

    public string CreatedBy { get; init; } = "settings";

    public DateTimeOffset CreatedAt { get; init; }

    public DateTimeOffset UpdatedAt { get; init; }

    public int Version { get; init; } = 1;

    /// <summary>Whether those who look there can be shown that somebody takes care, without another message that rings.</summary>
    public bool ShowsAcknowledgements => Kind == ChannelKind.Pagerduty || (Kind == ChannelKind.Slack && this["token"] is not null);

    /// <summary>A field's text; null when it is not set.</summary>
    public string? this[string field] => Fields.GetValueOrDefault(field);

    /// <summary>The fields that may be shown.</summary>
    public IReadOnlyDictionary<string, string> Open() => Part(secret: false);

    public IReadOnlyDictionary<string, string> Secrets() => Part(secret: true);

    /// <summary>Whether the two send alike: whatever somebody can set is equal.</summary>
    public bool IsSetLike(Channel other) =>
        Kind == other.Kind && RatePerMinute == other.RatePerMinute && Fallback == other.Fallback && Deadline == other.Deadline && SendResolved == other.SendResolved
        && Fields.Count == other.Fields.Count && Fields.All(field => other[field.Key] == field.Value);

    /// <summary>The record of what somebody did to it.</summary>
    public Audited Did(Caller caller, string verb, DateTimeOffset now) => caller.Did(
        $"channel.{verb}", "channel", Id.ToString(), now, Realm, new Dictionary<string, string> { ["name"] = Name, ["kind"] = WireJson.Name(Kind.ToString()) });

    private Dictionary<string, string> Part(bool secret) =>
        ChannelFields.Of(Kind).Where(field => field.Secret == secret && Fields.ContainsKey(field.Name)).ToDictionary(field => field.Name, field => Fields[field.Name]);
}

/// <summary>Stands for a secret in answers: that it is there, and by the fingerprint whether it is the one somebody holds in their hand.</summary>
/// <param name="Secret">Always <c>set</c>.</param>
/// <param name="Fingerprint">12 hex digits, keyed by the platform: it cannot be tried out against a list of passwords.</param>
public sealed record HiddenSecret(string Secret, string Fingerprint);

/// <summary>How a channel fares. Shared by all replicas.</summary>
/// <param name="PausedUntil">Nothing is sent before: the receiver asked for it, or does not answer.</param>
/// <param name="Failures">Attempts in a row without an answer that helps.</param>
public sealed record ChannelHealth(DateTimeOffset? PausedUntil, int Failures, DateTimeOffset? LastDeliveredAt, DateTimeOffset? LastFailedAt, string? LastFailure);

/// <summary>A channel as it is shown: secrets are fingerprints.</summary>
/// <param name="Settings">By field: a text, a number, a list, or a <see cref="HiddenSecret"/>.</param>
public sealed record ChannelView(
    Guid Id, string Realm, string Name, ChannelKind Kind, IReadOnlyDictionary<string, object> Settings, int? RatePerMinute, string? Fallback, double? DeadlineSeconds,
    bool SendResolved, bool FromSettings, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, int Version)
{
    /// <summary>Null before the first notification.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ChannelHealth? Health { get; init; }

    /// <summary>What is wrong with the channel itself; null when nothing is.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Problem { get; init; }

    public static ChannelView Of(Channel channel, ChannelSecrets secrets) => new(
        channel.Id, channel.Realm, channel.Name, channel.Kind,
        ChannelFields.Of(channel.Kind).Where(field => channel.Fields.ContainsKey(field.Name)).ToDictionary(
            field => field.Name,
            field => field.Secret ? new HiddenSecret("set", secrets.Fingerprint(channel.Fields[field.Name])) : field.Show(channel.Fields[field.Name])),
        channel.RatePerMinute, channel.Fallback, channel.Deadline?.TotalSeconds, channel.SendResolved, channel.FromSettings,
        channel.CreatedBy, channel.CreatedAt, channel.UpdatedAt, channel.Version)
    {
        Problem = channel.SecretsAreLost ? "The stored secrets cannot be read: the platform's key ring is another one. Set them again." : null,
    };
}
