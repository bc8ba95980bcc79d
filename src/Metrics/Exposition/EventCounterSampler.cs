using Platform.Metrics.Events;
using Platform.Metrics.Scraping;
using Platform.PromQL;
using Platform.SampleStore;

namespace Platform.Metrics.Exposition;

/// <summary>
/// Puts the counters made of events into the sample store, per realm, at the pace of scraping, as series of <c>job="events"</c>: so that
/// rules and dashboards read them like anything else. Runs on the replica that scrapes.
/// </summary>
public sealed partial class EventCounterSampler(EventStore events, ISampleStore store, ScrapeOptions options, TimeProvider clock, ILogger<EventCounterSampler> logger)
{
    private readonly HashSet<(string Realm, string Family)> _described = [];

    public async Task RunAsync(CancellationToken ct)
    {
        try
        {
            while (true)
            {
                var now = clock.GetUtcNow();
                var due = new DateTimeOffset((now.UtcTicks / options.Interval.Ticks + 1) * options.Interval.Ticks, TimeSpan.Zero);
                await Task.Delay(due - now, clock, ct);
                await TickAsync(due, ct);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // This replica does not scrape any more.
        }
    }

    /// <summary>One sample of every counter of every realm. What cannot be stored is left out: the next one has the same totals and more.</summary>
    public async Task TickAsync(DateTimeOffset at, CancellationToken ct)
    {
        try
        {
            var totals = await events.ListTotalsAsync(null, ct);
            using var batch = new WriteBatch();
            foreach (var realm in totals.GroupBy(total => total.Realm))
            {
                Add(batch, realm.Key, EventCounters.From([.. realm]), at.ToUnixTimeMilliseconds());
            }

            if (batch.Count > 0 && (await store.CommitAsync(batch, ct)).Outcome == CommitOutcome.Busy)
            {
                NotSampled("the queue of the sample store is full");
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            NotSampled(error.GetBaseException().Message);
        }
    }

    private void Add(WriteBatch batch, string realm, List<MetricFamily> families, long at)
    {
        foreach (var family in families)
        {
            if (_described.Add((realm, family.Name)))
            {
                batch.Describe(new(realm, family.Name, family.Type == "untyped" ? "unknown" : family.Type, family.Help, ""));
            }

            foreach (var point in family.Points)
            {
                var labels = Labels.Of([(Labels.MetricName, family.Name), ("job", "events"), ("realm", realm), .. point.Labels]);
                if (store.Intern(labels, out _) is { } series)
                {
                    batch.Add(series, at, point.Value);
                }
            }
        }
    }

    [LoggerMessage(LogLevel.Warning, "The counters of events could not be sampled: {Reason}")]
    private partial void NotSampled(string reason);
}
