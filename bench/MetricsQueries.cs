using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using Npgsql;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>
/// Twelve queries over twenty thousand series of the last half hour and over a day of two thousand series. The day is compacted first, in
/// Prometheus into one block, in ours into chunks, and its size on disk is compared.
/// </summary>
internal static class MetricsQueries
{
    private const int Warmups = 3;
    private const string Inside = "inside Metrics";
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <param name="Name">As the table of figures calls it.</param>
    /// <param name="Expression">With <c>$</c> for the selector of the run.</param>
    /// <param name="Minutes">Length of the range that is asked for, up to the end of the data; 0 asks at one instant.</param>
    /// <param name="StepSeconds">Of the range.</param>
    private sealed record Query(string Name, string Expression, int Minutes = 0, int StepSeconds = 60);

    private static readonly Query[] Recent =
    [
        new("plain selector", """http_requests_total{$,path="/login"}""", 20),
        new("rate by label", "sum by (status) (rate(http_requests_total{$}[5m]))", 15),
        new("sum by", "sum by (namespace, job) (process_memory_bytes{$})", 20),
        new("topk", "topk(10, rate(http_response_bytes_total{$}[5m]))", 15),
        new("histogram_quantile", "histogram_quantile(0.95, sum by (le, path) (rate(http_request_duration_seconds_bucket{$}[5m])))", 15),
        new("regex matcher", """sum by (status) (rate(http_requests_total{$,path=~"/api/v1/(orders|customers).*",status=~"5..|404"}[5m]))""", 15),
        new("subquery", "max_over_time(sum by (job) (rate(http_requests_total{$}[3m]))[10m:1m])", 10),
        new("avg_over_time", "avg_over_time(queue_depth{$}[10m])", 10),
        new("join with group_left", "sum by (version) (rate(http_requests_total{$}[5m]) * on (pod) group_left (version) app_build_info{$})", 15),
        new("count_values", """count_values("depth", queue_depth{$})""", 20),
        new("absent", """absent(http_requests_total{$,pod="none"})""", 20),
        new("whole range", "sum by (job) (increase(http_response_bytes_total{$}[20m]))"),
    ];

    private static readonly Query[] Day =
    [
        new("plain selector", """http_requests_total{$,path="/login"}""", 6 * 60),
        new("rate by label", "sum by (status) (rate(http_requests_total{$}[5m]))", 6 * 60),
        new("sum by", "sum by (namespace, job) (process_memory_bytes{$})", 6 * 60),
        new("topk", "topk(10, rate(http_response_bytes_total{$}[5m]))", 6 * 60, 300),
        new("histogram_quantile", "histogram_quantile(0.95, sum by (le, path) (rate(http_request_duration_seconds_bucket{$}[5m])))", 6 * 60),
        new("regex matcher", """sum by (status) (rate(http_requests_total{$,path=~"/api/v1/(orders|customers).*",status=~"5..|404"}[5m]))""", 6 * 60),
        new("subquery", "max_over_time(sum by (job) (rate(http_requests_total{$}[5m]))[1h:1m])", 3 * 60, 300),
        new("quantile_over_time", "quantile_over_time(0.9, process_load_ratio{$}[1h])", 6 * 60, 600),
        new("join with group_left", "sum by (version) (rate(http_requests_total{$}[5m]) * on (pod) group_left (version) app_build_info{$})", 6 * 60),
        new("count_values", """count_values("depth", queue_depth{$})""", 6 * 60, 300),
        new("absent", """absent(http_requests_total{$,pod="none"})""", 6 * 60),
        new("24 h range", "sum by (job) (rate(http_response_bytes_total{$}[5m]))", 24 * 60),
        new("24 h window", "avg_over_time(queue_depth{$}[1d])"),
    ];

