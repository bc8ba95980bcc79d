using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Rules;

/// <summary>
/// What a rule asks of the events of a group within its window, beyond their number. All of it is judged in event time, by the pure
/// deciders in <c>Windows/</c>.
/// </summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "type")]
[JsonDerivedType(typeof(Distinct), "distinct")]
[JsonDerivedType(typeof(Ratio), "ratio")]
[JsonDerivedType(typeof(Sequence), "sequence")]
[JsonDerivedType(typeof(Absence), "absence")]
[JsonDerivedType(typeof(Travel), "travel")]
public abstract record Condition
{
    /// <summary>Equal for conditions that mean the same; what the database keeps.</summary>
    [JsonIgnore]
    public string Text => JsonSerializer.Serialize(this, WireJson.Options);

    public static Condition? Parse(string? text) => text is null ? null : JsonSerializer.Deserialize<Condition>(text, WireJson.Options);

    /// <summary>
    /// At least as many events as the rule's threshold, with at least so many different values of one or two fields.
    /// </summary>
    /// <param name="AtMostEach">
    /// Events with a value of this field that more than so many events in the window share are left out of all counts. So an attack that
    /// tries everybody once or twice is seen through the noise of somebody who tries again and again.
    /// </param>
    public sealed record Distinct(IReadOnlyDictionary<string, int> AtLeast, IReadOnlyDictionary<string, int> AtMostEach) : Condition
    {
        /// <summary>The fields that are looked at, at most two, always in this order.</summary>
        [JsonIgnore]
        public string[] Fields => [.. AtLeast.Keys.Concat(AtMostEach.Keys).Distinct().Order(StringComparer.Ordinal)];
    }

    /// <summary>Of the events that match <paramref name="Of"/>, at least this part matches the rule, too.</summary>
    /// <param name="AtLeast">Above 0, at most 1.</param>
    /// <param name="Minimum">Fewer events than this prove nothing.</param>
    public sealed record Ratio(RuleMatch Of, double AtLeast, int Minimum) : Condition;

    /// <summary>
    /// An event of the rule within its window after <paramref name="Count"/> events that match <paramref name="After"/> and happened within
    /// <paramref name="WithinSeconds"/>. The alert lasts a window from the last such event.
    /// </summary>
    /// <param name="AfterGroupBy">Where the earlier events have the values of <see cref="Rule.GroupBy"/>; alternatives are separated by <c>|</c>.</param>
    public sealed record Sequence(RuleMatch After, IReadOnlyList<string> AfterGroupBy, int Count, int WithinSeconds) : Condition;

    /// <summary>No event for a whole window after the last one of the group. It is over when one comes.</summary>
    /// <param name="FromStart">Also when there never was one: the window begins with the rule.</param>
    public sealed record Absence(bool FromStart) : Condition;

    /// <summary>
    /// Two events of the group within the window, so far apart (tags <c>latitude</c>, <c>longitude</c>) that nobody travels that fast.
    /// Events whose tag <c>proxy</c> is true, or whose <c>ip_address</c> is in one of the networks, say nothing about a place.
    /// </summary>
    public sealed record Travel(double Kilometres, double KilometresPerHour, IReadOnlyList<string> IgnoredNetworks) : Condition;
}

