using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Platform.Alerting.OnCall;
using Platform.Alerting.Routing;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>Critical alerts whose escalation never began are seen from the alerts' side.</summary>
public sealed class EscalationWatchdogTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private const string Tree = """
        {"route": {"receiver": "chat", "group_interval": "5m", "routes": [
            {"matchers": ["team=\"db\""], "receiver": "dba", "mute_time_intervals": ["night"]},
            {"matchers": ["severity=\"critical\""], "receiver": "people", "group_interval": "1m"}]},
         "receivers": [{"name": "chat"}, {"name": "people", "escalation_policy": "on-call"}, {"name": "dba", "escalation_policy": "dba"}],
         "time_intervals": [{"name": "night", "time_intervals": [{"times": [{"start_time": "00:00", "end_time": "06:00"}]}]}]}
        """;

    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public void A_policy_of_the_route_is_missed_when_it_has_not_begun_after_the_groups_interval_and_the_grace()
    {
        var alert = Alert("severity=critical");

        Assert.Empty(NotBegun(alert, Noon.AddSeconds(90)));
        Assert.Equal(["on-call"], NotBegun(alert, Noon.AddSeconds(91)));
        Assert.Empty(NotBegun(alert with { Running = ["on-call"] }, Noon.AddHours(1)));
        Assert.Equal(["on-call"], NotBegun(alert with { Running = ["dba"] }, Noon.AddHours(1)));
        // Released from a silence later, it has its time from then on.
        Assert.Empty(NotBegun(alert with { Since = Noon.AddMinutes(10) }, Noon.AddMinutes(11)));
        // The receiver of the root names no policy, and what was routed by an earlier configuration is not judged by this one.
        Assert.Empty(NotBegun(Alert("severity=low"), Noon.AddHours(1)));
        Assert.Empty(NotBegun(alert, Noon.AddHours(1), changedAt: Noon.AddMinutes(1)));
    }

    [Fact]
    public void In_a_muted_interval_nothing_is_missed()
    {
        var night = Alert("severity=critical team=db") with { FiredAt = Noon.AddHours(-11), Since = Noon.AddHours(-11) };

        Assert.Empty(NotBegun(night, Noon.AddHours(-7)));
        Assert.Empty(NotBegun(night, Noon.AddHours(-6).AddMinutes(5)));
        Assert.Equal(["dba"], NotBegun(night, Noon.AddHours(-6).AddMinutes(6)));
    }

    [Fact]
    public async Task An_escalation_that_was_lost_raises_an_alarm_until_it_is_there()
    {
        const string realm = "never-begun";
        using var admin = world.Client(Role.Admin, realm);
        await SendAsync(admin, HttpMethod.Post, "escalation-policies", """{"name": "on-call", "steps": [{"targets": [{"type": "channel", "name": "webhook"}]}]}""");
        await SendAsync(admin, HttpMethod.Put, "routing", """{"route": {"receiver": "people"}, "receivers": [{"name": "people", "escalation_policy": "on-call"}]}""");
        await SendAsync(admin, HttpMethod.Post, "alerts/create", """{"name": "forgotten", "severity": "critical", "message": "forgotten"}""");
        await Eventually.TrueAsync(
            async () => await world.CountAsync($"select count(*) from escalation_steps s join escalations e on e.id = s.escalation_id join alerts a on a.id = e.alert_id where a.name = 'forgotten'") == 1, because: "the escalation begins");
        // Long after the group's interval; the service's own watchdog lives now, and sees nothing to complain of.
        var clock = new TestClock(DateTimeOffset.UtcNow.AddHours(1));
        await using var services = await EscalationTests.ServicesAsync(world, clock);
        var watchdog = ActivatorUtilities.CreateInstance<EscalationWatchdog>(services);
        await watchdog.TickAsync(Ct);
        Assert.Equal(0, await world.CountAsync($"select count(*) from alerts where realm = {realm} and name = 'EscalationOverdue'"));

        // As if nobody had begun it.
        var alert = await world.Db.FindAsync($"delete from escalations where realm = {realm} returning alert_id", row => row.GetGuid(0), Ct);
        await watchdog.TickAsync(Ct);
        Assert.Equal(1, await world.CountAsync($"select count(*) from alerts where realm = {realm} and name = 'EscalationOverdue' and annotations->>'alert_id' = {alert.ToString()} and labels->>'policy' = 'on-call'"));

        await using (var connection = await world.Db.OpenConnectionAsync(Ct))
        await using (var tx = await connection.BeginTransactionAsync(Ct))
        {
            await services.GetRequiredService<EscalationStore>().BeginAsync(tx, [(alert, "on-call")], clock.Now, Ct);
            await tx.CommitAsync(Ct);
        }

        await watchdog.TickAsync(Ct);
        Assert.Equal(0, await world.CountAsync($"select count(*) from alerts where realm = {realm} and name = 'EscalationOverdue' and state <> 'resolved'"));
    }

    private static IEnumerable<string> NotBegun(CriticalAlert alert, DateTimeOffset now, DateTimeOffset? changedAt = null)
    {
        var (config, faults) = RoutingDocument.Read(Tree);
        Assert.Empty(faults);
        return alert.NotBegun(new StoredRouting("default", 1, "anna", changedAt ?? Noon.AddDays(-1), config!), now, TimeSpan.FromSeconds(30));
    }

    private static CriticalAlert Alert(string labels) => new(
        Guid.NewGuid(), "default", "Down", LabelSet.Of(labels.Split(' ').Select(label => label.Split('=')).ToDictionary(label => label[0], label => label[1])), Noon, Noon, []);

    private static async Task SendAsync(HttpClient client, HttpMethod method, string path, string json)
    {
        using var request = new HttpRequestMessage(method, $"api/v1/monitoring/{path}") { Content = new StringContent(json, Encoding.UTF8, "application/json") };
        using var answer = await client.SendAsync(request, Ct);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Ct));
    }
}
