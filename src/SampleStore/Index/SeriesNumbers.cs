using System.Buffers;
using System.Numerics;

namespace Platform.SampleStore;

/// <summary>
/// Numbers of series, ascending, below a bound, while conditions cut them down: all of them at first, chosen ones from the first condition
/// on. Marks are a bitmap beside them. Used by one thread, in memory that goes back when it is disposed.
/// </summary>
internal sealed class SeriesNumbers(int bound) : IDisposable
{
    private int[] _numbers = [];
    private ulong[]? _marks;
    private int _count;

    /// <summary>Every number is below this.</summary>
    public int Bound => bound;

    /// <summary>Some condition was applied: <see cref="Numbers"/> is what is left.</summary>
    public bool IsChosen { get; private set; }

    public int Count => IsChosen ? _count : bound;

    public bool IsEmpty => Count == 0;

    public ReadOnlySpan<int> Numbers => _numbers.AsSpan(0, _count);

    public int this[int index] => _numbers[index];

    public void TakeNone() => (IsChosen, _count) = (true, 0);

    public void TakeAllUnlessChosen()
    {
        if (IsChosen)
        {
            return;
        }

        Rent(bound);
        for (var number = 0; number < bound; number++)
        {
            _numbers[number] = number;
        }

        (IsChosen, _count) = (true, bound);
    }

    /// <summary>Keeps the numbers that are in the list too.</summary>
    public void Intersect(ReadOnlySpan<int> list)
    {
        // The list holds every number there is, which the realm's often does.
        if (bound > 0 && list.Length >= bound && list[bound - 1] == bound - 1)
        {
            return;
        }

        // Numbers at and beyond the bound came after this reader began.
        if (list.Length > 0 && list[^1] >= bound)
        {
            list = list[..LowerBound(list, 0, bound)];
        }

        if (!IsChosen)
        {
            Rent(list.Length);
            list.CopyTo(_numbers);
            (IsChosen, _count) = (true, list.Length);
            return;
        }

        var (kept, at) = (0, 0);
        for (var index = 0; index < _count && at < list.Length; index++)
        {
            var number = _numbers[index];
            at = LowerBound(list, at, number);
            if (at < list.Length && list[at] == number)
            {
                _numbers[kept++] = number;
            }
        }

        _count = kept;
    }

    public void Keep(Predicate<int> accepts)
    {
        var kept = 0;
        for (var index = 0; index < _count; index++)
        {
            if (accepts(_numbers[index]))
            {
                _numbers[kept++] = _numbers[index];
            }
        }

        _count = kept;
    }

    public void ClearMarks()
    {
        var words = (bound + 63) >> 6;
        _marks ??= ArrayPool<ulong>.Shared.Rent(Math.Max(1, words));
        _marks.AsSpan(0, words).Clear();
    }

    public void Mark(ReadOnlySpan<int> numbers)
    {
        if (_marks is null)
        {
            ClearMarks();
        }

        foreach (var number in numbers)
        {
            if (number < bound)
            {
                _marks![number >> 6] |= 1UL << number;
            }
        }
    }

    public void KeepMarked()
    {
        if (!IsChosen)
        {
            TakeMarked();
            return;
        }

        KeepWhere(marked: true);
    }

    public void DropMarked()
    {
        if (!IsChosen)
        {
            var words = (bound + 63) >> 6;
            for (var word = 0; word < words; word++)
            {
                _marks![word] = ~_marks[word];
            }

            if ((bound & 63) != 0)
            {
                _marks![words - 1] &= (1UL << bound) - 1;
            }

            TakeMarked();
            return;
        }

        KeepWhere(marked: false);
    }

    /// <summary>The marked numbers are the chosen ones.</summary>
    public void TakeMarked()
    {
        var words = _marks is null ? [] : _marks.AsSpan(0, (bound + 63) >> 6);
        var count = 0;
        foreach (var word in words)
        {
            count += BitOperations.PopCount(word);
        }

        Rent(count);
        var at = 0;
        for (var index = 0; index < words.Length; index++)
        {
            for (var word = words[index]; word != 0; word &= word - 1)
            {
                _numbers[at++] = index << 6 | BitOperations.TrailingZeroCount(word);
            }
        }

        (IsChosen, _count) = (true, count);
    }

    /// <summary>Whether the number is among the chosen ones.</summary>
    public bool Holds(int number)
    {
        if (_count == bound)
        {
            return number < bound;
        }

        var at = LowerBound(Numbers, 0, number);
        return at < _count && _numbers[at] == number;
    }

    public void Dispose()
    {
        if (_numbers.Length > 0)
        {
            ArrayPool<int>.Shared.Return(_numbers);
            _numbers = [];
        }

        if (_marks is not null)
        {
            ArrayPool<ulong>.Shared.Return(_marks);
            _marks = null;
        }
    }

    private void KeepWhere(bool marked)
    {
        var kept = 0;
        for (var index = 0; index < _count; index++)
        {
            var number = _numbers[index];
            if ((_marks![number >> 6] >> number & 1) != 0 == marked)
            {
                _numbers[kept++] = number;
            }
        }

        _count = kept;
    }

    // In growing steps from where the last search ended: short ones when both lists are alike, long ones when one is far longer.
    private static int LowerBound(ReadOnlySpan<int> list, int from, int number)
    {
        var (low, step) = (from, 1);
        while (low + step <= list.Length && list[low + step - 1] < number)
        {
            low += step;
            step *= 2;
        }

        var high = Math.Min(list.Length, low + step);
        while (low < high)
        {
            var middle = (low + high) >> 1;
            if (list[middle] < number)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    private void Rent(int count)
    {
        if (_numbers.Length < count)
        {
            if (_numbers.Length > 0)
            {
                ArrayPool<int>.Shared.Return(_numbers);
            }

            _numbers = ArrayPool<int>.Shared.Rent(count);
        }
    }
}
