namespace Platform.SampleStore;

/// <summary>
/// The samples of one series in memory: sealed chunks, and behind them the newest samples as plain columns, so that taking one in costs
/// a few nanoseconds. What comes too late for the open columns collects in columns of its own and is sealed as a chunk that overlaps
/// others; readers merge. Whatever a <see cref="BufferView"/> has seen stays as it was: sealed chunks are immutable, columns only grow
/// beyond the count that the view has, and everything else happens on copies.
/// </summary>
internal sealed class SampleBuffer
{
    private Segment[] _sealed = [];
    private OpenRun _open;
    private OpenRun _late;

    // The place in the order of application of the youngest commit whose samples are here: see Trim.
    private long _lastCommit;

    // Some reader may hold the open columns: they are left to it when they are sealed.
    private bool _viewed;

    /// <summary>Time of the newest sample that was ever here; <see cref="long.MinValue"/> before the first.</summary>
    public long MaxTime { get; private set; } = long.MinValue;

    /// <summary>Time of the oldest sample that was ever here.</summary>
    public long MinTime { get; private set; } = long.MaxValue;

    /// <summary>Nothing is here (any more).</summary>
    public bool IsEmpty => _open.Count == 0 && _late.Count == 0 && _sealed.Length == 0;

    /// <summary>Adds samples in any order. Of two samples with one time the first stays. The caller holds the lock on this object.</summary>
    /// <param name="sealAt">Samples in the open columns at which they are sealed.</param>
    /// <param name="commit">Place in the order in which this replica applies commits.</param>
    public void Add(ReadOnlySpan<long> times, ReadOnlySpan<double> values, int sealAt, long commit)
    {
        _lastCommit = Math.Max(_lastCommit, commit);
        while (!times.IsEmpty)
        {
            var run = Ascending(times, _open.Count == 0 ? MaxTime : _open.Last);
            if (run == 0)
            {
                AddLate(times[0], values[0], sealAt);
                run = 1;
            }
            else
            {
                run = Math.Min(run, Math.Max(1, sealAt - _open.Count));
                MinTime = Math.Min(MinTime, times[0]);
                MaxTime = Math.Max(MaxTime, times[run - 1]);
                _open.Append(times[..run], values[..run], sealAt);
                if (_open.Count >= sealAt)
                {
                    Seal(ref _open, sealAt);
                }
            }

            times = times[run..];
            values = values[run..];
        }
    }

    /// <summary>Everything that is here now. The caller holds the lock on this object; reading the view needs none.</summary>
    public BufferView View()
    {
        _viewed = true;
        return new BufferView(_sealed, _open, _late);
    }

    /// <summary>
    /// Reads from where the next sample will go, and nothing else. Series lie far apart in memory; a loop that asks many of them waits for
    /// all of them at once, where adding to one after the other would wait for each.
    /// </summary>
    public long Touch() => _open.Touch();

    /// <summary>
    /// Lets go of what ends before <paramref name="before"/>, as long as all of it came with commits up to <paramref name="settled"/>:
    /// those are chunks in the database by now. The caller holds the lock on this object.
    /// </summary>
    public void Trim(long before, long settled)
    {
        if (_sealed.Length > 0)
        {
            var kept = 0;
            foreach (var segment in _sealed)
            {
                kept += segment.To >= before || segment.Commit > settled ? 1 : 0;
            }

            if (kept < _sealed.Length)
            {
                var left = new Segment[kept];
                var at = 0;
                foreach (var segment in _sealed)
                {
                    if (segment.To >= before || segment.Commit > settled)
                    {
                        left[at++] = segment;
                    }
                }

                _sealed = left;
            }
        }

        if (_lastCommit > settled)
        {
            return;
        }

        if (_open.Count > 0 && _open.First < before)
        {
            _open = _open.Since(before);
        }

        if (_late.Count > 0 && _late.Last < before)
        {
            _late = default;
        }
    }

    /// <summary>Bytes and samples in sealed chunks, for the metrics.</summary>
    public (int Chunks, long Bytes, int Open) Size()
    {
        var bytes = 0L;
        foreach (var segment in _sealed)
        {
            bytes += segment.Bytes.Length;
        }

        return (_sealed.Length, bytes, _open.Capacity + _late.Capacity);
    }

    private static int Ascending(ReadOnlySpan<long> times, long after)
    {
        var count = 0;
        while (count < times.Length && times[count] > after)
        {
            after = times[count++];
        }

        return count;
    }