    public static async Task RunAsync(BenchRun run, CancellationToken ct)
    {
        var day = new MetricsLoad("day", 20, run.Sized(5_760), BenchRun.RecentMinute() - 2 * 60 * 60_000);
        var bodies = day.Bodies(samplesPerSeries: 10);
        var engines = new List<MetricsEngine>();
        try
        {
            double? block = null;
            double? chunks = null;
            foreach (var name in run.Engines)
            {
                switch (name)
                {
                    case MetricsEngine.PrometheusName:
                        var (prometheus, bytes) = await PrometheusWithBlockAsync(day, bodies, ct);
                        engines.Add(prometheus);
                        block = bytes / (double)day.Samples;
                        run.Note("bytes per sample, block of Prometheus", string.Create(CultureInfo.InvariantCulture, $"{block:F2}"));
                        break;
                    case MetricsEngine.Platform:
                        var platform = await PlatformEngine.StartAsync(new Dictionary<string, string?>(), ct);
                        engines.Add(platform);
                        await MetricsLoad.SendAsync(platform, bodies, ct);
                        await day.ArrivedAsync(platform, Patience, ct);
                        chunks = await CompactAsync(platform, ct) / (double)day.Samples;
                        run.Note("bytes per sample, ours", string.Create(CultureInfo.InvariantCulture, $"{chunks:F2}"));
                        await day.ArrivedAsync(platform, Patience, ct);
                        break;
                    default:
                        var other = await MetricsEngine.StartAsync(name, ct);
                        engines.Add(other);
                        await MetricsLoad.SendAsync(other, bodies, ct);
                        await day.ArrivedAsync(other, Patience, ct);
                        break;
                }
            }

            if (block is not null && chunks is not null)
            {
                run.Judge("bytes per sample, ours ÷ Prometheus", chunks.Value / block.Value, "F2", "at most 1.5", chunks / block <= 1.5);
            }

            var recent = new MetricsLoad("recent", run.Sized(200), 100, BenchRun.RecentMinute());
            bodies = recent.Bodies();
            foreach (var engine in engines)
            {
                await MetricsLoad.SendAsync(engine, bodies, ct);
                await recent.ArrivedAsync(engine, Patience, ct);
                await engine.SettleAsync(ct);
            }

            await CompareAsync(run, engines, [.. Recent.Select(query => (query, recent)), .. Day.Select(query => (query, day))], ct);
        }
        finally
        {
            await MetricsWrites.StopAsync(engines);
        }
    }

    // The block is made of everything at once: one index over the day, which is the smallest and fastest that Prometheus has.
    private static async Task<(MetricsEngine Engine, long Bytes)> PrometheusWithBlockAsync(MetricsLoad day, List<byte[]>[] bodies, CancellationToken ct)
    {
        await using var staging = await PeerEngine.PrometheusAsync(["--web.enable-admin-api", "--storage.tsdb.min-block-duration=7d", "--storage.tsdb.max-block-duration=7d", "--storage.tsdb.retention.time=90d"], null, ct);
        await MetricsLoad.SendAsync(staging, bodies, ct);
        await day.ArrivedAsync(staging, Patience, ct);
        using var made = await staging.Door.PostAsync(new Uri("api/v1/admin/tsdb/snapshot", UriKind.Relative), null, ct);
        made.EnsureSuccessStatusCode();
        var answer = await made.Content.ReadFromJsonAsync<JsonElement>(ct);
        var snapshot = Path.Combine(staging.Data, "snapshots", answer.GetProperty("data").GetProperty("name").GetString()!);
        var bytes = Directory.GetFiles(snapshot, "*", SearchOption.AllDirectories).Sum(file => new FileInfo(file).Length);
        Console.WriteLine($"  prometheus: {Directory.GetDirectories(snapshot).Length} block of {bytes:N0} bytes for {day.Samples:N0} samples, {bytes / (double)day.Samples:F2} each");
        var engine = await PeerEngine.PrometheusAsync([], snapshot, ct);
        await day.ArrivedAsync(engine, Patience, ct);
        return (engine, bytes);
    }

