using System.Collections.ObjectModel;
using System.Globalization;
using System.Text;
using System.Text.Json.Serialization;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Rules;

/// <summary>
/// "So many such events within so much time, for the same so-and-so": an alert of this severity. A rule of realm <c>*</c> holds in every
/// realm, counting each realm's events apart.
/// </summary>
/// <param name="Threshold">Events in the window at which the alert fires. What else must hold, a <see cref="Condition"/> says.</param>
/// <param name="WindowSeconds">Length of the window, which slides in event time.</param>
/// <param name="GroupBy"><c>source</c>, <c>level</c>, <c>event_type</c> or <c>tags.&lt;name&gt;</c>: events with equal values are counted together.</param>
/// <param name="Version">Grows with each change; send it with a change to be refused when somebody else was faster.</param>
public sealed record Rule(
    Guid Id,
    string Realm,
    string Name,
    string Description,
    RuleMatch Match,
    int Threshold,
    int WindowSeconds,
    IReadOnlyList<string> GroupBy,
    Severity Severity,
    bool Enabled,
    string CreatedBy,
    DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt,
    int Version) : IOfRealm
{
    /// <summary>What is asked of the events in the window; null: nothing but their number.</summary>
    public Condition? Condition { get; init; }

    /// <summary>Times of the week in which events do not count, as <see cref="WeeklyTimes"/> reads them.</summary>
    public IReadOnlyList<string> NotDuring { get; init; } = [];

    /// <summary>Labels of every alert, besides those of its group.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = ReadOnlyDictionary<string, string>.Empty;

    /// <summary>Annotations of every alert, besides its summary and description.</summary>
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = ReadOnlyDictionary<string, string>.Empty;

    /// <summary>
    /// Rules with the same cause share an incident for the same <see cref="CauseBy"/>: several ways to notice one attack are one thing to
    /// work on. Only rules of the platform have one.
    /// </summary>
    public string? Cause { get; init; }

    /// <summary>The part of <see cref="GroupBy"/> that names what the cause is about.</summary>
    public string? CauseBy { get; init; }

    /// <summary>Whether events counted under <paramref name="other"/> mean nothing under this rule.</summary>
    public bool CountsDifferently(Rule other) =>
        Enabled != other.Enabled
        || Threshold != other.Threshold
        || WindowSeconds != other.WindowSeconds
        || !GroupBy.SequenceEqual(other.GroupBy)
        || !NotDuring.SequenceEqual(other.NotDuring)
        || Condition?.Text != other.Condition?.Text
        || !Match.SameAs(other.Match);

    /// <summary>Labels of the group with these values (in the order of <see cref="GroupBy"/>). A value that events lack gives no label.</summary>
    public Dictionary<string, string> GroupLabels(IReadOnlyList<string> values)
    {
        var labels = new Dictionary<string, string>();
        for (var i = 0; i < GroupBy.Count; i++)
        {
            if (values[i].Length > 0)
            {
                labels[EventField.Parse(GroupBy[i])!.Value.Label] = values[i];
            }
        }

        return labels;
    }

    /// <summary>What an incident is opened for; equal for every episode of the same group.</summary>
    public string GroupKey(string realm, IReadOnlyList<string> values)
    {
        var text = new StringBuilder().Append(CultureInfo.InvariantCulture, $"{realm}/{Cause ?? Id.ToString()}:{{");
        var first = text.Length;
        for (var i = 0; i < GroupBy.Count; i++)
        {
            if (Cause is not null && GroupBy[i] != CauseBy)
            {
                continue;
            }

            text.Append(text.Length == first ? "" : ",").Append(CultureInfo.InvariantCulture, $"{EventField.Parse(GroupBy[i])!.Value.Label}=\"{values[i].Replace("\\", "\\\\").Replace("\"", "\\\"")}\"");
        }

        return text.Append('}').ToString();
    }
}

/// <summary>What an event must look like. Everything that is given must hold.</summary>
public sealed record RuleMatch(string? EventType, string? Source, string? Level, IReadOnlyDictionary<string, string> Tags)
{
    /// <summary>Fields (as in <see cref="Rule.GroupBy"/>) that must have one of several values.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyDictionary<string, IReadOnlyList<string>>? AnyOf { get; init; }

    /// <summary>Fields that the event must have, whatever their value.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? Present { get; init; }

