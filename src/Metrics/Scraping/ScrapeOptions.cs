using System.ComponentModel.DataAnnotations;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Scraping;

/// <summary>What is scraped, how often, and how much of it is taken.</summary>
public sealed class ScrapeOptions
{
    /// <summary>False: no metrics are collected or exposed by this service; events go on.</summary>
    [Setting("METRICS_ENABLED")]
    public bool Enabled { get; init; } = true;

    /// <summary>False: nothing is scraped and the counters of events are not sampled; what others send is still taken in.</summary>
    [Setting("METRICS_COLLECTION_ENABLED")]
    public bool CollectionEnabled { get; init; } = true;

    /// <summary>A file with <c>scrape_configs</c> as Prometheus reads them. Unset: only the platform's own processes are scraped.</summary>
    [Setting("METRICS_SCRAPE_CONFIG_FILE")]
    public string? ConfigFile { get; init; }

    /// <summary>Largest such file, and largest file with targets that it names, in bytes.</summary>
    [Setting("METRICS_SCRAPE_CONFIG_MAX_BYTES"), Range(1_024, 268_435_456)]
    public int MaxConfigBytes { get; init; } = 8 * 1024 * 1024;

    /// <summary>How often these files are looked at for changes.</summary>
    [Setting("METRICS_SCRAPE_RELOAD_SECONDS"), Range(0.1, 3_600)]
    public TimeSpan Reload { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Time between two scrapes of a target, unless the file says otherwise.</summary>
    [Setting("METRICS_SCRAPE_INTERVAL_SECONDS"), Range(0.1, 86_400)]
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>A scrape that takes longer has failed; at most the interval.</summary>
    [Setting("METRICS_SCRAPE_TIMEOUT_SECONDS"), Range(0.1, 86_400)]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The realm of targets whose job names none.</summary>
    [Setting("METRICS_SCRAPE_REALM"), StringLength(64, MinimumLength = 1)]
    public string Realm { get; init; } = ServiceDefaults.Realm.Default;

    /// <summary>Services of the platform among the addresses that the environment gives (<c>services__name__http__0</c>). Their series belong to realm <c>*</c>; every other address there is an application of the realm above.</summary>
    [Setting("METRICS_SCRAPE_SERVICES")]
    public IReadOnlyList<string> Services { get; init; } = ["gateway", "metrics", "health", "alerting", "incidents", "compliance"];

    /// <summary>Most targets of all jobs together; further ones are left out, and said so.</summary>
    [Setting("METRICS_SCRAPE_MAX_TARGETS"), Range(1, 1_000_000)]
    public int MaxTargets { get; init; } = 5_000;

    /// <summary>Largest answer of a target, decompressed, in bytes; a job may set less (<c>body_size_limit</c>).</summary>
    [Setting("METRICS_SCRAPE_MAX_BODY_BYTES"), Range(1_024, 1_073_741_824)]
    public int MaxBodyBytes { get; init; } = 64 * 1024 * 1024;

    /// <summary>Scrapes that are read and stored at the same time.</summary>
    [Setting("METRICS_SCRAPE_CONCURRENCY"), Range(1, 1_000)]
    public int Concurrency { get; init; } = 32;

    /// <summary>How often the replica that scrapes makes sure that it still may, and another tries to take over.</summary>
    [Setting("METRICS_SCRAPE_TAKEOVER_SECONDS"), Range(0.1, 60)]
    public TimeSpan Takeover { get; init; } = TimeSpan.FromSeconds(2);
}
