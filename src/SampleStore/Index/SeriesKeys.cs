namespace Platform.SampleStore;

/// <summary>
/// Which series was last seen under which wire key, by open addressing: 25 bytes a place. Readers take no lock: a place is filled once,
/// key first, and never gets another key; growing and pruning publish a new table. Safe for all threads.
/// </summary>
/// <param name="isGone">The series has left memory: it is not found any more, and its keys go with the next pruning.</param>
/// <param name="most">Keys that are kept. Beyond that, those that nobody used since the last pruning go; all of them if none is idle.</param>
internal sealed class SeriesKeys<T>(Predicate<T> isGone, int most) where T : StoredSeries
{
    private const int Smallest = 1 << 10;

    // Guards what the table says to writers; readers go by what is published.
    private readonly Lock _writing = new();
    private Table _table = new(Smallest);

    /// <summary>Keys that lead to a series, perhaps to one that has left.</summary>
    public int Count => Volatile.Read(ref _table).Filled;

    /// <summary>The series, or null when the key is not known or its series has left memory.</summary>
    public T? Find(in SeriesKey key)
    {
        var table = Volatile.Read(ref _table);
        var mask = table.Keys.Length - 1;
        for (var place = (int)key.Low & mask; ; place = (place + 1) & mask)
        {
            var series = Volatile.Read(ref table.Series[place]);
            if (series is null)
            {
                return null;
            }

            if (table.Keys[place] == key)
            {
                // Written only when it changes: the line stays shared between cores.
                if (!table.Used[place])
                {
                    table.Used[place] = true;
                }

                return isGone(series) ? null : series;
            }
        }
    }

    /// <summary>From now on the key leads to the series.</summary>
    public void Remember(in SeriesKey key, T series)
    {
        lock (_writing)
        {
            // At most three quarters full, so that a search for what is not there ends soon.
            if (4 * (_table.Filled + 1) > 3 * _table.Keys.Length || _table.Filled >= most)
            {
                PruneLocked();
            }

            var table = _table;
            var place = PlaceOf(table, key);
            if (table.Series[place] is null)
            {
                table.Keys[place] = key;
                table.Filled++;
            }

            table.Used[place] = true;
            Volatile.Write(ref table.Series[place], series);
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
        var table = _table;
        var keep = new bool[table.Keys.Length];
        var (alive, used) = (0, 0);
        for (var place = 0; place < keep.Length; place++)
        {
            keep[place] = table.Series[place] is { } series && !isGone(series);
            alive += keep[place] ? 1 : 0;
            used += keep[place] && table.Used[place] ? 1 : 0;
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
        for (var place = 0; place < keep.Length && next.Filled < kept; place++)
        {
            if (keep[place] && (!onlyUsed || table.Used[place]))
            {
                var free = PlaceOf(next, table.Keys[place]);
                next.Keys[free] = table.Keys[place];
                next.Series[free] = table.Series[place];
                next.Filled++;
            }
        }

        Volatile.Write(ref _table, next);
    }

    private static int PlaceOf(Table table, in SeriesKey key)
    {
        var mask = table.Keys.Length - 1;
        var place = (int)key.Low & mask;
        while (table.Series[place] is not null && table.Keys[place] != key)
        {
            place = (place + 1) & mask;
        }

        return place;
    }

    private sealed class Table(int size)
    {
        public readonly SeriesKey[] Keys = new SeriesKey[size];
        public readonly T?[] Series = new T?[size];

        // Set by readers, empty after pruning: tells keys in use from forgotten spellings of a label set.
        public readonly bool[] Used = new bool[size];
        public int Filled;
    }
}
