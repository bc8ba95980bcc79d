namespace Platform.Health.Checks;

/// <summary>
/// The times at which a check is due: every interval, counted from a fixed moment, so that a late run does not shift the following ones and
/// a replica that takes over continues the same rhythm. Each component has its own place within the interval, so that not all run at once.
/// </summary>
public readonly record struct Grid(TimeSpan Interval, TimeSpan Offset)
{
    public static Grid For(string component, TimeSpan interval)
    {
        // FNV-1a: the same place in every process, which string.GetHashCode is not. Names that differ only at the end still share
        // the upper bits, so these are mixed once more.
        var hash = component.Aggregate(2166136261u, (sum, character) => (sum ^ character) * 16777619u);
        hash = (hash ^ (hash >> 16)) * 0x85ebca6bu;
        hash = (hash ^ (hash >> 13)) * 0xc2b2ae35u;
        hash ^= hash >> 16;
        return new(interval, TimeSpan.FromTicks((long)(interval.Ticks * (hash / (uint.MaxValue + 1.0)))));
    }

    /// <summary>The first point after <paramref name="now"/>. Points that passed meanwhile are left out, not made up for.</summary>
    public DateTimeOffset After(DateTimeOffset now)
    {
        var passed = (now.UtcTicks - Offset.Ticks) / Interval.Ticks;
        return new DateTimeOffset(Offset.Ticks + (passed + 1) * Interval.Ticks, TimeSpan.Zero);
    }
}
