using System.Collections.Frozen;
using Platform.Contracts;

namespace Platform.Alerting.Rules;

/// <summary>
/// All enabled rules at one version, arranged so that an event that no rule wants costs a few look-ups, however many rules there are:
/// each rule waits under the value of one of its conditions. Immutable; readers use the old one or the new one.
/// </summary>
public sealed class RuleIndex
{
    public static readonly RuleIndex Empty = new(-1, []);

    private readonly FrozenDictionary<string, RealmRules> _realms;
    private readonly RealmRules _everywhere;

    public RuleIndex(long version, IReadOnlyCollection<Rule> rules)
    {
        Version = version;
        var enabled = rules.Where(rule => rule.Enabled).ToList();
        var everywhere = enabled.Where(rule => rule.Realm == ServiceDefaults.Realm.All).ToList();
        _everywhere = new RealmRules(everywhere);
        _realms = enabled
            .Where(rule => rule.Realm != ServiceDefaults.Realm.All)
            .GroupBy(rule => rule.Realm)
            .ToFrozenDictionary(group => group.Key, group => new RealmRules([.. group, .. everywhere]));
    }

    public long Version { get; }

    public RealmRules Of(string realm) => _realms.GetValueOrDefault(realm, _everywhere);
}

/// <summary>The rules that hold in one realm.</summary>
public sealed class RealmRules
{
    private readonly (EventField Field, FrozenDictionary<string, Waiting[]> ByValue)[] _probes;

    public RealmRules(IReadOnlyCollection<Rule> rules)
    {
        _probes = [.. rules
            .Select(rule => (Rule: rule, Conditions: rule.Match.Conditions().OrderBy(condition => Rank(condition.Field)).ThenBy(condition => condition.Field.Name, StringComparer.Ordinal).ToArray()))
            .GroupBy(rule => rule.Conditions[0].Field)
            .Select(probe => (probe.Key, probe
                .GroupBy(rule => rule.Conditions[0].Value)
                .ToFrozenDictionary(value => value.Key, value => value.Select(rule => new Waiting(rule.Rule, rule.Conditions[1..])).ToArray())))];
    }

    /// <summary>Adds the rules that match <paramref name="stored"/> to <paramref name="found"/>.</summary>
    public void Match(StoredEvent stored, List<Rule> found)
    {
        foreach (var (field, byValue) in _probes)
        {
            if (field.Read(stored) is not { } value || !byValue.TryGetValue(value, out var waiting))
            {
                continue;
            }

            foreach (var candidate in waiting)
            {
                if (candidate.Matches(stored))
                {
                    found.Add(candidate.Rule);
                }
            }
        }
    }

    // What an event does tells rules apart best; its type, hardly at all.
    private static int Rank(EventField field) => field switch
    {
        { IsTag: true, Name: "action" } => 0,
        { IsTag: true } => 1,
        { Name: "source" } => 2,
        { Name: "level" } => 3,
        _ => 4,
    };

    private sealed record Waiting(Rule Rule, (EventField Field, string Value)[] Others)
    {
        public bool Matches(StoredEvent stored)
        {
            foreach (var (field, value) in Others)
            {
                if (!field.Is(stored, value))
                {
                    return false;
                }
            }

            return true;
        }
    }
}