    private void AddLate(long time, double value, int sealAt)
    {
        MinTime = Math.Min(MinTime, time);
        // Within the open columns it is put in its place. Older than those, it joins the late ones.
        if (_open.Count > 0 && time >= _open.First)
        {
            _open.Insert(time, value);
            if (_open.Count >= sealAt)
            {
                Seal(ref _open, sealAt);
            }

            return;
        }

        _late.Insert(time, value);
        if (_late.Count >= sealAt)
        {
            Seal(ref _late, 0);
        }
    }

    // keep: the columns are used again if they have that much room at most; 0 lets them go.
    private void Seal(ref OpenRun run, int keep)
    {
        var segment = new Segment(run.First, run.Last, ChunkCodec.Encode(run.Times, run.Values), _lastCommit);
        var grown = new Segment[_sealed.Length + 1];
        var at = _sealed.Length;
        while (at > 0 && _sealed[at - 1].From > segment.From)
        {
            at--;
        }

        _sealed.AsSpan(0, at).CopyTo(grown);
        grown[at] = segment;
        _sealed.AsSpan(at).CopyTo(grown.AsSpan(at + 1));
        _sealed = grown;
        if (!_viewed && run.Capacity <= keep)
        {
            run.Empty();
            return;
        }

        run = default;
        // The late ones say nothing about who holds the open columns.
        _viewed &= keep == 0;
    }
}

/// <summary>Encoded samples, in memory or fetched from the database. Immutable.</summary>
/// <param name="From">Time of the first sample.</param>
/// <param name="To">Time of the last one.</param>
/// <param name="Commit">See <see cref="SampleBuffer.Add"/>; 0 when fetched.</param>
internal sealed record Segment(long From, long To, byte[] Bytes, long Commit);

/// <summary>Ascending columns that still grow.</summary>
internal struct OpenRun
{
    private long[]? _times;
    private double[]? _values;

    public int Count { get; private set; }

    public readonly int Capacity => _times?.Length ?? 0;

    public readonly long First => _times![0];

    public readonly long Last => _times![Count - 1];

    public readonly ReadOnlySpan<long> Times => _times.AsSpan(0, Count);

    public readonly ReadOnlySpan<double> Values => _values.AsSpan(0, Count);

    public void Append(ReadOnlySpan<long> times, ReadOnlySpan<double> values, int most)
    {
        var needed = Count + times.Length;
        if (_times is null || needed > _times.Length)
        {
            // Half a million series have such columns, so they begin small; those of a series that goes on soon have room for a chunk.
            var size = Math.Max(needed, Math.Min(most, needed > 32 ? most : Math.Max((needed + 3) & ~3, 2 * Count)));
            var grownTimes = new long[size];
            var grownValues = new double[size];
            Times.CopyTo(grownTimes);
            Values.CopyTo(grownValues);
            (_times, _values) = (grownTimes, grownValues);
        }

        times.CopyTo(_times.AsSpan(Count));
        values.CopyTo(_values.AsSpan(Count));
        Count = needed;
    }

    /// <summary>Begins again with the same columns. Nobody else may hold them.</summary>
    public void Empty() => Count = 0;

    public readonly long Touch() => _times is { Length: > 0 } times ? times[Math.Min(Count, times.Length - 1)] ^ BitConverter.DoubleToInt64Bits(_values![Math.Min(Count, times.Length - 1)]) : 0;

    /// <summary>The samples since that time, on a copy when that is worth it.</summary>
    public readonly OpenRun Since(long time)
    {
        var first = Last < time ? Count : BufferView.LowerBound(Times, time);
        if (first < (Count + 3) / 4)
        {
            return this;
        }

        var kept = default(OpenRun);
        if (first < Count)
        {
            kept.Append(Times[first..], Values[first..], Capacity);
        }

        return kept;
    }

    /// <summary>Puts a sample where it belongs, on a copy, because readers may hold the columns; drops it when its time is taken.</summary>
    public void Insert(long time, double value)
    {
        var at = Times.BinarySearch(time);
        if (at >= 0)
        {
            return;
        }

        at = ~at;
        var size = _times is not null && Count < _times.Length ? _times.Length : Count < 4 ? 4 : Count + Math.Max(4, Count / 2);
        var times = new long[size];
        var values = new double[size];
        Times[..at].CopyTo(times);
        Values[..at].CopyTo(values);
        times[at] = time;
        values[at] = value;
        Times[at..].CopyTo(times.AsSpan(at + 1));
        Values[at..].CopyTo(values.AsSpan(at + 1));
        (_times, _values) = (times, values);
        Count++;
    }
}
