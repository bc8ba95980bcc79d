using System.Collections.Concurrent;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// Which series have which labels. Series have numbers in the order in which they were added; each value of each label has the list of
/// the numbers of its series. Readers take no lock and see every series that was added before they began: all there is only grows, and a
/// reader goes no further than the number of series that it found. A label that a series does not have counts as the empty string, as
/// everywhere in PromQL. A realm of null means all realms. Safe for all threads.
/// </summary>
/// <param name="isGone">The series has left memory, for good: readers pass it over, and <see cref="Prune"/> forgets it.</param>
internal sealed class LabelIndex<T>(Predicate<T> isGone) where T : StoredSeries
{
    private const string Realm = "realm";

    // Below this many series their labels are looked at one by one, rather than the lists of all values.
    private const int Few = 512;

    // Guards the additions to the state, and its replacement.
    private readonly Lock _writing = new();
    private State _state = new(16);

    /// <summary>Series in the index, those among them that are gone but not yet forgotten.</summary>
    public int Count => Volatile.Read(ref Volatile.Read(ref _state).Count);

    /// <summary>The series must not be in the index already.</summary>
    public void Add(T series)
    {
        lock (_writing)
        {
            _state.Add(series);
        }
    }

    /// <summary>
    /// Forgets the series that have left memory, when they are so many that it pays. To be called after series were removed. Readers go on
    /// meanwhile, additions wait.
    /// </summary>
    public void Prune()
    {
        lock (_writing)
        {
            var state = _state;
            var gone = 0;
            foreach (var series in state.Series.AsSpan(0, state.Count))
            {
                gone += isGone(series) ? 1 : 0;
            }

            if (gone == 0 || (gone < state.Count && (gone <= 1_000 || 4L * gone < state.Count)))
            {
                return;
            }

            var next = new State(state.Count - gone);
            foreach (var series in state.Series.AsSpan(0, state.Count))
            {
                if (!isGone(series))
                {
                    next.Add(series);
                }
            }

            Volatile.Write(ref _state, next);
        }
    }

    /// <summary>Appends every series that all matchers accept, each once, in the order in which they were added.</summary>
    /// <param name="matchers">None accepts every series of the realm.</param>
    public void Select(string? realm, IReadOnlyList<Matcher> matchers, List<T> into)
    {
        var state = Volatile.Read(ref _state);
        using var found = Find(state, realm, matchers);
        var series = Volatile.Read(ref state.Series);
        into.EnsureCapacity(into.Count + found.Count);
        foreach (var number in found.Numbers)
        {
            if (!isGone(series[number]))
            {
                into.Add(series[number]);
            }
        }
    }

    /// <summary>Label names of the series that any of the matcher lists accepts (of all series when there is no list), sorted, at most <paramref name="limit"/>.</summary>
    public IReadOnlyList<string> LabelNames(string? realm, IReadOnlyList<IReadOnlyList<Matcher>> any, int limit)
    {
        var state = Volatile.Read(ref _state);
        using var found = FindAny(state, realm, any);
        var names = new HashSet<string>(StringComparer.Ordinal);
        if (found.Count <= Few)
        {
            foreach (var labels in LabelsOf(state, found))
            {
                for (var index = 0; index < labels.Count; index++)
                {
                    names.Add(labels.NameAt(index));
                }
            }
        }
        else
        {
            foreach (var (name, values) in state.Names)
            {
                var table = values.Current;
                for (var value = 0; value < table.Count; value++)
                {
                    if (HasAny(state, found, table.Numbers(value)))
                    {
                        names.Add(name);
                        break;
                    }
                }
            }
        }

        return Sorted(names, limit);
    }

