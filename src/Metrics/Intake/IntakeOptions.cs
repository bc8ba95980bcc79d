using System.ComponentModel.DataAnnotations;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Intake;

/// <summary>Limits of the ways in which samples come: remote write, OTLP, JSON.</summary>
public sealed class IntakeOptions
{
    /// <summary>Largest body of remote write and OTLP as it comes over the wire, bytes. Read by the gateway too.</summary>
    [Setting("METRICS_INTAKE_MAX_REQUEST_BYTES"), Range(64 * 1024, 1024 * 1024 * 1024)]
    public int MaxRequestBytes { get; init; } = 32 * 1024 * 1024;

    /// <summary>Largest body when decompressed, bytes.</summary>
    [Setting("METRICS_INTAKE_MAX_DECODED_BYTES"), Range(64 * 1024, 1024 * 1024 * 1024)]
    public int MaxDecodedBytes { get; init; } = 64 * 1024 * 1024;

    /// <summary>Most samples in one request of remote write or OTLP. The smallest sample takes two bytes on the wire and 24 in memory.</summary>
    [Setting("METRICS_INTAKE_MAX_SAMPLES"), Range(1_000, 100_000_000)]
    public int MaxSamples { get; init; } = 2_000_000;

    /// <summary>What all bodies that are being read may hold together, bytes; beyond that, requests are answered 429.</summary>
    [Setting("METRICS_INTAKE_MEMORY_BYTES"), Range(1024 * 1024, 16L * 1024 * 1024 * 1024)]
    public long MemoryBytes { get; init; } = 256 * 1024 * 1024;
}

/// <summary>How OTLP becomes samples.</summary>
public sealed class OtlpOptions
{
    /// <summary>Attributes of the resource that become labels of every series, besides <c>job</c> and <c>instance</c>.</summary>
    [Setting("METRICS_OTLP_PROMOTE_RESOURCE_ATTRIBUTES")]
    public string[] PromotedAttributes { get; init; } = [];

    /// <summary>Finest scale at which cumulative exponential histograms become classic buckets: 0 has one bucket per power of two, each further scale twice as many.</summary>
    [Setting("METRICS_OTLP_EXPONENTIAL_SCALE"), Range(-4, 4)]
    public int ExponentialScale { get; init; } = 1;

    /// <summary>Most buckets of one point of a histogram.</summary>
    [Setting("METRICS_OTLP_MAX_BUCKETS"), Range(1, 100_000)]
    public int MaxBuckets { get; init; } = 1_000;
}

public static class IntakeHosting
{
    /// <summary>The ways in which samples come. Wants a sample store.</summary>
    public static IHostApplicationBuilder AddIntake(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<IntakeOptions>();
        builder.AddSettings<OtlpOptions>();
        builder.AddSettings<MetricOptions>();
        builder.Services.AddSingleton<IntakeBodies>();
        builder.Services.AddSingleton<IntakeMetrics>();
        builder.Services.AddSingleton<KnownMetadata>();
        builder.Services.AddSingleton<MetricParser>();
        builder.Services.AddSingleton<MetricList>();
        builder.Services.AddSingleton<SampleCounts>();
        builder.Services.AddHostedService(services => services.GetRequiredService<SampleCounts>());
        return builder;
    }

    public static IEndpointRouteBuilder MapIntake(this IEndpointRouteBuilder app)
    {
        app.MapRemoteWrite();
        app.MapOtlp();
        app.MapMetrics();
        return app;
    }
}
