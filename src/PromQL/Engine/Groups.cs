namespace Platform.PromQL;

/// <summary>
/// Finds for a series the number of its group: series with equal values of the labels that count. Labels are hashed and compared where
/// they are, no key is built. For <c>by</c> and <c>without</c>, <c>on</c> and <c>ignoring</c>.
/// </summary>
/// <param name="labels">Those that count, or those that do not.</param>
/// <param name="only">The labels are those that count.</param>
internal sealed class Groups(IEnumerable<string> labels, bool only)
{
    private readonly string[] _labels = [.. labels.Distinct().Order(StringComparer.Ordinal)];
    private readonly List<Labels> _first = [];
    private readonly List<int> _hashes = [];
    private int[] _places = new int[16];

    // The value that the series before had, when one label decides: sorted series bring it again and again.
    private string? _lastValue;
    private int _lastGroup;

    public int Count => _first.Count;

    /// <summary>A series of the group, the first that was seen.</summary>
    public Labels FirstOf(int group) => _first[group];

    /// <summary>The group of a series; one that was not there before gets the next number.</summary>
    public int Of(Labels series)
    {
        if (only && _labels.Length <= 1)
        {
            if (_labels.Length == 0)
            {
                return Count > 0 ? 0 : Place(series, 0);
            }

            var value = series[_labels[0]];
            if (!ReferenceEquals(value, _lastValue))
            {
                _lastGroup = Find(series);
                _lastValue = value;
            }

            return _lastGroup;
        }

        return Find(series);
    }

    /// <summary>The labels that count, of one series.</summary>
    public Labels LabelsOf(Labels series)
    {
        var flat = new List<string>(series.Count * 2);
        for (var index = 0; index < series.Count; index++)
        {
            if (Counts(series.NameAt(index)))
            {
                flat.Add(series.NameAt(index));
                flat.Add(series.ValueAt(index));
            }
        }

        return flat.Count == 2 * series.Count ? series : Labels.FromSorted([.. flat]);
    }

    private bool Counts(string name) => _labels.AsSpan().Contains(name) == only;

    private int Find(Labels series)
    {
        var hash = Hash(series);
        for (var at = hash & (_places.Length - 1); _places[at] != 0; at = (at + 1) & (_places.Length - 1))
        {
            var group = _places[at] - 1;
            if (_hashes[group] == hash && AreEqual(_first[group], series))
            {
                return group;
            }
        }

        return Place(series, hash);
    }

    private int Place(Labels series, int hash)
    {
        _first.Add(series);
        _hashes.Add(hash);
        if (2 * _first.Count > _places.Length)
        {
            _places = new int[2 * _places.Length];
            for (var group = 0; group < _first.Count - 1; group++)
            {
                Occupy(group);
            }
        }

        Occupy(_first.Count - 1);
        return _first.Count - 1;
    }

    private void Occupy(int group)
    {
        var at = _hashes[group] & (_places.Length - 1);
        while (_places[at] != 0)
        {
            at = (at + 1) & (_places.Length - 1);
        }

        _places[at] = group + 1;
    }

    private int Hash(Labels series)
    {
        var hash = 17u;
        if (only)
        {
            foreach (var name in _labels)
            {
                hash = (hash * 0x9E3779B1u) ^ (uint)string.GetHashCode(series[name]);
            }
        }
        else
        {
            var flat = series.Flat;
            for (var at = 0; at < flat.Length; at += 2)
            {
                if (!_labels.AsSpan().Contains(flat[at]))
                {
                    hash = (hash * 0x9E3779B1u) ^ (uint)string.GetHashCode(flat[at]);
                    hash = (hash * 0x9E3779B1u) ^ (uint)string.GetHashCode(flat[at + 1]);
                }
            }
        }

        return (int)(hash ^ (hash >> 15));
    }

    private bool AreEqual(Labels left, Labels right)
    {
        if (only)
        {
            foreach (var name in _labels)
            {
                if (left[name] != right[name])
                {
                    return false;
                }
            }

            return true;
        }

        // Both are sorted: walk them together, past what does not count.
        var l = left.Flat;
        var r = right.Flat;
        var (at, other) = (0, 0);
        while (true)
        {
            while (at < l.Length && _labels.AsSpan().Contains(l[at]))
            {
                at += 2;
            }

            while (other < r.Length && _labels.AsSpan().Contains(r[other]))
            {
                other += 2;
            }

            if (at == l.Length || other == r.Length)
            {
                return at == l.Length && other == r.Length;
            }

            if (l[at] != r[other] || l[at + 1] != r[other + 1])
            {
                return false;
            }

            at += 2;
            other += 2;
        }
    }
}
