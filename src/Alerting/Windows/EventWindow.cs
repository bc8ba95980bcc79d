using Platform.Alerting.Rules;

namespace Platform.Alerting.Windows;

/// <summary>A stretch of event time, [From, Until), in which the condition held. Microseconds since 1970.</summary>
/// <param name="From">Time of the hit with which it began to hold.</param>
/// <param name="Until">When it ceased, or will cease if no further hit comes.</param>
/// <param name="Value">What was found at <paramref name="From"/>: hits, different values, a part of 1, or km/h.</param>
public readonly record struct Episode(long From, long Until, double Value)
{
    public bool Overlaps(Episode other) => From < other.Until && other.From < Until;

    public bool Contains(long time) => From <= time && time < Until;
}

/// <summary>How a rule counts. The window at time t is (t − <paramref name="Length"/>, t]; microseconds.</summary>
/// <param name="Lateness">Hits that arrive this much later than newer ones are still counted exactly.</param>
/// <param name="MaxHits">No more than this many hits are kept, the newest; at least twice the threshold.</param>
/// <param name="Condition">What is asked beyond the number; null: nothing.</param>
/// <param name="Patience">How long an absence goes on before nobody waits any more.</param>
public sealed record WindowShape(int Threshold, long Length, long Lateness, int MaxHits, Condition? Condition = null, long Patience = 0)
{
    private const int MostPlaces = 200;

    public static WindowShape Of(Rule rule, WindowOptions options)
    {
        var threshold = rule.Condition is Condition.Sequence sequence ? sequence.Count : rule.Threshold;
        return new WindowShape(
            rule.Threshold, rule.WindowSeconds * 1_000_000L, (long)options.Lateness.TotalMicroseconds,
            rule.Condition is Condition.Travel ? MostPlaces : Math.Max(2 * threshold, options.MaxHits), rule.Condition, (long)options.Patience.TotalMicroseconds);
    }

    /// <summary>How far back a hit can matter to the truth at a moment: an episode may last for a window after what took a window to happen.</summary>
    public long Reach => Condition switch
    {
        Condition.Sequence sequence => 2 * Length + sequence.WithinSeconds * 1_000_000L,
        Condition.Travel => 2 * Length,
        _ => Length,
    };

    /// <summary>Whether a further hit can make untrue what was true.</summary>
    public bool IsFickle => Condition is Condition.Ratio or Condition.Distinct { AtMostEach.Count: > 0 };

    /// <summary>How much longer than <see cref="Reach"/> a window is of use, lateness aside.</summary>
    public long Rest => Condition is Condition.Absence ? Patience : 0;

    /// <summary>All episodes that ascending <paramref name="hits"/> make, in order; they do not touch each other.</summary>
    /// <param name="floor">Before this, hits may be missing, which would let a fickle condition hold where it did not: nothing begins there.</param>
    public List<Episode> EpisodesOf(ReadOnlySpan<Hit> hits, long floor = long.MinValue) => Condition switch
    {
        null => Counting.Episodes(hits, this),
        Condition.Distinct distinct => Sweep.Episodes(hits, Length, new DistinctGauge(distinct, Threshold), IsFickle ? floor : long.MinValue),
        Condition.Ratio ratio => Sweep.Episodes(hits, Length, new RatioGauge(ratio), floor),
        Condition.Sequence sequence => Counting.Episodes(Following.Find(hits, sequence, Length), Length),
        Condition.Travel travel => Counting.Episodes(Journey.TooFast(hits, travel, Length), Length),
        Condition.Absence => Silence.Episodes(hits, Length, Patience),
        _ => throw new NotSupportedException($"No window counts by {Condition.GetType().Name}."),
    };

    /// <summary>The same hits in fewer, where the condition cannot tell the difference.</summary>
    public Hit[] Compact(Hit[] hits) => Condition switch
    {
        Condition.Ratio => RatioGauge.Sum(hits),
        Condition.Absence => Silence.Thin(hits, Length),
        Condition.Sequence => [.. hits.Where((hit, i) => i == 0 || hit.A == 0 || hit != hits[i - 1])],
        _ => hits,
    };

    /// <summary>The time that a hit is counted at. A ratio counts by sixtieths of its window, so that its size does not depend on the traffic.</summary>
    public long Rounded(long time)
    {
        var grain = Math.Max(Length / 60, 1_000_000);
        return Condition is Condition.Ratio ? time - ((time % grain) + grain) % grain : time;
    }
}

