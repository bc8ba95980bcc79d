using System.Text.Json;
using Npgsql;
using Platform.Alerting.Channels;
using Platform.ServiceDefaults;

namespace Platform.Alerting.OnCall;

/// <summary>
/// Contact methods as channels: each is a channel of its own in the realm of its user, so that people are reached by the same senders,
/// with the same retries, limits, encryption and log, as everything else.
/// </summary>
public sealed class PersonalChannels(ChannelStore channels, SmtpSettings smtp)
{
    public static readonly IReadOnlyList<string> Types = [.. ChannelKinds.OfPeople.Select(kind => WireJson.Name(kind.ToString()))];

    /// <summary>Name of the channel behind a contact method.</summary>
    public static string NameOf(string user, string method) => $"on-call/{user}/{method}";

    /// <summary>Those of these channels that the realm does not reach.</summary>
    internal async Task<IReadOnlySet<string>> MissingAsync(NpgsqlTransaction tx, string realm, IReadOnlyCollection<string> names, CancellationToken ct)
    {
        if (names.Count == 0)
        {
            return new HashSet<string>();
        }

        var known = await channels.NamesAsync(tx, realm, ct);
        return names.Where(name => !known.Contains(name)).ToHashSet();
    }

    /// <summary>Makes or changes the channels of a user's methods. A method that says nothing of where it leads keeps what it has.</summary>
    internal async Task SaveAsync(
        NpgsqlTransaction tx, string realm, string user, IReadOnlyList<ContactMethodBody> methods, string by, Faults faults, DateTimeOffset now, CancellationToken ct)
    {
        await ChannelStore.LockForChangeAsync(tx, realm, ct);
        for (var i = 0; i < methods.Count; i++)
        {
            var method = methods[i];
            var old = await FindOwnAsync(tx, realm, user, method.Name!, ct);
            if (old is not null && WireJson.Name(old.Kind.ToString()) != method.Type)
            {
                await channels.DeleteAsync(tx, old, ct);
                old = null;
            }

            if (old is not null && method.Target is null && method.Settings is null)
            {
                continue;
            }

            var body = new ChannelBody(NameOf(user, method.Name!), method.Type, SettingsOf(method));
            var (channel, errors) = body.Check(old, old?.Id ?? Guid.CreateVersion7(now), realm, new HashSet<string>(), smtp, by, now);
            foreach (var (field, expected) in errors)
            {
                faults.Require(method.Target is null || field != $"settings.{MainField(method)}" ? $"contact_methods[{i}].{field}" : $"contact_methods[{i}].target", false, expected[0]);
            }

            if (channel is null)
            {
                continue;
            }

            if (old is not null)
            {
                await channels.UpdateAsync(tx, channel, ct);
                await ChannelStore.ForgetPauseAsync(tx, channel, ct);
            }
            else if (!await channels.InsertAsync(tx, channel, ct))
            {
                faults.Require($"contact_methods[{i}].name", false, $"The channel {channel.Name} is there already, and is not of this user. Delete it first.");
            }
        }
    }

    internal async Task DeleteAsync(NpgsqlTransaction tx, string realm, string user, IEnumerable<ContactMethod> methods, CancellationToken ct)
    {
        await ChannelStore.LockForChangeAsync(tx, realm, ct);
        foreach (var method in methods)
        {
            if (await FindOwnAsync(tx, realm, user, method.Name, ct) is { } channel)
            {
                await channels.DeleteAsync(tx, channel, ct);
            }
        }
    }

    private async Task<Channel?> FindOwnAsync(NpgsqlTransaction tx, string realm, string user, string method, CancellationToken ct) =>
        await channels.FindAsync(tx, realm, NameOf(user, method), ct) is { } channel && channel.Realm == realm ? channel : null;

    // The one thing that people have in mind when they say how somebody is reached.
    private static string MainField(ContactMethodBody method) => method.Type switch
    {
        "email" => "to",
        "ntfy" => "topic",
        "pagerduty" => "routing_key",
        "slack" when !IsUrl(method.Target) => "channel",
        _ => "url",
    };

    private static Dictionary<string, JsonElement> SettingsOf(ContactMethodBody method)
    {
        var settings = new Dictionary<string, JsonElement>(method.Settings ?? []);
        if (method.Target is { } target)
        {
            // A topic of another ntfy server is its whole address: https://ntfy.example.com/topic.
            if (method.Type == "ntfy" && IsUrl(target) && target.LastIndexOf('/') is var slash && slash > "https://".Length)
            {
                settings["url"] = JsonSerializer.SerializeToElement(target[..slash]);
                target = target[(slash + 1)..];
            }

            settings[MainField(method)] = JsonSerializer.SerializeToElement(target);
        }

        return settings;
    }

    private static bool IsUrl(string? text) => text is not null && (text.StartsWith("https://", StringComparison.Ordinal) || text.StartsWith("http://", StringComparison.Ordinal));
}
