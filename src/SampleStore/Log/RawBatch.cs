using System.Runtime.InteropServices;

namespace Platform.SampleStore;

internal sealed class RawBatchEncoder
{
    private readonly List<long> _ids = [];
    private readonly List<int> _counts = [];
    private readonly List<long> _times = [];
    private readonly List<double> _values = [];

    public int Count => _times.Count;

    public void Add(long id, ReadOnlySpan<long> times, ReadOnlySpan<double> values)
    {
        _ids.Add(id);
        _counts.Add(times.Length);
        _times.AddRange(times);
        _values.AddRange(values);
    }

    public ReadOnlyMemory<byte> Finish() =>
        (byte[])
        [
            .. MemoryMarshal.AsBytes<int>((int[])[_ids.Count, _times.Count]),
            .. MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_ids)),
            .. MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_times)),
            .. MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_values)),
            .. MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_counts)),
        ];

    public void Clear()
    {
        _ids.Clear();
        _counts.Clear();
        _times.Clear();
        _values.Clear();
    }
}

internal sealed class RawDecodedBatch
{
    public readonly record struct Run(long Id, int Start, int Count);

    private Run[] _runs = [];
    private long[] _times = [];
    private double[] _values = [];

    public ReadOnlySpan<Run> Runs => _runs;

    public ReadOnlySpan<long> Times => _times;

    public ReadOnlySpan<double> Values => _values;

    public void Decode(ReadOnlySpan<byte> row)
    {
        var head = MemoryMarshal.Cast<byte, int>(row[..8]);
        var ids = MemoryMarshal.Cast<byte, long>(row.Slice(8, 8 * head[0]));
        _times = MemoryMarshal.Cast<byte, long>(row.Slice(8 + 8 * head[0], 8 * head[1])).ToArray();
        _values = MemoryMarshal.Cast<byte, double>(row.Slice(8 + 8 * head[0] + 8 * head[1], 8 * head[1])).ToArray();
        var counts = MemoryMarshal.Cast<byte, int>(row[(8 + 8 * head[0] + 16 * head[1])..]);
        _runs = new Run[head[0]];
        var start = 0;
        for (var at = 0; at < _runs.Length; at++)
        {
            _runs[at] = new Run(ids[at], start, counts[at]);
            start += counts[at];
        }
    }
}
