using Platform.DemoBackend.Traffic;

namespace Platform.DemoBackend.Tests;

public sealed class TrafficPlanTests
{
    private static readonly DateTimeOffset TuesdayMorning = new(2026, 3, 3, 10, 0, 0, TimeSpan.Zero);
    private static readonly DemoOptions Options = new();

    [Fact]
    public void The_same_seed_decides_the_same()
    {
        Assert.Equal(Play(7, hours: 1), Play(7, hours: 1));
        Assert.NotEqual(Play(7, hours: 1), Play(8, hours: 1));
    }

    [Fact]
    public void The_first_burst_fails_five_times_from_one_address_within_half_a_minute_of_the_start()
    {
        foreach (var seed in Enumerable.Range(1, 50))
        {
            var early = Play(seed, hours: 0.05).Where(step => step.At < TuesdayMorning.AddSeconds(30)).Select(step => step.Act).OfType<Act.Guess>();

            Assert.Contains(early.GroupBy(guess => guess.Address), address => address.Count() >= 5);
        }
    }

    [Fact]
    public void Only_attackers_fail_five_times_within_five_minutes()
    {
        foreach (var seed in Enumerable.Range(1, 10))
        {
            var slips = Play(seed, hours: 8).Where(step => step.Act is Act.SignIn { MistypeFirst: true }).GroupBy(step => ((Act.SignIn)step.Act).Person);

            Assert.All(slips, person =>
            {
                var at = person.Select(step => step.At).ToArray();
                Assert.DoesNotContain(Enumerable.Range(0, Math.Max(0, at.Length - 4)), first => at[first + 4] - at[first] <= TimeSpan.FromMinutes(5));
            });
        }
    }

    [Fact]
    public void A_working_day_brings_bursts_and_outages_again_and_again_and_everything_else_too()
    {
        var acts = Play(3, hours: 8).Select(step => step.Act).ToArray();

        Assert.InRange(acts.OfType<Act.Guess>().Select(guess => guess.Address).Distinct().Count(), 30, 90);
        Assert.InRange(acts.OfType<Act.BreakDependency>().Count(), 10, 40);
        Assert.Equal(11, acts.Select(act => act.GetType()).Distinct().Count());
        Assert.InRange(acts.OfType<Act.SignUp>().Count(), 1, Options.TrafficPeople);
    }

    [Fact]
    public void Nobody_signs_in_twice_without_signing_out()
    {
        var inside = new HashSet<int>();
        foreach (var act in Play(4, hours: 4).Select(step => step.Act))
        {
            switch (act)
            {
                case Act.SignIn(var person, _):
                    Assert.True(inside.Add(person));
                    break;
                case Act.SignOut(var person):
                    Assert.True(inside.Remove(person));
                    break;
                default:
                    break;
            }
        }
    }

    [Theory]
    [InlineData(3, 0.15, 0.25)]
    [InlineData(10, 0.9, 1.0)]
    [InlineData(15, 0.8, 1.0)]
    [InlineData(22, 0.15, 0.35)]
    public void Nights_are_quiet_and_mornings_busy(int hour, double least, double most) =>
        Assert.InRange(TrafficPlan.DayCurve(TuesdayMorning.Date.AddHours(hour)), least, most);

    [Fact]
    public void Weekends_are_half_as_busy() =>
        Assert.True(TrafficPlan.DayCurve(TuesdayMorning.AddDays(4)) < 0.7 * TrafficPlan.DayCurve(TuesdayMorning));

    [Fact]
    public void Everybody_has_a_name_and_an_address_of_their_own()
    {
        var people = Enumerable.Range(0, 4_000).Select(number => Town.Person(1, number)).ToArray();

        Assert.Equal(people.Length, people.Select(person => person.UserName).Distinct().Count());
        Assert.Equal(people.Length, people.Select(person => person.Address).Distinct().Count());
        Assert.All(people, person => Assert.True(System.Net.IPAddress.TryParse(person.Address, out _)));
    }

    private static List<(DateTimeOffset At, Act Act)> Play(int seed, double hours)
    {
        var (plan, random, now) = (new TrafficPlan(Options, seed), new Random(seed), TuesdayMorning);
        var state = plan.Begin(now, random);
        var steps = new List<(DateTimeOffset, Act)>();
        while (now < TuesdayMorning.AddHours(hours))
        {
            now += plan.Wait(state, now, random);
            (var act, state) = plan.Next(state, now, random);
            steps.Add((now, act));
        }

        return steps;
    }
}
