namespace Platform.Alerting.Tests;

public sealed class GroupLimitTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    [Fact]
    public async Task Groups_beyond_the_limit_are_counted_together_and_those_before_it_go_on()
    {
        await world.Service.KillAsync();
        world.Service = await world.StartAsync(("ALERT_MAX_GROUPS_PER_RULE", "3"));
        await world.CreateRuleAsync("wide", new { tags = new { action = "wide" } }, threshold: 4, groupBy: ["tags.group"]);

        // Two of three places are taken; the third goes to the first newcomer, the rest becomes one group that reaches four.
        await world.TellAsync(TestEvent.Action(world.Start, "wide", "w1"), TestEvent.Action(world.Start, "wide", "w2"));
        await Testing.Eventually.TrueAsync(async () => await WindowsAsync() == 2, because: "the first two have their places");
        // A value that is called like that group belongs to it.
        await world.TellAsync([TestEvent.Action(world.Start, "wide", "(other)"), .. Enumerable.Range(3, 4).Select(i => TestEvent.Action(world.Start, "wide", $"w{i}"))]);
        await world.TellAsync([.. Enumerable.Range(0, 3).Select(_ => TestEvent.Action(world.Start, "wide", "w1"))]);

        await Testing.Eventually.TrueAsync(async () => await WindowsAsync() == 4, because: "the third place and that of all others are taken");
        var received = await world.Receiver.WaitAsync("\"wide\"", 2);

        Assert.Equal(["(other)", "w1"], received.Select(one => one.Label("group")).Order(StringComparer.Ordinal));
        Assert.Equal(4, await WindowsAsync());

        Task<long> WindowsAsync() => world.CountAsync($"select count(*) from event_windows where realm = 'default'");
    }
}
