using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Platform.ServiceDefaults.Tests;

public sealed class ExpositionTests : IDisposable
{
    private readonly Meter _meter = new("Platform.Tests." + Guid.NewGuid().ToString("N"), null, null, new MeterFactoryScope());
    private readonly Exposition _exposition;

    public ExpositionTests()
    {
        _exposition = new Exposition(maxSeries: 3, ["Platform."], (IMeterFactory)_meter.Scope!);
    }

    public void Dispose()
    {
        _exposition.Dispose();
        _meter.Dispose();
    }

    [Fact]
    public async Task Counters_end_in_total_and_add_up_whatever_the_order_of_tags()
    {
        var counter = _meter.CreateCounter<long>("probe.events", "{event}", "Events taken in.");
        counter.Add(1, new("kind", "log"), new("realm", "acme"));
        counter.Add(2, new("realm", "acme"), new("kind", "log"));
        counter.Add(-5, new("kind", "log"), new("realm", "acme"));

        Assert.Equal(
            """
            # HELP probe_events_total Events taken in.
            # TYPE probe_events_total counter
            probe_events_total{kind="log",realm="acme"} 3
            """,
            await CollectAsync("probe_events"));
    }

    [Fact]
    public async Task Histograms_are_cumulative_with_the_advised_bounds()
    {
        var histogram = _meter.CreateHistogram("probe.duration", "s", advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.1, 1] });
        histogram.Record(0.1);
        histogram.Record(0.5);
        histogram.Record(7);

        Assert.Equal(
            """
            # TYPE probe_duration_seconds histogram
            probe_duration_seconds_bucket{le="0.1"} 1
            probe_duration_seconds_bucket{le="1"} 2
            probe_duration_seconds_bucket{le="+Inf"} 3
            probe_duration_seconds_sum 7.6
            probe_duration_seconds_count 3
            """,
            await CollectAsync("probe_duration"));
    }

    [Fact]
    public async Task Levels_go_up_and_down_and_gauges_hold_the_last_value()
    {
        var open = _meter.CreateUpDownCounter<int>("probe.open");
        open.Add(3);
        open.Add(-1);
        _meter.CreateGauge<double>("probe.ratio", "1").Record(double.NaN);

        Assert.Equal("# TYPE probe_open gauge\nprobe_open 2", await CollectAsync("probe_open"));
        Assert.Equal("# TYPE probe_ratio gauge\nprobe_ratio NaN", await CollectAsync("probe_ratio"));
    }

    [Fact]
    public async Task Observed_series_that_stop_reporting_disappear()
    {
        List<Measurement<long>> queues = [new(5, new KeyValuePair<string, object?>("queue", "a")), new(6, new KeyValuePair<string, object?>("queue", "b"))];
        _meter.CreateObservableGauge("probe.depth", () => queues);

        Assert.Contains("probe_depth{queue=\"b\"} 6", await CollectAsync("probe_depth"), StringComparison.Ordinal);
        queues.RemoveAt(1);

        Assert.Equal("# TYPE probe_depth gauge\nprobe_depth{queue=\"a\"} 5", await CollectAsync("probe_depth"));
    }

    [Fact]
    public async Task Series_beyond_the_limit_share_one_and_are_counted()
    {
        var counter = _meter.CreateCounter<long>("probe.users");
        for (var user = 0; user < 10; user++)
        {
            counter.Add(1, new KeyValuePair<string, object?>("user", user));
        }

        var text = await _exposition.CollectAsync(TestContext.Current.CancellationToken);

        Assert.Contains("probe_users_total{user=\"2\"} 1\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain("user=\"3\"", text, StringComparison.Ordinal);
        Assert.Contains("probe_users_total{otel_metric_overflow=\"true\"} 7\n", text, StringComparison.Ordinal);
        Assert.Contains("platform_metrics_overflow_measurements_total{metric=\"probe_users_total\"} 7\n", text, StringComparison.Ordinal);
        AssertWellFormed(text);
    }

    [Fact]
    public async Task Labels_are_escaped_and_named_so_that_Prometheus_reads_them()
    {
        var counter = _meter.CreateCounter<long>("probe.odd-name", description: "back\\slash\nline");
        counter.Add(1, new("http.route", "/a\"b\\c\nd"), new("9lives", true), new("empty", ""));

        var text = await CollectAsync("probe_odd");

        Assert.Equal("# HELP probe_odd_name_total back\\\\slash\\nline\n# TYPE probe_odd_name_total counter\nprobe_odd_name_total{_9lives=\"true\",http_route=\"/a\\\"b\\\\c\\nd\"} 1", text);
        AssertWellFormed(text + "\n");
    }

    [Theory]
    [InlineData("http.server.request.duration", "s", "http_server_request_duration_seconds")]
    [InlineData("probe.size", "By", "probe_size_bytes")]
    [InlineData("probe.size.bytes", "By", "probe_size_bytes")]
    [InlineData("probe.rate", "By/s", "probe_rate_bytes_per_second")]
    [InlineData("probe.requests", "{request}", "probe_requests")]
    [InlineData("probe.used", "%", "probe_used_percent")]
    [InlineData("probe.wait", "ms", "probe_wait_milliseconds")]
    public void Units_become_words(string name, string unit, string expected) =>
        Assert.Equal(expected, MetricName.Of(_meter.CreateHistogram<double>(name, unit), MetricKind.Histogram));

    [Fact]
    public void Recording_allocates_nothing()
    {
        var counter = _meter.CreateCounter<long>("probe.hot");
        var histogram = _meter.CreateHistogram<double>("probe.hot.duration", "s");
        var tags = new TagList { { "kind", "log" }, { "realm", "acme" } };
        for (var warm = 0; warm < 100; warm++)
        {
            counter.Add(1, tags);
            histogram.Record(0.1, tags);
        }

        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var measurement = 0; measurement < 1_000; measurement++)
        {
            counter.Add(1, tags);
            histogram.Record(0.1, tags);
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1_000);
    }

    [Fact]
    public async Task Recording_from_many_threads_loses_nothing()
    {
        var counter = _meter.CreateCounter<long>("probe.raced");

        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() =>
        {
            for (var i = 0; i < 10_000; i++)
            {
                counter.Add(1, new KeyValuePair<string, object?>("n", i % 3));
            }
        })));

        var text = await CollectAsync("probe_raced");
        Assert.Equal(40_000, text.Split('\n').Where(line => line[0] != '#').Sum(line => long.Parse(line[(line.LastIndexOf(' ') + 1)..], System.Globalization.CultureInfo.InvariantCulture)));
    }

    [Fact]
    public async Task Promtool_accepts_what_a_running_process_exposes()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/promtool"), "promtool is not installed");
        _meter.CreateHistogram<double>("probe.duration", "s", "How long.").Record(1);
        _meter.CreateCounter<long>("probe.events", "{event}", "How many.").Add(1, new KeyValuePair<string, object?>("kind", "a\"b"));
        var text = await _exposition.CollectAsync(TestContext.Current.CancellationToken);

        await AssertPromtoolAgreesAsync(text);
    }

    /// <summary>Nothing where promtool is not installed; <see cref="AssertWellFormed"/> is always there.</summary>
    internal static async Task AssertPromtoolAgreesAsync(string text)
    {
        if (!File.Exists("/usr/bin/promtool"))
        {
            return;
        }

        using var promtool = Process.Start(new ProcessStartInfo("/usr/bin/promtool", ["check", "metrics"]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        await promtool.StandardInput.WriteAsync(text.AsMemory(), TestContext.Current.CancellationToken);
        promtool.StandardInput.Close();
        var complaints = await promtool.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken) + await promtool.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await promtool.WaitForExitAsync(TestContext.Current.CancellationToken);

        Assert.True(promtool.ExitCode == 0, complaints);
    }

    /// <summary>The grammar of the text format: each metric's TYPE once and before its samples, samples of one metric together, no series twice.</summary>
    internal static void AssertWellFormed(string text)
    {
        Assert.EndsWith("\n", text, StringComparison.Ordinal);
        var types = new HashSet<string>();
        var series = new HashSet<string>();
        var current = "";
        foreach (var line in text.TrimEnd('\n').Split('\n'))
        {
            if (line.StartsWith("# TYPE ", StringComparison.Ordinal))
            {
                current = line.Split(' ')[2];
                Assert.True(types.Add(current), $"{current} has two types");
            }
            else if (!line.StartsWith("# HELP ", StringComparison.Ordinal))
            {
                Assert.Matches("""^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*"(,[a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*")*\})? (NaN|[+-]Inf|-?[0-9.]+([eE][+-]?[0-9]+)?)$""", line);
                Assert.StartsWith(current, line, StringComparison.Ordinal);
                Assert.True(series.Add(line[..line.LastIndexOf(' ')]), line);
            }
        }
    }

    private async Task<string> CollectAsync(string prefix)
    {
        var text = await _exposition.CollectAsync(TestContext.Current.CancellationToken);
        return string.Join('\n', text.Split('\n').Where(line => line.StartsWith(prefix, StringComparison.Ordinal) || line.StartsWith($"# HELP {prefix}", StringComparison.Ordinal) || line.StartsWith($"# TYPE {prefix}", StringComparison.Ordinal)));
    }

    /// <summary>Marks the meter as this test's own, as a host's factory does.</summary>
    private sealed class MeterFactoryScope : IMeterFactory
    {
        public Meter Create(MeterOptions options) => new(options);

        public void Dispose()
        {
        }
    }
}
