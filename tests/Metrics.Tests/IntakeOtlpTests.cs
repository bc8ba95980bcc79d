using System.Text;
using Platform.Metrics.Intake;

namespace Platform.Metrics.Tests;

public sealed class IntakeOtlpTests : IDisposable
{
    private const int Delta = 1;
    private const int Cumulative = 2;

    private readonly IntakeBench _bench = new();

    private static long Now => IntakeBench.Now;

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData("http.server.request.duration", "s", "Histogram", "http_server_request_duration_seconds")]
    [InlineData("process.cpu.utilization", "1", "Gauge", "process_cpu_utilization_ratio")]
    [InlineData("requests", "1", "Counter", "requests_total")]
    [InlineData("requests.total", "{request}", "Counter", "requests_total")]
    [InlineData("network.io", "By/s", "Gauge", "network_io_bytes_per_second")]
    [InlineData("rate", "{packet}/s", "Gauge", "rate_per_second")]
    [InlineData("disk.bytes", "By", "Level", "disk_bytes")]
    [InlineData("a--b..c", "", "Gauge", "a_b_c")]
    [InlineData("2xx", "", "Counter", "_2xx_total")]
    [InlineData("memory", "MiBy", "Level", "memory_mebibytes")]
    [InlineData("share", "%", "Gauge", "share_percent")]
    [InlineData("speed", "km/h", "Gauge", "speed_km_per_hour")]
    [InlineData("ns:metric", "", "Gauge", "ns:metric")]
    [InlineData("...", "s", "Gauge", "")]
    public void Names_and_units_become_what_Prometheus_makes_of_them(string name, string unit, string kind, string expected) =>
        Assert.Equal(expected, OtlpNames.Metric(name, unit, Enum.Parse<OtlpKind>(kind)));

    [Theory]
    [InlineData("http.method", "http_method")]
    [InlineData("2xx", "key_2xx")]
    [InlineData("_private", "key_private")]
    [InlineData("__reserved", "__reserved")]
    [InlineData("grün", "gr_n")]
    public void Attributes_become_labels(string key, string expected) => Assert.Equal(expected, OtlpNames.Label(key));

    [Theory]
    [InlineData(0.005, "0.005")]
    [InlineData(10, "10")]
    [InlineData(1e-7, "0.0000001")]
    [InlineData(-2.5e-6, "-0.0000025")]
    [InlineData(1e21, "1000000000000000000000")]
    [InlineData(1.25e17, "125000000000000000")]
    [InlineData(double.PositiveInfinity, "+Inf")]
    public void Bounds_are_written_without_exponents(double bound, string expected) => Assert.Equal(expected, OtlpNames.Number(bound));

    [Fact]
    public async Task Gauges_and_sums_are_series_with_job_and_instance_and_the_resource_is_target_info()
    {
        var request = Request(
            Metric("temperature", "Cel", 5, new Proto().Message(1, Number(Now, 21.5, ("room.name", "a")))),
            Metric("requests", "{request}", 7, Sum(Cumulative, monotonic: true, Number(Now, 7))),
            Metric("queue.size", "", 7, Sum(Cumulative, monotonic: false, new Proto().Fixed(3, Nanos(Now)).Fixed(6, unchecked((ulong)-3)))));
        await _bench.ExportAsync(request);
        await _bench.ExportAsync(request); // a repetition changes nothing

        Assert.Equal(
            [
                """queue_size{instance="i-1", job="shop/cart", realm="home"} 0:-3""",
                """requests_total{instance="i-1", job="shop/cart", realm="home"} 0:7""",
                """target_info{host_name="h", instance="i-1", job="shop/cart", realm="home"} 0:1""",
                """temperature_celsius{instance="i-1", job="shop/cart", realm="home", room_name="a"} 0:21.5""",
            ],
            await _bench.AllAsync());
        var metadata = await _bench.Store.MetadataAsync("home", "temperature_celsius", 10, TestContext.Current.CancellationToken);
        Assert.Equal(("gauge", "celsius", "What it is."), (Assert.Single(metadata).Type, metadata[0].Unit, metadata[0].Help));
    }

    [Fact]
    public async Task Values_of_attributes_are_texts_and_names_that_meet_share_a_label()
    {
        var nested = new Proto().Message(6, new Proto()
            .Message(1, new Proto().Text(1, "n").Message(2, new Proto().Varint(3, 5)))
            .Message(1, new Proto().Text(1, "l").Message(2, new Proto().Message(5, new Proto().Message(1, new Proto().Varint(2, 1)).Message(1, new Proto().Text(1, "x\"y"))))));
        var point = Number(Now, 1, ("a.b", "1"), ("a_b", "2"), ("realm", "theirs"), ("job", "spoofed"), ("__name__", "spoofed"))
            .Message(7, new Proto().Text(1, "nested").Message(2, nested))
            .Message(7, new Proto().Text(1, "whole").Message(2, new Proto().Varint(3, -5)))
            .Message(7, new Proto().Text(1, "real").Message(2, new Proto().Double(4, 0.5)));

        await _bench.ExportAsync(Request(Metric("g", "", 5, new Proto().Message(1, point))));

        Assert.Equal(
            """g{a_b="1;2", instance="i-1", job="shop/cart", nested="{\"n\":5,\"l\":[true,\"x\\\"y\"]}", real="0.5", realm="home", whole="-5"} 0:1""",
            (await _bench.AllAsync())[0]);
    }

    [Fact]
    public async Task Attributes_that_are_scattered_over_a_point_are_found()
    {
        var point = new Proto()
            .Message(7, Attribute("a", "1")).Fixed(3, Nanos(Now)).Message(7, Attribute("b", "2")).Double(4, 5).Message(7, Attribute("c", "3"));

        await _bench.ExportAsync(Request(Metric("g", "", 5, new Proto().Message(1, point))));

        Assert.Equal("""g{a="1", b="2", c="3", instance="i-1", job="shop/cart", realm="home"} 0:5""", (await _bench.AllAsync())[0]);
    }

    [Fact]
    public async Task Histograms_get_cumulative_buckets()
    {
        var point = new Proto().Fixed(3, Nanos(Now)).Fixed(4, 10).Double(5, 12.5).PackedFixed(6, 1, 2, 3, 4).PackedDouble(7, 0.1, 1, 10).Message(9, Attribute("route", "/"));

        await _bench.ExportAsync(Request(Metric("latency", "s", 9, new Proto().Message(1, point).Varint(2, Cumulative))));

        Assert.Equal(
            [
                """latency_seconds_bucket{instance="i-1", job="shop/cart", le="+Inf", realm="home", route="/"} 0:10""",
                """latency_seconds_bucket{instance="i-1", job="shop/cart", le="0.1", realm="home", route="/"} 0:1""",
                """latency_seconds_bucket{instance="i-1", job="shop/cart", le="1", realm="home", route="/"} 0:3""",
                """latency_seconds_bucket{instance="i-1", job="shop/cart", le="10", realm="home", route="/"} 0:6""",
                """latency_seconds_count{instance="i-1", job="shop/cart", realm="home", route="/"} 0:10""",
                """latency_seconds_sum{instance="i-1", job="shop/cart", realm="home", route="/"} 0:12.5""",
            ],
            (await _bench.AllAsync())[..^1]);
    }

    [Fact]
    public async Task Deltas_are_added_up_and_a_repeated_one_is_not_added_twice()
    {
        byte[] Export(long at, double count, params ulong[] buckets) => Request(
            Metric("requests", "", 7, Sum(Delta, monotonic: true, Number(at, count))),
            Metric("latency", "", 9, new Proto().Message(1, new Proto().Fixed(3, Nanos(at)).Fixed(4, buckets[0] + buckets[1]).Double(5, 1).PackedFixed(6, buckets).PackedDouble(7, 1)).Varint(2, Delta)));

        await _bench.ExportAsync(Export(Now, 5, 1, 2));
        await _bench.ExportAsync(Export(Now + 1000, 2, 0, 1));
        await _bench.ExportAsync(Export(Now + 1000, 2, 0, 1));
        await _bench.ExportAsync(Export(Now, 5, 1, 2));
        await _bench.ExportAsync(Export(Now + 2000, 1, 1, 0));

        Assert.Equal(
            [
                """latency_bucket{instance="i-1", job="shop/cart", le="+Inf", realm="home"} 0:3 1:4 2:5""",
                """latency_bucket{instance="i-1", job="shop/cart", le="1", realm="home"} 0:1 1:1 2:2""",
                """latency_count{instance="i-1", job="shop/cart", realm="home"} 0:3 1:4 2:5""",
                """latency_sum{instance="i-1", job="shop/cart", realm="home"} 0:1 1:2 2:3""",
                """requests_total{instance="i-1", job="shop/cart", realm="home"} 0:5 1:7 2:8""",
            ],
            (await _bench.AllAsync())[..^1]);
    }

    [Fact]
    public async Task Exponential_histograms_become_classic_ones_at_the_scale_of_the_setting()
    {
        // Scale 2: four buckets per power of two, from 2^0. Two each in (1, 2^0.25], …, (2^1.75, 4]; one at zero, one in [-2, -1).
        var point = new Proto().Fixed(3, Nanos(Now)).Fixed(4, 18).Double(5, 20).ZigZag(6, 2).Fixed(7, 1)
            .Message(8, new Proto().ZigZag(1, 0).Packed(2, 2, 2, 2, 2, 2, 2, 2, 2))
            .Message(9, new Proto().ZigZag(1, 3).Packed(2, 1));

        await _bench.ExportAsync(Request(Metric("size", "", 10, new Proto().Message(1, point).Varint(2, Cumulative))));

        var buckets = (await _bench.AllAsync()).Where(line => line.StartsWith("size_bucket", StringComparison.Ordinal)).Select(line => line[line.IndexOf("le=", StringComparison.Ordinal)..]).ToArray();
        Assert.Equal(
            [
                """le="+Inf", realm="home"} 0:18""",
                """le="-1.4142135623730951", realm="home"} 0:1""",
                """le="0", realm="home"} 0:2""",
                """le="1.4142135623730951", realm="home"} 0:6""",
                """le="2", realm="home"} 0:10""",
                """le="2.8284271247461903", realm="home"} 0:14""",
                """le="4", realm="home"} 0:18""",
            ],
            buckets);
    }

    [Fact]
    public async Task Exponential_deltas_of_different_ranges_add_up_to_buckets_that_never_shrink_upwards()
    {
        for (var round = 0; round < 3; round++)
        {
            // One value in (2^round·3, …] of scale 3 each.
            var point = new Proto().Fixed(3, Nanos(Now + round)).Fixed(4, 1).Double(5, 1).ZigZag(6, 3).Message(8, new Proto().ZigZag(1, 24 * (2 - round)).Packed(2, 1));
            await _bench.ExportAsync(Request(Metric("size", "", 10, new Proto().Message(1, point).Varint(2, Delta))));
        }

        var buckets = (await _bench.AllAsync()).Where(line => line.StartsWith("size_bucket", StringComparison.Ordinal)).ToDictionary(
            line => line.Split("le=\"")[1].Split('"')[0], line => line.Split(' ')[^1].Split(':')[1]);
        Assert.Equal(["1", "2", "2", "3", "3", "0"], ((string[])["2", "16", "64", "128", "+Inf", "1"]).Select(bound => buckets[bound]));
    }

    [Fact]
    public async Task Summaries_have_quantiles_and_a_point_without_value_is_a_stale_marker()
    {
        var summary = new Proto().Fixed(3, Nanos(Now)).Fixed(4, 10).Double(5, 3).Message(6, new Proto().Double(1, 0.5).Double(2, 0.2)).Message(6, new Proto().Double(1, 0.99).Double(2, 0.9));
        await _bench.ExportAsync(Request(
            Metric("rpc", "", 11, new Proto().Message(1, summary)),
            Metric("g", "", 5, new Proto().Message(1, new Proto().Fixed(3, Nanos(Now)).Varint(8, 1)))));

        Assert.Equal(
            [
                """g{instance="i-1", job="shop/cart", realm="home"} 0:stale""",
                """rpc_count{instance="i-1", job="shop/cart", realm="home"} 0:10""",
                """rpc_sum{instance="i-1", job="shop/cart", realm="home"} 0:3""",
                """rpc{instance="i-1", job="shop/cart", quantile="0.5", realm="home"} 0:0.2""",
                """rpc{instance="i-1", job="shop/cart", quantile="0.99", realm="home"} 0:0.9""",
            ],
            (await _bench.AllAsync()).Where(line => !line.StartsWith("target_info", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Each_point_that_cannot_be_stored_is_counted_once_and_named()
    {
        await _bench.ExportAsync(Request(
            Metric("no.time", "", 5, new Proto().Message(1, new Proto().Double(4, 1))),
            Metric("no.value", "", 5, new Proto().Message(1, new Proto().Fixed(3, Nanos(Now)))),
            Metric("unset", "", 7, Sum(0, monotonic: true, Number(Now, 1))),
            Metric("down", "", 7, Sum(Delta, monotonic: false, Number(Now, 1))),
            Metric("negative", "", 7, Sum(Delta, monotonic: true, Number(Now, -1))),
            Metric("buckets", "", 9, new Proto().Message(1, new Proto().Fixed(3, Nanos(Now)).PackedFixed(6, 1, 2).PackedDouble(7, 1, 2)).Varint(2, Cumulative)),
            Metric("order", "", 9, new Proto().Message(1, new Proto().Fixed(3, Nanos(Now)).PackedFixed(6, 1, 2, 3).PackedDouble(7, 2, 1)).Varint(2, Cumulative)),
            Metric("scale", "", 10, new Proto().Message(1, new Proto().Fixed(3, Nanos(Now)).ZigZag(6, 40)).Varint(2, Cumulative)),
            Metric("!!!", "", 5, new Proto().Message(1, Number(Now, 1))),
            Metric("good", "", 5, new Proto().Message(1, Number(Now, 1)))));

        Assert.Equal(9, _bench.Refusals.Count);
        Assert.Equal(9, _bench.Refusals.Sentences.Count);
        Assert.Contains("no.time: a point has no time.", _bench.Refusals.Sentences);
        Assert.Equal(2, (await _bench.AllAsync()).Length);
    }

    [Fact]
    public async Task JSON_is_the_same_as_protobuf()
    {
        var json = $$$$"""
            {"unknown":{"deep":[1,{}]},"resourceMetrics":[{"resource":{"attributes":[
              {"key":"service.name","value":{"stringValue":"cart"}},{"key":"service.namespace","value":{"stringValue":"shop"}},
              {"key":"service.instance.id","value":{"stringValue":"i-1"}},{"key":"n","value":{"intValue":"7"}}]},
             "scopeMetrics":[{"scope":{"name":"x"},"metrics":[
              {"name":"requests","unit":"1","sum":{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[
                {"asInt":"12","timeUnixNano":"{{{{Nanos(Now)}}}}","attributes":[{"key":"tags","value":{"arrayValue":{"values":[{"stringValue":"a\u00e9\n"},{"boolValue":true}]}}}]}]}},
              {"name":"latency","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[
                {"count":3,"sum":1.5,"bucketCounts":["1",2],"explicitBounds":[0.5],"timeUnixNano":"{{{{Nanos(Now)}}}}","exemplars":[{"asDouble":1,"traceId":"0AF7651916CD43DD8448EB211C80319C"}]}]}},
              {"name":"size","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[
                {"count":"2","scale":-1,"zeroCount":"0","positive":{"offset":-1,"bucketCounts":["1","1"]},"timeUnixNano":"{{{{Nanos(Now)}}}}"}]}},
              {"name":"odd","gauge":{"dataPoints":[{"asDouble":"NaN","timeUnixNano":{{{{Nanos(Now)}}}}}]}}]}]}]}
            """;
        var bodies = new IntakeBodies(new IntakeOptions());
        using (var message = OtlpJson.ToProtobuf(bodies, Encoding.UTF8.GetBytes(json)))
        {
            await _bench.ExportAsync(message.Written.ToArray());
        }

        Assert.Equal(0, bodies.BytesInUse);
        Assert.Equal(0, _bench.Refusals.Count);
        Assert.Equal(1, _bench.Exemplars);
        Assert.Equal(
            [
                """latency_seconds_bucket{instance="i-1", job="shop/cart", le="+Inf", realm="home"} 0:3""",
                """latency_seconds_bucket{instance="i-1", job="shop/cart", le="0.5", realm="home"} 0:1""",
                """latency_seconds_count{instance="i-1", job="shop/cart", realm="home"} 0:3""",
                """latency_seconds_sum{instance="i-1", job="shop/cart", realm="home"} 0:1.5""",
                """odd{instance="i-1", job="shop/cart", realm="home"} 0:NaN""",
                """requests_total{instance="i-1", job="shop/cart", realm="home", tags="[\"aé\\n\",true]"} 0:12""",
                """size_bucket{instance="i-1", job="shop/cart", le="+Inf", realm="home"} 0:2""",
                """size_bucket{instance="i-1", job="shop/cart", le="1", realm="home"} 0:1""",
                """size_bucket{instance="i-1", job="shop/cart", le="4", realm="home"} 0:2""",
                """size_count{instance="i-1", job="shop/cart", realm="home"} 0:2""",
                """target_info{instance="i-1", job="shop/cart", n="7", realm="home"} 0:1""",
            ],
            await _bench.AllAsync());
    }

    [Theory]
    [InlineData("", "broken at line 1")]
    [InlineData("[]", "must be an object")]
    [InlineData("{} {}", "broken at line 1")]
    [InlineData("""{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":5}]}]}]}""", "At byte 58 of the JSON, name must be a text")]
    [InlineData("""{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA"}}]}]}]}""", "whole number")]
    [InlineData("""{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"\ud800"}]}]}]}""", "half a surrogate pair")]
    [InlineData("""{"resourceMetrics":[{"resource":5}]}""", "resource must be an object")]
    public void JSON_that_is_wrong_is_refused_with_the_place(string json, string expected)
    {
        var bodies = new IntakeBodies(new IntakeOptions());

        var refused = Assert.Throws<RefusedBodyException>(() => OtlpJson.ToProtobuf(bodies, Encoding.UTF8.GetBytes(json)));

        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
        Assert.Equal(0, bodies.BytesInUse);
    }

    [Fact]
    public void JSON_that_is_deeper_than_anybody_means_it_is_refused()
    {
        var deep = $$"""{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":{{string.Concat(Enumerable.Repeat("""{"arrayValue":{"values":[""", 5000))}}""";

        Assert.Contains("broken", Assert.Throws<RefusedBodyException>(() => OtlpJson.ToProtobuf(new(new()), Encoding.UTF8.GetBytes(deep))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Values_that_nest_without_end_are_refused()
    {
        var value = new Proto().Text(1, "x");
        for (var depth = 0; depth < 2000; depth++)
        {
            value = new Proto().Message(5, new Proto().Message(1, value));
        }

        var request = Request(Metric("g", "", 5, new Proto().Message(1, Number(Now, 1).Message(7, new Proto().Text(1, "a").Message(2, value)))));

        Assert.Contains("nests deeper", (await Assert.ThrowsAsync<RefusedBodyException>(() => _bench.ExportAsync(request))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bodies_that_are_cut_or_changed_are_refused_or_read_and_nothing_else()
    {
        var random = new Random(5);
        var body = Request(
            Metric("requests", "{request}", 7, Sum(Delta, monotonic: true, Number(Now, 7, ("a", "b")))),
            Metric("latency", "s", 9, new Proto().Message(1, new Proto().Fixed(3, Nanos(Now)).Fixed(4, 10).Double(5, 12.5).PackedFixed(6, 1, 2, 3, 4).PackedDouble(7, 0.1, 1, 10).Message(9, Attribute("route", "/"))).Varint(2, Cumulative)),
            Metric("size", "", 10, new Proto().Message(1, new Proto().Fixed(3, Nanos(Now)).Fixed(4, 18).ZigZag(6, 2).Message(8, new Proto().ZigZag(1, 0).Packed(2, 2, 2, 2, 2))).Varint(2, Cumulative)),
            Metric("rpc", "", 11, new Proto().Message(1, new Proto().Fixed(3, Nanos(Now)).Message(6, new Proto().Double(1, 0.5).Double(2, 0.2)))));
        var refused = 0;
        for (var round = 0; round < 5000; round++)
        {
            var changed = body[..random.Next(1, body.Length + 1)];
            for (var change = random.Next(5); change > 0; change--)
            {
                changed[random.Next(changed.Length)] = (byte)random.Next(256);
            }

            try
            {
                await _bench.ExportAsync(changed);
            }
            catch (RefusedBodyException error)
            {
                Assert.Equal(400, error.Status);
                refused++;
            }
        }

        Assert.InRange(refused, 500, 4999);
    }

    private static ulong Nanos(long milliseconds) => (ulong)milliseconds * 1_000_000;

    private static Proto Attribute(string key, string value) => new Proto().Text(1, key).Message(2, new Proto().Text(1, value));

    private static Proto Number(long at, double value, params (string Key, string Value)[] attributes)
    {
        var point = new Proto().Fixed(3, Nanos(at)).Double(4, value);
        foreach (var (key, text) in attributes)
        {
            point.Message(7, Attribute(key, text));
        }

        return point;
    }

    private static Proto Sum(int temporality, bool monotonic, Proto point) => new Proto().Message(1, point).Varint(2, temporality).Varint(3, monotonic ? 1 : 0);

    private static Proto Metric(string name, string unit, int type, Proto points) =>
        new Proto().Text(1, name).Text(2, "What it is.").Text(3, unit).Message(type, points);

    private static byte[] Request(params Proto[] metrics)
    {
        var scope = new Proto().Message(1, new Proto().Text(1, "scope"));
        foreach (var metric in metrics)
        {
            scope.Message(2, metric);
        }

        var resource = new Proto().Message(1, Attribute("service.name", "cart")).Message(1, Attribute("service.namespace", "shop"))
            .Message(1, Attribute("service.instance.id", "i-1")).Message(1, Attribute("host.name", "h"));
        return new Proto().Message(1, new Proto().Message(1, resource).Message(2, scope)).Bytes;
    }
}
