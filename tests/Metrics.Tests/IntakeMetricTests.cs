using System.Text;
using Platform.Metrics.Intake;
using Platform.SampleStore;

namespace Platform.Metrics.Tests;

public sealed class IntakeMetricTests
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);

    private static readonly MetricParser Parser = new(new MetricOptions { MaxPerRequest = 5 }, new SampleStoreOptions());

    [Theory]
    [InlineData("""{"name":"a","metric_type":"gauge","value":-1.5,"labels":{"x":"y","n":5,"ok":true,"gone":null},"timestamp":"2026-03-01T11:59:00.250+00:00"}""")]
    [InlineData("""[{"name":"a","metric_type":"gauge","value":-1.5,"labels":{"x":"y","n":5,"ok":true},"timestamp":"2026-03-01T12:59:00.25+01:00"}]""")]
    [InlineData("""

        {"timestamp":"2026-03-01T11:59:00.250Z","value":-15e-1,"metric_type":"gauge","name":"a","labels":{"x":"\u0079","n":5,"ok":true}}

        """)]
    public void One_an_array_and_lines_are_read(string body)
    {
        var (metrics, faults) = Parser.Parse(Encoding.UTF8.GetBytes(body), Noon);

        Assert.Empty(faults);
        var metric = Assert.Single(metrics);
        Assert.Equal(("a", MetricType.Gauge, -1.5, Noon.AddSeconds(-59.75).ToUnixTimeMilliseconds()), (metric.Name, metric.Type, metric.Value, metric.At));
        Assert.Equal("x=y,n=5,ok=true", string.Join(',', metric.Labels.Select(label => $"{label.Key}={label.Value}")));
    }

    [Theory]
    [InlineData("", "", "holds no metric")]
    [InlineData("[", "", "broken at line 1")]
    [InlineData("[[[[[[[[[[", "[0]", "is an array")]
    [InlineData("5", "[0]", "this is a number")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"extra":{}}""", "[0].extra", "Unknown field")]
    [InlineData("""{"metric_type":"gauge","value":1}""", "[0].name", "Is missing")]
    [InlineData("""{"name":"a b","metric_type":"gauge","value":1}""", "[0].name", "no metric name")]
    [InlineData("""{"name":"9a","metric_type":"gauge","value":1}""", "[0].name", "no metric name")]
    [InlineData("""{"name":"a","value":1}""", "[0].metric_type", "Is missing")]
    [InlineData("""{"name":"a","metric_type":"summary","value":1}""", "[0].metric_type", "one of counter, gauge, histogram")]
    [InlineData("""{"name":"a","metric_type":"gauge"}""", "[0].value", "Is missing")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":"1"}""", "[0].value", "this is a string")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1e999}""", "[0].value", "double can hold")]
    [InlineData("""{"name":"a","metric_type":"counter","value":-1}""", "[0].value", "not negative")]
    [InlineData("""{"name":"a","metric_type":"histogram","value":-1}""", "[0].value", "not negative")]
    [InlineData("""{"name":"a","metric_type":"histogram","value":1,"labels":{"le":"5"}}""", "[0].labels.le", "another name")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"labels":{"a-b":"5"}}""", "[0].labels.a-b", "letters, digits and underscores")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"labels":{"__name__":"5"}}""", "[0].labels.__name__", "two underscores")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"labels":{"x":{}}}""", "[0].labels.x", "this is an object")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"labels":{"x":"1","x":"2"}}""", "[0].labels.x", "Comes twice")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"labels":{"x":"\u0000"}}""", "[0].labels.x", "U+0000")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"labels":{"x":"\ud800"}}""", "", "surrogate")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"timestamp":"2026-03-01T12:00:00"}""", "[0].timestamp", "with an offset")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"timestamp":"2025-03-01T12:00:00Z"}""", "[0].timestamp", "METRICS_RETENTION_DAYS")]
    [InlineData("""{"name":"a","metric_type":"gauge","value":1,"timestamp":"2026-03-01T13:00:00Z"}""", "[0].timestamp", "in the future")]
    public void Each_fault_is_named_with_its_place_and_the_remedy(string body, string path, string message)
    {
        var (metrics, faults) = Parser.Parse(Encoding.UTF8.GetBytes(body), Noon);

        Assert.Empty(metrics);
        Assert.Contains(faults, fault => fault.Path == path && fault.Message.Contains(message, StringComparison.Ordinal));
    }

    [Fact]
    public void All_faults_are_reported_at_once_and_too_many_metrics_are_too_large()
    {
        var (_, faults) = Parser.Parse("""[{"name":"a"},{"value":1},7]"""u8, Noon);
        Assert.Equal(["[0].metric_type", "[0].value", "[1].name", "[1].metric_type", "[2]"], faults.Select(fault => fault.Path));

        (_, faults) = Parser.Parse(Encoding.UTF8.GetBytes(string.Join('\n', Enumerable.Repeat("""{"name":"a","metric_type":"gauge","value":1}""", 6))), Noon);
        Assert.Equal(("[5]", true), (Assert.Single(faults).Path, faults[0].TooLarge));
    }

    [Theory]
    [InlineData("a=1,2,5;*=10", "a", "1 2 5")]
    [InlineData("a=1,2,5;*=10", "b", "10")]
    [InlineData("", "b", "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 25 50 100 250 500 1000 2500 5000 10000")]
    public void Buckets_can_be_set_by_name(string setting, string name, string expected)
    {
        var options = new MetricOptions { Buckets = setting };

        Assert.Empty(options.Validate(new(options)));
        Assert.Equal(expected, string.Join(' ', options.BoundsOf(name).Select(bound => bound.ToString("R", null))));
    }

    [Theory]
    [InlineData("a")]
    [InlineData("a=")]
    [InlineData("=1")]
    [InlineData("a=2,1")]
    [InlineData("a=1,x")]
    public void Buckets_that_are_wrong_stop_the_start(string setting)
    {
        var options = new MetricOptions { Buckets = setting };

        Assert.Contains(setting, Assert.Single(options.Validate(new(options))).ErrorMessage, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Pages_hold_every_sample_once_in_order_whatever_their_size()
    {
        using var bench = new IntakeBench();
        var now = IntakeBench.Now;
        // Times that many series share, samples from seconds to days ago, and a stale marker that is no sample.
        await bench.WriteAsync(RemoteWriteBody.Request([.. Enumerable.Range(0, 10).Select(n => RemoteWriteBody.Series(
            $"__name__=m,n={n}", [(now - (3 * 86_400_000), n), (now - 7_200_000 + n, n), (now - 10_000, n), (now - 5_000, PromQL.StaleMarker.Value), (now, n)]))]));
        var list = new MetricList(bench.Store, new SampleStoreOptions(), new MetricOptions(), TimeProvider.System);

        foreach (var ascending in (bool[])[true, false])
        {
            foreach (var limit in (int[])[1, 3, 7, 40, 1000])
            {
                var seen = new List<(DateTimeOffset, string)>();
                MetricCursor? cursor = null;
                do
                {
                    var page = await list.ReadAsync(new MetricQuery("home", "m", [], null, null, ascending, limit, cursor), TestContext.Current.CancellationToken);
                    Assert.True(page!.Value.Items.Count <= limit);
                    seen.AddRange(page.Value.Items.Select(item => (item.Timestamp, item.Labels["n"])));
                    cursor = page.Value.Next is { } next && MetricCursor.TryParse(next, out var parsed) ? parsed : null;
                }
                while (cursor is not null);

                Assert.Equal(40, seen.Distinct().Count());
                Assert.Equal(40, seen.Count);
                var times = seen.Select(item => item.Item1).ToList();
                Assert.Equal(ascending ? times.Order() : times.OrderDescending(), times);
            }
        }
    }

    [Fact]
    public async Task A_page_that_would_read_too_much_is_not_given()
    {
        using var bench = new IntakeBench();
        await bench.WriteAsync(RemoteWriteBody.Request(RemoteWriteBody.Series("__name__=m", [.. Enumerable.Range(0, 2000).Select(n => (IntakeBench.Now - n, 1.0))])));
        var list = new MetricList(bench.Store, new SampleStoreOptions(), new MetricOptions { ListMaxSamples = 1000 }, TimeProvider.System);

        Assert.Null(await list.ReadAsync(new MetricQuery("home", "m", [], null, null, Ascending: false, 10, null), TestContext.Current.CancellationToken));
        Assert.Equal(10, (await list.ReadAsync(new MetricQuery("home", "m", [], IntakeBench.Now - 500, null, Ascending: false, 10, null), TestContext.Current.CancellationToken))!.Value.Items.Count);
    }
}
