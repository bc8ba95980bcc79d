using System.Globalization;
using Platform.Metrics.Prometheus;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Scraping;

/// <summary><c>GET /prometheus/api/v1/targets</c>: what is scraped in the caller's realm, in Prometheus' shape.</summary>
public static class TargetsApi
{
    public static async Task<IResult> GetAsync(HttpContext context, Caller caller, ScrapeTargets targets, CancellationToken ct)
    {
        var parameters = await Parameters.ReadAsync(context.Request, ct);
        var (state, pool) = (parameters.Find("state") ?? "any", parameters.Find("scrapePool"));
        var active = targets.List(caller.RealmFilter).Where(target => state != "dropped" && (pool is null || target.Job == pool));
        var dropped = targets.ListDropped(caller.RealmFilter).Where(target => pool is null || target.Job == pool).ToArray();
        return Answers.Success(new
        {
            activeTargets = active.Select(Show),
            droppedTargets = dropped.Where(_ => state != "active").Select(target => new { discoveredLabels = Labels(target.Discovered), scrapePool = target.Job }),
            droppedTargetCounts = dropped.GroupBy(target => target.Job).ToDictionary(job => job.Key, job => job.Count()),
        });
    }

    private static object Show(TargetState target) => new
    {
        discoveredLabels = Labels(target.Discovered),
        labels = Labels(target.Labels),
        scrapePool = target.Job,
        scrapeUrl = target.Url.AbsoluteUri,
        globalUrl = target.Url.AbsoluteUri,
        lastError = target.LastError,
        // Go's zero time stands for "never".
        lastScrape = target.LastScrape?.UtcDateTime.ToString("O", CultureInfo.InvariantCulture) ?? "0001-01-01T00:00:00Z",
        lastScrapeDuration = target.LastDuration.TotalSeconds,
        health = target.Health.ToString().ToLowerInvariant(),
        scrapeInterval = Printer.Duration(target.Interval),
        scrapeTimeout = Printer.Duration(target.Timeout),
    };

    private static Dictionary<string, string> Labels(Labels labels) =>
        Enumerable.Range(0, labels.Count).ToDictionary(labels.NameAt, labels.ValueAt, StringComparer.Ordinal);
}