/// <summary>A condition as a client sends it; which members belong to it depends on the type.</summary>
public sealed record ConditionBody(
    string? Type,
    JsonElement? AtLeast,
    Dictionary<string, int>? AtMostEach,
    RuleMatchBody? Of,
    int? Minimum,
    RuleMatchBody? After,
    IReadOnlyList<string?>? AfterGroupBy,
    int? Count,
    int? WithinSeconds,
    bool? FromStart,
    double? Kilometres,
    double? KilometresPerHour,
    IReadOnlyList<string?>? IgnoredNetworks)
{
    private const int MostFields = 2;

    /// <summary>The condition; null when <paramref name="errors"/> got a reason why not.</summary>
    /// <param name="groupBy">Of the rule, for which it is the default in <c>after_group_by</c>.</param>
    /// <param name="realm">The rule's.</param>
    public Condition? Check(IReadOnlyList<string> groupBy, string realm, int threshold, int windowSeconds, Dictionary<string, string[]> errors)
    {
        var before = errors.Count;
        Condition? condition = Type switch
        {
            "distinct" => CheckDistinct(errors),
            "ratio" => CheckRatio(errors),
            "sequence" => CheckSequence(groupBy, windowSeconds, errors),
            "absence" => new Condition.Absence(FromStart ?? false),
            "travel" => CheckTravel(errors),
            _ => null,
        };
        if (condition is null && errors.Count == before)
        {
            errors["condition.type"] = ["One of distinct, ratio, sequence, absence, travel. A rule that only counts has no condition."];
        }

        foreach (var (member, given, types) in Members())
        {
            if (given && condition is not null && !types.Contains(Type))
            {
                errors[$"condition.{member}"] = [$"Has no meaning for the type {Type}. Leave it out."];
            }
        }

        if (condition is not null and not Condition.Distinct && threshold != 1)
        {
            errors["threshold"] = [$"Leave it out: a condition of type {Type} has no threshold of its own."];
        }

        if (condition is Condition.Absence { FromStart: true } && (groupBy.Count > 0 || realm == Realm.All))
        {
            errors["condition.from_start"] = ["Only for a rule of one realm without group_by: nobody knows which groups should have come."];
        }

        return errors.Count == before ? condition : null;
    }

    private IEnumerable<(string Member, bool Given, string[] Types)> Members() =>
    [
        ("at_least", AtLeast is not null, ["distinct", "ratio"]),
        ("at_most_each", AtMostEach is not null, ["distinct"]),
        ("of", Of is not null, ["ratio"]),
        ("minimum", Minimum is not null, ["ratio"]),
        ("after", After is not null, ["sequence"]),
        ("after_group_by", AfterGroupBy is not null, ["sequence"]),
        ("count", Count is not null, ["sequence"]),
        ("within_seconds", WithinSeconds is not null, ["sequence"]),
        ("from_start", FromStart is not null, ["absence"]),
        ("kilometres", Kilometres is not null, ["travel"]),
        ("kilometres_per_hour", KilometresPerHour is not null, ["travel"]),
        ("ignored_networks", IgnoredNetworks is not null, ["travel"]),
    ];

    private Condition.Distinct CheckDistinct(Dictionary<string, string[]> errors)
    {
        const string expected = "An object with fields and numbers, for example {\"tags.user_id\": 15}: at least so many different values.";
        var atLeast = new Dictionary<string, int>();
        if (AtLeast is { ValueKind: JsonValueKind.Object } given)
        {
            foreach (var member in given.EnumerateObject())
            {
                atLeast[member.Name] = member.Value.ValueKind == JsonValueKind.Number && member.Value.TryGetInt32(out var number) ? number : 0;
            }
        }

        var condition = new Condition.Distinct(atLeast, AtMostEach ?? []);
        Require(errors, "at_least", atLeast.Count > 0, expected);
        Require(errors, "at_least", condition.Fields.Length <= MostFields, "At most two fields, those of at_most_each included.");
        Require(errors, "at_most_each", condition.AtMostEach.Count <= 1, "At most one field.");
        foreach (var (member, field, number) in atLeast.Select(one => ("at_least", one.Key, one.Value)).Concat(condition.AtMostEach.Select(one => ("at_most_each", one.Key, one.Value))))
        {
            Require(errors, $"{member}.{field}", EventField.Parse(field) is not null, "source, level, event_type or tags.<name>, for example tags.user_id.");
            Require(errors, $"{member}.{field}", number is >= 1 and <= 10_000, "A whole number from 1 to 10000.");
        }

        return condition;
    }

    private Condition.Ratio CheckRatio(Dictionary<string, string[]> errors)
    {
        var atLeast = AtLeast is { ValueKind: JsonValueKind.Number } given ? given.GetDouble() : 0;
        Require(errors, "at_least", atLeast is > 0 and <= 1, "The part that must match, above 0 and at most 1: 0.2 is one in five.");
        Require(errors, "minimum", Minimum is >= 1 and <= 1_000_000, "A whole number from 1 to 1000000: fewer events than this prove nothing.");
        return new Condition.Ratio(RuleMatchBody.Check(Of, "condition.of", errors), atLeast, Minimum ?? 0);
    }

    private Condition.Sequence CheckSequence(IReadOnlyList<string> groupBy, int windowSeconds, Dictionary<string, string[]> errors)
    {
        string[] afterGroupBy = [.. AfterGroupBy?.Select(entry => entry ?? "") ?? groupBy];
        Require(errors, "after_group_by", afterGroupBy.Length == groupBy.Count, "As many entries as group_by, in the same order: where the earlier events have the same values.");
        for (var i = 0; i < afterGroupBy.Length; i++)
        {
            Require(errors, $"after_group_by[{i}]", afterGroupBy[i].Split('|').All(entry => EventField.Parse(entry) is not null),
                "source, level, event_type or tags.<name>; several with | between them, of which the first that the event has counts.");
        }

        Require(errors, "count", Count is null or (>= 1 and <= 1000), "A whole number from 1 to 1000: how many earlier events it takes.");
        Require(errors, "within_seconds", WithinSeconds is null or (>= 1 and <= 86_400), "A whole number from 1 to 86400: the seconds within which the earlier events happen.");
        return new Condition.Sequence(RuleMatchBody.Check(After, "condition.after", errors), afterGroupBy, Count ?? 1, WithinSeconds ?? windowSeconds);
    }

    private Condition.Travel CheckTravel(Dictionary<string, string[]> errors)
    {
        Require(errors, "kilometres", Kilometres is >= 1 and <= 20_000, "A number from 1 to 20000: shorter distances say nothing.");
        Require(errors, "kilometres_per_hour", KilometresPerHour is >= 1 and <= 100_000, "A number from 1 to 100000.");
        string[] networks = [.. (IgnoredNetworks ?? []).Select(network => network ?? "")];
        for (var i = 0; i < networks.Length; i++)
        {
            Require(errors, $"ignored_networks[{i}]", IPNetwork.TryParse(networks[i], out _), "A network, for example 203.0.113.0/24.");
        }

        Require(errors, "ignored_networks", networks.Length <= 1000, "At most 1000 networks.");
        return new Condition.Travel(Kilometres ?? 0, KilometresPerHour ?? 0, networks);
    }

    private static void Require(Dictionary<string, string[]> errors, string member, bool holds, string expected)
    {
        if (!holds)
        {
            errors.TryAdd($"condition.{member}", [expected]);
        }
    }
}
