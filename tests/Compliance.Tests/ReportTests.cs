using Platform.Compliance.Audit;
using Platform.Compliance.Reports;
using Platform.Contracts;

namespace Platform.Compliance.Tests;

public sealed class ReportTests
{
    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);

    private static readonly ReportSources Sources = new(
        [new("rule.created", "admin", "success", 2, 2), new("access.denied", "user", "denied", 3, 40), new("audit.read", "auditor", "success", 5, 5)],
        1,
        new AuditVerification(true, true, 10, null, []),
        [new("login", "success", 90), new("login", "failure", 10), new("consent_grant", "success", 4)],
        null,
        new IncidentCounts(1, 3, 2, 60, null),
        null,
        new Dictionary<string, int> { ["MONITORING_EVENT_RETENTION_DAYS"] = 90 });

    [Fact]
    public void Figures_come_from_stored_data_and_name_source_and_law()
    {
        var report = Of(ReportType.Gdpr, Sources);

        Assert.Equal(10, Value(report, "audit_records"));
        Assert.Equal(40, Value(report, "denied_accesses"));
        Assert.Equal(2, Value(report, "privileged_actions"));
        Assert.Equal(3, Value(report, "incidents_opened"));
        Assert.Equal(60, Value(report, "mean_time_to_acknowledge"));
        Assert.Equal(90, Value(report, "retention"));
        Assert.Equal(10, report.Figures.Single(figure => figure.Name == "logins" && figure.Labels!["outcome"] == "failure").Value);
        Assert.All(report.Figures, figure => Assert.NotEmpty(figure.Source));
        Assert.All(report.Figures, figure => Assert.All(figure.Evidence, law => Assert.StartsWith("GDPR Art. ", law, StringComparison.Ordinal)));
    }

    [Fact]
    public void What_is_not_measured_is_absent_and_says_why()
    {
        var report = Of(ReportType.Gdpr, Sources with { Actions = null, ActionsReason = "Metrics did not answer.", Incidents = null, IncidentsReason = "Incidents did not answer." });

        Assert.DoesNotContain(report.Figures, figure => figure.Name is "logins" or "registrations" || figure.Name.StartsWith("incidents", StringComparison.Ordinal));
        Assert.Equal("Metrics did not answer.", Reason(report, "logins"));
        Assert.Equal("Incidents did not answer.", Reason(report, "incidents"));
    }

    [Fact]
    public void An_action_that_never_arrived_is_not_counted_as_zero()
    {
        var report = Of(ReportType.Gdpr, Sources);

        Assert.DoesNotContain(report.Figures, figure => figure.Name == "registrations");
        Assert.Contains("register", Reason(report, "registrations"), StringComparison.Ordinal);
        Assert.Contains("resolved", Reason(report, "mean_time_to_resolve"), StringComparison.Ordinal);
    }

    [Fact]
    public void The_same_figures_answer_to_Californian_law()
    {
        var report = Of(ReportType.Ccpa, Sources);

        Assert.All(report.Figures, figure => Assert.All(figure.Evidence, law => Assert.StartsWith("CCPA §", law, StringComparison.Ordinal)));
        Assert.NotEmpty(Reason(report, "opt_outs"));
    }

    [Theory]
    [InlineData(null, null, "2025-12-16T12:00:00Z", "2026-01-15T12:00:00Z")]
    [InlineData("2026-01-01", null, "2026-01-01T00:00:00Z", "2026-01-15T12:00:00Z")]
    [InlineData(null, "2025-06-30", "2025-05-31T00:00:00Z", "2025-06-30T00:00:00Z")]
    [InlineData("2026-01-01T01:00:00 01:00", "2026-01-02", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")]
    public void A_stretch_is_read_with_its_defaults(string? from, string? to, string begin, string end)
    {
        var (stretch, errors) = Stretch.Read(from, to, Noon);

        Assert.Empty(errors);
        Assert.Equal(new Stretch(DateTimeOffset.Parse(begin, null), DateTimeOffset.Parse(end, null)), stretch);
    }

    [Theory]
    [InlineData("yesterday", null, "from")]
    [InlineData("2026-01-02", "soon", "to")]
    [InlineData("2026-01-02", "2026-01-02", "from")]
    [InlineData("2024-01-02", "2026-01-02", "from")]
    public void A_stretch_that_makes_no_sense_is_refused_by_field(string? from, string? to, string field)
    {
        var (stretch, errors) = Stretch.Read(from, to, Noon);

        Assert.Null(stretch);
        Assert.Equal([field], errors.Keys);
    }

    private static ComplianceReport Of(ReportType type, ReportSources sources) =>
        Report.Of(type, "default", new Stretch(Noon.AddDays(-30), Noon), Noon, sources);

    private static double Value(ComplianceReport report, string name) => report.Figures.Single(figure => figure.Name == name).Value;

    private static string Reason(ComplianceReport report, string name) => report.NotMeasured.Single(missing => missing.Name == name).Reason;
}
