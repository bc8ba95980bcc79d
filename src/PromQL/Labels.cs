using System.Text;

namespace Platform.PromQL;

/// <summary>
/// The identity of a series: names and values, sorted by name in the order of their code units, each name once, no empty value (an empty
/// value means that the label is not there). The metric's name is the label <c>__name__</c>. Immutable and safe to share.
/// </summary>
public sealed class Labels : IEquatable<Labels>
{
    /// <summary>The label that holds the metric's name.</summary>
    public const string MetricName = "__name__";

    public static readonly Labels Empty = new([]);

    // Names at even places, values at odd ones. One array instead of pairs of objects: half a million series have one each.
    private readonly string[] _flat;

    // 0 until somebody asks: most label sets of a wide query are never looked up. Two threads that compute it write the same number.
    private int _hash;

    private Labels(string[] flat) => _flat = flat;

    public int Count => _flat.Length / 2;

    /// <summary>The metric's name, or the empty string.</summary>
    public string Name => this[MetricName];

    /// <summary>The value of the label, or the empty string when there is none.</summary>
    public string this[string name]
    {
        get
        {
            // A linear walk: series have about ten labels, and the walk ends where the name would have stood.
            for (var at = 0; at < _flat.Length; at += 2)
            {
                var order = string.CompareOrdinal(_flat[at], name);
                if (order >= 0)
                {
                    return order == 0 ? _flat[at + 1] : "";
                }
            }

            return "";
        }
    }

    public string NameAt(int index) => _flat[2 * index];

    public string ValueAt(int index) => _flat[2 * index + 1];

    /// <summary>Labels from pairs in any order. Empty values are left out.</summary>
    /// <exception cref="ArgumentException">A name comes twice.</exception>
    public static Labels Of(params ReadOnlySpan<(string Name, string Value)> pairs)
    {
        var kept = new List<(string Name, string Value)>(pairs.Length);
        foreach (var pair in pairs)
        {
            if (pair.Value.Length > 0)
            {
                kept.Add(pair);
            }
        }

        kept.Sort((left, right) => string.CompareOrdinal(left.Name, right.Name));
        var flat = new string[2 * kept.Count];
        for (var index = 0; index < kept.Count; index++)
        {
            if (index > 0 && kept[index].Name == kept[index - 1].Name)
            {
                throw new ArgumentException($"The label '{kept[index].Name}' comes twice.", nameof(pairs));
            }

            flat[2 * index] = kept[index].Name;
            flat[2 * index + 1] = kept[index].Value;
        }

        return flat.Length == 0 ? Empty : new Labels(flat);
    }

    /// <summary>
    /// Labels from names and values in turn that are already sorted, without a name twice and without an empty value. The array is kept:
    /// the caller gives it up.
    /// </summary>
    public static Labels FromSorted(string[] flat) => flat.Length == 0 ? Empty : new Labels(flat);

    /// <summary>These labels with one more, or with another value for one; an empty value removes it.</summary>
    public Labels With(string name, string value)
    {
        if (this[name] == value)
        {
            return this;
        }

        var flat = new List<string>(_flat.Length + 2);
        var placed = value.Length == 0;
        for (var at = 0; at < _flat.Length; at += 2)
        {
            var order = string.CompareOrdinal(_flat[at], name);
            if (order >= 0 && !placed)
            {
                flat.Add(name);
                flat.Add(value);
                placed = true;
            }

            if (order != 0)
            {
                flat.Add(_flat[at]);
                flat.Add(_flat[at + 1]);
            }
        }

        if (!placed)
        {
            flat.Add(name);
            flat.Add(value);
        }

        return FromSorted([.. flat]);
    }

    public Labels Without(string name) => With(name, "");

    public bool Equals(Labels? other) =>
        ReferenceEquals(this, other) || (other is not null && GetHashCode() == other.GetHashCode() && _flat.AsSpan().SequenceEqual(other._flat));

    public override bool Equals(object? obj) => Equals(obj as Labels);

    /// <summary>Differs from one process to the next; never to be stored.</summary>
    public override int GetHashCode()
    {
        if (_hash == 0)
        {
            var hash = new HashCode();
            foreach (var text in _flat)
            {
                hash.Add(string.GetHashCode(text));
            }

            var made = hash.ToHashCode();
            _hash = made == 0 ? 1 : made;
        }

        return _hash;
    }

    /// <summary>The order of results: by the first name, then its value, then the next; fewer labels come first.</summary>
    internal int CompareTo(Labels other)
    {
        var common = Math.Min(_flat.Length, other._flat.Length);
        for (var at = 0; at < common; at++)
        {
            var order = ReferenceEquals(_flat[at], other._flat[at]) ? 0 : string.CompareOrdinal(_flat[at], other._flat[at]);
            if (order != 0)
            {
                return order;
            }
        }

        return _flat.Length.CompareTo(other._flat.Length);
    }

    /// <summary>Labels that say what kind of metric it is: a result that is another kind of thing does not have them.</summary>
    internal static bool IsReserved(string name) => name is MetricName or "__type__" or "__unit__";

    /// <summary>These labels without name, type and unit.</summary>
    internal Labels WithoutReserved()
    {
        var reserved = 0;
        for (var at = 0; at < _flat.Length && CanBeReserved(_flat[at]); at += 2)
        {
            reserved += IsReserved(_flat[at]) ? 1 : 0;
        }

        if (reserved == 0)
        {
            return this;
        }

        var flat = new string[_flat.Length - 2 * reserved];
        var kept = 0;
        for (var at = 0; at < _flat.Length; at += 2)
        {
            if (!CanBeReserved(_flat[at]) || !IsReserved(_flat[at]))
            {
                flat[kept++] = _flat[at];
                flat[kept++] = _flat[at + 1];
            }
        }

        return FromSorted(flat);

        // Names are sorted; past this one none is reserved.
        static bool CanBeReserved(string name) => name[0] <= '_';
    }

    /// <summary>Names and values in turn, sorted by name.</summary>
    internal ReadOnlySpan<string> Flat => _flat;

    /// <summary>As PromQL writes a series: <c>up{instance="a:9090", job="api"}</c>.</summary>
    public override string ToString()
    {
        var text = new StringBuilder(Name);
        if (Count > (Name.Length > 0 ? 1 : 0) || Name.Length == 0)
        {
            text.Append('{');
            var first = true;
            for (var index = 0; index < Count; index++)
            {
                if (NameAt(index) == MetricName)
                {
                    continue;
                }

                text.Append(first ? "" : ", ").Append(NameAt(index)).Append("=\"")
                    .Append(ValueAt(index).Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal))
                    .Append('"');
                first = false;
            }

            text.Append('}');
        }

        return text.ToString();
    }
}
