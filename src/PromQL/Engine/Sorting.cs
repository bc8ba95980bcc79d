namespace Platform.PromQL;

/// <summary>The functions that put an instant vector in order.</summary>
internal static class Sorting
{
    /// <summary>Orders an instant vector.</summary>
    /// <param name="function">sort, sort_desc, sort_by_label or sort_by_label_desc.</param>
    public static void Sort(Table table, string function, string[] labels) => table.Sort(function switch
    {
        "sort" => (left, right) => Ascending(left.Block[left.Offset], right.Block[right.Offset]),
        "sort_desc" => (left, right) => Descending(left.Block[left.Offset], right.Block[right.Offset]),
        "sort_by_label" => (left, right) => ByLabels(left.Labels, right.Labels, labels),
        _ => (left, right) => ByLabels(right.Labels, left.Labels, labels),
    });

    // NaN comes last either way.
    private static int Ascending(double left, double right) => (double.IsNaN(left), double.IsNaN(right)) switch
    {
        (false, false) => left.CompareTo(right),
        var (leftIsNaN, rightIsNaN) => leftIsNaN.CompareTo(rightIsNaN),
    };

    private static int Descending(double left, double right) =>
        double.IsNaN(left) || double.IsNaN(right) ? Ascending(left, right) : right.CompareTo(left);

    private static int ByLabels(Labels left, Labels right, string[] names)
    {
        foreach (var name in names)
        {
            var order = CompareNaturally(left[name], right[name]);
            if (order != 0)
            {
                return order;
            }
        }

        return left.CompareTo(right);
    }

    /// <summary>As people sort: digits in the names count as numbers.</summary>
    private static int CompareNaturally(string left, string right)
    {
        var (l, r) = (0, 0);
        while (l < left.Length && r < right.Length)
        {
            if (char.IsAsciiDigit(left[l]) && char.IsAsciiDigit(right[r]))
            {
                var first = DigitsAt(left, l);
                var second = DigitsAt(right, r);
                var one = first.TrimStart('0');
                var other = second.TrimStart('0');
                var order = one.Length != other.Length ? one.Length.CompareTo(other.Length) : one.CompareTo(other, StringComparison.Ordinal);
                if (order != 0)
                {
                    return order;
                }

                l += first.Length;
                r += second.Length;
            }
            else if (left[l] != right[r])
            {
                return left[l].CompareTo(right[r]);
            }
            else
            {
                l++;
                r++;
            }
        }

        return (left.Length - l).CompareTo(right.Length - r);
    }

    private static ReadOnlySpan<char> DigitsAt(string text, int at)
    {
        var length = 0;
        while (at + length < text.Length && char.IsAsciiDigit(text[at + length]))
        {
            length++;
        }

        return text.AsSpan(at, length);
    }
}
