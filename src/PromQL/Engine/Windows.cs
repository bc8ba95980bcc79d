namespace Platform.PromQL;

/// <summary>The windows of a range function: for each step the samples of a span of time that ends there.</summary>
/// <param name="FirstEnd">Where the window of the first step ends, inclusive.</param>
/// <param name="Advance">How far it moves from step to step; 0 with <c>@</c>.</param>
/// <param name="Range">Its length in milliseconds.</param>
/// <param name="Closed">A sample at the left edge is inside.</param>
/// <param name="Steps">The times of evaluation.</param>
internal sealed record Windows(long FirstEnd, long Advance, long Range, bool Closed, Steps Steps)
{
    /// <summary>First millisecond that any window reaches.</summary>
    public long From => FirstEnd - Range + (Closed ? 0 : 1);

    /// <summary>Last millisecond that any window reaches.</summary>
    public long To => FirstEnd + Advance * (Steps.Count - 1);

    public long EndOf(int step) => FirstEnd + Advance * step;

    public long StartOf(int step) => EndOf(step) - Range;
}

/// <summary>The samples of one series and a window that moves over them; times and values are never read twice.</summary>
internal ref struct Window(Windows windows, ReadOnlySpan<long> times, ReadOnlySpan<double> values)
{
    private readonly Windows _windows = windows;
    private readonly long _leftOut = windows.Closed ? 1 : 0;

    public readonly ReadOnlySpan<long> AllTimes = times;
    public readonly ReadOnlySpan<double> AllValues = values;

    /// <summary>Index of the first sample inside.</summary>
    public int From;

    /// <summary>Index after the last sample inside.</summary>
    public int To;

    public long Start;
    public long End;

    public readonly int Count => To - From;

    public readonly ReadOnlySpan<long> Times => AllTimes[From..To];

    public readonly ReadOnlySpan<double> Values => AllValues[From..To];

    /// <summary>Moves to a later step; says whether a sample is inside.</summary>
    public bool MoveTo(int step)
    {
        End = _windows.EndOf(step);
        Start = End - _windows.Range;
        var to = To;
        while (to < AllTimes.Length && AllTimes[to] <= End)
        {
            to++;
        }

        var from = From;
        var edge = Start - _leftOut;
        while (from < to && AllTimes[from] <= edge)
        {
            from++;
        }

        From = from;
        To = to;
        return from < to;
    }
}

/// <summary>What a worker lends to a function while it evaluates one series. One per worker, used again for each series.</summary>
internal sealed class Scratch
{
    private double[] _numbers = [];
    private int[] _counts = [];

    /// <summary>At least that many numbers, with anything in them.</summary>
    public Span<double> Numbers(int count)
    {
        if (_numbers.Length < count)
        {
            _numbers = new double[Math.Max(count, 256)];
        }

        return _numbers.AsSpan(0, count);
    }

    public Span<int> Counts(int count)
    {
        if (_counts.Length < count)
        {
            _counts = new int[Math.Max(count, 256)];
        }

        return _counts.AsSpan(0, count);
    }
}

/// <summary>
/// A range function over one series: fills a column with its value at each step, absent where it has none.
/// </summary>
/// <param name="window">Before the first sample; the function moves it from step to step.</param>
/// <param name="parameters">The scalar arguments in order, a value for each step.</param>
internal delegate void RangeFunction(ref Window window, Windows windows, double[][] parameters, Scratch scratch, Span<double> column);