    // Compaction at once, by the setting that says when; then the defaults again, so that queries find the day only in chunks.
    private static async Task<long> CompactAsync(PlatformEngine platform, CancellationToken ct)
    {
        await platform.RestartAsync(new Dictionary<string, string?> { ["METRICS_COMPACT_AFTER_MINUTES"] = "0.01" }, ct);
        await using var db = NpgsqlDataSource.Create(await platform.DatabaseAsync(ct));
        await Eventually.TrueAsync(async () => await Ingest.ScalarAsync(db, "select count(*) from sample_batches", ct) == 0, Patience, "every batch of the log has become chunks");
        await platform.SettleAsync(ct);
        await using (var tables = db.CreateCommand("select relname, pg_total_relation_size(oid) from pg_class where relkind = 'r' and relname ~ '^(sample|series)' order by 2 desc limit 4"))
        await using (var table = await tables.ExecuteReaderAsync(ct))
        {
            while (await table.ReadAsync(ct))
            {
                Console.WriteLine($"  platform: {table.GetString(0)} {table.GetInt64(1):N0} bytes");
            }
        }

        var bytes = await Ingest.ScalarAsync(db, "select sum(pg_total_relation_size(oid))::bigint from pg_class where relkind = 'r' and relname ~ '^(sample|series)'", ct);
        await platform.RestartAsync(new Dictionary<string, string?>(), ct);
        return bytes;
    }

    private static async Task CompareAsync(BenchRun run, List<MetricsEngine> engines, (Query Query, MetricsLoad Load)[] queries, CancellationToken ct)
    {
        var platform = engines.OfType<PlatformEngine>().FirstOrDefault();
        var doors = engines.Select(engine => (engine.Name, Http: engine.Door)).ToList();
        using var inside = platform is null ? null : await platform.InsideAsync(ct);
        if (inside is not null)
        {
            doors.Insert(0, (Inside, inside));
        }

        var rounds = run.Quick ? 3 : 7;
        var times = queries.Select(_ => doors.ToDictionary(door => door.Name, _ => new List<double>())).ToArray();
        for (var round = -Warmups; round < rounds; round++)
        {
            for (var index = 0; index < queries.Length; index++)
            {
                var path = PathOf(queries[index].Query, queries[index].Load);
                var answers = new Dictionary<string, byte[]>();
                foreach (var (name, http) in doors.Select((_, turn) => doors[(turn + round + Warmups) % doors.Count]))
                {
                    if (name == Inside)
                    {
                        http.DefaultRequestHeaders.Authorization = new("Bearer", await platform!.TicketAsync(ct));
                    }

                    var clock = Stopwatch.StartNew();
                    using var answer = await http.GetAsync(new Uri(path, UriKind.Relative), ct);
                    answers[name] = await answer.Content.ReadAsByteArrayAsync(ct);
                    var elapsed = clock.Elapsed.TotalMilliseconds;
                    if (!answer.IsSuccessStatusCode)
                    {
                        throw new InvalidOperationException($"{name} answered {(int)answer.StatusCode} to {path}: {await answer.Content.ReadAsStringAsync(ct)}");
                    }

                    if (round >= 0)
                    {
                        times[index][name].Add(elapsed);
                    }
                }

                if (round == -Warmups && answers.TryGetValue(Inside, out var ours) && answers.TryGetValue(MetricsEngine.PrometheusName, out var theirs))
                {
                    if (MetricsAnswers.Difference(ours, theirs) is { } difference)
                    {
                        Console.WriteLine($"  DIFFERENT ANSWERS to {queries[index].Query.Name} ({queries[index].Load.Run}): {difference}");
                        run.Judge($"same answer: {queries[index].Query.Name} ({queries[index].Load.Run})", double.NaN, "F0", "within 1e-6", false);
                    }
                }
            }
        }

        Console.WriteLine($"  {"milliseconds",-34} {string.Join(' ', doors.Select(door => $"{(door.Name == MetricsEngine.Platform ? "through gateway" : door.Name),16}"))}  inside ÷ prometheus");
        var ratios = new List<double>();
        var slow = new List<string>();
        for (var index = 0; index < queries.Length; index++)
        {
            var medians = times[index].ToDictionary(door => door.Key, door => BenchRun.Median(door.Value));
            var line = $"  {$"{queries[index].Query.Name} ({queries[index].Load.Run})",-34} {string.Join(' ', doors.Select(door => string.Create(CultureInfo.InvariantCulture, $"{medians[door.Name],16:F2}")))}";
            if (inside is not null && medians.TryGetValue(MetricsEngine.PrometheusName, out var theirs))
            {
                var ratio = medians[Inside] / theirs;
                ratios.Add(ratio);
                line += string.Create(CultureInfo.InvariantCulture, $"  {ratio:F2}");
                if (ratio > 1 && theirs > 5)
                {
                    slow.Add($"{queries[index].Query.Name} ({queries[index].Load.Run})");
                }
            }

            Console.WriteLine(line);
        }

        if (ratios.Count > 0)
        {
            var mean = Math.Exp(ratios.Average(Math.Log));
            run.Judge("queries, ours ÷ Prometheus, geometric mean inside Metrics", mean, "F2", "at most 0.5", mean <= 0.5);
            run.Judge($"queries slower than Prometheus where it needs over 5 ms{(slow.Count > 0 ? ": " + string.Join(", ", slow) : "")}", slow.Count, "F0", "none", slow.Count == 0);
            var outside = Math.Exp(times.Average(time => Math.Log(BenchRun.Median(time[MetricsEngine.Platform]) / BenchRun.Median(time[MetricsEngine.PrometheusName]))));
            run.Note("  the same through the gateway", string.Create(CultureInfo.InvariantCulture, $"{outside:F2}"));
        }
    }