/// <summary>What new hits mean for the alert of a window.</summary>
public abstract record WindowNews
{
    /// <summary>The episode that had an open alert is over since <paramref name="Until"/>.</summary>
    public sealed record Ended(long Until) : WindowNews;

    /// <summary>An episode began; its alert is the open one from now on.</summary>
    public sealed record Began(Episode Episode) : WindowNews;

    /// <summary>An episode came to light that was over before the one that is known. Its alert begins and ends at once.</summary>
    public sealed record Passed(Episode Episode) : WindowNews;
}

/// <summary>
/// Counting by event time. Everything follows from the set of hits, not from the order or the moment in which they arrive: the same
/// hits make the same episodes, in one batch or in many, live or replayed, as long as none is later than the lateness.
/// What was told and turns out not to have been so, because a late hit speaks against it, ends.
/// </summary>
/// <param name="Hits">What is kept, ascending.</param>
/// <param name="Latest">The latest episode that is known.</param>
/// <param name="Open">Whether that episode's alert was not yet seen to be over.</param>
public sealed record EventWindow(Hit[] Hits, Episode? Latest, bool Open)
{
    public static readonly EventWindow Empty = new([], null, false);

    /// <param name="arrived">The new hits, in any order; not empty.</param>
    /// <param name="place">How far the source of the hits has come.</param>
    public (EventWindow Window, IReadOnlyList<WindowNews> News) Add(IReadOnlyCollection<Hit> arrived, long place, WindowShape shape)
    {
        Hit[] merged = [.. Hits, .. arrived.Select(hit => hit with { At = shape.Rounded(hit.At) })];
        Array.Sort(merged, Hit.InOrder);
        merged = shape.Compact(merged);

        // What lay beyond the newest hit was a forecast.
        var horizon = Hits.Length > 0 ? Hits[^1].At : long.MinValue;
        var floor = Hits.Length == 0 ? long.MinValue : Hits.Length < shape.MaxHits ? horizon - shape.Lateness : Math.Max(horizon - shape.Lateness, Hits[0].At + shape.Reach);
        var known = shape.EpisodesOf(Hits, floor).ConvertAll(episode => episode with { Until = Math.Min(episode.Until, Math.Max(episode.From, horizon) + 1) });
        var found = shape.EpisodesOf(merged, floor);
        var news = new List<WindowNews>();
        var (latest, open) = (Latest, Open);
        Episode? same = null;
        if (latest is { } before)
        {
            var until = before.Until;
            var sure = Math.Min(Math.Max(horizon, before.From), before.Until - 1);
            if (found.FindIndex(episode => episode.Contains(sure)) is >= 0 and var index)
            {
                same = found[index];
                until = same.Value.Until;
            }
            else if (before.Until > horizon && Hits.Length < shape.MaxHits)
            {
                // A late hit speaks against what was told.
                until = found.Where(episode => episode.Until <= sure && episode.Until > before.From).Select(episode => episode.Until).DefaultIfEmpty(before.From).Max();
            }

            // An end that was reached stays, unless the episode went on.
            until = before.Until <= horizon ? Math.Max(until, before.Until) : until;
            latest = before with { Until = until };
            // Taken for over, but it went on, and the source is still inside it: people must hear of it again.
            if (!open && until > before.Until && until > place)
            {
                news.Add(new WindowNews.Began(new Episode(arrived.Min(hit => hit.At), until, same?.Value ?? before.Value)));
                open = true;
            }
        }

        foreach (var episode in found)
        {
            if (episode == same || (latest is { } last && last.Overlaps(episode)) || (episode.From <= horizon && known.Exists(episode.Overlaps)))
            {
                continue;
            }

            if (latest is { } former && episode.From < former.From)
            {
                news.Add(new WindowNews.Passed(episode));
                continue;
            }

            if (open)
            {
                news.Add(new WindowNews.Ended(latest!.Value.Until));
            }

            news.Add(new WindowNews.Began(episode));
            (latest, open) = (episode, true);
        }

        return (new EventWindow(Keep(merged, shape), latest, open), news);
    }

    private static Hit[] Keep(Hit[] merged, WindowShape shape)
    {
        var oldest = merged[^1].At - shape.Reach - shape.Lateness;
        var first = Math.Max(merged.Length - shape.MaxHits, 0);
        while (merged[first].At <= oldest)
        {
            first++;
        }

        return merged[first..];
    }
}
