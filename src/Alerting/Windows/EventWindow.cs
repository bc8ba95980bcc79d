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

/// <param name="Hits">What to keep, ascending.</param>
/// <param name="Begun">Episodes that nobody knew of before these hits, in order of time.</param>
/// <param name="Until">Where the latest known episode ends now; null when there was none.</param>
public sealed record WindowChange(long[] Hits, IReadOnlyList<Episode> Begun, long? Until);

/// <summary>
/// Counting by event time. Everything follows from the set of hits, not from the order or the moment in which they arrive: the same
/// hits make the same episodes, in one batch or in many, live or replayed, as long as none is later than the lateness.
/// </summary>
public static class EventWindow
{
    /// <param name="hits">What was kept so far, ascending.</param>
    /// <param name="latest">The latest episode known so far.</param>
    /// <param name="arrived">Times of the new hits, in any order; not empty.</param>
    public static WindowChange Add(long[] hits, Episode? latest, IReadOnlyCollection<long> arrived, WindowShape shape)
    {
        long[] merged = [.. hits, .. arrived];
        Array.Sort(merged);

        var known = EpisodesOf(hits, shape);
        if (latest is { } recorded)
        {
            known.Add(recorded);
        }

        var now = EpisodesOf(merged, shape);
        var begun = now.Where(episode => !known.Exists(episode.Touches)).ToList();
        long? until = latest is { } last
            ? now.Where(last.Touches).Select(episode => episode.Until).Append(last.Until).Max()
            : null;
        return new WindowChange(Keep(merged, shape), begun, until);
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
