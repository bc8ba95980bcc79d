using System.Diagnostics.Metrics;
using System.Globalization;
using System.IO.Compression;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Metrics.Intake;
using Platform.Metrics.Scraping;
using Platform.PromQL;
using Platform.SampleStore;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Metrics.Tests.Scraping;

/// <summary>One target, scraped tick by tick over real HTTP into the store in memory.</summary>
public sealed class TargetScrapeTests : IAsyncLifetime
{
    private readonly TestClock _clock = new(DateTimeOffset.UtcNow.AddMinutes(-1));
    private IHost _host = null!;
    private ScrapedTarget _target = null!;
    private MemorySampleStore _store = null!;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        var builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["OUTBOUND_ALLOWED_NETWORKS"] = "127.0.0.0/8" });
        builder.Services.AddMetrics();
        builder.AddOutboundHttpClient(TargetFetch.Client);
        _host = builder.Build();
        _target = await ScrapedTarget.StartAsync();
        _store = new MemorySampleStore(new SampleStoreOptions(), _clock);
    }

    public async ValueTask DisposeAsync()
    {
        await _target.DisposeAsync();
        _host.Dispose();
    }

    [Fact]
    public async Task A_scrape_stores_samples_of_its_time_and_what_is_known_about_the_scrape()
    {
        var earlier = _clock.Now.AddSeconds(-30).ToUnixTimeMilliseconds();
        _target.Expose("# TYPE a counter\n# HELP a Things.\na{x=\"1\"} 5\na{x=\"2\"} 7\nown 3 1000\nlate 1 " + earlier + "\n");
        var scrape = Scrape("");

        var at = await TickAsync(scrape);

        Assert.Equal($"5@{at}", await OneAsync("a{x=\"1\"}"));
        Assert.Equal($"1@{earlier}", await OneAsync("late"));
        Assert.Equal($"1@{at}", await OneAsync("up"));
        Assert.Equal($"4@{at}", await OneAsync("scrape_samples_scraped"));
        Assert.Equal($"4@{at}", await OneAsync("scrape_samples_post_metric_relabeling"));
        Assert.Equal($"4@{at}", await OneAsync("scrape_series_added"));
        Assert.Equal((TargetHealth.Up, ""), (scrape.State.Health, scrape.State.LastError));
        var described = Assert.Single(await _store.MetadataAsync("default", "a", 10, Ct));
        Assert.Equal(("counter", "Things."), (described.Type, described.Help));
        Assert.Equal(("gzip", "10"), (_target.LastHeaders!.AcceptEncoding.ToString(), _target.LastHeaders["X-Prometheus-Scrape-Timeout-Seconds"].ToString()));

        await TickAsync(scrape);
        Assert.Equal("0", (await AllAsync("scrape_series_added"))[^1].Split('@')[0]);
    }

    [Fact]
    public async Task A_series_that_disappears_ends_at_once_and_can_come_back()
    {
        var scrape = Scrape("");
        _target.Expose("a 1\nb 1\n");
        await TickAsync(scrape);
        _target.Expose("a 2\n");
        var gone = await TickAsync(scrape);
        _target.Expose("a 3\nb 3\n");
        var back = await TickAsync(scrape);

        Assert.Equal(3, (await AllAsync("a")).Count);
        Assert.Equal([$"stale@{gone}", $"3@{back}"], (await AllAsync("b"))[1..]);
    }

    [Fact]
    public async Task A_failed_scrape_is_down_ends_every_series_once_and_keeps_none_of_its_samples()
    {
        var scrape = Scrape("");
        _target.Expose("a 1\n");
        await TickAsync(scrape);
        _target.Expose("a 2\nnew 1\nbroken line\n");
        var failed = await TickAsync(scrape);
        await TickAsync(scrape);
        _target.Expose("a 4\n");
        var again = await TickAsync(scrape);

        Assert.Equal([$"stale@{failed}", $"4@{again}"], (await AllAsync("a"))[1..]);
        Assert.Empty(await AllAsync("new"));
        Assert.Equal(["1", "0", "0", "1"], (await AllAsync("up")).Select(sample => sample.Split('@')[0]));
    }

    [Theory]
    [InlineData("500", "server returned HTTP status 500")]
    [InlineData("302", "server returned HTTP status 302")]
    [InlineData("hang", "no answer within 0.2 s")]
    [InlineData("away", "refused")]
    [InlineData("large", "body size limit exceeded")]
    [InlineData("bomb", "body size limit exceeded")]
    [InlineData("deflate", "which was not asked for")]
    [InlineData("not gzip", "archive")]
    [InlineData("samples", "sample limit exceeded")]
    [InlineData("labels", "label_limit exceeded")]
    [InlineData("OpenMetrics", "# EOF")]
    [InlineData("guard", "OUTBOUND_ALLOWED_NETWORKS")]
    public async Task Whatever_goes_wrong_is_down_with_a_reason(string fault, string reason)
    {
        var scrape = Scrape("scrape_timeout: 200ms\n  sample_limit: 3\n  label_limit: 5\n  body_size_limit: 10KB", fault == "guard" ? "10.1.2.3:1" : fault == "away" ? "127.0.0.1:1" : null);
        _target.Answer(context => fault switch
        {
            "hang" => Task.Delay(Timeout.Infinite, context.RequestAborted),
            "large" => context.Response.WriteAsync(new string('#', 20_000)),
            "bomb" => BombAsync(context),
            "deflate" => EncodedAsync(context, "deflate"),
            "not gzip" => EncodedAsync(context, "gzip"),
            "samples" => context.Response.WriteAsync("a 1\nb 1\nc 1\nd 1\n"),
            "labels" => context.Response.WriteAsync("a{b=\"1\",c=\"2\",d=\"3\"} 1\n"),
            "OpenMetrics" => TypedAsync(context),
            _ => StatusAsync(context, int.TryParse(fault, CultureInfo.InvariantCulture, out var status) ? status : 200),
        });

        var at = await TickAsync(scrape);

        Assert.Equal($"0@{at}", await OneAsync("up"));
        Assert.Equal(TargetHealth.Down, scrape.State.Health);
        Assert.Contains(reason, scrape.State.LastError, StringComparison.OrdinalIgnoreCase);
        Assert.Empty(await AllAsync("a"));
    }

    [Fact]
    public async Task Compressed_OpenMetrics_is_read()
    {
        _target.Answer(async context =>
        {
            context.Response.Headers.ContentEncoding = "gzip";
            context.Response.ContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            await using var gzip = new GZipStream(context.Response.Body, CompressionLevel.Fastest);
            await gzip.WriteAsync("# TYPE a counter\na_total 9 # {trace_id=\"x\"} 1\n# EOF\n"u8.ToArray());
        });

        var at = await TickAsync(Scrape(""));

        Assert.Equal($"9@{at}", await OneAsync("a_total"));
    }

    [Fact]
    public async Task Relabelling_of_metrics_drops_and_renames_and_cannot_leave_the_realm()
    {
        _target.Expose("keep{realm=\"theirs\"} 1\ndrop_me 1\n");
        var scrape = Scrape("""
            realm: shop
              metric_relabel_configs:
              - {source_labels: [__name__], regex: 'drop_.*', action: drop}
              - {target_label: realm, replacement: stolen}
            """);

        await TickAsync(scrape);

        Assert.Empty(await AllAsync("drop_me"));
        var kept = await SelectAsync("keep");
        Assert.Equal(("shop", "theirs"), (kept.Labels["realm"], kept.Labels["exported_realm"]));
        Assert.Equal("1", (await OneAsync("scrape_samples_post_metric_relabeling")).Split('@')[0]);
    }

    [Fact]
    public async Task A_secret_file_is_read_anew_for_each_scrape()
    {
        using var folder = TemporaryFolder.Create("scrape");
        var file = Path.Combine(folder.Path, "token");
        await File.WriteAllTextAsync(file, "one\n", Ct);
        var scrape = Scrape($"authorization: {{credentials_file: {file}}}");

        await TickAsync(scrape);
        Assert.Equal("Bearer one", _target.LastHeaders!.Authorization.ToString());
        await File.WriteAllTextAsync(file, "two", Ct);
        await TickAsync(scrape);
        Assert.Equal("Bearer two", _target.LastHeaders!.Authorization.ToString());
        File.Delete(file);
        await TickAsync(scrape);
        Assert.Contains(file, scrape.State.LastError, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Basic_authentication_and_parameters_are_sent()
    {
        await TickAsync(Scrape("basic_auth: {username: u, password: p}\n  params: {module: [a]}\n  metrics_path: /probe"));

        Assert.Equal("Basic dTpw", _target.LastHeaders!.Authorization.ToString());
        Assert.Equal("/probe?module=a", _target.LastPath);
    }

    [Fact]
    public async Task Samples_stand_on_the_grid_when_the_scrape_is_in_time_and_where_they_are_when_it_is_late()
    {
        _target.Expose("a 1\n");
        var scrape = Scrape("");
        var due = scrape.After(_clock.Now);

        _clock.Now = due.AddMilliseconds(15);
        await scrape.TickAsync(due, Ct);
        var next = scrape.After(_clock.Now);
        _clock.Now = next.AddMilliseconds(400);
        await scrape.TickAsync(next, Ct);

        Assert.Equal(TimeSpan.FromSeconds(15), next - due);
        Assert.Equal([$"1@{due.ToUnixTimeMilliseconds()}", $"1@{next.ToUnixTimeMilliseconds() + 400}"], await AllAsync("a"));
    }

    [Fact]
    public async Task The_end_of_a_target_ends_all_its_series_and_a_successor_goes_on_without_an_end()
    {
        _target.Expose("a 1\nb 1\n");
        var first = Scrape("");
        await TickAsync(first);
        var second = Scrape("metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]", predecessor: first);
        var at = await TickAsync(second);
        _clock.Advance(TimeSpan.FromSeconds(1));
        await second.EndAsync(Ct);

        Assert.Equal([$"1@{at}", $"stale@{at + 1000}"], (await AllAsync("a"))[1..]);
        Assert.Equal([$"stale@{at}"], (await AllAsync("b"))[1..]);
        Assert.Equal($"stale@{at + 1000}", (await AllAsync("up"))[^1]);
    }

    [Fact]
    public async Task A_second_scrape_of_many_series_makes_no_labels_again()
    {
        _target.Expose(string.Concat(Enumerable.Range(0, 20_000).Select(index => $"a{{x=\"{index}\",path=\"/api/v1/something\"}} {index}\n")));
        var scrape = Scrape("");
        await TickAsync(scrape);
        // Other tests allocate in this process meanwhile: the least of some scrapes is this one's own.
        var perSample = double.MaxValue;
        for (var time = 0; time < 5; time++)
        {
            var before = GC.GetTotalAllocatedBytes(precise: true);
            await TickAsync(scrape);
            perSample = Math.Min(perSample, (GC.GetTotalAllocatedBytes(precise: true) - before) / 20_000.0);
        }

        // The answer is made anew by the target in this very process (2 bytes a character), the store keeps 16 bytes a sample.
        Assert.True(perSample < 200, $"{perSample:0} bytes per sample");
        Assert.Equal(20_000, (await SelectAllAsync("a")).Count);
    }

    private TargetScrape Scrape(string keys, string? address = null, TargetScrape? predecessor = null)
    {
        var job = ScrapeConfigFile.Parse($"scrape_configs:\n- job_name: test\n  static_configs: [{{targets: ['{address ?? _target.Address}']}}]\n  {keys}\n", "test.yml", new ScrapeOptions()).Jobs.Single();
        var targets = new List<TargetPlan>();
        TargetPlans.Add(job, job.Groups, targets, [], []);
        var tools = new ScrapeTools(
            new ScrapeOptions(), _store, new SampleCounts(null!, _clock, NullLogger<SampleCounts>.Instance), _host.Services.GetRequiredService<IHttpClientFactory>(), new TicketMint(null!, _clock), _clock, new SemaphoreSlim(8),
            new ScrapeMetrics(_host.Services.GetRequiredService<IMeterFactory>(), new ScrapeTargets()), NullLogger.Instance);
        return new(targets.Single(), tools, predecessor);
    }

    // At the next point of its grid.
    private async Task<long> TickAsync(TargetScrape scrape)
    {
        _clock.Now = scrape.After(_clock.Now);
        await scrape.TickAsync(_clock.Now, Ct);
        return scrape.State.LastScrape!.Value.ToUnixTimeMilliseconds();
    }

    private async Task<string> OneAsync(string series) => Assert.Single(await AllAsync(series));

    private async Task<List<string>> AllAsync(string series)
    {
        var found = await SelectAllAsync(series);
        if (found.Count == 0)
        {
            return [];
        }

        var columns = new SampleColumns();
        found.Single().Read(0, long.MaxValue, columns);
        return [.. Enumerable.Range(0, columns.Count).Select(index =>
            string.Create(CultureInfo.InvariantCulture, $"{(StaleMarker.Is(columns.Values[index]) ? "stale" : columns.Values[index])}@{columns.Times[index]}"))];
    }

    private async Task<Series> SelectAsync(string series) => (await SelectAllAsync(series)).Single();

    private async Task<List<Series>> SelectAllAsync(string series)
    {
        var parts = series.Split('{', '=', '"', '}');
        List<Matcher> matchers = [new("__name__", MatchKind.Equal, parts[0])];
        if (parts.Length > 3)
        {
            matchers.Add(new(parts[1], MatchKind.Equal, parts[3]));
        }

        var found = new List<Series>();
        await foreach (var batch in _store.Source(null).SelectAsync(new(matchers, 0, long.MaxValue), Ct))
        {
            found.AddRange(batch);
        }

        return found;
    }

    private static Task StatusAsync(HttpContext context, int status)
    {
        context.Response.StatusCode = status;
        return Task.CompletedTask;
    }

    private static Task TypedAsync(HttpContext context)
    {
        context.Response.ContentType = "application/openmetrics-text; version=1.0.0";
        return context.Response.WriteAsync("a 1\n");
    }

    private static Task EncodedAsync(HttpContext context, string encoding)
    {
        context.Response.Headers.ContentEncoding = encoding;
        return context.Response.WriteAsync("a 1\n");
    }

    // A megabyte of comment in a kilobyte.
    private static async Task BombAsync(HttpContext context)
    {
        context.Response.Headers.ContentEncoding = "gzip";
        await using var gzip = new GZipStream(context.Response.Body, CompressionLevel.Fastest);
        await gzip.WriteAsync(new byte[1024 * 1024]);
    }
}
