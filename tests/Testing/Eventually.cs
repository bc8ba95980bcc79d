using System.Diagnostics;

namespace Platform.Testing;

/// <summary>The only place in the tests that waits: until a condition holds, or a deadline with a sentence that says what never happened.</summary>
public static class Eventually
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    /// <param name="condition">An exception from it counts as "not yet"; the last one is shown when the time is over.</param>
    /// <param name="timeout">A minute unless given.</param>
    /// <param name="because">What should have become true, for the failure message.</param>
    public static async Task TrueAsync(Func<Task<bool>> condition, TimeSpan? timeout = null, string? because = null)
    {
        _ = await GetAsync<object>(async () => await condition() ? condition : null, timeout, because ?? "the condition holds");
    }

    public static Task TrueAsync(Func<bool> condition, TimeSpan? timeout = null, string? because = null) =>
        TrueAsync(() => Task.FromResult(condition()), timeout, because);

    /// <summary>The first answer of <paramref name="find"/> that is not null.</summary>
    public static async Task<T> GetAsync<T>(Func<Task<T?>> find, TimeSpan? timeout = null, string? because = null)
        where T : class
    {
        var limit = timeout ?? Patience;
        var clock = Stopwatch.StartNew();
        Exception? last;
        do
        {
            try
            {
                last = null;
                if (await find() is { } found)
                {
                    return found;
                }
            }
            catch (Exception error)
            {
                last = error;
            }

            await Task.Delay(Pause);
        }
        while (clock.Elapsed < limit);

        throw new TimeoutException($"Not within {limit.TotalSeconds:0.#} s: {because ?? "there is an answer"}.{(last is null ? "" : $" Last attempt: {last}")}");
    }
}