    /// <summary>As <see cref="LabelNames"/>: the values of one label.</summary>
    public IReadOnlyList<string> LabelValues(string? realm, string label, IReadOnlyList<IReadOnlyList<Matcher>> any, int limit)
    {
        var state = Volatile.Read(ref _state);
        using var found = FindAny(state, realm, any);
        var texts = new HashSet<string>(StringComparer.Ordinal);
        if (!state.Names.TryGetValue(label, out var values))
        {
            return [];
        }

        var table = values.Current;
        if (found.Count <= Few || found.Count < table.Count)
        {
            foreach (var labels in LabelsOf(state, found))
            {
                if (labels[label] is { Length: > 0 } text)
                {
                    texts.Add(text);
                }
            }
        }
        else
        {
            for (var value = 0; value < table.Count; value++)
            {
                if (HasAny(state, found, table.Numbers(value)))
                {
                    texts.Add(table.Texts[value]);
                }
            }
        }

        return Sorted(texts, limit);
    }

    private static string[] Sorted(HashSet<string> texts, int limit)
    {
        var sorted = texts.ToArray();
        Array.Sort(sorted, StringComparer.Ordinal);
        return sorted.Length <= limit ? sorted : sorted[..Math.Max(0, limit)];
    }

    private IEnumerable<Labels> LabelsOf(State state, SeriesNumbers found)
    {
        var series = Volatile.Read(ref state.Series);
        for (var index = 0; index < found.Count; index++)
        {
            var one = series[found[index]];
            if (!isGone(one))
            {
                yield return one.Labels;
            }
        }
    }

    private bool HasAny(State state, SeriesNumbers found, ReadOnlySpan<int> numbers)
    {
        var series = Volatile.Read(ref state.Series);
        foreach (var number in numbers)
        {
            if (found.Holds(number) && !isGone(series[number]))
            {
                return true;
            }
        }

        return false;
    }

    private static SeriesNumbers FindAny(State state, string? realm, IReadOnlyList<IReadOnlyList<Matcher>> any)
    {
        if (any.Count <= 1)
        {
            return Find(state, realm, any.Count == 0 ? [] : any[0]);
        }

        var all = new SeriesNumbers(Volatile.Read(ref state.Count));
        foreach (var matchers in any)
        {
            using var some = Find(state, realm, matchers);
            all.Mark(some.Numbers);
        }

        all.TakeMarked();
        return all;
    }

    private static SeriesNumbers Find(State state, string? realm, IReadOnlyList<Matcher> matchers)
    {
        // First how far to look, then the lists: they hold every series up to there.
        var found = new SeriesNumbers(Volatile.Read(ref state.Count));
        var equal = new List<(LabelValues.Table Table, int Value, int Length)>();
        var others = new List<Condition>();
        var possible = realm is null || Require(state, Realm, realm, equal);
        foreach (var matcher in matchers)
        {
            if (matcher.Kind == MatchKind.Equal && matcher.Value.Length > 0)
            {
                possible = possible && Require(state, matcher.Name, matcher.Value, equal);
            }
            else
            {
                others.Add(new Condition(matcher, state.Names.TryGetValue(matcher.Name, out var values) ? values.Current : null));
            }
        }

        if (!possible)
        {
            found.TakeNone();
            return found;
        }

        // The shortest list, cut down by the next ones.
        equal.Sort((left, right) => left.Length.CompareTo(right.Length));
        foreach (var (table, value, _) in equal)
        {
            found.Intersect(table.Numbers(value));
        }

        // Then what has to do with many values. Those that say which series are possible come before those that only take some away.
        others.Sort((left, right) => left.Cost.CompareTo(right.Cost));
        foreach (var condition in others)
        {
            if (found.IsEmpty)
            {
                break;
            }

            condition.Apply(found, Volatile.Read(ref state.Series));
        }

        found.TakeAllUnlessChosen();
        return found;
    }

    private static bool Require(State state, string name, string text, List<(LabelValues.Table Table, int Value, int Length)> lists)
    {
        if (!state.Names.TryGetValue(name, out var values))
        {
            return false;
        }

        var table = values.Current;
        var value = table.Find(text);
        if (value < 0)
        {
            return false;
        }

        lists.Add((table, value, table.Numbers(value).Length));
        return true;
    }

