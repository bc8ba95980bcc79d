using System.Runtime.InteropServices;

namespace Platform.PromQL;

/// <summary>Where the engine gets its samples. One instance shows one realm, or all of them; expressions cannot reach beyond it.</summary>
public interface ISeriesSource
{
    /// <summary>
    /// Every series that all of <see cref="Selection.Matchers"/> accept and that may have samples in the selection's time, each exactly
    /// once, in any order. They come in batches, so that old data is read while earlier series are evaluated and memory stays bounded:
    /// a batch is released before the next is asked for. A series without any sample in that time may be returned; readers skip it.
    /// </summary>
    IAsyncEnumerable<IReadOnlyList<Series>> SelectAsync(Selection selection, CancellationToken ct);
}

/// <summary>What an expression reads with one selector.</summary>
/// <param name="Matchers">At least one of them refuses the empty string; the parser makes sure of that.</param>
/// <param name="From">First millisecond that may matter, inclusive.</param>
/// <param name="To">Last millisecond that may matter, inclusive.</param>
public sealed record Selection(IReadOnlyList<Matcher> Matchers, long From, long To)
{
    /// <summary>Only the labels are of interest; <see cref="Series.Read"/> is not going to be called.</summary>
    public bool LabelsOnly { get; init; }
}

/// <summary>One series as the source holds it. Whatever has to be fetched was fetched when it was handed out; reading only decodes.</summary>
public abstract class Series(Labels labels)
{
    public Labels Labels { get; } = labels;

    /// <summary>
    /// Appends the samples from <paramref name="from"/> to <paramref name="to"/> (milliseconds, both inclusive) in order of time, one per
    /// timestamp, stale markers included. May be called from any thread, from several at once for different series.
    /// </summary>
    public abstract void Read(long from, long to, SampleColumns into);
}

/// <summary>Samples of one series as two columns. Owned by one reader, cleared and used again for the next series.</summary>
public sealed class SampleColumns
{
    private long[] _times = new long[128];
    private double[] _values = new double[128];

    public int Count { get; private set; }

    /// <summary>Milliseconds since 1970-01-01 UTC, ascending.</summary>
    public ReadOnlySpan<long> Times => _times.AsSpan(0, Count);

    public ReadOnlySpan<double> Values => _values.AsSpan(0, Count);

    public void Clear() => Count = 0;

    public void Add(long at, double value)
    {
        if (Count == _times.Length)
        {
            Grow(Count + 1);
        }

        _times[Count] = at;
        _values[Count] = value;
        Count++;
    }

    public void AddRange(ReadOnlySpan<long> times, ReadOnlySpan<double> values)
    {
        times.CopyTo(Reserve(times.Length, out var room));
        values.CopyTo(room);
        Advance(times.Length);
    }

    /// <summary>Room for at least <paramref name="count"/> more samples, to be filled and then made visible by <see cref="Advance"/>.</summary>
    public Span<long> Reserve(int count, out Span<double> values)
    {
        if (Count + count > _times.Length)
        {
            Grow(Count + count);
        }

        values = _values.AsSpan(Count);
        return _times.AsSpan(Count);
    }

    public void Advance(int count) => Count += count;

    /// <summary>Takes out the stale markers, which ranges ignore. Few series have any, so they are looked for first.</summary>
    internal void RemoveStale()
    {
        var bits = MemoryMarshal.Cast<double, long>(_values.AsSpan(0, Count));
        var kept = bits.IndexOf(StaleMarker.Bits);
        if (kept < 0)
        {
            return;
        }

        for (var at = kept + 1; at < Count; at++)
        {
            if (!StaleMarker.Is(_values[at]))
            {
                _times[kept] = _times[at];
                _values[kept++] = _values[at];
            }
        }

        Count = kept;
    }

    private void Grow(int needed)
    {
        var size = Math.Max(needed, 2 * _times.Length);
        Array.Resize(ref _times, size);
        Array.Resize(ref _values, size);
    }
}

/// <summary>The NaN that says "this series ended here", told from ordinary NaNs by its bits (Prometheus staleness).</summary>
public static class StaleMarker
{
    public const long Bits = 0x7ff0000000000002;

    public static readonly double Value = BitConverter.Int64BitsToDouble(Bits);

    public static bool Is(double value) => BitConverter.DoubleToInt64Bits(value) == Bits;
}
