using System.Globalization;

namespace Platform.Alerting.Rules;

/// <summary>What a rule over events asks, as a sentence for whoever reads an alert when the rule has long been changed. Pure.</summary>
public static class RuleWords
{
    public static string InWords(this Rule rule)
    {
        var (match, within) = (rule.Match.InWords(), $"within {rule.WindowSeconds} s");
        var asked = rule.Condition switch
        {
            null => $"at least {Events(rule.Threshold)} ({match}) {within}",
            Condition.Distinct distinct =>
                $"at least {Events(rule.Threshold)} ({match}) {within} with {string.Join(" and ", distinct.AtLeast.OrderBy(one => one.Key, StringComparer.Ordinal).Select(one => $"at least {one.Value} different {one.Key}"))}"
                + string.Concat(distinct.AtMostEach.Select(one => $", without those of which more than {one.Value} share {one.Key}")),
            Condition.Ratio ratio => string.Create(CultureInfo.InvariantCulture, $"at least {100 * ratio.AtLeast:0.##} % of at least {Events(ratio.Minimum)} ({ratio.Of.InWords()}) {within} are those ({match})"),
            Condition.Sequence sequence =>
                $"an event ({match}) {within} after {Events(sequence.Count)} ({sequence.After.InWords()}){(sequence.Count > 1 ? $" that came within {sequence.WithinSeconds} s" : "")}",
            Condition.Absence => $"no event ({match}) for {rule.WindowSeconds} s",
            Condition.Travel travel => string.Create(CultureInfo.InvariantCulture, $"two events ({match}) {within}, at least {travel.Kilometres:0.##} km apart and faster than {travel.KilometresPerHour:0.##} km/h"),
            _ => throw new NotSupportedException($"No words for {rule.Condition.GetType().Name}."),
        };
        var apart = rule.GroupBy.Count > 0 ? $", for the same {string.Join(", ", rule.GroupBy)}" : "";
        return asked + apart + (rule.NotDuring.Count > 0 ? $", not during {string.Join("; ", rule.NotDuring)}" : "");
    }

    /// <summary>Which events: <c>tags.action = login, tags.outcome = failure</c>.</summary>
    public static string InWords(this RuleMatch match)
    {
        string[] parts =
        [
            .. match.Conditions().Select(one => $"{(one.Field.IsTag ? "tags." : "")}{one.Field.Name} = {string.Join(" or ", one.Values)}").Order(StringComparer.Ordinal),
            .. (match.Present ?? []).Select(field => $"with {field}"),
            .. (match.Absent ?? []).Select(field => $"without {field}"),
        ];
        return parts.Length == 0 ? "any" : string.Join(", ", parts);
    }

    private static string Events(int count) => count == 1 ? "1 event" : $"{count} events";
}
