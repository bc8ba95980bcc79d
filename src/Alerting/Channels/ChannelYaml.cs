using System.Globalization;
using System.Text;
using System.Text.Json;
using Npgsql;
using Platform.Messaging;
using Platform.ServiceDefaults;
using YamlDotNet.RepresentationModel;

namespace Platform.Alerting.Channels;

/// <summary>
/// Channels out of the receivers of an Alertmanager file: <c>webhook_configs</c>, <c>email_configs</c>, <c>slack_configs</c>,
/// <c>pagerduty_configs</c> and <c>msteamsv2_configs</c>. What decides where and when a page goes and has no meaning here is a fault with its
/// line and the remedy; what only sets the wording, which is the platform's own, is left out and named. https://prometheus.io/docs/alerting/latest/configuration/#receiver-integration-settings
/// </summary>
public sealed class ChannelYaml(ChannelStore channels, ChannelSettings settings, SmtpSettings smtp)
{
    private static readonly Dictionary<string, ChannelKind> Kinds = new()
    {
        ["webhook_configs"] = ChannelKind.Webhook,
        ["email_configs"] = ChannelKind.Email,
        ["slack_configs"] = ChannelKind.Slack,
        ["pagerduty_configs"] = ChannelKind.Pagerduty,
        ["msteamsv2_configs"] = ChannelKind.Teams,
    };

    // Their names for our fields; http_config, require_tls and send_resolved are read apart.
    private static readonly Dictionary<ChannelKind, Dictionary<string, string>> Names = new()
    {
        [ChannelKind.Webhook] = new() { ["url"] = "url", ["max_alerts"] = "max_alerts" },
        [ChannelKind.Email] = new() { ["to"] = "to", ["from"] = "from", ["smarthost"] = "smarthost", ["hello"] = "hello", ["auth_username"] = "username", ["auth_password"] = "password" },
        [ChannelKind.Slack] = new() { ["api_url"] = "url", ["channel"] = "channel", ["username"] = "username", ["icon_emoji"] = "icon_emoji" },
        [ChannelKind.Pagerduty] = new() { ["routing_key"] = "routing_key", ["url"] = "url", ["client"] = "client", ["class"] = "class", ["component"] = "component", ["group"] = "group" },
        [ChannelKind.Teams] = new() { ["webhook_url"] = "url" },
    };

    // How a message looks and what it says; the message arrives without them.
    private static readonly Dictionary<ChannelKind, HashSet<string>> Looks = new()
    {
        [ChannelKind.Webhook] = ["timeout"],
        [ChannelKind.Email] = ["html", "text", "headers"],
        [ChannelKind.Slack] =
        [
            "title", "title_link", "pretext", "text", "fallback", "color", "fields", "short_fields", "footer", "callback_id", "icon_url", "image_url", "thumb_url", "link_names", "mrkdwn_in", "actions",
            "message_text", "timeout",
        ],
        [ChannelKind.Pagerduty] = ["description", "details", "severity", "source", "client_url", "images", "links", "timeout"],
        [ChannelKind.Teams] = ["title", "summary", "text", "timeout"],
    };

    // Those of ours that are looks, too: a template in them costs no page.
    private static readonly HashSet<string> Decorations = ["username", "icon_emoji", "client", "class", "component", "group"];

    // What the section global says for those that say nothing.
    private static readonly Dictionary<ChannelKind, Dictionary<string, string>> Globals = new()
    {
        [ChannelKind.Webhook] = [],
        [ChannelKind.Email] = new() { ["smtp_smarthost"] = "smarthost", ["smtp_from"] = "from", ["smtp_hello"] = "hello", ["smtp_auth_username"] = "auth_username", ["smtp_auth_password"] = "auth_password", ["smtp_require_tls"] = "require_tls" },
        [ChannelKind.Slack] = new() { ["slack_api_url"] = "api_url" },
        [ChannelKind.Pagerduty] = new() { ["pagerduty_url"] = "url" },
        [ChannelKind.Teams] = [],
    };

