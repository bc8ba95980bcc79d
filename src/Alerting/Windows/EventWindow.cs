namespace Platform.Alerting.Windows;

/// <summary>A stretch of event time, [From, Until), in which the window never held fewer hits than the threshold. Microseconds since 1970.</summary>
/// <param name="From">Time of the hit that reached the threshold.</param>
/// <param name="Count">Hits in the window at <paramref name="From"/>.</param>
public readonly record struct Episode(long From, long Until, int Count)
{
    public bool Touches(Episode other) => From <= other.Until && other.From <= Until;
}

/// <summary>How a rule counts. The window at time t is (t − <paramref name="Length"/>, t]; microseconds.</summary>
/// <param name="Lateness">Hits that arrive this much later than newer ones are still counted exactly.</param>
/// <param name="MaxHits">No more than this many hits are kept, the newest; at least twice the threshold.</param>
public sealed record WindowShape(int Threshold, long Length, long Lateness, int MaxHits)
{
    public static WindowShape Of(Rules.Rule rule, TimeSpan lateness) =>
        new(rule.Threshold, rule.WindowSeconds * 1_000_000L, (long)lateness.TotalMicroseconds, Math.Max(2 * rule.Threshold, 1000));
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
/// </summary>
/// <param name="Hits">What is kept, ascending.</param>
/// <param name="Latest">The latest episode that is known.</param>
/// <param name="Open">Whether that episode's alert was not yet seen to be over.</param>
public sealed record EventWindow(long[] Hits, Episode? Latest, bool Open)
{
    public static readonly EventWindow Empty = new([], null, false);

    /// <param name="arrived">Times of the new hits, in any order; not empty.</param>
    /// <param name="place">How far the source of the hits has come.</param>
    public (EventWindow Window, IReadOnlyList<WindowNews> News) Add(IReadOnlyCollection<long> arrived, long place, WindowShape shape)
    {
        long[] merged = [.. Hits, .. arrived];
        Array.Sort(merged);
        var known = EpisodesOf(Hits, shape);
        if (Latest is { } recorded)
        {
            known.Add(recorded);
        }

        var found = EpisodesOf(merged, shape);
        var news = new List<WindowNews>();
        var (latest, open) = (Latest, Open);
        if (latest is { } before)
        {
            var until = found.Where(before.Touches).Select(episode => episode.Until).Append(before.Until).Max();
            latest = before with { Until = until };
            // Taken for over, but it went on, and the source is still inside it: people must hear of it again.
            if (!open && until > before.Until && until > place)
            {
                news.Add(new WindowNews.Began(new Episode(arrived.Min(), until, shape.Threshold)));
                open = true;
            }
        }

        foreach (var episode in found)
        {
            if (known.Exists(episode.Touches))
            {
                continue;
            }

            if (latest is { } former && episode.Until < former.From)
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

    /// <summary>All episodes that ascending <paramref name="hits"/> make, in order; they do not touch each other.</summary>
    public static List<Episode> EpisodesOf(ReadOnlySpan<long> hits, WindowShape shape)
    {
        var episodes = new List<Episode>();
        for (var i = shape.Threshold - 1; i < hits.Length; i++)
        {
            // The threshold is reached at this hit, and held until the oldest of the hits that reach it leaves the window.
            var until = hits[i - shape.Threshold + 1] + shape.Length;
            if (hits[i] >= until)
            {
                continue;
            }

            if (episodes.Count > 0 && hits[i] <= episodes[^1].Until)
            {
                episodes[^1] = episodes[^1] with { Until = until };
            }
            else
            {
                // Hits of the very same moment are all in the window at that moment.
                var last = i;
                while (last + 1 < hits.Length && hits[last + 1] == hits[i])
                {
                    last++;
                }

                episodes.Add(new Episode(hits[i], until, shape.Threshold + last - i));
            }
        }

        return episodes;
    }

    private static long[] Keep(long[] merged, WindowShape shape)
    {
        var oldest = merged[^1] - shape.Length - shape.Lateness;
        var first = Math.Max(merged.Length - shape.MaxHits, 0);
        while (merged[first] <= oldest)
        {
            first++;
        }

        return merged[first..];
    }
}
