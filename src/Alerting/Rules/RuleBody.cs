using System.Text.Json;

namespace Platform.Alerting.Rules;

/// <summary>A rule as a client sends it. <see cref="Check"/> turns it into one, or says everything that is wrong with it.</summary>
/// <param name="Realm">Only for callers of all realms: the realm it holds in, <c>*</c> for all. Others: their own.</param>
/// <param name="Query">PromQL; not understood yet, and answered so.</param>
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
    int? Version)
{
    private static readonly string[] ReservedLabels = ["alertname", "severity", "realm", "rule_id"];

    /// <summary>The rule, or all errors by the name of their field.</summary>
    public (Rule? Rule, Dictionary<string, string[]> Errors) Check(Guid id, string realm, string by, DateTimeOffset now)
    {
        var errors = new Dictionary<string, string[]>();
        if (Query is { ValueKind: not (JsonValueKind.Null or JsonValueKind.Undefined) })
        {
            errors["query"] = ["Rules with a query are not evaluated yet. Describe the events instead: match, threshold, window_seconds and group_by."];
            return (null, errors);
        }

        Require("name", Name is { Length: > 0 and <= 100 } && !string.IsNullOrWhiteSpace(Name), "A name of 1 to 100 characters.");
        Require("description", Description is null or { Length: <= 2000 }, "At most 2000 characters.");
        Require("threshold", Threshold is >= 1 and <= 10_000, "A whole number from 1 to 10000: how many events make an alert.");
        Require("window_seconds", WindowSeconds is >= 1 and <= 86_400, "A whole number from 1 to 86400: the seconds within which they happen.");
        var severity = Severities.Parse(Severity);
        Require("severity", severity is not null, "One of critical, high, medium, low, info.");
        var match = CheckMatch(errors);
        var groupBy = CheckGroupBy(errors);
        if (errors.Count > 0)
        {
            return (null, errors);
        }

        return (new Rule(id, realm, Name!, Description ?? "", match, Threshold!.Value, WindowSeconds!.Value, groupBy, severity!.Value, Enabled ?? true, by, now, now, 1), errors);

        void Require(string field, bool holds, string expected)
        {
            if (!holds)
            {
                errors[field] = [expected];
            }
        }
    }

    private RuleMatch CheckMatch(Dictionary<string, string[]> errors)
    {
        var tags = new Dictionary<string, string>();
        if (Match?.EventType is not (null or "log" or "metric" or "trace" or "alert"))
        {
            errors["match.event_type"] = ["One of log, metric, trace, alert."];
        }

        if (Match?.Source is { Length: 0 or > 200 })
        {
            errors["match.source"] = ["The name of a source, 1 to 200 characters."];
        }

        if (Match?.Level is { Length: 0 or > 50 })
        {
            errors["match.level"] = ["A level, for example error; 1 to 50 characters."];
        }

        if (Match?.Tags is { Count: > 20 })
        {
            errors["match.tags"] = ["At most 20 tags."];
        }

        foreach (var (tag, value) in Match?.Tags ?? [])
        {
            // Tags compare by the text of their JSON, so 503 and "503" in a rule are the same.
            var text = value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText();
            if (tag.Length is 0 or > 100 || value.ValueKind is JsonValueKind.Object or JsonValueKind.Array or JsonValueKind.Null || text.Length > 500)
            {
                errors[$"match.tags.{tag}"] = ["A tag's name (1 to 100 characters) and a text, number, true or false (at most 500 characters)."];
            }

            tags[tag] = text;
        }

        var match = new RuleMatch(Match?.EventType, Match?.Source, Match?.Level, tags);
        if (!match.Conditions().Any())
        {
            errors["match"] = ["Say which events count: at least one of event_type, source, level, tags."];
        }

        return match;
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
}

/// <param name="Tags">Values are texts, numbers, or booleans.</param>
public sealed record RuleMatchBody(string? EventType, string? Source, string? Level, Dictionary<string, JsonElement>? Tags);
