using System.Globalization;

namespace Platform.PromQL;

/// <summary>histogram_quantile and histogram_fraction over classic histograms: series that differ only in <c>le</c> are the buckets of one.</summary>
internal static class Histograms
{
    private const string UpperBound = "le";

    private struct Bucket
    {
        public double Upper;
        public double Count;
    }

    /// <param name="note">Called with the metric's name when counts had to be raised so that they do not fall from bucket to bucket.</param>
    public static Table Quantile(Table buckets, double[] quantiles, bool nameCounts, Action<string, string> badBound, Action<string> note) =>
        ForEach(buckets, nameCounts, badBound, (name, column, step) =>
        {
            var value = Quantile(quantiles[step], column, out var forced);
            if (forced)
            {
                note(name);
            }

            return value;
        });

    public static Table Fraction(Table buckets, double[] lower, double[] upper, bool nameCounts, Action<string, string> badBound) =>
        ForEach(buckets, nameCounts, badBound, (_, column, step) => Fraction(lower[step], upper[step], column));

    private delegate double OfBuckets(string name, Span<Bucket> buckets, int step);

    private static Table ForEach(Table table, bool nameCounts, Action<string, string> badBound, OfBuckets function)
    {
        var groups = new Groups(nameCounts ? [UpperBound] : [UpperBound, Labels.MetricName], only: false);
        var members = new List<List<(double Upper, int Row)>>();
        for (var row = 0; row < table.Count; row++)
        {
            var labels = table.Rows[row].Labels;
            if (!TryParse(labels[UpperBound], out var upper))
            {
                badBound(labels.Name, labels[UpperBound]);
                continue;
            }

            var group = groups.Of(labels);
            if (group == members.Count)
            {
                members.Add([]);
            }

            members[group].Add((upper, row));
        }

        var result = new Table(table.Steps);
        var buckets = Array.Empty<Bucket>();
        for (var group = 0; group < members.Count; group++)
        {
            var rows = members[group];
            rows.Sort((left, right) => left.Upper.CompareTo(right.Upper));
            if (buckets.Length < rows.Count)
            {
                buckets = new Bucket[rows.Count];
            }

            var labels = groups.LabelsOf(groups.FirstOf(group));
            var column = result.Room();
            var points = 0;
            for (var step = 0; step < column.Length; step++)
            {
                var count = 0;
                foreach (var (upper, row) in rows)
                {
                    var entry = table.Rows[row];
                    var value = entry.Block[entry.Offset + step];
                    if (!Absent.Is(value))
                    {
                        buckets[count++] = new Bucket { Upper = upper, Count = value };
                    }
                }

                column[step] = count == 0 ? Absent.Value : function(labels.Name, buckets.AsSpan(0, count), step);
                points += count == 0 ? 0 : 1;
            }

            if (points > 0)
            {
                result.Add(labels, true, points);
            }
        }

        return result;
    }

    private static bool TryParse(string text, out double upper)
    {
        const NumberStyles Styles = NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;
        switch (text.ToUpperInvariant())
        {
            case "+INF" or "INF" or "+INFINITY" or "INFINITY":
                upper = double.PositiveInfinity;
                return true;
            case "-INF" or "-INFINITY":
                upper = double.NegativeInfinity;
                return true;
            default:
                return double.TryParse(text, Styles, CultureInfo.InvariantCulture, out upper) && !double.IsNaN(upper);
        }
    }

    private static double Quantile(double quantile, Span<Bucket> buckets, out bool forced)
    {
        forced = false;
        if (double.IsNaN(quantile))
        {
            return double.NaN;
        }

        if (quantile is < 0 or > 1)
        {
            return quantile < 0 ? double.NegativeInfinity : double.PositiveInfinity;
        }

        if (!double.IsPositiveInfinity(buckets[^1].Upper))
        {
            return double.NaN;
        }

        buckets = Join(buckets);
        forced = MakeMonotonic(buckets);
        var observations = buckets[^1].Count;
        if (buckets.Length < 2 || observations == 0)
        {
            forced = false;
            return double.NaN;
        }

        var rank = quantile * observations;
        var at = 0;
        while (at < buckets.Length - 1 && !(buckets[at].Count >= rank))
        {
            at++;
        }

        // Nothing is known about the last bucket but where it begins, nor about a first one below zero but where it ends.
        if (at == buckets.Length - 1)
        {
            return buckets[^2].Upper;
        }

        if (at == 0 && buckets[0].Upper <= 0)
        {
            return buckets[0].Upper;
        }

        var (start, count) = (0.0, buckets[at].Count);
        if (at > 0)
        {
            start = buckets[at - 1].Upper;
            count -= buckets[at - 1].Count;
            rank -= buckets[at - 1].Count;
        }

        return start + (buckets[at].Upper - start) * (rank / count);
    }

    /// <summary>The share of observations between the bounds, a bucket taken as evenly filled; an infinite one counts whole or not at all.</summary>
    private static double Fraction(double lower, double upper, Span<Bucket> buckets)
    {
        if (!double.IsPositiveInfinity(buckets[^1].Upper))
        {
            return double.NaN;
        }

        buckets = Join(buckets);
        MakeMonotonic(buckets);
        var total = buckets[^1].Count;
        if (total == 0 || double.IsNaN(lower) || double.IsNaN(upper))
        {
            return double.NaN;
        }

        return lower >= upper ? 0 : (Rank(upper, buckets) - Rank(lower, buckets)) / total;
    }

    /// <summary>How many observations lie below the value.</summary>
    private static double Rank(double value, Span<Bucket> buckets)
    {
        var (start, below) = (buckets[0].Upper > 0 ? 0 : double.NegativeInfinity, 0.0);
        foreach (var bucket in buckets)
        {
            if (value <= start)
            {
                return below;
            }

            if (value < bucket.Upper)
            {
                return double.IsInfinity(start) || double.IsInfinity(bucket.Upper)
                    ? below
                    : below + (bucket.Count - below) * (value - start) / (bucket.Upper - start);
            }

            (start, below) = (bucket.Upper, bucket.Count);
        }

        return below;
    }

    /// <summary>Buckets with the same bound, written differently, are one.</summary>
    private static Span<Bucket> Join(Span<Bucket> buckets)
    {
        var last = 0;
        for (var at = 1; at < buckets.Length; at++)
        {
            if (buckets[at].Upper == buckets[last].Upper)
            {
                buckets[last].Count += buckets[at].Count;
            }
            else
            {
                buckets[++last] = buckets[at];
            }
        }

        return buckets[..(last + 1)];
    }

    /// <summary>Counts of scrapes that overlap may fall from bucket to bucket. Differences of rounding are mended in silence, others are told.</summary>
    private static bool MakeMonotonic(Span<Bucket> buckets)
    {
        const double Rounding = 1e-12;
        var previous = buckets[0].Count;
        for (var at = 1; at < buckets.Length; at++)
        {
            var difference = Math.Abs(buckets[at].Count - previous);
            if (difference == 0)
            {
                continue;
            }

            if (difference / buckets[at].Count <= Rounding)
            {
                buckets[at].Count = previous;
            }
            else
            {
                previous = buckets[at].Count;
            }
        }

        var forced = false;
        var most = buckets[0].Count;
        for (var at = 1; at < buckets.Length; at++)
        {
            if (buckets[at].Count > most)
            {
                most = buckets[at].Count;
            }
            else if (buckets[at].Count < most)
            {
                buckets[at].Count = most;
                forced = true;
            }
        }

        return forced;
    }
}
