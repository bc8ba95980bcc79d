using System.Text;
using System.Text.Json.Nodes;
using Platform.PromQL;
using YamlDotNet.RepresentationModel;

namespace Platform.Alerting.Routing;

/// <summary>A receiver of an Alertmanager file that has settings of its own instead of naming a channel.</summary>
/// <param name="Key"><c>webhook_configs</c>, <c>slack_configs</c>, …</param>
/// <param name="Place">For messages: line and place in the file.</param>
public sealed record ForeignReceiver(string Receiver, string Key, YamlNode Config, string Place);

/// <summary>
/// The configuration as text. One notation with Alertmanager's keys serves as JSON (which is YAML) and as Alertmanager's YAML; only
/// receivers differ. In our JSON they name channels and a policy; in Alertmanager's YAML they are webhooks with a placeholder address that
/// names them, so that its tools accept the file and no secret is in it.
/// </summary>
public static class RoutingDocument
{
    public const string ChannelPlaceholder = "http://channel.invalid/";
    public const string EscalationPlaceholder = "http://escalation.invalid/";

    /// <summary>The configuration, or what is wrong with the text: each with its line and the remedy. Receivers must name channels.</summary>
    public static (RoutingConfig? Config, IReadOnlyList<string> Faults) Read(string text)
    {
        var (config, foreign, _, faults) = ReadForeign(text, null);
        return foreign.Count > 0 ? (null, [.. foreign.Select(Remedy)]) : (config, faults);
    }

    /// <summary>As <see cref="Read"/>, with the receivers that have settings of their own: their channels are still to be made.</summary>
    /// <param name="current">What holds now: an inhibition that is one of its dependencies stays one, because Alertmanager's notation has no word for them.</param>
    public static (RoutingConfig? Config, IReadOnlyList<ForeignReceiver> Foreign, YamlNode? Global, IReadOnlyList<string> Faults) ReadForeign(string text, RoutingConfig? current)
    {
        var faults = new List<string>();
        var foreign = new List<ForeignReceiver>();
        if (YamlSection.Root(text, faults) is not { } root)
        {
            return (null, foreign, null, faults);
        }

        var route = root.Mapping("route");
        if (route is null)
        {
            root.Fault("route is missing.");
        }

        var tree = route is null ? new Route() : ReadRoute(route);
        var receivers = root.List("receivers").Select(section => ReadReceiver(section, foreign)).ToList();
        var inhibitions = root.List("inhibit_rules").Select(ReadInhibition).ToList();
        var dependencies = root.List("dependencies").Select(ReadDependency).ToList();
        var intervals = root.List("time_intervals").Concat(root.List("mute_time_intervals")).Select(ReadInterval).ToList();
        var global = root.Find("global");
        // Paths of files on the machine where Alertmanager runs: channels have their own wording here.
        _ = root.Find("templates");
        root.Close();
        if (faults.Count > 0)
        {
            return (null, foreign, global, faults);
        }

        foreach (var known in current?.Dependencies ?? [])
        {
            if (inhibitions.FindIndex(rule => SameSides(rule, known)) is >= 0 and var at && dependencies.All(dependency => dependency.Name != known.Name))
            {
                inhibitions.RemoveAt(at);
                dependencies.Add(known);
            }
        }

        return (new RoutingConfig(tree, receivers, inhibitions, dependencies, intervals), foreign, global, faults);
    }

    /// <summary>What is wrong with what would be stored, when it could not be read back as it is; null when it can be.</summary>
    public static string? Unreadable(RoutingConfig config)
    {
        var written = WriteJson(config);
        var (again, faults) = Read(written.ToJsonString());
        return again is null ? $"This would not be read back: {faults[0]}"
            : JsonNode.DeepEquals(WriteJson(again), written) ? null
            : "This would not be read back as it is written. Look for matchers and names with characters that are no letters, digits or _.";
    }

    public static string Remedy(ForeignReceiver receiver) =>
        $"{receiver.Place}: the receiver \"{receiver.Receiver}\" has {receiver.Key} of its own. Make a channel of it at /api/v1/monitoring/channels and write "
        + $"webhook_configs: [{{url: {ChannelPlaceholder}<name of the channel>}}].";

    public static JsonObject WriteJson(RoutingConfig config) => new()
    {
        ["route"] = Write(config.Route),
        ["receivers"] = Array(config.Receivers, receiver => Object(
            ("name", receiver.Name), ("channels", Texts(receiver.Channels)), ("escalation_policy", receiver.EscalationPolicy))),
        ["inhibit_rules"] = Array(config.InhibitRules, rule => Write(rule)),
        ["dependencies"] = Array(config.Dependencies, rule => Object(
            ("name", rule.Name), ("parent_matchers", Matchers(rule.Source)), ("child_matchers", Matchers(rule.Target)), ("equal", Texts(rule.Equal)))),
        ["time_intervals"] = Array(config.TimeIntervals, Write),
    };

