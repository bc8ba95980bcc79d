using Platform.Alerting.Templates;
using Platform.Contracts;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>A result of a rule that cannot be used: the same labels twice, or more than the limit. The words are those of Prometheus.</summary>
public sealed class RuleResultException(string message) : Exception(message);

/// <summary>Runs the templates of one rule at one time. A template that fails leaves its reason where its text would be, as in Prometheus.</summary>
/// <param name="query">What the function <c>query</c> in templates asks.</param>
public sealed class RuleTemplates(
    Func<string, IReadOnlyList<(IReadOnlyDictionary<string, string> Labels, double Value)>> query, Uri externalUrl, IReadOnlyDictionary<string, string> externalLabels, DateTimeOffset at)
{
    private readonly TemplateFunctions _functions = new(query, externalUrl, at);

    /// <summary>Fit to be stored, whatever the template does.</summary>
    public string Expand(string text, IReadOnlyDictionary<string, string> labels, double value)
    {
        if (!text.Contains("{{", StringComparison.Ordinal))
        {
            return StorableText.Clean(text);
        }

        try
        {
            return TemplateRun.Expand(Template.Parse(text), new AlertValues(labels, value, externalLabels, externalUrl.OriginalString), _functions);
        }
        catch (TemplateException error)
        {
            return StorableText.Clean($"<error expanding template: {error.Message}>");
        }
    }
}

/// <summary>From the series of a result to the labels of alerts and of recorded series. Pure, apart from what templates ask.</summary>
public static class RuleLabels
{
    public const string Realm = "realm";
    public const string AlertName = "alertname";
    public const string Reason = "reason";
    public const string NoData = "no_data";

    /// <summary>The alerts that the result of an alerting rule stands for.</summary>
    /// <param name="realm">Of the group. Only a group of all realms can make alerts of another.</param>
    /// <param name="samples">The series behind each alert, for the templates of annotations.</param>
    /// <exception cref="RuleResultException">Two series make the same alert, or there are more than the limit.</exception>
    public static Dictionary<Labels, double> Alerts(QueryRule rule, string realm, int limit, IReadOnlyList<RuleSeries> series, RuleTemplates templates, Dictionary<Labels, IReadOnlyDictionary<string, string>>? samples)
    {
        var hits = new Dictionary<Labels, double>(series.Count);
        foreach (var one in series)
        {
            var own = Words(one.Labels);
            var labels = Of(rule, realm, own, one.Value, templates);
            if (!hits.TryAdd(labels, one.Value))
            {
                throw new RuleResultException("vector contains metrics with the same labelset after applying alert labels");
            }

            samples?.Add(labels, own);
        }

        return limit > 0 && hits.Count > limit ? throw new RuleResultException($"exceeded limit of {limit} with {hits.Count} alerts") : hits;
    }

    /// <summary>The labels of the alert that says that nothing is known.</summary>
    /// <param name="reason"><c>no_data</c> or <c>error</c>.</param>
    public static Labels NothingKnown(QueryRule rule, string realm, string reason, RuleTemplates templates) =>
        Of(rule, realm, new Dictionary<string, string>(), double.NaN, templates).With(Reason, reason);

    /// <summary>The series that a recording rule makes.</summary>
    /// <exception cref="RuleResultException">As for alerts.</exception>
    public static Dictionary<Labels, double> Recorded(QueryRule rule, string realm, int limit, IReadOnlyList<RuleSeries> series)
    {
        var made = new Dictionary<Labels, double>(series.Count);
        foreach (var one in series)
        {
            var labels = Words(one.Labels);
            labels[Labels.MetricName] = rule.Record!;
            foreach (var (name, value) in rule.Labels)
            {
                labels[name] = value;
            }

            SetRealm(labels, realm);
            if (!made.TryAdd(Pack(labels), one.Value))
            {
                throw new RuleResultException("vector contains metrics with the same labelset after applying rule labels");
            }
        }

        return limit > 0 && made.Count > limit ? throw new RuleResultException($"exceeded limit of {limit} with {made.Count} series") : made;
    }

    public static Dictionary<string, string> Words(string[] flat)
    {
        var words = new Dictionary<string, string>(flat.Length / 2);
        for (var at = 0; at < flat.Length; at += 2)
        {
            words[flat[at]] = flat[at + 1];
        }

        return words;
    }

    public static Dictionary<string, string> Words(Labels labels)
    {
        var words = new Dictionary<string, string>(labels.Count);
        for (var index = 0; index < labels.Count; index++)
        {
            words[labels.NameAt(index)] = labels.ValueAt(index);
        }

        return words;
    }

    public static string[] Flat(Labels labels)
    {
        var flat = new string[2 * labels.Count];
        for (var index = 0; index < labels.Count; index++)
        {
            (flat[2 * index], flat[2 * index + 1]) = (labels.NameAt(index), labels.ValueAt(index));
        }

        return flat;
    }

    public static Labels Pack(IReadOnlyDictionary<string, string> words) => Labels.Of([.. words.Select(word => (word.Key, word.Value))]);

    private static Labels Of(QueryRule rule, string realm, IReadOnlyDictionary<string, string> own, double value, RuleTemplates templates)
    {
        // One odd series must not keep the others' alerts from being written.
        var labels = own.ToDictionary(label => label.Key, label => StorableText.Clean(label.Value));
        labels.Remove(Labels.MetricName);

        foreach (var (name, text) in rule.Labels)
        {
            labels[name] = templates.Expand(text, own, value);
        }

        labels[AlertName] = rule.Alert!;
        SetRealm(labels, realm);
        return Pack(labels);
    }

    // Within a realm nothing that a rule says can make an alert or a series of another one.
    private static void SetRealm(Dictionary<string, string> labels, string realm)
    {
        if (realm != ServiceDefaults.Realm.All || !labels.TryGetValue(Realm, out var named) || named.Length == 0)
        {
            labels[Realm] = realm;
        }
    }
}
