using System.Runtime.InteropServices;

namespace Platform.SampleStore;

/// <summary>
/// The values of one label and, for each, the ascending numbers of the series that have it. One writer at a time; readers take
/// <see cref="Current"/> once and need no lock.
/// </summary>
internal sealed class LabelValues
{
    private Table _table = new(4);

    /// <summary>What a reader goes by: complete for all series that were published before it was taken, perhaps with some more.</summary>
    public Table Current => Volatile.Read(ref _table);

    /// <summary>The place of a value. Writer only.</summary>
    public int FindOrAdd(string text)
    {
        var value = _table.Find(text);
        if (value >= 0)
        {
            return value;
        }

        if (_table.IsFull)
        {
            Volatile.Write(ref _table, _table.Larger());
        }

        return _table.Add(text);
    }

    /// <summary>Writer only; numbers ascend.</summary>
    public void Append(int value, int number) => _table.Append(value, number);

    /// <summary>Values in the order in which they came, found by open addressing.</summary>
    public sealed class Table(int capacity)
    {
        private readonly List[] _lists = new List[capacity];

        // Place of the value plus one; twice as many as values, so that a search is short.
        private readonly int[] _slots = new int[2 * capacity];
        private int _count;

        public readonly string[] Texts = new string[capacity];

        public int Count => Volatile.Read(ref _count);

        public bool IsFull => _count == Texts.Length;

        public int Find(string text)
        {
            var mask = _slots.Length - 1;
            for (var slot = string.GetHashCode(text) & mask; ; slot = (slot + 1) & mask)
            {
                var value = Volatile.Read(ref _slots[slot]) - 1;
                if (value < 0 || string.Equals(Texts[value], text, StringComparison.Ordinal))
                {
                    return value < 0 ? -1 : value;
                }
            }
        }

        /// <summary>Ascending numbers of the series with the value; more may come behind them at any time.</summary>
        public ReadOnlySpan<int> Numbers(int value) => _lists[value].Read();

        public int Add(string text)
        {
            var value = _count;
            Texts[value] = text;
            Link(value);
            Volatile.Write(ref _count, value + 1);
            return value;
        }

        public void Append(int value, int number) => _lists[value].Append(number);

        public Table Larger()
        {
            var larger = new Table(2 * Texts.Length);
            Texts.CopyTo(larger.Texts, 0);
            _lists.CopyTo(larger._lists, 0);
            larger._count = _count;
            for (var value = 0; value < _count; value++)
            {
                larger.Link(value);
            }

            return larger;
        }

        private void Link(int value)
        {
            var mask = _slots.Length - 1;
            var slot = string.GetHashCode(Texts[value]) & mask;
            while (_slots[slot] != 0)
            {
                slot = (slot + 1) & mask;
            }

            Volatile.Write(ref _slots[slot], value + 1);
        }
    }

    /// <summary>Most values of a label with many belong to one series: the first number needs no array.</summary>
    private struct List
    {
        private int _first;
        private int _count;
        private int[]? _numbers;

        public void Append(int number)
        {
            if (_count == 0)
            {
                _first = number;
            }
            else
            {
                if (_count == 1)
                {
                    _numbers = new int[4];
                    _numbers[0] = _first;
                }
                else if (_count == _numbers!.Length)
                {
                    // By half: there are ten of these for each series.
                    var larger = new int[_count + Math.Max(4, _count / 2)];
                    _numbers.CopyTo(larger, 0);
                    Volatile.Write(ref _numbers, larger);
                }

                _numbers[_count] = number;
            }

            // Last, so that whoever sees the count sees the numbers.
            Volatile.Write(ref _count, _count + 1);
        }

        public ReadOnlySpan<int> Read()
        {
            var count = Volatile.Read(ref _count);
            return count > 1 ? Volatile.Read(ref _numbers).AsSpan(0, count) : MemoryMarshal.CreateReadOnlySpan(ref _first, count);
        }
    }
}
