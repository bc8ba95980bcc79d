using System.Text.Json;
using Platform.Alerting.Alerts;

namespace Platform.Alerting.Rules;

/// <summary>A rule as a client sends it. <see cref="Check"/> turns it into one, or says everything that is wrong with it.</summary>
/// <param name="Realm">Only for callers of all realms: the realm it holds in, <c>*</c> for all. Others: their own.</param>
/// <param name="Query">PromQL: then it is no rule over events but one of a rule group, see <see cref="RuleGroups.SimpleRules"/>.</param>
/// <param name="Version">On a change: the version that the change was made from; a newer one is not overwritten.</param>
public sealed record RuleBody(
    string? Name,
    string? Description,
    RuleMatchBody? Match,
    int? Threshold,
    int? WindowSeconds,
    IReadOnlyList<string?>? GroupBy,
    string? Severity,
    bool? Enabled,
    string? Realm,
    JsonElement? Query,
    int? Version,
    ConditionBody? Condition = null,
    IReadOnlyList<string?>? NotDuring = null,
    Dictionary<string, string?>? Labels = null,
    Dictionary<string, string?>? Annotations = null)
{
    private const int MostLabels = 32;
    private const int MostTimes = 50;
    /// <summary>Of a rule with a query: above this is an alert, unless the query compares for itself.</summary>
    public double? ThresholdValue { get; init; }

    /// <summary>Of a rule with a query: how long it must hold, like <c>5m</c>.</summary>
    public string? For { get; init; }

    private static readonly string[] ReservedLabels = ["alertname", "severity", "realm", "rule_id"];
    private static readonly string[] ReservedAnnotations = ["summary", "description"];

    /// <summary>The rule, or all errors by the name of their field.</summary>
    public (Rule? Rule, Dictionary<string, string[]> Errors) Check(Guid id, string realm, string by, DateTimeOffset now)
    {
        var errors = new Dictionary<string, string[]>();
        if (Query is { ValueKind: not (JsonValueKind.Null or JsonValueKind.Undefined) })
        {
            errors["query"] = ["This rule counts events: describe them with match, threshold, window_seconds and group_by. A rule with a query is another one; make it with POST /api/v1/monitoring/rules."];
            return (null, errors);
        }

        Require("name", Name is { Length: > 0 and <= 100 } && !string.IsNullOrWhiteSpace(Name), "A name of 1 to 100 characters.");
        Require("description", Description is null or { Length: <= 2000 }, "At most 2000 characters.");
        Require("threshold", Threshold is >= 1 and <= 10_000 || (Threshold is null && Condition is not null), "A whole number from 1 to 10000: how many events make an alert.");
        Require("window_seconds", WindowSeconds is >= 1 and <= 86_400, "A whole number from 1 to 86400: the seconds within which they happen.");
        var severity = Severities.Parse(Severity);
        Require("severity", severity is not null, "One of critical, high, medium, low, info.");
        var match = RuleMatchBody.Check(Match, "match", errors);
        var groupBy = CheckGroupBy(errors);
        var notDuring = CheckTimes(errors);
        CheckLabels(groupBy, errors);
        var condition = Condition?.Check(groupBy, realm, Threshold ?? 1, WindowSeconds ?? 1, errors);
        if (errors.Count > 0)
        {
            return (null, errors);
        }

        return (
            new Rule(id, realm, Name!, Description ?? "", match, Threshold ?? 1, WindowSeconds!.Value, groupBy, severity!.Value, Enabled ?? true, by, now, now, 1)
            {
                Condition = condition,
                NotDuring = notDuring,
                Labels = (Labels ?? []).ToDictionary(label => label.Key, label => label.Value!),
                Annotations = (Annotations ?? []).ToDictionary(annotation => annotation.Key, annotation => annotation.Value!),
            },
            errors);

        void Require(string field, bool holds, string expected)
        {
            if (!holds)
            {
                errors[field] = [expected];
            }
        }
    }

    private string[] CheckGroupBy(Dictionary<string, string[]> errors)
    {
        string[] groupBy = [.. (GroupBy ?? []).Select(entry => entry ?? "")];
        if (groupBy.Length > 5)
        {
            errors["group_by"] = ["At most 5 entries."];
            return groupBy;
        }

        var labels = new HashSet<string>(ReservedLabels);
        for (var i = 0; i < groupBy.Length; i++)
        {
            if (EventField.Parse(groupBy[i]) is not { } field)
            {
                errors[$"group_by[{i}]"] = ["source, level, event_type or tags.<name>, for example tags.ip_address."];
            }
            else if (!labels.Add(field.Label))
            {
                errors[$"group_by[{i}]"] = [$"Gives the label {field.Label}, which is already taken. Leave it out."];
            }
        }

        return groupBy;
    }

    private string[] CheckTimes(Dictionary<string, string[]> errors)
    {
        string[] times = [.. (NotDuring ?? []).Select(time => time ?? "")];
        if (times.Length > MostTimes)
        {
            errors["not_during"] = [$"At most {MostTimes} entries."];
            return times;
        }

        for (var i = 0; i < times.Length; i++)
        {
            try
            {
                WeeklyTimes.Parse(times[i]);
            }
            catch (FormatException wrong)
            {
                errors[$"not_during[{i}]"] = [wrong.Message];
            }
        }

        return times;
    }

    private void CheckLabels(string[] groupBy, Dictionary<string, string[]> errors)
    {
        var taken = groupBy.Select(entry => EventField.Parse(entry)?.Label).Concat(ReservedLabels).ToHashSet();
        foreach (var (kind, given, longest, reserved) in new[] { ("labels", Labels, 256, taken), ("annotations", Annotations, 4000, [.. ReservedAnnotations]) })
        {
            if (given is { Count: > MostLabels })
            {
                errors[kind] = [$"At most {MostLabels}."];
            }

            foreach (var (name, value) in given ?? [])
            {
                if (!NewAlert.IsLabelName(name) || reserved.Contains(name) || value is null || value.Length > longest)
                {
                    errors[$"{kind}.{name}"] = [$"A name of letters, digits and _ that is none of {string.Join(", ", reserved.Order(StringComparer.Ordinal))}, and a text of at most {longest} characters."];
                }
            }
        }
    }
}