    /// <summary>Fields that the event must not have.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? Absent { get; init; }

    /// <summary>The fields with the values that they may have: one, or several.</summary>
    public IEnumerable<(EventField Field, IReadOnlyList<string> Values)> Conditions()
    {
        foreach (var (tag, value) in Tags)
        {
            yield return (new EventField(tag, IsTag: true), [value]);
        }

        foreach (var (name, value) in new[] { ("source", Source), ("level", Level), ("event_type", EventType) })
        {
            if (value is not null)
            {
                yield return (new EventField(name, IsTag: false), [value]);
            }
        }

        foreach (var (name, values) in AnyOf ?? ReadOnlyDictionary<string, IReadOnlyList<string>>.Empty)
        {
            yield return (EventField.Parse(name)!.Value, values);
        }
    }

    public bool SameAs(RuleMatch other) => Canonical().SetEquals(other.Canonical());

    private HashSet<string> Canonical() =>
    [
        .. Conditions().Select(condition => $"{condition.Field.IsTag} {condition.Field.Name}\0{string.Join('\0', condition.Values.Order(StringComparer.Ordinal))}"),
        .. (Present ?? []).Select(field => $"present {field}"),
        .. (Absent ?? []).Select(field => $"absent {field}"),
    ];
}

/// <summary>A place in an event that rules look at: a field, or a tag.</summary>
public readonly record struct EventField(string Name, bool IsTag)
{
    private const int LongestValue = 200;
    private const int HashDigits = 16;

    /// <summary><c>source</c>, <c>level</c>, <c>event_type</c> or <c>tags.&lt;name&gt;</c>; null for anything else.</summary>
    public static EventField? Parse(string? text) => text switch
    {
        "source" or "level" or "event_type" => new EventField(text, IsTag: false),
        { Length: > 5 and <= 105 } when text.StartsWith("tags.", StringComparison.Ordinal) => new EventField(text[5..], IsTag: true),
        _ => null,
    };

    /// <summary>Name of the label that carries the value: the tag's own name, with everything that labels cannot hold replaced.</summary>
    public string Label
    {
        get
        {
            var name = string.Concat(Name.Select(letter => char.IsAsciiLetterOrDigit(letter) ? letter : '_'));
            return char.IsAsciiDigit(name[0]) ? "_" + name : name;
        }
    }

    public string? Read(StoredEvent stored) => IsTag ? stored.Tag(Name) : Name switch
    {
        "source" => stored.Source,
        "level" => stored.Level,
        _ => stored.EventType,
    };

    /// <summary>Whether the value is this one, without making a string of it.</summary>
    public bool Is(StoredEvent stored, string value) => IsTag ? stored.TagIs(Name, value) : stored.FieldIs(Name, value);

    /// <summary>The value as part of a group: empty when missing, and no longer than a label should be (the rest as a hash, so that groups stay apart).</summary>
    public string ReadForGroup(StoredEvent stored)
    {
        var value = Read(stored) ?? "";
        var kept = StorableText.Clean(StorableText.Cut(value, LongestValue));
        return kept == value
            ? value
            : $"{kept}…{Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(value)).AsSpan(0, HashDigits / 2))}";
    }

    /// <summary>Whether a value from <see cref="ReadForGroup"/> is not the event's own any more, so that no event can be found by it.</summary>
    public static bool IsCut(string groupValue) => groupValue.Length > HashDigits && groupValue[^(HashDigits + 1)] == '…';
}

/// <summary>Words for severities on the wire.</summary>
public static class Severities
{
    public static string Word(this Severity severity) => WireJson.Name(severity.ToString());

    /// <summary><c>warning</c>, as in Prometheus files, means medium. Null for a word that is no severity.</summary>
    public static Severity? Parse(string? word) => word switch
    {
        "critical" => Severity.Critical,
        "high" => Severity.High,
        "medium" or "warning" => Severity.Medium,
        "low" => Severity.Low,
        "info" => Severity.Info,
        _ => null,
    };

    /// <summary>How urgent an alert is whose labels somebody else wrote: a rule file, a sender. <c>page</c> is critical, <c>error</c> high; medium when the label is missing or another word.</summary>
    public static Severity OfLabel(string? label) => label?.ToLowerInvariant() switch
    {
        "page" => Severity.Critical,
        "error" => Severity.High,
        var word => Parse(word) ?? Severity.Medium,
    };
}
