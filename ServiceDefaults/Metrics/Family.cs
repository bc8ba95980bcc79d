using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;

namespace Platform.ServiceDefaults;

/// <summary>One metric of the exposition: all series of one instrument, or of several instruments of one name.</summary>
internal sealed class Family
{
    private readonly string _help;
    private readonly double[] _bounds;
    private readonly string[] _boundLabels;
    private readonly int _maxSeries;

    // By the tags as they were given: the fast way, no allocation.
    private readonly ConcurrentDictionary<KeyValuePair<string, object?>[], Series> _byTags = new(Tags.Comparer);
    private readonly ConcurrentDictionary<KeyValuePair<string, object?>[], Series>.AlternateLookup<ReadOnlySpan<KeyValuePair<string, object?>>> _lookup;

    // By the label text: the truth. The same tags in another order are the same series.
    private readonly ConcurrentDictionary<string, Series> _byLabels = new(StringComparer.Ordinal);
    private readonly Series _rest;
    private int _cached;
    private int _count;
    private long _overflow;
    private int _generation;

    public Family(string name, MetricKind kind, Instrument instrument, int maxSeries)
    {
        Name = name;
        Kind = kind;
        _help = instrument.Description ?? "";
        _maxSeries = maxSeries;
        _lookup = _byTags.GetAlternateLookup<ReadOnlySpan<KeyValuePair<string, object?>>>();
        _bounds = kind == MetricKind.Histogram ? BoundsOf(instrument) : [];
        _boundLabels = [.. _bounds.Select(Number), "+Inf"];
        _rest = new Series("otel_metric_overflow=\"true\"", _bounds.Length);
    }

    public string Name { get; }

    public MetricKind Kind { get; }

    /// <summary>Measurements that found no room for a series of their own.</summary>
    public long Overflow => Volatile.Read(ref _overflow);

    private bool IsObserved => Kind is MetricKind.ObservedCounter or MetricKind.ObservedGauge;

    public void Record(double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        if (!_lookup.TryGetValue(tags, out var series))
        {
            series = Find(tags);
        }

        switch (Kind)
        {
            case MetricKind.Histogram:
                series.Observe(value, _bounds);
                break;
            case MetricKind.Counter:
                // A counter that falls would look like a restart to whoever reads it.
                if (value > 0)
                {
                    series.Add(value);
                }

                break;
            case MetricKind.Level:
                series.Add(value);
                break;
            case MetricKind.Gauge:
                series.Set(value);
                break;
            case MetricKind.ObservedCounter or MetricKind.ObservedGauge:
                series.Report(value, _generation);
                break;
        }
    }

    /// <summary>Starts a collection: observed series that do not report in it are gone afterwards.</summary>
    public void Begin(int generation) => _generation = generation;

    public void WriteTo(StringBuilder text)
    {
        if (IsObserved)
        {
            Forget();
        }

        var series = _byLabels.Values.ToList();
        if (Overflow > 0 && Kind != MetricKind.Gauge && !IsObserved)
        {
            series.Add(_rest);
        }

        if (series.Count == 0)
        {
            return;
        }

        if (_help.Length > 0)
        {
            text.Append("# HELP ").Append(Name).Append(' ').Append(Escape(_help, quotes: false)).Append('\n');
        }

        text.Append("# TYPE ").Append(Name).Append(' ').Append(TypeWord()).Append('\n');
        series.Sort((a, b) => string.CompareOrdinal(a.Labels, b.Labels));
        foreach (var one in series)
        {
            if (Kind == MetricKind.Histogram)
            {
                one.WriteHistogram(text, Name, _boundLabels);
            }
            else
            {
                text.Append(Name);
                one.WriteLabels(text).Append(' ').Append(Number(one.Value)).Append('\n');
            }
        }
    }

    internal static string Number(double value) => value switch
    {
        double.PositiveInfinity => "+Inf",
        double.NegativeInfinity => "-Inf",
        _ => value.ToString("R", CultureInfo.InvariantCulture),
    };

    private string TypeWord() => Kind switch
    {
        MetricKind.Counter or MetricKind.ObservedCounter => "counter",
        MetricKind.Level or MetricKind.Gauge or MetricKind.ObservedGauge => "gauge",
        MetricKind.Histogram => "histogram",
    };

    private Series Find(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var labels = Labels(tags);
        if (!_byLabels.TryGetValue(labels, out var series))
        {
            if (Interlocked.Increment(ref _count) > _maxSeries)
            {
                Interlocked.Decrement(ref _count);
                Interlocked.Increment(ref _overflow);
                return _rest;
            }

            var made = new Series(labels, _bounds.Length);
            series = _byLabels.GetOrAdd(labels, made);
            if (!ReferenceEquals(series, made))
            {
                Interlocked.Decrement(ref _count);
            }
        }

        // Orders of the same tags are few; should they ever be many, the rest takes the slow way.
        if (Interlocked.Increment(ref _cached) <= 2 * _maxSeries)
        {
            _lookup.TryAdd(tags, series);
        }
        else
        {
            Interlocked.Decrement(ref _cached);
        }

        return series;
    }

    private void Forget()
    {
        foreach (var (labels, series) in _byLabels)
        {
            if (series.Generation != _generation && _byLabels.TryRemove(labels, out _))
            {
                Interlocked.Decrement(ref _count);
            }
        }

        foreach (var (tags, series) in _byTags)
        {
            if (series.Generation != _generation && _byTags.TryRemove(tags, out _))
            {
                Interlocked.Decrement(ref _cached);
            }
        }
    }

