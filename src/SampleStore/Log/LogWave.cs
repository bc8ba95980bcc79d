namespace Platform.SampleStore;

/// <summary>
/// Rows of the log that go into the head together. A sender that keeps up has one sample per series in a row, and series lie far apart in
/// memory: so the samples of many rows are put together by series first, and each series is visited once. Not safe for two threads.
/// </summary>
internal sealed class LogWave(Head head, SeriesRows rows, CommitOrder order)
{
    // At which a wave is full: 32 MB of columns and references, and a dozen samples of each series when there are tens of thousands.
    private const int MostSamples = 1_000_000;

    // Below this, a second thread costs more than it does.
    private const int FewSamples = 8_192;

    private readonly List<(ulong Txid, int Samples, byte[] Bytes)> _rows = [];
    private readonly List<DecodedBatch> _decoded = [];
    private readonly Part[] _parts = [.. Enumerable.Range(0, Environment.ProcessorCount).Select(_ => new Part())];
    private long _samples;

    /// <summary>What has come is to be applied before more is added.</summary>
    public bool IsFull => _samples >= MostSamples;

    /// <summary>Rows come in the order of the log, so that most series find their samples in order of time.</summary>
    public void Add(ulong txid, int samples, byte[] bytes)
    {
        _rows.Add((txid, samples, bytes));
        _samples += samples;
    }

    /// <summary>Forgets the rows; of memory it keeps what the next few rows need.</summary>
    public void Clear()
    {
        if (_samples > MostSamples / 10)
        {
            _decoded.Clear();
            Array.ForEach(_parts, part => part.Forget());
        }

        _rows.Clear();
        _samples = 0;
    }

    /// <summary>Brings the rows into the head, and is empty then.</summary>
    /// <returns>The id of a series that has samples and no row; 0 when there is none.</returns>
    public async Task<long> ApplyAsync(CancellationToken ct)
    {
        while (_decoded.Count < _rows.Count)
        {
            _decoded.Add(new DecodedBatch());
        }

        Parallel.For(0, _rows.Count, at => _decoded[at].Decode(_rows[at].Bytes));
        var parts = _parts.AsMemory(0, _samples < FewSamples ? 1 : _parts.Length);
        Parallel.For(0, parts.Length, number =>
        {
            var part = parts.Span[number];
            part.Collect(_decoded, _rows.Count, number, parts.Length);
            part.Resolve(rows);
        });

        var unknown = _parts[..parts.Length].SelectMany(part => part.Unknown).ToArray();
        if (unknown.Length > 0)
        {
            await rows.LoadAsync(unknown, ct);
        }

        var places = _rows.ConvertAll(row => order.Begin(row.Txid, row.Samples));
        var sealAt = head.SealAt;
        Parallel.For(0, parts.Length, number => parts.Span[number].Apply(head, rows, _decoded, places, sealAt));
        head.Watch.Tell();
        var missing = _parts[..parts.Length].Max(part => part.Missing);
        Clear();
        return missing;
    }

    /// <summary>The series that one thread takes care of.</summary>
    private sealed class Part
    {
        private const int DigitBits = 11;

        private readonly int[] _counts = new int[1 << DigitBits];
        private readonly List<(LiveSeries? Series, int End)> _groups = [];
        private Reference[] _runs = [];
        private Reference[] _others = [];
        private long[] _times = new long[256];
        private double[] _values = new double[256];
        private int _count;

        /// <summary>Series that are not in memory.</summary>
        public List<long> Unknown { get; } = [];

        /// <summary>See <see cref="LogWave.ApplyAsync"/>.</summary>
        public long Missing { get; private set; }

        private readonly record struct Reference(long Id, int Batch, int Start, int Count);

