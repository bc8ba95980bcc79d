using FsCheck;
using FsCheck.Fluent;

namespace Platform.SampleStore.Tests;

public sealed class BatchCodecTests
{
    private static readonly Config Thorough = Config.QuickThrowOnFailure.WithMaxTest(1_000);

    [Fact]
    public void Any_batch_comes_back_bit_for_bit_also_from_an_encoder_that_was_used_before()
    {
        var encoder = new BatchEncoder();
        var decoded = new DecodedBatch();

        Prop.ForAll(Batches.ToArbitrary(), batch =>
        {
            decoded.Decode(Encode(encoder, batch).Span);

            SameBits(batch, decoded);
        }).Check(Thorough);
    }

    [Fact]
    public void A_row_with_a_flipped_bit_is_refused_and_nothing_is_there() =>
        Prop.ForAll((from batch in Batches from place in Gen.Choose(0, int.MaxValue) select (batch, place)).ToArbitrary(), damage =>
        {
            var row = Encode(new BatchEncoder(), damage.batch).ToArray();
            var bit = damage.place % (8 * row.Length);
            row[bit / 8] ^= (byte)(1 << bit % 8);
            var decoded = new DecodedBatch();

            Assert.Throws<InvalidDataException>(() => decoded.Decode(row));
            return decoded.Runs.IsEmpty && decoded.Times.IsEmpty;
        }).Check(Thorough);

    [Fact]
    public void Bytes_that_were_forged_with_a_fitting_checksum_are_read_or_refused_but_never_beyond_their_end() =>
        Prop.ForAll(
            (from batch in Batches
             from changes in Gen.Choose(1, 6)
             from places in Gen.ArrayOf(Gen.Choose(0, int.MaxValue), changes)
             from cut in Gen.Choose(0, 20)
             select (batch, places, cut)).ToArbitrary(),
            forgery =>
            {
                var row = Encode(new BatchEncoder(), forgery.batch).ToArray();
                var content = row[..Math.Max(1, row.Length - Checksum.Size - (forgery.cut < 10 ? 0 : forgery.cut))];
                foreach (var place in forgery.places)
                {
                    content[place % content.Length] = (byte)(place >> 16);
                }

                var decoded = new DecodedBatch();
                try
                {
                    decoded.Decode(ChunkCodecTests.Signed(content));
                    return decoded.Times.Length <= 2 * content.Length;
                }
                catch (InvalidDataException)
                {
                    return decoded.Times.IsEmpty;
                }
            }).Check(Thorough);

    [Fact]
    public void A_scrape_of_many_series_takes_about_two_bytes_beside_its_values()
    {
        var encoder = new BatchEncoder();
        for (var id = 1; id <= 1_000; id++)
        {
            encoder.Add(id, [1_700_000_000_000], [id % 100]);
        }

        Assert.InRange(encoder.Finish().Length, 1, 1_000 * 3);
    }

    private static Gen<Batch> Batches =>
        from count in Gen.Choose(0, 12)
        from runs in Gen.ArrayOf(Samples.Any, count)
        from seed in Gen.Choose(0, int.MaxValue)
        select Make(runs, new Random(seed));

    // Runs as they are, or cut short, or with the times of the run before, or with times in disorder.
    private static Batch Make(Samples[] runs, Random random)
    {
        var id = random.NextInt64(-5, 1_000_000);
        var made = new List<(long, Samples)>();
        foreach (var run in runs)
        {
            id = random.Next(3) == 0 ? random.NextInt64(long.MinValue, long.MaxValue) : id + 1;
            var length = random.Next(2) == 0 ? run.Times.Length : random.Next(1, run.Times.Length + 1);
            var samples = new Samples(run.Times[..length], run.Values[..length]);
            if (made.Count > 0 && random.Next(3) == 0 && made[^1].Item2.Times.Length <= length)
            {
                var times = made[^1].Item2.Times;
                samples = new Samples(times, run.Values[..times.Length]);
            }
            else if (random.Next(5) == 0)
            {
                var times = samples.Times.ToArray();
                random.Shuffle(times);
                samples = samples with { Times = times };
            }

            made.Add((id, samples));
        }

        return new Batch(made);
    }

    private static ReadOnlyMemory<byte> Encode(BatchEncoder encoder, Batch batch)
    {
        encoder.Clear();
        foreach (var (id, samples) in batch.Runs)
        {
            encoder.Add(id, samples.Times, samples.Values);
        }

        return encoder.Finish();
    }

    private static void SameBits(Batch expected, DecodedBatch actual)
    {
        Assert.Equal(expected.Runs.Select(run => (run.Id, run.Samples.Times.Length)), actual.Runs.ToArray().Select(run => (run.Id, run.Count)));
        Assert.Equal(expected.Runs.SelectMany(run => run.Samples.Times), actual.Times.ToArray());
        Assert.Equal(expected.Runs.SelectMany(run => run.Samples.Values).Select(BitConverter.DoubleToInt64Bits), actual.Values.ToArray().Select(BitConverter.DoubleToInt64Bits));
        var start = 0;
        foreach (var run in actual.Runs)
        {
            Assert.Equal(start, run.Start);
            start += run.Count;
        }
    }

    public sealed record Batch(IReadOnlyList<(long Id, Samples Samples)> Runs);
}
