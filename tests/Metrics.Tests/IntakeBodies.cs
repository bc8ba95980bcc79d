using System.Buffers.Binary;
using System.Text;
using Platform.Metrics.Intake;
using Platform.PromQL;
using Platform.SampleStore;

namespace Platform.Metrics.Tests;

/// <summary>Writes protobuf messages by field number, so that tests say what is on the wire.</summary>
internal sealed class Proto
{
    private readonly MemoryStream _bytes = new();

    public byte[] Bytes => _bytes.ToArray();

    public Proto Varint(int field, long value)
    {
        Raw((ulong)field << 3);
        Raw((ulong)value);
        return this;
    }

    public Proto ZigZag(int field, int value) => Varint(field, (uint)((value << 1) ^ (value >> 31)));

    public Proto Fixed(int field, ulong value)
    {
        Raw(((ulong)field << 3) | 1);
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        _bytes.Write(bytes);
        return this;
    }

    public Proto Double(int field, double value) => Fixed(field, BitConverter.DoubleToUInt64Bits(value));

    public Proto Text(int field, string text) => Field(field, Encoding.UTF8.GetBytes(text));

    public Proto Message(int field, Proto message) => Field(field, message.Bytes);

    public Proto Field(int field, byte[] bytes)
    {
        Raw(((ulong)field << 3) | 2);
        Raw((ulong)bytes.Length);
        _bytes.Write(bytes);
        return this;
    }

    public Proto Packed(int field, params ReadOnlySpan<long> values)
    {
        var list = new Proto();
        foreach (var value in values)
        {
            list.Raw((ulong)value);
        }

        return Field(field, list.Bytes);
    }

    public Proto PackedFixed(int field, params ReadOnlySpan<ulong> values)
    {
        var bytes = new byte[8 * values.Length];
        for (var index = 0; index < values.Length; index++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(8 * index), values[index]);
        }

        return Field(field, bytes);
    }

    public Proto PackedDouble(int field, params double[] values) => PackedFixed(field, [.. values.Select(BitConverter.DoubleToUInt64Bits)]);

    private void Raw(ulong value)
    {
        for (; value >= 0x80; value >>= 7)
        {
            _bytes.WriteByte((byte)(value | 0x80));
        }

        _bytes.WriteByte((byte)value);
    }
}

/// <summary>Bodies of remote write 1.0.</summary>
internal static class RemoteWriteBody
{
    public static Proto Series(string labels, params (long At, double Value)[] samples)
    {
        var series = new Proto();
        foreach (var label in labels.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            var at = label.IndexOf('=', StringComparison.Ordinal);
            series.Message(1, new Proto().Text(1, label[..at]).Text(2, label[(at + 1)..]));
        }

        foreach (var (at, value) in samples)
        {
            series.Message(2, Sample(at, value));
        }

        return series;
    }

    public static Proto Sample(long at, double value) =>
        // As every writer does: what is zero is left out.
        value == 0 && !double.IsNegative(value) ? new Proto().Varint(2, at) : new Proto().Double(1, value).Varint(2, at);

    public static byte[] Request(params Proto[] series)
    {
        var request = new Proto();
        foreach (var one in series)
        {
            request.Message(1, one);
        }

        return request.Bytes;
    }
}

/// <summary>A store in memory and the parsers in front of it.</summary>
internal sealed class IntakeBench : IDisposable
{
    public static readonly long Now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

    private readonly KnownMetadata _known = new(TimeProvider.System);

    public MemorySampleStore Store { get; } = new(new SampleStoreOptions(), TimeProvider.System);

    public IntakeOptions Limits { get; init; } = new();

    public OtlpOptions Otlp { get; init; } = new();

    /// <summary>What was refused in the last request.</summary>
    public Refusals Refusals { get; private set; } = new();

    public CommitResult Result { get; private set; } = null!;

    public int Exemplars { get; private set; }

    public Task WriteAsync(byte[] body, string realm = "home") => RunAsync(run => new RemoteWriteParser(run).Read(body), realm);

    public Task Write2Async(byte[] body, string realm = "home") => RunAsync(run => new RemoteWrite2Parser(run).Read(body), realm);

    public Task ExportAsync(byte[] body, string realm = "home") => RunAsync(run => new OtlpMetricsParser(run, Otlp).Read(body), realm);

    private async Task RunAsync(Action<IntakeRun> parse, string realm)
    {
        using var run = new IntakeRun(Store, _known, Limits, realm);
        parse(run);
        Refusals = run.Refusals;
        Exemplars = run.Exemplars;
        Result = await run.CommitAsync();
    }

    /// <summary>Everything that is stored, a line per series, with times as seconds from <see cref="Now"/>: <c>up{realm="home"} 0:1 15:1</c>.</summary>
    public async Task<string[]> AllAsync(string? realm = null)
    {
        var lines = new List<string>();
        var selection = new Selection([new Matcher(Labels.MetricName, MatchKind.NotEqual, "")], 0, long.MaxValue / 2);
        await foreach (var batch in Store.Source(realm).SelectAsync(selection, TestContext.Current.CancellationToken))
        {
            foreach (var series in batch)
            {
                var columns = new SampleColumns();
                series.Read(selection.From, selection.To, columns);
                var line = new StringBuilder(series.Labels.ToString());
                for (var index = 0; index < columns.Count; index++)
                {
                    var value = StaleMarker.Is(columns.Values[index]) ? "stale" : columns.Values[index].ToString("R", null);
                    line.Append(null, $" {(columns.Times[index] - Now) / 1000.0}:{value}");
                }

                lines.Add(line.ToString());
            }
        }

        lines.Sort(StringComparer.Ordinal);
        return [.. lines];
    }

    public void Dispose() => Store.Dispose();
}
