using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Platform.Alerting.Rules;
using Platform.Alerting.Templates;
using Platform.Contracts;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>What becomes of a rule's alerts when nothing is known: no selector found a sample, or the expression could not be evaluated.</summary>
public enum AbsencePolicy
{
    /// <summary>They stay as they are.</summary>
    Keep,

    /// <summary>They stay as they are, and one more alert of the rule says that nothing is known (label <c>reason</c>).</summary>
    Alert,

    /// <summary>They resolve.</summary>
    Resolve,
}

/// <summary>An expression whose result is either alerts or new series.</summary>
/// <param name="Id">Stays the same while kind, name and labels do: by it alerts are told from those of other rules across changes.</param>
/// <param name="Alert">Name of the alerts; null for a recording rule.</param>
/// <param name="Record">Name of the new series; null for an alerting rule.</param>
/// <param name="For">How long the condition must hold before the alert fires.</param>
/// <param name="KeepFiringFor">How long the alert goes on firing after the condition has ended.</param>
/// <param name="Labels">Added to those of the series, those of the group among them; of an alerting rule, templates.</param>
/// <param name="Threshold">What the value is held against, for people; taken from the expression when nobody gives it.</param>
public sealed record QueryRule(
    Guid Id,
    string? Alert,
    string? Record,
    string Expr,
    TimeSpan For,
    TimeSpan KeepFiringFor,
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyDictionary<string, string> Annotations,
    AbsencePolicy NoData,
    AbsencePolicy OnError,
    double? Threshold)
{
    public string Name => Alert ?? Record!;

    /// <summary>How urgent its alerts are: by the label <c>severity</c>; medium when that is missing, a template, or another word.</summary>
    public Severity Severity => Severities.OfLabel(Labels.GetValueOrDefault("severity"));
}

/// <summary>Rules that are evaluated together, in their order and at one pace, over the series of one realm (<c>*</c>: of all).</summary>
/// <param name="File">The rule file it comes from; empty when it was made through the API. A name is unique within realm and file.</param>
/// <param name="Interval">Null: the setting.</param>
/// <param name="Limit">Alerts, or series, that one rule may make; 0 is no limit.</param>
/// <param name="QueryOffset">How far back expressions look, for samples that come late; null is none.</param>
/// <param name="Labels">For all rules of the group that do not set them themselves.</param>
public sealed record RuleGroup(
    Guid Id,
    string Realm,
    string File,
    string Name,
    TimeSpan? Interval,
    int Limit,
    TimeSpan? QueryOffset,
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyList<QueryRule> Rules,
    string CreatedBy,
    DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt,
    int Version) : IOfRealm
{
    /// <summary>Whether both make the same alerts and series at the same times.</summary>
    public bool MeansTheSame(RuleGroup other) => RuleGroupText.Of(this).Equals(RuleGroupText.Of(other));
}

/// <summary>A group as it is written: in JSON, in YAML, and in the database. <see cref="RuleGroupCheck"/> makes a <see cref="RuleGroup"/> of it.</summary>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
public sealed record RuleGroupText(
    string? Name,
    string? Interval,
    int? Limit,
    string? QueryOffset,
    Dictionary<string, string?>? Labels,
    List<RuleText?>? Rules,
    string? Realm = null,
    int? Version = null)
{
    /// <summary>1-based, in the file it was read from.</summary>
    [JsonIgnore]
    public int Line { get; init; }

    public static RuleGroupText Of(RuleGroup group) => new(
        group.Name, group.Interval is { } interval ? Printer.Duration(interval) : null, group.Limit == 0 ? null : group.Limit,
        group.QueryOffset is { } offset ? Printer.Duration(offset) : null, Texts(group.Labels),
        [.. group.Rules.Select(rule => (RuleText?)RuleText.Of(rule, group.Labels))]);

    public bool Equals(RuleGroupText? other) =>
        other is not null && System.Text.Json.JsonSerializer.Serialize(this, WireJson.Options) == System.Text.Json.JsonSerializer.Serialize(other, WireJson.Options);

    public override int GetHashCode() => StringComparer.Ordinal.GetHashCode(Name ?? "");

    internal static Dictionary<string, string?>? Texts(IReadOnlyDictionary<string, string> labels) =>
        labels.Count == 0 ? null : labels.OrderBy(label => label.Key, StringComparer.Ordinal).ToDictionary(label => label.Key, label => (string?)label.Value);
}

