using System.Collections.Concurrent;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>Which series have which labels.</summary>
internal sealed class LiveIndex
{
    private readonly ConcurrentDictionary<LiveSeries, bool> _series = new(ReferenceEqualityComparer.Instance);

    public void Add(LiveSeries series) => _series.TryAdd(series, true);

    public void Remove(LiveSeries series) => _series.TryRemove(series, out _);

    public List<LiveSeries> Select(IReadOnlyList<Matcher> matchers)
    {
        var found = new List<LiveSeries>();
        foreach (var (series, _) in _series)
        {
            var accepted = true;
            foreach (var matcher in matchers)
            {
                accepted &= matcher.Matches(series.Labels[matcher.Name]);
            }

            if (accepted)
            {
                found.Add(series);
            }
        }

        return found;
    }
}
