namespace Platform.Alerting;

/// <summary>
/// Notices that the wall clock was set back. What a loop has scheduled by the clock of before would come as much too late, so the loop
/// looks at it again. Each loop has its own; it is not for several threads.
/// </summary>
public sealed class ClockWatch
{
    // Corrections that small are everyday, and nobody is late by them.
    private static readonly TimeSpan Tolerance = TimeSpan.FromSeconds(1);

    private DateTimeOffset _latest;

    /// <summary>How far <paramref name="now"/> lies before the time that was seen last; zero unless it is more than a second.</summary>
    public TimeSpan SetBackBy(DateTimeOffset now) => _latest - now > Tolerance ? _latest - now : TimeSpan.Zero;

    /// <summary>To be said when what follows from this time has been done.</summary>
    public void Saw(DateTimeOffset now) => _latest = now;
}
