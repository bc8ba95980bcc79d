using System.Text.Json.Serialization;
using Platform.Alerting.Canaries;
using Platform.Alerting.Routing;
using Platform.PromQL;

namespace Platform.Alerting.Silences;

public enum SilenceState
{
    Pending,
    Active,
    Expired,
}

/// <summary>Alerts that all matchers take are not told while it is active. It is kept when it is over, so that who silenced what, and why, stays known.</summary>
/// <param name="Realm">Whose alerts; <c>*</c> for those of every realm.</param>
/// <param name="Owner">Who made it.</param>
/// <param name="EndsAt">Exclusive. Ending it early moves this.</param>
/// <param name="Version">Grows with each change; send it with a change to be refused when somebody else was faster.</param>
public sealed record Silence(
    Guid Id,
    string Realm,
    [property: JsonIgnore] IReadOnlyList<Matcher> Matching,
    string Owner,
    string Comment,
    DateTimeOffset StartsAt,
    DateTimeOffset EndsAt,
    DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt,
    string UpdatedBy,
    int Version) : IOfRealm
{
    /// <summary>Set when the matchers could not be read back: as they are stored. Such a silence takes nothing; it can be seen, changed and ended.</summary>
    [JsonIgnore]
    public IReadOnlyList<string>? Unreadable { get; init; }

    /// <summary>What other tools keep with it, a ticket for example; the platform reads none of it.</summary>
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = new Dictionary<string, string>();

    /// <summary>As Alertmanager writes them.</summary>
    public IReadOnlyList<string> Matchers => Unreadable ?? [.. Matching.Select(MatcherNotation.Write)];

    /// <summary>The same with its matchers, or with what could not be read as such.</summary>
    internal Silence With(IReadOnlyList<Matcher>? matching, IReadOnlyList<string> written) => this with { Matching = matching ?? [], Unreadable = matching is null ? written : null };

    public SilenceState StateAt(DateTimeOffset now) => EndsAt <= now ? SilenceState.Expired : StartsAt > now ? SilenceState.Pending : SilenceState.Active;

    /// <summary>A silence of all realms does not hold for test alerts: they tell whether people can be reached, whatever is kept from them.</summary>
    public bool Holds(string realm, Labels labels, DateTimeOffset now) =>
        Unreadable is null && StateAt(now) == SilenceState.Active && (Realm == realm || (Realm == ServiceDefaults.Realm.All && realm != Canary.Realm)) && Matching.AllMatch(labels);
}
