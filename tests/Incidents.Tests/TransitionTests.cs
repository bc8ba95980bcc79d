using Platform.Contracts;
using Platform.Incidents.Lifecycle;
using static Platform.Incidents.Lifecycle.IncidentStatus;

namespace Platform.Incidents.Tests;

public sealed class TransitionTests
{
    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(Open, "investigating identified monitoring resolved")]
    [InlineData(Investigating, "identified monitoring resolved")]
    [InlineData(Identified, "investigating monitoring resolved")]
    [InlineData(Monitoring, "investigating identified resolved")]
    [InlineData(Resolved, "closed open investigating")]
    [InlineData(Closed, "")]
    public void Every_other_move_than_these_is_refused_with_a_reason(IncidentStatus from, string legal)
    {
        foreach (var to in Enum.GetValues<IncidentStatus>().Where(status => status != from))
        {
            Assert.Equal(legal.Split(' ').Contains(to.Word()), Transitions.Objection(from, to) is null);
        }

        Assert.Null(Transitions.Objection(from, from));
        Assert.Equal(legal, string.Join(' ', Transitions.From(from).Select(status => status.Word())));
    }

    [Fact]
    public void Resolving_sets_the_time_of_the_end_and_reopening_takes_it_back()
    {
        var resolved = AnIncident.In(Resolved, Noon.AddMinutes(5), Noon.AddMinutes(6));
        var reopened = resolved.In(Open, Noon.AddMinutes(7), Noon.AddMinutes(7));

        Assert.Equal(Noon.AddMinutes(5), resolved.ResolvedAt);
        Assert.Equal(Noon.AddMinutes(6), resolved.QuietSince);
        Assert.Null(reopened.ResolvedAt);
        Assert.Null(reopened.QuietSince);
    }

    [Fact]
    public void An_incident_never_ends_before_it_began() =>
        Assert.Equal(Noon, AnIncident.In(Resolved, Noon.AddMinutes(-5), Noon.AddMinutes(6)).ResolvedAt);

    [Fact]
    public void Closing_keeps_the_time_of_the_end()
    {
        var closed = AnIncident.In(Resolved, Noon.AddMinutes(5), Noon.AddMinutes(6)).In(Closed, Noon.AddHours(1), Noon.AddHours(1));

        Assert.Equal((Noon.AddMinutes(5), Noon.AddHours(1)), (closed.ResolvedAt, closed.ClosedAt));
    }

    [Fact]
    public void Moving_an_incident_on_is_taking_notice_of_it_and_renaming_it_is_not()
    {
        var moved = AnIncident.After(Change with { Status = Investigating }, Noon.AddMinutes(3));
        var renamed = AnIncident.After(Change with { Title = "Logins are slow" }, Noon.AddMinutes(3));

        Assert.Equal(Noon.AddMinutes(3), moved.AcknowledgedAt);
        Assert.Null(renamed.AcknowledgedAt);
    }

    [Fact]
    public void Changes_are_told_with_their_values_and_long_texts_by_name_only()
    {
        var after = AnIncident.After(new("New", new("a long story"), Severity.Critical, Identified, new("the pool"), new("key:anna")), Noon);

        Assert.Equal(
            "status: open → identified, severity: high → critical, assigned_to: nobody → key:anna, title: Trouble → New, description: set, root_cause: set",
            Deeds.Title(after.ChangesSince(AnIncident)));
    }

    private static IncidentChange Change => new(null, null, null, null, null, null);

    private static Incident AnIncident => new(
        Guid.Empty, "default", "Trouble", null, Severity.High, Open, null, null, Incident.System, "key", new Dictionary<string, string>(), Noon, Noon, null, null, null, Noon, 1);
}
