using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Platform.Alerting.OnCall;

/// <summary>What is wrong with a body, by the place of each fault.</summary>
public sealed class Faults
{
    /// <summary>Bound of lists within a document.</summary>
    public const int MostEntries = 50;

    public Dictionary<string, string[]> All { get; } = [];

    /// <returns>Whether it holds.</returns>
    public bool Require(string field, bool holds, string expected)
    {
        if (!holds)
        {
            All.TryAdd(field, [expected]);
        }

        return holds;
    }
}

/// <summary>A user, schedule or escalation policy as a client sends it.</summary>
public interface IPlanBody
{
    static abstract PlanKind Kind { get; }

    /// <summary>Only for callers of all realms: the realm it holds in, <c>*</c> for all. Others: their own.</summary>
    string? Realm { get; }

    /// <summary>On a change: the version that the change was made from; a newer one is not overwritten.</summary>
    int? Version { get; }

    /// <summary>What it says, or null when <paramref name="faults"/> has something.</summary>
    Draft? Check(Faults faults);
}

/// <summary>A body that was found to be right, but for what it names.</summary>
/// <param name="Refers">Plans that must exist, by the place where each is named.</param>
/// <param name="Channels">Channels that must exist, by the place where each is named.</param>
/// <param name="Methods">Of a user: where the contact methods lead.</param>
public sealed record Draft(
    string Name,
    object Document,
    IReadOnlyList<(string Place, string Reference)> Refers,
    IReadOnlyList<(string Place, string Channel)> Channels,
    IReadOnlyList<ContactMethodBody> Methods);

/// <summary>Names that are part of other documents: short, and readable in a log line.</summary>
internal static partial class OnCallName
{
    public const string Expected = "1 to 64 letters, digits, - _ and .";

    public static bool Holds(string? name) => name is not null && Shape().IsMatch(name);

    [GeneratedRegex(@"^[\p{L}\p{Nd}_.\-]{1,64}$")]
    private static partial Regex Shape();
}

/// <param name="Weekdays">The days on which the hours begin; none means every day.</param>
public sealed record WeeklyHoursBody(string? From, string? To, IReadOnlyList<string?>? Weekdays)
{
    internal static IReadOnlyList<WeeklyHours> Check(IReadOnlyList<WeeklyHoursBody?>? bodies, string place, Faults faults)
    {
        var hours = new List<WeeklyHours>();
        if (!faults.Require(place, bodies is null or { Count: <= Faults.MostEntries }, $"At most {Faults.MostEntries} entries."))
        {
            return hours;
        }

        for (var i = 0; i < (bodies?.Count ?? 0); i++)
        {
            var body = bodies![i];
            var (from, to) = (Clocks.ParseTime(body?.From), Clocks.ParseTime(body?.To));
            faults.Require($"{place}[{i}].from", from is not null, "A time of the wall clock, 00:00 to 23:59.");
            faults.Require($"{place}[{i}].to", to is not null, "A time of the wall clock, 00:00 to 23:59; earlier than from means the next day.");
            var weekdays = (body?.Weekdays ?? []).Select(Clocks.ParseWeekday).ToList();
            faults.Require($"{place}[{i}].weekdays", weekdays.All(day => day is not null), "monday to sunday.");
            hours.Add(new WeeklyHours(from ?? default, to ?? default, [.. weekdays.OfType<DayOfWeek>().Distinct()]));
        }

        return hours;
    }
}

public sealed record LayerBody(
    string? Name, int? Every, string? Unit, string? Handover, string? Weekday, string? StartsOn, string? EndsOn, IReadOnlyList<string?>? Participants, IReadOnlyList<WeeklyHoursBody?>? Restrictions);

/// <summary>A schedule as a client sends it.</summary>
/// <param name="Version">On a change: the version that the change was made from; a newer one is not overwritten.</param>
public sealed record ScheduleBody(string? Name, string? TimeZone, IReadOnlyList<LayerBody?>? Layers, string? Realm, int? Version) : IPlanBody
{
    private const int LongestTurn = 366;

    static PlanKind IPlanBody.Kind => PlanKind.Schedule;