    /// <summary>A matcher that more than one value of its label satisfies, or that a series without the label satisfies.</summary>
    private sealed class Condition
    {
        private readonly Matcher _matcher;
        private readonly LabelValues.Table? _table;
        private readonly bool _acceptsMissing;

        // The values that decide, when they are few enough to be looked up; null when all have to be tested.
        private readonly IReadOnlyList<string>? _listed;

        public Condition(Matcher matcher, LabelValues.Table? table)
        {
            _matcher = matcher;
            _table = table;
            _acceptsMissing = matcher.Matches("");

            // Accepted values are the listed ones of a positive matcher; refused ones those of a negative one. Only these two forms need no
            // look at the other values: the empty string among the listed ones turns the question around.
            var positive = matcher.Kind is MatchKind.Equal or MatchKind.Regex;
            _listed = positive != _acceptsMissing ? matcher.SetMatches : null;
            Cost = (_acceptsMissing ? 1L << 40 : 0) + (_listed?.Count ?? table?.Count ?? 0);
        }

        public long Cost { get; }

        public void Apply(SeriesNumbers found, T[] series)
        {
            if (_table is null)
            {
                // Nobody has the label.
                if (!_acceptsMissing)
                {
                    found.TakeNone();
                }

                return;
            }

            // With few candidates their labels are tested, with many each value once and then the lists of those that decide.
            var values = _listed?.Count ?? _table.Count;
            if (found.IsChosen && (found.Count <= Few || found.Count < values))
            {
                found.Keep(number => _matcher.Matches(series[number].Labels[_matcher.Name]));
                return;
            }

            found.ClearMarks();
            if (_listed is not null)
            {
                foreach (var text in _listed)
                {
                    if (_table.Find(text) is >= 0 and var value)
                    {
                        found.Mark(_table.Numbers(value));
                    }
                }
            }
            else
            {
                var texts = _table.Texts;
                for (var value = 0; value < values; value++)
                {
                    if (_matcher.Matches(texts[value]) != _acceptsMissing)
                    {
                        found.Mark(_table.Numbers(value));
                    }
                }
            }

            if (_acceptsMissing)
            {
                found.DropMarked();
            }
            else
            {
                found.KeepMarked();
            }
        }
    }

    private sealed class State(int capacity)
    {
        // The labels of the series before: neighbours share most of theirs, and shared texts are the same objects.
        private readonly List<(string Name, string Text, LabelValues Values, int Value)> _before = [];

        public readonly ConcurrentDictionary<string, LabelValues> Names = new(concurrencyLevel: 1, capacity: 31, StringComparer.Ordinal);
        public T[] Series = new T[Math.Max(16, capacity)];

        /// <summary>Published last: what is below it is complete.</summary>
        public int Count;

        public void Add(T series)
        {
            var number = Count;
            if (number == Series.Length)
            {
                var larger = new T[2 * number];
                Series.CopyTo(larger, 0);
                Volatile.Write(ref Series, larger);
            }

            Series[number] = series;
            var labels = series.Labels;
            for (var index = 0; index < labels.Count; index++)
            {
                var (name, text) = (labels.NameAt(index), labels.ValueAt(index));
                var before = index < _before.Count ? _before[index] : default;
                var values = ReferenceEquals(before.Name, name) ? before.Values : Names.GetOrAdd(name, _ => new LabelValues());
                var value = ReferenceEquals(before.Text, text) && before.Values == values ? before.Value : values.FindOrAdd(text);
                values.Append(value, number);
                if (index < _before.Count)
                {
                    _before[index] = (name, text, values, value);
                }
                else
                {
                    _before.Add((name, text, values, value));
                }
            }

            Volatile.Write(ref Count, number + 1);
        }
    }
}
