using Platform.Metrics.Intake;
using Platform.PromQL;

namespace Platform.Metrics.Tests;

public sealed class IntakeRemoteWriteTests : IDisposable
{
    private readonly IntakeBench _bench = new();

    private static long Now => IntakeBench.Now;

    public void Dispose() => _bench.Dispose();

    [Fact]
    public async Task Samples_of_new_and_of_known_series_are_stored_with_all_bits()
    {
        var quietNaN = BitConverter.Int64BitsToDouble(0x7ff8000000000001);
        for (var round = 0; round < 3; round++)
        {
            await _bench.WriteAsync(RemoteWriteBody.Request(
                RemoteWriteBody.Series("__name__=up,job=a", (Now + (round * 1000), round), (Now + (round * 1000) + 500, -0.5)),
                RemoteWriteBody.Series("__name__=gone,job=a", (Now + (round * 1000), StaleMarker.Value)),
                RemoteWriteBody.Series("__name__=nan,job=a", (Now + (round * 1000), quietNaN))));
        }

        Assert.Equal(
            [
                """gone{job="a", realm="home"} 0:stale 1:stale 2:stale""",
                """nan{job="a", realm="home"} 0:NaN 1:NaN 2:NaN""",
                """up{job="a", realm="home"} 0:0 0.5:-0.5 1:1 1.5:-0.5 2:2 2.5:-0.5""",
            ],
            await _bench.AllAsync());
        Assert.Equal(0, _bench.Refusals.Count);
    }

    [Fact]
    public async Task A_realm_in_the_labels_counts_for_nothing()
    {
        await _bench.WriteAsync(RemoteWriteBody.Request(RemoteWriteBody.Series("__name__=up,realm=theirs", (Now, 1))), realm: "ours");
        await _bench.WriteAsync(RemoteWriteBody.Request(RemoteWriteBody.Series("__name__=up,realm=theirs", (Now, 2))), realm: "others");

        Assert.Equal(["""up{realm="others"} 0:2""", """up{realm="ours"} 0:1"""], await _bench.AllAsync());
        Assert.Empty(await _bench.AllAsync("theirs"));
        Assert.Single(await _bench.AllAsync("ours"));
    }

    [Fact]
    public async Task Labels_in_another_order_or_behind_the_samples_are_the_same_series()
    {
        await _bench.WriteAsync(RemoteWriteBody.Request(
            RemoteWriteBody.Series("__name__=up,job=a", (Now, 1)),
            RemoteWriteBody.Series("job=a,__name__=up", (Now + 1000, 2)),
            new Proto().Message(1, new Proto().Text(1, "job").Text(2, "a")).Message(2, RemoteWriteBody.Sample(Now + 2000, 3)).Message(1, new Proto().Text(1, "__name__").Text(2, "up")),
            RemoteWriteBody.Series("__name__=up,job=a,empty=", (Now + 3000, 4))));

        Assert.Equal(["""up{job="a", realm="home"} 0:1 1:2 2:3 3:4"""], await _bench.AllAsync());
    }

    [Fact]
    public async Task A_label_longer_than_usual_is_a_label()
    {
        var value = new string('x', 4000);
        await _bench.WriteAsync(RemoteWriteBody.Request(RemoteWriteBody.Series($"__name__=up,long={value}", (Now, 1))));

        Assert.Equal([$$"""up{long="{{value}}", realm="home"} 0:1"""], await _bench.AllAsync());
    }