    // Half a minute beside whole minutes: no step of a subquery falls on the edge of its window.
    private static string PathOf(Query query, MetricsLoad load)
    {
        var expression = query.Expression.Replace("$", $"run=\"{load.Run}\"", StringComparison.Ordinal);
        var end = load.End - 30_000;
        return query.Minutes == 0
            ? MetricsEngine.QueryPath(expression, end)
            : MetricsEngine.RangePath(expression, Math.Max(end - query.Minutes * 60_000L, load.Start + 5 * 60_000 + 30_000), end, query.StepSeconds);
    }
}

/// <summary>Tells whether two answers of the Prometheus API say the same.</summary>
internal static class MetricsAnswers
{
    private const double Tolerance = 1e-6;

    /// <returns>The first difference, or null. The label <c>realm</c>, which only ours has, does not count.</returns>
    public static string? Difference(byte[] ours, byte[] theirs)
    {
        var one = Read(ours);
        var other = Read(theirs);
        if (one.Keys.Except(other.Keys).FirstOrDefault() is { } more)
        {
            return $"only ours has {more} ({one.Count} series against {other.Count})";
        }

        if (other.Keys.Except(one.Keys).FirstOrDefault() is { } less)
        {
            return $"ours lacks {less} ({one.Count} series against {other.Count})";
        }

        foreach (var (series, points) in one)
        {
            var expected = other[series];
            if (points.Count != expected.Count)
            {
                return $"{series} has {points.Count} points, not {expected.Count}";
            }

            for (var index = 0; index < points.Count; index++)
            {
                var (at, value) = points[index];
                var (expectedAt, expectedValue) = expected[index];
                if (at != expectedAt || !(double.IsNaN(value) && double.IsNaN(expectedValue)) && !(value == expectedValue) && !(Math.Abs(value - expectedValue) <= Tolerance * Math.Abs(expectedValue)))
                {
                    return string.Create(CultureInfo.InvariantCulture, $"{series} at {at}: {value}, not {expectedValue} at {expectedAt}");
                }
            }
        }

        return null;
    }

    private static Dictionary<string, List<(double At, double Value)>> Read(byte[] answer)
    {
        using var json = JsonDocument.Parse(answer);
        return json.RootElement.GetProperty("data").GetProperty("result").EnumerateArray().ToDictionary(
            series => string.Join(',', series.GetProperty("metric").EnumerateObject().Where(label => label.Name != "realm").Select(label => $"{label.Name}={label.Value.GetString()}").Order(StringComparer.Ordinal)),
            series => (series.TryGetProperty("values", out var values) ? values.EnumerateArray() : new[] { series.GetProperty("value") }.AsEnumerable())
                .Select(point => (point[0].GetDouble(), Parse(point[1].GetString()!))).ToList());
    }

    private static double Parse(string value) => value switch
    {
        "NaN" => double.NaN,
        "+Inf" => double.PositiveInfinity,
        "-Inf" => double.NegativeInfinity,
        _ => double.Parse(value, CultureInfo.InvariantCulture),
    };
}