    /// <summary>What the section <c>global</c> says that means nothing here: each with its line, and who decides instead.</summary>
    public static IEnumerable<string> Ignored(YamlNode? global) =>
        from key in (global as YamlMappingNode)?.Children.Keys ?? []
        let name = Text(key) ?? ""
        where !Globals.Values.Any(known => known.ContainsKey(name))
        select string.Create(CultureInfo.InvariantCulture, $"line {key.Start.Line}: global.{name} is not taken over. ") + name switch
        {
            "resolve_timeout" => "ALERT_RESOLVE_TIMEOUT_SECONDS says when an alert is over that nobody repeats.",
            "http_config" => "Write it beside the receiver; proxies and certificates are the system's.",
            _ when name.EndsWith("_file", StringComparison.Ordinal) => "It names a file of the machine where Alertmanager runs. Write the value itself.",
            _ => "Nothing here is set by it.",
        };

    /// <summary>Makes the channel of one receiver's entry, or changes the one that an earlier import of the same file made.</summary>
    /// <param name="receiver">Name of the receiver: the channel is <c>receiver/webhook</c>, the second of its kind <c>receiver/webhook-2</c>.</param>
    /// <param name="key"><c>webhook_configs</c>, …</param>
    /// <param name="config">One entry of that list.</param>
    /// <param name="global">The file's section of that name, or null.</param>
    /// <param name="taken">Names that this import has given; the new one is added.</param>
    /// <param name="caller">Who imports: made and changed channels are recorded as if they had been sent one by one.</param>
    /// <param name="faults">What is wrong is added here, with its line; then the transaction must not be committed.</param>
    /// <param name="ignored">What is left out is added here, with its line.</param>
    /// <returns>The channel's name, or null with a fault.</returns>
    public async Task<string?> ImportAsync(
        NpgsqlTransaction tx, string realm, string receiver, string key, YamlNode config, YamlNode? global, ISet<string> taken, Caller caller, DateTimeOffset now, List<string> faults, List<string> ignored, CancellationToken ct)
    {
        if (Read(receiver, key, config, global, faults, ignored) is not { } body)
        {
            return null;
        }

        var plain = $"{receiver}/{body.Kind}";
        var name = Enumerable.Range(1, int.MaxValue).Select(number => number == 1 ? plain : $"{plain}-{number}").First(taken.Add);
        await ChannelStore.LockForChangeAsync(tx, realm, ct);
        var known = await channels.FindAsync(tx, realm, name, ct);
        var old = known?.Realm == realm && !known.FromSettings ? known : null;
        // Whatever the file does not know of (rate, fallback, deadline) stays as somebody set it.
        var (channel, errors) = (body with { Name = name, RatePerMinute = old?.RatePerMinute, Fallback = old?.Fallback, DeadlineSeconds = (int?)old?.Deadline?.TotalSeconds })
            .Check(old, old?.Id ?? Guid.CreateVersion7(now), realm, await channels.NamesAsync(tx, realm, ct), smtp, caller.Subject, now);
        foreach (var (field, expected) in errors)
        {
            faults.Add($"{Place(config, receiver, key)}: {Theirs(body, field)}: {expected[0]}");
        }

        if (channel is null)
        {
            return null;
        }

        if (old is not null)
        {
            if (!old.IsSetLike(channel))
            {
                await channels.UpdateAsync(tx, channel, ct);
                await ChannelStore.ForgetPauseAsync(tx, channel, ct);
                await tx.SendAsync(channel.Did(caller, "changed", now), ct);
            }
        }
        else if (await channels.CountAsync(tx, realm, ct) >= settings.MostChannels)
        {
            faults.Add($"{Place(config, receiver, key)}: the realm has {settings.MostChannels} channels, as many as ALERT_MAX_CHANNELS_PER_REALM allows. Delete some, or raise that setting.");
            return null;
        }
        else
        {
            await channels.InsertAsync(tx, channel, ct);
            await tx.SendAsync(channel.Did(caller, "created", now), ct);
        }

        return name;
    }

