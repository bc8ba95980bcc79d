namespace Platform.DemoBackend.Replay;

/// <summary>
/// Maps times of a log to now. Event times keep the gaps of the log, and the last event happens at the moment it is sent; lines are sent when they are due,
/// <paramref name="Speed"/> times as fast as they were written. Pure.
/// </summary>
/// <param name="Start">When the replay starts.</param>
/// <param name="First">Time of the first line in the log.</param>
/// <param name="Last">Time of the last line in the log.</param>
/// <param name="Speed">At least 1; infinity sends everything at once. Below 1 events would be dated in the future.</param>
public sealed record ReplaySchedule(DateTimeOffset Start, DateTimeOffset First, DateTimeOffset Last, double Speed)
{
    public TimeSpan LogDuration => Last > First ? Last - First : TimeSpan.Zero;

    /// <summary>How long the replay takes when the gateway keeps up.</summary>
    public TimeSpan Duration => double.IsPositiveInfinity(Speed) ? TimeSpan.Zero : LogDuration / Speed;

    /// <summary>The time that the event of a line is dated.</summary>
    public DateTimeOffset Rebase(DateTimeOffset at) => Start + Duration - (Last - at);

    /// <summary>When the line is due to be sent.</summary>
    public DateTimeOffset Due(DateTimeOffset at) => double.IsPositiveInfinity(Speed) ? Start : Start + ((at - First) / Speed);
}
