using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Platform.SampleStore;

/// <summary>
/// Makes the bytes of one log row: the samples of all batches that are committed together. Speed comes first, because every sample passes
/// here while its sender waits; a compactor makes it small later. Kept and used again by the one who writes the log; not safe for two
/// threads. The format is described in FORMAT.md.
/// </summary>
internal sealed class BatchEncoder
{
    // What a run's head takes at most, times apart: flags, id, count, first time, step.
    private const int LargestHead = 1 + 4 * 10;

    private byte[] _heads = new byte[4_096];
    private byte[] _codes = new byte[4_096];
    private byte[] _values = new byte[32_768];
    private byte[] _row = [];
    private long[] _lastTimes = new long[16];
    private int _lastCount;
    private long _lastId;
    private int _runs;
    private int _headBytes;
    private int _valueBytes;
    private int _digits;

    /// <summary>Samples added since <see cref="Clear"/>.</summary>
    public int Count { get; private set; }

    /// <summary>
    /// Adds samples that follow each other in one series. The row is smallest when series come in the order of their ids and when series
    /// that are sampled at the same times come one after the other.
    /// </summary>
    /// <param name="id">The series' durable id.</param>
    /// <param name="times">In any order, with repetitions if there are; decoding gives back the same.</param>
    /// <exception cref="ArgumentException">The columns differ in length.</exception>
    public void Add(long id, ReadOnlySpan<long> times, ReadOnlySpan<double> values)
    {
        if (times.Length != values.Length)
        {
            throw new ArgumentException($"{times.Length} times cannot belong to {values.Length} values.", nameof(values));
        }

        if (times.IsEmpty)
        {
            return;
        }

        Reserve(ref _heads, _headBytes, LargestHead + 10 * times.Length);
        Reserve(ref _codes, Count, times.Length);
        Reserve(ref _values, _valueBytes, 8 * times.Length + 8);

        var form = AddValues(values) << RunForm.ScaleShift;
        var head = new ByteSink(_heads.AsSpan(_headBytes));
        var flags = head.Skip(1);
        if (id == _lastId + 1)
        {
            form |= RunForm.NextId;
        }
        else
        {
            head.Zigzag(id - _lastId);
        }

        form |= AddTimes(ref head, times);
        flags[0] = (byte)form;
        _lastId = id;
        _headBytes += head.Length;
        _runs++;
        Count += times.Length;
    }

    /// <summary>Everything added so far as one row. The memory is this encoder's: valid until the next call.</summary>
    public ReadOnlyMemory<byte> Finish()
    {
        var codeBytes = (Count + 1) / 2;
        Reserve(ref _row, 0, 64 + _headBytes + codeBytes + _valueBytes);
        var sink = new ByteSink(_row);
        sink.Byte(RunForm.Version);
        sink.Varint((ulong)_runs);
        sink.Varint((ulong)Count);
        sink.Varint((ulong)_headBytes);
        sink.Bytes(_heads.AsSpan(0, _headBytes));
        Reserve(ref _codes, Count, 1);
        _codes[Count] = 0;
        var codes = sink.Skip(codeBytes);
        for (var index = 0; index < codes.Length; index++)
        {
            codes[index] = (byte)(_codes[2 * index] | _codes[2 * index + 1] << 4);
        }

        sink.Bytes(_values.AsSpan(0, _valueBytes));
        Checksum.Append(ref sink);
        return _row.AsMemory(0, sink.Length);
    }

    /// <summary>Begins the next row.</summary>
    public void Clear()
    {
        Count = 0;
        (_runs, _headBytes, _valueBytes, _lastCount, _lastId) = (0, 0, 0, 0, 0);
    }

    private int AddTimes(ref ByteSink head, ReadOnlySpan<long> times)
    {
        var before = _lastTimes.AsSpan(0, _lastCount);
        if (times.SequenceEqual(before))
        {
            return RunForm.SameTimes;
        }

        head.Varint((ulong)times.Length);
        head.Zigzag(times[0] - (before.IsEmpty ? 0 : before[0]));
        var form = 0;
        if (times.Length > 1)
        {
            var step = times[1] - times[0];
            head.Zigzag(step);
            if (IsRegular(times, step))
            {
                form = RunForm.Regular;
            }
            else
            {
                for (var index = 2; index < times.Length; index++)
                {
                    var next = times[index] - times[index - 1];
                    head.Zigzag(next - step);
                    step = next;
                }
            }
        }

        if (times.Length > _lastTimes.Length)
        {
            _lastTimes = new long[Math.Max(times.Length, 2 * _lastTimes.Length)];
        }

        times.CopyTo(_lastTimes);
        _lastCount = times.Length;
        return form;
    }

    private static bool IsRegular(ReadOnlySpan<long> times, long step)
    {
        for (var index = 2; index < times.Length; index++)
        {
            if (times[index] - times[index - 1] != step)
            {
                return false;
            }
        }

        return true;
    }

