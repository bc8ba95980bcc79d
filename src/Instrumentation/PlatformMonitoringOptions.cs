using System.ComponentModel.DataAnnotations;

namespace Platform.Instrumentation;

/// <summary>Settings of the section <c>PlatformMonitoring</c>. They are read once and checked at start.</summary>
public sealed class PlatformMonitoringOptions : IValidatableObject
{
    public const string Section = "PlatformMonitoring";

    /// <summary>False: events are neither kept nor sent, correlation ids still work. Environment: <c>MONITORING_ENABLED</c>.</summary>
    public bool Enabled { get; set; } = true;

    /// <summary>Base address of the platform's gateway. Environment: <c>PLATFORM_GATEWAY_URL</c>, or <c>services__gateway__http__0</c> as Aspire sets it.</summary>
    public Uri? GatewayUrl { get; set; }

    /// <summary>API key with scope <c>ingest</c>. Environment: <c>PLATFORM_API_KEY</c>. Never logged.</summary>
    public string? ApiKey { get; set; }

    /// <summary>The <c>source</c> of every event. Default: <c>OTEL_SERVICE_NAME</c>, else the application's name in lower case.</summary>
    [StringLength(200, MinimumLength = 1)]
    public string Source { get; set; } = "";

    /// <summary>Events kept in memory while they wait to be sent; more are dropped and counted.</summary>
    [Range(1, 1_000_000)]
    public int BufferEvents { get; set; } = 10_000;

    /// <summary>Bytes of waiting events; more are dropped and counted.</summary>
    [Range(1_024, 1_073_741_824)]
    public long BufferBytes { get; set; } = 16 * 1024 * 1024;

    /// <summary>Most events in one request to the gateway.</summary>
    [Range(1, 10_000)]
    public int BatchEvents { get; set; } = 500;

    /// <summary>Most bytes in one request to the gateway, which refuses more than 10 MiB.</summary>
    [Range(1_024, 10 * 1024 * 1024)]
    public int BatchBytes { get; set; } = 4 * 1024 * 1024;

    /// <summary>Longest time that an event waits for its batch to fill.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:01:00")]
    public TimeSpan FlushInterval { get; set; } = TimeSpan.FromMilliseconds(500);

    /// <summary>A larger event is dropped and counted, because the platform would refuse it.</summary>
    [Range(256, 64 * 1024)]
    public int MaxEventBytes { get; set; } = 64 * 1024;

    /// <summary>Time that one request to the gateway may take.</summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "00:05:00")]
    public TimeSpan RequestTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Longest pause between two tries; pauses double from 200 ms, with jitter.</summary>
    [Range(typeof(TimeSpan), "00:00:00.200", "00:10:00")]
    public TimeSpan MaxRetryDelay { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Time that the application's end waits for the last events; what is left then is dropped and counted.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "00:01:00")]
    public TimeSpan FlushOnStop { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>A request that takes longer is recorded as a warning.</summary>
    [Range(typeof(TimeSpan), "00:00:00.001", "01:00:00")]
    public TimeSpan SlowRequest { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Requests below these paths are neither measured nor recorded by themselves (5xx, slow). Events that your code records there still count. Paths from configuration are added to the default.</summary>
    public IList<string> ExcludedPaths { get; set; } = ["/health", "/alive", "/metrics", "/favicon.ico"];

    /// <summary>False: nothing is counted or measured, and <c>/metrics</c> answers 404. Environment: <c>METRICS_ENABLED</c>.</summary>
    public bool MetricsEnabled { get; set; } = true;

    /// <summary>Share of requests whose duration and size are measured, from 0 to 1. Counters count every request.</summary>
    [Range(0.0, 1.0)]
    public double MetricsSampleRate { get; set; } = 1;

    /// <summary>Time series of one instrument; measurements beyond share one series.</summary>
    [Range(1, 1_000_000)]
    public int MetricsMaxSeries { get; set; } = 2_000;

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Enabled && GatewayUrl is not { IsAbsoluteUri: true, Scheme: "http" or "https" })
        {
            yield return new($"{Section}:GatewayUrl is missing or not an absolute http(s) address. Set it, or PLATFORM_GATEWAY_URL, or {Section}:Enabled=false.", [nameof(GatewayUrl)]);
        }

        if (Enabled && string.IsNullOrWhiteSpace(ApiKey))
        {
            yield return new($"{Section}:ApiKey is missing. Set it, or PLATFORM_API_KEY, to a key with scope ingest, or set {Section}:Enabled=false.", [nameof(ApiKey)]);
        }

        if (ApiKey is { } key && key.Any(letter => letter is <= ' ' or > '~'))
        {
            yield return new($"{Section}:ApiKey holds a character that cannot stand in a header. Copy the key again, without spaces or line ends.", [nameof(ApiKey)]);
        }

        if (ExcludedPaths.FirstOrDefault(path => !path.StartsWith('/')) is { } relative)
        {
            yield return new($"{Section}:ExcludedPaths holds \"{relative}\". A path starts with \"/\".", [nameof(ExcludedPaths)]);
        }
    }
}
