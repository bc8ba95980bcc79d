using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Platform.Alerting.OnCall;
using Platform.Alerting.Routing;
using Platform.Alerting.RuleGroups;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Tests.RuleGroups;

/// <summary>Who would have been told about alerts that might have been.</summary>
public sealed class BacktestPagingTests(GroupingWorld world) : IClassFixture<GroupingWorld>
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 2, 12, 0, 0, TimeSpan.Zero);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Whoever_was_on_call_at_the_time_is_paged_and_the_next_step_only_while_it_lasts()
    {
        await UserAsync("paging", "anna");
        await UserAsync("paging", "bob");
        await UserAsync("paging", "carla");
        // Turns of an hour on the full hour: anna from noon on, bob from one.
        await PlanAsync("paging", PlanKind.Schedule, new Schedule("primary", "UTC",
            [new Layer("hourly", 1, RotationUnit.Hours, new TimeOnly(12, 0), null, new DateOnly(2026, 3, 2), null, ["anna", "bob"], [])]));
        await PlanAsync("paging", PlanKind.Policy, new EscalationPolicy("climb", "", [
            new EscalationStep([new EscalationTarget(TargetType.Schedule, "primary")], 600), new EscalationStep([new EscalationTarget(TargetType.User, "carla")], 600)], 0));
        await world.RouteAsync("paging", """
            route: {receiver: team, group_by: ['...'], group_wait: 1m, routes: [{matchers: ['severity="critical"'], receiver: duty}]}
            receivers: [{name: team, channels: [webhook]}, {name: duty, channels: [webhook], escalation_policy: climb}]
            """);

        // One of five minutes at noon, one of half an hour at one.
        var result = await FillAsync("paging", Noon.AddHours(6), Alert("critical", 0, 5), Alert("critical", 60, 90));

        Assert.Equal(
            ["12:00 webhook first notification", "12:00 anna first notification by the escalation policy climb, step 1 of 2"], Pages(result, 0));
        Assert.Equal(
            ["13:00 webhook first notification", "13:00 bob first notification by the escalation policy climb, step 1 of 2", "13:10 carla escalated: nobody acknowledged within 10 min, step 2 of 2"], Pages(result, 1));
        Assert.Equal(["webhook 2 2", "anna 1 1", "bob 1 1", "carla 1 1"], result.Paged!.Select(one => $"{one.User ?? one.Channel} {one.Messages} {one.Alerts}"));
        Assert.True(result.PagedIsWhole);
    }

    [Fact]
    public async Task Alerts_wait_for_their_group_repeat_and_are_held_back_in_muted_hours()
    {
        await world.RouteAsync("held", """
            route:
              receiver: team
              group_by: [alertname]
              group_wait: 1m
              group_interval: 5m
              repeat_interval: 1h
              routes: [{matchers: ['severity="low"'], receiver: team, group_by: ['...'], mute_time_intervals: [lunch]}]
            receivers: [{name: team, channels: [webhook]}]
            time_intervals: [{name: lunch, time_intervals: [{times: [{start_time: '12:00', end_time: '13:00'}]}]}]
            """);

        // Two of one group half a minute apart, the first for two hours; one over before its minute; two in the lunch break, of which one outlasts it.
        var result = await FillAsync(
            "held", Noon.AddHours(6),
            Alert("high", 0, 130, "a"), Alert("high", 0.5, 3, "b"), Alert("high", 200, 200.5, "c"), Alert("low", 10, 20, "d"), Alert("low", 10, 90, "e"));

        Assert.Equal(["12:01 webhook first notification", "13:01 webhook repeat interval elapsed", "14:01 webhook repeat interval elapsed"], Pages(result, 0));
        Assert.Equal(["12:01 webhook first notification"], Pages(result, 1));
        Assert.Equal(["never it was over, or the range was, before it was due"], Pages(result, 2));
        Assert.Equal(["never it was over, or the range was, before lunch was"], Pages(result, 3));
        Assert.Equal(["13:00 webhook first notification"], Pages(result, 4));
        // One message told of a and b.
        Assert.Equal(["webhook 4 3"], result.Paged!.Select(one => $"{one.User ?? one.Channel} {one.Messages} {one.Alerts}"));
    }

    [Fact]
    public async Task Nobody_on_call_and_a_policy_that_is_not_there_are_said()
    {
        await PlanAsync("gaps", PlanKind.Schedule, new Schedule("later", "UTC", [new Layer("one", 1, RotationUnit.Weeks, new TimeOnly(9, 0), null, new DateOnly(2030, 1, 1), null, ["anna"], [])]));
        await PlanAsync("gaps", PlanKind.Policy, new EscalationPolicy("empty", "", [new EscalationStep([new EscalationTarget(TargetType.Schedule, "later")], 60)], 0));
        await world.RouteAsync("gaps", """
            route: {receiver: a, group_by: ['...'], group_wait: 0s, routes: [{matchers: ['alertname="Tried"'], receiver: a, continue: true}, {matchers: ['alertname="Tried"'], receiver: b}]}
            receivers: [{name: a, escalation_policy: empty}, {name: b, escalation_policy: nowhere}]
            """);

        var result = await FillAsync("gaps", Noon.AddHours(6), Alert("high", 0, 5));

        Assert.Equal(
            ["never first notification by the escalation policy empty, step 1 of 1: schedule later: nobody is on call", "never there is no escalation policy nowhere"], Pages(result, 0));
        Assert.Empty(result.Paged!);
    }

    private async Task<BacktestResult> FillAsync(string realm, DateTimeOffset to, params BacktestEpisode[] episodes)
    {
        await using var services = world.Replica();
        return await new BacktestPaging(world.Db, services.GetRequiredService<RoutingStore>(), new OnCallOptions()).FillAsync(new BacktestResult(0, episodes.Length, 0, 0, episodes), realm, to, Ct);
    }

    private static BacktestEpisode Alert(string severity, double from, double to, string host = "a") => new(
        new Dictionary<string, string> { ["alertname"] = "Tried", ["severity"] = severity, ["host"] = host }, new Dictionary<string, string>(),
        Noon.AddMinutes(from), Noon.AddMinutes(from), Noon.AddMinutes(to), 60 * (to - from), 1);

    private static IEnumerable<string> Pages(BacktestResult result, int alert) =>
        result.Episodes[alert].Paged!.Select(page => $"{page.At?.ToString("HH:mm", System.Globalization.CultureInfo.InvariantCulture) ?? "never"} {page.User ?? page.Channel} {page.Reason}".Replace("  ", " ", StringComparison.Ordinal));

    private Task<bool> UserAsync(string realm, string name) => PlanAsync(realm, PlanKind.User, new OnCallUser(
        name, name, "UTC", [new ContactMethod("phone", "ntfy")], [new ContactRule("phone", 0)], [new ContactRule("phone", 0)], []));

    private Task<bool> PlanAsync(string realm, PlanKind kind, object document)
    {
        var text = JsonSerializer.Serialize(document, document.GetType(), WireJson.Options);
        var name = JsonElement.Parse(text).GetProperty("name").GetString()!;
        return world.InTransactionAsync(tx => OnCallStore.InsertAsync(tx, new Plan(Guid.CreateVersion7(), realm, kind, name, text, 1, "test", Noon, Noon), [], Ct));
    }
}