    Draft? IPlanBody.Check(Faults faults)
    {
        faults.Require("name", OnCallName.Holds(Name), OnCallName.Expected);
        faults.Require("time_zone", Clocks.FindZone(TimeZone) is not null, "A time zone of the IANA list, for example Europe/Berlin.");
        if (!faults.Require("layers", Layers is { Count: >= 1 and <= 20 }, "1 to 20 layers of rotations."))
        {
            return null;
        }

        var layers = Layers!.Select((layer, i) => Check(layer ?? new(null, null, null, null, null, null, null, null, null), $"layers[{i}]", i, faults)).ToList();
        faults.Require(
            "layers", layers.Sum(layer => layer.Restrictions.Count) <= Schedule.MostRestrictions,
            $"At most {Schedule.MostRestrictions} restrictions in all layers together. Several weekdays with the same hours are one restriction.");
        return faults.All.Count > 0 ? null : new Draft(
            Name!,
            new Schedule(Name!, TimeZone!, layers),
            [.. layers.SelectMany((layer, i) => layer.Participants.Select((user, j) => ($"layers[{i}].participants[{j}]", OnCallStore.Reference(PlanKind.User, user))))],
            [],
            []);
    }

    private static Layer Check(LayerBody body, string place, int number, Faults faults)
    {
        faults.Require($"{place}.name", body.Name is null || OnCallName.Holds(body.Name) && body.Name != Schedule.Overridden, $"{OnCallName.Expected}; not \"{Schedule.Overridden}\".");
        RotationUnit? unit = body.Unit switch { "hours" => RotationUnit.Hours, "days" => RotationUnit.Days, "weeks" => RotationUnit.Weeks, _ => null };
        faults.Require($"{place}.unit", unit is not null, "hours, days or weeks.");
        faults.Require($"{place}.every", body.Every is null or (>= 1 and <= LongestTurn), $"Length of a turn in its unit, 1 to {LongestTurn}.");
        var handover = body.Handover is null ? default(TimeOnly) : Clocks.ParseTime(body.Handover);
        faults.Require($"{place}.handover", handover is not null, "A time of the wall clock, 00:00 to 23:59.");
        var weekday = Clocks.ParseWeekday(body.Weekday);
        faults.Require($"{place}.weekday", body.Weekday is null || weekday is not null && unit == RotationUnit.Weeks, "monday to sunday, and only with the unit weeks.");
        faults.Require($"{place}.starts_on", Date(body.StartsOn) is not null, "The first day, for example 2026-03-01.");
        faults.Require($"{place}.ends_on", body.EndsOn is null || Date(body.EndsOn) > Date(body.StartsOn), "A day after starts_on, or nothing.");
        faults.Require($"{place}.participants", body.Participants is { Count: >= 1 and <= Faults.MostEntries } && body.Participants.All(OnCallName.Holds), $"Names of 1 to {Faults.MostEntries} users, in the order of their turns.");
        var restrictions = WeeklyHoursBody.Check(body.Restrictions, $"{place}.restrictions", faults);
        return new Layer(
            body.Name ?? $"layer-{number + 1}", body.Every ?? 1, unit ?? default, handover ?? default, weekday, Date(body.StartsOn) ?? default, Date(body.EndsOn),
            [.. (body.Participants ?? []).Select(name => name ?? "")], restrictions);
    }

    // Far enough from both ends of the calendar that no arithmetic on it can leave it.
    private static DateOnly? Date(string? text) =>
        DateOnly.TryParseExact(text, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date) && date.Year is >= 1970 and <= 2200 ? date : null;
}

/// <param name="From">Now, when it is missing.</param>
public sealed record OverrideBody(string? User, DateTimeOffset? From, DateTimeOffset? To, string? Reason)
{
    private static readonly TimeSpan Longest = TimeSpan.FromDays(366);

