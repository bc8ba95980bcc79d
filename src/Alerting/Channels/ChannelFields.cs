using System.Globalization;
using System.Net.Mail;
using System.Text.Json;

namespace Platform.Alerting.Channels;

/// <summary>What the text of a field means.</summary>
public enum FieldShape
{
    Text,
    Url,

    /// <summary>E-mail addresses, separated by commas.</summary>
    Addresses,

    /// <summary><c>host:port</c>.</summary>
    HostAndPort,

    /// <summary>Names and values, one per line.</summary>
    Headers,
    Number,

    /// <summary>How a connection is encrypted: starttls, tls, none.</summary>
    Encryption,
}

/// <summary>One thing that can be set for a kind of channel.</summary>
/// <param name="Secret">Stored encrypted, never shown.</param>
public sealed record ChannelField(string Name, FieldShape Shape, string Expected, bool Required = false, bool Secret = false)
{
    /// <summary>How it stands in answers.</summary>
    public object Show(string text) => Shape switch
    {
        FieldShape.Addresses => text.Split(','),
        FieldShape.Number => int.Parse(text, CultureInfo.InvariantCulture),
        FieldShape.Text or FieldShape.Url or FieldShape.HostAndPort or FieldShape.Headers or FieldShape.Encryption => text,
    };

    /// <summary>The field's text from JSON as sent: a text, a number, a list of texts, or an object of texts for headers; null when it is none of that.</summary>
    public static string? Read(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => value.GetString()!.Trim(),
        JsonValueKind.Number => value.GetRawText(),
        JsonValueKind.Array when value.EnumerateArray().All(one => one.ValueKind == JsonValueKind.String) => string.Join(',', value.EnumerateArray().Select(one => one.GetString()!.Trim())),
        JsonValueKind.Object when value.EnumerateObject().All(one => one.Value.ValueKind == JsonValueKind.String) =>
            string.Join('\n', value.EnumerateObject().Select(one => $"{one.Name}: {one.Value.GetString()}")),
        _ => null,
    };

