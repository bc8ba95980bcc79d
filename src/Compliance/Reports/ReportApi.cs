using System.ComponentModel.DataAnnotations;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Compliance.Audit;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Reports;

public sealed class ReportOptions
{
    /// <summary>How long another service may take to contribute its figures before they are reported as not measured.</summary>
    [Setting("COMPLIANCE_REPORT_SOURCE_SECONDS"), Range(1, 120)]
    public TimeSpan SourceTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Events are kept this long; reported when set for this process too.</summary>
    [Setting("MONITORING_EVENT_RETENTION_DAYS"), Range(1, 36_500)]
    public int? EventRetentionDays { get; init; }

    [Setting("ALERT_HISTORY_RETENTION_DAYS"), Range(1, 36_500)]
    public int? AlertHistoryRetentionDays { get; init; }
}

/// <summary>Gathers what stored data can tell, each source on its own: one that does not answer leaves its figures out and says why.</summary>
public sealed partial class ReportSourcesReader(
    NpgsqlDataSource db, Verification verification, IMetricsClient metrics, IIncidentsClient incidents, ReportOptions options, ILogger<ReportSourcesReader> logger)
{
    // Actions are words of the platform's own code, so this many never occur; the bound is for a flood of forged ones.
    private const int MostGroups = 5_000;

    public async Task<ReportSources> ReadAsync(string? realm, Stretch stretch, CancellationToken ct)
    {
        var actions = AskAsync("Metrics", async limited => (await metrics.CountActionsAsync(realm ?? Realm.All, stretch.From, stretch.To, limited)).Data, ct);
        var counts = AskAsync("Incidents", async limited => (await incidents.GetCountsAsync(realm, stretch.From, stretch.To, limited)).Data, ct);
        var audit = await db.QueryAsync($"""
            select action, actor_role, outcome, count(*), sum(count) from audit_records
            where {In(realm)} and at >= {stretch.From} and at < {stretch.To}
            group by action, actor_role, outcome order by 5 desc limit {MostGroups}
            """, row => new AuditCount(row.GetString(0), row.GetString(1), row.GetString(2), row.GetInt64(3), row.GetInt64(4)), ct);
        var erased = await db.FindAsync(
            $"select count(*) from subject_keys where {In(realm)} and destroyed_at >= {stretch.From} and destroyed_at < {stretch.To}", row => row.GetInt64(0), ct);
        var chain = await verification.VerifyAllAsync(realm, 1, long.MaxValue, ct);
        var (actionCounts, actionsReason) = await actions;
        var (incidentCounts, incidentsReason) = await counts;

        var retention = new SortedDictionary<string, int>(StringComparer.Ordinal);
        Add("MONITORING_EVENT_RETENTION_DAYS", options.EventRetentionDays);
        Add("ALERT_HISTORY_RETENTION_DAYS", options.AlertHistoryRetentionDays);
        return new ReportSources(audit, erased, chain, actionCounts, actionsReason, incidentCounts, incidentsReason, retention);

        void Add(string setting, int? days)
        {
            if (days is { } set)
            {
                retention[setting] = set;
            }
        }
    }

    private static Sql In(string? realm)
    {
        Sql all = $"true";
        return realm is null ? all : $"realm = {realm}";
    }

    private async Task<(T? Answer, string? Reason)> AskAsync<T>(string service, Func<CancellationToken, Task<T>> ask, CancellationToken ct) where T : class
    {
        using var limited = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limited.CancelAfter(options.SourceTimeout);
        try
        {
            return await ask(limited.Token) is { } answer ? (answer, null) : (null, $"{service} answered without figures.");
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            // A report with a gap that is named is worth more than none.
            DidNotAnswer(error, service);
            return (null, $"{service} did not answer, so these figures are unknown for now. Ask again when it is healthy.");
        }
    }

    [LoggerMessage(LogLevel.Warning, "{Source} did not contribute to a compliance report")]
    private partial void DidNotAnswer(Exception error, string source);
}

public static class ReportApi
{
    public static IHostApplicationBuilder AddReports(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<ReportOptions>();
        builder.Services.AddSingleton<ReportSourcesReader>();
        return builder;
    }

    public static IEndpointRouteBuilder MapReports(this IEndpointRouteBuilder app)
    {
        foreach (var path in (string[])["/api/v1/monitoring/compliance/report", "/monitoring/compliance/report"])
        {
            app.MapGet(path, ReportAsync).WithTags("Reports").RequireAuthorization(Access.Audit);
        }

        return app;
    }

    private static async Task<Results<Ok<Envelope<ComplianceReport>>, ValidationProblem>> ReportAsync(
        string? type, string? from, string? to, Caller caller, ReportSourcesReader sources, AuditReads reads, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (stretch, errors) = Stretch.Read(from, to, now);
        ReportType? wanted = type switch { "gdpr" => ReportType.Gdpr, "ccpa" => ReportType.Ccpa, _ => null };
        if (wanted is null)
        {
            errors["type"] = [type is null ? "No type is given. Give gdpr or ccpa." : $"\"{type}\" is no type of report. Give gdpr or ccpa."];
        }

        if (stretch is null || wanted is null)
        {
            return TypedResults.ValidationProblem(errors);
        }

        await reads.RecordAsync(caller, "report", ct);
        return TypedResults.Ok(Envelope.Of(Report.Of(wanted.Value, caller.Realm, stretch, now, await sources.ReadAsync(caller.RealmFilter, stretch, ct))));
    }
}
