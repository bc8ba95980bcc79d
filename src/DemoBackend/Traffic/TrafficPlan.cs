using System.Collections.Immutable;

namespace Platform.DemoBackend.Traffic;

/// <summary>One thing that somebody does to the backend.</summary>
public abstract record Act
{
    public sealed record SignUp(int Person) : Act;

    public sealed record SignIn(int Person, bool MistypeFirst) : Act;

    public sealed record SignOut(int Person) : Act;

    public sealed record RefreshToken(int Person) : Act;

    public sealed record ChangePassword(int Person) : Act;

    public sealed record ChangeConsent(int Person, string Purpose, bool Grant) : Act;

    public sealed record DeliverWebhook(int Person, string Target) : Act;

    /// <summary>Somebody without the right asks for a role: a permission is denied.</summary>
    public sealed record Overreach(int Person) : Act;

    /// <summary>The administrator reads an account, gives it a role or takes the role away again.</summary>
    public sealed record Administer(int Person, string Role, AdministerBy By) : Act;

    /// <summary>An attacker tries one password.</summary>
    public sealed record Guess(string Address, string UserName) : Act;

    public sealed record BreakDependency(string Name) : Act;
}

public enum AdministerBy
{
    Reading,
    AssigningRole,
    RevokingRole,
    ChangingSetting,
}

/// <summary>A brute-force burst under way.</summary>
public sealed record Burst(string Address, int GuessesLeft);

/// <summary>What the town is doing. Immutable: <see cref="TrafficPlan.Next"/> makes the next one.</summary>
/// <param name="People">How many have an account.</param>
public sealed record TrafficState(int People, ImmutableSortedSet<int> SignedIn, Burst? Burst, DateTimeOffset NextBurst, DateTimeOffset NextOutage);

/// <summary>Decides who does what next, and when. Pure: the same random numbers and times make the same town.</summary>
public sealed class TrafficPlan(DemoOptions options, int seed)
{
    private const double GuessesPerSecond = 4;
    private const int FewestGuesses = 8;
    private const int MostGuesses = 25;

    private static readonly string[] GuessedNames = ["root", "admin", "administrator", "test", "user", "oracle", "postgres", "support", "info", "guest", "backup", "webmaster"];
    private static readonly string[] Purposes = ["marketing", "analytics", "newsletter"];
    private static readonly string[] Roles = ["auditor", "support", "editor"];
    private static readonly string[] Targets = ["crm", "billing", "warehouse"];

    public TrafficState Begin(DateTimeOffset now, Random random) =>
        new(options.TrafficPeople, [], null, now.AddSeconds(options.FirstBurstSeconds), now.AddMinutes(options.OutageMinutes * (0.5 + random.NextDouble())));

    /// <summary>How much of the busiest hour's traffic there is: little at night, most before noon, a dip at lunch, half on weekends. From 0.15 to 1.</summary>
    public static double DayCurve(DateTimeOffset now)
    {
        var hour = now.UtcDateTime.TimeOfDay.TotalHours;
        var morning = Math.Exp(-Math.Pow((hour - 10.5) / 2.6, 2));
        var afternoon = 0.85 * Math.Exp(-Math.Pow((hour - 15.5) / 3.2, 2));
        var weekend = now.UtcDateTime.DayOfWeek is DayOfWeek.Saturday or DayOfWeek.Sunday;
        return 0.15 + (0.85 * Math.Min(1, morning + afternoon) * (weekend ? 0.5 : 1));
    }

    /// <summary>How long until somebody does something: arrivals are independent of each other, so the waits are exponential.</summary>
    public TimeSpan Wait(TrafficState state, DateTimeOffset now, Random random)
    {
        var perSecond = (options.TrafficRate * DayCurve(now)) + (state.Burst is null ? 0 : GuessesPerSecond);
        var wait = TimeSpan.FromSeconds(Math.Min(-Math.Log(1 - random.NextDouble()) / perSecond, 60));

        // Nobody sleeps through the start of a burst or an outage.
        var soonest = state.NextBurst < state.NextOutage ? state.NextBurst : state.NextOutage;
        var until = soonest > now ? soonest - now : TimeSpan.Zero;
        return state.Burst is null && until < wait ? until : wait;
    }

    /// <summary>What happens at <paramref name="now"/>, and the town afterwards.</summary>
    public (Act Act, TrafficState After) Next(TrafficState state, DateTimeOffset now, Random random)
    {
        if (now >= state.NextOutage)
        {
            var dependency = Administration.Dependencies.Names[random.Next(Administration.Dependencies.Names.Count)];
            return (new Act.BreakDependency(dependency), state with { NextOutage = now.AddMinutes(options.OutageMinutes * (0.5 + random.NextDouble())) });
        }

        if (state.Burst is null && now >= state.NextBurst)
        {
            // TEST-NET-2 and TEST-NET-3: addresses that documentation uses for strangers.
            var address = $"{(random.Next(2) == 0 ? "203.0.113" : "198.51.100")}.{random.Next(1, 255)}";
            state = state with { Burst = new(address, random.Next(FewestGuesses, MostGuesses)), NextBurst = now.AddMinutes(options.BurstMinutes * (0.5 + random.NextDouble())) };
        }

        var usual = options.TrafficRate * DayCurve(now);
        return state.Burst is { } burst && random.NextDouble() * (usual + GuessesPerSecond) >= usual ? NextGuess(state, burst, random) : NextUsual(state, random);
    }

    private (Act, TrafficState) NextGuess(TrafficState state, Burst burst, Random random)
    {
        var name = random.Next(3) == 0 ? Town.Person(seed, random.Next(state.People)).UserName : GuessedNames[random.Next(GuessedNames.Length)];
        return (new Act.Guess(burst.Address, name), state with { Burst = burst.GuessesLeft > 1 ? burst with { GuessesLeft = burst.GuessesLeft - 1 } : null });
    }

    private (Act, TrafficState) NextUsual(TrafficState state, Random random)
    {
        var dice = random.Next(100);
        if (dice < 2 && state.People < options.TrafficPeople * 2)
        {
            return (new Act.SignUp(state.People), state with { People = state.People + 1 });
        }

        if (dice < 6)
        {
            var by = (AdministerBy)random.Next(4);
            return (new Act.Administer(random.Next(state.People), Roles[random.Next(Roles.Length)], by), state);
        }

        var person = random.Next(state.People);
        if (!state.SignedIn.Contains(person))
        {
            var slips = random.Next(Town.Person(seed, person).MistypesOneIn) == 0;
            return (new Act.SignIn(person, slips), state with { SignedIn = state.SignedIn.Add(person) });
        }

        return random.Next(100) switch
        {
            < 45 => (new Act.RefreshToken(person), state),
            < 70 => (new Act.SignOut(person), state with { SignedIn = state.SignedIn.Remove(person) }),
            < 82 => (new Act.DeliverWebhook(person, Targets[random.Next(Targets.Length)]), state),
            < 94 => (new Act.ChangeConsent(person, Purposes[random.Next(Purposes.Length)], random.Next(3) > 0), state),
            < 97 => (new Act.Overreach(person), state),
            _ => (new Act.ChangePassword(person), state),
        };
    }
}
