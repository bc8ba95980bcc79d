using System.ComponentModel.DataAnnotations;
using System.Net.Mail;
using System.Security.Cryptography;
using System.Text;
using Platform.Alerting.Canaries;
using Platform.Alerting.Notifications;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>The mail server of e-mail channels that name none.</summary>
public sealed class SmtpSettings : IValidatableObject
{
    /// <summary>Host and port of the mail server.</summary>
    [Setting("ALERT_SMTP_SMARTHOST")]
    public string Smarthost { get; init; } = "";

    /// <summary>The sender's address.</summary>
    [Setting("ALERT_SMTP_FROM")]
    public string From { get; init; } = "";

    /// <summary>The account at the mail server; unset: no authentication.</summary>
    [Setting("ALERT_SMTP_USERNAME")]
    public string Username { get; init; } = "";

    [Setting("ALERT_SMTP_PASSWORD", Secret = true)]
    public string Password { get; init; } = "";

    /// <summary>How the connection is encrypted: <c>starttls</c>, <c>tls</c> (from the first byte) or <c>none</c>.</summary>
    [Setting("ALERT_SMTP_TLS"), RegularExpression("starttls|tls|none", ErrorMessage = "expected starttls, tls or none")]
    public string Tls { get; init; } = "starttls";

    /// <summary>How long a mail server may take for a whole conversation.</summary>
    [Setting("ALERT_SMTP_TIMEOUT_SECONDS"), Range(1, 120)]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Whom mail of a channel comes from. Over the server and account of the settings that is always their sender, and the channel gives only the
    /// name beside the address: who may make channels may not write in anybody's name.
    /// </summary>
    public MailAddress SenderOf(Channel channel)
    {
        var own = new MailAddress(channel["from"] ?? From);
        var isOurs = channel["smarthost"] is null && channel["username"] is null && From.Length > 0;
        return isOurs ? new MailAddress(new MailAddress(From).Address, own.DisplayName) : own;
    }

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Smarthost.Length > 0 && !ChannelFields.Of(ChannelKind.Email).Single(field => field.Name == "smarthost").Takes(Smarthost))
        {
            yield return new ValidationResult($"ALERT_SMTP_SMARTHOST is \"{Smarthost}\": expected host and port, for example smtp.example.com:587. Change it, or unset it.");
        }

        if (From.Length > 0 && !System.Net.Mail.MailAddress.TryCreate(From, out _))
        {
            yield return new ValidationResult($"ALERT_SMTP_FROM is \"{From}\": expected an e-mail address. Change it, or unset it.");
        }

        if (Username.Length > 0 != Password.Length > 0)
        {
            yield return new ValidationResult("ALERT_SMTP_USERNAME and ALERT_SMTP_PASSWORD are set together, or neither. Set the other one, or unset both.");
        }

        if (Tls == "none" && Password.Length > 0)
        {
            yield return new ValidationResult("ALERT_SMTP_TLS is none, and ALERT_SMTP_PASSWORD is set: a password is only sent encrypted. Set ALERT_SMTP_TLS to starttls or tls.");
        }
    }
}

/// <summary>The channels that settings make, for all realms. Webhooks are in <see cref="NotificationOptions"/>.</summary>
public sealed class ChannelSettings : IValidatableObject
{
    /// <summary>Who gets e-mail, several separated by commas.</summary>
    [Setting("ALERT_EMAIL_RECIPIENTS")]
    public IReadOnlyList<string> EmailRecipients { get; init; } = [];

    /// <summary>Who gets the daily digest by e-mail, several separated by commas. None: there is no digest.</summary>
    [Setting("MONITORING_DIGEST_RECIPIENTS")]
    public IReadOnlyList<string> DigestRecipients { get; init; } = [];

    /// <summary>Addresses of Slack's incoming webhooks, several separated by commas.</summary>
    [Setting("ALERT_SLACK_WEBHOOK_URL", Secret = true)]
    public IReadOnlyList<string> SlackUrls { get; init; } = [];

    /// <summary>A bot token, instead of a webhook: one message per group that is kept up to date.</summary>
    [Setting("ALERT_SLACK_BOT_TOKEN", Secret = true)]
    public string SlackToken { get; init; } = "";

    /// <summary>Where the bot writes.</summary>
    [Setting("ALERT_SLACK_CHANNEL")]
    public string SlackChannel { get; init; } = "";

