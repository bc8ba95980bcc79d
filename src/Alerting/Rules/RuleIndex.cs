using System.Collections.Frozen;
using System.Net;
using Platform.Alerting.Canaries;
using Platform.Alerting.Routing;
using Platform.Contracts;

namespace Platform.Alerting.Rules;

/// <summary>
/// All enabled rules at one version, arranged so that an event that no rule wants costs a few look-ups, however many rules there are:
/// each rule waits under the values of one of its conditions. Immutable; readers use the old one or the new one.
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
        var everywhere = enabled.Where(rule => rule.Realm == ServiceDefaults.Realm.All).SelectMany(Interest.Of).ToList();
        _everywhere = new RealmRules(everywhere);
        // No rule of people wants test alerts.
        _realms = enabled
            .Where(rule => rule.Realm != ServiceDefaults.Realm.All)
            .GroupBy(rule => rule.Realm)
            .ToFrozenDictionary(group => group.Key, group => new RealmRules([.. group.SelectMany(Interest.Of), .. group.Key == Canary.Realm ? [] : everywhere]));
    }

    public long Version { get; }

    public RealmRules Of(string realm) => _realms.GetValueOrDefault(realm, _everywhere);
}

/// <summary>The rules that hold in one realm.</summary>
public sealed class RealmRules
{
    private readonly (EventField Field, FrozenDictionary<string, Waiting[]> ByValue)[] _probes;

    public RealmRules(IReadOnlyCollection<Interest> interests)
    {
        _probes = [.. interests
            .Select(interest => (Interest: interest, Conditions: interest.Match.Conditions().OrderBy(condition => Rank(condition.Field)).ThenBy(condition => condition.Field.Name, StringComparer.Ordinal).ToArray()))
            .GroupBy(waiting => waiting.Conditions[0].Field)
            .Select(probe => (probe.Key, probe
                .SelectMany(waiting => waiting.Conditions[0].Values.Select(value => (Value: value, Waiting: new Waiting(waiting.Interest, new EventTest(waiting.Interest.Match, waiting.Conditions[1..])))))
                .GroupBy(waiting => waiting.Value)
                .ToFrozenDictionary(value => value.Key, value => value.Select(one => one.Waiting).ToArray())))];
    }

