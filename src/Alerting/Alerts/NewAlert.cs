using System.Text.RegularExpressions;
using Platform.Alerting.Rules;

namespace Platform.Alerting.Alerts;

/// <summary>An alert that somebody raises by hand, as sent.</summary>
public sealed partial record NewAlert(
    string? Name, string? Severity, string? Message, string? Source, Dictionary<string, string?>? Labels, Dictionary<string, string?>? Annotations)
{
    private const int MostLabels = 32;
    private static readonly string[] Reserved = ["alertname", "severity", "realm", "source", "rule_id"];

    internal static bool IsLabelName(string name) => LabelName().IsMatch(name);

    /// <summary>The alert, or all errors by the name of their field.</summary>
    public (Alert? Alert, Dictionary<string, string[]> Errors) Check(string realm, DateTimeOffset now)
    {
        var errors = new Dictionary<string, string[]>();
        Require("name", Name is { Length: > 0 and <= 100 } && !string.IsNullOrWhiteSpace(Name), "A name of 1 to 100 characters.");
        Require("message", Message is null or { Length: <= 2000 }, "At most 2000 characters.");
        Require("source", Source is null or { Length: > 0 and <= 200 }, "Who says so, 1 to 200 characters.");
        var severity = Severities.Parse(Severity);
        Require("severity", severity is not null, "One of critical, high, medium, low, info.");
        Require("labels", Labels is null or { Count: <= MostLabels }, $"At most {MostLabels} labels.");
        Require("annotations", Annotations is null or { Count: <= MostLabels }, $"At most {MostLabels} annotations.");
        foreach (var (label, value) in Labels ?? [])
        {
            Require($"labels.{label}", LabelName().IsMatch(label) && !Reserved.Contains(label) && value is { Length: <= 256 },
                $"A name of letters, digits and _ that is none of {string.Join(", ", Reserved)}, and a text of at most 256 characters.");
        }

        foreach (var (name, value) in Annotations ?? [])
        {
            Require($"annotations.{name}", LabelName().IsMatch(name) && value is { Length: <= 2000 }, "A name of letters, digits and _, and a text of at most 2000 characters.");
        }

        if (errors.Count > 0)
        {
            return (null, errors);
        }

        var source = Source ?? "manual";
        var own = (Labels ?? []).ToDictionary(label => label.Key, label => label.Value!);
        var identity = new Dictionary<string, string>(own) { ["alertname"] = Name!, ["realm"] = realm, ["source"] = source };
        var annotations = new Dictionary<string, string> { ["summary"] = Message is { Length: > 0 } message ? message : Name! };
        foreach (var (name, value) in Annotations ?? [])
        {
            annotations[name] = value!;
        }

        var key = $"{realm}/manual:{{{string.Join(',', identity.Where(label => label.Key != "realm").OrderBy(label => label.Key, StringComparer.Ordinal).Select(label => $"{label.Key}=\"{label.Value}\""))}}}";
        return (
            Alert.Fire(realm, key, null, Name!, severity!.Value, AlertSource.Manual, identity, own, annotations, new Dictionary<string, string>(), null, null, now, now, new AlertReason(null, null, Seen: Message, Condition: "raised by hand")),
            errors);

        void Require(string field, bool holds, string expected)
        {
            if (!holds)
            {
                errors[field] = [expected];
            }
        }
    }

    [GeneratedRegex("^[a-zA-Z_][a-zA-Z0-9_]{0,99}$")]
    private static partial Regex LabelName();
}
