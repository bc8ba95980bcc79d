using Platform.Metrics.Intake;

namespace Platform.Metrics.Tests;

public sealed class IntakeSnappyTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(15)]
    [InlineData(60)]
    [InlineData(61)]
    [InlineData(300)]
    [InlineData(70_000)]
    [InlineData(1_000_000)]
    public void What_another_encoder_wrote_is_read_back(int length)
    {
        foreach (var variety in (int[])[1, 2, 7, 40, 256])
        {
            var random = new Random(length + variety);
            var plain = new byte[length];
            for (var index = 0; index < length; index++)
            {
                plain[index] = (byte)random.Next(variety);
            }

            Assert.Equal(plain, Decode(IronSnappy.Snappy.Encode(plain)));
        }
    }

    [Fact]
    public void Repetitions_of_any_short_distance_are_read_back()
    {
        for (var distance = 1; distance <= 40; distance++)
        {
            var plain = new byte[500];
            for (var index = 0; index < plain.Length; index++)
            {
                plain[index] = (byte)(index % distance);
            }

            Assert.Equal(plain, Decode(IronSnappy.Snappy.Encode(plain)));
        }
    }

    [Theory]
    // Nothing at all, a length without end, and a length that so few bytes cannot make.
    [InlineData("")]
    [InlineData("ffffffffffffffff")]
    [InlineData("ffffffff0f00")]
    // A literal that is cut short; a copy from before the beginning, of offset 0, and beyond the length; too few bytes in all.
    [InlineData("0510aabb")]
    [InlineData("0500aa0503")]
    [InlineData("0500aa0100")]
    [InlineData("0300aa3901")]
    [InlineData("0500aa")]
    [InlineData("05f0")]
    [InlineData("0500aa02")]
    [InlineData("0500aa030100")]
    [InlineData("05fcffffffff00")]
    [InlineData("0500aa0fffffffff")]
    public void Corrupt_blocks_are_refused(string hex) => Assert.Null(Decode(Convert.FromHexString(hex)));

    [Fact]
    public void No_changed_or_shortened_block_reads_or_writes_out_of_bounds()
    {
        var random = new Random(7);
        var plain = new byte[5_000];
        for (var index = 0; index < plain.Length; index++)
        {
            plain[index] = (byte)random.Next(3);
        }

        var block = IronSnappy.Snappy.Encode(plain);
        for (var round = 0; round < 20_000; round++)
        {
            var changed = block[..random.Next(1, block.Length + 1)];
            for (var change = random.Next(4); change >= 0; change--)
            {
                changed[random.Next(changed.Length)] = (byte)random.Next(256);
            }

            Decode(changed); // checks the bytes behind the slack
        }
    }

    private static byte[]? Decode(ReadOnlySpan<byte> block)
    {
        if (!Snappy.TryReadLength(block, out var length, out var start))
        {
            return null;
        }

        // What stands behind the slack must stay; what stood in the buffer must not shine through.
        var into = new byte[length + Snappy.Slack + 32];
        Array.Fill(into, (byte)0xee);
        var ok = Snappy.TryDecode(block[start..], into.AsSpan(0, (int)length + Snappy.Slack), (int)length);
        Assert.All(into[^32..], guard => Assert.Equal(0xee, guard));
        return ok ? into[..(int)length] : null;
    }
}
