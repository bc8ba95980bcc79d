namespace Platform.PromQL;

/// <summary>Durations as Prometheus writes them outside of expressions: <c>1h30m</c>, <c>15s</c>, <c>500ms</c>, and <c>0</c>.</summary>
public static class Durations
{
    /// <summary>Null when the text is none, or longer than a <see cref="TimeSpan"/> can be.</summary>
    public static TimeSpan? Parse(ReadOnlySpan<char> text) =>
        text is "0" ? TimeSpan.Zero
        : text.Length == 0 || Literals.Duration(text) is not { } seconds || seconds > Literals.MaxSeconds ? null
        : TimeSpan.FromTicks((long)(seconds * TimeSpan.TicksPerSecond));
}