/// <param name="Tags">Values are texts, numbers, or booleans.</param>
/// <param name="AnyOf">Fields as in <c>group_by</c>, each with the values of which it must have one.</param>
/// <param name="Present">Fields that the event must have.</param>
/// <param name="Absent">Fields that it must not have.</param>
public sealed record RuleMatchBody(
    string? EventType,
    string? Source,
    string? Level,
    Dictionary<string, JsonElement>? Tags,
    Dictionary<string, IReadOnlyList<JsonElement>?>? AnyOf = null,
    IReadOnlyList<string?>? Present = null,
    IReadOnlyList<string?>? Absent = null)
{
    private const int MostTags = 20;
    private const int MostValues = 50;

    /// <summary>The match; <paramref name="errors"/> gets what is wrong with it, by the place <paramref name="at"/>.</summary>
    public static RuleMatch Check(RuleMatchBody? body, string at, Dictionary<string, string[]> errors)
    {
        var tags = new Dictionary<string, string>();
        if (body?.EventType is not (null or "log" or "metric" or "trace" or "alert"))
        {
            errors[$"{at}.event_type"] = ["One of log, metric, trace, alert."];
        }

        if (body?.Source is { Length: 0 or > 200 })
        {
            errors[$"{at}.source"] = ["The name of a source, 1 to 200 characters."];
        }

        if (body?.Level is { Length: 0 or > 50 })
        {
            errors[$"{at}.level"] = ["A level, for example error; 1 to 50 characters."];
        }

        if (body?.Tags is { Count: > MostTags } || body?.AnyOf is { Count: > MostTags } || body?.Present is { Count: > MostTags } || body?.Absent is { Count: > MostTags })
        {
            errors[$"{at}.tags"] = [$"At most {MostTags} tags."];
        }

        foreach (var (tag, value) in body?.Tags ?? [])
        {
            if (tag.Length is 0 or > 100 || !IsValue(value, out var text))
            {
                errors[$"{at}.tags.{tag}"] = ["A tag's name (1 to 100 characters) and a text, number, true or false (at most 500 characters)."];
                continue;
            }

            tags[tag] = text;
        }

        var anyOf = new Dictionary<string, IReadOnlyList<string>>();
        foreach (var (field, values) in body?.AnyOf ?? [])
        {
            string[] texts = [.. (values ?? []).Select(value => IsValue(value, out var text) ? text : "").Distinct()];
            if (EventField.Parse(field) is null || texts.Length is 0 or > MostValues || texts.Contains(""))
            {
                errors[$"{at}.any_of.{field}"] = [$"source, level, event_type or tags.<name>, with 1 to {MostValues} values: texts, numbers, true or false."];
                continue;
            }

            anyOf[field] = texts;
        }

        foreach (var (kind, fields) in new[] { ("present", body?.Present), ("absent", body?.Absent) })
        {
            foreach (var field in (fields ?? []).Where(field => EventField.Parse(field) is null))
            {
                errors[$"{at}.{kind}"] = [$"\"{field}\" is no field; expected source, level, event_type or tags.<name>."];
            }
        }

        var match = new RuleMatch(body?.EventType, body?.Source, body?.Level, tags)
        {
            AnyOf = anyOf.Count > 0 ? anyOf : null,
            Present = body?.Present is { Count: > 0 } present ? [.. present.Select(field => field ?? "")] : null,
            Absent = body?.Absent is { Count: > 0 } absent ? [.. absent.Select(field => field ?? "")] : null,
        };
        if (!errors.Keys.Any(key => key == at || key.StartsWith($"{at}.", StringComparison.Ordinal)) && !match.Conditions().Any())
        {
            errors[at] = ["Say which events count: at least one of event_type, source, level, tags, any_of."];
        }

        return match;
    }

    // Tags compare by the text of their JSON, so 503 and "503" in a rule are the same.
    private static bool IsValue(JsonElement value, out string text)
    {
        text = value.ValueKind == JsonValueKind.String ? value.GetString()! : value.ValueKind == JsonValueKind.Undefined ? "" : value.GetRawText();
        return value.ValueKind is JsonValueKind.String or JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False && text.Length <= 500;
    }
}
