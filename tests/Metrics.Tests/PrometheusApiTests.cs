using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Platform.Contracts;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Metrics.Tests;

/// <summary>The service with the samples that a real Prometheus beside it has.</summary>
public sealed class PrometheusApiFixture : IAsyncLifetime
{
    public const string Realm = "default";

    public TestWorld World { get; private set; } = null!;

    public ServiceProcess Metrics { get; private set; } = null!;

    public HttpClient Client { get; private set; } = null!;

    /// <summary>Null where it is not installed.</summary>
    public PrometheusServer? Peer { get; private set; }

    /// <summary>Milliseconds, a whole minute: the last of the samples, which come every 15 s for 20 minutes.</summary>
    public long End { get; private set; }

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        Metrics = await World.StartAsync("Metrics", "metricsdb", ("METRICS_SCRAPE_SERVICES", "none"), ("METRICS_COLLECTION_ENABLED", "false"));
        Client = await World.ClientAsync(Metrics, Role.User, Realm);
        End = DateTimeOffset.UtcNow.ToUnixTimeSeconds() / 60 * 60_000;

        var samples = Samples(Realm);
        await WriteAsync(Client, samples);
        using var other = await World.ClientAsync(Metrics, Role.User, "other");
        await WriteAsync(other, [new([("__name__", "up"), ("job", "secret")], [(End, 42)])]);
        if (PrometheusServer.IsInstalled)
        {
            Peer = await PrometheusServer.StartAsync();
            await Peer.WriteAsync(samples, default);
        }
    }

    /// <summary>A handful of families with everything that is hard to write: escapes, special values, exponents.</summary>
    public List<WrittenSeries> Samples(string realm)
    {
        var times = Enumerable.Range(0, 81).Select(step => End - 20 * 60_000 + step * 15_000L).ToArray();
        return
        [
            Series("up", [("instance", "a:1"), ("job", "api")], step => 1),
            Series("up", [("instance", "b:1"), ("job", "api")], step => step % 7 == 0 ? 0 : 1),
            Series("up", [("instance", "c:1"), ("job", "db")], step => 1),
            Series("requests_total", [("code", "200"), ("instance", "a:1"), ("job", "api")], step => step * 1.5),
            Series("requests_total", [("code", "500"), ("instance", "a:1"), ("job", "api")], step => step % 20),
            Series("odd", [("label", "quote \" back \\ line \n tab \t end"), ("unicode", "Grüße 😀 <&>")], step => 1e21 * step),
            Series("odd", [("label", "small")], step => 1e-9 * (step + 1)),
            Series("odd", [("label", "special")], step => (step % 3) switch { 0 => double.NaN, 1 => double.PositiveInfinity, _ => double.NegativeInfinity }),
            Series("latency_bucket", [("le", "0.1")], step => step),
            Series("latency_bucket", [("le", "1")], step => step * 2),
            Series("latency_bucket", [("le", "+Inf")], step => step * 3),
        ];

        WrittenSeries Series(string name, (string Name, string Value)[] labels, Func<int, double> value) => new(
            [.. labels.Append(("__name__", name)).Append(("realm", realm)).OrderBy(label => label.Item1, StringComparer.Ordinal)],
            [.. times.Select((time, step) => (time, value(step)))]);
    }

    public static async Task WriteAsync(HttpClient client, IEnumerable<WrittenSeries> series)
    {
        using var answer = await client.PostAsync(new Uri("prometheus/api/v1/write", UriKind.Relative), RemoteWrite.Content(series));
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
    }

    public async ValueTask DisposeAsync()
    {
        Client?.Dispose();
        if (Peer is not null)
        {
            await Peer.DisposeAsync();
        }

        await World.DisposeAsync();
    }
}

