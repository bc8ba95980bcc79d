using System.Runtime.CompilerServices;
using Platform.PromQL;

namespace Platform.Testing;

/// <summary>Series of a test in memory: the simplest source there is, without an index and without compression.</summary>
public sealed class MemorySeries : ISeriesSource
{
    private readonly List<Stored> _series = [];
    private readonly Dictionary<Labels, Stored> _byLabels = [];

    /// <summary>Series handed out at a time.</summary>
    public int BatchSize { get; init; } = 1_000;

    /// <summary>What was asked for, in order.</summary>
    public List<Selection> Asked { get; } = [];

    /// <summary>Adds samples after those that the series has.</summary>
    public void Add(Labels labels, ReadOnlySpan<long> times, ReadOnlySpan<double> values)
    {
        if (!_byLabels.TryGetValue(labels, out var series))
        {
            series = new Stored(labels);
            _byLabels.Add(labels, series);
            _series.Add(series);
        }

        series.Samples.AddRange(times, values);
    }

    /// <summary>A series in the notation of Prometheus' test scripts, its points at 0 and every <paramref name="step"/> milliseconds: <c>up{job="a"} 1x3 stale</c>.</summary>
    public void Load(string line, long step)
    {
        var (labels, points) = PromqlScript.Series(line);
        foreach (var (index, value) in (PromqlScript.Points(points) ?? throw new FormatException($"no points in {line}")).Index())
        {
            if (value is { } known)
            {
                Add(labels, [index * step], [known]);
            }
        }
    }

    public async IAsyncEnumerable<IReadOnlyList<Series>> SelectAsync(Selection selection, [EnumeratorCancellation] CancellationToken ct)
    {
        lock (Asked)
        {
            Asked.Add(selection);
        }

        foreach (var batch in _series.Where(series => selection.Matchers.All(matcher => matcher.Matches(series.Labels[matcher.Name]))).Chunk(BatchSize))
        {
            await Task.Yield();
            ct.ThrowIfCancellationRequested();
            yield return batch;
        }
    }

    private sealed class Stored(Labels labels) : Series(labels)
    {
        public SampleColumns Samples { get; } = new();

        public override void Read(long from, long to, SampleColumns into)
        {
            var times = Samples.Times;
            var (first, last) = (First(times, from), First(times, to == long.MaxValue ? to : to + 1));
            if (first < last)
            {
                into.AddRange(times[first..last], Samples.Values[first..last]);
            }
        }

        private static int First(ReadOnlySpan<long> times, long at)
        {
            var index = times.BinarySearch(at);
            return index < 0 ? ~index : index;
        }
    }
}