    /// <summary>Adds what wants <paramref name="stored"/> to <paramref name="found"/>.</summary>
    public void Match(StoredEvent stored, List<Interest> found)
    {
        foreach (var (field, byValue) in _probes)
        {
            if (field.Read(stored) is not { } value || !byValue.TryGetValue(value, out var waiting))
            {
                continue;
            }

            foreach (var candidate in waiting)
            {
                if (candidate.Others.Matches(stored))
                {
                    found.Add(candidate.Interest);
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

    private sealed record Waiting(Interest Interest, EventTest Others);
}

/// <summary>Conditions on an event, ready to be asked of many.</summary>
public sealed class EventTest
{
    private readonly (EventField Field, string[] Values)[] _values;
    private readonly EventField[] _present;
    private readonly EventField[] _absent;

    public EventTest(RuleMatch match) : this(match, [.. match.Conditions()])
    {
    }

    /// <param name="conditions">The part of the match's conditions that is to be asked.</param>
    public EventTest(RuleMatch match, IEnumerable<(EventField Field, IReadOnlyList<string> Values)> conditions)
    {
        _values = [.. conditions.Select(condition => (condition.Field, condition.Values.ToArray()))];
        _present = [.. (match.Present ?? []).Select(field => EventField.Parse(field)!.Value)];
        _absent = [.. (match.Absent ?? []).Select(field => EventField.Parse(field)!.Value)];
    }

    public bool Matches(StoredEvent stored)
    {
        foreach (var (field, values) in _values)
        {
            if (!IsOneOf(field, stored, values))
            {
                return false;
            }
        }

        foreach (var field in _present)
        {
            if (field.Read(stored) is null or "")
            {
                return false;
            }
        }

        foreach (var field in _absent)
        {
            if (field.Read(stored) is not (null or ""))
            {
                return false;
            }
        }

        return true;
    }

    private static bool IsOneOf(EventField field, StoredEvent stored, string[] values)
    {
        foreach (var value in values)
        {
            if (field.Is(stored, value))
            {
                return true;
            }
        }

        return false;
    }
}

/// <summary>What an event means to a rule that wants it.</summary>
public enum Step
{
    /// <summary>It is counted.</summary>
    Counted,

    /// <summary>It is the earlier step of a sequence.</summary>
    Earlier,
}

/// <summary>A kind of events that a rule wants, with everything that is looked up in them, parsed once.</summary>
public sealed class Interest
{
    private readonly EventField[][] _key;
    private readonly EventField[][] _otherKey;
    private readonly EventField[] _distinct;
    private readonly TimePart[] _notDuring;
    private readonly EventTest _part;
    private readonly EventTest? _other;
    private readonly IPNetwork[] _ignored;

    private Interest(Rule rule, Step step, RuleMatch match)
    {
        (Rule, Step, Match) = (rule, step, match);
        var sequence = rule.Condition as Condition.Sequence;
        _key = Keys(step == Step.Earlier ? sequence!.AfterGroupBy : rule.GroupBy);
        _otherKey = Keys(step == Step.Earlier || sequence is null ? rule.GroupBy : sequence.AfterGroupBy);
        _distinct = [.. ((rule.Condition as Condition.Distinct)?.Fields ?? []).Select(field => EventField.Parse(field)!.Value)];
        _notDuring = [.. rule.NotDuring.Select(WeeklyTimes.Parse)];
        _part = new EventTest(rule.Match);
        _other = sequence is not null && step == Step.Counted ? new EventTest(sequence.After) : null;
        _ignored = [.. ((rule.Condition as Condition.Travel)?.IgnoredNetworks ?? []).Select(IPNetwork.Parse)];
    }

    public Rule Rule { get; }

    public Step Step { get; }

    /// <summary>The events of this kind.</summary>
    public RuleMatch Match { get; }

    public static IEnumerable<Interest> Of(Rule rule) => rule.Condition switch
    {
        Condition.Ratio ratio => [new Interest(rule, Step.Counted, ratio.Of)],
        Condition.Sequence sequence => [new Interest(rule, Step.Earlier, sequence.After), new Interest(rule, Step.Counted, rule.Match)],
        null or Condition.Distinct or Condition.Absence or Condition.Travel => [new Interest(rule, Step.Counted, rule.Match)],
        _ => throw new NotSupportedException($"No rule counts by {rule.Condition.GetType().Name}."),
    };

    /// <summary>The values that the event is grouped by.</summary>
    public string[] KeyOf(StoredEvent stored) => Read(_key, stored);

    /// <summary>What the event says besides its time; null when it says nothing to this rule after all.</summary>
    public (long A, long B)? DetailsOf(StoredEvent stored, DateTimeOffset time)
    {
        if (_notDuring.Length > 0 && Array.Exists(_notDuring, part => part.Contains(time)))
        {
            return null;
        }

        return Rule.Condition switch
        {
            Condition.Distinct => (Windows.Hit.NumberOf(ValueOf(0, stored)), Windows.Hit.NumberOf(ValueOf(1, stored))),
            Condition.Ratio => (1, _part.Matches(stored) ? 1 : 0),
            Condition.Sequence => Step == Step.Earlier ? (0, 0) : IsItsOwnEarlierStep(stored) ? null : (1, 0),
            Condition.Travel => PlaceOf(stored),
            _ => (0, 0),
        };
    }

    private string? ValueOf(int field, StoredEvent stored) => field < _distinct.Length ? _distinct[field].Read(stored) : null;

    // An event that is both steps for the same key must not follow itself.
    private bool IsItsOwnEarlierStep(StoredEvent stored) => _other!.Matches(stored) && KeyOf(stored).SequenceEqual(Read(_otherKey, stored));

    private (long Latitude, long Longitude)? PlaceOf(StoredEvent stored)
    {
        if (stored.TagIs("proxy", "true")
            || Windows.Journey.Place(stored.Tag("latitude"), stored.Tag("longitude")) is not { } place
            || (_ignored.Length > 0 && IPAddress.TryParse(stored.Tag("ip_address"), out var address) && Array.Exists(_ignored, network => network.Contains(address))))
        {
            return null;
        }

        return place;
    }

    private static EventField[][] Keys(IReadOnlyList<string> groupBy) => [.. groupBy.Select(entry => entry.Split('|').Select(field => EventField.Parse(field)!.Value).ToArray())];

    private static string[] Read(EventField[][] key, StoredEvent stored)
    {
        var values = new string[key.Length];
        for (var i = 0; i < key.Length; i++)
        {
            values[i] = "";
            for (var j = 0; j < key[i].Length && values[i].Length == 0; j++)
            {
                values[i] = key[i][j].ReadForGroup(stored);
            }
        }

        return values;
    }
}