    /// <summary>Addresses of Teams' Workflows webhooks, several separated by commas.</summary>
    [Setting("ALERT_TEAMS_WEBHOOK_URL", Secret = true)]
    public IReadOnlyList<string> TeamsUrls { get; init; } = [];

    /// <summary>Integration keys of PagerDuty services, Events API v2, several separated by commas.</summary>
    [Setting("ALERT_PAGERDUTY_INTEGRATION_KEY", Secret = true)]
    public IReadOnlyList<string> PagerdutyKeys { get; init; } = [];

    /// <summary>A topic of an ntfy server.</summary>
    [Setting("ALERT_NTFY_TOPIC")]
    public string NtfyTopic { get; init; } = "";

    [Setting("ALERT_NTFY_URL")]
    public string NtfyUrl { get; init; } = "https://ntfy.sh";

    [Setting("ALERT_NTFY_TOKEN", Secret = true)]
    public string NtfyToken { get; init; } = "";

    /// <summary>Name of the channel of settings that takes over what another of them could not deliver.</summary>
    [Setting("ALERT_FALLBACK_CHANNEL")]
    public string Fallback { get; init; } = "";

    /// <summary>Where Slack's Web API is; ends with a slash.</summary>
    [Setting("ALERT_SLACK_API_URL")]
    public string SlackApi { get; init; } = "https://slack.com/api/";

    /// <summary>Where PagerDuty's events go; accounts in the EU have https://events.eu.pagerduty.com/v2/enqueue.</summary>
    [Setting("ALERT_PAGERDUTY_URL")]
    public string PagerdutyUrl { get; init; } = "https://events.pagerduty.com/v2/enqueue";

    /// <summary>Channels that people may make in one realm.</summary>
    [Setting("ALERT_MAX_CHANNELS_PER_REALM"), Range(1, 10_000)]
    public int MostChannels { get; init; } = 200;

    /// <summary>Notifications a minute over a channel that is no webhook and has no rate of its own; 0: no limit. Webhooks have no limit unless theirs says so.</summary>
    [Setting("ALERT_CHANNEL_RATE_PER_MINUTE"), Range(0, 1_000_000)]
    public int RatePerMinute { get; init; } = 60;

    /// <summary>A channel with a fallback is tried this long, unless it has a deadline of its own.</summary>
    [Setting("ALERT_FALLBACK_AFTER_SECONDS"), Range(1, 86_400)]
    public TimeSpan FallbackAfter { get; init; } = TimeSpan.FromMinutes(5);

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        foreach (var (setting, url) in ((string, string)[])[("ALERT_SLACK_API_URL", SlackApi), ("ALERT_PAGERDUTY_URL", PagerdutyUrl), ("ALERT_NTFY_URL", NtfyUrl)])
        {
            if (!Uri.TryCreate(url, UriKind.Absolute, out var parsed) || parsed.Scheme is not ("http" or "https"))
            {
                yield return new ValidationResult($"{setting} is \"{url}\": expected an absolute http or https URL. Change it, or unset it.");
            }
        }
    }
}

/// <summary>The channels of realm <c>*</c> that settings make, by name. They live in the process: the settings are the truth.</summary>
public sealed class SettingsChannels
{
    /// <summary>The channel of the daily digest. No alert goes there unless somebody routes it there.</summary>
    public const string Digest = "digest";

    private readonly Dictionary<string, Channel> _byName = new(StringComparer.Ordinal);

