using Platform.Contracts;
using Platform.Incidents.FromAlerts;
using Platform.Incidents.Lifecycle;

namespace Platform.Incidents.Tests;

public sealed class AlertPolicyTests
{
    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);
    private static readonly Guid First = new("00000000-0000-0000-0000-00000000000a");
    private static readonly Guid Second = new("00000000-0000-0000-0000-00000000000b");

    // Two episodes of one alert, as they happened.
    private static readonly News[] Story =
    [
        new(First, "fired", Noon),
        new(First, "acknowledged", Noon.AddMinutes(2)),
        new(First, "resolved", Noon.AddMinutes(5)),
        new(Second, "fired", Noon.AddMinutes(8)),
        new(Second, "resolved", Noon.AddMinutes(20)),
    ];

    [Fact]
    public void The_end_is_the_same_in_every_order_of_the_messages_and_however_often_they_come()
    {
        foreach (var order in Permutations(Story))
        {
            var group = new Group();
            foreach (var news in order.SelectMany(news => new[] { news, news }))
            {
                group.Hear(news);
            }

            var incident = group.Incident!;
            Assert.Equal(IncidentStatus.Resolved, incident.Status);
            Assert.Equal(Noon, incident.OpenedAt);
            Assert.Equal(Noon.AddMinutes(2), incident.AcknowledgedAt);
            Assert.Equal(Noon.AddMinutes(20), incident.ResolvedAt);
        }
    }

    [Fact]
    public void While_one_alert_fires_the_incident_stays_open_in_every_order()
    {
        foreach (var order in Permutations(Story[..4]))
        {
            var group = new Group();
            foreach (var news in order)
            {
                group.Hear(news);
            }

            Assert.Equal(IncidentStatus.Open, group.Incident!.Status);
            Assert.Null(group.Incident.ResolvedAt);
        }
    }

    [Theory]
    [InlineData(IncidentStatus.Open, AlertNews.Resolved, 0, Verdict.Resolve)]
    [InlineData(IncidentStatus.Open, AlertNews.Resolved, 1, Verdict.Leave)]
    [InlineData(IncidentStatus.Open, AlertNews.Joined, 0, Verdict.Resolve)]
    [InlineData(IncidentStatus.Open, AlertNews.Joined, 1, Verdict.Leave)]
    [InlineData(IncidentStatus.Open, AlertNews.Acknowledged, 0, Verdict.Leave)]
    [InlineData(IncidentStatus.Investigating, AlertNews.Resolved, 0, Verdict.Note)]
    [InlineData(IncidentStatus.Identified, AlertNews.Resolved, 0, Verdict.Note)]
    [InlineData(IncidentStatus.Monitoring, AlertNews.Resolved, 0, Verdict.Note)]
    [InlineData(IncidentStatus.Investigating, AlertNews.Resolved, 1, Verdict.Leave)]
    [InlineData(IncidentStatus.Resolved, AlertNews.Joined, 1, Verdict.Reopen)]
    [InlineData(IncidentStatus.Resolved, AlertNews.Joined, 0, Verdict.Leave)]
    [InlineData(IncidentStatus.Resolved, AlertNews.Resolved, 0, Verdict.Leave)]
    [InlineData(IncidentStatus.Resolved, AlertNews.Acknowledged, 1, Verdict.Leave)]
    [InlineData(IncidentStatus.Closed, AlertNews.Joined, 1, Verdict.Leave)]
    public void The_policy_is_this_table(IncidentStatus status, AlertNews news, int active, Verdict expected)
    {
        var alert = new AlertFacts(First, Guid.Empty, Noon, null, active > 0 ? null : Noon.AddMinutes(1));

        Assert.Equal(expected, AlertPolicy.Decide(status, news, alert, new(active, Noon, null, null)));
    }

    [Theory]
    [InlineData(Severity.Critical, true)]
    [InlineData(Severity.High, true)]
    [InlineData(Severity.Medium, false)]
    [InlineData(Severity.Low, false)]
    [InlineData(Severity.Info, false)]
    public void Only_critical_and_high_alerts_are_worth_an_incident(Severity severity, bool expected) => Assert.Equal(expected, AlertPolicy.Opens(severity));

    [Theory]
    [InlineData("5 events within 300 s", "Failed logins: 5 events within 300 s")]
    [InlineData("5 failed logins from 203.0.113.9", "5 failed logins from 203.0.113.9")]
    [InlineData("", "Failed logins")]
    public void The_title_says_what_as_well_as_how_much(string summary, string title) =>
        Assert.Equal(title, AlertPolicy.Open(Messages.Fired(First, "default", "group", Noon) with { Summary = summary }, Noon).Title);

    [Fact]
    public void Long_group_keys_are_cut_and_still_differ()
    {
        var one = AlertPolicy.GroupKey(new string('k', 5_000) + "1");
        var other = AlertPolicy.GroupKey(new string('k', 5_000) + "2");

        Assert.NotEqual(one, other);
        Assert.True(one.Length <= 400);
        Assert.Equal("default/rule/1.2.3.4", AlertPolicy.GroupKey("default/rule/1.2.3.4"));
    }

    private static IEnumerable<News[]> Permutations(News[] items) => items.Length == 0
        ? [[]]
        : items.SelectMany((item, index) => Permutations([.. items[..index], .. items[(index + 1)..]]).Select(rest => (News[])[item, .. rest]));

    private sealed record News(Guid AlertId, string What, DateTimeOffset At);

    /// <summary>What the consumers and their tables do, in memory: the same decisions on the same facts.</summary>
    private sealed class Group
    {
        private readonly Dictionary<Guid, AlertFacts> _alerts = [];

        public Incident? Incident { get; private set; }

        public void Hear(News news)
        {
            var known = _alerts.GetValueOrDefault(news.AlertId) ?? new AlertFacts(news.AlertId, null, null, null, null);
            var alert = _alerts[news.AlertId] = news.What switch
            {
                "fired" => known with { FiredAt = news.At },
                "acknowledged" => known with { AcknowledgedAt = news.At },
                _ => known with { ResolvedAt = news.At },
            };
            if (news.What == "fired" && alert.IncidentId is null)
            {
                Incident ??= AlertPolicy.Open(Fired(alert), Noon);
                alert = _alerts[news.AlertId] = alert with { IncidentId = Incident.Id };
                Settle(AlertNews.Joined, alert);
            }
            else if (news.What != "fired" && alert.IncidentId is not null)
            {
                Settle(news.What == "resolved" ? AlertNews.Resolved : AlertNews.Acknowledged, alert);
            }
        }

        private void Settle(AlertNews news, AlertFacts alert)
        {
            var linked = _alerts.Values.Where(one => one.IncidentId is not null).ToList();
            var totals = new AlertTotals(
                linked.Count(one => one.IsActive), linked.Min(one => one.FiredAt!.Value), linked.Min(one => one.AcknowledgedAt), linked.Max(one => one.ResolvedAt));
            Incident = AlertPolicy.Apply(AlertPolicy.Decide(Incident!.Status, news, alert, totals), Incident, alert, totals, Noon.AddHours(1));
        }

        private static AlertFired Fired(AlertFacts alert) => Messages.Fired(alert.AlertId, "default", "group", alert.FiredAt!.Value);
    }
}
