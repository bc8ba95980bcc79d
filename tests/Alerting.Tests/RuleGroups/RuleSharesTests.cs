using System.Net;
using System.Text.Json;
using Platform.Testing;

namespace Platform.Alerting.Tests.RuleGroups;

/// <summary>How much of the evaluation, and of its time, one realm and one group may take. How long Metrics takes is the test's to say.</summary>
public sealed class RuleSharesTests(RulesWorld world) : IClassFixture<RulesWorld>
{
    private const string Groups = "api/v1/monitoring/rule-groups";

    [Fact]
    public async Task Slow_groups_of_one_realm_leave_a_place_to_the_others()
    {
        await using var metrics = await HeldMetrics.StartAsync(world.Metrics.Url, "crawling_level");
        await RestartAsync(("services__metrics__http__0", metrics.Url.ToString()), ("ALERT_RULE_CONCURRENCY", "2"));
        // A rule that reads what another makes: such a group has requests of its own, so that none waits for it.
        await world.ImportAsync("groups: [{name: quick, interval: 1s, rules: [{record: 'quick:level', expr: quick_level}, {alert: Quick, expr: 'quick:level > 0'}]}]", realm: "quick");
        await world.ImportAsync($"groups: [{string.Join(", ", Enumerable.Range(0, 3).Select(number =>
            $"{{name: crawling{number}, interval: 1s, rules: [{{record: 'crawling:level{number}', expr: crawling_level}}, {{alert: Crawling, expr: 'crawling:level{number} > 0'}}]}}"))}]", realm: "crawling");
        await Eventually.TrueAsync(() => metrics.Held > 0, because: "a group of the slow realm is in evaluation");

        await world.SampleAsync("quick", "quick_level", 1);
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("Quick", "quick")).Count == 1, because: "the other realm's group is evaluated meanwhile");

        Assert.Equal((1, 1), (metrics.Held, metrics.MostHeld));
        // They take turns, and none is left out.
        metrics.Open();
        await Eventually.TrueAsync(
            async () => await world.CountAsync($"select count(*) from rule_group_runs r join rule_groups g on g.id = r.group_id where g.realm = 'crawling' and r.evaluated_at is not null") == 3, because: "all are evaluated");
    }

    [Fact]
    public async Task A_group_that_takes_longer_than_its_interval_is_stopped_and_says_so_until_it_is_fast_again()
    {
        await using var metrics = await HeldMetrics.StartAsync(world.Metrics.Url, "limited_level");
        await RestartAsync(("services__metrics__http__0", metrics.Url.ToString()));
        await world.SampleAsync("limited", "limited_level", 1);
        await world.ImportAsync("groups: [{name: pace, interval: 1s, rules: [{record: 'pace:one', expr: vector(1)}]}]", realm: "pace");
        await world.ImportAsync("groups: [{name: limited, interval: 1s, rules: [{record: 'limited:level', expr: limited_level}, {alert: Limited, expr: 'limited:level > 0'}]}]", realm: "limited");

        // The second time shows what came of the first.
        for (var turn = 0; turn < 2; turn++)
        {
            await Eventually.TrueAsync(() => metrics.Held == 1, because: "the first rule is asked for");
            var held = DateTimeOffset.UtcNow;
            await Eventually.TrueAsync(
                async () => await world.CountAsync($"select count(*) from rule_group_runs r join rule_groups g on g.id = r.group_id where g.name = 'pace' and r.evaluated_at > {held.AddSeconds(1)}") == 1,
                because: "more than the interval has passed for everybody");
            metrics.LetThrough();
        }

        const string reason = "not evaluated: the rules before it, which it reads, take longer than the interval of the group (1 s). Make the interval longer, or the group smaller.";
        await Eventually.TrueAsync(async () => await RulesAsync() == $"limited:level ok , Limited err {reason}", because: "the rule that was left out says so");
        Assert.Empty(await world.AlertsAsync("Limited", "limited"));

        metrics.Open();
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("Limited", "limited")).Count == 1 && await RulesAsync() == "limited:level ok , Limited ok ", because: "the group is evaluated to its end");

        async Task<string> RulesAsync() => string.Join(", ", (await world.RulesAsync("?rule_group[]=limited", "limited"))[0].GetProperty("rules").EnumerateArray()
            .Select(rule => $"{rule.GetProperty("name").GetString()} {rule.GetProperty("health").GetString()} {(rule.TryGetProperty("lastError", out var error) ? error.GetString() : "")}"));
    }

    [Fact]
    public async Task A_realm_has_as_many_rules_as_the_setting_says_in_whatever_groups_and_by_whatever_door()
    {
        await RestartAsync(("ALERT_RULE_REALM_RULES", "3"));
        const string rule = "rules: [{alert: X, expr: vector(0) > 1}]";
        const string full = "The realm full would have 4 rules; ALERT_RULE_REALM_RULES allows 3.";
        await world.ImportAsync($"groups: [{{name: one, {rule}}}, {{name: two, {rule}}}]", realm: "full");

        Assert.Contains(full, Said(await world.SendAsync(HttpMethod.Post, Groups, RulesWorld.Yaml($"groups: [{{name: three, {rule}}}, {{name: four, {rule}}}]"), HttpStatusCode.BadRequest, "full")), StringComparison.Ordinal);
        Assert.Equal("one two", await NamesAsync());

        var three = (await MakeAsync("three", HttpStatusCode.Created)).GetProperty("data").GetProperty("id").GetGuid();
        Assert.Contains(full, Said(await MakeAsync("four", HttpStatusCode.BadRequest)), StringComparison.Ordinal);
        Assert.Contains(full, Said(await world.SendAsync(HttpMethod.Put, $"{Groups}/{three}", RulesWorld.Json(Group("three", 2)), HttpStatusCode.BadRequest, "full")), StringComparison.Ordinal);
        Assert.Contains(full, Said(await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules", RulesWorld.Json(new { name = "X", query = "vector(1)" }), HttpStatusCode.BadRequest, "full")), StringComparison.Ordinal);
        // What is there may be said again; and the next realm has its own number.
        await world.ImportAsync($"groups: [{{name: one, {rule}}}, {{name: two, {rule}}}]", realm: "full");
        await world.ImportAsync($"groups: [{{name: one, {rule}}}]", realm: "beside");
        Assert.Equal("one three two", await NamesAsync());
        // A group without a rule would count for nothing.
        await world.ImportAsync("groups: [{name: empty, rules: []}]", HttpStatusCode.BadRequest, "full");

        static object Group(string name, int rules) => new { name, rules = Enumerable.Range(0, rules).Select(number => new { alert = $"X{number}", expr = "vector(0) > 1" }).ToArray() };

        Task<JsonElement> MakeAsync(string name, HttpStatusCode expected) => world.SendAsync(HttpMethod.Post, Groups, RulesWorld.Json(Group(name, 1)), expected, "full");

        static string Said(JsonElement problem) => problem.GetProperty("errors").ToString();

        async Task<string> NamesAsync() => string.Join(' ', (await world.RulesAsync(realm: "full")).Select(group => group.GetProperty("name").GetString()).Order(StringComparer.Ordinal));
    }

    private async Task RestartAsync(params (string Name, string Value)[] settings)
    {
        await world.Alerting.StopAsync();
        world.Alerting = await world.StartAlertingAsync(settings);
    }
}