/// <summary>The API as its clients use it, answer by answer beside a real Prometheus.</summary>
public sealed class PrometheusApiTests(PrometheusApiFixture fixture) : IClassFixture<PrometheusApiFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    /// <summary>Requests to which both must say the same: END and START are the last 20 minutes. Ranges begin between samples, because 2.x takes one at the edge in.</summary>
    public static TheoryData<string> Requests { get; } =
    [
        "query?query=1%2B1&time=4",
        "query?query=up&time=END",
        "query?query=up&time=END.5",
        "query?query=sum by (job) (up)&time=END",
        "query?query=rate(requests_total[5m])&time=END.5",
        "query?query=requests_total[1m]&time=END.5",
        "query?query=odd&time=END",
        "query?query=odd{label=~\"s.*\"}[2m]&time=END.25",
        "query?query=sort_desc(requests_total)&time=END",
        "query?query=topk(2, requests_total)&time=END",
        "query?query=histogram_quantile(0.9, latency_bucket)&time=END",
        "query?query=vector(1e25)&time=1e9",
        "query?query=scalar(up{instance=\"a:1\"})&time=END",
        "query?query=\"a text\"&time=7",
        "query?query=time()&time=1e9",
        "query?query=-0.0000001&time=0",
        "query?query=1e25&time=0",
        "query?query=nothing_here&time=END",
        "query?query=nothing_here[5m]&time=END",
        "query?query=1%2B1&time=1970-01-01T00:00:04Z",
        "query_range?query=up&start=START&end=END&step=15",
        "query_range?query=up&start=START&end=END&step=1m",
        "query_range?query=sum(rate(requests_total[2m])) by (code)&start=START.5&end=END.5&step=30",
        "query_range?query=odd&start=START&end=END&step=45",
        "query_range?query=1&start=START&end=END&step=300",
        "query_range?query=nothing_here&start=START&end=END&step=15",
        "series?match[]=up",
        "series?match[]=up&match[]={job=\"api\"}&start=START&end=END",
        "series?match[]={__name__=~\"odd|up\",label!=\"\"}",
        "series?match[]=nothing_here",
        "labels",
        "labels?match[]=up",
        "labels?match[]=up&match[]=odd&start=START&end=END",
        "label/__name__/values",
        "label/job/values",
        "label/label/values",
        "label/job/values?match[]=up{instance=\"c:1\"}",
        "label/nothing_here/values",
        "format_query?query=sum(rate(up[5m]))by(job)>0",
        "query_exemplars?query=up&start=START&end=END",
        "metadata?metric=nothing_here",
        "targets/metadata?metric=nothing_here",
        // And what is wrong:
        "query?query=",
        "query?query=up{",
        "query?query=sum(up",
        "query?query=rate(up)",
        "query?query=up&time=x",
        "query?query=up&timeout=x",
        "query?query=up * on (job) requests_total&time=END",
        "query?query=label_replace(up, \"a:b\", \"\", \"job\", \"(\")&time=END",
        "query_range?query=up&start=x&end=2&step=1",
        "query_range?query=up&end=2&step=1",
        "query_range?query=up&start=1&step=1",
        "query_range?query=up&start=1&end=2",
        "query_range?query=up&start=3&end=2&step=1",
        "query_range?query=up&start=3&end=20000&step=1",
        "query_range?query=up&start=3&end=20000&step=0",
        "query_range?query=up&start=3&end=20000&step=-1",
        "query_range?query=up&start=3&end=20000&step=x",
        "query_range?query=up{&start=3&end=4&step=1",
        "query_range?query=up&start=3&end=4&step=1&timeout=y",
        "series",
        "series?match[]=up{",
        "series?match[]={a=~\".*\"}",
        "series?match[]=up&start=x",
        "labels?match[]={",
        "labels?match[]={a=~\".*\"}",
        "labels?start=x",
        "label/job/values?end=x",
        "label/job/values?match[]={a=~\".*\"}",
        "metadata?limit=x",
        "format_query?query=up{",
    ];

    /// <summary>Where 2.42 words an error otherwise than 3.x, only the kind of error is compared.</summary>
    private static readonly string[] s_otherWords = ["query?query=up * on", "query?query=label_replace", "query_range?query=up{"];

    [Theory]
    [MemberData(nameof(Requests))]
    public async Task Answers_are_those_of_Prometheus(string request)
    {
        Assert.SkipUnless(fixture.Peer is not null, "prometheus is not installed");
        var path = Fill(request);
        using var theirs = await fixture.Peer.Client.GetAsync(new Uri($"api/v1/{path}", UriKind.Relative), Ct);
        using var ours = await fixture.Client.GetAsync(new Uri($"prometheus/api/v1/{path}", UriKind.Relative), Ct);
        var expected = JsonElement.Parse(await theirs.Content.ReadAsStringAsync(Ct));
        var actual = JsonElement.Parse(await ours.Content.ReadAsStringAsync(Ct));

        Assert.Equal(theirs.StatusCode, ours.StatusCode);
        Assert.Equal(theirs.Content.Headers.ContentType?.MediaType, ours.Content.Headers.ContentType?.MediaType);
        if (theirs.IsSuccessStatusCode)
        {
            Assert.True(Same(expected.GetProperty("data"), actual.GetProperty("data")), $"expected {expected}\nactual   {actual}");
        }
        else
        {
            Assert.Equal(expected.GetProperty("errorType").GetString(), actual.GetProperty("errorType").GetString());
            if (!Array.Exists(s_otherWords, start => request.StartsWith(start, StringComparison.Ordinal)))
            {
                Assert.Equal(expected.GetProperty("error").GetString(), actual.GetProperty("error").GetString());
            }
        }
    }

    [Theory]
    [InlineData("query", "query=sum by (job) (up)&time=END")]
    [InlineData("query_range", "query=up&start=START&end=END&step=60")]
    [InlineData("series", "match[]=up&match[]=odd")]
    [InlineData("labels", "match[]=up")]
    public async Task A_form_in_the_body_says_the_same_as_the_query_string(string path, string parameters)
    {
        var filled = Fill(parameters);
        using var form = new FormUrlEncodedContent(filled.Split('&').Select(pair => pair.Split('=', 2)).Select(pair => new KeyValuePair<string, string>(Uri.UnescapeDataString(pair[0]), Uri.UnescapeDataString(pair[1]))));
        using var posted = await fixture.Client.PostAsync(new Uri($"prometheus/api/v1/{path}", UriKind.Relative), form, Ct);

        Assert.Equal(await fixture.Client.GetStringAsync(new Uri($"prometheus/api/v1/{path}?{filled}", UriKind.Relative), Ct), await posted.Content.ReadAsStringAsync(Ct));
    }

    [Fact]
    public async Task The_check_of_a_Grafana_data_source_succeeds()
    {
        var sum = await GetAsync("query?query=1%2B1&time=1970-01-01T00:00:00Z");
        var build = await GetAsync("status/buildinfo");

        Assert.Equal("""{"resultType":"scalar","result":[0,"2"]}""", sum.GetProperty("data").GetRawText());
        Assert.StartsWith("3.", build.GetProperty("data").GetProperty("version").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_large_answer_is_compressed_for_those_who_take_gzip_and_is_the_same()
    {
        var large = new Uri($"prometheus/api/v1/query_range?query={Uri.EscapeDataString("requests_total + on () group_left () vector(0.1)")}&start={fixture.End / 1000 - 1200}&end={fixture.End / 1000}&step=0.2", UriKind.Relative);
        var plain = await fixture.Client.GetByteArrayAsync(large, Ct);
        using var request = new HttpRequestMessage(HttpMethod.Get, large) { Headers = { { "Accept-Encoding", "gzip" } } };
        using var answer = await fixture.Client.SendAsync(request, Ct);
        await using var unzipped = new System.IO.Compression.GZipStream(await answer.Content.ReadAsStreamAsync(Ct), System.IO.Compression.CompressionMode.Decompress);
        using var read = new MemoryStream();
        await unzipped.CopyToAsync(read, Ct);
        using var small = new HttpRequestMessage(HttpMethod.Get, new Uri("prometheus/api/v1/query?query=1", UriKind.Relative)) { Headers = { { "Accept-Encoding", "gzip" } } };
        using var smallAnswer = await fixture.Client.SendAsync(small, Ct);

        Assert.True(plain.Length > 200_000);
        Assert.Equal(plain, read.ToArray());
        Assert.Equal(["gzip"], answer.Content.Headers.ContentEncoding);
        Assert.True(answer.Content.Headers.ContentLength is null or < 100_000);
        Assert.Empty(smallAnswer.Content.Headers.ContentEncoding);
    }

    [Fact]
    public async Task A_limit_cuts_and_says_so()
    {
        foreach (var request in (string[])["query?query=up&time=END&limit=2", "series?match[]=up&limit=2", "labels?limit=2", "label/__name__/values?limit=2"])
        {
            var answer = await GetAsync(request);
            var data = answer.GetProperty("data");

            Assert.Equal(2, (data.ValueKind == JsonValueKind.Array ? data : data.GetProperty("result")).GetArrayLength());
            Assert.Equal("results truncated due to limit", answer.GetProperty("warnings")[0].GetString());
        }

        Assert.False((await GetAsync("query?query=up&time=END&limit=3")).TryGetProperty("warnings", out _));
        Assert.False((await GetAsync("query?query=up&time=END&limit=0")).TryGetProperty("warnings", out _));
    }

    [Fact]
    public async Task Statistics_come_when_asked_for()
    {
        var stats = (await GetAsync("query?query=up[1m]&time=END&stats=all")).GetProperty("data").GetProperty("stats");

        Assert.True(stats.GetProperty("samples").GetProperty("totalQueryableSamples").GetInt64() > 0);
        Assert.True(stats.GetProperty("timings").GetProperty("evalTotalTime").GetDouble() >= 0);
        Assert.False((await GetAsync("query?query=up&time=END")).GetProperty("data").TryGetProperty("stats", out _));
    }

    [Fact]
    public async Task A_lookback_of_ones_own_reaches_as_far_as_it_says()
    {
        var late = $"query?query=up&time={(fixture.End / 1000) + 600}";

        Assert.Empty((await GetAsync(late)).GetProperty("data").GetProperty("result").EnumerateArray());
        Assert.Equal(3, (await GetAsync($"{late}&lookback_delta=11m")).GetProperty("data").GetProperty("result").GetArrayLength());
    }

    [Fact]
    public async Task Infos_come_beside_the_data()
    {
        var answer = await GetAsync("query?query=rate(up[5m])&time=END");

        Assert.Contains("counter", answer.GetProperty("infos")[0].GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_query_that_takes_too_long_is_a_timeout()
    {
        using var answer = await fixture.Client.GetAsync(new Uri($"prometheus/api/v1/query?query=up&timeout=0.0000001", UriKind.Relative), Ct);
        var error = JsonElement.Parse(await answer.Content.ReadAsStringAsync(Ct));

        Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
        Assert.Equal("timeout", error.GetProperty("errorType").GetString());
    }

    [Theory]
    [InlineData("up")]
    [InlineData("{realm=\"other\"}")]
    [InlineData("{realm=~\".*\", __name__=~\".+\"}")]
    [InlineData("{__name__=~\".+\", realm!=\"default\"}")]
    [InlineData("max_over_time({__name__=~\".+\", job=\"secret\"}[1h])")]
    [InlineData("max_over_time((sum by (job) (up or {realm=\"other\"}))[1h:1m])")]
    [InlineData("label_replace(up, \"realm\", \"other\", \"\", \"\")")]
    public async Task An_expression_reaches_no_other_realm(string expression)
    {
        var answer = await GetAsync($"query?query={Uri.EscapeDataString(expression)}&time=END");

        Assert.DoesNotContain("secret", answer.GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain("\"42\"", answer.GetRawText(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Names_values_and_federation_stay_within_the_realm_and_an_admin_of_all_sees_all()
    {
        using var admin = await fixture.World.ClientAsync(fixture.Metrics, Role.Admin, Realm.All);
        var federate = new Uri("prometheus/federate?match[]=up", UriKind.Relative);

        Assert.DoesNotContain("secret", (await GetAsync("label/job/values")).GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain("secret", (await GetAsync("series?match[]={job=~\".%2B\"}")).GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain("secret", await fixture.Client.GetStringAsync(federate, Ct), StringComparison.Ordinal);
        Assert.Contains("secret", await admin.GetStringAsync(federate, Ct), StringComparison.Ordinal);
        Assert.DoesNotContain("secret", await admin.GetStringAsync(new Uri("prometheus/federate?match[]=up&realm=default", UriKind.Relative), Ct), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.Forbidden, (await fixture.Client.GetAsync(new Uri("prometheus/federate?match[]=up&realm=other", UriKind.Relative), Ct)).StatusCode);
    }

    [Fact]
    public async Task Federation_says_what_Prometheus_says()
    {
        Assert.SkipUnless(fixture.Peer is not null, "prometheus is not installed");
        var path = "federate?match[]={__name__=~\"up|odd|requests_total\"}";

        var theirs = await fixture.Peer.Client.GetStringAsync(new Uri(path, UriKind.Relative), Ct);
        using var ours = await fixture.Client.GetAsync(new Uri($"prometheus/{path}", UriKind.Relative), Ct);

        // Labels may stand in another order, so lines are compared by what is in them.
        Assert.Equal(Lines(theirs), Lines(await ours.Content.ReadAsStringAsync(Ct)));
        Assert.Equal("text/plain; version=0.0.4; charset=utf-8", ours.Content.Headers.ContentType!.ToString());

        static string[] Lines(string text) => [.. text.Split('\n').Select(line => string.Concat(line.Order())).Order(StringComparer.Ordinal)];
    }

    [Fact]
    public async Task Status_has_the_shape_of_Prometheus()
    {
        Assert.SkipUnless(fixture.Peer is not null, "prometheus is not installed");
        foreach (var path in (string[])["status/tsdb", "status/runtimeinfo", "status/buildinfo", "status/config", "targets"])
        {
            var theirs = JsonElement.Parse(await fixture.Peer.Client.GetStringAsync(new Uri($"api/v1/{path}", UriKind.Relative), Ct)).GetProperty("data");
            var ours = (await GetAsync(path)).GetProperty("data");

            Assert.All(theirs.EnumerateObject(), member => Assert.Equal(member.Value.ValueKind, ours.GetProperty(member.Name).ValueKind));
        }

        var head = (await GetAsync("status/tsdb")).GetProperty("data");
        Assert.Equal(11, head.GetProperty("headStats").GetProperty("numSeries").GetInt32());
        Assert.Equal("latency_bucket", head.GetProperty("seriesCountByMetricName")[0].GetProperty("name").GetString());
        Assert.Equal("Prometheus Server is Healthy.\n", await fixture.Client.GetStringAsync(new Uri("prometheus/-/healthy", UriKind.Relative), Ct));
        Assert.Equal("Prometheus Server is Ready.\n", await fixture.Client.GetStringAsync(new Uri("prometheus/-/ready", UriKind.Relative), Ct));
    }

    [Fact]
    public async Task Other_services_ask_through_a_typed_client()
    {
        var builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["services:metrics:http:0"] = fixture.Metrics.Url.ToString(),
            ["PLATFORM_MASTER_KEY"] = fixture.World.MasterKey,
            ["ConnectionStrings:identity"] = await fixture.World.DatabaseAsync("identity"),
            ["OTEL_SERVICE_NAME"] = "alerting",
        });
        builder.AddServiceDefaults();
        builder.AddMetricsClient();
        using var host = builder.Build();
        await host.StartAsync(Ct);
        var client = host.Services.GetRequiredService<IMetricsClient>();
        var end = DateTimeOffset.FromUnixTimeMilliseconds(fixture.End);

        var up = await client.QueryAsync(PrometheusApiFixture.Realm, "up{instance=\"a:1\"}", end, Ct);
        var odd = await client.QueryRangeAsync(PrometheusApiFixture.Realm, "odd{label=\"special\"}", end.AddMinutes(-1), end, 15, Ct);
        var two = await client.QueryAsync(Realm.All, "1 + 1", end, Ct);
        var wrong = await Assert.ThrowsAsync<RestEase.ApiException>(() => client.QueryAsync(PrometheusApiFixture.Realm, "up{", end, Ct));

        Assert.Equal(new PrometheusPoint(end, 1), Assert.Single(Assert.Single(up.Data.Series).Points));
        Assert.Equal("api", up.Data.Series[0].Labels["job"]);
        Assert.Equal([double.PositiveInfinity, double.NegativeInfinity, double.NaN, double.PositiveInfinity, double.NegativeInfinity], Assert.Single(odd.Data.Series).Points.Select(point => point.Value));
        Assert.Equal(2, two.Data.Series[0].Points[0].Value);
        Assert.Equal(HttpStatusCode.BadRequest, wrong.StatusCode);
        await host.StopAsync(Ct);
    }

    [Theory]
    [InlineData("query instant SERVER up", "up{instance=\"a:1\"")]
    [InlineData("query range --start START --end END --step 60s SERVER up", "1 @[")]
    [InlineData("query series --match up SERVER", "c:1")]
    [InlineData("query labels SERVER job", "api")]
    public async Task Promtool_understands_the_answers(string arguments, string expected)
    {
        Assert.SkipUnless(File.Exists("/usr/bin/promtool"), "promtool is not installed");
        await using var door = await OpenDoorAsync();
        var start = new ProcessStartInfo("/usr/bin/promtool", Fill(arguments).Replace("SERVER", $"{door.Urls.First()}/prometheus", StringComparison.Ordinal).Split(' '))
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var promtool = Process.Start(start)!;
        var output = await promtool.StandardOutput.ReadToEndAsync(Ct);
        var error = await promtool.StandardError.ReadToEndAsync(Ct);
        await promtool.WaitForExitAsync(Ct);

        Assert.True(promtool.ExitCode == 0, error);
        Assert.Contains(expected, output, StringComparison.Ordinal);
    }

    // This promtool cannot send a credential; something in front of the service does.
    private async Task<WebApplication> OpenDoorAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var door = builder.Build();
        door.Run(async context =>
        {
            using var request = new HttpRequestMessage(new(context.Request.Method), new Uri(fixture.Metrics.Url, context.Request.Path + context.Request.QueryString));
            if (context.Request.HasFormContentType)
            {
                request.Content = new StreamContent(context.Request.Body);
                request.Content.Headers.TryAddWithoutValidation("Content-Type", context.Request.ContentType);
            }

            using var answer = await fixture.Client.SendAsync(request, context.RequestAborted);
            context.Response.StatusCode = (int)answer.StatusCode;
            context.Response.ContentType = answer.Content.Headers.ContentType?.ToString();
            await answer.Content.CopyToAsync(context.Response.Body, context.RequestAborted);
        });
        await door.StartAsync(Ct);
        return door;
    }

    // Numbers may differ where the order of two additions does.
    private static bool Same(JsonElement expected, JsonElement actual) => (expected.ValueKind, actual.ValueKind) switch
    {
        (JsonValueKind.Array, JsonValueKind.Array) => expected.GetArrayLength() == actual.GetArrayLength()
            && expected.EnumerateArray().Zip(actual.EnumerateArray()).All(pair => Same(pair.First, pair.Second)),
        (JsonValueKind.Object, JsonValueKind.Object) => expected.EnumerateObject().Count() == actual.EnumerateObject().Count()
            && expected.EnumerateObject().All(member => actual.TryGetProperty(member.Name, out var other) && Same(member.Value, other)),
        (JsonValueKind.String, JsonValueKind.String) => expected.GetString() == actual.GetString()
            || (double.TryParse(expected.GetString(), CultureInfo.InvariantCulture, out var left) && double.TryParse(actual.GetString(), CultureInfo.InvariantCulture, out var right)
                && Math.Abs(left - right) <= 1e-9 * Math.Abs(left)),
        _ => JsonElement.DeepEquals(expected, actual),
    };

    private string Fill(string request)
    {
        var end = fixture.End / 1000;
        return request.Replace("END", $"{end}", StringComparison.Ordinal).Replace("START", $"{end - 1200}", StringComparison.Ordinal).Replace("[]", "%5B%5D", StringComparison.Ordinal);
    }

    private async Task<JsonElement> GetAsync(string request)
    {
        using var answer = await fixture.Client.GetAsync(new Uri($"prometheus/api/v1/{Fill(request)}", UriKind.Relative), Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);
        Assert.True(answer.IsSuccessStatusCode, text);
        return JsonElement.Parse(text);
    }
}
