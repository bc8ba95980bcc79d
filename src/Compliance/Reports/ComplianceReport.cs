using System.Text.Json.Serialization;
using Platform.Compliance.Audit;
using Platform.Contracts;

namespace Platform.Compliance.Reports;

public enum ReportType
{
    Gdpr,
    Ccpa,
}

/// <summary>A number that somebody can be shown, with where it comes from and what it is evidence for.</summary>
/// <param name="Labels">What the number is about, when one name has several numbers: <c>action</c>, <c>outcome</c>.</param>
/// <param name="Source">Whose stored data was counted.</param>
/// <param name="Evidence">Articles or sections.</param>
public sealed record Figure(
    string Name,
    double Value,
    string Unit,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyDictionary<string, string>? Labels,
    string Source,
    IReadOnlyList<string> Evidence);

/// <summary>A number that a reader would expect and that stored data cannot give. It is absent above, not zero.</summary>
public sealed record NotMeasured(string Name, string Reason, IReadOnlyList<string> Evidence);

/// <param name="Realm"><c>*</c> for all realms together.</param>
/// <param name="Chain">State of the audit chains at this moment, not of the stretch alone.</param>
public sealed record ComplianceReport(
    ReportType Type, string Realm, DateTimeOffset From, DateTimeOffset To, DateTimeOffset GeneratedAt,
    IReadOnlyList<Figure> Figures, AuditVerification Chain, IReadOnlyList<NotMeasured> NotMeasured);

/// <summary>What a report is made from. A null part did not answer; the reason stands beside it.</summary>
/// <param name="Audit">From the audit chain.</param>
/// <param name="Actions">From Metrics: events of the monitored applications.</param>
/// <param name="Incidents">From Incidents.</param>
/// <param name="RetentionDays">Settings known to this process, by name.</param>
public sealed record ReportSources(
    IReadOnlyList<AuditCount> Audit,
    long SubjectsErased,
    AuditVerification Chain,
    IReadOnlyList<ActionCount>? Actions,
    string? ActionsReason,
    IncidentCounts? Incidents,
    string? IncidentsReason,
    IReadOnlyDictionary<string, int> RetentionDays);

/// <param name="Records">Records in the chain.</param>
/// <param name="Times">How often it happened; more than the records when equal ones were folded.</param>
public sealed record AuditCount(string Action, string ActorRole, string Outcome, long Records, long Times);

/// <summary>Puts figures together. Pure: the same sources give the same report.</summary>
public static class Report
{
    // A report is read by people; what is rarer than these is in the audit log itself.
    private const int MostActions = 200;

    private const string AuditLog = "compliance: audit_records";
    private const string Events = "metrics: events by tags.action and tags.outcome";

    public static ComplianceReport Of(ReportType type, string realm, Stretch stretch, DateTimeOffset now, ReportSources sources)
    {
        var figures = new List<Figure>();
        var missing = new List<NotMeasured>();
        AddAudit(type, sources, figures);
        AddActions(type, sources, figures, missing);
        AddIncidents(type, sources, figures, missing);
        foreach (var (setting, days) in sources.RetentionDays)
        {
            figures.Add(new("retention", days, "days", new Dictionary<string, string> { ["setting"] = setting }, "settings of this process", Law(type, "Art. 5(1)(e)", "§1798.100(a)(3)")));
        }

        AddNeverMeasured(type, sources, missing);
        return new ComplianceReport(type, realm, stretch.From, stretch.To, now, figures, sources.Chain, missing);
    }

    private static void AddAudit(ReportType type, ReportSources sources, List<Figure> figures)
    {
        var accountability = Law(type, "Art. 5(2)", "§7101");
        var access = Law(type, "Art. 32", "§1798.150");
        figures.Add(new("audit_records", sources.Audit.Sum(count => count.Records), "records", null, AuditLog, accountability));
        figures.Add(new("denied_accesses", sources.Audit.Where(count => count.Outcome == "denied").Sum(count => count.Times), "times", null, AuditLog, access));
        figures.Add(new("privileged_actions", sources.Audit.Where(count => count.Outcome == "success" && count.ActorRole is "admin" or "moderator").Sum(count => count.Times), "times", null, AuditLog, access));
        figures.Add(new("audit_reads", sources.Audit.Where(count => count.Action == "audit.read").Sum(count => count.Records), "records", null, AuditLog, accountability));
        figures.Add(new("audit_subjects_erased", sources.SubjectsErased, "subjects", null, "compliance: subject_keys", Law(type, "Art. 17", "§1798.105")));
        figures.AddRange(sources.Audit
            .GroupBy(count => (count.Action, count.Outcome))
            .OrderByDescending(group => group.Sum(count => count.Times)).ThenBy(group => group.Key.Action, StringComparer.Ordinal)
            .Take(MostActions)
            .Select(group => new Figure(
                "audited_action", group.Sum(count => count.Times), "times",
                new Dictionary<string, string> { ["action"] = group.Key.Action, ["outcome"] = group.Key.Outcome }, AuditLog, accountability)));
    }

