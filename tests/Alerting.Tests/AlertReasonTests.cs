using System.Net.Http.Json;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>Every alert says what was asked, whatever made it.</summary>
public sealed class AlertReasonTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private static readonly RuleMatch Failures = new(null, null, null, new Dictionary<string, string> { ["action"] = "login", ["outcome"] = "failure" });
    private static readonly RuleMatch Anything = new(null, null, null, new Dictionary<string, string>());

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public static TheoryData<string, string> Conditions() => new()
    {
        { "count", "at least 5 events (tags.action = login, tags.outcome = failure) within 300 s, for the same tags.ip_address" },
        { "distinct", "at least 5 events (tags.action = login, tags.outcome = failure) within 300 s with at least 15 different tags.user_id, without those of which more than 2 share tags.user_id, for the same tags.ip_address" },
        { "ratio", "at least 20 % of at least 10 events (any) within 300 s are those (tags.action = login, tags.outcome = failure), for the same tags.ip_address" },
        { "sequence", "an event (tags.action = login, tags.outcome = failure) within 300 s after 3 events (any) that came within 60 s, for the same tags.ip_address" },
        { "absence", "no event (tags.action = login, tags.outcome = failure) for 300 s, for the same tags.ip_address" },
        { "travel", "two events (tags.action = login, tags.outcome = failure) within 300 s, at least 500 km apart and faster than 800 km/h, for the same tags.ip_address" },
    };

    [Theory]
    [MemberData(nameof(Conditions))]
    public void A_rule_over_events_says_what_it_asks(string kind, string expected)
    {
        Condition? condition = kind switch
        {
            "distinct" => new Condition.Distinct(new Dictionary<string, int> { ["tags.user_id"] = 15 }, new Dictionary<string, int> { ["tags.user_id"] = 2 }),
            "ratio" => new Condition.Ratio(Anything, 0.2, 10),
            "sequence" => new Condition.Sequence(Anything, ["tags.ip_address"], 3, 60),
            "absence" => new Condition.Absence(false),
            "travel" => new Condition.Travel(500, 800, []),
            _ => null,
        };

        Assert.Equal(expected, Rule(condition).InWords());
    }

    [Fact]
    public void Any_of_several_values_fields_that_must_be_there_and_quiet_times_are_said()
    {
        var match = new RuleMatch("log", null, null, new Dictionary<string, string>())
        {
            AnyOf = new Dictionary<string, IReadOnlyList<string>> { ["tags.action"] = ["mfa_verify", "mfa_challenge"] },
            Present = ["tags.user_id"],
            Absent = ["tags.proxy"],
        };

        Assert.Equal(
            "at least 1 event (event_type = log, tags.action = mfa_verify or mfa_challenge, with tags.user_id, without tags.proxy) within 300 s, not during saturday",
            (Rule(null) with { Match = match, Threshold = 1, GroupBy = [], NotDuring = ["saturday"] }).InWords());
    }

    [Fact]
    public async Task Alerts_of_rules_checks_senders_and_people_say_what_was_asked_and_what_was_seen()
    {
        await world.CreateRuleAsync("why-events", new { tags = new { action = "why" } }, threshold: 2);
        await world.TellAsync(TestEvent.Action(world.Start, "why"), TestEvent.Action(world.Start.AddSeconds(1), "why"));
        await world.TellAsync(new HealthChanged("default", "why-api", "http", HealthState.Healthy, HealthState.Unhealthy, "connection refused", world.Start));
        using var pushed = await world.Moderator.PostAsJsonAsync("alertmanager/api/v2/alerts", new[]
        {
            new { labels = new { alertname = "WhyPushed" }, annotations = new { summary = "a is down" }, generatorURL = "http://prometheus:9090/graph?g0.expr=up%7Bhost%3D%22a%22%7D+%3D%3D+0&g0.tab=1" },
        }, Ct);
        using var raised = await world.Moderator.PostAsJsonAsync("api/v1/monitoring/alerts/create", new { name = "WhyRaised", severity = "low", message = "look at this" }, Ct);

        Assert.Equal("at least 2 events (tags.action = why) within 300 s | 2 | 2 | 2 events within 300 s", await WhyAsync("why-events"));
        Assert.Equal("the http check of why-api is healthy |  |  | connection refused", await WhyAsync("HealthCheckFailed"));
        Assert.Equal("up{host=\"a\"} == 0 |  |  | a is down", await WhyAsync("WhyPushed"));
        Assert.Equal("raised by hand |  |  | look at this", await WhyAsync("WhyRaised"));
    }

    private async Task<string> WhyAsync(string name)
    {
        var id = await Eventually.GetAsync(async () => (await world.AlertsAsync(name)) is [var one] ? one.GetProperty("id").GetString() : null, because: $"{name} fires");
        var why = (await world.GetAsync($"api/v1/monitoring/alerts/{id}/why")).GetProperty("alert").GetProperty("why");
        return string.Join(" | ", ((string[])["condition", "value", "threshold", "seen"]).Select(field => $"{(why.TryGetProperty(field, out var value) ? value : default)}"));
    }

    private static Rule Rule(Condition? condition) =>
        new(Guid.Empty, "default", "tried", "", Failures, 5, 300, ["tags.ip_address"], Severity.High, true, "test", DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch, 1) { Condition = condition };
}
