using System.Globalization;
using Npgsql;
using Platform.Contracts;
using Platform.Incidents.FromAlerts;
using Platform.Incidents.Lifecycle;
using Platform.Messaging;
using Platform.Postgres;

namespace Platform.Incidents.Timeline;

/// <summary>A change of health is part of the surroundings of every incident of its realm.</summary>
public sealed class NoteHealthOnHealthChanged(TimelineStore timeline) : IConsumer<HealthChanged>
{
    public Task HandleAsync(HealthChanged message, NpgsqlTransaction tx, CancellationToken ct) => timeline.AddAsync(tx, new(
        $"{message.Realm}|{message.Component}|{message.Current}|{message.At.UtcTicks}", message.Realm, null, null, message.At, EntryKind.Health, message.Component,
        $"{message.Component} went from {Word(message.Previous)} to {Word(message.Current)}")
    {
        Message = message.Reason,
        Level = Word(message.Current),
        Link = $"/api/v1/monitoring/health/checks/{Uri.EscapeDataString(message.Component)}/history",
        Data = new Dictionary<string, string> { ["kind"] = message.Kind, ["previous"] = Word(message.Previous), ["current"] = Word(message.Current) },
    }, ct);

    private static string Word(HealthState state) => state.ToString().ToLowerInvariant();
}

/// <summary>
/// What was done, or denied, in the realm. A record about an incident or an alert goes to that incident; every other one is part of the
/// surroundings, because "what was changed before it broke" is the first question. The address of the caller stays in the audit log.
/// </summary>
public sealed class NoteDeedOnAudited(AlertStore alerts, TimelineStore timeline, TimeProvider clock) : IConsumer<Audited>
{
    public async Task HandleAsync(Audited message, NpgsqlTransaction tx, CancellationToken ct)
    {
        var target = Guid.TryParse(message.TargetId, out var id) ? id : (Guid?)null;
        var (incidentId, alertId) = (message.TargetType, target) switch
        {
            ("incident", { } incident) => (await FindAsync(tx, incident, ct), (Guid?)null),
            ("alert", { } alert) => ((await alerts.SeenAsync(tx, alert, message.Realm, clock.GetUtcNow(), ct)).IncidentId, alert),
            _ => (null, null),
        };
        await timeline.AddAsync(tx, Entry(message, incidentId, alertId), ct);
    }

    // The incident may never have existed: somebody was denied an id that they made up.
    private static Task<Guid?> FindAsync(NpgsqlTransaction tx, Guid incident, CancellationToken ct) =>
        tx.FindAsync($"select id from incidents where id = {incident}", row => (Guid?)row.GetGuid(0), ct);

    private static NewEntry Entry(Audited record, Guid? incidentId, Guid? alertId)
    {
        var facts = new Dictionary<string, string>((record.Details ?? new Dictionary<string, string>()).Take(16))
        {
            ["actor_role"] = record.ActorRole,
            ["target_type"] = record.TargetType,
            ["target_id"] = record.TargetId,
        };
        if (record.Count > 1)
        {
            facts["count"] = record.Count.ToString(CultureInfo.InvariantCulture);
        }

        if (record.CorrelationId is { } correlation)
        {
            facts["correlation_id"] = correlation;
        }

        if (record.TraceId is { } trace)
        {
            facts["trace_id"] = trace;
        }

        var key = $"{record.Realm}|{record.Actor}|{record.Action}|{record.TargetType}|{record.TargetId}|{record.Outcome}|{record.At.UtcTicks}|{record.CorrelationId}";
        return new(key, record.Realm, incidentId, alertId, record.At, EntryKind.Audit, record.Actor, $"{record.Action} {record.TargetType} {record.TargetId}")
        {
            Level = record.Outcome.ToString().ToLowerInvariant(),
            Link = $"/api/v1/monitoring/audit?target_type={Uri.EscapeDataString(record.TargetType)}&target={Uri.EscapeDataString(record.TargetId)}",
            Data = facts,
        };
    }
}

/// <summary>Forgets what is older than the retention, a bounded number of rows at a time.</summary>
public sealed partial class ForgetOldEntries(
    TimelineStore timeline, AlertStore alerts, IncidentStore incidents, TimelineOptions options, TimeProvider clock, ILogger<ForgetOldEntries> logger) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromHours(1), clock);
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
            var before = clock.GetUtcNow() - options.Retention;
            while (await timeline.ForgetAsync(before, ct) > 0)
            {
            }

            while (await alerts.ForgetAsync(before, ct) > 0)
            {
            }

            while (await incidents.ForgetAsync(clock.GetUtcNow() - options.IncidentRetention, ct) > 0)
            {
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            ForgettingFailed(error);
        }
    }

    [LoggerMessage(LogLevel.Warning, "Forgetting old entries failed; trying again in an hour")]
    private partial void ForgettingFailed(Exception error);
}