    [Fact]
    public async Task What_no_series_can_be_called_is_refused_and_the_rest_is_stored()
    {
        await _bench.WriteAsync(RemoteWriteBody.Request(
            RemoteWriteBody.Series("__name__=twice,a=1,a=2", (Now, 1)),
            RemoteWriteBody.Series("job=nameless", (Now, 1), (Now + 1, 1)),
            RemoteWriteBody.Series("__name__=zero,a=x\0y", (Now, 1)),
            RemoteWriteBody.Series("__name__=anonymous,=x", (Now, 1)),
            new Proto().Message(1, new Proto().Text(1, "__name__").Field(2, [0xff, 0xfe])).Message(2, RemoteWriteBody.Sample(Now, 1)),
            RemoteWriteBody.Series("__name__=good", (Now, 1))));

        Assert.Equal(["""good{realm="home"} 0:1"""], await _bench.AllAsync());
        Assert.Equal(6, _bench.Refusals.Count);
        Assert.Collection(
            _bench.Refusals.Sentences,
            text => Assert.Equal("twice{a=\"1\", a=\"2\"}: the label \"a\" comes twice.", text),
            text => Assert.Equal("{job=\"nameless\"}: it has no name (label __name__).", text),
            text => Assert.Contains("\"a\" holds the character U+0000", text, StringComparison.Ordinal),
            text => Assert.Contains("empty name", text, StringComparison.Ordinal),
            text => Assert.Contains("\"__name__\" is not valid UTF-8", text, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Native_histograms_are_refused_exemplars_dropped_and_metadata_kept()
    {
        await _bench.WriteAsync([.. RemoteWriteBody.Request(
            RemoteWriteBody.Series("__name__=latency").Message(4, new Proto().Varint(1, 3).Varint(15, Now)),
            RemoteWriteBody.Series("__name__=up", (Now, 1)).Message(3, new Proto().Double(2, 1).Varint(3, Now))),
            .. new Proto().Message(3, new Proto().Varint(1, 1).Text(2, "http_requests_total").Text(4, "Requests.").Text(5, "")).Bytes]);

        Assert.Equal(["""up{realm="home"} 0:1"""], await _bench.AllAsync());
        Assert.Equal(1, _bench.Refusals.Of(RefusalReason.NativeHistogram));
        Assert.Equal("latency{}: native histograms are not stored; send classic ones.", Assert.Single(_bench.Refusals.Sentences));
        Assert.Equal(1, _bench.Exemplars);
        var metadata = Assert.Single(await _bench.Store.MetadataAsync("home", null, 10, TestContext.Current.CancellationToken));
        Assert.Equal(("http_requests_total", "counter", "Requests."), (metadata.Family, metadata.Type, metadata.Help));
    }

    [Fact]
    public async Task Version_2_finds_the_series_of_version_1()
    {
        var symbols = new[] { "", "__name__", "requests_total", "job", "a", "Requests.", "realm", "theirs" };
        var request = new Proto();
        foreach (var symbol in symbols)
        {
            request.Text(4, symbol);
        }

        await _bench.WriteAsync(RemoteWriteBody.Request(RemoteWriteBody.Series("__name__=requests_total,job=a", (Now, 1))));
        await _bench.Write2Async(request
            .Message(5, new Proto().Packed(1, 1, 2, 3, 4).Message(2, new Proto().Double(1, 2).Varint(2, Now + 1000).Varint(3, Now - 1000)).Message(5, new Proto().Varint(1, 1).Varint(3, 5)))
            // References one by one, and the start of the counter where the candidates had it.
            .Message(5, new Proto().Varint(1, 1).Varint(1, 2).Varint(1, 3).Varint(1, 4).Varint(1, 6).Varint(1, 7).Message(2, new Proto().Double(1, 3).Varint(2, Now + 2000)).Varint(6, Now - 1000)).Bytes);

        Assert.Equal(["""requests_total{job="a", realm="home"} 0:1 1:2 2:3"""], await _bench.AllAsync());
        Assert.Equal(0, _bench.Refusals.Count);
        var metadata = Assert.Single(await _bench.Store.MetadataAsync("home", null, 10, TestContext.Current.CancellationToken));
        Assert.Equal(("requests_total", "counter", "Requests."), (metadata.Family, metadata.Type, metadata.Help));
    }

    [Fact]
    public async Task Version_2_names_what_is_wrong_with_a_series_and_stores_the_others()
    {
        await _bench.Write2Async(new Proto().Text(4, "").Text(4, "__name__").Text(4, "up")
            .Message(5, new Proto().Packed(1, 1, 2, 1).Message(2, RemoteWriteBody.Sample(Now, 1)))
            .Message(5, new Proto().Packed(1, 1, 3).Message(2, RemoteWriteBody.Sample(Now, 1)))
            .Message(5, new Proto().Packed(1, 1, 2))
            .Message(5, new Proto().Packed(1, 1, 2).Message(3, new Proto().Varint(15, Now)))
            .Message(5, new Proto().Packed(1, 1, 2).Message(2, RemoteWriteBody.Sample(Now, 7))).Bytes);

        Assert.Equal(["""up{realm="home"} 0:7"""], await _bench.AllAsync());
        Assert.Collection(
            _bench.Refusals.Sentences,
            text => Assert.Contains("3 label references", text, StringComparison.Ordinal),
            text => Assert.Contains("symbol 3, and the table has 3", text, StringComparison.Ordinal),
            text => Assert.Contains("neither samples nor histograms", text, StringComparison.Ordinal),
            text => Assert.Contains("native histograms", text, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Small_bodies_that_would_fill_the_memory_are_refused()
    {
        using var bench = new IntakeBench { Limits = new IntakeOptions { MaxSamples = 1000 } };
        var series = RemoteWriteBody.Series("__name__=up");
        var second = new Proto().Packed(1, 1, 1);
        var labels = new Proto();
        var references = new Proto();
        for (var number = 0; number < 5000; number++)
        {
            series.Field(2, []);
            second.Field(2, []);
            labels.Field(1, []);
            references.Varint(1, 0).Varint(1, 0);
        }

        var many = await Assert.ThrowsAsync<RefusedBodyException>(() => bench.WriteAsync(RemoteWriteBody.Request(series)));
        Assert.Equal(413, many.Status);
        Assert.Contains("METRICS_INTAKE_MAX_SAMPLES", many.Message, StringComparison.Ordinal);
        Assert.Equal(413, (await Assert.ThrowsAsync<RefusedBodyException>(() => bench.Write2Async(new Proto().Text(4, "").Text(4, "__name__").Message(5, second).Bytes))).Status);

        await bench.WriteAsync(RemoteWriteBody.Request(labels.Message(2, RemoteWriteBody.Sample(Now, 1))));
        Assert.Contains("empty name", Assert.Single(bench.Refusals.Sentences), StringComparison.Ordinal);
        await bench.Write2Async(new Proto().Text(4, "").Message(5, references.Message(2, RemoteWriteBody.Sample(Now, 1))).Bytes);
        Assert.Contains("more than 2048 labels", Assert.Single(bench.Refusals.Sentences), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Bodies_that_are_cut_or_changed_are_refused_or_read_and_nothing_else(int version)
    {
        var random = new Random(3);
        var series = Enumerable.Range(0, 20).Select(n => RemoteWriteBody.Series($"__name__=m{n},job=a,instance=host-{n}", (Now, n), (Now + 1, 2))).ToArray();
        var body = RemoteWriteBody.Request(series);
        if (version == 2)
        {
            var request = new Proto().Text(4, "").Text(4, "__name__").Text(4, "up");
            for (var number = 0; number < 20; number++)
            {
                request.Message(5, new Proto().Packed(1, 1, 2).Message(2, RemoteWriteBody.Sample(Now + number, 1)).Message(5, new Proto().Varint(1, 1).Varint(3, 1)));
            }

            body = request.Bytes;
        }

        var refused = 0;
        for (var round = 0; round < 3000; round++)
        {
            var changed = body[..random.Next(1, body.Length + 1)];
            for (var change = random.Next(5); change > 0; change--)
            {
                changed[random.Next(changed.Length)] = (byte)random.Next(256);
            }

            try
            {
                await (version == 1 ? _bench.WriteAsync(changed) : _bench.Write2Async(changed));
            }
            catch (RefusedBodyException error)
            {
                Assert.Equal(400, error.Status);
                refused++;
            }
        }

        Assert.InRange(refused, 500, 2999);
    }
}
