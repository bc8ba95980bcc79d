using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>The samples of a series as they were at one moment. Reading takes no lock and may happen on any thread.</summary>
internal readonly struct BufferView(Segment[] sealedRuns, OpenRun open, OpenRun late)
{
    [ThreadStatic]
    private static Merge? _merge;

    public bool IsEmpty => sealedRuns.Length == 0 && open.Count == 0 && late.Count == 0;

    /// <summary>Appends what lies in the range, in order of time, one sample per timestamp.</summary>
    /// <param name="stored">
    /// Chunks of the same series from the database, oldest first by their start; they came earlier, so of two samples with one time theirs stays.
    /// </param>
    /// <param name="storedTo">Those chunks count up to here.</param>
    public void Read(ReadOnlySpan<Segment> stored, long storedTo, long from, long to, SampleColumns into)
    {
        storedTo = Math.Min(to, storedTo);
        if (InOrder(stored, storedTo, from, to))
        {
            Decode(stored, from, storedTo, into);
            Decode(sealedRuns, from, to, into);
            Clip(open.Times, open.Values, from, to, into);
            return;
        }

        var merge = _merge ??= new Merge();
        merge.Clear();
        foreach (var segment in stored)
        {
            merge.Add(segment, from, storedTo);
        }

        foreach (var segment in sealedRuns)
        {
            merge.Add(segment, from, to);
        }

        merge.Add(late.Times, late.Values, from, to);
        merge.Add(open.Times, open.Values, from, to);
        into.AddRange(merge.Times, merge.Values);
    }

    // The usual case: each piece ends before the next one begins, and pieces are decoded straight into the answer.
    private bool InOrder(ReadOnlySpan<Segment> stored, long storedTo, long from, long to)
    {
        var last = long.MinValue;
        if (late.Count > 0 && late.First <= to && late.Last >= from)
        {
            return false;
        }

        return InOrder(stored, from, storedTo, ref last) && InOrder(sealedRuns, from, to, ref last) && (open.Count == 0 || open.First > to || open.First > last);
    }

    private static bool InOrder(ReadOnlySpan<Segment> segments, long from, long to, ref long last)
    {
        foreach (var segment in segments)
        {
            if (segment.To < from || segment.From > to)
            {
                continue;
            }

            if (segment.From <= last)
            {
                return false;
            }

            last = Math.Min(to, segment.To);
        }

        return true;
    }

    private static void Decode(ReadOnlySpan<Segment> segments, long from, long to, SampleColumns into)
    {
        foreach (var segment in segments)
        {
            if (segment.To >= from && segment.From <= to)
            {
                ChunkCodec.Read(segment.Bytes, from, to, into);
            }
        }
    }

    private static void Clip(ReadOnlySpan<long> times, ReadOnlySpan<double> values, long from, long to, SampleColumns into)
    {
        var first = LowerBound(times, from);
        var end = to == long.MaxValue ? times.Length : LowerBound(times, to + 1);
        if (end > first)
        {
            into.AddRange(times[first..end], values[first..end]);
        }
    }

    internal static int LowerBound(ReadOnlySpan<long> times, long time)
    {
        var at = times.BinarySearch(time);
        return at < 0 ? ~at : at;
    }

    /// <summary>Pieces that overlap, put together one after the other; the first sample of a time stays.</summary>
    private sealed class Merge
    {
        private readonly SampleColumns _piece = new();
        private long[] _times = new long[256];
        private double[] _values = new double[256];
        private long[] _otherTimes = new long[256];
        private double[] _otherValues = new double[256];
        private int _count;

        public ReadOnlySpan<long> Times => _times.AsSpan(0, _count);

        public ReadOnlySpan<double> Values => _values.AsSpan(0, _count);

        public void Clear() => _count = 0;

        public void Add(Segment segment, long from, long to)
        {
            if (segment.To < from || segment.From > to)
            {
                return;
            }

            _piece.Clear();
            ChunkCodec.Read(segment.Bytes, from, to, _piece);
            Add(_piece.Times, _piece.Values);
        }

        public void Add(ReadOnlySpan<long> times, ReadOnlySpan<double> values, long from, long to)
        {
            var first = LowerBound(times, from);
            var end = to == long.MaxValue ? times.Length : LowerBound(times, to + 1);
            if (end > first)
            {
                Add(times[first..end], values[first..end]);
            }
        }

        private void Add(ReadOnlySpan<long> times, ReadOnlySpan<double> values)
        {
            if (times.IsEmpty)
            {
                return;
            }

            Reserve(_count + times.Length);
            if (_count == 0 || times[0] > _times[_count - 1])
            {
                times.CopyTo(_times.AsSpan(_count));
                values.CopyTo(_values.AsSpan(_count));
                _count += times.Length;
                return;
            }

            // Only what lies behind the newcomer's start moves.
            var start = LowerBound(Times, times[0]);
            Times[..start].CopyTo(_otherTimes);
            Values[..start].CopyTo(_otherValues);
            var (at, left, right) = (start, start, 0);
            while (left < _count || right < times.Length)
            {
                var takeLeft = right == times.Length || (left < _count && _times[left] <= times[right]);
                if (takeLeft)
                {
                    right += right < times.Length && times[right] == _times[left] ? 1 : 0;
                    (_otherTimes[at], _otherValues[at]) = (_times[left], _values[left]);
                    left++;
                }
                else
                {
                    (_otherTimes[at], _otherValues[at]) = (times[right], values[right]);
                    right++;
                }

                at++;
            }

            (_times, _otherTimes) = (_otherTimes, _times);
            (_values, _otherValues) = (_otherValues, _values);
            _count = at;
        }

        private void Reserve(int count)
        {
            if (count > _times.Length)
            {
                var size = Math.Max(count, 2 * _times.Length);
                Array.Resize(ref _times, size);
                Array.Resize(ref _values, size);
                _otherTimes = new long[size];
                _otherValues = new double[size];
            }
        }
    }
}
