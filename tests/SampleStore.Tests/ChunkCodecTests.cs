using FsCheck;
using FsCheck.Fluent;
using Platform.PromQL;

namespace Platform.SampleStore.Tests;

public sealed class ChunkCodecTests
{
    private static readonly Config Thorough = Config.QuickThrowOnFailure.WithMaxTest(2_000);

    [Fact]
    public void Any_samples_come_back_bit_for_bit() =>
        Prop.ForAll(Samples.Any.ToArbitrary(), samples => SameBits(samples, Read(ChunkCodec.Encode(samples.Times, samples.Values), long.MinValue, long.MaxValue))).Check(Thorough);

    [Fact]
    public void A_part_of_the_time_gives_exactly_the_samples_in_it() =>
        Prop.ForAll(
            (from samples in Samples.Any
             from first in Gen.Choose(-1, samples.Times.Length)
             from last in Gen.Choose(-1, samples.Times.Length)
             from shift in Gen.Choose(-1, 1)
             select (samples, From: Near(samples.Times, first, shift), To: Near(samples.Times, last, -shift))).ToArbitrary(),
            range =>
            {
                var (samples, from, to) = range;
                var kept = samples.Times.Select((time, index) => (time, index)).Where(sample => sample.time >= from && sample.time <= to).Select(sample => sample.index).ToArray();
                var expected = new Samples([.. kept.Select(index => samples.Times[index])], [.. kept.Select(index => samples.Values[index])]);

                SameBits(expected, Read(ChunkCodec.Encode(samples.Times, samples.Values), from, to));
            }).Check(Thorough);

    [Fact]
    public void A_chunk_with_a_flipped_bit_is_refused_and_nothing_is_appended() =>
        Prop.ForAll(
            (from samples in Samples.Any
             from place in Gen.Choose(0, int.MaxValue)
             select (samples, place)).ToArbitrary(),
            damage =>
            {
                var chunk = ChunkCodec.Encode(damage.samples.Times, damage.samples.Values);
                var bit = damage.place % (8 * chunk.Length);
                chunk[bit / 8] ^= (byte)(1 << bit % 8);
                var into = new SampleColumns();

                Assert.Throws<InvalidDataException>(() => ChunkCodec.Read(chunk, long.MinValue, long.MaxValue, into));
                return into.Count == 0;
            }).Check(Thorough);

    [Fact]
    public void Bytes_that_were_forged_with_a_fitting_checksum_are_read_or_refused_but_never_beyond_their_end() =>
        Prop.ForAll(
            (from samples in Samples.Any
             from changes in Gen.Choose(1, 6)
             from places in Gen.ArrayOf(Gen.Choose(0, int.MaxValue), changes)
             from cut in Gen.Choose(0, 20)
             select (samples, places, cut)).ToArbitrary(),
            forgery =>
            {
                var chunk = ChunkCodec.Encode(forgery.samples.Times, forgery.samples.Values);
                var content = chunk[..Math.Max(1, chunk.Length - Checksum.Size - (forgery.cut < 10 ? 0 : forgery.cut))];
                foreach (var place in forgery.places)
                {
                    content[place % content.Length] = (byte)(place >> 16);
                }

                var into = new SampleColumns();
                try
                {
                    ChunkCodec.Read(Signed(content), long.MinValue / 2, long.MaxValue / 2, into);
                    return into.Count <= ChunkCodec.MaxSamples;
                }
                catch (InvalidDataException)
                {
                    return into.Count == 0;
                }
            }).Check(Thorough);

    [Fact]
    public void A_day_of_a_counter_takes_less_than_two_bytes_a_sample()
    {
        var random = new Random(1);
        var (times, values, total) = (new long[5_760], new double[5_760], 0L);
        for (var index = 0; index < times.Length; index++)
        {
            times[index] = 1_700_000_000_000 + 15_000L * index;
            values[index] = total += random.Next(100);
        }

        Assert.InRange(ChunkCodec.Encode(times, values).Length, 1, 2 * times.Length);
    }

    [Fact]
    public void A_constant_series_without_gaps_takes_a_few_bytes_in_all()
    {
        var times = Enumerable.Range(0, 5_760).Select(index => 15_000L * index).ToArray();

        Assert.InRange(ChunkCodec.Encode(times, Enumerable.Repeat(0.1 + 0.2, times.Length).ToArray()).Length, 1, 24);
    }

    [Fact]
    public void A_stale_marker_in_a_decimal_series_does_not_make_the_rest_larger()
    {
        var times = Enumerable.Range(0, 128).Select(index => 15_000L * index).ToArray();
        var random = new Random(1);
        var values = Enumerable.Range(0, 128).Select(_ => random.Next(1000) / 100.0).ToArray();
        var before = ChunkCodec.Encode(times, values).Length;
        values[64] = StaleMarker.Value;

        Assert.InRange(ChunkCodec.Encode(times, values).Length, 1, before + 10);
    }

    [Fact]
    public void A_counter_that_begins_again_does_not_make_the_rest_larger()
    {
        var times = Enumerable.Range(0, 128).Select(index => 15_000L * index).ToArray();
        var values = Enumerable.Range(0, 128).Select(index => 1_000_000_000.0 + 3 * index + index % 2).ToArray();
        var before = ChunkCodec.Encode(times, values).Length;
        values.AsSpan(77).Clear();

        Assert.InRange(ChunkCodec.Encode(times, values).Length, 1, before + 30);
    }

    [Theory]
    [InlineData(new long[] { 5, 5 })]
    [InlineData(new long[] { 5, 4 })]
    [InlineData(new long[] { 1, 2, 3, 2 })]
    [InlineData(new long[] { long.MinValue, long.MaxValue, long.MaxValue - 2 })]
    [InlineData(new long[0])]
    public void Times_that_do_not_ascend_are_refused(long[] times) =>
        Assert.Throws<ArgumentException>(() => ChunkCodec.Encode(times, new double[times.Length]));

    [Fact]
    public void Irregular_times_that_fall_back_at_the_start_of_a_block_are_refused()
    {
        var times = Enumerable.Range(0, 300).Select(index => (long)index * index).ToArray();
        times[256] = times[255];

        Assert.Throws<ArgumentException>(() => ChunkCodec.Encode(times, new double[times.Length]));
    }

    private static long Near(long[] times, int index, int shift)
    {
        var time = index < 0 ? long.MinValue : index == times.Length ? long.MaxValue : times[index];
        return shift > 0 ? time + (time < long.MaxValue ? 1 : 0) : shift < 0 ? time - (time > long.MinValue ? 1 : 0) : time;
    }

    internal static byte[] Signed(byte[] content)
    {
        var sum = new byte[4];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(sum, Checksum.Of(content));
        return [.. content, .. sum];
    }

    private static Samples Read(byte[] chunk, long from, long to)
    {
        // Samples that were there before stay.
        var into = new SampleColumns();
        into.Add(-1, -1);
        ChunkCodec.Read(chunk, from, to, into);
        Assert.Equal(-1, into.Values[0]);
        return new Samples(into.Times[1..].ToArray(), into.Values[1..].ToArray());
    }

    // As integers: NaN is a value like any other here.
    private static void SameBits(Samples expected, Samples actual)
    {
        Assert.Equal(expected.Times, actual.Times);
        Assert.Equal(expected.Values.Select(BitConverter.DoubleToInt64Bits), actual.Values.Select(BitConverter.DoubleToInt64Bits));
    }
}
