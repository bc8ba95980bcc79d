using Platform.Health.Checks;
using Platform.Testing;

namespace Platform.Health.Tests;

public sealed class GridTests
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(15);

    [Fact]
    public void A_late_run_does_not_shift_the_following_ones()
    {
        var clock = new TestClock();
        var grid = Grid.For("shop", Interval);
        var first = grid.After(clock.Now);

        var due = first;
        for (var run = 1; run <= 1_000; run++)
        {
            // Every run begins late, by up to nine seconds.
            clock.Now = due.AddMilliseconds(run * 37 % 9_000);
            due = grid.After(clock.Now);

            Assert.Equal(first + run * Interval, due);
        }
    }

    [Fact]
    public void Points_that_passed_during_a_long_run_are_left_out()
    {
        var grid = Grid.For("shop", Interval);
        var due = grid.After(new TestClock().Now);

        Assert.Equal(due + 3 * Interval, grid.After(due + TimeSpan.FromSeconds(44)));
    }

    [Fact]
    public void A_point_is_not_its_own_successor()
    {
        var grid = Grid.For("shop", Interval);
        var due = grid.After(new TestClock().Now);

        Assert.Equal(due + Interval, grid.After(due));
        Assert.Equal(due, grid.After(due.AddTicks(-1)));
    }

    [Fact]
    public void Every_replica_has_the_same_points_and_components_are_spread_over_the_interval()
    {
        var now = new TestClock().Now;
        var dues = Enumerable.Range(0, 100).Select(number => Grid.For($"target-{number}", Interval).After(now)).ToArray();

        Assert.Equal(dues, Enumerable.Range(0, 100).Select(number => Grid.For($"target-{number}", Interval).After(now)));
        Assert.All(dues, due => Assert.InRange(due, now.AddTicks(1), now + Interval));
        Assert.True(dues.Select(due => (int)(due - now).TotalSeconds).Distinct().Count() >= 12, "nearly every second of the interval has a check");
    }
}
