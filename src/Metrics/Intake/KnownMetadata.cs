using System.Collections.Concurrent;
using Platform.SampleStore;

namespace Platform.Metrics.Intake;

/// <summary>
/// What was said about metric families and is committed, as hashes, so that senders who repeat it with every request cost nothing. Bounded,
/// and forgotten every ten minutes: then what is said is written once more.
/// </summary>
internal sealed class KnownMetadata(TimeProvider clock)
{
    private const int Most = 100_000;

    private static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(10);

    private ConcurrentDictionary<SeriesKey, bool> _known = new();
    private long _since = clock.GetTimestamp();

    public bool Contains(in SeriesKey key)
    {
        if (clock.GetElapsedTime(Volatile.Read(ref _since)) > Lifetime)
        {
            Forget();
        }

        return _known.ContainsKey(key);
    }

    /// <summary>To be called when they are committed, not before.</summary>
    public void Add(IReadOnlyCollection<SeriesKey> keys)
    {
        if (_known.Count + keys.Count > Most)
        {
            Forget();
        }

        foreach (var key in keys)
        {
            _known.TryAdd(key, true);
        }
    }

    private void Forget()
    {
        Volatile.Write(ref _since, clock.GetTimestamp());
        Volatile.Write(ref _known, new());
    }
}
