using System.ComponentModel.DataAnnotations;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Events;

/// <summary>Limits and retention of events.</summary>
public sealed class EventOptions
{
    /// <summary>Days of event time that are kept; older days are dropped, and older events refused.</summary>
    [Setting("MONITORING_EVENT_RETENTION_DAYS"), Range(1, 3650)]
    public int RetentionDays { get; init; } = 30;

    /// <summary>Largest body of a request, bytes.</summary>
    [Setting("MONITORING_EVENT_MAX_REQUEST_BYTES"), Range(1024, 256 * 1024 * 1024)]
    public int MaxRequestBytes { get; init; } = 10 * 1024 * 1024;

    /// <summary>Largest single event, bytes of JSON.</summary>
    [Setting("MONITORING_EVENT_MAX_BYTES"), Range(256, 16 * 1024 * 1024)]
    public int MaxEventBytes { get; init; } = 64 * 1024;

    /// <summary>Most events in one request.</summary>
    [Setting("MONITORING_EVENT_MAX_PER_REQUEST"), Range(1, 1_000_000)]
    public int MaxPerRequest { get; init; } = 10_000;

    /// <summary>Most tags of one event.</summary>
    [Setting("MONITORING_EVENT_MAX_TAGS"), Range(1, 1000)]
    public int MaxTags { get; init; } = 64;

    /// <summary>How far ahead of this clock an event's timestamp may be, for clients whose clock is off, in seconds.</summary>
    [Setting("MONITORING_EVENT_MAX_FUTURE_SECONDS"), Range(0, 86_400)]
    public int MaxFutureSeconds { get; init; } = 300;

    /// <summary>Writers that commit groups of requests, each on a connection of its own.</summary>
    [Setting("MONITORING_EVENT_WRITERS"), Range(1, 16)]
    public int Writers { get; init; } = 2;

    /// <summary>Most events in one commit.</summary>
    [Setting("MONITORING_EVENT_COMMIT_EVENTS"), Range(1, 1_000_000)]
    public int CommitEvents { get; init; } = 4_000;

    /// <summary>Bytes of parsed requests that may wait for a writer; beyond that, requests are answered 429.</summary>
    [Setting("MONITORING_EVENT_QUEUE_BYTES"), Range(1024 * 1024, 1024L * 1024 * 1024)]
    public long QueueBytes { get; init; } = 64 * 1024 * 1024;

    /// <summary>Hours for which an Idempotency-Key is remembered.</summary>
    [Setting("MONITORING_IDEMPOTENCY_HOURS"), Range(1, 24 * 30)]
    public int IdempotencyHours { get; init; } = 24;
}

public static class EventsHosting
{
    /// <summary>Intake, storage and search of events.</summary>
    public static IHostApplicationBuilder AddEvents(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<EventOptions>();
        builder.Services.AddSingleton<EventParser>();
        builder.Services.AddSingleton<EventStore>();
        builder.Services.AddSingleton<EventPartitions>();
        builder.Services.AddHostedService(services => services.GetRequiredService<EventPartitions>());
        builder.Services.AddSingleton<EventWriter>();
        builder.Services.AddHostedService(services => services.GetRequiredService<EventWriter>());
        return builder;
    }
}