/// <summary>A rule as it is written.</summary>
/// <param name="Id">Only in answers; ignored in requests.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
public sealed record RuleText(
    string? Alert,
    string? Record,
    string? Expr,
    string? For,
    string? KeepFiringFor,
    Dictionary<string, string?>? Labels,
    Dictionary<string, string?>? Annotations,
    AbsencePolicy? NoData = null,
    AbsencePolicy? OnError = null,
    double? Threshold = null,
    Guid? Id = null)
{
    [JsonIgnore]
    public int Line { get; init; }

    /// <summary>Where the expression begins.</summary>
    [JsonIgnore]
    public int ExprLine { get; init; }

    public static RuleText Of(QueryRule rule, IReadOnlyDictionary<string, string> ofGroup) => new(
        rule.Alert, rule.Record, rule.Expr, rule.For > TimeSpan.Zero ? Printer.Duration(rule.For) : null, rule.KeepFiringFor > TimeSpan.Zero ? Printer.Duration(rule.KeepFiringFor) : null,
        RuleGroupText.Texts(rule.Labels.Where(label => !ofGroup.TryGetValue(label.Key, out var value) || value != label.Value).ToDictionary()), RuleGroupText.Texts(rule.Annotations),
        rule.NoData == AbsencePolicy.Resolve ? null : rule.NoData, rule.OnError == AbsencePolicy.Keep ? null : rule.OnError, rule.Threshold, rule.Id);
}

/// <summary>Something that is wrong with a group.</summary>
/// <param name="Field">As a client names it: <c>rules[2].expr</c>.</param>
/// <param name="Line">0: it was no file.</param>
/// <param name="Where">For people: group and rule by name.</param>
public sealed record RuleFault(string Field, int Line, string Where, string Message)
{
    public override string ToString() => Line > 0 ? $"line {Line}, {Where}: {Message}" : $"{Where}: {Message}";
}

/// <summary>Text into groups, or everything that is wrong with it. The rules are those of Prometheus' rule files.</summary>
public static partial class RuleGroupCheck
{
    private const int LongestName = 200;
    private const int LongestText = 16_384;
    private const int MostFaults = 50;

    /// <summary>The annotations that carry, in YAML, what Prometheus has no keys for. They are no annotations of the alerts.</summary>
    public const string NoDataAnnotation = "platform_no_data";
    public const string OnErrorAnnotation = "platform_on_error";
    public const string ThresholdAnnotation = "platform_threshold";

    /// <param name="old">The group that is replaced: its rules keep their ids where kind, name and labels stay.</param>
    public static RuleGroup? Check(RuleGroupText text, string realm, string file, RuleGroup? old, string by, DateTimeOffset now, RuleGroupOptions options, List<RuleFault> faults)
    {
        var before = faults.Count;
        var where = $"group \"{text.Name}\"";
        Require("name", text.Name is { Length: > 0 and <= LongestName } && !string.IsNullOrWhiteSpace(text.Name), $"a group needs a name of 1 to {LongestName} characters.");
        var interval = Time("interval", text.Interval, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1));
        var offset = Time("query_offset", text.QueryOffset, TimeSpan.Zero, TimeSpan.FromDays(30));
        Require("limit", text.Limit is null or >= 0, "a limit is a whole number, 0 for none.");
        Require("rules", text.Rules is { Count: > 0 }, "a group needs at least one rule.");
        Require("rules", (text.Rules?.Count ?? 0) <= options.MaxRulesPerGroup, $"a group may have {options.MaxRulesPerGroup} rules (ALERT_RULE_GROUP_RULES).");
        var labels = Labels(text.Labels, "labels", text.Line, where, realm, templates: false, faults);
        var known = Known(old);
        var rules = new List<QueryRule>();
        for (var index = 0; index < (text.Rules?.Count ?? 0) && faults.Count < before + MostFaults; index++)
        {
            if (text.Rules![index] is not { } rule)
            {
                faults.Add(new($"rules[{index}]", text.Line, where, "a rule is an object with alert or record, and expr."));
            }
            else if (Rule(rule, $"rules[{index}]", $"{where}, rule {index + 1} (\"{rule.Alert ?? rule.Record}\")", realm, labels, faults) is { } made)
            {
                var key = KeyOf(made);
                rules.Add(made with { Id = known.TryGetValue(key, out var ids) && ids.TryDequeue(out var id) ? id : Guid.CreateVersion7(now) });
            }
        }

