using System.ComponentModel.DataAnnotations;
using System.Globalization;
using Npgsql;
using Platform.Alerting.Canaries;
using Platform.Alerting.Channels;
using Platform.Alerting.OnCall;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

/// <summary>When the daily digest is sent. Whom it is sent to makes its channel: <see cref="ChannelSettings.DigestRecipients"/>.</summary>
public sealed class DigestOptions : IValidatableObject
{
    /// <summary>Time of day of the digest; it covers the day before.</summary>
    [Setting("MONITORING_DIGEST_AT"), RegularExpression("([01][0-9]|2[0-3]):[0-5][0-9]", ErrorMessage = "expected a time of day, for example 07:00")]
    public string At { get; init; } = "07:00";

    /// <summary>The clock that shows it: an IANA name.</summary>
    [Setting("MONITORING_DIGEST_TIME_ZONE")]
    public string TimeZone { get; init; } = "UTC";

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Clocks.FindZone(TimeZone) is null)
        {
            yield return new ValidationResult($"MONITORING_DIGEST_TIME_ZONE is \"{TimeZone}\": expected an IANA name, for example Europe/Berlin. Change it, or unset it.");
        }
    }
}

/// <summary>A day of alerts in numbers.</summary>
/// <param name="Fired">By severity, and by realm below.</param>
/// <param name="Open">By severity, at the end of the day.</param>
/// <param name="MostOften">The names that fired most often.</param>
/// <param name="ToAcknowledge">On average, of those that somebody took care of; null for none.</param>
/// <param name="ToResolve">On average, of those that came to an end; null for none.</param>
public sealed record DigestFigures(
    IReadOnlyList<(Severity Severity, long Count)> Fired,
    IReadOnlyList<(string Realm, long Count)> Realms,
    IReadOnlyList<(Severity Severity, long Count)> Open,
    DateTimeOffset? OldestOpen,
    IReadOnlyList<(string Name, long Count)> MostOften,
    TimeSpan? ToAcknowledge,
    TimeSpan? ToResolve,
    long Delivered,
    long Failed);

/// <summary>The daily digest: which day is due, and how it is worded. Pure.</summary>
public static class Digest
{
    public const string Kind = "digest";

    /// <summary>After an outage a digest is still sent this late; what is older is left out.</summary>
    private static readonly TimeSpan Latest = TimeSpan.FromHours(12);

    /// <summary>The digest that should be there by now: of the day on which it is sent, covering the time from the one before.</summary>
    public static (DateOnly Day, DateTimeOffset From, DateTimeOffset To)? Due(TimeOnly at, TimeZoneInfo zone, DateTimeOffset now)
    {
        var day = DateOnly.FromDateTime(Clocks.Wall(now, zone));
        if (Clocks.Moment(day.ToDateTime(at), zone) > now)
        {
            day = day.AddDays(-1);
        }

        var to = Clocks.Moment(day.ToDateTime(at), zone);
        return now - to > Latest ? null : (day, Clocks.Moment(day.AddDays(-1).ToDateTime(at), zone), to);
    }

    public static NotificationContent Write(DateOnly day, DateTimeOffset from, DateTimeOffset to, DigestFigures figures)
    {
        var (fired, open) = (figures.Fired.Sum(one => one.Count), figures.Open.Sum(one => one.Count));
        string?[] lines =
        [
            string.Create(CultureInfo.InvariantCulture, $"From {from.UtcDateTime:yyyy-MM-dd HH:mm} to {to.UtcDateTime:yyyy-MM-dd HH:mm} UTC."),
            fired == 0 ? "Nothing fired." : $"Fired: {BySeverity(figures.Fired)}.",
            figures.Realms.Count > 1 ? $"By realm: {string.Join(", ", figures.Realms.Select(one => $"{one.Realm} {one.Count}"))}." : null,
            figures.MostOften.Count > 0 ? $"Most often: {string.Join(", ", figures.MostOften.Select(one => $"{one.Name} {one.Count}"))}." : null,
            open == 0 ? "Nothing is open." : string.Create(CultureInfo.InvariantCulture, $"Open: {BySeverity(figures.Open)}, the oldest since {figures.OldestOpen?.UtcDateTime:yyyy-MM-dd HH:mm} UTC."),
            figures.ToAcknowledge is { } taken ? $"Acknowledged after {Average(taken)} on average." : null,
            figures.ToResolve is { } over ? $"Over after {Average(over)} on average." : null,
            $"Notifications: {figures.Delivered} delivered, {figures.Failed} not.",
        ];
        var labels = new Dictionary<string, string> { ["alertname"] = "MonitoringDigest", ["severity"] = "info" };
        var annotations = new Dictionary<string, string>
        {
            ["summary"] = string.Create(CultureInfo.InvariantCulture, $"{day:yyyy-MM-dd}: {fired} {(fired == 1 ? "alert" : "alerts")} fired, {open} open"),
            ["description"] = string.Join('\n', lines.Where(line => line is not null)),
        };
        // Written like an alert, so that every kind of channel can tell it; its name says that it is none.
        return new NotificationContent(
            NotificationStatus.Firing, SettingsChannels.Digest, string.Create(CultureInfo.InvariantCulture, $"digest:{day:yyyy-MM-dd}"), labels, "daily digest",
            [new ToldAlert(Guid.Empty, Alerts.Fingerprint.Of(labels), "MonitoringDigest", Severity.Info, NotificationStatus.Firing, labels, annotations, from, null, null, null, "")]);
    }