    /// <summary>Whether a text is good for this field.</summary>
    public bool Takes(string text)
    {
        if (text.Length is 0 or > ChannelFields.LongestText || text.Any(character => char.IsControl(character) && (Shape != FieldShape.Headers || character != '\n')))
        {
            return false;
        }

        return Shape switch
        {
            FieldShape.Text => Name != "secret" || text.Length >= 24,
            FieldShape.Url => Uri.TryCreate(text, UriKind.Absolute, out var url) && url.Scheme is "http" or "https",
            FieldShape.Addresses => text.Split(',') is { Length: <= 100 } list && list.All(IsAddress),
            FieldShape.HostAndPort => text.LastIndexOf(':') is > 0 and var at && Uri.CheckHostName(text[..at].Trim('[', ']')) != UriHostNameType.Unknown
                && int.TryParse(text[(at + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port is > 0 and < 65_536,
            FieldShape.Headers => text.Split('\n') is { Length: <= 20 } lines && lines.All(IsHeader),
            FieldShape.Number => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number <= 1_000_000,
            FieldShape.Encryption => text is "starttls" or "tls" or "none",
        };
    }

    // Addresses go into commands and headers of SMTP as they are: plain ASCII only, and what MailAddress understands.
    private static bool IsAddress(string text) => Ascii.IsValidPrintable(text) && MailAddress.TryCreate(text, out _);

    // The signature's own headers, and those that frame the request, are not for others to set.
    private static bool IsHeader(string line) =>
        line.IndexOf(':', StringComparison.Ordinal) is > 0 and var at
        && line[..at].All(character => char.IsAsciiLetterOrDigit(character) || character is '-' or '_')
        && !line.StartsWith("webhook-", StringComparison.OrdinalIgnoreCase)
        && line[..at].ToLowerInvariant() is not ("host" or "content-length" or "content-type" or "transfer-encoding" or "connection" or "expect" or "upgrade" or "te" or "trailer");

    private static class Ascii
    {
        public static bool IsValidPrintable(string text) => text.All(character => character is >= ' ' and <= '~');
    }
}

/// <summary>The one table of what each kind of channel is made of.</summary>
public static class ChannelFields
{
    public const int LongestText = 4_000;

    private static readonly ChannelField[] Email =
    [
        new("to", FieldShape.Addresses, "E-mail addresses: a list, or one text with commas; at most 100.", Required: true),
        new("from", FieldShape.Text, "The sender's address, for example \"Alerts <alerts@example.com>\"."),
        new("smarthost", FieldShape.HostAndPort, "Host and port of the mail server, for example smtp.example.com:587."),
        new("hello", FieldShape.Text, "The name by which this client greets the mail server."),
        new("tls", FieldShape.Encryption, "One of starttls, tls (from the first byte, port 465), none."),
        new("username", FieldShape.Text, "The account at the mail server."),
        new("password", FieldShape.Text, "The account's password.", Secret: true),
    ];

    private static readonly ChannelField[] Slack =
    [
        new("url", FieldShape.Url, "The address of an incoming webhook.", Secret: true),
        new("token", FieldShape.Text, "A bot token (xoxb-…) with chat:write, instead of a url.", Secret: true),
        new("channel", FieldShape.Text, "Where the bot writes: an id such as C0123456789, or #name."),
        new("username", FieldShape.Text, "The name shown beside messages, where Slack allows it."),
        new("icon_emoji", FieldShape.Text, "The picture shown beside messages, for example :rotating_light:."),
    ];

    private static readonly ChannelField[] Teams = [new("url", FieldShape.Url, "The address of a Workflows webhook.", Required: true, Secret: true)];

    private static readonly ChannelField[] Pagerduty =
    [
        new("routing_key", FieldShape.Text, "The integration key of a service, Events API v2.", Required: true, Secret: true),
        new("url", FieldShape.Url, "Another Events API v2 than PagerDuty's own, whole address."),
        new("client", FieldShape.Text, "What the incident names as its sender."),
        new("class", FieldShape.Text, "The class of the event."),
        new("component", FieldShape.Text, "The component that is at fault."),
        new("group", FieldShape.Text, "The group of components."),
    ];

    private static readonly ChannelField[] Webhook =
    [
        new("url", FieldShape.Url, "An http or https address.", Required: true, Secret: true),
        new("secret", FieldShape.Text, "Signs requests: whsec_ and base64, or any text of 24 characters or more.", Secret: true),
        new("headers", FieldShape.Headers, "Up to 20 further headers, an object of texts; none of the signature's or of the framing.", Secret: true),
        new("max_alerts", FieldShape.Number, "Alerts in one request, 0 for all that the notification has."),
    ];

    private static readonly ChannelField[] Ntfy =
    [
        new("topic", FieldShape.Text, "The topic to publish to.", Required: true),
        new("url", FieldShape.Url, "The server, https://ntfy.sh unless given."),
        new("token", FieldShape.Text, "An access token (tk_…).", Secret: true),
    ];

    public static IReadOnlyList<ChannelField> Of(ChannelKind kind) => kind switch
    {
        ChannelKind.Email => Email,
        ChannelKind.Slack => Slack,
        ChannelKind.Teams => Teams,
        ChannelKind.Pagerduty => Pagerduty,
        ChannelKind.Webhook => Webhook,
        ChannelKind.Ntfy => Ntfy,
        ChannelKind.Canary => [],
    };

    /// <summary>What is wrong with a set of fields, by the name of the field: each alone, and all together.</summary>
    /// <param name="smtp">What e-mail channels that name no server use.</param>
    public static IEnumerable<(string Field, string Expected)> Faults(ChannelKind kind, IReadOnlyDictionary<string, string> fields, SmtpSettings smtp)
    {
        var known = Of(kind);
        foreach (var name in fields.Keys.Where(name => known.All(field => field.Name != name)))
        {
            yield return (name, $"A channel of this kind has {string.Join(", ", known.Select(field => field.Name))}.");
        }

        foreach (var field in known)
        {
            if (fields.TryGetValue(field.Name, out var text) ? !field.Takes(text) : field.Required)
            {
                yield return (field.Name, field.Expected);
            }
        }

        if (kind == ChannelKind.Slack && fields.ContainsKey("url") == fields.ContainsKey("token"))
        {
            yield return ("url", "Either url (an incoming webhook) or token with channel (a bot).");
        }

        if (kind == ChannelKind.Slack && fields.ContainsKey("token") && !fields.ContainsKey("channel"))
        {
            yield return ("channel", "Where the bot writes: an id such as C0123456789, or #name.");
        }

        if (kind == ChannelKind.Email)
        {
            if (!fields.ContainsKey("smarthost") && smtp.Smarthost.Length == 0)
            {
                yield return ("smarthost", "Host and port of the mail server, because ALERT_SMTP_SMARTHOST is not set.");
            }

            if (!fields.ContainsKey("from") && smtp.From.Length == 0)
            {
                yield return ("from", "The sender's address, because ALERT_SMTP_FROM is not set.");
            }

            if (fields.TryGetValue("from", out var from) && !(from.All(character => character is >= ' ' and <= '~') && MailAddress.TryCreate(from, out _)))
            {
                yield return ("from", "The sender's address, for example \"Alerts <alerts@example.com>\".");
            }

            if (fields.ContainsKey("password") != fields.ContainsKey("username"))
            {
                yield return ("password", "username and password together, or neither.");
            }

            if (fields.GetValueOrDefault("tls") == "none" && fields.ContainsKey("password"))
            {
                yield return ("tls", "starttls or tls: a password is only sent encrypted.");
            }
        }
    }
}
