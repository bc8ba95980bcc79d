using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Platform.Alerting.Routing;
using Platform.ServiceDefaults;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Platform.Alerting.RuleGroups;

/// <summary>
/// Rule files in Prometheus' YAML (https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/). Read strictly: a key that
/// is not known is an error with its line. Written so that <c>promtool check rules</c> accepts them: what Prometheus has no key for stands in
/// annotations whose names begin with <c>platform_</c>.
/// </summary>
public static partial class RuleFile
{
    /// <summary>The groups as they are written there. With faults, those without one.</summary>
    public static List<RuleGroupText> Parse(string yaml, List<RuleFault> faults)
    {
        var groups = new List<RuleGroupText>();
        try
        {
            var documents = YamlText.Read(yaml);
            if (documents.Count > 1)
            {
                faults.Add(new("", (int)documents[1].RootNode.Start.Line, "file", "a rule file is one document."));
                return groups;
            }

            if (documents.Count == 0 || IsNull(documents[0].RootNode))
            {
                return groups;
            }

            var root = new Section(documents[0].RootNode, "", "file", faults);
            foreach (var (index, node) in root.List("groups").Index())
            {
                groups.Add(Group(node, $"groups[{index}]", faults));
            }

            root.Close();
            foreach (var twice in groups.GroupBy(group => group.Name, StringComparer.Ordinal).Where(same => same.Count() > 1))
            {
                faults.Add(new("groups", twice.Last().Line, $"group \"{twice.Key}\"", "the name is used twice in the file."));
            }
        }
        catch (YamlException error)
        {
            faults.Add(new("", (int)error.Start.Line, "file", $"this YAML is not taken: {error.InnerException?.Message ?? error.Message}"));
        }

        return groups;
    }

    private static RuleGroupText Group(YamlNode node, string path, List<RuleFault> faults)
    {
        var section = new Section(node, path, path, faults);
        var name = section.Text("name");
        section.Where = $"group \"{name}\"";
        var group = new RuleGroupText(
            name, section.Text("interval"), section.Whole("limit"), section.Text("query_offset"), section.Texts("labels"),
            [.. section.List("rules").Select((rule, index) => (RuleText?)Rule(rule, $"{path}.rules[{index}]", $"{section.Where}, rule {index + 1}", faults))])
        { Line = section.Line };
        section.Close();
        return group;
    }

    private static RuleText Rule(YamlNode node, string path, string where, List<RuleFault> faults)
    {
        var section = new Section(node, path, where, faults);
        var (alert, record) = (section.Text("alert"), section.Text("record"));
        section.Where = $"{where} (\"{alert ?? record}\")";
        var rule = new RuleText(
            alert, record, section.Text("expr"), section.Text("for"), section.Text("keep_firing_for"), section.Texts("labels"), section.Texts("annotations"))
        {
            Line = section.Line,
            ExprLine = section.LineOf("expr"),
        };
        section.Close();
        return rule;
    }

    public static string Write(IEnumerable<RuleGroup> groups)
    {
        var text = new StringBuilder("groups:\n");
        foreach (var group in groups)
        {
            var written = RuleGroupText.Of(group);
            text.Append(CultureInfo.InvariantCulture, $"  - name: {Scalar(group.Name)}\n");
            Add(text, 4, "interval", written.Interval);
            Add(text, 4, "query_offset", written.QueryOffset);
            if (written.Limit is { } limit)
            {
                text.Append(CultureInfo.InvariantCulture, $"    limit: {limit}\n");
            }

            Add(text, 4, "labels", written.Labels);
            text.Append("    rules:\n");
            foreach (var rule in written.Rules!)
            {
                text.Append(CultureInfo.InvariantCulture, $"      - {(rule!.Alert is null ? "record" : "alert")}: {Scalar(rule.Alert ?? rule.Record!)}\n");
                Add(text, 8, "expr", rule.Expr);
                Add(text, 8, "for", rule.For);
                Add(text, 8, "keep_firing_for", rule.KeepFiringFor);
                Add(text, 8, "labels", rule.Labels);
                Add(text, 8, "annotations", Annotations(rule));
            }
        }

        return text.ToString();
    }

    private static Dictionary<string, string?>? Annotations(RuleText rule)
    {
        var all = new Dictionary<string, string?>(rule.Annotations ?? []);
        if (rule.NoData is { } noData)
        {
            all[RuleGroupCheck.NoDataAnnotation] = noData.ToString().ToLowerInvariant();
        }

        if (rule.OnError is { } onError)
        {
            all[RuleGroupCheck.OnErrorAnnotation] = onError.ToString().ToLowerInvariant();
        }

        // What stands in the expression needs no second place. A recording rule may have no annotations.
        if (rule.Alert is not null && rule.Threshold is { } threshold && Thresholds.Of(PromQL.Parser.Parse(rule.Expr!)) != threshold)
        {
            all[RuleGroupCheck.ThresholdAnnotation] = threshold.ToString("R", CultureInfo.InvariantCulture);
        }

        return rule.Alert is null || all.Count == 0 ? null : all;
    }

