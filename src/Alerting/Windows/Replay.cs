using Platform.Alerting.Rules;
using Platform.Contracts;

namespace Platform.Alerting.Windows;

/// <summary>An alert that a rule would have raised. Times are event times; an end beyond the last event is what follows if none comes.</summary>
/// <param name="Group">Values of the rule's <see cref="Rule.GroupBy"/>.</param>
public sealed record ReplayedEpisode(Rule Rule, string Realm, IReadOnlyList<string> Group, DateTimeOffset StartsAt, DateTimeOffset EndsAt, double Value);

/// <summary>
/// Runs rules over events that are there already, through the windows that live events go through, with nothing but memory around them.
/// What it says is what would have fired, had the events come in this order.
/// </summary>
/// <param name="groups">How many groups are told apart at most; events of further ones are left out.</param>
public sealed class Replay(RuleIndex rules, WindowOptions options, int groups)
{
    private readonly Dictionary<Guid, Group> _groups = [];

    public bool LeftOut { get; private set; }

    public int Hits { get; private set; }

    /// <param name="events">In order of time, unless the question is what happens when they are not.</param>
    public void Take(IReadOnlyList<StoredEvent> events)
    {
        var match = BatchMatch.Of(events, rules, long.MaxValue);
        Hits += match.Hits;
        foreach (var hits in match.Groups)
        {
            if (!_groups.TryGetValue(hits.Key, out var group))
            {
                // A second step without a first one needs no window here either: in order, it follows nothing.
                if (!hits.StandsAlone)
                {
                    continue;
                }

                if (_groups.Count >= groups)
                {
                    LeftOut = true;
                    continue;
                }

                _groups.Add(hits.Key, group = new Group(hits.Rule, hits.Realm, hits.Values, WindowShape.Of(hits.Rule, options)));
            }

            group.Add(hits.Hits);
        }
    }

    /// <summary>Everything that would have fired until then, oldest first.</summary>
    public IReadOnlyList<ReplayedEpisode> Episodes(DateTimeOffset until)
    {
        var end = BatchMatch.Microseconds(until);
        return [.. _groups.Values
            .SelectMany(group => group.Episodes(end).Select(episode => new ReplayedEpisode(
                group.Rule, group.Realm, group.Values, BatchMatch.Time(episode.From), BatchMatch.Time(episode.Until), episode.Value)))
            .OrderBy(episode => episode.StartsAt)];
    }

    private sealed class Group(Rule rule, string realm, string[] values, WindowShape shape)
    {
        private readonly List<Episode> _over = [];
        private EventWindow _window = EventWindow.Empty;
        private Episode? _open;

        public Rule Rule => rule;

        public string Realm => realm;

        public string[] Values => values;

        public void Add(IReadOnlyCollection<Hit> hits)
        {
            // A source that is never past an end: nothing is taken for over before the next hit says so.
            (_window, var news) = _window.Add(hits, long.MaxValue, shape);
            foreach (var one in news)
            {
                switch (one)
                {
                    case WindowNews.Ended ended when _open is { } open:
                        _over.Add(open with { Until = ended.Until });
                        break;
                    case WindowNews.Began began:
                        _open = began.Episode;
                        break;
                    case WindowNews.Passed passed:
                        _over.Add(passed.Episode);
                        break;
                }
            }
        }

        public IEnumerable<Episode> Episodes(long end)
        {
            IEnumerable<Episode> all = _open is { } open ? [.. _over, open with { Until = _window.Latest!.Value.Until }] : _over;
            if (shape.Condition is Condition.Absence && _window.Hits[^1].At + shape.Length is var silence && silence < end)
            {
                all = all.Append(new Episode(silence, Math.Min(end, silence + shape.Patience), 0));
            }

            return all;
        }
    }
}
