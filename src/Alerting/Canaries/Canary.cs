using System.Text.Json;
using Platform.Alerting.Channels;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Contracts;

namespace Platform.Alerting.Canaries;

/// <summary>
/// The test alert by which the platform watches its own alerting. It takes every step of a real one: bus, rule, window, alert, route,
/// group, notification, channel. It lives in a realm of its own that nobody's key can have. Whoever lists or counts for people, or tells
/// other services, leaves that realm out unless it is named.
/// </summary>
public static class Canary
{
    /// <summary>Realms of people begin with a letter or a digit.</summary>
    public const string Realm = "~canary";

    /// <summary>Of its source, rule, receiver and channel. People cannot give a channel this name.</summary>
    public const string Name = "~canary";

    /// <summary>The event's tag, and the alert's label, that tells one from the other.</summary>
    public const string Tag = "canary";

    private static readonly Guid s_ruleId = new("0190a000-0000-7000-8000-00000000ca4b");

    /// <summary>Each canary is a group of its own. In the program rather than among people's rules: nobody can change or delete it, and a replica of an older version does not know it.</summary>
    public static readonly Rule Rule = new(
        s_ruleId, Realm, Name, "The test alert by which the platform watches its own alerting.", new RuleMatch(null, Name, null, new Dictionary<string, string>()),
        1, 10, [$"tags.{Tag}"], Severity.Info, true, "platform", DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch, 1);

    /// <summary>Ends within the process: see <see cref="CanaryNotifier"/>.</summary>
    public static readonly Channel Channel = new(new Guid("0190a000-0000-7000-8000-00000000ca4a"), ServiceDefaults.Realm.All, Name, ChannelKind.Canary, new Dictionary<string, string>())
    {
        FromSettings = true,
        RatePerMinute = 0,
    };

    /// <summary>Nothing waits, nothing mutes.</summary>
    public static readonly RoutingConfig Routing = new(
        new() { Receiver = Name, GroupBy = [RouteMatch.AllLabels], GroupWait = TimeSpan.Zero, GroupInterval = TimeSpan.FromSeconds(1), RepeatInterval = TimeSpan.FromDays(1) },
        [new RoutingReceiver(Name, [Name])], [], [], []);

    /// <summary>The news of its event, as Metrics would tell it.</summary>
    public static EventsStored Event(Guid id, DateTimeOffset at) => new([new StoredEvent(JsonSerializer.SerializeToElement(new
    {
        id,
        realm = Realm,
        event_type = "log",
        source = Name,
        level = "info",
        timestamp = at,
        tags = new Dictionary<string, string> { [Tag] = id.ToString() },
    }))]);
}

/// <summary>How the canaries fare, in all replicas together. What follows from it is decided here; pure.</summary>
/// <param name="SentAt">When the newest was sent; null before the first.</param>
/// <param name="ArrivedAt">When the newest of those that arrived did.</param>
/// <param name="Latency">Of that one, from its event to its channel.</param>
/// <param name="MissingSince">When the first after that one was sent. One that is lost is forgiven when a later one arrives.</param>
/// <param name="Missing">How many were sent after that one.</param>
public sealed record CanaryFlight(DateTimeOffset? SentAt, DateTimeOffset? ArrivedAt, TimeSpan? Latency, DateTimeOffset? MissingSince, int Missing)
{
    /// <summary>While so many are missing, only one in as many is sent: a pipeline that stands still for days is not filled with canaries.</summary>
    public const int Many = 10;

    /// <summary>Whether the next one is to be sent.</summary>
    public bool IsDue(DateTimeOffset now, TimeSpan interval) =>
        SentAt is not { } sent
        || now - sent >= (Missing < Many ? interval : Many * interval)
        || sent - now > interval; // the clock was set back: nobody waits for it to come round again

    public bool IsLate(DateTimeOffset now, TimeSpan allowed) => MissingSince is { } since && now - since > allowed;

    /// <summary>Whether the newest news are good, and new enough to rely on.</summary>
    public bool IsFresh(DateTimeOffset now, TimeSpan interval, TimeSpan allowed) => ArrivedAt is { } at && now - at <= interval + allowed && !IsLate(now, allowed);

    /// <summary>What the newest took, or has taken so far; null before the first.</summary>
    public TimeSpan? LatencyAt(DateTimeOffset now) => MissingSince is { } since && now - since is var age && !(age < Latency) ? age : Latency;
}
