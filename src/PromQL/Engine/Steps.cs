namespace Platform.PromQL;

/// <summary>The times at which an expression is evaluated: from start to end inclusive, in milliseconds. The interval is at least one.</summary>
internal readonly record struct Steps(long Start, long End, long Interval)
{
    public int Count => End < Start ? 0 : checked((int)((End - Start) / Interval) + 1);

    public long this[int index] => Start + index * Interval;

    /// <summary>Only the first: what does not change with time is evaluated there.</summary>
    public Steps First => new(Start, Start, Interval);
}
