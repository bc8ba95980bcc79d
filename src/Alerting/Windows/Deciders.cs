using Platform.Alerting.Rules;

namespace Platform.Alerting.Windows;

/// <summary>A number of hits in the window, and nothing else.</summary>
internal static class Counting
{
    public static List<Episode> Episodes(ReadOnlySpan<Hit> hits, WindowShape shape)
    {
        var episodes = new List<Episode>();
        for (var i = shape.Threshold - 1; i < hits.Length; i++)
        {
            // The threshold is reached at this hit, and held until the oldest of the hits that reach it leaves the window.
            var until = hits[i - shape.Threshold + 1].At + shape.Length;
            if (hits[i].At >= until)
            {
                continue;
            }

            if (episodes.Count > 0 && hits[i].At <= episodes[^1].Until)
            {
                episodes[^1] = episodes[^1] with { Until = until };
            }
            else
            {
                // Hits of the very same moment are all in the window at that moment.
                var last = i;
                while (last + 1 < hits.Length && hits[last + 1].At == hits[i].At)
                {
                    last++;
                }

                episodes.Add(new Episode(hits[i].At, until, shape.Threshold + last - i));
            }
        }

        return episodes;
    }

    /// <summary>Moments that each speak for themselves: an episode lasts a window from the last one.</summary>
    public static List<Episode> Episodes(IEnumerable<(long At, double Value)> moments, long length)
    {
        var episodes = new List<Episode>();
        foreach (var (at, value) in moments)
        {
            if (episodes.Count > 0 && at <= episodes[^1].Until)
            {
                episodes[^1] = episodes[^1] with { Until = at + length };
            }
            else
            {
                episodes.Add(new Episode(at, at + length, value));
            }
        }

        return episodes;
    }
}

/// <summary>What is measured in a window while hits enter and leave it.</summary>
internal abstract class Gauge
{
    public abstract void Enter(Hit hit);

    /// <summary>Hits leave in the order in which they entered.</summary>
    public abstract void Leave(Hit hit);

    /// <summary>What there is now, and whether that is enough.</summary>
    public abstract (bool Holds, double Value) Read();
}

/// <summary>
/// Slides a window over the hits. An episode begins at a hit with which the gauge holds, and ends when it ceases to, be it that a hit
/// enters or that one leaves; that old hits leave begins none.
/// </summary>
internal static class Sweep
{
    public static List<Episode> Episodes(ReadOnlySpan<Hit> hits, long length, Gauge gauge, long floor)
    {
        var episodes = new List<Episode>();
        var inside = false;
        var (entering, leaving) = (0, 0);
        while (entering < hits.Length || (inside && leaving < entering))
        {
            var now = Math.Min(
                entering < hits.Length ? hits[entering].At : long.MaxValue,
                leaving < entering ? hits[leaving].At + length : long.MaxValue);
            while (leaving < entering && hits[leaving].At + length <= now)
            {
                gauge.Leave(hits[leaving++]);
            }

            var hit = false;
            while (entering < hits.Length && hits[entering].At <= now)
            {
                gauge.Enter(hits[entering++]);
                hit = true;
            }

            var (holds, value) = gauge.Read();
            if (inside && !holds)
            {
                episodes[^1] = episodes[^1] with { Until = now };
                inside = false;
            }
            else if (!inside && holds && hit && now >= floor)
            {
                episodes.Add(new Episode(now, now, value));
                inside = true;
            }
        }

        return episodes;
    }
}

/// <summary>So many hits with so many different values, those aside whose value too many share.</summary>
internal sealed class DistinctGauge : Gauge
{
    private readonly int _threshold;
    private readonly int _leastA;
    private readonly int _leastB;
    private readonly int _most;
    private readonly bool _limitsA;
    private readonly Dictionary<long, int> _a = [];
    private readonly Dictionary<long, int> _b = [];
    private readonly Dictionary<long, Queue<Hit>> _sharing = [];
    private int _hits;

    public DistinctGauge(Condition.Distinct condition, int threshold)
    {
        _threshold = threshold;
        var fields = condition.Fields;
        _leastA = condition.AtLeast.GetValueOrDefault(fields[0]);
        _leastB = fields.Length > 1 ? condition.AtLeast.GetValueOrDefault(fields[1]) : 0;
        if (condition.AtMostEach.Count > 0)
        {
            var (field, most) = condition.AtMostEach.First();
            (_most, _limitsA) = (most, field == fields[0]);
        }
    }

