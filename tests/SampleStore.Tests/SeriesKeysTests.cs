using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.PromQL;

namespace Platform.SampleStore.Tests;

public sealed class SeriesKeysTests
{
    [Fact]
    public void Keys_differ_by_realm_by_every_byte_and_by_length()
    {
        var keys = new HashSet<SeriesKey>();
        foreach (var realm in (string[])["a", "b", ""])
        {
            var start = SeriesKey.OfRealm(realm);
            for (var length = 0; length <= 70; length++)
            {
                var bytes = new byte[length];
                Assert.True(keys.Add(SeriesKey.Of(start, bytes)));
                for (var at = 0; at < length; at++)
                {
                    bytes[at] = 1;
                    Assert.True(keys.Add(SeriesKey.Of(start, bytes)));
                    bytes[at] = 0;
                }
            }
        }

        Assert.Equal(SeriesKey.Of(SeriesKey.OfRealm("a"), "x=1"u8), SeriesKey.Of(SeriesKey.OfRealm("a"), "x=1"u8));
    }

    [Fact]
    public void A_known_key_finds_its_series_until_the_series_is_gone()
    {
        var keys = new SeriesKeys<Known>(series => series.Gone, most: 100_000);
        var all = Enumerable.Range(0, 20_000).Select(number => new Known(Key(number))).ToArray();
        foreach (var series in all)
        {
            keys.Remember(series.Key, series);
        }

        Assert.All(all, series => Assert.Same(series, keys.Find(series.Key)));
        Assert.Null(keys.Find(Key(-1)));

        foreach (var series in all.Where((_, number) => number % 10 != 0))
        {
            series.Gone = true;
        }

        keys.Prune();
        Assert.Equal(2_000, keys.Count);
        Assert.All(all, series => Assert.Same(series.Gone ? null : series, keys.Find(series.Key)));

        var heir = new Known(all[1].Key);
        keys.Remember(heir.Key, heir);
        Assert.Same(heir, keys.Find(heir.Key));
    }

    [Fact]
    public void Beyond_the_bound_idle_keys_go_and_used_ones_stay()
    {
        var keys = new SeriesKeys<Known>(_ => false, most: 1_000);
        var busy = new Known(Key(-1));
        keys.Remember(busy.Key, busy);
        for (var number = 0; number < 10_000; number++)
        {
            var series = new Known(Key(number));
            keys.Remember(series.Key, series);
            Assert.InRange(keys.Count, 1, 1_000);
            Assert.Same(series, keys.Find(series.Key));
            if (keys.Find(busy.Key) is null)
            {
                // Only when all others were in use as well.
                keys.Remember(busy.Key, busy);
            }
        }
    }

    [Fact]
    public void Equal_texts_become_one_object_whichever_way_they_came()
    {
        var pool = new TextPool();
        var first = pool.Share("instance"u8);

        Assert.Same(first, pool.Share(new string("instance")));
        Assert.Same(first, pool.Share("instance"u8));
        Assert.Equal("grün 🙂", pool.Share("grün 🙂"u8));
        var longer = new string('x', 1_000);
        Assert.Equal(longer, pool.Share(Encoding.UTF8.GetBytes(longer)));
        Assert.Throws<DecoderFallbackException>(() => pool.Share([0xc3, 0x28]));

        var labels = pool.Share(Labels.Of(("job", new string("api")), ("zone", new string("instance"))));
        Assert.Same(first, labels.ValueAt(1));
        Assert.Same(labels, pool.Share(labels));
    }

    [Theory]
    [InlineData("x", "1", 0, null)]
    [InlineData("x", "1", 5, "METRICS_MAX_SERIES_PER_REALM")]
    [InlineData("name-of-11c", "1", 0, "METRICS_MAX_LABEL_NAME_LENGTH")]
    [InlineData("x", "a value of 21 letters", 0, "METRICS_MAX_LABEL_VALUE_LENGTH")]
    [InlineData("many", "1", 0, "METRICS_MAX_LABELS_PER_SERIES")]
    public void A_guard_names_its_setting(string name, string value, int sameRealm, string? setting)
    {
        using var guards = new SeriesGuards(
            new SeriesGuardOptions { SeriesPerRealm = 5, LabelsPerSeries = 2, LabelNameLength = 10, LabelValueLength = 20 }, TimeProvider.System, NullLogger<SeriesGuards>.Instance);
        var labels = name == "many" ? Labels.Of(("a", value), ("b", value), ("c", value)) : Labels.Of((name, value));

        var refusal = guards.Refuse(labels, sameRealm);

        Assert.Equal(setting is null, refusal is null);
        Assert.Contains(setting ?? "", refusal ?? "", StringComparison.Ordinal);
    }

    private static SeriesKey Key(int number) => SeriesKey.Of(SeriesKey.OfRealm("default"), BitConverter.GetBytes(number));

    private sealed class Known(SeriesKey key) : StoredSeries(Labels.Empty)
    {
        public SeriesKey Key => key;

        public bool Gone { get; set; }
    }
}
