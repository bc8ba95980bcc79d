using System.Globalization;
using Platform.PromQL;
using Platform.ServiceDefaults;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Platform.Alerting.Routing;

/// <summary>One mapping of a YAML (or JSON) text. What was not asked for is a fault at the end, with its line: a key that is misspelt must not be a setting that is missing.</summary>
internal sealed class YamlSection(YamlMappingNode node, string place, List<string> faults)
{
    private readonly HashSet<string> _asked = [];

    public string Place => place;

    /// <summary>The root of a text; null when it is no mapping, with a fault.</summary>
    public static YamlSection? Root(string text, List<string> faults)
    {
        try
        {
            if (YamlText.Read(text) is [{ RootNode: YamlMappingNode root }])
            {
                return new YamlSection(root, "", faults);
            }

            faults.Add("line 1: expected one document with keys such as route and receivers.");
        }
        catch (YamlException error)
        {
            faults.Add(string.Create(CultureInfo.InvariantCulture, $"line {error.Start.Line}: this YAML (or JSON) is not taken: {error.InnerException?.Message ?? error.Message}"));
        }

        return null;
    }

    public void Fault(string message, YamlNode? at = null) =>
        faults.Add(string.Create(CultureInfo.InvariantCulture, $"line {(at ?? node).Start.Line}: {(place.Length > 0 ? $"{place}: " : "")}{message}"));

    public string? Text(string key)
    {
        switch (Find(key))
        {
            case null or YamlScalarNode { Value: null }:
                return null;
            case YamlScalarNode { Value: { } text, Style: ScalarStyle.Plain } when text is "null" or "~" or "":
                return null;
            case YamlScalarNode { Value: { } text }:
                return text;
            case var other:
                Fault($"{key} is one text, not a list or a mapping.", other);
                return null;
        }
    }

    public string Required(string key)
    {
        if (Text(key) is { Length: > 0 } text)
        {
            return text;
        }

        Fault($"{key} is missing.");
        return "";
    }

    public bool Flag(string key)
    {
        switch (Text(key))
        {
            case null or "false":
                return false;
            case "true":
                return true;
            case var other:
                Fault($"{key} is \"{other}\"; expected true or false.", Find(key));
                return false;
        }
    }

    public TimeSpan? Duration(string key) => Text(key) is { } text ? Parse(key, text, written => AlertDuration.Parse(written)) : null;

    public IReadOnlyList<string>? Texts(string key) => Find(key) switch
    {
        null or YamlScalarNode { Value: null or "" or "null" } => null,
        YamlSequenceNode list => [.. list.Children.Select((child, at) => child is YamlScalarNode { Value: { } text } ? text : Wrong(child, at))],
        var other => Only(other),
    };

    /// <summary>Each text read by <paramref name="read"/>; a <see cref="FormatException"/> becomes a fault.</summary>
    public IReadOnlyList<T>? Each<T>(string key, Func<string, T> read) where T : struct =>
        Texts(key)?.Select(text => Parse(key, text, written => (T?)read(written))).OfType<T>().ToList();

    public IReadOnlyList<YamlSection> List(string key)
    {
        switch (Find(key))
        {
            case null or YamlScalarNode { Value: null or "" or "null" }:
                return [];
            case YamlSequenceNode list:
                var sections = new List<YamlSection>();
                foreach (var (at, child) in list.Children.Index())
                {
                    if (child is YamlMappingNode mapping)
                    {
                        sections.Add(new YamlSection(mapping, Below($"{key}[{at}]"), faults));
                    }
                    else
                    {
                        Fault($"{key}[{at}] is a mapping of keys and values.", child);
                    }
                }

                return sections;
            case var other:
                Fault($"{key} is a list.", other);
                return [];
        }
    }

    public YamlSection? Mapping(string key)
    {
        switch (Find(key))
        {
            case null or YamlScalarNode { Value: null or "" or "null" }:
                return null;
            case YamlMappingNode mapping:
                return new YamlSection(mapping, Below(key), faults);
            case var other:
                Fault($"{key} is a mapping of keys and values.", other);
                return null;
        }
    }

    public IReadOnlyDictionary<string, string> Pairs(string key)
    {
        if (Mapping(key) is not { } section)
        {
            return new Dictionary<string, string>();
        }

        return section.Keys().ToDictionary(name => name, name => section.Text(name) ?? "");
    }

