using System.Diagnostics.CodeAnalysis;
using Platform.SampleStore;

namespace Platform.Metrics.Scraping;

/// <summary>
/// What one target exposed lately: series by the bytes of their text, so that a known one costs a look-up and no string; and which of
/// them are alive, so that one that is missing gets its stale marker. Used by one scrape at a time.
/// </summary>
internal sealed class SeriesCache
{
    private readonly Dictionary<byte[], Entry> _byText = new(Bytes.Comparer);
    private readonly Dictionary<byte[], Entry>.AlternateLookup<ReadOnlySpan<byte>> _lookup;
    private readonly Dictionary<StoredSeries, Tracked> _tracked = new(ReferenceEqualityComparer.Instance);
    private int _scrape;

    public SeriesCache()
    {
        _lookup = _byText.GetAlternateLookup<ReadOnlySpan<byte>>();
    }

    /// <summary>Series texts that are known.</summary>
    public int Count => _byText.Count;

    /// <summary>Takes over what was alive under a configuration that has ended; the texts may mean other series now.</summary>
    public void Inherit(SeriesCache predecessor)
    {
        foreach (var (series, tracked) in predecessor._tracked)
        {
            _tracked.TryAdd(series, new(series) { IsAlive = tracked.IsAlive });
        }
    }

    public void BeginScrape() => _scrape++;

    /// <summary>False: never seen, and to be added.</summary>
    /// <param name="series">Null when relabelling drops the series.</param>
    public bool TryFind(ReadOnlySpan<byte> text, out Tracked? series)
    {
        if (_lookup.TryGetValue(text, out var entry))
        {
            entry.SeenIn = _scrape;
            series = entry.Series;
            return true;
        }

        series = null;
        return false;
    }

    public Tracked? Add(ReadOnlySpan<byte> text, StoredSeries? series)
    {
        Tracked? tracked = null;
        if (series is not null && !_tracked.TryGetValue(series, out tracked))
        {
            _tracked.Add(series, tracked = new(series));
        }

        _byText.Add(text.ToArray(), new(tracked) { SeenIn = _scrape });
        return tracked;
    }

    /// <summary>The series is there; unless it brings timestamps of its own, its absence will be marked.</summary>
    public void See(Tracked series, bool isMarked)
    {
        series.SeenIn = _scrape;
        series.IsMarked = isMarked;
    }

    /// <summary>Series that were alive and were not seen in this scrape.</summary>
    public IEnumerable<StoredSeries> Missing()
    {
        foreach (var tracked in _tracked.Values)
        {
            if (tracked.IsAlive && tracked.SeenIn != _scrape)
            {
                yield return tracked.Series;
            }
        }
    }

    /// <summary>
    /// Samples and markers are stored; only now does what was seen count as alive. After a good scrape, what it did not show is forgotten;
    /// after a failed one texts are kept, because they will be back.
    /// </summary>
    public void EndScrape(bool isGood)
    {
        foreach (var (series, tracked) in _tracked)
        {
            var isSeen = tracked.SeenIn == _scrape;
            tracked.IsAlive = isSeen && tracked.IsMarked;
            if (isGood && !isSeen)
            {
                _tracked.Remove(series);
            }
        }

        if (isGood)
        {
            foreach (var (text, entry) in _byText)
            {
                if (entry.SeenIn != _scrape)
                {
                    _byText.Remove(text);
                }
            }
        }
    }

    internal sealed class Tracked(StoredSeries series)
    {
        public StoredSeries Series => series;

        public int SeenIn { get; set; }

        /// <summary>Its absence is to be marked: it has no timestamps of its own.</summary>
        public bool IsMarked { get; set; }

        /// <summary>It has a stored sample that nothing has ended.</summary>
        public bool IsAlive { get; set; }
    }

    private sealed class Entry(Tracked? series)
    {
        public Tracked? Series => series;

        public int SeenIn { get; set; }
    }

    internal sealed class Bytes : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
    {
        public static readonly Bytes Comparer = new();

        public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();

        public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

        public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

        public int GetHashCode([DisallowNull] byte[] obj) => GetHashCode(obj.AsSpan());

        // Seeded per process: a target cannot prepare collisions.
        public int GetHashCode(ReadOnlySpan<byte> alternate)
        {
            var hash = default(HashCode);
            hash.AddBytes(alternate);
            return hash.ToHashCode();
        }
    }
}
