using Platform.Testing;

namespace Platform.PromQL.Tests;

/// <summary>Limits, clocks and what the scripts' language cannot say.</summary>
public sealed class EngineTests
{
    private static readonly EngineOptions s_options = new() { Parallelism = 2 };

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private static Engine With(EngineOptions options) => new(options, TimeProvider.System);

    private static MemorySeries Series(int count, int samples = 10, string name = "x_total")
    {
        var source = new MemorySeries { BatchSize = 300 };
        for (var series = 0; series < count; series++)
        {
            var times = Enumerable.Range(0, samples).Select(at => at * 10_000L).ToArray();
            source.Add(Labels.Of(("__name__", name), ("s", $"{series}"), ("group", $"{series % 7}")), times, [.. times.Select(at => (double)at * (series + 1) / 7)]);
        }

        return source;
    }

    private static async Task<QueryException> RefusedAsync(Func<Task<QueryResult>> ask) => await Assert.ThrowsAsync<QueryException>(ask);

    [Theory]
    [InlineData("x_total")]
    [InlineData("x_total * 2")]
    [InlineData("rate(x_total[1m])")]
    [InlineData("quantile(0.5, x_total)")]
    [InlineData("x_total + x_total")]
    public async Task More_points_than_allowed_are_an_error_that_says_what_to_do(string query)
    {
        var refused = await RefusedAsync(() => With(s_options with { MaxSamples = 2_000 }).RangeAsync(query, Series(1_000), 0, 90_000, 10_000, Ct));

        Assert.Equal(QueryFault.Execution, refused.Fault);
        Assert.Contains("at most 2,000", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("sum(x_total)")]
    [InlineData("topk(3, x_total)")]
    [InlineData("count_values(\"v\", x_total > bool 5)")]
    [InlineData("absent(x_total)")]
    public async Task Aggregations_hold_groups_and_not_series(string query)
    {
        var result = await With(s_options with { MaxSamples = 2_000 }).RangeAsync(query, Series(1_000), 0, 90_000, 10_000, Ct);

        Assert.InRange(result.Stats.PeakSamples, 0, 2_000);
        Assert.Equal(10_000, result.Stats.Samples);
    }

    [Fact]
    public async Task More_series_than_allowed_in_the_result_are_an_error()
    {
        var engine = With(s_options with { MaxSeries = 10 });

        Assert.Equal(7, (await engine.InstantAsync("sum by (group) (x_total)", Series(100), 90_000, Ct)).Series.Count);
        Assert.Contains("100 series", (await RefusedAsync(() => engine.InstantAsync("x_total", Series(100), 90_000, Ct))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, 60_000, 0)]
    [InlineData(60_000, 0, 1_000)]
    [InlineData(0, 11_001_000, 1_000)]
    public async Task Steps_that_make_no_sense_are_bad_data(long start, long end, long step)
    {
        var refused = await RefusedAsync(() => With(s_options).RangeAsync("x_total", Series(1), start, end, step, Ct));

        Assert.Equal(QueryFault.BadData, refused.Fault);
    }

    [Fact]
    public async Task A_subquery_with_endless_steps_is_refused_before_it_takes_memory()
    {
        var refused = await RefusedAsync(() => With(s_options).InstantAsync("max_over_time(x_total[50y:1ms])", Series(1), 90_000, Ct));

        Assert.Equal(QueryFault.Execution, refused.Fault);
    }

    [Theory]
    [InlineData("x_total[1m]")]
    [InlineData("\"text\"")]
    public async Task A_range_query_wants_a_scalar_or_an_instant_vector(string query) =>
        Assert.Equal(QueryFault.BadData, (await RefusedAsync(() => With(s_options).RangeAsync(query, Series(1), 0, 1, 1, Ct))).Fault);

    [Fact]
    public async Task A_query_ends_with_its_timeout_and_with_its_caller()
    {
        var endless = new Endless();
        var timedOut = await RefusedAsync(() => With(s_options with { Timeout = TimeSpan.FromMilliseconds(50) }).InstantAsync("sum(x)", endless, 0, Ct));
        using var caller = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        var canceled = await RefusedAsync(() => With(s_options).InstantAsync("sum(x)", endless, 0, caller.Token));

        Assert.Equal((QueryFault.Timeout, QueryFault.Canceled), (timedOut.Fault, canceled.Fault));
    }

    [Fact]
    public async Task A_query_may_shorten_the_timeout_and_set_the_look_back()
    {
        var engine = With(s_options);
        var source = Series(1, samples: 1);

        Assert.Single((await engine.InstantAsync("x_total", source, 60_000, Ct)).Series);
        Assert.Empty((await engine.InstantAsync(Parser.Parse("x_total"), source, 60_000, new QueryOverrides(LookBack: TimeSpan.FromMinutes(1)), Ct)).Series);
        Assert.Single((await engine.InstantAsync(Parser.Parse("x_total"), source, 59_999, new QueryOverrides(LookBack: TimeSpan.FromMinutes(1)), Ct)).Series);
    }

    [Theory]
    [InlineData("count_over_time(x_total[20s])", 3)]
    [InlineData("count_over_time(x_total[30s:10s])", 4)]
    [InlineData("x_total offset 5m", 0)]
    public async Task With_the_semantics_of_2_x_the_left_edge_is_inside(string query, double expected)
    {
        var engine = With(s_options with { Ranges = RangeSemantics.Closed });

        var result = await engine.InstantAsync(query, Series(1), query.Contains("offset", StringComparison.Ordinal) ? 300_000 : 90_000, Ct);

        Assert.Equal(expected, result.Series.Single().Values.Span[0]);
    }

    [Fact]
    public async Task A_counter_is_stretched_to_zero_as_the_version_does()
    {
        var source = new MemorySeries();
        source.Add(Labels.Of(("__name__", "x_total")), [50_000, 60_000, 70_000], [8, 18, 28]);

        var newer = await With(s_options).InstantAsync("increase(x_total[70s])", source, 70_000, Ct);
        var older = await With(s_options with { Ranges = RangeSemantics.Closed }).InstantAsync("increase(x_total[70s])", source, 70_000, Ct);

        Assert.Equal(25, newer.Series[0].Values.Span[0], 1e-12);
        Assert.Equal(28, older.Series[0].Values.Span[0], 1e-12);
    }

    [Theory]
    [InlineData("sum by (group) (rate(x_total[1m]))")]
    [InlineData("avg by (group) (x_total)")]
    [InlineData("stddev by (group) (x_total)")]
    [InlineData("min by (group) (x_total)")]
    [InlineData("max without (s) (x_total)")]
    [InlineData("count(x_total > 100)")]
    [InlineData("group(x_total)")]
    [InlineData("topk by (group) (3, x_total)")]
    [InlineData("bottomk(5, x_total)")]
    [InlineData("count_values(\"v\", x_total % 5)")]
    [InlineData("quantile by (group) (0.9, x_total)")]
    [InlineData("x_total * on (s) x_total")]
    [InlineData("limitk(4, x_total)")]
    [InlineData("absent(x_total)")]
    [InlineData("max_over_time(rate(x_total[20s])[1m:10s])")]
    public async Task Many_threads_answer_as_one_does(string query)
    {
        var source = Series(1_000, samples: 30);

        var one = await With(s_options with { Parallelism = 1 }).RangeAsync(query, source, 0, 300_000, 10_000, Ct);
        var four = await With(s_options with { Parallelism = 4 }).RangeAsync(query, source, 0, 300_000, 10_000, Ct);

        Assert.Equal(one.Series.Select(series => series.Labels), four.Series.Select(series => series.Labels));
        foreach (var (left, right) in one.Series.Zip(four.Series))
        {
            Assert.Equal(left.Times.ToArray(), right.Times.ToArray());
            Assert.All(left.Values.ToArray().Zip(right.Values.ToArray()), pair => Assert.Equal(pair.First, pair.Second, Math.Max(1e-12, Math.Abs(pair.First) * 1e-12)));
        }
    }

    [Fact]
    public async Task Samples_are_read_once_and_only_those_that_matter()
    {
        var source = Series(1, samples: 100);

        await With(s_options).RangeAsync("rate(x_total[1m] offset 30s)", source, 200_000, 400_000, 10_000, Ct);
        await With(s_options).RangeAsync("x_total @ 100", source, 200_000, 400_000, 10_000, Ct);

        Assert.Equal([(110_001L, 370_000L), (-199_999L, 100_000L)], source.Asked.Select(asked => (asked.From, asked.To)));
    }

    [Fact]
    public async Task Odd_bits_are_values_and_never_gaps()
    {
        // All but the sign bit of the stale marker: abs() and minus must not turn it into one.
        var odd = BitConverter.Int64BitsToDouble(unchecked((long)0xfff0_0000_0000_0002));
        var source = new MemorySeries();
        source.Add(Labels.Of(("__name__", "x")), [0], [odd]);

        foreach (var query in new[] { "abs(x)", "-x", "x + 0", "max_over_time(x[1m])", "sum(x)", "x == bool 1" })
        {
            var series = Assert.Single((await With(s_options).InstantAsync(query, source, 0, Ct)).Series);
            Assert.Equal(1, series.Values.Length);
        }
    }

    [Fact]
    public async Task Places_in_notes_count_lines()
    {
        var result = await With(s_options).InstantAsync("sum(\n  rate(\n    gauge[1m]))", Series(1, name: "gauge"), 90_000, Ct);

        Assert.Equal(["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"gauge\" (3:5)"], result.Infos);
    }

    /// <summary>A source that waits until it is told to stop.</summary>
    private sealed class Endless : ISeriesSource
    {
        public async IAsyncEnumerable<IReadOnlyList<Series>> SelectAsync(Selection selection, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
        {
            await Task.Delay(Timeout.Infinite, ct);
            yield break;
        }
    }
}
