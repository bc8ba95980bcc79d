namespace Platform.SampleStore;

/// <summary>
/// Times at a constant interval as (first, step, count): a whole chunk is one such run when its series was scraped without a miss. Each
/// gap or change of the interval begins another run.
/// </summary>
internal static class TimeRuns
{
    // A run takes about five bytes, a block of 128 times eleven and more.
    private const int SamplesPerRun = 24;

    /// <summary>Runs take less room than blocks.</summary>
    /// <exception cref="ArgumentException">The times do not ascend.</exception>
    public static bool AreFew(ReadOnlySpan<long> times)
    {
        var most = 1 + times.Length / SamplesPerRun;
        for (var start = 0; start < times.Length; most--)
        {
            if (most == 0)
            {
                for (var index = Math.Max(1, start); index < times.Length; index++)
                {
                    if (times[index] <= times[index - 1])
                    {
                        NotAscending(index);
                    }
                }

                return false;
            }

            start = EndOf(times, start);
        }

        return true;
    }

    public static void Write(ref ByteSink sink, ReadOnlySpan<long> times)
    {
        var runs = 0;
        for (var start = 0; start < times.Length; runs++)
        {
            start = EndOf(times, start);
        }

        sink.Varint((ulong)runs);
        var before = 0L;
        for (var start = 0; start < times.Length;)
        {
            var end = EndOf(times, start);
            sink.Varint((ulong)(end - start));
            sink.Zigzag(times[start] - before);
            if (end - start > 1)
            {
                sink.Varint((ulong)(times[start + 1] - times[start]));
            }

            before = times[end - 1];
            start = end;
        }
    }

    /// <summary>The times between <paramref name="from"/> and <paramref name="to"/>, and the place of the first of them in the chunk.</summary>
    public static (int First, int Taken) Read(scoped ref ByteSource source, int count, long from, long to, Span<long> times)
    {
        var runs = source.Count(count);
        var (first, taken, start, last) = (0, 0, 0, 0L);
        for (; runs > 0; runs--)
        {
            var length = source.Count(count - start);
            var begin = last + source.Zigzag();
            var step = length > 1 ? source.Varint() : 1;
            if (length == 0 || step == 0 || (start > 0 && begin <= last))
            {
                Damaged.Throw("times do not ascend");
            }

            // The differences fit 64 bits without a sign, also when the times do not fit 63 with one.
            var skipped = from <= begin ? 0UL : ((ulong)(from - begin) - 1) / step + 1;
            var until = to < begin ? 0UL : Math.Min((ulong)length - 1, (ulong)(to - begin) / step) + 1;
            if (skipped < until)
            {
                if (taken == 0)
                {
                    first = start + (int)skipped;
                }
                else if (first + taken != start + (int)skipped)
                {
                    Damaged.Throw("times do not ascend");
                }

                var some = times.Slice(taken, (int)(until - skipped));
                var time = begin + (long)(skipped * step);
                for (var index = 0; index < some.Length; index++)
                {
                    some[index] = time;
                    time += (long)step;
                }

                taken += some.Length;
            }

            last = begin + (long)((ulong)(length - 1) * step);
            start += length;
        }

        if (start != count)
        {
            Damaged.Throw("it ends too early");
        }

        return (first, taken);
    }

    internal static void NotAscending(int index) =>
        throw new ArgumentException($"The time at {index} is not later than the one before.");

    private static int EndOf(ReadOnlySpan<long> times, int start)
    {
        var end = start + 1;
        if (start > 0 && times[start] <= times[start - 1])
        {
            NotAscending(start);
        }

        if (end == times.Length)
        {
            return end;
        }

        if (times[end] <= times[start])
        {
            NotAscending(end);
        }

        var step = times[end] - times[start];
        while (end < times.Length && times[end] > times[end - 1] && times[end] - times[end - 1] == step)
        {
            end++;
        }

        return end;
    }
}
