using System.ComponentModel.DataAnnotations;
using Npgsql;
using Platform.Contracts;
using Platform.Incidents.Lifecycle;
using Platform.Incidents.Timeline;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Incidents.FromAlerts;

public enum ClosePolicy
{
    /// <summary>Resolved incidents of alerts close by themselves after a quiet time.</summary>
    Auto,

    /// <summary>Only people close incidents.</summary>
    Manual,
}

public sealed class ClosingOptions
{
    /// <summary>Who closes resolved incidents that alerts opened: <c>auto</c> after a quiet time, or <c>manual</c>. What a person opened, a person closes.</summary>
    [Setting("INCIDENT_CLOSE_POLICY")]
    public ClosePolicy Policy { get; init; } = ClosePolicy.Auto;

    /// <summary>How long an incident must have been resolved, without a new alert of its group, before it closes by itself. An alert within this time reopens it instead of opening another.</summary>
    [Setting("INCIDENT_AUTO_CLOSE_MINUTES"), Range(0, 43_200)]
    public TimeSpan Quiet { get; init; } = TimeSpan.FromMinutes(15);

    /// <summary>Time between two looks for incidents that can be closed.</summary>
    [Setting("INCIDENT_CLOSE_INTERVAL_SECONDS"), Range(1, 3600)]
    public TimeSpan Every { get; init; } = TimeSpan.FromSeconds(15);
}

/// <summary>Closes what has been quiet for long enough. Replicas share the work: each takes rows that no other transaction holds.</summary>
public sealed partial class CloseQuietIncidents(
    NpgsqlDataSource db, IncidentStore incidents, TimelineStore timeline, IncidentMetrics metrics, ClosingOptions options, TimeProvider clock, ILogger<CloseQuietIncidents> logger)
    : BackgroundService
{
    private const int Batch = 200;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(options.Every, clock);
        do
        {
            await TickAsync(stoppingToken);
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            while (options.Policy is ClosePolicy.Auto && await CloseBatchAsync(ct) == Batch)
            {
            }

            metrics.SetOpen(await incidents.CountOpenAsync(ct));
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            ClosingFailed(error);
        }
    }

    private async Task<int> CloseBatchAsync(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        // A consumer that lets an alert join holds the incident's row, and leaves a newer one behind: skipped now, not quiet then.
        var quiet = await tx.QueryAsync($"""
            select id from incidents
            where status = 'resolved' and group_key is not null and quiet_since <= {now - options.Quiet}
              and not exists (select from incident_alerts where incident_id = incidents.id and fired_at is not null and resolved_at is null)
            order by quiet_since limit {Batch} for update skip locked
            """, row => row.GetGuid(0), ct);
        foreach (var id in quiet)
        {
            var resolved = (await incidents.LockAsync(tx, id, ct))!;
            var closed = await incidents.SaveAsync(tx, resolved.In(IncidentStatus.Closed, now, now), now, ct);
            await timeline.AddAsync(tx, Deeds.Entry(closed, $"version {closed.Version}", Incident.System, "Closed: quiet since it was resolved", now), ct);
            await tx.SendAsync(Deeds.Audit(closed, "incident.closed", now, new Dictionary<string, string> { ["status"] = "resolved → closed" }), ct);
        }

        await tx.CommitAsync(ct);
        if (quiet.Count > 0)
        {
            metrics.Closed(quiet.Count, byPolicy: true);
        }

        return quiet.Count;
    }

    [LoggerMessage(LogLevel.Warning, "Closing quiet incidents failed; trying again at the next tick")]
    private partial void ClosingFailed(Exception error);
}

public static class IncidentsFromAlerts
{
    public static IHostApplicationBuilder AddIncidentsFromAlerts(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<ClosingOptions>();
        builder.Services.AddSingleton<AlertStore>();
        builder.Services.AddSingleton<AlertOutcome>();
        builder.AddConsumer<AlertFired, OpenIncidentOnAlertFired>();
        builder.AddConsumer<AlertResolved, ResolveIncidentOnAlertResolved>();
        builder.AddConsumer<AlertAcknowledged, AcknowledgeIncidentOnAlertAcknowledged>();
        builder.AddConsumer<NotificationAttempted, NoteNotificationOnNotificationAttempted>();
        builder.Services.AddHostedService<CloseQuietIncidents>();
        return builder;
    }
}
