using System.Globalization;
using System.Reflection;
using Platform.PromQL;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Prometheus;

/// <summary>What clients ask to find out what they are talking to. Rules and alerts are answered by Alerting.</summary>
public static class StatusApi
{
    /// <summary>The release of Prometheus whose API and language this is; Grafana decides by it what it offers.</summary>
    private const string ApiVersion = "3.5.0";

    private static readonly object[] s_none = [];

    public static IEndpointRouteBuilder MapStatus(this IEndpointRouteBuilder root)
    {
        var api = root.MapGroup("/api/v1");
        api.MapGet("/targets", Scraping.TargetsApi.GetAsync).WithSummary("What is scraped, and how it goes.");
        api.MapGet("/targets/metadata", static () => Answers.Success(s_none)).WithSummary("Always empty.");
        api.MapGet("/status/buildinfo", static () => Answers.Success(Build())).WithSummary("Which release of Prometheus this is compatible with.");
        api.MapGet("/status/config", static () => Answers.Success(new { yaml = "global: {}\n" })).WithSummary("An empty configuration: settings are the environment's.");
        api.MapGet("/status/flags", Flags).WithSummary("The limits of queries, under the names that Prometheus gives them.");
        api.MapGet("/status/runtimeinfo", Runtime).WithSummary("About the process.");
        api.MapGet("/status/tsdb", TsdbAsync).WithSummary("Which names and labels have most series.");
        root.MapMethods("/-/healthy", [HttpMethods.Get, HttpMethods.Head], static () => TypedResults.Text("Prometheus Server is Healthy.\n")).WithSummary("200 while the process runs.");
        root.MapMethods("/-/ready", [HttpMethods.Get, HttpMethods.Head], static () => TypedResults.Text("Prometheus Server is Ready.\n")).WithSummary("200 when queries are answered.");
        return root;
    }

    private static object Build()
    {
        var version = typeof(StatusApi).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "";
        return new
        {
            version = ApiVersion,
            revision = version[(version.IndexOf('+', StringComparison.Ordinal) + 1)..],
            branch = "platform",
            buildUser = "platform",
            buildDate = "",
            goVersion = $".NET {Environment.Version}",
        };
    }

    private static IResult Flags(QueryOptions options) => Answers.Success(new Dictionary<string, string>
    {
        ["query.lookback-delta"] = Printer.Duration(options.Lookback),
        ["query.max-concurrency"] = options.MaxConcurrent.ToString(CultureInfo.InvariantCulture),
        ["query.max-samples"] = options.MaxSamples.ToString(CultureInfo.InvariantCulture),
        ["query.timeout"] = Printer.Duration(options.Timeout),
    });

    private static IResult Runtime(TimeProvider clock)
    {
        var started = new DateTimeOffset(System.Diagnostics.Process.GetCurrentProcess().StartTime).ToUniversalTime();
        return Answers.Success(new
        {
            startTime = started,
            CWD = "",
            hostname = Environment.MachineName,
            serverTime = clock.GetUtcNow(),
            reloadConfigSuccess = true,
            lastConfigTime = started,
            corruptionCount = 0,
            goroutineCount = ThreadPool.ThreadCount,
            GOMAXPROCS = Environment.ProcessorCount,
            GOMEMLIMIT = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
            GOGC = "",
            GODEBUG = "",
            storageRetention = "",
        });
    }

    private static async Task<IResult> TsdbAsync(HttpContext context, Caller caller, ISampleStore store, QueryGate gate, TimeProvider clock, CancellationToken ct)
    {
        var limit = (await Parameters.ReadAsync(context.Request, ct)).Count("limit") ?? 10;
        if (limit is < 1 or > 10_000)
        {
            throw Parameters.Bad("limit must be a positive number");
        }

        // Like the head of a Prometheus server: what had samples in the last two hours.
        var now = clock.GetUtcNow().ToUnixTimeMilliseconds();
        var recent = new Selection([new(Labels.MetricName, MatchKind.NotEqual, "")], now - 7_200_000, now) { LabelsOnly = true };
        var series = 0;
        var byName = new Dictionary<string, long>(StringComparer.Ordinal);
        var byPair = new Dictionary<(string Name, string Value), long>();
        await gate.RunAsync("status", null, async ends =>
        {
            await foreach (var batch in store.Source(caller.RealmFilter).SelectAsync(recent, ends))
            {
                foreach (var labels in batch.Select(found => found.Labels))
                {
                    series++;
                    Count(byName, labels.Name);
                    for (var index = 0; index < labels.Count; index++)
                    {
                        Count(byPair, (labels.NameAt(index), labels.ValueAt(index)));
                    }
                }
            }
        }, ct);

        var byLabel = byPair.Keys.GroupBy(pair => pair.Name, StringComparer.Ordinal).ToList();
        return Answers.Success(new
        {
            headStats = new { numSeries = series, numLabelPairs = byPair.Count, chunkCount = series, minTime = recent.From, maxTime = recent.To },
            seriesCountByMetricName = Top(byName.Select(name => (name.Key, name.Value))),
            labelValueCountByLabelName = Top(byLabel.Select(label => (label.Key, label.LongCount()))),
            memoryInBytesByLabelName = Top(byLabel.Select(label => (label.Key, label.Sum(pair => (long)pair.Value.Length)))),
            seriesCountByLabelValuePair = Top(byPair.Select(pair => ($"{pair.Key.Name}={pair.Key.Value}", pair.Value))),
        });

        object Top(IEnumerable<(string Name, long Value)> counts) =>
            counts.OrderByDescending(count => count.Value).ThenBy(count => count.Name, StringComparer.Ordinal).Take(limit).Select(count => new { name = count.Name, value = count.Value });

        static void Count<T>(Dictionary<T, long> counts, T key) where T : notnull =>
            System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(counts, key, out _)++;
    }
}