    public IEnumerable<string> Keys() => node.Children.Keys.OfType<YamlScalarNode>().Select(key => key.Value ?? "");

    /// <summary>Whatever stands there, to be read by somebody else.</summary>
    public YamlNode? Find(string key)
    {
        _asked.Add(key);
        return node.Children.TryGetValue(new YamlScalarNode(key), out var found) ? found : null;
    }

    /// <summary>Faults for the keys that nobody asked for.</summary>
    /// <param name="remedy">What to do about a key that is known elsewhere; null for the general answer.</param>
    public void Close(Func<string, string?>? remedy = null)
    {
        foreach (var key in node.Children.Keys)
        {
            if (key is not YamlScalarNode { Value: { } name } || !_asked.Contains(name))
            {
                var text = StorableText.Shorten((key as YamlScalarNode)?.Value ?? key.ToString(), 100);
                Fault(remedy?.Invoke(text) ?? $"the key \"{text}\" is not known here; known are {string.Join(", ", _asked.Order(StringComparer.Ordinal))}.", key);
            }
        }
    }

    public T? Parse<T>(string key, string text, Func<string, T?> read) where T : struct
    {
        try
        {
            return read(text) is { } value ? value : throw new FormatException($"\"{text}\" is no duration; expected for example 30s, 5m, 1h30m or 2d.");
        }
        catch (FormatException error)
        {
            Fault($"{key}: {error.Message}", Find(key));
            return null;
        }
    }

    public IReadOnlyList<Matcher> Matchers(string key)
    {
        var found = new List<Matcher>();
        foreach (var text in Texts(key) ?? [])
        {
            try
            {
                found.AddRange(MatcherNotation.Parse(text));
            }
            catch (FormatException error)
            {
                Fault($"{key}: {error.Message}", Find(key));
            }
        }

        return found;
    }

    /// <summary>The old notation of Alertmanager: label and value, or label and pattern.</summary>
    public IEnumerable<Matcher> OldMatchers(string key, MatchKind kind)
    {
        foreach (var (name, value) in Pairs(key))
        {
            Matcher? matcher = null;
            try
            {
                matcher = name.Length > 0 ? new Matcher(name, kind, value) : throw new ArgumentException("a label has a name.");
            }
            catch (ArgumentException error)
            {
                Fault($"{key}: {name}: {error.Message}", Find(key));
            }

            if (matcher is not null)
            {
                yield return matcher;
            }
        }
    }

    private string Below(string key) => place.Length == 0 ? key : $"{place}.{key}";

    private string Wrong(YamlNode child, int at)
    {
        Fault($"entry {at} of this list is one text.", child);
        return "";
    }

    private IReadOnlyList<string> Only(YamlNode other)
    {
        Fault("this is a list of texts.", other);
        return [];
    }
}

/// <summary>Durations as Prometheus and Alertmanager write them: <c>1h30m</c>, <c>15s</c>, <c>500ms</c>.</summary>
public static class AlertDuration
{
    private static readonly (string Unit, long Milliseconds)[] Units =
        [("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

    /// <summary>Null when it is none: units from years to milliseconds, each at most once and in that order. At most 100 years.</summary>
    public static TimeSpan? Parse(string text)
    {
        if (text == "0")
        {
            return TimeSpan.Zero;
        }

        var (total, at, next) = (0L, 0, 0);
        while (at < text.Length)
        {
            var digits = at;
            while (at < text.Length && char.IsAsciiDigit(text[at]))
            {
                at++;
            }

            var letters = at;
            while (at < text.Length && char.IsAsciiLetterLower(text[at]))
            {
                at++;
            }

            var unit = Array.FindIndex(Units, next, known => known.Unit == text[letters..at]);
            if (unit < 0 || !long.TryParse(text.AsSpan(digits, letters - digits), NumberStyles.None, CultureInfo.InvariantCulture, out var count)
                || count > 100 * Units[0].Milliseconds / Units[unit].Milliseconds)
            {
                return null;
            }

            total += count * Units[unit].Milliseconds;
            next = unit + 1;
        }

        return text.Length == 0 || total > 100 * Units[0].Milliseconds ? null : TimeSpan.FromMilliseconds(total);
    }

    public static string Write(TimeSpan duration) => Printer.Duration(duration);
}
