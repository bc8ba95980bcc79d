using Platform.Health.Checks;
using static Platform.Contracts.HealthState;

namespace Platform.Health.Tests;

public sealed class CheckStateTests
{
    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);
    private static readonly Thresholds ThreeTwo = new(3, 2);

    // H, D and U are results; the states after each of them follow, with ? for unknown.
    [Theory]
    [InlineData("H", "H")]
    [InlineData("UUU", "??U")]
    [InlineData("UUHUU", "??HHH")]
    [InlineData("HUUU", "HHHU")]
    [InlineData("HUUHUUU", "HHHHHHU")]
    [InlineData("HDDD", "HHHD")]
    [InlineData("HUDU", "HHHD")]
    [InlineData("HUDUUUU", "HHHDDDU")]
    [InlineData("UUUHH", "??UUH")]
    [InlineData("UUUHUHH", "??UUUUH")]
    [InlineData("UUUDD", "??UUD")]
    [InlineData("UUUDH", "??UUD")]
    [InlineData("UUUDHHH", "??UUDDH")]
    [InlineData("DDDUUU", "??DDDU")]
    [InlineData("DDDUHUH", "??DDDDD")]
    [InlineData("DDDHH", "??DDH")]
    public void A_state_changes_when_a_streak_reaches_its_threshold(string results, string states)
    {
        var state = CheckState.New(Noon);
        var seen = "";
        for (var run = 0; run < results.Length; run++)
        {
            (state, _) = state.Take(Result(results[run], run), ThreeTwo);
            seen += state.State.ToString()[0] switch { 'U' when state.State == Unknown => '?', var letter => letter };
        }

        Assert.Equal(states, seen);
    }

    [Fact]
    public void A_change_tells_where_from_where_to_when_and_why()
    {
        var (state, changes) = Run("HUUU");

        Assert.Equal(new StateChange(Healthy, Unhealthy, Noon.AddSeconds(45), "run 3"), changes[^1]);
        Assert.Equal(Noon.AddSeconds(45), state.Since);
        Assert.Equal(3, state.ConsecutiveFailures);
        Assert.Equal(2, changes.Count);
    }

    [Theory]
    [InlineData("H", false)]
    [InlineData("UUU", true)]
    [InlineData("DDD", true)]
    public void Being_found_well_at_first_is_no_news_but_being_found_unwell_is(string results, bool isNews)
    {
        var (_, changes) = Run(results);

        Assert.Equal(isNews, Assert.Single(changes).IsNews);
    }

    [Fact]
    public void Recovery_is_news()
    {
        var (_, changes) = Run("UUUHH");

        Assert.Equal((Unhealthy, Healthy, true), (changes[^1].Previous, changes[^1].Current, changes[^1].IsNews));
    }

    [Fact]
    public void Consecutive_failures_count_on_behind_the_threshold_and_end_with_a_success()
    {
        Assert.Equal(7, Run("UUUDUUU").State.ConsecutiveFailures);
        Assert.Equal(0, Run("UUUDUUUH").State.ConsecutiveFailures);
    }

    [Fact]
    public void Since_stays_while_the_state_stays()
    {
        Assert.Equal(Noon, Run("HHUUHHDH").State.Since);
    }

    private static (CheckState State, List<StateChange> Changes) Run(string results)
    {
        var state = CheckState.New(Noon);
        var changes = new List<StateChange>();
        for (var run = 0; run < results.Length; run++)
        {
            (state, var change) = state.Take(Result(results[run], run), ThreeTwo);
            if (change is not null)
            {
                changes.Add(change);
            }
        }

        return (state, changes);
    }

    private static CheckResult Result(char letter, int run) =>
        new(Noon.AddSeconds(15 * run), letter switch { 'H' => Healthy, 'D' => Degraded, _ => Unhealthy }, TimeSpan.FromMilliseconds(3), $"run {run}", ProbeAnswer.NoDetails);
}
