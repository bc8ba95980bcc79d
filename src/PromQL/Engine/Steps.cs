namespace Platform.PromQL;

/// <summary>The times at which an expression is evaluated: from start to end inclusive, in milliseconds.</summary>
internal readonly record struct Steps(long Start, long End, long Interval)
{
    public int Count { get; } = End < Start ? 0 : (int)((End - Start) / Interval) + 1;

    public long this[int index] => Start + index * Interval;
}
