using Platform.Alerting.Alerts;
using Platform.Alerting.Routing;
using Platform.Contracts;

namespace Platform.Alerting.Tests;

/// <summary>What is told about a group and when: the pure rules.</summary>
public sealed class GroupTests
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Interval = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan Repeat = TimeSpan.FromHours(4);

    [Theory]
    [InlineData(Severity.Critical, false, 0)]
    [InlineData(Severity.High, false, 30)]
    [InlineData(Severity.Info, false, 30)]
    [InlineData(Severity.High, true, 0)]
    public void A_new_group_waits_unless_it_is_critical_or_over_already(Severity severity, bool passed, int seconds) =>
        Assert.Equal(Noon.AddSeconds(seconds), Grouping.TellAt(severity, Noon, passed, Wait));

    [Fact]
    public void A_group_whose_wait_is_not_over_tells_nothing()
    {
        var verdict = Judge(null, 10, Waiting("a", 30));

        Assert.Empty(verdict.Tellings);
        Assert.Equal(Noon.AddSeconds(30), verdict.DueAt);
    }

    [Fact]
    public void When_the_wait_is_over_all_that_came_meanwhile_go_together()
    {
        var verdict = Judge(null, 30, Waiting("a", 30), Waiting("b", 55));

        Assert.Equal("first notification: a b", Words(verdict));
        Assert.Equal(Noon.AddSeconds(30) + Repeat, verdict.DueAt);
    }

    [Fact]
    public void A_later_alert_folds_in_after_the_interval()
    {
        Assert.Equal((0, Noon.AddSeconds(300)), Judge(0, 60, Told("a"), Waiting("b", 60)) is var early ? (early.Tellings.Count, early.DueAt) : default);
        Assert.Equal("new alerts added: a b", Words(Judge(0, 300, Told("a"), Waiting("b", 60))));
    }

    [Fact]
    public void The_first_critical_alert_of_a_group_does_not_wait_for_the_interval_and_the_second_does()
    {
        Assert.Equal("new alerts added: a b", Words(Judge(0, 60, Told("a"), Waiting("b", 60, Severity.Critical))));
        Assert.Equal("", Words(Judge(0, 60, Told("a", Severity.Critical), Waiting("b", 60, Severity.Critical))));
    }

    [Fact]
    public void The_end_of_one_alert_is_told_at_once_and_takes_nobody_with_it()
    {
        var verdict = Judge(0, 60, Told("a"), Told("b") with { State = AlertState.Resolved, ResolvedAt = Noon.AddSeconds(59) }, Waiting("c", 60));

        Assert.Equal("some alerts resolved: a -b", Words(verdict));
        Assert.Equal([Id("b")], verdict.Gone);
        Assert.Equal(Noon.AddSeconds(300), verdict.DueAt);
    }

    [Fact]
    public void The_end_of_the_last_alert_ends_the_group()
    {
        var verdict = Judge(0, 60, Told("a") with { State = AlertState.Resolved, ResolvedAt = Noon.AddSeconds(59) });

        Assert.Equal("all alerts resolved: -a", Words(verdict));
        Assert.Null(verdict.DueAt);
    }

    [Fact]
    public void An_episode_that_follows_another_is_told_after_the_end_of_that_and_does_not_wait_for_the_interval() =>
        Assert.Equal(
            "all alerts resolved: -a; first notification: b",
            Words(Judge(0, 60, Told("a") with { State = AlertState.Resolved, ResolvedAt = Noon.AddSeconds(50) }, Waiting("b", 50))));

    [Fact]
    public void What_was_over_before_its_wait_was_is_never_told()
    {
        var verdict = Judge(null, 30, Waiting("a", 30) with { State = AlertState.Resolved, ResolvedAt = Noon.AddSeconds(20) });

        Assert.Empty(verdict.Tellings);
        Assert.Equal([Id("a")], verdict.Untold);
        Assert.Equal([Id("a")], verdict.Gone);
    }

    [Fact]
    public void What_was_over_after_it_was_due_is_told_from_beginning_to_end() =>
        Assert.Equal("first notification: a; all alerts resolved: -a", Words(Judge(null, 30, Waiting("a", 0) with { State = AlertState.Resolved, ResolvedAt = Noon.AddSeconds(1) })));

    [Fact]
    public void A_group_is_repeated_until_somebody_takes_care_of_all_of_it()
    {
        var later = (int)Repeat.TotalSeconds;
        var acknowledged = Told("a") with { State = AlertState.Acknowledged };

        Assert.Equal("", Words(Judge(0, later - 1, Told("a"))));
        Assert.Equal("repeat interval elapsed: a", Words(Judge(0, later, Told("a"))));
        Assert.Equal("repeat interval elapsed: a b", Words(Judge(0, later, acknowledged, Told("b"))));
        Assert.Equal(("", null), Judge(0, later, acknowledged) is var quiet ? (Words(quiet), quiet.DueAt) : default);
    }

    [Fact]
    public void A_suppressed_alert_is_not_told_not_repeated_and_not_listed_but_its_end_is_told_to_those_who_know_it()
    {
        Assert.Equal("", Words(Judge(null, 60, Waiting("a", 30) with { Suppressed = true })));
        Assert.Equal("", Words(Judge(0, 20_000, Told("a") with { Suppressed = true })));
        Assert.Equal("new alerts added: b", Words(Judge(0, 400, Told("a") with { Suppressed = true }, Waiting("b", 60))));
        Assert.Equal("all alerts resolved: -a", Words(Judge(0, 60, Told("a") with { Suppressed = true, State = AlertState.Resolved, ResolvedAt = Noon.AddSeconds(59) })));
        Assert.Equal("", Words(Judge(null, 60, Waiting("a", 0) with { Suppressed = true, State = AlertState.Resolved, ResolvedAt = Noon.AddSeconds(59) })));
    }

    [Fact]
    public void People_are_told_again_with_the_reason() =>
        Assert.Equal("acknowledgement by anna timed out: a b", Words(Judge(0, 60, Told("a") with { Again = "acknowledgement by anna timed out" }, Told("b"))));

    [Fact]
    public void A_muted_group_keeps_even_an_end_until_the_interval_is_over()
    {
        Member[] members = [Told("a") with { State = AlertState.Resolved, ResolvedAt = Noon.AddSeconds(50) }, Waiting("b", 30), Waiting("c", 0) with { State = AlertState.Resolved, ResolvedAt = Noon.AddSeconds(50) }];
        var muted = Grouping.Judge(Noon, members, Interval, Repeat, Noon.AddHours(8), Noon.AddSeconds(60));

        Assert.Equal(("", Noon.AddHours(8)), (Words(muted), muted.DueAt));
        Assert.Equal([Id("c")], muted.Gone);
        Assert.Equal("all alerts resolved: -a; first notification: b", Words(Grouping.Judge(Noon, members[..2], Interval, Repeat, null, Noon.AddHours(8))));
    }

    [Fact]
    public void Where_an_alert_is_routed_no_more_only_its_end_is_told()
    {
        Assert.Equal("", Words(Judge(0, 20_000, Told("a") with { Leaving = true })));
        Assert.Equal("all alerts resolved: -a", Words(Judge(0, 60, Told("a") with { Leaving = true, State = AlertState.Resolved, ResolvedAt = Noon })));
    }

    private static GroupVerdict Judge(int? toldAtSecond, int second, params Member[] members) =>
        Grouping.Judge(toldAtSecond is { } told ? Noon.AddSeconds(told) : null, members, Interval, Repeat, null, Noon.AddSeconds(second));

    private static Guid Id(string name) => new(name[0], 0, 0, new byte[8]);

    private static Member Waiting(string name, int dueAtSecond, Severity severity = Severity.High) => new(Id(name), AlertState.Firing, severity, Noon.AddSeconds(dueAtSecond), null, Told: false);

    private static Member Told(string name, Severity severity = Severity.High) => Waiting(name, 0, severity) with { Told = true };

    private static string Words(GroupVerdict verdict) => string.Join("; ", verdict.Tellings.Select(told =>
        $"{told.Reason}: {string.Join(' ', told.Firing.Select(Name).Concat(told.Resolved.Select(id => $"-{Name(id)}")))}"));

    private static string Name(Guid id) => $"{(char)id.ToByteArray()[0]}";
}