    // Neighbouring series are often alike, so the last scale is tried first.
    private int AddValues(ReadOnlySpan<double> values)
    {
        if (TryAddDecimals(values, _digits))
        {
            return _digits;
        }

        for (var digits = 0; digits <= RunForm.MostDigits; digits++)
        {
            if (digits != _digits && RunForm.IsDecimal(values[0], digits, out _) && TryAddDecimals(values, digits))
            {
                return _digits = digits;
            }
        }

        AddBits(values);
        return RunForm.Bits;
    }

    private bool TryAddDecimals(ReadOnlySpan<double> values, int digits)
    {
        ref var codes = ref Unsafe.Add(ref MemoryMarshal.GetArrayDataReference(_codes), Count);
        ref var bytes = ref MemoryMarshal.GetArrayDataReference(_values);
        var (at, last) = (_valueBytes, 0L);
        for (var index = 0; index < values.Length; index++)
        {
            if (!RunForm.IsDecimal(values[index], digits, out var number))
            {
                return false;
            }

            var delta = number - last;
            last = number;
            var zigzag = (ulong)(delta << 1) ^ (ulong)(delta >> 63);
            var length = (71 - BitOperations.LeadingZeroCount(zigzag)) >> 3;
            Store(ref Unsafe.Add(ref bytes, at), zigzag);
            Unsafe.Add(ref codes, index) = (byte)length;
            at += length;
        }

        _valueBytes = at;
        return true;
    }

    private void AddBits(ReadOnlySpan<double> values)
    {
        ref var codes = ref Unsafe.Add(ref MemoryMarshal.GetArrayDataReference(_codes), Count);
        ref var bytes = ref MemoryMarshal.GetArrayDataReference(_values);
        var (at, last) = (_valueBytes, 0UL);
        for (var index = 0; index < values.Length; index++)
        {
            var bits = BitConverter.DoubleToUInt64Bits(values[index]);
            var change = bits ^ last;
            last = bits;
            var length = (71 - BitOperations.LeadingZeroCount(change)) >> 3;
            var upper = 8 - (BitOperations.TrailingZeroCount(change) >> 3);
            if (upper < length)
            {
                Store(ref Unsafe.Add(ref bytes, at), change >> (64 - 8 * upper));
                Unsafe.Add(ref codes, index) = (byte)(8 + upper);
                at += upper;
            }
            else
            {
                Store(ref Unsafe.Add(ref bytes, at), change);
                Unsafe.Add(ref codes, index) = (byte)length;
                at += length;
            }
        }

        _valueBytes = at;
    }

    // Eight bytes are always written; those beyond the length are overwritten by what comes next.
    private static void Store(ref byte place, ulong value) =>
        Unsafe.WriteUnaligned(ref place, BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value));

    private static void Reserve(ref byte[] buffer, int used, int more)
    {
        if (buffer.Length - used < more)
        {
            Array.Resize(ref buffer, Math.Max(used + more, 2 * buffer.Length));
        }
    }
}

/// <summary>The samples of one log row as columns; kept and used again by the reader. Not safe for two threads.</summary>
internal sealed class DecodedBatch
{
    private Run[] _runs = [];
    private long[] _times = [];
    private double[] _values = [];
    private int _runCount;
    private int _count;

    /// <summary>Samples of one series that followed each other when they were added. A series may have more than one.</summary>
    public readonly record struct Run(long Id, int Start, int Count);

    /// <summary>In the order in which they were added.</summary>
    public ReadOnlySpan<Run> Runs => _runs.AsSpan(0, _runCount);

    /// <summary>Times of all samples, in the order of the runs.</summary>
    public ReadOnlySpan<long> Times => _times.AsSpan(0, _count);

    public ReadOnlySpan<double> Values => _values.AsSpan(0, _count);

    /// <summary>Replaces what was decoded before.</summary>
    /// <exception cref="InvalidDataException">The bytes are no log row, or were damaged; nothing is there then.</exception>
    public void Decode(ReadOnlySpan<byte> row)
    {
        (_runCount, _count) = (0, 0);
        var source = new ByteSource(Checksum.Verify(row));
        if (source.Byte() != RunForm.Version)
        {
            Damaged.Throw("a log row has a version that is not known");
        }

        // A run takes a byte at least and a sample half of one, so that forged counts cannot ask for more memory than the row suggests.
        var runs = source.Count(row.Length);
        var count = source.Count(2 * Math.Min(row.Length, int.MaxValue / 4));
        var heads = new ByteSource(source.Take(source.Count(row.Length)));
        var codes = source.Take((count + 1) / 2);
        var values = source.Take(source.Left);
        if (_runs.Length < runs)
        {
            _runs = new Run[runs];
        }

        if (_times.Length < count)
        {
            _times = new long[count];
            _values = new double[count];
        }

        var (id, start, last, at) = (0L, 0, default(Run), 0);
        for (var index = 0; index < runs; index++)
        {
            var form = heads.Byte();
            if (form >> RunForm.ScaleShift > RunForm.Bits)
            {
                Damaged.Throw("a run has a form that does not exist");
            }

            id += (form & RunForm.NextId) != 0 ? 1 : heads.Zigzag();
            var length = ReadTimes(ref heads, form, last, start, count - start);
            _runs[index] = last = new Run(id, start, length);
            at = ReadValues(form >> RunForm.ScaleShift, codes, values, at, start, length);
            start += length;
        }

        heads.End();
        if (start != count || at != values.Length)
        {
            Damaged.Throw("counts of a log row do not fit");
        }

        (_runCount, _count) = (runs, count);
    }

