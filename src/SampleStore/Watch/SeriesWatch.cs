using Platform.Postgres;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>What somebody waits for: samples of series of that realm (null: of any) that one of the selectors accepts.</summary>
public sealed record Watched(string? Realm, IReadOnlyList<IReadOnlyList<Matcher>> Selectors);

/// <summary>
/// Tells whoever waits for certain series that samples of theirs are durable and can be read. A series is compared with the selectors when
/// it first gets a sample, and carries the answer from then on: a sample of a series that nobody waits for costs one comparison of
/// references. Nothing is promised beyond this process: who waits looks by itself now and then.
/// </summary>
public sealed class SeriesWatch
{
    // Guards _watchers and the making of the table.
    private readonly Lock _lock = new();
    private readonly List<Watcher> _watchers = [];
    private WatchTable? _table;

    /// <summary>Begins to wait; disposing the answer ends it.</summary>
    public Watcher Watch(IReadOnlyList<Watched> watched)
    {
        var watcher = new Watcher(this, watched);
        lock (_lock)
        {
            _watchers.Add(watcher);
            Volatile.Write(ref _table, new WatchTable([.. _watchers]));
        }

        return watcher;
    }

    internal void End(Watcher watcher)
    {
        lock (_lock)
        {
            _watchers.Remove(watcher);
            Volatile.Write(ref _table, _watchers.Count == 0 ? null : new WatchTable([.. _watchers]));
        }
    }

    /// <summary>The series has a sample that readers see. From any thread.</summary>
    internal void Touch(StoredSeries series)
    {
        if (Volatile.Read(ref _table) is not { } table)
        {
            return;
        }

        var tag = series.Tag;
        if (!ReferenceEquals(tag?.Table, table))
        {
            series.Tag = tag = table.TagOf(series.Labels);
        }

        foreach (var (watcher, place) in tag!.Watches)
        {
            watcher.Touch(place);
        }
    }

    /// <summary>Comes after the last series of a commit.</summary>
    internal void Tell()
    {
        if (Volatile.Read(ref _table) is { } table)
        {
            foreach (var watcher in table.Watchers)
            {
                watcher.Tell();
            }
        }
    }
}

/// <summary>Somebody who waits. One reader at a time.</summary>
public sealed class Watcher : IDisposable
{
    private readonly SeriesWatch _watch;
    private readonly int[] _touched;
    private readonly Signal _news = new();
    private int _any;

    internal Watcher(SeriesWatch watch, IReadOnlyList<Watched> watched)
    {
        (_watch, Watched) = (watch, watched);
        _touched = new int[watched.Count];
    }

    internal IReadOnlyList<Watched> Watched { get; }

    /// <summary>Waits until something was touched, or the time is over.</summary>
    public Task WaitAsync(TimeSpan atMost, CancellationToken ct) => _news.WaitAsync(atMost, ct);

    /// <summary>Adds the places of what was touched since the last call.</summary>
    public void Take(ISet<int> into)
    {
        for (var place = 0; place < _touched.Length; place++)
        {
            if (Volatile.Read(ref _touched[place]) != 0 && Interlocked.Exchange(ref _touched[place], 0) != 0)
            {
                into.Add(place);
            }
        }
    }

    public void Dispose() => _watch.End(this);

    internal void Touch(int place)
    {
        // Most samples find the mark set: reading it first keeps the line in every processor's cache.
        if (Volatile.Read(ref _touched[place]) == 0)
        {
            Volatile.Write(ref _touched[place], 1);
            Volatile.Write(ref _any, 1);
        }
    }

    internal void Tell()
    {
        if (Volatile.Read(ref _any) != 0 && Interlocked.Exchange(ref _any, 0) != 0)
        {
            _news.Raise();
        }
    }
}

/// <summary>Who waits for what at one moment. Immutable; replaced whole, which makes every tag be looked up anew.</summary>
internal sealed class WatchTable
{
    private readonly Dictionary<string, List<Entry>> _byName = new(StringComparer.Ordinal);
    private readonly List<Entry> _others = [];
    private readonly WatchTag _none;

    public WatchTable(IReadOnlyList<Watcher> watchers)
    {
        Watchers = watchers;
        _none = new WatchTag(this, []);
        foreach (var watcher in watchers)
        {
            for (var place = 0; place < watcher.Watched.Count; place++)
            {
                foreach (var selector in watcher.Watched[place].Selectors)
                {
                    var entry = new Entry(watcher, place, watcher.Watched[place].Realm, selector);
                    var name = selector.FirstOrDefault(matcher => matcher is { Name: Labels.MetricName, Kind: MatchKind.Equal });
                    if (name is null)
                    {
                        _others.Add(entry);
                    }
                    else if (_byName.TryGetValue(name.Value, out var entries))
                    {
                        entries.Add(entry);
                    }
                    else
                    {
                        _byName.Add(name.Value, [entry]);
                    }
                }
            }
        }
    }

    public IReadOnlyList<Watcher> Watchers { get; }

    public WatchTag TagOf(Labels labels)
    {
        var found = new HashSet<(Watcher, int)>();
        Find(_others);
        if (_byName.TryGetValue(labels.Name, out var named))
        {
            Find(named);
        }

        return found.Count == 0 ? _none : new WatchTag(this, [.. found]);

        void Find(List<Entry> entries)
        {
            foreach (var entry in entries)
            {
                if ((entry.Realm is null || labels[Head.RealmLabel] == entry.Realm) && entry.Selector.All(matcher => matcher.Matches(labels[matcher.Name])))
                {
                    found.Add((entry.Watcher, entry.Place));
                }
            }
        }
    }

    private sealed record Entry(Watcher Watcher, int Place, string? Realm, IReadOnlyList<Matcher> Selector);
}

/// <summary>Who waits for a series, by one table. Shared by all series that nobody waits for.</summary>
internal sealed record WatchTag(WatchTable Table, (Watcher Watcher, int Place)[] Watches);
