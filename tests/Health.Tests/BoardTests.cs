using Microsoft.Net.Http.Headers;
using Platform.Contracts;
using Platform.Health.Checks;
using Platform.Health.Status;
using static Platform.Contracts.HealthState;

namespace Platform.Health.Tests;

public sealed class BoardTests
{
    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);
    private static readonly HealthOptions Options = new();

    [Theory]
    [InlineData(Healthy, Healthy, Healthy, 100)]
    [InlineData(Healthy, Degraded, Degraded, 87)]
    [InlineData(Healthy, Unhealthy, Degraded, 75)]
    [InlineData(Degraded, Healthy, Degraded, 62)]
    [InlineData(Unhealthy, Healthy, Unhealthy, 25)]
    [InlineData(Unknown, Healthy, Degraded, 25)]
    [InlineData(Healthy, Unknown, Degraded, 75)]
    [InlineData(Unknown, Unknown, Unhealthy, 0)]
    public void The_platform_is_unhealthy_when_a_core_component_is(HealthState core, HealthState other, HealthState platform, int score)
    {
        var seen = Show(new() { ["core"] = Standing(core, Noon), ["other"] = Standing(other, Noon) });

        Assert.Equal((platform, score), (seen.State, seen.Score));
    }

    [Theory]
    [InlineData(50, Healthy)]
    [InlineData(51, Unknown)]
    public void A_result_speaks_until_the_next_one_is_overdue_by_the_cache_time(int age, HealthState expected)
    {
        var seen = Show(new() { ["core"] = Standing(Healthy, Noon.AddSeconds(-age)), ["other"] = Standing(Healthy, Noon) });

        Assert.Equal(expected, seen.Components[0].State);
    }

    [Theory]
    [InlineData(30, Healthy)]
    [InlineData(31, Unhealthy)]
    public void A_replica_that_has_not_read_the_states_lately_says_so(int age, HealthState expected)
    {
        var states = new Dictionary<string, CheckState> { ["core"] = Standing(Healthy, Noon), ["other"] = Standing(Healthy, Noon) };

        Assert.Equal(expected, Board.Show(List(), Options, new Reading(Noon.AddSeconds(-age), states, NoUptime), Noon).State);
        Assert.Equal(Unhealthy, Board.Show(List(), Options, null, Noon).State);
    }

    [Fact]
    public void States_of_components_that_are_not_on_the_list_are_not_shown()
    {
        var seen = Show(new() { ["core"] = Standing(Healthy, Noon), ["other"] = Standing(Healthy, Noon), ["gone"] = Standing(Unhealthy, Noon) });

        Assert.Equal(["core", "other"], seen.Components.Select(component => component.Component));
        Assert.Equal(Healthy, seen.State);
    }

    [Fact]
    public void With_checks_switched_off_only_the_database_counts()
    {
        var off = new HealthOptions { Enabled = false };

        Assert.Equal(Healthy, Board.Show(List(), off, new Reading(Noon, new Dictionary<string, CheckState>(), NoUptime), Noon).State);
        Assert.Equal(Unhealthy, Board.Show(List(), off, null, Noon).State);
    }

    [Theory]
    [InlineData("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true)]
    [InlineData("text/html", true)]
    [InlineData("text/*, application/json;q=0.1", true)]
    [InlineData("*/*", false)]
    [InlineData("application/json", false)]
    [InlineData("application/json, text/html;q=0.9", false)]
    [InlineData("text/html;q=0", false)]
    public void A_page_is_for_those_who_prefer_it(string accept, bool html)
    {
        Assert.Equal(html, StatusPage.PrefersHtml([.. MediaTypeHeaderValue.ParseList([accept])]));
    }

    private static readonly Dictionary<string, Uptime> NoUptime = [];

    private static Overview Show(Dictionary<string, CheckState> states) => Board.Show(List(), Options, new Reading(Noon, states, NoUptime), Noon);

    private static CheckState Standing(HealthState state, DateTimeOffset at) =>
        new(state, Noon.AddHours(-1), state, 0, 0, new CheckResult(at, state, TimeSpan.FromMilliseconds(2), "", ProbeAnswer.NoDetails));

    private static Checklist List() => new([
        new Check("core", "service", new NeverAsked(), Options.Pace, Options.Thresholds) { IsCore = true },
        new Check("other", "service", new NeverAsked(), Options.Pace, Options.Thresholds),
    ]);

    private sealed class NeverAsked : IProbe
    {
        public Task<ProbeAnswer> AskAsync(CancellationToken ct) => throw new InvalidOperationException("The board asks nobody.");
    }
}
