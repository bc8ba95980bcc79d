using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Platform.Gateway;

/// <summary>
/// A bounded memory of what was used last. Entries live in the young half; when it is full it becomes the old half, and what was in the
/// old half and not used since is forgotten. No clock, no scan, no lock on reading.
/// </summary>
/// <param name="capacity">Most entries held at once.</param>
internal sealed class Recent<TKey, TValue>(int capacity) where TKey : notnull
{
    // Guards the exchange of the halves, by turning over and by clearing.
    private readonly Lock _turning = new();
    private volatile Halves _halves = new(new(), new());

    /// <summary>Never more than the capacity, but for writers that meet at the turn.</summary>
    public int Count => _halves.Young.Count + _halves.Old.Count;

    public bool TryGet(TKey key, [MaybeNullWhen(false)] out TValue value)
    {
        var halves = _halves;
        if (halves.Young.TryGetValue(key, out value))
        {
            return true;
        }

        if (!halves.Old.TryGetValue(key, out value))
        {
            return false;
        }

        Set(key, value);
        return true;
    }

    public void Set(TKey key, TValue value) => Room().Young[key] = value;

    /// <summary>The value that is there, or one made now; two callers at once get the same.</summary>
    public TValue GetOrAdd(TKey key, Func<TKey, TValue> make)
    {
        if (_halves.Young.TryGetValue(key, out var value))
        {
            return value;
        }

        var halves = Room();
        return halves.Old.TryGetValue(key, out var old) ? halves.Young.GetOrAdd(key, old) : halves.Young.GetOrAdd(key, make);
    }

    public void Clear()
    {
        lock (_turning)
        {
            _halves = new(new(), new());
        }
    }

    private Halves Room()
    {
        var halves = _halves;
        if (halves.Young.Count < capacity / 2)
        {
            return halves;
        }

        lock (_turning)
        {
            if (ReferenceEquals(halves, _halves))
            {
                _halves = new(new(), halves.Young);
            }

            return _halves;
        }
    }

    private sealed record Halves(ConcurrentDictionary<TKey, TValue> Young, ConcurrentDictionary<TKey, TValue> Old);
}