    internal Override? Check(Faults faults, string by, DateTimeOffset now)
    {
        var from = From ?? now;
        faults.Require("user", OnCallName.Holds(User), "The name of a user.");
        faults.Require("to", To is { } to && to > from && to > now && to - from <= Longest, $"The end: in the future, after from, and at most {Longest.TotalDays:0} days after it.");
        faults.Require("reason", Reason is null or { Length: <= 500 }, "At most 500 characters.");
        return faults.All.Count > 0 ? null : new Override(Guid.CreateVersion7(now), User!, from.ToUniversalTime(), To!.Value.ToUniversalTime(), Reason ?? "", by, now);
    }
}

public sealed record EscalationTargetBody(string? Type, string? Name);

public sealed record EscalationStepBody(IReadOnlyList<EscalationTargetBody?>? Targets, int? EscalateAfterSeconds);

/// <summary>An escalation policy as a client sends it.</summary>
/// <param name="Version">On a change: the version that the change was made from; a newer one is not overwritten.</param>
public sealed record EscalationPolicyBody(string? Name, string? Description, IReadOnlyList<EscalationStepBody?>? Steps, int? Repeat, string? Realm, int? Version) : IPlanBody
{
    private const int MostSteps = 20;

    static PlanKind IPlanBody.Kind => PlanKind.Policy;

    Draft? IPlanBody.Check(Faults faults)
    {
        faults.Require("name", OnCallName.Holds(Name), OnCallName.Expected);
        faults.Require("description", Description is null or { Length: <= 2000 }, "At most 2000 characters.");
        faults.Require("repeat", Repeat is null or (>= 0 and <= 20), "How often all steps are repeated, 0 to 20.");
        if (!faults.Require("steps", Steps is { Count: >= 1 and <= MostSteps }, $"1 to {MostSteps} steps."))
        {
            return null;
        }

        var steps = new List<EscalationStep>();
        for (var i = 0; i < Steps!.Count; i++)
        {
            var targets = Steps[i]?.Targets ?? [];
            faults.Require($"steps[{i}].targets", targets.Count is >= 1 and <= 20, "1 to 20 targets.");
            faults.Require($"steps[{i}].escalate_after_seconds", Steps[i]?.EscalateAfterSeconds is null or (>= 1 and <= 7 * 86_400), "How long they have to acknowledge, 1 to 604800 seconds; 300 when it is missing.");
            var read = targets.Take(20).Select((target, j) => Check(target, $"steps[{i}].targets[{j}]", faults)).ToList();
            steps.Add(new EscalationStep([.. read.Distinct()], Steps[i]?.EscalateAfterSeconds ?? 300));
        }

        var named = steps.SelectMany((step, i) => step.Targets.Select((target, j) => (Place: $"steps[{i}].targets[{j}].name", Target: target))).ToList();
        return faults.All.Count > 0 ? null : new Draft(
            Name!,
            new EscalationPolicy(Name!, Description ?? "", steps, Repeat ?? 0),
            [.. named.Where(one => one.Target.Type != TargetType.Channel)
                .Select(one => (one.Place, OnCallStore.Reference(one.Target.Type == TargetType.User ? PlanKind.User : PlanKind.Schedule, one.Target.Name)))],
            [.. named.Where(one => one.Target.Type == TargetType.Channel).Select(one => (one.Place, one.Target.Name))],
            []);
    }

    private static EscalationTarget Check(EscalationTargetBody? body, string place, Faults faults)
    {
        TargetType? type = body?.Type switch { "user" => TargetType.User, "schedule" => TargetType.Schedule, "channel" => TargetType.Channel, _ => null };
        faults.Require($"{place}.type", type is not null, "user, schedule or channel.");
        faults.Require($"{place}.name", body?.Name is { Length: >= 1 and <= 200 }, "The name of the user, schedule or channel.");
        return new EscalationTarget(type ?? default, body?.Name ?? "");
    }
}

/// <param name="Type">Kind of the channel: email, ntfy, slack, webhook, pagerduty, teams.</param>
/// <param name="Target">The mail address, topic, URL or key, as the kind has it; not shown again.</param>
/// <param name="Settings">Further settings of the channel, as of any channel of this kind. On a change, a method without target and settings keeps what it has.</param>
public sealed record ContactMethodBody(string? Name, string? Type, string? Target, Dictionary<string, JsonElement>? Settings = null);