    private static string BySeverity(IEnumerable<(Severity Severity, long Count)> counts) => string.Join(", ", counts.OrderBy(one => one.Severity).Select(one => $"{one.Count} {one.Severity.Word()}"));

    private static string Average(TimeSpan span) => Words.Of(span < TimeSpan.FromMinutes(1) ? TimeSpan.FromSeconds(Math.Round(span.TotalSeconds)) : TimeSpan.FromMinutes(Math.Round(span.TotalMinutes)));
}

/// <summary>Writes the digest of each day once, whatever the number of replicas, with the notification in one transaction. It goes the way of all notifications.</summary>
public sealed partial class DigestWorker(
    NpgsqlDataSource db, NotificationStore notifications, SettingsChannels channels, Dispatcher dispatcher, DigestOptions options, TimeProvider clock, ILogger<DigestWorker> logger) : BackgroundService
{
    private const int MostNames = 10;
    private readonly TimeOnly _at = Clocks.ParseTime(options.At)!.Value;
    private readonly TimeZoneInfo _zone = Clocks.FindZone(options.TimeZone)!;
    private DateOnly? _written;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (channels.Find(SettingsChannels.Digest) is null)
        {
            return;
        }

        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(30), clock);
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
            if (Digest.Due(_at, _zone, now) is { } due && due.Day != _written)
            {
                await WriteAsync(due.Day, due.From, due.To, now, ct);
                _written = due.Day;
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            DigestFailed(error);
        }
    }

    private async Task WriteAsync(DateOnly day, DateTimeOffset from, DateTimeOffset to, DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        // Another replica that is at it holds the row until it is done; then this one finds it there.
        if (await tx.ExecuteAsync($"insert into digests (day, written_at) values ({day}, {now}) on conflict do nothing", ct) == 0)
        {
            return;
        }

        await tx.ExecuteAsync($"delete from digests where day < {day.AddDays(-30)}", ct);
        await notifications.EnqueueAsync(tx, [new OutgoingNotification(Realm.All, SettingsChannels.Digest, Digest.Write(day, from, to, await CountAsync(tx, from, to, ct)), Digest.Kind)], now, ct);
        await tx.CommitAsync(ct);
        dispatcher.Wake();
    }

    private static async Task<DigestFigures> CountAsync(NpgsqlTransaction tx, DateTimeOffset from, DateTimeOffset to, CancellationToken ct)
    {
        var (delivered, failed) = await tx.FindAsync(
            $"select count(*) filter (where state = 'delivered'), count(*) filter (where state = 'failed') from notifications where created_at >= {from} and created_at < {to} and realm <> {Canary.Realm}", row => (row.GetInt64(0), row.GetInt64(1)), ct);
        return new DigestFigures(
            await tx.QueryAsync($"select severity, count(*) {Fired()} group by 1", Counted, ct),
            await tx.QueryAsync($"select realm, count(*) {Fired()} group by 1 order by 2 desc, 1 limit {MostNames}", row => (row.GetString(0), row.GetInt64(1)), ct),
            await tx.QueryAsync($"select severity, count(*) from alerts where state <> 'resolved' and realm <> {Canary.Realm} group by 1", Counted, ct),
            await tx.FindAsync($"select min(fired_at) from alerts where state <> 'resolved' and realm <> {Canary.Realm}", row => row.GetTimeOrNull(0), ct),
            await tx.QueryAsync($"select name, count(*) {Fired()} group by 1 order by 2 desc, 1 limit {MostNames}", row => (row.GetString(0), row.GetInt64(1)), ct),
            await tx.FindAsync($"select avg(acknowledged_at - fired_at) from alerts where acknowledged_at >= {from} and acknowledged_at < {to} and fired_at >= {from.AddDays(-30)}", Span, ct),
            await tx.FindAsync($"select avg(resolved_at - fired_at) from alerts where state = 'resolved' and resolved_at >= {from} and resolved_at < {to} and realm <> {Canary.Realm}", Span, ct),
            delivered, failed);

        Sql Fired() => $"from alerts where fired_at >= {from} and fired_at < {to} and realm <> {Canary.Realm}";
    }

    private static (Severity, long) Counted(NpgsqlDataReader row) => (Severities.Parse(row.GetString(0))!.Value, row.GetInt64(1));

    private static TimeSpan? Span(NpgsqlDataReader row) => row.IsDBNull(0) ? null : row.GetTimeSpan(0);

    [LoggerMessage(LogLevel.Error, "Writing the daily digest failed; trying again in half a minute")]
    private partial void DigestFailed(Exception error);
}