    private static void AddActions(ReportType type, ReportSources sources, List<Figure> figures, List<NotMeasured> missing)
    {
        foreach (var (name, actions, gdpr, ccpa) in (ReadOnlySpan<(string, string[], string, string)>)[
            ("consents_granted", ["consent_grant"], "Art. 7", "§1798.135"),
            ("consents_revoked", ["consent_revoke"], "Art. 7(3)", "§1798.120"),
            ("registrations", ["register"], "Art. 30", "§1798.110"),
            ("logins", ["login"], "Art. 32", "§1798.150"),
            ("second_factors", ["mfa_challenge", "mfa_verify", "mfa_enroll"], "Art. 32", "§1798.150"),
            ("password_changes", ["password_change"], "Art. 32", "§1798.150"),
            ("data_accesses", ["data_access"], "Art. 15", "§1798.110"),
            ("data_exports", ["data_export"], "Art. 20", "§1798.130"),
            ("data_erasures", ["data_erase"], "Art. 17", "§1798.105"),
            ("role_changes", ["role_assign", "role_revoke"], "Art. 32", "§1798.150"),
            ("permissions_denied", ["permission_denied"], "Art. 32", "§1798.150")])
        {
            var law = Law(type, gdpr, ccpa);
            var counts = sources.Actions?.Where(count => actions.Contains(count.Action)).ToList() ?? [];
            if (counts.Count == 0)
            {
                missing.Add(new(name, sources.Actions is null
                    ? sources.ActionsReason!
                    : $"No event with action {string.Join(" or ", actions)} arrived in this stretch. Whether none happened or the application does not report them cannot be told from stored data.", law));
            }

            figures.AddRange(counts.Select(count => new Figure(
                name, count.Count, "events", new Dictionary<string, string> { ["action"] = count.Action, ["outcome"] = count.Outcome }, Events, law)));
        }
    }

    private static void AddIncidents(ReportType type, ReportSources sources, List<Figure> figures, List<NotMeasured> missing)
    {
        const string source = "incidents: incidents";
        var breach = Law(type, "Art. 33", "§1798.150");
        if (sources.Incidents is not { } incidents)
        {
            missing.Add(new("incidents", sources.IncidentsReason!, breach));
            return;
        }

        figures.Add(new("incidents_opened", incidents.Opened, "incidents", null, source, breach));
        figures.Add(new("incidents_closed", incidents.Closed, "incidents", null, source, breach));
        figures.Add(new("incidents_open_now", incidents.Open, "incidents", null, source, breach));
        Mean("mean_time_to_acknowledge", incidents.MeanSecondsToAcknowledge, "No incident was acknowledged in this stretch.");
        Mean("mean_time_to_resolve", incidents.MeanSecondsToResolve, "No incident was resolved in this stretch.");

        void Mean(string name, double? seconds, string reason)
        {
            if (seconds is { } value)
            {
                figures.Add(new(name, value, "seconds", null, source, breach));
            }
            else
            {
                missing.Add(new(name, reason, breach));
            }
        }
    }

    private static void AddNeverMeasured(ReportType type, ReportSources sources, List<NotMeasured> missing)
    {
        const string manual = "The platform keeps no register of requests of data subjects yet, so neither their number nor their clocks are known.";
        missing.Add(new("subject_requests", manual, Law(type, "Art. 12(3)", "§7021")));
        missing.Add(new("breach_notifications", "Whether an incident was a breach of personal data, and when an authority was told, is not recorded yet.", Law(type, "Art. 33", "§1798.82")));
        if (type == ReportType.Gdpr)
        {
            missing.Add(new("processing_activities", "A record of processing activities is kept by people; the platform does not hold it yet.", ["GDPR Art. 30"]));
        }
        else
        {
            missing.Add(new("opt_outs", "No event of the vocabulary says that somebody opted out of sale or sharing.", ["CCPA §1798.120"]));
        }

        if (sources.RetentionDays.Count == 0)
        {
            missing.Add(new("retention", "No retention setting is set in the environment of this service; other services apply their own defaults.", Law(type, "Art. 5(1)(e)", "§1798.100(a)(3)")));
        }
    }

    private static string[] Law(ReportType type, string gdpr, string ccpa) => type switch
    {
        ReportType.Gdpr => [$"GDPR {gdpr}"],
        ReportType.Ccpa => [$"CCPA {ccpa}"],
    };
}