/// <param name="AfterSeconds">So long after the person was called; 0 when it is missing.</param>
public sealed record ContactRuleBody(string? Method, int? AfterSeconds);

/// <summary>Somebody who can be on call, as a client sends it.</summary>
/// <param name="HighUrgency">Which methods, when; all at once when it is missing.</param>
/// <param name="LowUrgency">As <paramref name="HighUrgency"/>.</param>
/// <param name="Version">On a change: the version that the change was made from; a newer one is not overwritten.</param>
public sealed record OnCallUserBody(
    string? Name,
    string? DisplayName,
    string? TimeZone,
    IReadOnlyList<ContactMethodBody?>? ContactMethods,
    IReadOnlyList<ContactRuleBody?>? HighUrgency,
    IReadOnlyList<ContactRuleBody?>? LowUrgency,
    IReadOnlyList<WeeklyHoursBody?>? QuietHours,
    string? Realm,
    int? Version) : IPlanBody
{
    private const int MostMethods = 10;

    static PlanKind IPlanBody.Kind => PlanKind.User;

    Draft? IPlanBody.Check(Faults faults)
    {
        faults.Require("name", OnCallName.Holds(Name), OnCallName.Expected);
        faults.Require("display_name", DisplayName is null or { Length: <= 200 }, "At most 200 characters.");
        faults.Require("time_zone", TimeZone is null || Clocks.FindZone(TimeZone) is not null, "A time zone of the IANA list, for example Europe/Berlin; UTC when it is missing.");
        var quiet = WeeklyHoursBody.Check(QuietHours, "quiet_hours", faults);
        if (!faults.Require("contact_methods", ContactMethods is { Count: >= 1 and <= MostMethods }, $"1 to {MostMethods} ways to reach this person."))
        {
            return null;
        }

        var methods = ContactMethods!.Select(method => method ?? new(null, null, null)).ToList();
        for (var i = 0; i < methods.Count; i++)
        {
            faults.Require($"contact_methods[{i}].name", OnCallName.Holds(methods[i].Name), OnCallName.Expected);
            faults.Require($"contact_methods[{i}].name", methods.Take(i).All(other => other.Name != methods[i].Name), "A name that no other method of this person has.");
            faults.Require($"contact_methods[{i}].type", PersonalChannels.Types.Contains(methods[i].Type), $"One of {string.Join(", ", PersonalChannels.Types)}.");
            faults.Require($"contact_methods[{i}].target", methods[i].Target is null or { Length: >= 1 and <= 2000 }, "The mail address, topic, URL or key; at most 2000 characters.");
        }

        var names = methods.Select(method => method.Name).ToHashSet();
        var high = Rules(HighUrgency, "high_urgency", methods, names, faults);
        var low = Rules(LowUrgency, "low_urgency", methods, names, faults);
        return faults.All.Count > 0 ? null : new Draft(
            Name!,
            new OnCallUser(Name!, DisplayName ?? Name!, TimeZone ?? "UTC", [.. methods.Select(method => new ContactMethod(method.Name!, method.Type!))], high, low, quiet),
            [],
            [],
            methods);
    }

    private static List<ContactRule> Rules(IReadOnlyList<ContactRuleBody?>? rules, string place, List<ContactMethodBody> methods, HashSet<string?> names, Faults faults)
    {
        if (rules is null)
        {
            return [.. methods.Select(method => new ContactRule(method.Name ?? "", 0))];
        }

        faults.Require(place, rules.Count <= Faults.MostEntries, $"At most {Faults.MostEntries} entries.");
        for (var i = 0; i < rules.Count; i++)
        {
            faults.Require($"{place}[{i}].method", names.Contains(rules[i]?.Method), "The name of one of contact_methods.");
            faults.Require($"{place}[{i}].after_seconds", rules[i]?.AfterSeconds is null or (>= 0 and <= 86_400), "0 to 86400 seconds.");
        }

        return [.. rules.Select(rule => new ContactRule(rule?.Method ?? "", rule?.AfterSeconds ?? 0))];
    }
}