    /// <exception cref="SettingsException">Names every setting that is wrong, without its value where that is a secret.</exception>
    public SettingsChannels(ChannelSettings settings, NotificationOptions options, SmtpSettings smtp)
    {
        Add(ChannelKind.Webhook, "ALERT_WEBHOOK_URL", [.. options.WebhookUrls.Select(url => Fields(("url", url), ("secret", options.WebhookSecret)))], smtp);
        Add(ChannelKind.Pagerduty, "ALERT_PAGERDUTY_INTEGRATION_KEY", [.. settings.PagerdutyKeys.Select(key => Fields(("routing_key", key)))], smtp);
        Add(ChannelKind.Slack, "ALERT_SLACK_WEBHOOK_URL, ALERT_SLACK_BOT_TOKEN or ALERT_SLACK_CHANNEL",
            [.. settings.SlackToken.Length > 0 ? [Fields(("token", settings.SlackToken), ("channel", settings.SlackChannel))] : Array.Empty<Dictionary<string, string>>(),
             .. settings.SlackUrls.Select(url => Fields(("url", url)))], smtp);
        Add(ChannelKind.Teams, "ALERT_TEAMS_WEBHOOK_URL", [.. settings.TeamsUrls.Select(url => Fields(("url", url)))], smtp);
        Add(ChannelKind.Ntfy, "ALERT_NTFY_TOPIC", settings.NtfyTopic.Length > 0 ? [Fields(("topic", settings.NtfyTopic), ("url", settings.NtfyUrl), ("token", settings.NtfyToken))] : [], smtp);
        Add(ChannelKind.Email, "ALERT_EMAIL_RECIPIENTS", settings.EmailRecipients.Count > 0 ? [Fields(("to", string.Join(',', settings.EmailRecipients)))] : [], smtp);
        Add(ChannelKind.Email, "MONITORING_DIGEST_RECIPIENTS", settings.DigestRecipients.Count > 0 ? [Fields(("to", string.Join(',', settings.DigestRecipients)))] : [], smtp, Digest);

        if (settings.Fallback.Length == 0)
        {
            return;
        }

        if (!_byName.ContainsKey(settings.Fallback))
        {
            throw new SettingsException($"ALERT_FALLBACK_CHANNEL is \"{settings.Fallback}\": expected the name of a channel of settings ({string.Join(", ", _byName.Keys)}). Change it, or unset it.");
        }

        foreach (var channel in _byName.Values.Where(channel => channel.Name != settings.Fallback && channel.Name != Digest).ToArray())
        {
            _byName[channel.Name] = channel with { Fallback = settings.Fallback };
        }
    }

    public IReadOnlyCollection<Channel> All => _byName.Values;

    /// <summary>Also finds the channel of test alerts, which is in no list.</summary>
    public Channel? Find(string name) => _byName.GetValueOrDefault(name) ?? (name == Canary.Name ? Canary.Channel : null);

    /// <summary>Names of the channels that an alert of this severity goes to where nobody said otherwise.</summary>
    public IReadOnlyList<string> For(Severity severity) => DefaultChannels.For(severity, _byName.Values.Where(channel => channel.Name != Digest));

    /// <param name="called">Its name; null: that of its kind.</param>
    private void Add(ChannelKind kind, string setting, IReadOnlyList<Dictionary<string, string>> several, SmtpSettings smtp, string? called = null)
    {
        foreach (var (index, fields) in several.Index())
        {
            if (ChannelFields.Faults(kind, fields, smtp).FirstOrDefault() is { Field: not null } fault)
            {
                throw new SettingsException($"{setting}: number {index + 1} is not usable (it is not shown, because such settings carry secrets). Expected for {fault.Field}: {fault.Expected}");
            }

            var name = (called ?? WireJson.Name(kind.ToString())) + (index == 0 ? "" : $"-{index + 1}");
            // The id depends on the name only: it is the same in every replica and after every start.
            var id = new Guid(SHA256.HashData(Encoding.UTF8.GetBytes($"channel of settings: {name}")).AsSpan(0, 16));
            _byName.Add(name, new Channel(id, Realm.All, name, kind, fields) { FromSettings = true });
        }
    }

    private static Dictionary<string, string> Fields(params (string Name, string Value)[] fields) =>
        fields.Where(field => field.Value.Length > 0).ToDictionary(field => field.Name, field => field.Value);
}

/// <summary>Who is told of what where nobody configured routing: what may wake somebody only for what deserves it.</summary>
public static class DefaultChannels
{
    /// <summary>The names of those of <paramref name="channels"/> that an alert of this severity goes to.</summary>
    /// <returns>Never empty for critical to low as long as there is a channel: then all of them rather than nobody.</returns>
    public static IReadOnlyList<string> For(Severity severity, IEnumerable<Channel> channels)
    {
        var all = channels.ToArray();
        var meant = Names(all.Where(channel => severity <= Last(channel.Kind)));
        return meant.Count > 0 || severity == Severity.Info ? meant : Names(all);
    }

    private static Severity Last(ChannelKind kind) => kind switch
    {
        ChannelKind.Pagerduty or ChannelKind.Ntfy => Severity.High,
        ChannelKind.Slack or ChannelKind.Teams => Severity.Medium,
        ChannelKind.Email => Severity.Low,
        ChannelKind.Webhook or ChannelKind.Canary => Severity.Info,
    };

    private static IReadOnlyList<string> Names(IEnumerable<Channel> channels) => [.. channels.Select(channel => channel.Name).Order(StringComparer.Ordinal)];
}
