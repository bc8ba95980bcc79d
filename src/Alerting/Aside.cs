namespace Platform.Alerting;

/// <summary>
/// What failed alone and rests for a growing while, so that everything else goes on. In the memory of the process: another replica, and
/// the next start, find out for themselves. Not safe for several threads at once.
/// </summary>
public sealed class Aside<T> where T : notnull
{
    /// <summary>When more fail than this, the one that rests longest is tried again with the others.</summary>
    public const int Most = 1_000;

    public static readonly TimeSpan FirstRest = TimeSpan.FromSeconds(1);
    public static readonly TimeSpan LongestRest = TimeSpan.FromMinutes(1);

    private readonly Dictionary<T, (TimeSpan Pause, DateTimeOffset Until)> _resting = [];

    /// <summary>All that is left out when work is done for many, whether its rest is over or not.</summary>
    public T[] All => [.. _resting.Keys];

    /// <summary>What may be tried again, alone. When the clock was set back, at once.</summary>
    public T[] Due(DateTimeOffset now) => [.. _resting.Where(one => one.Value.Until <= now || one.Value.Until - now > LongestRest).Select(one => one.Key)];

    /// <returns>How long it rests now: twice as long as last time.</returns>
    public TimeSpan Failed(T one, DateTimeOffset now)
    {
        if (!_resting.TryGetValue(one, out var before) && _resting.Count >= Most)
        {
            _resting.Remove(_resting.MaxBy(known => known.Value.Until).Key);
        }

        var rest = before.Pause == TimeSpan.Zero ? FirstRest : before.Pause * 2 < LongestRest ? before.Pause * 2 : LongestRest;
        _resting[one] = (rest, now + rest);
        return rest;
    }

    public void Passed(T one) => _resting.Remove(one);
}

/// <summary>Finds the few among many that make the work fail for all.</summary>
public static class Halving
{
    /// <summary>
    /// Does the work for all at once; when that fails, for the halves, and so on down to the ones that fail alone. One culprit among n costs
    /// about 2 log n attempts. The work must leave nothing behind when it throws.
    /// </summary>
    /// <param name="failed">Told of each one that failed alone.</param>
    /// <param name="blame">Throws when the failure is nobody's among them, such as a database that is away; that ends everything.</param>
    public static async Task EachAsync<T>(IReadOnlyList<T> all, Func<IReadOnlyList<T>, Task> work, Action<T, Exception> failed, Func<Exception, Task> blame, CancellationToken ct)
    {
        if (all.Count == 0)
        {
            return;
        }

        try
        {
            await work(all);
            return;
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            await blame(error);
            if (all.Count == 1)
            {
                failed(all[0], error);
                return;
            }
        }

        await EachAsync([.. all.Take(all.Count / 2)], work, failed, blame, ct);
        await EachAsync([.. all.Skip(all.Count / 2)], work, failed, blame, ct);
    }
}
