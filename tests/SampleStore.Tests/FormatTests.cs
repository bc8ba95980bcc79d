using Platform.PromQL;
using Platform.Testing;

namespace Platform.SampleStore.Tests;

public sealed class FormatTests
{
    [Fact]
    public void The_examples_of_the_document_are_what_is_written_and_what_is_read()
    {
        var document = File.ReadAllText(Path.Combine(RepositoryFolder.Path, "src", "SampleStore", "FORMAT.md"));
        long[] regular = [1_000, 2_000, 3_000, 4_000];
        Chunk(regular, [7, 7, 7, 7]);
        Chunk([1_000, 2_000, 3_000, 9_000], [10, 12, 13, 15]);
        Chunk(regular, [0.25, 0.5, double.NaN, 0.75]);
        Chunk(regular, [Math.PI, Math.E, 1 / 3.0, Math.Sqrt(2)]);

        var encoder = new BatchEncoder();
        encoder.Add(5, [1_000], [42]);
        encoder.Add(6, [1_000], [0.5]);
        encoder.Add(9, [1_000, 2_000, 3_000], [1, Math.PI, 1]);
        var row = Shown(encoder.Finish().Span);
        var decoded = new DecodedBatch();
        decoded.Decode(row);
        Assert.Equal([new(5, 0, 1), new(6, 1, 1), new(9, 2, 3)], decoded.Runs.ToArray());
        Assert.Equal([1_000, 1_000, 1_000, 2_000, 3_000], decoded.Times.ToArray());
        Assert.Equal([42, 0.5, 1, Math.PI, 1], decoded.Values.ToArray());

        void Chunk(long[] times, double[] values)
        {
            var into = new SampleColumns();
            ChunkCodec.Read(Shown(ChunkCodec.Encode(times, values)), long.MinValue, long.MaxValue, into);
            Assert.Equal(times, into.Times.ToArray());
            Assert.Equal(values, into.Values.ToArray());
        }

        byte[] Shown(ReadOnlySpan<byte> bytes)
        {
            var hex = string.Join(' ', Convert.ToHexString(bytes).Chunk(2).Select(digits => new string(digits)));
            Assert.Contains($"\n{hex}\n", document, StringComparison.Ordinal);
            return Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));
        }
    }
}
