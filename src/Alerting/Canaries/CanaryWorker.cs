using System.ComponentModel.DataAnnotations;
using System.Globalization;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Alerting.OnCall;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Canaries;

public sealed class CanaryOptions
{
    /// <summary>Whether test alerts walk the pipeline.</summary>
    [Setting("ALERT_CANARY_ENABLED")]
    public bool Enabled { get; init; } = true;

    /// <summary>From one test alert to the next.</summary>
    [Setting("ALERT_CANARY_SECONDS"), Range(1, 3_600)]
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>One that has not arrived after this, nor one after it, raises the alert <c>AlertPipelineOverdue</c>. More than the interval forgives a single one.</summary>
    [Setting("ALERT_CANARY_OVERDUE_SECONDS"), Range(1, 86_400)]
    public TimeSpan Overdue { get; init; } = TimeSpan.FromSeconds(90);
}

/// <summary>
/// Sends canaries and watches them come home. Every replica looks; of all replicas one sends, and one alert is open when they stay away.
/// That alert goes by the same pipeline, and straight to <c>ALERT_WATCHDOG_CHANNELS</c>; when not even that arrives, the ping stays away.
/// </summary>
public sealed partial class CanaryWorker(
    NpgsqlDataSource db,
    CanaryStore canaries,
    AlertStore alerts,
    NotificationStore notifications,
    Flusher flusher,
    Dispatcher dispatcher,
    CanaryOptions options,
    WatchdogOptions watchdog,
    CanaryMetrics metrics,
    TimeProvider clock,
    ILogger<CanaryWorker> logger) : BackgroundService
{
    internal const string AlertName = "AlertPipelineOverdue";
    private static readonly TimeSpan LongestLook = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Asleep = TimeSpan.FromSeconds(30);

    private DateTimeOffset? _looked;
    private DateTimeOffset _watchingSince;

    private TimeSpan Look => options.Interval < LongestLook ? options.Interval : LongestLook;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (!options.Enabled)
        {
            return;
        }

        using var timer = new PeriodicTimer(Look, clock);
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
            var now = clock.GetUtcNow();
            var flight = await canaries.FlightAsync(ct);
            metrics.Saw(flight);
            // After a start, a sleep or a database that was away, what was on its way has its whole time anew: nothing here could move.
            if (_looked is not { } looked || now - looked > Asleep || now < looked)
            {
                _watchingSince = now;
            }

            _looked = now;
            var isLate = flight.IsLate(now, options.Overdue);
            if (!isLate || now - _watchingSince > options.Overdue)
            {
                await JudgeAsync(flight, isLate, now, ct);
            }

            // Half a look too early is as near to the interval as half a look too late.
            var interval = options.Interval - Look / 2;
            if (flight.IsDue(now, interval))
            {
                await canaries.SendAsync(interval, now, ct);
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error);
        }
    }

    // Two replicas see the same: only one alert of a label set is open, and who made it tells the channels.
    private async Task JudgeAsync(CanaryFlight flight, bool isLate, DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var alert = Describe(flight, now);
        var open = await alerts.FindOpenAsync(tx, alert.Realm, alert.Fingerprint, ct);
        if (isLate == open is not null)
        {
            return;
        }

        if (open is not null)
        {
            await alerts.ResolveAsync(tx, open.Id, now, "Test alerts arrive again.", now, ct);
        }
        else if (await alerts.FireAsync(tx, alert, ct) == alert.Id)
        {
            PipelineOverdue(flight.Missing, flight.MissingSince!.Value);
            var content = new NotificationContent(
                NotificationStatus.Firing, "watchdog", alert.GroupKey, alert.GroupLabels, alert.Annotations["summary"], [alert.Told(NotificationStatus.Firing)]);
            await notifications.EnqueueAsync(tx, [.. watchdog.Channels.Select(channel => new OutgoingNotification(alert.Realm, channel, content, "watchdog"))], now, ct);
        }

        await tx.CommitAsync(ct);
        flusher.Wake();
        dispatcher.Wake();
    }

    private Alert Describe(CanaryFlight flight, DateTimeOffset now)
    {
        var age = flight.LatencyAt(now)?.TotalSeconds;
        return Alert.Fire(
            Realm.All,
            $"{Realm.All}/canary",
            null,
            AlertName,
            Severity.Critical,
            AlertSource.Health,
            new Dictionary<string, string> { ["alertname"] = AlertName, ["realm"] = Realm.All, ["component"] = "alerting" },
            new Dictionary<string, string> { ["component"] = "alerting" },
            new Dictionary<string, string>
            {
                ["summary"] = string.Create(CultureInfo.InvariantCulture, $"Alerts may not reach people: no test alert has arrived within {options.Overdue.TotalSeconds:0} s"),
                ["description"] = string.Create(CultureInfo.InvariantCulture,
                    $"Sent since {flight.MissingSince:u} and not arrived: {flight.Missing}. The last one arrived {(flight.ArrivedAt is { } at ? $"at {at:u}" : "never")}. They go the way of all alerts: broker, rules, routing, delivery."),
                ["runbook"] = "Is the broker up, and its queues short? GET /api/v1/monitoring/dead-letters/alerting shows messages that failed; the log of Alerting says what fails.",
            },
            new Dictionary<string, string>(),
            age,
            options.Overdue.TotalSeconds,
            now,
            now,
            new AlertReason(age, options.Overdue.TotalSeconds, Condition: string.Create(CultureInfo.InvariantCulture, $"a test alert arrives within {options.Overdue.TotalSeconds:0} s")));
    }

    [LoggerMessage(LogLevel.Error, "{Missing} test alerts, sent since {Since}, have not arrived: people may not be told of real ones")]
    private partial void PipelineOverdue(int missing, DateTimeOffset since);

    [LoggerMessage(LogLevel.Error, "The watch over test alerts failed; trying again in a few seconds")]
    private partial void TickFailed(Exception error);
}

public static class CanariesHosting
{
    public static IHostApplicationBuilder AddCanaries(this IHostApplicationBuilder builder)
    {
        var canaries = builder.AddSettings<CanaryOptions>();
        var ping = builder.AddSettings<PingOptions>();
        if (ping.Url.Length > 0 && !canaries.Enabled)
        {
            throw new SettingsException("ALERT_PING_URL is set, and ALERT_CANARY_ENABLED is false: a ping says that test alerts arrive. Enable them, or unset ALERT_PING_URL.");
        }

        builder.AddOutboundHttpClient(PingWorker.Client);
        builder.Services.AddSingleton<CanaryStore>();
        builder.Services.AddSingleton<CanaryMetrics>();
        builder.Services.AddSingleton<INotifier, CanaryNotifier>();
        builder.Services.AddHostedService<CanaryWorker>();
        builder.Services.AddHostedService<PingWorker>();
        return builder;
    }
}