        return faults.Count > before ? null : new RuleGroup(
            old?.Id ?? Guid.CreateVersion7(now), realm, file, text.Name!, interval, text.Limit ?? 0, offset, labels, rules, old?.CreatedBy ?? by, old?.CreatedAt ?? now, now, (old?.Version ?? 0) + 1);

        void Require(string field, bool holds, string message)
        {
            if (!holds)
            {
                faults.Add(new(field, text.Line, where, message));
            }
        }

        TimeSpan? Time(string field, string? written, TimeSpan least, TimeSpan most)
        {
            var time = written is null ? null : Durations.Parse(written);
            Require(field, written is null || (time >= least && time <= most), $"{field} \"{written}\" is no duration from {Printer.Duration(least)} to {Printer.Duration(most)}; write it like 30s or 1m.");
            return time;
        }
    }

    /// <summary>A rule by itself, as backtests and the simple form of rules have it.</summary>
    public static QueryRule? Rule(RuleText text, string field, string where, string realm, IReadOnlyDictionary<string, string> ofGroup, List<RuleFault> faults)
    {
        var before = faults.Count;
        var isAlert = text.Alert is not null;
        Require("", isAlert != text.Record is not null, "a rule has either alert or record, and not both.");
        Require(".alert", text.Alert is null or { Length: > 0 and <= LongestName }, $"the name of an alert has 1 to {LongestName} characters.");
        Require(".record", text.Record is null || MetricName().IsMatch(text.Record), $"\"{text.Record}\" is no name of a metric: letters, digits, _ and :, no digit first.");
        Require("", isAlert || (text.For is null && text.KeepFiringFor is null && text.Annotations is null), "a recording rule has no for, keep_firing_for and annotations.");
        var hold = Time(".for", text.For);
        var keep = Time(".keep_firing_for", text.KeepFiringFor);
        var expr = Expression(text, field, where, faults);
        var labels = Labels(text.Labels, $"{field}.labels", text.Line, where, realm, isAlert, faults);
        foreach (var (name, value) in ofGroup)
        {
            labels.TryAdd(name, value);
        }

        var annotations = new Dictionary<string, string>();
        var (noData, onError, threshold) = (text.NoData, text.OnError, text.Threshold);
        foreach (var (name, value) in text.Annotations ?? [])
        {
            switch (name)
            {
                case NoDataAnnotation:
                    noData = Policy(name, value);
                    break;
                case OnErrorAnnotation:
                    onError = Policy(name, value);
                    break;
                case ThresholdAnnotation:
                    Require($".annotations.{name}", double.TryParse(value, System.Globalization.CultureInfo.InvariantCulture, out var number) && double.IsFinite(number), $"\"{value}\" is no number.");
                    threshold = number;
                    break;
                default:
                    Require($".annotations.{name}", LabelName().IsMatch(name) && value is { Length: <= LongestText }, $"the annotation \"{name}\" needs a name of letters, digits and _, and a text of at most {LongestText} characters.");
                    CheckTemplate(value, $"{field}.annotations.{name}", text.Line, where, faults);
                    annotations[name] = value ?? "";
                    break;
            }
        }

        return faults.Count > before ? null : new QueryRule(
            Guid.Empty, text.Alert, text.Record, text.Expr!, hold, keep, labels, annotations, noData ?? AbsencePolicy.Resolve, onError ?? AbsencePolicy.Keep, threshold ?? Thresholds.Of(expr!));

        void Require(string part, bool holds, string message)
        {
            if (!holds)
            {
                faults.Add(new(field + part, text.Line, where, message));
            }
        }

        TimeSpan Time(string part, string? written)
        {
            var time = written is null ? TimeSpan.Zero : Durations.Parse(written);
            Require(part, time is not null && time <= TimeSpan.FromDays(365), $"{part[1..]} \"{written}\" is no duration; write it like 5m or 1h30m.");
            return time ?? TimeSpan.Zero;
        }

        AbsencePolicy? Policy(string name, string? word)
        {
            var policy = word switch { "keep" => AbsencePolicy.Keep, "alert" => AbsencePolicy.Alert, "resolve" => AbsencePolicy.Resolve, _ => (AbsencePolicy?)null };
            Require($".annotations.{name}", policy is not null, $"{name} is \"{word}\"; it can be keep, alert or resolve.");
            return policy;
        }
    }

    private static Expr? Expression(RuleText text, string field, string where, List<RuleFault> faults)
    {
        try
        {
            var expr = Parser.Parse(text.Expr ?? "");
            if (expr.Kind is ValueKind.InstantVector or ValueKind.Scalar)
            {
                return expr;
            }

            faults.Add(new($"{field}.expr", text.ExprLine, where, "a rule needs an expression that is an instant vector or a scalar, not a range or a text."));
        }
        catch (QueryException error)
        {
            faults.Add(new($"{field}.expr", text.ExprLine, where, error.Message));
        }

        return null;
    }

    private static Dictionary<string, string> Labels(Dictionary<string, string?>? given, string field, int line, string where, string realm, bool templates, List<RuleFault> faults)
    {
        var labels = new Dictionary<string, string>();
        foreach (var (name, value) in given ?? [])
        {
            if (!LabelName().IsMatch(name) || name == "__name__" || value is null or { Length: > LongestText })
            {
                faults.Add(new($"{field}.{name}", line, where, $"the label \"{name}\" needs a name of letters, digits and _ (not __name__), and a text of at most {LongestText} characters."));
            }
            else if (name == "realm" && realm != ServiceDefaults.Realm.All)
            {
                faults.Add(new($"{field}.{name}", line, where, "the label realm says to whom an alert belongs and is set by the platform; leave it out."));
            }
            else
            {
                if (templates)
                {
                    CheckTemplate(value, $"{field}.{name}", line, where, faults);
                }

                labels[name] = value;
            }
        }

        return labels;
    }

    private static void CheckTemplate(string? value, string field, int line, string where, List<RuleFault> faults)
    {
        try
        {
            Template.Parse(value ?? "");
        }
        catch (TemplateException error)
        {
            faults.Add(new(field, line, where, $"{field[(field.LastIndexOf('.') + 1)..]} is no template: {error.Message}"));
        }
    }

    private static Dictionary<string, Queue<Guid>> Known(RuleGroup? group)
    {
        var known = new Dictionary<string, Queue<Guid>>(StringComparer.Ordinal);
        foreach (var rule in group?.Rules ?? [])
        {
            (known.TryGetValue(KeyOf(rule), out var ids) ? ids : known[KeyOf(rule)] = new()).Enqueue(rule.Id);
        }

        return known;
    }

    // As Prometheus tells which rule of the new file is which of the old.
    private static string KeyOf(QueryRule rule) =>
        $"{(rule.Alert is null ? "record" : "alert")}\0{rule.Name}\0{string.Join('\0', rule.Labels.OrderBy(label => label.Key, StringComparer.Ordinal).Select(label => $"{label.Key}\0{label.Value}"))}";

    [GeneratedRegex("^[a-zA-Z_][a-zA-Z0-9_]*$")]
    private static partial Regex LabelName();

    [GeneratedRegex("^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
    private static partial Regex MetricName();
}

/// <summary>The number that an expression holds its value against: <c>80</c> of <c>cpu_usage &gt; 80</c>, and of <c>cpu_usage &gt; 80 and up</c>.</summary>
public static class Thresholds
{
    /// <summary>Null when the expression is no comparison with one number, or with one that is infinite or none: people are shown it beside the value.</summary>
    public static double? Of(Expr expr) => expr switch
    {
        Expr.Parentheses inner => Of(inner.Inner),
        Expr.Binary { Operator: BinaryOperator.Greater or BinaryOperator.GreaterOrEqual or BinaryOperator.Less or BinaryOperator.LessOrEqual or BinaryOperator.Equal or BinaryOperator.NotEqual } comparison =>
            Number(comparison.Right) ?? Number(comparison.Left),
        // The value is that of the left side.
        Expr.Binary { Operator: BinaryOperator.And or BinaryOperator.Unless } both => Of(both.Left),
        _ => null,
    };

    private static double? Number(Expr expr) => expr switch
    {
        Expr.Number { Value: var value } when double.IsFinite(value) => value,
        Expr.Negate { Operand: Expr.Number { Value: var value } } when double.IsFinite(value) => -value,
        Expr.Parentheses inner => Number(inner.Inner),
        _ => null,
    };
}