        /// <summary>Finds the runs of its series and puts them in order of the series, those of one series in the order of the log.</summary>
        public void Collect(List<DecodedBatch> batches, int count, int part, int parts)
        {
            _count = 0;
            var (least, most) = (long.MaxValue, long.MinValue);
            for (var batch = 0; batch < count; batch++)
            {
                var runs = batches[batch].Runs;
                if (_runs.Length - _count < runs.Length)
                {
                    Array.Resize(ref _runs, Math.Max(_count + runs.Length, 2 * _runs.Length));
                }

                for (var run = 0; run < runs.Length; run++)
                {
                    var (id, first, length) = runs[run];
                    // Neighbours stay together: their samples lie next to each other in the row.
                    if (parts == 1 || (id >> 6) % parts == part)
                    {
                        _runs[_count++] = new Reference(id, batch, first, length);
                        least = Math.Min(least, id);
                        most = Math.Max(most, id);
                    }
                }
            }

            if (_others.Length < _count)
            {
                _others = new Reference[_runs.Length];
            }

            // By the digits of the id, the lowest first; each turn keeps the order of the one before.
            for (var shift = 0; _count > 0 && shift < 64 && (ulong)(most - least) >> shift != 0; shift += DigitBits)
            {
                SortBy(least, shift);
            }
        }

        public void Resolve(SeriesRows rows)
        {
            _groups.Clear();
            Unknown.Clear();
            for (var at = 0; at < _count;)
            {
                var id = _runs[at].Id;
                var series = rows.Find(id);
                if (series is null)
                {
                    Unknown.Add(id);
                }

                while (at < _count && _runs[at].Id == id)
                {
                    at++;
                }

                _groups.Add((series, at));
            }
        }

        public void Apply(Head head, SeriesRows rows, List<DecodedBatch> batches, List<long> places, int sealAt)
        {
            var at = 0;
            Missing = 0;
            foreach (var (found, end) in _groups)
            {
                if ((found ?? rows.Find(_runs[at].Id)) is { } series)
                {
                    var samples = 0;
                    var last = _runs[end - 1].Batch;
                    for (; at < end; at++)
                    {
                        samples = Append(batches[_runs[at].Batch], _runs[at], samples);
                    }

                    // All of them count as of the youngest commit: they stay in memory until that one is settled.
                    head.Apply(series, _times.AsSpan(0, samples), _values.AsSpan(0, samples), sealAt, places[last]);
                    head.Publish(series);
                    head.Watch.Touch(series);
                }
                else
                {
                    Missing = _runs[at].Id;
                    at = end;
                }
            }
        }

        public void Forget() => (_runs, _others) = ([], []);

        private int Append(DecodedBatch batch, in Reference run, int samples)
        {
            if (_times.Length - samples < run.Count)
            {
                var size = Math.Max(samples + run.Count, 2 * _times.Length);
                Array.Resize(ref _times, size);
                Array.Resize(ref _values, size);
            }

            if (run.Count == 1)
            {
                _times[samples] = batch.Times[run.Start];
                _values[samples] = batch.Values[run.Start];
            }
            else
            {
                batch.Times.Slice(run.Start, run.Count).CopyTo(_times.AsSpan(samples));
                batch.Values.Slice(run.Start, run.Count).CopyTo(_values.AsSpan(samples));
            }

            return samples + run.Count;
        }

        private void SortBy(long least, int shift)
        {
            const int mask = (1 << DigitBits) - 1;
            var counts = _counts;
            Array.Clear(counts);
            foreach (ref readonly var run in _runs.AsSpan(0, _count))
            {
                counts[(int)((ulong)(run.Id - least) >> shift) & mask]++;
            }

            var start = 0;
            for (var digit = 0; digit < counts.Length; digit++)
            {
                (counts[digit], start) = (start, start + counts[digit]);
            }

            foreach (ref readonly var run in _runs.AsSpan(0, _count))
            {
                _others[counts[(int)((ulong)(run.Id - least) >> shift) & mask]++] = run;
            }

            (_runs, _others) = (_others, _runs);
        }
    }
}