    public override void Enter(Hit hit)
    {
        if (_most == 0)
        {
            Count(hit, 1);
            return;
        }

        var value = _limitsA ? hit.A : hit.B;
        if (value == 0)
        {
            return;
        }

        if (!_sharing.TryGetValue(value, out var sharing))
        {
            _sharing.Add(value, sharing = new Queue<Hit>());
        }

        if (sharing.Count < _most)
        {
            Count(hit, 1);
        }
        else if (sharing.Count == _most)
        {
            foreach (var one in sharing)
            {
                Count(one, -1);
            }
        }

        sharing.Enqueue(hit);
    }

    public override void Leave(Hit hit)
    {
        if (_most == 0)
        {
            Count(hit, -1);
            return;
        }

        var value = _limitsA ? hit.A : hit.B;
        if (value == 0)
        {
            return;
        }

        var sharing = _sharing[value];
        sharing.Dequeue();
        if (sharing.Count < _most)
        {
            Count(hit, -1);
        }
        else if (sharing.Count == _most)
        {
            foreach (var one in sharing)
            {
                Count(one, 1);
            }
        }

        if (sharing.Count == 0)
        {
            _sharing.Remove(value);
        }
    }

    public override (bool Holds, double Value) Read() =>
        (_hits >= _threshold && _a.Count >= _leastA && _b.Count >= _leastB, _threshold > 1 || _leastA == 0 ? _hits : _a.Count);

    private void Count(Hit hit, int by)
    {
        _hits += by;
        Count(_a, hit.A, by);
        Count(_b, hit.B, by);
    }

    private static void Count(Dictionary<long, int> counts, long value, int by)
    {
        if (value == 0)
        {
            return;
        }

        var count = counts.GetValueOrDefault(value) + by;
        if (count == 0)
        {
            counts.Remove(value);
        }
        else
        {
            counts[value] = count;
        }
    }
}

/// <summary>The part of all hits that match.</summary>
internal sealed class RatioGauge(Condition.Ratio condition) : Gauge
{
    private long _all;
    private long _matching;

    /// <summary>One hit for each time: how many, and how many of them match.</summary>
    public static Hit[] Sum(Hit[] hits)
    {
        var sums = new List<Hit>(hits.Length);
        foreach (var hit in hits)
        {
            if (sums.Count > 0 && sums[^1].At == hit.At)
            {
                sums[^1] = new Hit(hit.At, sums[^1].A + hit.A, sums[^1].B + hit.B);
            }
            else
            {
                sums.Add(hit);
            }
        }

        return [.. sums];
    }

    public override void Enter(Hit hit) => (_all, _matching) = (_all + hit.A, _matching + hit.B);

    public override void Leave(Hit hit) => (_all, _matching) = (_all - hit.A, _matching - hit.B);

    public override (bool Holds, double Value) Read() =>
        (_all >= condition.Minimum && _matching >= condition.AtLeast * _all, _all == 0 ? 0 : (double)_matching / _all);
}

/// <summary>Hits that follow enough earlier ones soon enough.</summary>
internal static class Following
{
    public static List<(long At, double Value)> Find(ReadOnlySpan<Hit> hits, Condition.Sequence sequence, long length)
    {
        var within = sequence.WithinSeconds * 1_000_000L;
        var earlier = new List<long>();
        var found = new List<(long, double)>();
        long? complete = null;
        foreach (var hit in hits)
        {
            if (hit.A == 0)
            {
                earlier.Add(hit.At);
                if (earlier.Count >= sequence.Count && hit.At - earlier[^sequence.Count] < within)
                {
                    complete = hit.At;
                }
            }
            else if (complete is { } at && hit.At - at < length)
            {
                found.Add((hit.At, sequence.Count));
            }
        }

        return found;
    }
}

/// <summary>The time between two hits beyond a window's length.</summary>
internal static class Silence
{
    /// <summary>Only those that a further hit ended; the one after the last hit begins when the clock says so.</summary>
    public static List<Episode> Episodes(ReadOnlySpan<Hit> hits, long length, long patience)
    {
        var episodes = new List<Episode>();
        for (var i = 1; i < hits.Length; i++)
        {
            if (hits[i].At - hits[i - 1].At > length)
            {
                var from = hits[i - 1].At + length;
                episodes.Add(new Episode(from, Math.Min(hits[i].At, from + patience), 0));
            }
        }

        return episodes;
    }

    /// <summary>Without the hits whose neighbours are near enough to each other that no silence begins or ends at them.</summary>
    public static Hit[] Thin(Hit[] hits, long length)
    {
        var kept = new List<Hit>();
        for (var i = 0; i < hits.Length; i++)
        {
            if (kept.Count == 0 || i == hits.Length - 1 || hits[i + 1].At - kept[^1].At > length)
            {
                kept.Add(hits[i]);
            }
        }

        return [.. kept];
    }
}
