namespace Platform.Postgres;

/// <summary>
/// "There may be something to do": wakes one loop that otherwise looks at the clock. Raising it again before the loop has looked changes
/// nothing, because one look covers both; raising it while nobody waits lets the next wait end at once. Safe for all threads.
/// </summary>
public sealed class Signal : IDisposable
{
    // Holds at most one permit.
    private readonly SemaphoreSlim _raised = new(0, 1);

    public void Raise()
    {
        try
        {
            _raised.Release();
        }
        catch (SemaphoreFullException)
        {
            // Raised already.
        }
    }

    /// <summary>Until it is raised, or for so long.</summary>
    /// <returns>Whether it was raised.</returns>
    public Task<bool> WaitAsync(TimeSpan atMost, CancellationToken ct) => _raised.WaitAsync(atMost, ct);

    public void Dispose() => _raised.Dispose();
}
