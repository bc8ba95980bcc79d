using System.Security.Cryptography;
using System.Text;
using Platform.Alerting.Rules;
using Platform.Contracts;

namespace Platform.Alerting.Windows;

/// <summary>The hits that one batch brings for one rule, realm and group.</summary>
public sealed class GroupHits(Rule rule, string realm, string[] values)
{
    public Rule Rule => rule;

    public string Realm => realm;

    public string[] Values => values;

    /// <summary>As they came.</summary>
    public List<Hit> Hits { get; } = [];

    /// <summary>Source of the newest hit.</summary>
    public string Source { get; private set; } = "";

    public long Newest { get; private set; } = long.MinValue;

    /// <summary>The window's key: the first 16 bytes of a hash, because group values are as long as senders like.</summary>
    public Guid Key => KeyOf(rule.Id, realm, values);

    /// <summary>Whether there is a hit that means something without others that came before.</summary>
    public bool StandsAlone => rule.Condition is not Condition.Sequence || Hits.Exists(hit => hit.A == 0);

    public void Add(Hit hit, string source)
    {
        Hits.Add(hit);
        if (hit.At >= Newest)
        {
            (Newest, Source) = (hit.At, source);
        }
    }

    public void Add(GroupHits other)
    {
        Hits.AddRange(other.Hits);
        if (other.Newest >= Newest)
        {
            (Newest, Source) = (other.Newest, other.Source);
        }
    }

    public static Guid KeyOf(Guid rule, string realm, string[] values) =>
        new(SHA256.HashData(Encoding.UTF8.GetBytes($"{rule}\0{realm}\0{string.Join('\0', values)}")).AsSpan(0, 16));
}

/// <summary>What one batch of events means: the groups it hits, and how far its sources have come. No state, no I/O.</summary>
public sealed class BatchMatch
{
    private readonly Dictionary<(Guid Rule, string Realm, string Group), GroupHits> _groups = [];

    public IReadOnlyCollection<GroupHits> Groups => _groups.Values;

    public Dictionary<(string Realm, string Source), long> Sources { get; } = [];

    public int Hits { get; private set; }

    /// <param name="latest">An event that says it happened after this happened at this: one broken clock must not make all other hits old.</param>
    public static BatchMatch Of(IReadOnlyList<StoredEvent> events, RuleIndex rules, long latest)
    {
        var match = new BatchMatch();
        var found = new List<Interest>();
        string? realm = null, source = null;
        RealmRules? realmRules = null;
        var newest = long.MinValue;
        foreach (var stored in events)
        {
            // Neighbours mostly share realm and source; comparing does not make strings.
            if (realm is null || !stored.FieldIs("realm", realm) || !stored.FieldIs("source", source!))
            {
                match.Saw(realm, source, newest);
                (realm, source, newest) = (stored.Realm, stored.Source, long.MinValue);
                realmRules = rules.Of(realm);
            }

            var time = Math.Min(Microseconds(stored.Timestamp), latest);
            newest = Math.Max(newest, time);
            found.Clear();
            realmRules!.Match(stored, found);
            foreach (var interest in found)
            {
                match.Take(interest, realm, source!, time, stored);
            }
        }

        match.Saw(realm, source, newest);
        return match;
    }

    public static long Microseconds(DateTimeOffset time) => (time.UtcTicks - DateTimeOffset.UnixEpoch.Ticks) / TimeSpan.TicksPerMicrosecond;

    public static DateTimeOffset Time(long microseconds) => DateTimeOffset.UnixEpoch.AddTicks(microseconds * TimeSpan.TicksPerMicrosecond);

    private void Take(Interest interest, string realm, string source, long time, StoredEvent stored)
    {
        if (interest.DetailsOf(stored, Time(time)) is not { } details)
        {
            return;
        }

        Hits++;
        var values = interest.KeyOf(stored);
        var key = (interest.Rule.Id, realm, string.Join('\0', values));
        if (!_groups.TryGetValue(key, out var group))
        {
            _groups.Add(key, group = new GroupHits(interest.Rule, realm, values));
        }

        group.Add(new Hit(time, details.A, details.B), source);
    }

    private void Saw(string? realm, string? source, long newest)
    {
        if (realm is not null && newest > long.MinValue)
        {
            Sources[(realm, source!)] = Math.Max(newest, Sources.GetValueOrDefault((realm, source!), long.MinValue));
        }
    }
}
