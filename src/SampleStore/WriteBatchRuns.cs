namespace Platform.SampleStore;

/// <summary>The samples of a batch, those of one series that follow each other taken together.</summary>
internal ref struct Runs(WriteBatch batch)
{
    private readonly ReadOnlySpan<StoredSeries> _series = batch.Series;
    private readonly ReadOnlySpan<long> _times = batch.Times;
    private readonly ReadOnlySpan<double> _values = batch.Values;
    private int _start;
    private int _end;

    public readonly Runs GetEnumerator() => this;

    public readonly Run Current => new(_series[_start], _times[_start.._end], _values[_start.._end]);

    public bool MoveNext()
    {
        _start = _end;
        if (_start == _series.Length)
        {
            return false;
        }

        var series = _series[_start];
        do
        {
            _end++;
        }
        while (_end < _series.Length && ReferenceEquals(_series[_end], series));

        return true;
    }

    public readonly ref struct Run(StoredSeries series, ReadOnlySpan<long> times, ReadOnlySpan<double> values)
    {
        public StoredSeries Series { get; } = series;

        public ReadOnlySpan<long> Times { get; } = times;

        public ReadOnlySpan<double> Values { get; } = values;
    }
}

/// <summary>Whether samples are neither too old nor too far ahead, for one request, with the reasons for its answer.</summary>
internal sealed class SampleAge
{
    private readonly long _oldest;
    private readonly long _newest;
    private (int Count, string Example) _tooOld;
    private (int Count, string Example) _tooFarAhead;

    public SampleAge(SampleStoreOptions options, TimeProvider clock)
    {
        var now = clock.GetUtcNow();
        _oldest = OldestAccepted(options, now);
        _newest = now.ToUnixTimeMilliseconds() + (long)options.MaxSampleFuture.TotalMilliseconds;
    }

    /// <summary>
    /// The time before which samples are refused: whole days leave retention, so the oldest day that is kept is given in full.
    /// </summary>
    public static long OldestAccepted(SampleStoreOptions options, DateTimeOffset now)
    {
        var retained = 86_400_000L * (now.ToUnixTimeSeconds() / 86_400 - options.RetentionDays);
        return options.MaxSampleAge == TimeSpan.Zero ? retained : Math.Max(retained, now.ToUnixTimeMilliseconds() - (long)options.MaxSampleAge.TotalMilliseconds);
    }

    /// <summary>All of the times are acceptable. Nothing is counted when they are not: <see cref="Accept"/> tells one from the other.</summary>
    public bool Accepts(ReadOnlySpan<long> times)
    {
        foreach (var time in times)
        {
            if (!Accepts(time))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>The time is acceptable; nothing is counted when it is not.</summary>
    public bool Accepts(long time) => time >= _oldest && time <= _newest;

    /// <summary>Whether one sample is acceptable; counts it when it is not.</summary>
    public bool Accept(StoredSeries series, long time)
    {
        if (time < _oldest)
        {
            _tooOld = (_tooOld.Count + 1, _tooOld.Example ?? Head.Shorten(series.Labels));
            return false;
        }

        if (time > _newest)
        {
            _tooFarAhead = (_tooFarAhead.Count + 1, _tooFarAhead.Example ?? Head.Shorten(series.Labels));
            return false;
        }

        return true;
    }

    /// <summary>Each reason once, with the number of samples and one series; counted in the metrics.</summary>
    public IReadOnlyList<string> Refusals(StoreMetrics metrics)
    {
        List<string>? reasons = null;
        if (_tooOld.Count > 0)
        {
            metrics.Refused(RefusalReason.TooOld, _tooOld.Count);
            (reasons ??= []).Add(
                $"{_tooOld.Count} samples are older than {Show(_oldest)}, the oldest that is accepted (METRICS_RETENTION_DAYS, METRICS_MAX_SAMPLE_AGE_HOURS), for example of {_tooOld.Example}");
        }

        if (_tooFarAhead.Count > 0)
        {
            metrics.Refused(RefusalReason.TooFarAhead, _tooFarAhead.Count);
            (reasons ??= []).Add(
                $"{_tooFarAhead.Count} samples are later than {Show(_newest)}, further ahead of this clock than is accepted (METRICS_MAX_SAMPLE_FUTURE_SECONDS), for example of {_tooFarAhead.Example}");
        }

        return reasons ?? (IReadOnlyList<string>)[];
    }

    private static string Show(long time) => DateTimeOffset.FromUnixTimeMilliseconds(time).ToString("yyyy-MM-ddTHH:mm:ssZ", System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>The durable total of a counter that comes as increments.</summary>
/// <param name="At">Time of the sample that was stored last. Each later one is at least a millisecond later, so that the counter never seems to fall.</param>
/// <param name="OnceAt">Time of the last increment that a sender may repeat.</param>
internal readonly record struct Total(double Value, long At, long OnceAt)
{
    public static readonly Total None = new(0, long.MinValue, long.MinValue);

    /// <summary>The total after the increment; null when the increment was counted before.</summary>
    public Total? Add(Increment increment)
    {
        if (increment.Once && increment.At <= OnceAt)
        {
            return null;
        }

        return new Total(Value + increment.By, At == long.MinValue ? increment.At : Math.Max(increment.At, At + 1), increment.Once ? increment.At : OnceAt);
    }
}
