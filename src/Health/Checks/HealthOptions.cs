using System.ComponentModel.DataAnnotations;
using Platform.ServiceDefaults;

namespace Platform.Health.Checks;

public sealed class HealthOptions
{
    /// <summary>Whether checks run at all. Without them the status says only whether this service reaches its database.</summary>
    [Setting("HEALTH_CHECK_ENABLED")]
    public bool Enabled { get; init; } = true;

    /// <summary>Time between two runs of a check, unless its target says otherwise.</summary>
    [Setting("HEALTH_CHECK_INTERVAL_SECONDS"), Range(1, 3_600)]
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>A run that takes longer has failed.</summary>
    [Setting("HEALTH_CHECK_TIMEOUT_SECONDS"), Range(0.1, 300)]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Failed runs in a row before a component's state worsens, and before anybody is told.</summary>
    [Setting("HEALTH_CHECK_FAILURE_THRESHOLD"), Range(1, 100)]
    public int FailureThreshold { get; init; } = 3;

    /// <summary>Better runs in a row before a component's state improves.</summary>
    [Setting("HEALTH_CHECK_SUCCESS_THRESHOLD"), Range(1, 100)]
    public int SuccessThreshold { get; init; } = 2;

    /// <summary>How long a result speaks for its component after the next one was due; then the component is unknown. Also how long a replica answers from memory when it cannot read its database.</summary>
    [Setting("HEALTH_CHECK_CACHE_TTL_SECONDS"), Range(1, 3_600)]
    public TimeSpan CacheTtl { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How often a replica reads the states from the database into memory.</summary>
    [Setting("HEALTH_BOARD_REFRESH_SECONDS"), Range(0.1, 60)]
    public TimeSpan BoardRefresh { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How often a replica that runs the checks makes sure it still may, and one that does not tries to take over.</summary>
    [Setting("HEALTH_TAKEOVER_SECONDS"), Range(0.1, 60)]
    public TimeSpan Takeover { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Services of the platform that are checked; their addresses are <c>services__name__http__0</c> and so on. This service checks itself besides.</summary>
    [Setting("HEALTH_CHECK_SERVICES")]
    public IReadOnlyList<string> Services { get; init; } = ["gateway", "metrics", "alerting", "incidents", "compliance"];

    /// <summary>What else to check: <c>name=address option=value …; name=address …</c>, see the README.</summary>
    [Setting("HEALTH_CHECK_TARGETS")]
    public string Targets { get; init; } = "";

    /// <summary>Most targets that the setting may list.</summary>
    [Setting("HEALTH_CHECK_MAX_TARGETS"), Range(0, 5_000)]
    public int MaxTargets { get; init; } = 200;

    /// <summary>Bytes read of a target's answer, to find a health document in it.</summary>
    [Setting("HEALTH_CHECK_MAX_BODY_BYTES"), Range(0, 1_048_576)]
    public int MaxBodyBytes { get; init; } = 65_536;

    /// <summary>A queue with more waiting messages than this makes the broker degraded.</summary>
    [Setting("HEALTH_QUEUE_DEPTH_DEGRADED"), Range(0, 100_000_000)]
    public int QueueDepthDegraded { get; init; } = 10_000;

    /// <summary>More messages than this in a dead-letter queue make the broker degraded: each is a fact that nobody acted on.</summary>
    [Setting("HEALTH_DEAD_LETTERS_DEGRADED"), Range(0, 100_000_000)]
    public int DeadLettersDegraded { get; init; }

    /// <summary>The database is degraded when more than this share of its connections is in use.</summary>
    [Setting("HEALTH_POSTGRES_CONNECTIONS_DEGRADED_PERCENT"), Range(1, 100)]
    public int ConnectionsDegradedPercent { get; init; } = 90;

    /// <summary>Redis is degraded when it uses more than this share of its memory limit, where it has one.</summary>
    [Setting("HEALTH_REDIS_MEMORY_DEGRADED_PERCENT"), Range(1, 100)]
    public int MemoryDegradedPercent { get; init; } = 90;

    /// <summary>Days for which single results are kept. Changes of state are kept as long, and never less than the 30 days that uptime looks back.</summary>
    [Setting("HEALTH_HISTORY_RETENTION_DAYS"), Range(1, 3_650)]
    public TimeSpan HistoryRetention { get; init; } = TimeSpan.FromDays(30);

    internal Pace Pace => new(Interval, Timeout);

    internal Thresholds Thresholds => new(FailureThreshold, SuccessThreshold);
}
