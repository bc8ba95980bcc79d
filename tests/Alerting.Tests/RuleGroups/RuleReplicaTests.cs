using System.Net;
using System.Net.Http.Json;
using Platform.Alerting.RuleGroups;
using Platform.Contracts;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Alerting.Tests.RuleGroups;

/// <summary>Rules while processes die, come back, and are two.</summary>
public sealed class RuleReplicaTests(RulesWorld world) : IClassFixture<RulesWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_was_pending_or_firing_goes_on_after_a_kill_and_with_a_second_replica()
    {
        await world.ImportAsync("""
            groups:
              - name: survivors
                interval: 1s
                rules:
                  - {alert: Survivor, expr: vector(1)}
                  - {alert: SlowSurvivor, expr: vector(1), for: 30s}
            """);
        await Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from rule_alerts a join rule_groups g on g.id = a.group_id where g.name = 'survivors'") == 2, because: "one fires and one is pending");
        var before = await ActiveAtAsync();

        var second = await world.StartAlertingAsync();
        await world.Alerting.KillAsync();
        world.Alerting = second;
        var killed = DateTimeOffset.UtcNow;
        await Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from rule_group_runs r join rule_groups g on g.id = r.group_id where g.name = 'survivors' and evaluated_at > {killed}") == 1, because: "the second replica evaluates the group");
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("SlowSurvivor")).Count == 1, TimeSpan.FromSeconds(60), "the pending alert fires when its time is over");

        Assert.Equal(before, await ActiveAtAsync());
        Assert.Single(await world.AlertsAsync("Survivor"));
        Assert.Single((await world.Receiver.WaitAsync("\"alertname\":\"Survivor\"", 1)).DistinctBy(one => one.Id));
        // It fired by the time at which its condition began, not by the time at which the process did.
        var slow = (await world.AlertsAsync("SlowSurvivor"))[0].GetProperty("starts_at").GetDateTimeOffset();
        Assert.InRange(slow - before[1], TimeSpan.FromSeconds(30), TimeSpan.FromSeconds(50));
    }

    [Fact]
    public async Task Two_replicas_evaluate_a_group_once_and_both_show_it()
    {
        var second = await world.StartAlertingAsync();
        await world.ImportAsync("groups: [{name: shared, interval: 1s, rules: [{alert: Shared, expr: vector(3)}]}]");
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("Shared")).Count == 1, because: "it fires");

        foreach (var replica in (ServiceProcess[])[world.Alerting, second])
        {
            var rule = (await world.RulesAsync("?rule_group[]=shared", of: replica))[0].GetProperty("rules")[0];
            Assert.Equal(("firing", "3e+00"), (rule.GetProperty("state").GetString(), rule.GetProperty("alerts")[0].GetProperty("value").GetString()));
        }

        Assert.Equal(1, await world.CountAsync($"select count(*) from rule_group_runs r join rule_groups g on g.id = r.group_id where g.name = 'shared' and r.owner is not null"));
        await second.StopAsync();
        await Eventually.TrueAsync(async () => (await world.RulesAsync("?rule_group[]=shared"))[0].GetProperty("lastEvaluation").GetDateTimeOffset() > DateTimeOffset.UtcNow.AddSeconds(-5), because: "whoever is left goes on");
    }

    [Theory]
    [InlineData(0, 1, 0, 0)]
    [InlineData(7, 1, 7, 7)]
    [InlineData(7, 2, 3, 4)]
    [InlineData(4, 3, 1, 2)]
    [InlineData(2, 3, 0, 1)]
    public void A_replica_has_its_share(long groups, long replicas, long least, long most) => Assert.Equal((least, most), RuleGroupStore.Share(groups, replicas));

    [Fact]
    public async Task A_second_replica_takes_half_of_the_groups_and_their_alerts_go_on()
    {
        await world.ImportAsync($"groups: [{string.Join(", ", Enumerable.Range(0, 6).Select(number => $"{{name: halved{number}, interval: 1s, rules: [{{alert: Halved{number}, expr: vector(1)}}]}}"))}]");
        await Eventually.TrueAsync(async () => await FiringAsync() == 6, because: "all fire");

        var second = await world.StartAlertingAsync();
        // All groups of this world, those of other tests among them: nobody alive has two more than another.
        await Eventually.TrueAsync(async () => await world.CountAsync($"""
            select count(*) from (
                select count(r.group_id) as has, max(count(r.group_id)) over () as most, min(count(r.group_id)) over () as least
                from rule_evaluators e left join rule_group_runs r on r.owner = e.id where e.alive_until >= clock_timestamp() group by e.id) shares
            having count(*) = 2 and max(most) - min(least) <= 1 and sum(has) = (select count(*) from rule_group_runs)
            """) == 2, because: "two replicas share all groups");
        var moved = DateTimeOffset.UtcNow;
        await Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from rule_group_runs r join rule_groups g on g.id = r.group_id where g.name like 'halved%' and r.evaluated_at > {moved}") == 6, because: "each group is evaluated by whoever has it");

        Assert.Equal(6, await FiringAsync());
        Assert.Equal(6, await world.CountAsync($"select count(*) from alerts where name like 'Halved%'"));
        await second.StopAsync();
        var left = DateTimeOffset.UtcNow;
        await Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from rule_group_runs r join rule_groups g on g.id = r.group_id where g.name like 'halved%' and r.evaluated_at > {left}") == 6, because: "whoever is left has all of them");
        Assert.Equal(6, await FiringAsync());

        Task<long> FiringAsync() => world.CountAsync($"select count(*) from alerts where name like 'Halved%' and state = 'firing'");
    }

    [Fact]
    public async Task While_samples_cannot_be_asked_one_alert_says_so_and_the_others_stay()
    {
        await world.ImportAsync("""
            groups:
              - name: blind
                interval: 1s
                rules:
                  - {alert: BlindOne, expr: vector(1)}
                  - {alert: BlindTwo, expr: vector(1)}
                  - {alert: BlindGone, expr: vector(1), annotations: {platform_on_error: resolve}}
                  - {alert: BlindTold, expr: vector(1), annotations: {platform_on_error: alert}}
            """);
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("BlindGone")).Count == 1, because: "all fire");

        await world.Metrics.KillAsync();
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("RuleDataSourceFailing", "*")).Count == 1, TimeSpan.FromSeconds(60), "one alert tells of it");
        var (one, gone, told) = ((await world.AlertsAsync("BlindOne"))[0], (await world.AlertsAsync("BlindGone"))[0], await world.AlertsAsync("BlindTold"));
        var stopped = world.Metrics;
        world.Metrics = await world.StartMetricsAsync();
        var second = await world.StartAlertingAsync();
        await world.Alerting.StopAsync();
        world.Alerting = second;
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("RuleDataSourceFailing", "*"))[0].GetProperty("state").GetString() == "resolved", TimeSpan.FromSeconds(60), "the first answer ends it");

        Assert.NotSame(stopped, world.Metrics);
        Assert.Equal(("firing", "resolved"), (one.GetProperty("state").GetString(), gone.GetProperty("state").GetString()));
        Assert.Single(told);
        Assert.Single(await world.AlertsAsync("RuleDataSourceFailing", "*"));
    }

    [Fact]
    public async Task Services_only_evaluate_rules_and_a_bad_expression_harms_no_other()
    {
        await world.SendAsync(HttpMethod.Post, "internal/rules/evaluate", RulesWorld.Json(new { queries = Array.Empty<object>() }), HttpStatusCode.Forbidden, to: world.Metrics);
        await world.EarlierAsync("mine", 4);
        using var client = await world.World.ClientAsync(world.Metrics, Role.Service, "*");
        var now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

        using var response = await client.PostAsync(new Uri("internal/rules/evaluate", UriKind.Relative), JsonContent.Create(
            new RuleQueries([new("default", "mine", now), new("other", "mine", now), new("default", "mine +", now), new("default", "0/0", now)]), options: WireJson.Options), Ct);
        var answers = (await response.Content.ReadFromJsonAsync<RuleAnswers>(WireJson.Options, Ct))!.Answers;

        Assert.Equal(4.0, Assert.Single(answers[0].Series!).Value);
        Assert.Equal((0, 0L), (answers[1].Series!.Count, answers[1].SamplesRead));
        Assert.Equal(("bad_data", "1:7: parse error: unexpected end of input"), (answers[2].Fault, answers[2].Error));
        Assert.True(double.IsNaN(Assert.Single(answers[3].Series!).Value));
    }

    private Task<List<DateTimeOffset>> ActiveAtAsync() => Postgres.Queries.QueryAsync(
        world.Db, $"select active_at from rule_alerts a join rule_groups g on g.id = a.group_id where g.name = 'survivors' order by a.labels->>'alertname' desc", row => row.GetFieldValue<DateTimeOffset>(0), Ct);
}
