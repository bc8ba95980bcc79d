using Platform.PromQL;

namespace Platform.Metrics.Scraping;

public enum TargetHealth
{
    /// <summary>Not scraped yet by this replica.</summary>
    Unknown,
    Up,
    Down,
}

/// <summary>One target as <c>/prometheus/api/v1/targets</c> shows it.</summary>
/// <param name="Realm">Where its series go; <c>*</c> for the platform's own.</param>
/// <param name="Job">The scrape configuration that it comes from (<c>scrapePool</c>).</param>
/// <param name="Discovered">Labels before relabelling, <c>__address__</c> and the like among them.</param>
/// <param name="Labels">Labels that its series carry.</param>
/// <param name="Url">Without credentials.</param>
/// <param name="LastError">Why the last scrape failed; empty when it did not.</param>
/// <param name="LastScrape">Null before the first.</param>
public sealed record TargetState(
    string Realm,
    string Job,
    Labels Discovered,
    Labels Labels,
    Uri Url,
    TimeSpan Interval,
    TimeSpan Timeout,
    TargetHealth Health,
    string LastError,
    DateTimeOffset? LastScrape,
    TimeSpan LastDuration);

/// <summary>A target that relabelling dropped.</summary>
public sealed record DroppedTarget(string Realm, string Job, Labels Discovered);

/// <summary>
/// What is scraped, and how it goes. Every replica knows the targets; how they are is known to the one that scrapes
/// (<see cref="IsScraping"/>), on the others their health is unknown.
/// </summary>
public sealed class ScrapeTargets
{
    private volatile Snapshot _snapshot = new([], []);
    private volatile bool _isScraping;

    /// <summary>Whether this replica is the one that scrapes.</summary>
    public bool IsScraping
    {
        get => _isScraping;
        internal set => _isScraping = value;
    }

    /// <summary>Targets of a realm (null: of all), in the order of the configuration.</summary>
    public IReadOnlyList<TargetState> List(string? realm) => [.. _snapshot.Active.Select(find => find()).Where(target => realm is null || target.Realm == realm)];

    /// <summary>Targets of a realm (null: of all) that relabelling dropped.</summary>
    public IReadOnlyList<DroppedTarget> ListDropped(string? realm) => [.. _snapshot.Dropped.Where(target => realm is null || target.Realm == realm)];

    /// <summary>Swapped whole when the configuration changes.</summary>
    internal void Replace(IReadOnlyList<Func<TargetState>> active, IReadOnlyList<DroppedTarget> dropped) => _snapshot = new(active, dropped);

    private sealed record Snapshot(IReadOnlyList<Func<TargetState>> Active, IReadOnlyList<DroppedTarget> Dropped);
}