    /// <summary>The entry as a channel without a name; null when it is not understood, with faults.</summary>
    public static ChannelBody? Read(string receiver, string key, YamlNode config, YamlNode? global, List<string> faults, List<string> ignored)
    {
        var before = faults.Count;
        if (!Kinds.TryGetValue(key, out var kind))
        {
            faults.Add($"{Place(config, receiver, key)}: {key} is not supported; there are {string.Join(", ", Kinds.Keys)}. {(key == "msteams_configs" ? "Microsoft has retired its connectors: make a Workflows webhook and write msteamsv2_configs." : "Make a channel of another kind at /api/v1/monitoring/channels.")}");
            return null;
        }

        if (config is not YamlMappingNode entry)
        {
            faults.Add($"{Place(config, receiver, key)}: a mapping of keys and values is expected.");
            return null;
        }

        var fields = new Dictionary<string, string>();
        var requireTls = true;
        // Alertmanager tells of the end where it does by default: not by mail and not in Slack.
        var sendResolved = kind is ChannelKind.Webhook or ChannelKind.Pagerduty or ChannelKind.Teams;
        var all = entry.Children.Concat(
            (global as YamlMappingNode)?.Children.Where(pair => Text(pair.Key) is { } name && Globals[kind].TryGetValue(name, out var own) && !entry.Children.ContainsKey(new YamlScalarNode(own)))
                .Select(pair => KeyValuePair.Create((YamlNode)new YamlScalarNode(Globals[kind][Text(pair.Key)!]), pair.Value)) ?? []);
        foreach (var (keyNode, value) in all)
        {
            var name = Text(keyNode) ?? "";
            if (name == "send_resolved" && Flag(name, value) is { } told)
            {
                sendResolved = told;
            }
            else if (name == "require_tls" && kind == ChannelKind.Email && Flag(name, value) is { } required)
            {
                requireTls = required;
            }
            else if (name == "http_config" && kind != ChannelKind.Email)
            {
                ReadHttp(value);
            }
            else if (Names[kind].TryGetValue(name, out var field))
            {
                if (Text(value) is not { } text)
                {
                    Fault(value, $"{name} is one text.");
                }
                else if (text.Contains("{{", StringComparison.Ordinal) && Decorations.Contains(field))
                {
                    Ignore(keyNode, $"{name} is a template, and channels have none: left out.");
                }
                else if (text.Contains("{{", StringComparison.Ordinal))
                {
                    Fault(value, $"{name} is a template, and channels have none. Write plain text; what is said is made of the alert's annotations.");
                }
                else if (text == "<secret>")
                {
                    Fault(value, $"{name} is \"<secret>\", which stands for a secret in somebody's output. Write the secret itself.");
                }
                else if (text.Length > 0)
                {
                    fields[field] = text;
                }
            }
            else if (Looks[kind].Contains(name))
            {
                Ignore(keyNode, name == "timeout"
                    ? "timeout is not taken over: ALERT_WEBHOOK_TIMEOUT_SECONDS says how long a receiver may take."
                    : $"{name} is not taken over: the wording is the platform's own and made of the alert's labels and annotations.");
            }
            else if (name is not ("send_resolved" or "require_tls"))
            {
                Fault(keyNode, Remedy(kind, name));
            }
        }

        if (kind == ChannelKind.Email)
        {
            fields["to"] = string.Join(',', fields.GetValueOrDefault("to", "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries));
            fields["tls"] = fields.GetValueOrDefault("smarthost", "").EndsWith(":465", StringComparison.Ordinal) ? "tls" : requireTls ? "starttls" : "none";
        }
        else if (kind == ChannelKind.Slack && fields.ContainsKey("token"))
        {
            // A bot: its address is a setting of the platform.
            fields.Remove("url");
        }

        return faults.Count > before
            ? null
            : new ChannelBody(null, WireJson.Name(kind.ToString()), fields.ToDictionary(field => field.Key, field => JsonSerializer.SerializeToElement(field.Value)), SendResolved: sendResolved);

        void Fault(YamlNode at, string message) => faults.Add($"{Place(at, receiver, key)}: {message}");

        void Ignore(YamlNode at, string message) => ignored.Add($"{Place(at, receiver, key)}: {message}");

        bool? Flag(string name, YamlNode value)
        {
            if (Text(value) is "true" or "false")
            {
                return Text(value) == "true";
            }

            Fault(value, $"{name} is true or false.");
            return null;
        }

        void ReadHttp(YamlNode value)
        {
            foreach (var (nameNode, part) in value as YamlMappingNode ?? new YamlMappingNode())
            {
                switch (Text(nameNode), part)
                {
                    case ("authorization", YamlMappingNode mapping) when kind is ChannelKind.Webhook or ChannelKind.Slack && Text(mapping, "credentials") is { Length: > 0 } credentials && (Text(mapping, "type") ?? "Bearer") is var type:
                        Authorize(type, credentials);
                        break;
                    case ("bearer_token", YamlScalarNode { Value: { Length: > 0 } token }) when kind is ChannelKind.Webhook or ChannelKind.Slack:
                        Authorize("Bearer", token);
                        break;
                    case ("basic_auth", YamlMappingNode mapping) when Text(mapping, "username") is { } user && Text(mapping, "password") is { } password && kind == ChannelKind.Webhook:
                        Authorize("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{password}")));
                        break;
                    case ("follow_redirects", YamlScalarNode { Value: "false" }) or ("enable_http2", _):
                        break;
                    case ("follow_redirects", _):
                        Fault(nameNode, "redirects are not followed here: a page must not go where nobody said. Write the address that answers, and follow_redirects: false or nothing.");
                        break;
                    case var (name, _):
                        Fault(nameNode, $"http_config.{name} is not supported; there are authorization with credentials, bearer_token and basic_auth with password. Certificates and proxies are the system's.");
                        break;
                }
            }
        }

        void Authorize(string type, string credentials)
        {
            if (kind == ChannelKind.Slack)
            {
                fields["token"] = credentials;
            }
            else
            {
                fields["headers"] = string.Create(CultureInfo.InvariantCulture, $"Authorization: {type} {credentials}");
            }
        }
    }