    /// <summary>Alertmanager's YAML: <c>amtool check-config</c> accepts it.</summary>
    public static string WriteYaml(RoutingConfig config)
    {
        var document = WriteJson(config);
        document["receivers"] = Array(config.Receivers, receiver =>
        {
            var urls = receiver.Channels.Select(channel => ChannelPlaceholder + Uri.EscapeDataString(channel))
                .Concat(receiver.EscalationPolicy is { } policy ? [EscalationPlaceholder + Uri.EscapeDataString(policy)] : System.Array.Empty<string>());
            return Object(("name", receiver.Name), ("webhook_configs", Array([.. urls], url => Object(("url", url)))));
        });
        document["inhibit_rules"] = Array([.. config.Rules], Write);
        document.Remove("dependencies");
        var text = new StringBuilder();
        text.Append("# Channels stand as webhooks at ").Append(ChannelPlaceholder).Append(", escalation policies at ").Append(EscalationPlaceholder).Append(": their settings and secrets stay where they are.\n");
        Append(text, document, 0);
        return text.ToString();
    }

    private static Route ReadRoute(YamlSection section)
    {
        var route = new Route
        {
            Receiver = section.Text("receiver"),
            Matchers = [.. section.Matchers("matchers"), .. section.OldMatchers("match", MatchKind.Equal), .. section.OldMatchers("match_re", MatchKind.Regex)],
            // An empty list is none: it means what the parent says.
            GroupBy = section.Texts("group_by") is { Count: > 0 } by ? by : null,
            GroupWait = section.Duration("group_wait"),
            GroupInterval = section.Duration("group_interval"),
            RepeatInterval = section.Duration("repeat_interval"),
            MuteTimeIntervals = section.Texts("mute_time_intervals") ?? [],
            ActiveTimeIntervals = section.Texts("active_time_intervals") ?? [],
            Continue = section.Flag("continue"),
            Routes = [.. section.List("routes").Select(ReadRoute)],
        };
        section.Close();
        return route;
    }

    private static RoutingReceiver ReadReceiver(YamlSection section, List<ForeignReceiver> foreign)
    {
        var name = section.Required("name");
        var channels = new List<string>(section.Texts("channels") ?? []);
        var policy = section.Text("escalation_policy");
        foreach (var key in section.Keys().Where(key => key.EndsWith("_configs", StringComparison.Ordinal)))
        {
            var node = section.Find(key)!;
            foreach (var config in node is YamlSequenceNode list ? list.Children : [node])
            {
                var url = key == "webhook_configs" && config is YamlMappingNode mapping && mapping.Children.TryGetValue(new YamlScalarNode("url"), out var found) ? (found as YamlScalarNode)?.Value : null;
                if (url?.StartsWith(ChannelPlaceholder, StringComparison.Ordinal) == true)
                {
                    channels.Add(Uri.UnescapeDataString(url[ChannelPlaceholder.Length..]));
                }
                else if (url?.StartsWith(EscalationPlaceholder, StringComparison.Ordinal) == true)
                {
                    policy = Uri.UnescapeDataString(url[EscalationPlaceholder.Length..]);
                }
                else
                {
                    foreign.Add(new ForeignReceiver(name, key, config, $"line {config.Start.Line}: {section.Place}"));
                }
            }
        }

        section.Close();
        return new RoutingReceiver(name, [.. channels.Distinct()], policy);
    }

    private static InhibitRule ReadInhibition(YamlSection section)
    {
        // The name is a comment of newer versions.
        _ = section.Text("name");
        var rule = new InhibitRule(
            [.. section.Matchers("source_matchers"), .. section.OldMatchers("source_match", MatchKind.Equal), .. section.OldMatchers("source_match_re", MatchKind.Regex)],
            [.. section.Matchers("target_matchers"), .. section.OldMatchers("target_match", MatchKind.Equal), .. section.OldMatchers("target_match_re", MatchKind.Regex)],
            section.Texts("equal") ?? []);
        if (rule.Source.Count == 0 || rule.Target.Count == 0)
        {
            section.Fault("source_matchers and target_matchers need at least one matcher each.");
        }

        section.Close();
        return rule;
    }

    private static InhibitRule ReadDependency(YamlSection section)
    {
        var rule = new InhibitRule(section.Matchers("parent_matchers"), section.Matchers("child_matchers"), section.Texts("equal") ?? [], section.Required("name"));
        if (rule.Source.Count == 0 || rule.Target.Count == 0)
        {
            section.Fault("parent_matchers and child_matchers need at least one matcher each.");
        }

        section.Close();
        return rule;
    }

    private static TimeInterval ReadInterval(YamlSection section)
    {
        var interval = new TimeInterval(section.Required("name"), [.. section.List("time_intervals").Select(ReadPart)]);
        section.Close();
        return interval;
    }

