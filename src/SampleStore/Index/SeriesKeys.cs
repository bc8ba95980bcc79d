namespace Platform.SampleStore;

/// <summary>
/// Which series was last seen under which wire key, by open addressing: 32 bytes a place, so that a look at one is one line of the cache.
/// Readers take no lock: a place is filled once, key first, and never gets another key; growing and pruning publish a new table. Safe for
/// all threads.
/// </summary>
/// <param name="isGone">The series has left memory: its keys go with the next pruning.</param>
/// <param name="most">Keys that are kept. Beyond that, those that nobody used since the last pruning go; all of them if none is idle.</param>
internal sealed class SeriesKeys<T>(Predicate<T> isGone, int most) where T : StoredSeries
{
    private const int Smallest = 1 << 10;

    // Guards what the table says to writers; readers go by what is published.
    private readonly Lock _writing = new();
    private Table _table = new(Smallest);
    private long _touched;

    /// <summary>Keys that lead to a series, perhaps to one that has left.</summary>
    public int Count => Volatile.Read(ref _table).Filled;

    /// <summary>
    /// The series, or null when the key is not known. Between a series leaving memory and the pruning that follows it may still be found;
    /// to look at it here would be a miss of the cache for every sample, and who writes to a series asks <see cref="Head.Current"/> anyway.
    /// </summary>
    public T? Find(in SeriesKey key)
    {
        var places = Volatile.Read(ref _table).Places;
        var mask = places.Length - 1;
        for (var index = (int)key.Low & mask; ; index = (index + 1) & mask)
        {
            ref var place = ref places[index];
            var series = Volatile.Read(ref place.Series);
            if (series is null)
            {
                return null;
            }

            if (place.Key == key)
            {
                // Written only when it changes: the line stays shared between cores.
                if (!place.Used)
                {
                    place.Used = true;
                }

                return series;
            }
        }
    }

    /// <summary>
    /// Reads the places where the keys will be looked for, and nothing else: they lie far apart in memory, and a loop that does no more
    /// waits for all of them at once, where looking up one after the other would wait for each.
    /// </summary>
    public void Touch(ReadOnlySpan<SeriesKey> keys)
    {
        var places = Volatile.Read(ref _table).Places;
        var mask = places.Length - 1;
        var sum = 0UL;
        foreach (ref readonly var key in keys)
        {
            sum += places[(int)key.Low & mask].Key.Low;
        }

        // The sum is there so that the reads are.
        Volatile.Write(ref _touched, (long)sum);
    }

    /// <summary>From now on the key leads to the series.</summary>
    public void Remember(in SeriesKey key, T series)
    {
        lock (_writing)
        {
            // At most three quarters full, so that a search for what is not there ends soon.
            if (4 * (_table.Filled + 1) > 3 * _table.Places.Length || _table.Filled >= most)
            {
                PruneLocked();
            }

            var table = _table;
            ref var place = ref table.Places[IndexOf(table, key)];
            if (place.Series is null)
            {
                place.Key = key;
                table.Filled++;
            }

            place.Used = true;
            Volatile.Write(ref place.Series, series);
        }
    }

    /// <summary>Drops the keys of series that have left memory and gives back what is no longer needed. To be called after series were removed.</summary>
    public void Prune()
    {
        lock (_writing)
        {
            PruneLocked();
        }
    }

    private void PruneLocked()
    {
        var places = _table.Places;
        var keep = new bool[places.Length];
        var (alive, used) = (0, 0);
        for (var index = 0; index < keep.Length; index++)
        {
            keep[index] = places[index].Series is { } series && !isGone(series);
            alive += keep[index] ? 1 : 0;
            used += keep[index] && places[index].Used ? 1 : 0;
        }

        // A little below the bound, so that the next key does not prune again.
        var bound = most - most / 8;
        var onlyUsed = alive > bound;
        var kept = !onlyUsed ? alive : used <= bound ? used : 0;
        var size = Smallest;
        while (size < 2L * kept)
        {
            size *= 2;
        }

        var next = new Table(size);
        for (var index = 0; index < keep.Length && next.Filled < kept; index++)
        {
            if (keep[index] && (!onlyUsed || places[index].Used))
            {
                ref var free = ref next.Places[IndexOf(next, places[index].Key)];
                free.Key = places[index].Key;
                free.Series = places[index].Series;
                next.Filled++;
            }
        }

        Volatile.Write(ref _table, next);
    }

    private static int IndexOf(Table table, in SeriesKey key)
    {
        var mask = table.Places.Length - 1;
        var index = (int)key.Low & mask;
        while (table.Places[index].Series is not null && table.Places[index].Key != key)
        {
            index = (index + 1) & mask;
        }

        return index;
    }

    private struct Place
    {
        public SeriesKey Key;
        public T? Series;

        // Set by readers, empty after pruning: tells keys in use from forgotten spellings of a label set.
        public bool Used;
    }

    private sealed class Table(int size)
    {
        public readonly Place[] Places = new Place[size];
        public int Filled;
    }
}
