using System.Text.Json;
using Platform.Alerting.Canaries;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>A channel as sent. In a change, secrets that are left out (or sent as they were shown) stay as they are, unless it leads to another server; null takes a field away.</summary>
/// <param name="Settings">By field of the kind: texts, numbers, lists of addresses, an object of headers.</param>
/// <param name="Version">Guards a change against overwriting another's.</param>
/// <param name="Realm">From a caller of all realms only: a realm, or <c>*</c> for a channel that all realms reach.</param>
public sealed record ChannelBody(
    string? Name, string? Kind, Dictionary<string, JsonElement>? Settings, int? RatePerMinute = null, string? Fallback = null, int? DeadlineSeconds = null,
    bool? SendResolved = null, int? Version = null, string? Realm = null)
{
    public const int LongestName = 200;

    private const int LongestDeadlineSeconds = 30 * 24 * 3600;

    /// <summary>The channel, or all errors by the name of their field.</summary>
    /// <param name="old">The channel that is changed; null for a new one.</param>
    /// <param name="names">What a fallback may name.</param>
    public (Channel? Channel, Dictionary<string, string[]> Errors) Check(
        Channel? old, Guid id, string realm, IReadOnlySet<string> names, SmtpSettings smtp, string by, DateTimeOffset now)
    {
        var errors = new Dictionary<string, string[]>();
        var name = Name ?? old?.Name ?? "";
        Require("name", name.Length is > 0 and <= LongestName && name.Trim() == name && !name.Any(char.IsControl), $"1 to {LongestName} characters, without spaces at the ends.");
        Require("name", old is null || name == old.Name, "The name of a channel stays: receivers and fallbacks go by it. Make another channel.");
        Require("name", name != Canary.Name, "Another name: this one is the platform's own.");
        var kind = Parse(Kind) ?? (Kind is null ? old?.Kind : null);
        Require("kind", kind is not null, $"One of {string.Join(", ", ChannelKinds.OfPeople.Select(kind => WireJson.Name(kind.ToString())))}.");
        Require("kind", old is null || kind is null || kind == old.Kind, "The kind of a channel stays. Make another channel.");
        Require("rate_per_minute", RatePerMinute is null or >= 0 and <= 1_000_000, "0 (no limit) to 1,000,000, or nothing for the default.");
        Require("deadline_seconds", DeadlineSeconds is null or > 0 and <= LongestDeadlineSeconds, $"1 to {LongestDeadlineSeconds}, or nothing for the default.");
        Require("fallback", Fallback is null || names.Contains(Fallback), "The name of another channel that this realm reaches.");
        Require("fallback", Fallback is null || Fallback != name, "Another channel than itself.");
        if (kind is null)
        {
            return (null, errors);
        }

        var fields = Merge(kind.Value, old, errors);
        foreach (var (field, expected) in ChannelFields.Faults(kind.Value, fields, smtp))
        {
            errors.TryAdd($"settings.{field}", [expected]);
        }

        return errors.Count > 0
            ? (null, errors)
            : (new Channel(id, realm, name, kind.Value, fields)
            {
                RatePerMinute = RatePerMinute,
                Fallback = Fallback,
                Deadline = DeadlineSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
                SendResolved = SendResolved ?? old?.SendResolved ?? true,
                CreatedBy = old?.CreatedBy ?? by,
                CreatedAt = old?.CreatedAt ?? now,
                UpdatedAt = now,
                Version = (old?.Version ?? 0) + 1,
            }, errors);

        void Require(string field, bool holds, string expected)
        {
            if (!holds)
            {
                errors.TryAdd(field, [expected]);
            }
        }
    }

    private Dictionary<string, string> Merge(ChannelKind kind, Channel? old, Dictionary<string, string[]> errors)
    {
        var fields = old?.Secrets().ToDictionary() ?? [];
        foreach (var (name, value) in Settings ?? [])
        {
            if (value.ValueKind == JsonValueKind.Null)
            {
                fields.Remove(name);
            }
            else if (fields.ContainsKey(name) && IsHidden(value))
            {
                // As an answer showed it: it stays.
            }
            else if (ChannelField.Read(value) is { } text)
            {
                fields[name] = text;
            }
            else
            {
                errors.TryAdd($"settings.{name}", [ChannelFields.Of(kind).FirstOrDefault(field => field.Name == name)?.Expected ?? "A text."]);
            }
        }

        // A bot instead of a webhook, or the other way round: naming the one takes the other away.
        if (kind == ChannelKind.Slack && Settings is { } given && given.ContainsKey("url") != given.ContainsKey("token"))
        {
            fields.Remove(given.ContainsKey("url") ? "token" : "url");
        }

        // Secrets never come out: not by an answer, and not by a change that leads them to somebody else's server.
        if (old is not null && ServerOf(kind, old.Fields) != ServerOf(kind, fields))
        {
            foreach (var kept in old.Secrets().Keys.Where(name => fields.ContainsKey(name) && !IsSentAnew(name)))
            {
                errors.TryAdd($"settings.{kept}", ["It must be sent again: the channel leads to another server now, and a stored secret stays with the one that it was given for."]);
            }
        }

        return fields;
    }

    private bool IsSentAnew(string field) => Settings is { } given && given.TryGetValue(field, out var value) && !IsHidden(value);

    /// <summary>Whom a channel with these fields talks to; null for the one of its kind, or of the settings.</summary>
    private static string? ServerOf(ChannelKind kind, IReadOnlyDictionary<string, string> fields) => kind == ChannelKind.Email
        ? fields.GetValueOrDefault("smarthost")?.ToLowerInvariant()
        : fields.GetValueOrDefault("url") is not { } url ? null
        : Uri.TryCreate(url, UriKind.Absolute, out var address) ? address.GetLeftPart(UriPartial.Authority)
        : url;

    private static bool IsHidden(JsonElement value) =>
        value.ValueKind == JsonValueKind.Object && value.TryGetProperty("secret", out var word) && word.ValueKind == JsonValueKind.String && word.ValueEquals("set") && value.TryGetProperty("fingerprint", out _);

    private static ChannelKind? Parse(string? text) => ChannelKinds.OfPeople.Cast<ChannelKind?>().FirstOrDefault(kind => WireJson.Name(kind.ToString()!) == text);
}