    private static void Add(StringBuilder text, int indent, string key, string? value)
    {
        if (value is not null)
        {
            text.Append(' ', indent).Append(Scalar(key)).Append(": ").Append(Scalar(value)).Append('\n');
        }
    }

    private static void Add(StringBuilder text, int indent, string key, Dictionary<string, string?>? values)
    {
        if (values is { Count: > 0 })
        {
            text.Append(' ', indent).Append(key).Append(":\n");
            foreach (var (name, value) in values)
            {
                Add(text, indent + 2, name, value ?? "");
            }
        }
    }

    // Without quotes only what no YAML reader takes for anything else.
    private static string Scalar(string value) => Plain().IsMatch(value) && value is not ("true" or "false" or "null" or "yes" or "no" or "on" or "off" or "y" or "n")
        ? value
        : Quote(value);

    private static string Quote(string value)
    {
        var text = new StringBuilder(value.Length + 2).Append('"');
        foreach (var rune in value.EnumerateRunes())
        {
            _ = rune.Value switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\n' => text.Append("\\n"),
                '\t' => text.Append("\\t"),
                < ' ' or (>= 0x7f and < 0xa0) or 0x2028 or 0x2029 or 0xfeff => text.Append(CultureInfo.InvariantCulture, $"\\u{rune.Value:x4}"),
                _ => text.Append(rune),
            };
        }

        return text.Append('"').ToString();
    }

    private static bool IsNull(YamlNode node) => node is YamlScalarNode { Style: ScalarStyle.Plain, Value: null or "" or "~" or "null" };

    [GeneratedRegex("^[a-zA-Z][a-zA-Z0-9_]*$|^[0-9]+(ms|[smhdwy])$")]
    private static partial Regex Plain();

    /// <summary>A mapping whose keys are taken one by one; what nobody took is not known.</summary>
    private sealed class Section(YamlNode node, string path, string where, List<RuleFault> faults)
    {
        private readonly HashSet<string> _taken = [];

        public string Where { get; set; } = where;

        public int Line => (int)node.Start.Line;

        public int LineOf(string key) => Find(key) is { } value ? (int)value.Start.Line : Line;

        public string? Text(string key)
        {
            if (Take(key) is not { } value)
            {
                return null;
            }

            if (value is YamlScalarNode scalar)
            {
                return scalar.Value ?? "";
            }

            faults.Add(new(PathOf(key), (int)value.Start.Line, Where, $"{key} is a text."));
            return null;
        }

        public int? Whole(string key)
        {
            var line = LineOf(key);
            if (Text(key) is not { } text)
            {
                return null;
            }

            if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number))
            {
                return number;
            }

            faults.Add(new(PathOf(key), line, Where, $"{key} is \"{text}\" and should be a whole number."));
            return null;
        }

        public Dictionary<string, string?>? Texts(string key)
        {
            if (Take(key) is not { } value)
            {
                return null;
            }

            if (value is not YamlMappingNode mapping)
            {
                faults.Add(new(PathOf(key), (int)value.Start.Line, Where, $"{key} is a mapping of names to texts."));
                return null;
            }

            var texts = new Dictionary<string, string?>();
            foreach (var (name, entry) in mapping.Children)
            {
                if (name is YamlScalarNode { Value: { } known } && entry is YamlScalarNode scalar)
                {
                    texts[known] = scalar.Value ?? "";
                }
                else
                {
                    faults.Add(new($"{PathOf(key)}.{name}", (int)entry.Start.Line, Where, $"{name} of {key} is a text."));
                }
            }

            return texts;
        }

        public IEnumerable<YamlNode> List(string key)
        {
            switch (Take(key))
            {
                case YamlSequenceNode list:
                    return list.Children;
                case null:
                    return [];
                case var other:
                    faults.Add(new(PathOf(key), (int)other.Start.Line, Where, $"{key} is a list."));
                    return [];
            }
        }

        public void Close()
        {
            if (node is not YamlMappingNode mapping)
            {
                faults.Add(new(path, Line, Where, "this is a mapping of keys to values."));
                return;
            }

            foreach (var (key, _) in mapping.Children)
            {
                if (key is not YamlScalarNode { Value: { } name } || !_taken.Contains(name))
                {
                    faults.Add(new(PathOf(key.ToString()), (int)key.Start.Line, Where, $"the key \"{StorableText.Shorten(key.ToString(), 100)}\" is not known here."));
                }
            }
        }

        private YamlNode? Take(string key)
        {
            _taken.Add(key);
            return Find(key) is { } value && !IsNull(value) ? value : null;
        }

        private YamlNode? Find(string key) => node is YamlMappingNode mapping && mapping.Children.TryGetValue(new YamlScalarNode(key), out var value) ? value : null;

        private string PathOf(string key) => path.Length == 0 ? key : $"{path}.{key}";
    }
}