    private static string Remedy(ChannelKind kind, string name) => name switch
    {
        _ when name.EndsWith("_file", StringComparison.Ordinal) => $"{name} names a file of the machine where Alertmanager runs. Write the value itself; it is stored encrypted.",
        "service_key" => "service_key is of PagerDuty's old integration. Make an Events API v2 integration and write its routing_key.",
        _ => $"the key \"{name}\" is not known for this kind; known are {string.Join(", ", Names[kind].Keys.Append("send_resolved").Order(StringComparer.Ordinal))}.",
    };

    // "settings.username" of e-mail is their "auth_username".
    private static string Theirs(ChannelBody body, string field)
    {
        var kind = Enum.Parse<ChannelKind>(body.Kind!, ignoreCase: true);
        var own = field.StartsWith("settings.", StringComparison.Ordinal) ? field["settings.".Length..] : field;
        return Names[kind].FirstOrDefault(pair => pair.Value == own).Key ?? own;
    }

    private static string Place(YamlNode at, string receiver, string key) => string.Create(CultureInfo.InvariantCulture, $"line {at.Start.Line}: receiver \"{receiver}\": {key}");

    private static string? Text(YamlNode node) => (node as YamlScalarNode)?.Value;

    private static string? Text(YamlMappingNode mapping, string key) => mapping.Children.TryGetValue(new YamlScalarNode(key), out var value) ? Text(value) : null;
}