    private static TimePart ReadPart(YamlSection section)
    {
        var times = new List<NumberRange>();
        foreach (var time in section.List("times"))
        {
            var (start, end) = (time.Required("start_time"), time.Required("end_time"));
            if (time.Parse("end_time", end, _ => (NumberRange?)TimeNotation.ParseTimes(start, end)) is { } range)
            {
                times.Add(range);
            }

            time.Close();
        }

        TimeZoneInfo? zone = null;
        if (section.Text("location") is { } location && !TimeZoneInfo.TryFindSystemTimeZoneById(location == "Local" ? "UTC" : location, out zone))
        {
            section.Fault($"location: \"{location}\" is no time zone of this machine; expected a name such as Europe/Berlin.");
        }

        var part = new TimePart(
            times.Count > 0 ? times : null,
            section.Each("weekdays", TimeNotation.ParseWeekdays),
            section.Each("days_of_month", TimeNotation.ParseDaysOfMonth),
            section.Each("months", TimeNotation.ParseMonths),
            section.Each("years", TimeNotation.ParseYears),
            zone);
        section.Close();
        return part;
    }

    private static bool SameSides(InhibitRule left, InhibitRule right) =>
        Texts(left.Source).SequenceEqual(Texts(right.Source)) && Texts(left.Target).SequenceEqual(Texts(right.Target)) && left.Equal.SequenceEqual(right.Equal);

    private static JsonObject Write(Route route) => Object(
        ("receiver", route.Receiver),
        ("group_by", route.GroupBy is { } by ? Texts(by) : null),
        ("group_wait", Duration(route.GroupWait)),
        ("group_interval", Duration(route.GroupInterval)),
        ("repeat_interval", Duration(route.RepeatInterval)),
        ("matchers", route.Matchers.Count > 0 ? Matchers(route.Matchers) : null),
        ("mute_time_intervals", route.MuteTimeIntervals.Count > 0 ? Texts(route.MuteTimeIntervals) : null),
        ("active_time_intervals", route.ActiveTimeIntervals.Count > 0 ? Texts(route.ActiveTimeIntervals) : null),
        ("continue", route.Continue ? true : null),
        ("routes", route.Routes.Count > 0 ? Array(route.Routes, Write) : null));

    private static JsonObject Write(InhibitRule rule) => Object(
        ("source_matchers", Matchers(rule.Source)), ("target_matchers", Matchers(rule.Target)), ("equal", rule.Equal.Count > 0 ? Texts(rule.Equal) : null));

    private static JsonObject Write(TimeInterval interval) => Object(
        ("name", interval.Name),
        ("time_intervals", Array(interval.Parts, part => Object(
            ("times", part.Times is { } times ? Array(times, range => Object(("start_time", TimeNotation.WriteTime(range.First)), ("end_time", TimeNotation.WriteTime(range.Last)))) : null),
            ("weekdays", Ranges(part.Weekdays, TimeNotation.WriteWeekdays)),
            ("days_of_month", Ranges(part.DaysOfMonth, TimeNotation.WriteNumbers)),
            ("months", Ranges(part.Months, TimeNotation.WriteMonths)),
            ("years", Ranges(part.Years, TimeNotation.WriteNumbers)),
            ("location", part.Location?.Id)))));

    private static JsonObject Object(params ReadOnlySpan<(string Key, JsonNode? Value)> pairs)
    {
        var node = new JsonObject();
        foreach (var (key, value) in pairs)
        {
            if (value is not null)
            {
                node[key] = value;
            }
        }

        return node;
    }

    private static JsonArray Array<T>(IReadOnlyList<T> items, Func<T, JsonNode> write) => [.. items.Select(write)];

    private static JsonArray Texts(IReadOnlyList<string> texts) => Array(texts, text => JsonValue.Create(text)!);

    private static JsonArray Matchers(IReadOnlyList<Matcher> matchers) => Array(matchers, matcher => JsonValue.Create(MatcherNotation.Write(matcher))!);

    private static IEnumerable<string> Texts(IReadOnlyList<Matcher> matchers) => matchers.Select(MatcherNotation.Write).Order(StringComparer.Ordinal);

    private static JsonArray? Ranges(IReadOnlyList<NumberRange>? ranges, Func<NumberRange, string> write) => ranges is null ? null : Array(ranges, range => JsonValue.Create(write(range))!);

    private static string? Duration(TimeSpan? duration) => duration is { } length ? AlertDuration.Write(length) : null;

    /// <summary>Block style for mappings and lists of mappings; texts as JSON strings, which YAML reads as they are.</summary>
    private static void Append(StringBuilder text, JsonObject node, int indent, bool afterDash = false)
    {
        foreach (var (key, value) in node)
        {
            text.Append(afterDash ? "" : new string(' ', indent)).Append(key).Append(':');
            afterDash = false;
            switch (value)
            {
                case JsonObject inner:
                    text.Append('\n');
                    Append(text, inner, indent + 2);
                    break;
                case JsonArray { Count: > 0 } list when list[0] is JsonObject:
                    text.Append('\n');
                    foreach (var item in list)
                    {
                        text.Append(' ', indent + 2).Append("- ");
                        Append(text, item!.AsObject(), indent + 4, afterDash: true);
                    }

                    break;
                default:
                    text.Append(' ').Append(value!.ToJsonString(Plain)).Append('\n');
                    break;
            }
        }

        if (node.Count == 0)
        {
            text.Append(afterDash ? "{}" : "").Append('\n');
        }
    }

    private static readonly System.Text.Json.JsonSerializerOptions Plain = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
}