    private int ReadTimes(scoped ref ByteSource heads, int form, Run last, int start, int most)
    {
        if ((form & RunForm.SameTimes) != 0)
        {
            if (last.Count == 0 || last.Count > most)
            {
                Damaged.Throw("counts of a log row do not fit");
            }

            _times.AsSpan(last.Start, last.Count).CopyTo(_times.AsSpan(start));
            return last.Count;
        }

        var times = _times.AsSpan(start, heads.Count(most));
        if (times.IsEmpty)
        {
            Damaged.Throw("a run is empty");
        }

        var time = heads.Zigzag() + (last.Count == 0 ? 0 : _times[last.Start]);
        times[0] = time;
        if (times.Length > 1)
        {
            var step = heads.Zigzag();
            times[1] = time += step;
            for (var index = 2; index < times.Length; index++)
            {
                step += (form & RunForm.Regular) != 0 ? 0 : heads.Zigzag();
                times[index] = time += step;
            }
        }

        return times.Length;
    }

    private int ReadValues(int scale, ReadOnlySpan<byte> codes, ReadOnlySpan<byte> bytes, int at, int start, int length)
    {
        var values = _values.AsSpan(start, length);
        var (number, bits) = (0L, 0UL);
        for (var index = 0; index < values.Length; index++)
        {
            var code = codes[(start + index) >> 1] >> ((start + index & 1) << 2) & 15;
            var size = code > 8 ? code - 8 : code;
            if (size > bytes.Length - at)
            {
                Damaged.Throw("it ends too early");
            }

            var stored = bytes.Length - at >= 8 ? BinaryPrimitives.ReadUInt64LittleEndian(bytes[at..]) : ReadTail(bytes[at..]);
            // Two shifts, because a shift by 64 would be one by 0.
            stored = size == 0 ? 0 : stored << (64 - 8 * size) >> (64 - 8 * size);
            at += size;
            if (scale == RunForm.Bits)
            {
                bits ^= code > 8 ? stored << (64 - 8 * size) : stored;
                values[index] = BitConverter.UInt64BitsToDouble(bits);
            }
            else
            {
                if (code > 8)
                {
                    Damaged.Throw("a number has a form that does not exist");
                }

                number += (long)(stored >> 1) ^ -(long)(stored & 1);
                values[index] = scale == 0 ? number : number / RunForm.Powers[scale];
            }
        }

        return at;
    }

    private static ulong ReadTail(ReadOnlySpan<byte> bytes)
    {
        Span<byte> padded = stackalloc byte[8];
        padded.Clear();
        bytes.CopyTo(padded);
        return BinaryPrimitives.ReadUInt64LittleEndian(padded);
    }
}

/// <summary>What the first byte of a run says.</summary>
internal static class RunForm
{
    public const byte Version = 1;

    /// <summary>The id follows that of the run before.</summary>
    public const int NextId = 1;

    /// <summary>As many samples at the same times as the run before.</summary>
    public const int SameTimes = 2;

    /// <summary>One step between all times.</summary>
    public const int Regular = 4;

    /// <summary>From here on: the decimal digits of the values, or <see cref="Bits"/>.</summary>
    public const int ScaleShift = 3;

    public const int MostDigits = 3;
    public const int Bits = 4;

    public static readonly double[] Powers = [1, 10, 100, 1_000];

    /// <summary>The value is exactly that of a decimal with so many digits; <paramref name="number"/> are its digits without the point.</summary>
    public static bool IsDecimal(double value, int digits, out long number)
    {
        var scaled = digits == 0 ? value : Math.Round(value * Powers[digits]);
        number = (long)scaled;

        // Beyond 2^53 neighbouring integers share a double, and the division below would not bring back the same.
        return Math.Abs(scaled) <= 1L << 53 && BitConverter.DoubleToInt64Bits(digits == 0 ? number : number / Powers[digits]) == BitConverter.DoubleToInt64Bits(value);
    }
}
