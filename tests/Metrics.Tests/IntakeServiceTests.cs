using System.Diagnostics.Metrics;
using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Metrics.Tests;

/// <summary>The intakes as senders see them: a running service on PostgreSQL, and the answers to what is sent to it.</summary>
public sealed class IntakeServiceTests(MetricsFixture fixture) : IClassFixture<MetricsFixture>
{
    private const string Write = "prometheus/api/v1/write";
    private const string Otlp = "otlp/v1/metrics";
    private const string Metrics = "api/v1/monitoring/metrics";

    private static long Now => IntakeBench.Now;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_remote_write_was_told_is_stored_is_found()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "rw");

        using var answer = await WriteAsync(client, RemoteWriteBody.Request(RemoteWriteBody.Series("__name__=up,job=a,realm=other", (Now, 1), (Now + 1, 2))));

        Assert.Equal(HttpStatusCode.NoContent, answer.StatusCode);
        Assert.Equal("", await answer.Content.ReadAsStringAsync(Ct));
        Assert.Equal(["up 2", "up 1"], await ValuesAsync(client, "name=up"));
        using var other = await fixture.World.ClientAsync(fixture.Metrics, realm: "other");
        Assert.Empty(await ValuesAsync(other, "name=up"));
    }

    [Fact]
    public async Task Remote_write_answers_as_senders_expect_it()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "answers");
        var good = RemoteWriteBody.Request(RemoteWriteBody.Series("__name__=good", (Now, 1)));
        var mixed = RemoteWriteBody.Request(
            RemoteWriteBody.Series("__name__=bad,a=1,a=2", (Now, 1)), RemoteWriteBody.Series("__name__=kept", (Now, 1)), RemoteWriteBody.Series("__name__=old", (1, 1)));
        const string second = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        var request = new Proto().Text(4, "").Text(4, "__name__").Text(4, "two").Message(5, new Proto().Packed(1, 1, 2).Message(2, RemoteWriteBody.Sample(Now, 1)));

        using var partial = await WriteAsync(client, mixed);
        Assert.Equal(HttpStatusCode.BadRequest, partial.StatusCode);
        var text = await partial.Content.ReadAsStringAsync(Ct);
        Assert.StartsWith("2 of 3 samples are not stored", text, StringComparison.Ordinal);
        Assert.Contains("bad{a=\"1\", a=\"2\"}: the label \"a\" comes twice.", text, StringComparison.Ordinal);
        Assert.Contains("old", text, StringComparison.Ordinal);
        Assert.Single(await ValuesAsync(client, "name=kept"));

        using var accepted = await WriteAsync(client, request.Bytes, second);
        Assert.Equal(HttpStatusCode.NoContent, accepted.StatusCode);
        Assert.Equal(("1", "0", "0"), (Written(accepted, "Samples"), Written(accepted, "Histograms"), Written(accepted, "Exemplars")));
        using var half = await WriteAsync(client, request.Message(5, new Proto().Packed(1, 1, 9).Message(2, RemoteWriteBody.Sample(Now, 1))).Bytes, second);
        Assert.Equal((HttpStatusCode.BadRequest, "1"), (half.StatusCode, Written(half, "Samples")));

        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await WriteAsync(client, good, "application/x-protobuf;proto=io.prometheus.write.v3.Request")).StatusCode);
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await WriteAsync(client, good, "application/json")).StatusCode);
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await WriteAsync(client, good, encoding: "gzip")).StatusCode);
        Assert.Equal(HttpStatusCode.NoContent, (await WriteAsync(client, good, "application/x-protobuf;proto=prometheus.WriteRequest")).StatusCode);
        using var plain = await PostAsync(client, Write, good, "application/x-protobuf", "snappy");
        Assert.Equal(HttpStatusCode.BadRequest, plain.StatusCode);
        Assert.Contains("snappy in the block format", await plain.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
        using var cut = await WriteAsync(client, good[..^3]);
        Assert.Equal(HttpStatusCode.BadRequest, cut.StatusCode);
        Assert.Contains("no valid protobuf", await cut.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bombs_and_endless_bodies_are_413_and_cost_no_memory()
    {
        await using var small = await fixture.World.StartAsync(
            "Metrics", "metricsdb", ("METRICS_INTAKE_MAX_REQUEST_BYTES", "262144"), ("METRICS_INTAKE_MAX_DECODED_BYTES", "1048576"), ("METRICS_COLLECTION_ENABLED", "false"));
        using var client = await fixture.World.ClientAsync(small, realm: "bombs");

        // Snappy: a true bomb, and a length that is a lie. Gzip: a hundred megabytes of zeros. JSON: deeper than deep. Chunks: without end.
        using var bomb = await PostAsync(client, Write, IronSnappy.Snappy.Encode(new byte[3_000_000]), "application/x-protobuf", "snappy");
        using var lie = await PostAsync(client, Write, [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], "application/x-protobuf", "snappy");
        using var zeros = await PostAsync(client, Otlp, Gzip(new byte[100_000_000]), "application/x-protobuf", "gzip");
        using var zeroLines = await PostAsync(client, Metrics, Gzip(new byte[100_000_000]), "application/json", "gzip");
        using var deep = await PostAsync(client, Otlp, Encoding.UTF8.GetBytes(new string('[', 100_000)), "application/json");
        using var deepMetrics = await PostAsync(client, Metrics, Encoding.UTF8.GetBytes(new string('[', 100_000)), "application/json");
        using var endless = await SendAsync(client, Otlp, new EndlessContent());
        using var endlessWrite = await SendAsync(client, Write, new EndlessContent());
        using var large = await PostAsync(client, Otlp, new byte[300_000], "application/x-protobuf");

        Assert.Equal(
            [
                HttpStatusCode.RequestEntityTooLarge, HttpStatusCode.BadRequest, HttpStatusCode.RequestEntityTooLarge, HttpStatusCode.RequestEntityTooLarge, HttpStatusCode.BadRequest,
                HttpStatusCode.BadRequest, HttpStatusCode.RequestEntityTooLarge, HttpStatusCode.RequestEntityTooLarge, HttpStatusCode.RequestEntityTooLarge,
            ],
            ((HttpResponseMessage[])[bomb, lie, zeros, zeroLines, deep, deepMetrics, endless, endlessWrite, large]).Select(answer => answer.StatusCode));
        Assert.Contains("METRICS_INTAKE_MAX_DECODED_BYTES", await bomb.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
        Assert.Contains("METRICS_INTAKE_MAX_REQUEST_BYTES", await endless.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
        using var after = await WriteAsync(client, RemoteWriteBody.Request(RemoteWriteBody.Series("__name__=alive", (Now, 1))));
        Assert.Equal(HttpStatusCode.NoContent, after.StatusCode);
        Assert.Contains("monitoring_intake_bytes 0", await client.GetStringAsync(new Uri("metrics", UriKind.Relative), Ct), StringComparison.Ordinal);
    }

    [Fact]
    public async Task OTLP_answers_in_the_encoding_of_the_request()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "otlp");
        var json = $$$"""
            {"resourceMetrics":[{"resource":{},"scopeMetrics":[{"metrics":[
              {"name":"good","gauge":{"dataPoints":[{"asDouble":1,"timeUnixNano":"{{{Now}}}000000"}]}},
              {"name":"bad","gauge":{"dataPoints":[{"asDouble":1}]}}]}]}]}
            """;
        var proto = new Proto().Message(1, new Proto().Message(2, new Proto().Message(2, new Proto().Text(1, "bad").Message(5, new Proto().Message(1, new Proto().Double(4, 1))))));

        using var partial = await PostAsync(client, Otlp, Encoding.UTF8.GetBytes(json), "application/json");
        Assert.Equal(("application/json", HttpStatusCode.OK), (partial.Content.Headers.ContentType!.MediaType, partial.StatusCode));
        var success = (await partial.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("partialSuccess");
        Assert.Equal(("1", "bad: a point has no time."), (success.GetProperty("rejectedDataPoints").GetString(), success.GetProperty("errorMessage").GetString()));
        Assert.Single(await ValuesAsync(client, "name=good"));

        using var zipped = await PostAsync(client, Otlp, Gzip(proto.Bytes), "application/x-protobuf", "gzip");
        Assert.Equal(("application/x-protobuf", HttpStatusCode.OK), (zipped.Content.Headers.ContentType!.MediaType, zipped.StatusCode));
        Assert.Equal(new Proto().Message(1, new Proto().Varint(1, 1).Text(2, "bad: a point has no time.")).Bytes, await zipped.Content.ReadAsByteArrayAsync(Ct));

        using var empty = await PostAsync(client, Otlp, [], "application/x-protobuf");
        Assert.Equal((HttpStatusCode.OK, 0L), (empty.StatusCode, empty.Content.Headers.ContentLength));
        using var nothing = await PostAsync(client, Otlp, "{}"u8.ToArray(), "application/json");
        Assert.Equal("{}", await nothing.Content.ReadAsStringAsync(Ct));

        using var broken = await PostAsync(client, Otlp, [0x0a, 0xff], "application/x-protobuf");
        Assert.Equal((HttpStatusCode.BadRequest, "application/x-protobuf"), (broken.StatusCode, broken.Content.Headers.ContentType!.MediaType));
        Assert.Equal(0x08, (await broken.Content.ReadAsByteArrayAsync(Ct))[0]);
        using var brokenJson = await PostAsync(client, Otlp, "{"u8.ToArray(), "application/json");
        Assert.Equal(3, (await brokenJson.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("code").GetInt32());
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await PostAsync(client, Otlp, "{}"u8.ToArray(), "text/plain")).StatusCode);
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await PostAsync(client, Otlp, "{}"u8.ToArray(), "application/json", "br")).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await PostAsync(client, Otlp, Gzip(Encoding.UTF8.GetBytes(json))[..^30], "application/json", "gzip")).StatusCode);
    }

    [Theory]
    [InlineData(MetricReaderTemporalityPreference.Cumulative)]
    [InlineData(MetricReaderTemporalityPreference.Delta)]
    public async Task The_OpenTelemetry_SDK_exports_to_it(MetricReaderTemporalityPreference temporality)
    {
        var realm = $"sdk-{temporality}".ToLowerInvariant();
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: realm);
        using (var meter = new Meter("intake.tests"))
        using (var provider = Sdk.CreateMeterProviderBuilder()
            .AddMeter(meter.Name)
            .ConfigureResource(resource => resource.AddService("checkout", "shop", serviceInstanceId: "one"))
            .AddView("sizes", new Base2ExponentialBucketHistogramConfiguration())
            .AddOtlpExporter((exporter, reader) =>
            {
                exporter.Endpoint = new Uri(fixture.Metrics.Url, Otlp);
                exporter.Protocol = OtlpExportProtocol.HttpProtobuf;
                exporter.HttpClientFactory = () => new HttpClient { DefaultRequestHeaders = { Authorization = client.DefaultRequestHeaders.Authorization } };
                reader.TemporalityPreference = temporality;
                reader.PeriodicExportingMetricReaderOptions.ExportIntervalMilliseconds = int.MaxValue;
            })
            .Build())
        {
            var requests = meter.CreateCounter<long>("http.requests", "{request}");
            var latency = meter.CreateHistogram<double>("http.latency", "s");
            var sizes = meter.CreateHistogram<double>("sizes", "By");
            meter.CreateObservableGauge("cpu.usage", () => 0.25, "1");
            for (var round = 0; round < 2; round++)
            {
                requests.Add(3, new KeyValuePair<string, object?>("http.route", "/cart"));
                latency.Record(0.3);
                sizes.Record(1000);
                Assert.True(provider.ForceFlush(30_000));
            }
        }

        async Task<string> LastAsync(string query) => (await ValuesAsync(client, query)).FirstOrDefault("nothing");
        Assert.Equal("http_requests_total 6", await LastAsync("name=http_requests_total&labels.http_route=/cart&labels.job=shop/checkout&labels.instance=one"));
        Assert.Equal("http_latency_seconds_count 2", await LastAsync("name=http_latency_seconds_count"));
        Assert.Equal("http_latency_seconds_sum 0.6", await LastAsync("name=http_latency_seconds_sum"));
        Assert.Equal("http_latency_seconds_bucket 2", await LastAsync("name=http_latency_seconds&labels.le=%2BInf"));
        Assert.Equal("sizes_bytes_bucket 2", await LastAsync("name=sizes_bytes&labels.le=1024"));
        Assert.Equal("cpu_usage_ratio 0.25", await LastAsync("name=cpu_usage_ratio"));
        Assert.Equal("target_info 1", await LastAsync("name=target_info&labels.telemetry_sdk_language=dotnet"));
    }

    [Fact]
    public async Task A_real_Prometheus_writes_what_it_scrapes_to_it()
    {
        Assert.SkipUnless(PrometheusServer.IsInstalled, "prometheus is not installed.");
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "prometheus");
        await using var prometheus = await PrometheusServer.StartAsync($$"""
            global:
              scrape_interval: 1s
            scrape_configs:
              - job_name: self
                static_configs: [{targets: ["{{fixture.Metrics.Url.Authority}}"]}]
            remote_write:
              - url: {{fixture.Metrics.Url}}{{Write}}
                authorization: {credentials: "{{client.DefaultRequestHeaders.Authorization!.Parameter}}"}
                metadata_config: {send_interval: 1s}
            """);

        await Eventually.TrueAsync(async () => (await ValuesAsync(client, "name=up&labels.job=self")).Length > 1, TimeSpan.FromSeconds(60), "samples arrive");
        await Eventually.TrueAsync(
            async () => (await client.GetFromJsonAsync<JsonElement>($"{Metrics}?name=monitoring_samples_total", Ct))
                .GetProperty("data").GetProperty("items").EnumerateArray().Any(item => item.GetProperty("metric_type").GetString() == "counter"),
            TimeSpan.FromSeconds(60), "metadata arrives");
        var failed = await prometheus.Client.GetStringAsync(new Uri("metrics", UriKind.Relative), Ct);
        Assert.Contains("prometheus_remote_storage_samples_failed_total{", failed, StringComparison.Ordinal);
        Assert.DoesNotMatch(@"prometheus_remote_storage_samples_failed_total\{.*\} [1-9]", failed);
    }

    [Fact]
    public async Task Counters_and_histograms_sent_as_JSON_are_totals_that_a_repeated_key_does_not_move()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "json");
        const string body = """
            [{"name":"orders_total","metric_type":"counter","value":2,"labels":{"shop":"a","realm":"other"}},
             {"name":"orders_total","metric_type":"counter","value":3,"labels":{"shop":"a"}},
             {"name":"latency","metric_type":"histogram","value":0.3},{"name":"latency","metric_type":"histogram","value":7},
             {"name":"cpu_usage","metric_type":"gauge","value":0.5}]
            """;

        var answers = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => PostAsync(client, Metrics, Encoding.UTF8.GetBytes(body), "application/json", key: "\"k-1\"")));
        using var other = await PostAsync(client, Metrics, """{"name":"a","metric_type":"gauge","value":1}"""u8.ToArray(), "application/json", key: "k-1");
        using var more = await PostAsync(client, Metrics, Encoding.UTF8.GetBytes(body), "application/json");

        Assert.All(answers, answer => Assert.Equal(HttpStatusCode.Created, answer.StatusCode));
        Assert.Equal(5, answers.Count(answer => answer.Headers.Contains("Idempotency-Replayed")));
        Assert.Equal(5, (await answers[0].Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("data").GetProperty("count").GetInt32());
        Assert.Equal(HttpStatusCode.UnprocessableEntity, other.StatusCode);
        Assert.Equal(HttpStatusCode.Created, more.StatusCode);
        Assert.Equal(["orders_total 10", "orders_total 5"], await ValuesAsync(client, "name=orders_total&labels.shop=a"));
        Assert.Equal("latency_bucket 2", (await ValuesAsync(client, "name=latency&labels.le=0.5"))[0]);
        Assert.Equal("latency_bucket 4", (await ValuesAsync(client, "name=latency&labels.le=10"))[0]);
        Assert.Equal("latency_bucket 0", (await ValuesAsync(client, "name=latency&labels.le=0.25"))[0]);
        Assert.Equal("latency_sum 14.6", (await ValuesAsync(client, "name=latency_sum"))[0]);
        Assert.Equal(["cpu_usage 0.5", "cpu_usage 0.5"], await ValuesAsync(client, "name=cpu_usage"));
        var item = (await client.GetFromJsonAsync<JsonElement>($"{Metrics}?name=latency&limit=1", Ct)).GetProperty("data").GetProperty("items")[0];
        Assert.Equal(("histogram", "json"), (item.GetProperty("metric_type").GetString(), item.GetProperty("realm").GetString()));
    }

    [Fact]
    public async Task A_wrong_metric_is_a_problem_and_nothing_of_its_request_is_stored()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "wrong");

        using var answer = await PostAsync(client, Metrics, """[{"name":"kept","metric_type":"gauge","value":1},{"name":"kept","metric_type":"gauge"}]"""u8.ToArray(), "application/json");
        var problem = await answer.Content.ReadFromJsonAsync<JsonElement>(Ct);
        var longValue = new string('x', 100_000);
        using var guarded = await PostAsync(
            client, Metrics, Encoding.UTF8.GetBytes($$$"""[{"name":"kept","metric_type":"gauge","value":1},{"name":"a","metric_type":"gauge","value":1,"labels":{"x":"{{{longValue}}}"}}]"""), "application/json");
        var guard = await guarded.Content.ReadFromJsonAsync<JsonElement>(Ct);

        Assert.Equal((HttpStatusCode.BadRequest, "application/problem+json"), (answer.StatusCode, answer.Content.Headers.ContentType!.MediaType));
        Assert.Contains("Is missing", problem.GetProperty("errors").GetProperty("[1].value")[0].GetString(), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.BadRequest, guarded.StatusCode);
        Assert.True(guard.GetProperty("errors").TryGetProperty("[1].labels", out _));
        Assert.Empty(await ValuesAsync(client, "name=kept"));
        Assert.Equal(HttpStatusCode.BadRequest, (await client.GetAsync($"{Metrics}?nam=x", Ct)).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await client.GetAsync($"{Metrics}?cursor=x", Ct)).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await client.GetAsync($"{Metrics}?start_time=2026-01-02Z&end_time=2026-01-01Z", Ct)).StatusCode);
    }

    [Fact]
    public async Task A_credential_that_may_send_may_do_nothing_else()
    {
        using var ingest = await fixture.World.ClientAsync(fixture.Metrics, Role.User, "scopes", Scopes.Ingest);
        using var read = await fixture.World.ClientAsync(fixture.Metrics, Role.User, "scopes", Scopes.Read);
        using var auditor = await fixture.World.ClientAsync(fixture.Metrics, Role.Auditor, "scopes");
        var sample = RemoteWriteBody.Request(RemoteWriteBody.Series("__name__=up", (Now, 1)));

        Assert.Equal(HttpStatusCode.NoContent, (await WriteAsync(ingest, sample)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await PostAsync(ingest, Otlp, "{}"u8.ToArray(), "application/json")).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await ingest.GetAsync(Metrics, Ct)).StatusCode);
        foreach (var client in (HttpClient[])[read, auditor])
        {
            Assert.Equal(HttpStatusCode.Forbidden, (await WriteAsync(client, sample)).StatusCode);
            Assert.Equal(HttpStatusCode.Forbidden, (await PostAsync(client, Otlp, "{}"u8.ToArray(), "application/json")).StatusCode);
            Assert.Equal(HttpStatusCode.Forbidden, (await PostAsync(client, Metrics, "{}"u8.ToArray(), "application/json")).StatusCode);
        }

        using var foreign = await PostAsync(ingest, $"{Otlp}?realm=theirs", "{}"u8.ToArray(), "application/json");
        Assert.Equal(HttpStatusCode.Forbidden, foreign.StatusCode);
    }

    [Fact]
    public async Task Statistics_count_the_samples_that_came()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "counted");

        using var write = await WriteAsync(client, RemoteWriteBody.Request(RemoteWriteBody.Series("__name__=up", [.. Enumerable.Range(0, 40).Select(n => (Now - n, 1.0))])));
        using var post = await PostAsync(client, Metrics, """{"name":"a","metric_type":"counter","value":1}"""u8.ToArray(), "application/json");

        await Eventually.TrueAsync(
            async () =>
            {
                var data = (await client.GetFromJsonAsync<JsonElement>("api/v1/monitoring/stats", Ct)).GetProperty("data");
                return (data.GetProperty("total_metrics").GetInt64(), data.GetProperty("metrics_last_hour").GetInt64()) == (41, 41);
            },
            because: "what came is counted");
    }

    private static Task<HttpResponseMessage> WriteAsync(HttpClient client, byte[] body, string type = "application/x-protobuf", string encoding = "snappy") =>
        PostAsync(client, Write, IronSnappy.Snappy.Encode(body), type, encoding);

    private static async Task<HttpResponseMessage> PostAsync(HttpClient client, string path, byte[] body, string type, string? encoding = null, string? key = null)
    {
        using var content = new ByteArrayContent(body);
        content.Headers.ContentType = MediaTypeHeaderValue.Parse(type);
        if (encoding is not null)
        {
            content.Headers.ContentEncoding.Add(encoding);
        }

        return await SendAsync(client, path, content, key);
    }

    private static async Task<HttpResponseMessage> SendAsync(HttpClient client, string path, HttpContent content, string? key = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = content };
        // As curl does with a large body: ask first, so that a refusal arrives before the body is on its way.
        request.Headers.ExpectContinue = content.Headers.ContentLength > 200_000;
        if (key is not null)
        {
            request.Headers.TryAddWithoutValidation("Idempotency-Key", key);
        }

        return await client.SendAsync(request, Ct);
    }

    private static string Written(HttpResponseMessage answer, string what) => Assert.Single(answer.Headers.GetValues($"X-Prometheus-Remote-Write-{what}-Written"));

    // "name value", newest first.
    private static async Task<string[]> ValuesAsync(HttpClient client, string query) =>
        [.. (await client.GetFromJsonAsync<JsonElement>($"{Metrics}?{query}", Ct)).GetProperty("data").GetProperty("items").EnumerateArray()
            .Select(item => $"{item.GetProperty("name").GetString()} {item.GetProperty("value")}")];

    private static byte[] Gzip(byte[] plain)
    {
        using var zipped = new MemoryStream();
        using (var gzip = new GZipStream(zipped, CompressionLevel.Fastest))
        {
            gzip.Write(plain);
        }

        return zipped.ToArray();
    }

    /// <summary>A body of valid beginnings without an end, in chunks, until the server has had enough.</summary>
    private sealed class EndlessContent : HttpContent
    {
        public EndlessContent()
        {
            Headers.ContentType = new("application/x-protobuf");
        }

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            var chunk = new byte[16 * 1024];
            for (var sent = 0; sent < 100_000_000; sent += chunk.Length)
            {
                try
                {
                    await stream.WriteAsync(chunk, Ct);
                }
                catch (Exception error) when (error is IOException or HttpRequestException)
                {
                    return; // it was answered, and the connection closed
                }
            }
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}