    private static string Labels(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var labels = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in tags)
        {
            var text = Text(value);
            if (text.Length > 0)
            {
                // Two keys that become one label: both values stay visible.
                var name = MetricName.Sanitise(key, colons: false);
                labels[name] = labels.TryGetValue(name, out var other) ? $"{other};{text}" : text;
            }
        }

        return string.Join(',', labels.Select(label => $"{label.Key}=\"{Escape(label.Value, quotes: true)}\""));
    }

    private static string Text(object? value) => value switch
    {
        null => "",
        string text => text.Length > 200 ? text[..200] : text,
        bool flag => flag ? "true" : "false",
        IFormattable formattable => formattable.ToString(null, CultureInfo.InvariantCulture),
        _ => value.ToString() ?? "",
    };

    private static string Escape(string text, bool quotes)
    {
        var escaped = text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
        return quotes ? escaped.Replace("\"", "\\\"", StringComparison.Ordinal) : escaped;
    }

    private static double[] BoundsOf(Instrument instrument)
    {
        var advised = instrument switch
        {
            Instrument<double> { Advice.HistogramBucketBoundaries: { } bounds } => bounds,
            Instrument<float> { Advice.HistogramBucketBoundaries: { } bounds } => bounds.Select(bound => (double)bound),
            Instrument<long> { Advice.HistogramBucketBoundaries: { } bounds } => bounds.Select(bound => (double)bound),
            Instrument<int> { Advice.HistogramBucketBoundaries: { } bounds } => bounds.Select(bound => (double)bound),
            _ => (IEnumerable<double>?)null,
        };
        return advised is null ? MetricName.DefaultBounds(instrument.Unit) : [.. advised.Where(double.IsFinite).Distinct().Order()];
    }

    /// <summary>Tag lists are equal when keys and values are, in order. Another order is found by its label text.</summary>
    private sealed class Tags : IEqualityComparer<KeyValuePair<string, object?>[]>, IAlternateEqualityComparer<ReadOnlySpan<KeyValuePair<string, object?>>, KeyValuePair<string, object?>[]>
    {
        public static readonly Tags Comparer = new();

        public KeyValuePair<string, object?>[] Create(ReadOnlySpan<KeyValuePair<string, object?>> alternate) => alternate.ToArray();

        public bool Equals(KeyValuePair<string, object?>[]? x, KeyValuePair<string, object?>[]? y) => Equals(x.AsSpan(), y!);

        public bool Equals(ReadOnlySpan<KeyValuePair<string, object?>> alternate, KeyValuePair<string, object?>[] other)
        {
            if (alternate.Length != other.Length)
            {
                return false;
            }

            for (var i = 0; i < other.Length; i++)
            {
                if (alternate[i].Key != other[i].Key || !Equals(alternate[i].Value, other[i].Value))
                {
                    return false;
                }
            }

            return true;
        }

        public int GetHashCode([DisallowNull] KeyValuePair<string, object?>[] obj) => GetHashCode(obj.AsSpan());

        public int GetHashCode(ReadOnlySpan<KeyValuePair<string, object?>> alternate)
        {
            var hash = default(HashCode);
            foreach (var (key, value) in alternate)
            {
                hash.Add(key);
                hash.Add(value);
            }

            return hash.ToHashCode();
        }
    }
}

/// <summary>The current values of one set of labels. Written by any thread, without locks.</summary>
internal sealed class Series(string labels, int bounds)
{
    private readonly long[] _buckets = new long[bounds + 1];
    private long _bits;

    public string Labels => labels;

    /// <summary>The collection in which the series last reported.</summary>
    public int Generation { get; private set; }

    public double Value => BitConverter.Int64BitsToDouble(Volatile.Read(ref _bits));

    public void Set(double value) => Volatile.Write(ref _bits, BitConverter.DoubleToInt64Bits(value));

    public void Add(double value)
    {
        for (var seen = Volatile.Read(ref _bits); ;)
        {
            var next = BitConverter.DoubleToInt64Bits(BitConverter.Int64BitsToDouble(seen) + value);
            var before = Interlocked.CompareExchange(ref _bits, next, seen);
            if (before == seen)
            {
                return;
            }

            seen = before;
        }
    }

    // Two instruments of one name that report the same labels in one collection: together they are the value.
    public void Report(double value, int generation)
    {
        Set(Generation == generation ? Value + value : value);
        Generation = generation;
    }

    public void Observe(double value, double[] bounds)
    {
        // The first bound that is not below the value; a bucket includes its bound.
        var at = bounds.AsSpan().BinarySearch(value);
        Interlocked.Increment(ref _buckets[at >= 0 ? at : double.IsNaN(value) ? bounds.Length : ~at]);
        Add(value);
    }

    public StringBuilder WriteLabels(StringBuilder text, string? extra = null)
    {
        if (labels.Length == 0 && extra is null)
        {
            return text;
        }

        text.Append('{').Append(labels);
        if (extra is not null)
        {
            text.Append(labels.Length > 0 ? "," : "").Append("le=\"").Append(extra).Append('"');
        }

        return text.Append('}');
    }

    public void WriteHistogram(StringBuilder text, string name, string[] boundLabels)
    {
        // The count is the last bucket as read here, so that the lines agree with each other while others go on recording.
        var sum = Value;
        long count = 0;
        for (var i = 0; i < boundLabels.Length; i++)
        {
            count += Volatile.Read(ref _buckets[i]);
            text.Append(name).Append("_bucket");
            WriteLabels(text, boundLabels[i]).Append(' ').Append(count).Append('\n');
        }

        text.Append(name).Append("_sum");
        WriteLabels(text).Append(' ').Append(Family.Number(sum)).Append('\n');
        text.Append(name).Append("_count");
        WriteLabels(text).Append(' ').Append(count).Append('\n');
    }
}
