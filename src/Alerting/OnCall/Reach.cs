using Platform.ServiceDefaults;

namespace Platform.Alerting.OnCall;

/// <summary>
/// Whom a step's targets mean at a moment: the people, the channels that lead to them, and why somebody is reached later or not at all.
/// The same for pages that go out and for a backtest, which asks about moments of the past.
/// </summary>
/// <param name="find">What a name means in the realm of the alert.</param>
/// <param name="overrides">Of a schedule, at least those that touch the moment.</param>
internal sealed class Reach(Func<PlanKind, string, Task<Plan?>> find, Func<Plan, Task<IReadOnlyList<Override>>> overrides)
{
    /// <summary>Everybody, each channel once.</summary>
    public async Task<IReadOnlyList<Told>> AtAsync(EscalationStep step, Urgency urgency, DateTimeOffset moment)
    {
        var told = new List<Told>();
        foreach (var target in step.Targets)
        {
            switch (target.Type)
            {
                case TargetType.Channel:
                    Add(new Told($"{target}", null, target.Name, moment, ""));
                    break;
                case TargetType.User:
                    await AddUserAsync($"{target}", target.Name);
                    break;
                case TargetType.Schedule:
                    if (await find(PlanKind.Schedule, target.Name) is not { } plan)
                    {
                        Add(new Told($"{target}", null, null, null, "there is no such schedule"));
                        break;
                    }

                    var schedule = plan.As<Schedule>();
                    if (schedule.UnknownZone is { } note)
                    {
                        Add(new Told($"{target}", null, null, null, note));
                    }

                    if (schedule.WhoIsOnCall(await overrides(plan), moment) is { } user)
                    {
                        await AddUserAsync($"{target}", user);
                    }
                    else
                    {
                        Add(new Told($"{target}", null, null, null, "nobody is on call"));
                    }

                    break;
            }
        }

        return told;

        void Add(Told one)
        {
            if (one.Channel is null || told.All(other => other.Channel != one.Channel))
            {
                told.Add(one);
            }
        }

        async Task AddUserAsync(string target, string name)
        {
            if (await find(PlanKind.User, name) is not { } plan)
            {
                Add(new Told(target, name, null, null, "there is no such user"));
                return;
            }

            var calls = plan.As<OnCallUser>().Calls(urgency, moment);
            foreach (var call in calls)
            {
                Add(new Told(target, name, PersonalChannels.NameOf(name, call.Method), call.At, call.Reason));
            }

            if (calls.Count == 0)
            {
                Add(new Told(target, name, null, null, $"has no contact method for {WireJson.Name(urgency.ToString())} urgency"));
            }
        }
    }
}
