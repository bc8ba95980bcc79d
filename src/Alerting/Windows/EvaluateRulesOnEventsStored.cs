using System.ComponentModel.DataAnnotations;
using System.Globalization;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Canaries;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Windows;

public sealed class WindowOptions
{
    /// <summary>Events that arrive this much later than newer ones of their group are still counted exactly.</summary>
    [Setting("ALERT_EVENT_LATENESS_SECONDS"), Range(0, 86_400)]
    public TimeSpan Lateness { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Groups counted apart per rule and realm. Further ones are counted together as the group <c>(other)</c>.</summary>
    [Setting("ALERT_MAX_GROUPS_PER_RULE"), Range(1, 10_000_000)]
    public int MaxGroups { get; init; } = 100_000;

    /// <summary>Rules over events that a realm may have, those of the platform not counted.</summary>
    [Setting("ALERT_MAX_EVENT_RULES"), Range(1, 100_000)]
    public int MaxRules { get; init; } = 1_000;

    /// <summary>Hits that are kept of one group, the newest; never fewer than twice what the rule needs. It also bounds how many different values are told apart.</summary>
    [Setting("ALERT_MAX_HITS_PER_WINDOW"), Range(100, 100_000)]
    public int MaxHits { get; init; } = 1_000;

    /// <summary>An absence that goes on for this long is no alert any more: nobody waits for that group.</summary>
    [Setting("ALERT_ABSENCE_PATIENCE_HOURS"), Range(1, 8_760)]
    public TimeSpan Patience { get; init; } = TimeSpan.FromDays(7);

    /// <summary>An alert resolves this long after its count fell below the threshold, so that events on their way are not missed.</summary>
    [Setting("ALERT_RESOLVE_GRACE_SECONDS"), Range(0, 3_600)]
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(2);
}

/// <summary>
/// Evaluates the rules for a batch of events: match, lock the windows that are hit, add, and fire or resolve what follows from it, all
/// in the transaction that remembers the batch as handled. So a batch counts once, whatever crashes and whoever handles it. A group that
/// fails alone is left out, with an error: the others of the batch count.
/// </summary>
public sealed partial class EvaluateRulesOnEventsStored(
    AlertStore alerts,
    SourceClocks clocks,
    GroupCounts counts,
    Flusher flusher,
    WindowOptions options,
    AlertingMetrics metrics,
    TimeProvider clock,
    ILogger<EvaluateRulesOnEventsStored> logger) : IConsumer<EventsStored>
{
    internal const string Over = "The count fell below the threshold.";
    internal const string CeasedToHold = "The condition does not hold any more.";
    internal const string CameBack = "An event came, or nobody waits for it any more.";
    private const string Other = "(other)";
    private const long Tolerance = 60_000_000;
    private const int MostSaid = 10;
    private const string Savepoint = "groups";

    // One batch is handled at a time, so plain fields are enough.
    private RuleIndex _rules = RuleIndex.Empty;
    private BatchMatch _match = new();
    private long _at;
    private bool _told;

    public async Task HandleAsync(EventsStored message, NpgsqlTransaction tx, CancellationToken ct)
    {
        _told = false;
        var version = await RuleStore.HoldVersionAsync(tx, ct);
        if (_rules.Version != version)
        {
            _rules = new RuleIndex(version, [Canary.Rule, .. await RuleStore.ListAllAsync(tx, ct)]);
        }

        var now = BatchMatch.Microseconds(clock.GetUtcNow());
        var match = BatchMatch.Of(message.Events, _rules, now + Tolerance);
        (_match, _at) = (match, now);
        metrics.Evaluated(message.Events.Count, match.Hits);
        if (match.Groups.Count > 0)
        {
            var skipped = 0;
            // In one order everywhere, as windows are locked.
            await Halving.EachAsync(
                [.. match.Groups.OrderBy(group => group.Key)],
                groups => AddApartAsync(tx, groups, now, ct),
                (group, error) =>
                {
                    metrics.SetAside("events");
                    if (skipped++ < MostSaid)
                    {
                        Skipped(error, group.Rule.Name, group.Realm, group.Hits.Count);
                    }
                },
                // Not the group's fault: the whole batch comes again.
                error => error is NpgsqlException { IsTransient: true } || tx.Connection is not { State: System.Data.ConnectionState.Open } ? Task.FromException(error) : Task.CompletedTask,
                ct);
        }
    }

    // Nothing is left of it when it fails, and the transaction goes on.
    private async Task AddApartAsync(NpgsqlTransaction tx, IReadOnlyList<GroupHits> groups, long now, CancellationToken ct)
    {
        await tx.SaveAsync(Savepoint, ct);
        try
        {
            var counted = await BoundAsync(tx, await Tails.PullAsync(tx, [.. groups], clock.GetUtcNow(), ct), ct);
            if (counted.Count > 0)
            {
                await AddAsync(tx, counted, now, ct);
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested && error is not NpgsqlException { IsTransient: true } && tx.Connection is { State: System.Data.ConnectionState.Open })
        {
            await tx.RollbackAsync(Savepoint, ct);
            throw;
        }

        await tx.ReleaseAsync(Savepoint, ct);
    }

    internal static string OverOf(Condition? condition) => condition switch { null => Over, Condition.Absence => CameBack, _ => CeasedToHold };

    public void Committed()
    {
        foreach (var ((realm, source), newest) in _match.Sources)
        {
            clocks.Observe(realm, source, newest, _at);
        }

        if (_told)
        {
            flusher.Wake();
        }
    }

    private async Task AddAsync(NpgsqlTransaction tx, IReadOnlyList<GroupHits> groups, long now, CancellationToken ct)
    {
        var (windows, created) = await WindowStore.LockAsync(tx, groups, ct);
        counts.Created(created);
        var at = clock.GetUtcNow();
        var saved = new List<StoredWindow>(groups.Count);
        var ended = new List<(Guid Alert, DateTimeOffset EndsAt, string Reason)>();
        var passed = new List<(Alert Alert, DateTimeOffset EndsAt, string Reason)>();
        var began = new List<(int Window, Alert Alert)>();
        foreach (var group in groups)
        {
            var (window, news) = Add(group, windows[group.Key], now);
            var reason = OverOf(group.Rule.Condition);
            Alert? begun = null;
            foreach (var one in news)
            {
                switch (one)
                {
                    case WindowNews.Began(var episode):
                        begun = Describe(group, episode, at);
                        break;
                    case WindowNews.Ended(var until) when begun is not null:
                        passed.Add((begun, BatchMatch.Time(until), reason));
                        begun = null;
                        break;
                    case WindowNews.Ended(var until):
                        ended.Add((window.AlertId!.Value, BatchMatch.Time(until), reason));
                        window = window with { AlertId = null };
                        break;
                    case WindowNews.Passed(var episode):
                        passed.Add((Describe(group, episode, at), BatchMatch.Time(episode.Until), reason));
                        break;
                }
            }

            if (begun is not null)
            {
                began.Add((saved.Count, begun));
            }

            saved.Add(window);
        }

        // In the order of their times: of one label set, an episode ends before the next one begins.
        _told |= ended.Count + passed.Count + began.Count > 0;
        await alerts.ResolveAllAsync(tx, ended, at, ct);
        await alerts.FirePassedAsync(tx, passed, at, ct);
        var fired = await alerts.FireAllAsync(tx, began.ConvertAll(one => one.Alert), ct);
        foreach (var (one, alert) in began.Zip(fired))
        {
            saved[one.Window] = saved[one.Window] with { AlertId = alert };
        }

        await WindowStore.SaveAsync(tx, saved, ct);
    }

    // The alert of the window is still the one from before the news.
    private (StoredWindow Window, IReadOnlyList<WindowNews> News) Add(GroupHits group, StoredWindow window, long now)
    {
        var shape = WindowShape.Of(group.Rule, options);
        var place = clocks.Position(group.Realm, group.Source, _match.Sources.GetValueOrDefault((group.Realm, group.Source), group.Newest), now);
        var (counted, news) = new EventWindow(window.Hits, window.Latest, window.AlertId is not null).Add(group.Hits, place, shape);
        var newest = counted.Hits[^1].At;
        // A sender that lags behind its source's other senders lags with the rest of its events, too.
        var lag = Math.Max(0, place - newest);
        return (window with
        {
            Source = group.Newest >= newest ? group.Source : window.Source,
            Hits = counted.Hits,
            Latest = counted.Latest,
            Position = newest + lag,
            SeenAt = now,
            ResolveAt = counted.Latest?.Until + lag,
            ForgetAt = newest + shape.Reach + shape.Rest + shape.Lateness + lag,
            FireAt = shape.Condition is Condition.Absence ? newest + shape.Length + lag : null,
        }, news);
    }

    internal static Alert Describe(GroupHits group, Episode episode, DateTimeOffset now)
    {
        var rule = group.Rule;
        var groupLabels = rule.GroupLabels(group.Values);
        var identity = new Dictionary<string, string>(rule.Labels);
        foreach (var (label, value) in groupLabels)
        {
            identity[label] = value;
        }

        (identity["alertname"], identity["realm"], identity["rule_id"]) = (rule.Name, group.Realm, rule.Id.ToString());
        var of = groupLabels.Count == 0 ? "" : $" for {string.Join(", ", groupLabels.Select(label => $"{label.Key} {label.Value}"))}";
        // Of a sequence, both steps belong to the story, and they share nothing but what they are grouped by.
        var tags = rule.Condition switch
        {
            Condition.Sequence => [],
            Condition.Ratio ratio => new Dictionary<string, string>(ratio.Of.Tags),
            _ => new Dictionary<string, string>(rule.Match.Tags),
        };
        for (var i = 0; i < rule.GroupBy.Count; i++)
        {
            if (EventField.Parse(rule.GroupBy[i]) is { IsTag: true } field && group.Values[i] is { Length: > 0 } value && value != Other && !EventField.IsCut(value))
            {
                tags[field.Name] = value;
            }
        }

        var annotations = new Dictionary<string, string>(rule.Annotations)
        {
            ["summary"] = $"{Finding(rule, episode)}{of}",
            ["description"] = rule.Description,
        };
        var threshold = rule.Condition switch
        {
            Condition.Ratio ratio => ratio.AtLeast,
            Condition.Sequence sequence => sequence.Count,
            Condition.Travel travel => travel.KilometresPerHour,
            Condition.Distinct distinct when rule.Threshold == 1 => distinct.AtLeast.GetValueOrDefault(distinct.Fields[0], 1),
            _ => rule.Threshold,
        };
        return Alert.Fire(
            group.Realm,
            rule.GroupKey(group.Realm, group.Values),
            rule.Id,
            rule.Name,
            rule.Severity,
            AlertSource.Rule,
            identity,
            groupLabels,
            annotations,
            tags,
            episode.Value,
            threshold,
            BatchMatch.Time(episode.From),
            now,
            new AlertReason(episode.Value, threshold, rule.WindowSeconds, rule.Version, rule.Match, group.Values, annotations["summary"], rule.InWords()));
    }

    private static string Finding(Rule rule, Episode episode) => rule.Condition switch
    {
        null => string.Create(CultureInfo.InvariantCulture, $"{episode.Value} events within {rule.WindowSeconds} s"),
        Condition.Distinct distinct => string.Create(CultureInfo.InvariantCulture,
            $"{episode.Value} {(rule.Threshold > 1 || !distinct.AtLeast.ContainsKey(distinct.Fields[0]) ? "events" : $"values of {distinct.Fields[0]}")} within {rule.WindowSeconds} s"),
        Condition.Ratio => string.Create(CultureInfo.InvariantCulture, $"{100 * episode.Value:0.#} % of the events within {rule.WindowSeconds} s"),
        Condition.Sequence { Count: 1 } => $"One event followed another within {rule.WindowSeconds} s",
        Condition.Sequence sequence => $"An event followed {sequence.Count} others within {rule.WindowSeconds} s",
        Condition.Absence => $"No event for {rule.WindowSeconds} s",
        Condition.Travel => string.Create(CultureInfo.InvariantCulture, $"{episode.Value:0} km/h from one event to another"),
        _ => "The condition holds",
    };

    // Beyond the limit, groups that are not counted yet are folded into one; those that are counted go on as they were.
    private async Task<IReadOnlyList<GroupHits>> BoundAsync(NpgsqlTransaction tx, List<GroupHits> groups, CancellationToken ct)
    {
        var bounded = new List<GroupHits>(groups.Count);
        // A rule of all realms counts each realm's groups apart: one with many users leaves the others theirs.
        foreach (var ofRule in groups.GroupBy(group => (group.Rule, group.Realm)))
        {
            var all = ofRule.ToList();
            var room = options.MaxGroups - counts.Of(ofRule.Key.Rule.Id, ofRule.Key.Realm);
            if (all.Count <= room)
            {
                bounded.AddRange(all);
                continue;
            }

            var existing = (await WindowStore.ExistingAsync(tx, [.. all.Select(group => group.Key)], ct)).ToHashSet();
            GroupHits? other = null;
            var groupsFolded = 0;
            foreach (var group in all)
            {
                // A sender may have a value of that name, too; a window must not be in the batch twice.
                var isOther = group.Values.Length > 0 && group.Values.All(value => value == Other);
                if (!isOther && (existing.Contains(group.Key) || room-- > 0))
                {
                    bounded.Add(group);
                    continue;
                }

                groupsFolded++;
                // What several keys did together is no sequence, no journey, and no absence.
                if (group.Rule.Condition is Condition.Sequence or Condition.Absence or Condition.Travel)
                {
                    continue;
                }

                other ??= new GroupHits(group.Rule, group.Realm, [.. group.Values.Select(_ => Other)]);
                other.Add(group);
            }

            if (other is not null)
            {
                bounded.Add(other);
            }

            if (groupsFolded > 0)
            {
                metrics.Folded(groupsFolded);
                Folded(ofRule.Key.Rule.Name, options.MaxGroups, ofRule.Key.Realm);
            }
        }

        return bounded;
    }

    [LoggerMessage(LogLevel.Error, "{Hits} events of a group of the rule {Rule} in realm {Realm} were not counted, because counting them fails. All other groups of the batch were")]
    private partial void Skipped(Exception error, string rule, string realm, int hits);

    [LoggerMessage(LogLevel.Warning, "The rule {Rule} has {Limit} groups in realm {Realm}; further ones are counted together, or not at all. Group by something with fewer values, or raise ALERT_MAX_GROUPS_PER_RULE")]
    private partial void Folded(string rule, int limit, string realm);
}

/// <summary>About how many windows each rule has in each realm: counted now and then, plus what this process made since.</summary>
public sealed class GroupCounts
{
    private Dictionary<(Guid Rule, string Realm), long> _counts = [];

    public long Of(Guid rule, string realm) => Volatile.Read(ref _counts).GetValueOrDefault((rule, realm));

    /// <summary>Called by the consumer only.</summary>
    public void Created(IReadOnlyCollection<(Guid Rule, string Realm)> windows)
    {
        if (windows.Count > 0)
        {
            var counts = new Dictionary<(Guid, string), long>(Volatile.Read(ref _counts));
            foreach (var window in windows)
            {
                counts[window] = counts.GetValueOrDefault(window) + 1;
            }

            Volatile.Write(ref _counts, counts);
        }
    }

    public void Counted(IEnumerable<(Guid Rule, string Realm, long Windows)> counts) => Volatile.Write(ref _counts, counts.ToDictionary(count => (count.Rule, count.Realm), count => count.Windows));
}
