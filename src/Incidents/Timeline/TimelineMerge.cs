namespace Platform.Incidents.Timeline;

/// <summary>Entries of one source in order, as far as they were read.</summary>
/// <param name="Complete">Whether nothing follows the last entry.</param>
public sealed record Stretch(IReadOnlyList<TimelineEntry> Entries, bool Complete)
{
    public static Stretch Nothing { get; } = new([], Complete: true);

    /// <summary>How far the source was read, when something follows: what lies beyond cannot be told yet. May lie before the first entry, when all that was read had been shown before.</summary>
    public TimelinePosition? Horizon { get; init; }
}

/// <summary>Several ordered sources as one.</summary>
public static class TimelineMerge
{
    /// <summary>
    /// The first <paramref name="limit"/> entries of all sources together. A source that was not read to its end holds the others back
    /// at its horizon: an entry of it that was not read might come first.
    /// </summary>
    /// <returns>The entries, and whether more may follow.</returns>
    public static (List<TimelineEntry> Entries, bool More) Merge(IReadOnlyList<Stretch> sources, bool descending, int limit)
    {
        var merged = new List<TimelineEntry>(limit);
        var next = new int[sources.Count];
        while (merged.Count < limit)
        {
            var first = -1;
            for (var source = 0; source < sources.Count; source++)
            {
                if (next[source] < sources[source].Entries.Count && (first < 0 || Before(Head(source), Head(first), descending)))
                {
                    first = source;
                }
            }

            if (first < 0 || sources.Any(source => source is { Complete: false, Horizon: { } horizon } && Before(horizon, Head(first), descending)))
            {
                break;
            }

            merged.Add(sources[first].Entries[next[first]++]);
        }

        var more = sources.Where((source, index) => next[index] < source.Entries.Count || !source.Complete).Any();
        return (merged, more);

        TimelinePosition Head(int source) => sources[source].Entries[next[source]].Position;
    }

    /// <summary>Whether one place comes before another in the order of reading.</summary>
    public static bool Before(TimelinePosition one, TimelinePosition other, bool descending) =>
        descending ? one.CompareTo(other) > 0 : one.CompareTo(other) < 0;
}
