namespace Platform.Metrics.Intake;

/// <summary>
/// The buckets of a point of an exponential histogram, and their way into classic ones. A bound of a coarse scale is a bound of every
/// finer one, so buckets merge without loss, and points of different scales agree about the bounds that they share.
/// </summary>
internal ref struct ExponentialBuckets
{
    // Classic buckets of one side of a point; those that are more become coarser.
    private const int MostClassic = 160;

    // Deltas are added up, so every point must speak about the same bounds, whatever it holds: powers of two from a thousandth to a billion.
    private const int LowestPower = -10;
    private const int HighestPower = 30;

    /// <summary>The base is 2^(2^-scale).</summary>
    public int Scale;

    public ulong Zero;

    public double ZeroThreshold;

    /// <summary>Fields of a <c>Buckets</c> message.</summary>
    public ReadOnlySpan<byte> Positive;

    /// <summary>As <see cref="Positive"/>, of the absolute values.</summary>
    public ReadOnlySpan<byte> Negative;

    /// <param name="isDelta">The bounds must be the same for all points.</param>
    /// <param name="bounds">Filled, ascending, without +Inf.</param>
    /// <param name="below">For each bound, how many values are not above it.</param>
    /// <returns>What is wrong with the buckets, or null.</returns>
    public readonly string? ToClassic(OtlpOptions options, bool isDelta, List<double> bounds, List<ulong> below)
    {
        var positive = new SortedDictionary<int, ulong>();
        var negative = new SortedDictionary<int, ulong>();
        var to = Math.Min(Scale, isDelta ? 0 : options.ExponentialScale);
        if ((Gather(Positive, Scale - to, options.MaxBuckets, positive) ?? Gather(Negative, Scale - to, options.MaxBuckets, negative)) is { } fault)
        {
            return fault;
        }

        while (!isDelta && Math.Max(Width(positive), Width(negative)) > MostClassic)
        {
            positive = Halve(positive);
            negative = Halve(negative);
            to--;
        }

        if (isDelta)
        {
            ToLadder(positive, negative, to, bounds, below);
        }
        else
        {
            ToOwnBounds(positive, negative, to, bounds, below);
        }

        return null;
    }

    private readonly void ToOwnBounds(SortedDictionary<int, ulong> positive, SortedDictionary<int, ulong> negative, int scale, List<double> bounds, List<ulong> below)
    {
        ulong count = 0;
        if (negative.Count > 0)
        {
            // The largest absolute values are the smallest ones.
            for (var index = negative.Keys.Max(); index >= negative.Keys.Min(); index--)
            {
                count += negative.GetValueOrDefault(index);
                Add(-Bound(index, scale), count);
            }
        }

        count += Zero;
        if (Zero > 0 || negative.Count > 0)
        {
            Add(double.IsFinite(ZeroThreshold) ? Math.Max(0, ZeroThreshold) : 0, count);
        }

        if (positive.Count > 0)
        {
            for (var index = positive.Keys.Min(); index <= positive.Keys.Max(); index++)
            {
                count += positive.GetValueOrDefault(index);
                Add(Bound(index + 1, scale), count);
            }
        }

        void Add(double bound, ulong values)
        {
            // A threshold for zero that reaches into the buckets, or a bound beyond what a double holds, adds nothing.
            if (double.IsFinite(bound) && (bounds.Count == 0 || bound > bounds[^1]))
            {
                bounds.Add(bound);
                below.Add(values);
            }
            else if (bounds.Count > 0 && bound <= bounds[^1])
            {
                below[^1] = values;
            }
        }
    }

    private readonly void ToLadder(SortedDictionary<int, ulong> positive, SortedDictionary<int, ulong> negative, int scale, List<double> bounds, List<ulong> below)
    {
        var count = Zero;
        foreach (var values in negative.Values)
        {
            count += values;
        }

        bounds.Add(0);
        below.Add(count);
        using var buckets = positive.GetEnumerator();
        var has = buckets.MoveNext();
        for (var power = LowestPower; power <= HighestPower; power++)
        {
            var bound = Math.ScaleB(1, power);
            while (has && Bound(buckets.Current.Key + 1, scale) <= bound)
            {
                count += buckets.Current.Value;
                has = buckets.MoveNext();
            }

            bounds.Add(bound);
            below.Add(count);
        }
    }

    private static string? Gather(ReadOnlySpan<byte> message, int coarser, int most, SortedDictionary<int, ulong> into)
    {
        long offset = 0;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Field == 1)
            {
                offset = reader.ZigZag();
            }
            else
            {
                reader.Skip();
            }
        }

        if (offset is < int.MinValue / 2 or > int.MaxValue / 2)
        {
            return $"a point has the offset {offset}, at which no number lies";
        }

        var index = (int)offset;
        reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Field != 2)
            {
                reader.Skip();
            }
            else if (reader.Wire == 0)
            {
                Add(reader.Varint());
            }
            else
            {
                for (var list = reader.Bytes(); list.Length > 0;)
                {
                    Add(ProtoReader.TakeVarint(ref list));
                }
            }
        }

        return index - offset > most ? $"a point has {index - offset} buckets; at most {most} are taken (METRICS_OTLP_MAX_BUCKETS)" : null;

        void Add(ulong count)
        {
            // Beyond the bound they are only counted, for the message.
            if (count > 0 && index - offset < most)
            {
                var merged = index >> coarser;
                into[merged] = into.GetValueOrDefault(merged) + count;
            }

            index++;
        }
    }

    private static long Width(SortedDictionary<int, ulong> buckets) => buckets.Count == 0 ? 0 : (long)buckets.Keys.Max() - buckets.Keys.Min() + 1;

    private static SortedDictionary<int, ulong> Halve(SortedDictionary<int, ulong> buckets)
    {
        var halved = new SortedDictionary<int, ulong>();
        foreach (var (index, count) in buckets)
        {
            halved[index >> 1] = halved.GetValueOrDefault(index >> 1) + count;
        }

        return halved;
    }

    // 2^(index · 2^-scale), made so that a bound has the same bits at every scale at which it is one.
    private static double Bound(int index, int scale)
    {
        while (scale > 0 && index % 2 == 0)
        {
            index /= 2;
            scale--;
        }

        if (scale <= 0)
        {
            var power = (long)index << -scale;
            return power > 1023 ? double.PositiveInfinity : Math.ScaleB(1, (int)Math.Max(power, -1100));
        }

        var whole = index >> scale;
        var part = index - (whole << scale);
        return Math.ScaleB(Math.Pow(2, Math.ScaleB(part, -scale)), whole);
    }
}
