using System.Globalization;
using System.Text.RegularExpressions;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Platform.Metrics.Scraping;

/// <summary>The configuration is not understood. The message has one line per fault, each with its place, the culprit and the remedy.</summary>
public sealed class ScrapeConfigException(string message) : Exception(message);

/// <summary>What to scrape, as the operator's file says it: the <c>scrape_configs</c> of Prometheus' YAML.</summary>
/// <param name="Ignored">Sections of a Prometheus file that mean nothing here, such as <c>rule_files</c>.</param>
public sealed record ScrapeConfig(IReadOnlyList<ScrapeJob> Jobs, IReadOnlyList<string> Ignored);

/// <summary>One entry of <c>scrape_configs</c>. A limit of 0 means none.</summary>
public sealed record ScrapeJob(string Name, string Realm, TimeSpan Interval, TimeSpan Timeout)
{
    public string Scheme { get; init; } = "http";

    public string MetricsPath { get; init; } = "/metrics";

    public IReadOnlyDictionary<string, IReadOnlyList<string>> Params { get; init; } = new Dictionary<string, IReadOnlyList<string>>();

    /// <summary>Labels of the target give way to those that it exposes; <c>realm</c> never does.</summary>
    public bool HonorLabels { get; init; }

    public bool HonorTimestamps { get; init; } = true;

    /// <summary>Series with timestamps of their own get stale markers too.</summary>
    public bool TrackTimestampsStaleness { get; init; }

    public ScrapeAuth? Auth { get; init; }

    public IReadOnlyList<TargetGroup> Groups { get; init; } = [];

    /// <summary>Paths of files with target groups; the last part may hold <c>*</c>.</summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    public IReadOnlyList<RelabelStep> Relabel { get; init; } = [];

    public IReadOnlyList<RelabelStep> MetricRelabel { get; init; } = [];

    public int SampleLimit { get; init; }

    public int TargetLimit { get; init; }

    public int LabelLimit { get; init; }

    public int LabelNameLengthLimit { get; init; }

    public int LabelValueLengthLimit { get; init; }

    public long BodySizeLimit { get; init; }

    /// <summary>The addresses come from the environment of this process, not from a file: the platform's own graph, which needs no outbound permission.</summary>
    public bool IsOfPlatform { get; init; }

    /// <summary>The platform's own door, which answers a ticket only. Nobody else is ever shown one.</summary>
    public bool TakesTicket { get; init; }
}

/// <param name="Targets">Addresses, <c>host:port</c>.</param>
public sealed record TargetGroup(IReadOnlyList<string> Targets, IReadOnlyDictionary<string, string> Labels);

/// <summary>How a scrape identifies itself. Files are read anew for each scrape, so that a secret can be changed without a reload. Never logged or shown.</summary>
public sealed record ScrapeAuth(string Type, string? User, string? Secret, string? SecretFile)
{
    public override string ToString() => Type;
}

/// <summary>Reads the YAML strictly: what is not understood is an error with its line, never a key without effect.</summary>
public static partial class ScrapeConfigFile
{
    private const int MostFaults = 50;

    private static readonly string[] Elsewhere = ["rule_files", "alerting", "remote_write", "remote_read", "storage", "tracing", "otlp", "runtime"];

    /// <param name="path">For messages, and as the folder that relative paths begin at.</param>
    /// <exception cref="ScrapeConfigException">Names every fault.</exception>
    public static ScrapeConfig Parse(string yaml, string path, ScrapeOptions options)
    {
        var faults = new Faults(path);
        var root = Root(yaml, faults) is YamlMappingNode mapping ? new Section(mapping, "", faults) : null;
        if (root is null)
        {
            faults.ThrowIfAny();
            return new([], []);
        }

        var ignored = Elsewhere.Where(key => root.Take(key) is not null).ToArray();
        var interval = options.Interval;
        var timeout = options.Timeout;
        if (root.Mapping("global") is { } global)
        {
            interval = global.Duration("scrape_interval") ?? interval;
            timeout = global.Duration("scrape_timeout") ?? (options.Timeout < interval ? options.Timeout : interval);
            // Labels for systems beyond this one, and what rules run on: without a meaning for scraping.
            _ = (global.Take("evaluation_interval"), global.Take("external_labels"), global.Take("query_log_file"), global.Take("rule_query_offset"));
            global.Close();
        }

        var jobs = new List<ScrapeJob>();
        foreach (var section in root.List("scrape_configs"))
        {
            jobs.Add(Job(section, Path.GetDirectoryName(Path.GetFullPath(path))!, interval, timeout, options));
            if (jobs[..^1].Exists(job => job.Name == jobs[^1].Name))
            {
                faults.Add(section.Node, $"the job_name \"{jobs[^1].Name}\" is used twice; names tell targets and series apart.");
            }
        }

        root.Close();
        faults.ThrowIfAny();
        return new(jobs, ignored);
    }

    /// <summary>A file of <c>file_sd_configs</c>: a list of targets with labels, as YAML or JSON.</summary>
    /// <exception cref="ScrapeConfigException">Names every fault.</exception>
    public static IReadOnlyList<TargetGroup> ParseTargets(string text, string path)
    {
        var faults = new Faults(path);
        var groups = new List<TargetGroup>();
        switch (Root(text, faults))
        {
            case YamlSequenceNode list:
                groups.AddRange(list.Children.Select((node, index) => Section.Of(node, $"[{index}]", faults)).OfType<Section>().Select(section => Group(section, ("__meta_filepath", path))));
                break;
            case { } other:
                faults.Add(other, "the file is no list of {targets, labels}.");
                break;
            default:
                break;
        }

        faults.ThrowIfAny();
        return groups;
    }

    /// <summary><c>1h30m</c>, <c>15s</c>, <c>500ms</c>; null when it is none.</summary>
    internal static TimeSpan? ParseDuration(string text)
    {
        var match = DurationPattern().Match(text);
        if (!match.Success || text.Length == 0)
        {
            return text == "0" ? TimeSpan.Zero : null;
        }

        ReadOnlySpan<double> seconds = [365 * 86_400.0, 7 * 86_400, 86_400, 3_600, 60, 1, 0.001];
        var total = 0.0;
        for (var unit = 0; unit < seconds.Length; unit++)
        {
            total += match.Groups[unit + 1].Success ? double.Parse(match.Groups[unit + 1].Value, CultureInfo.InvariantCulture) * seconds[unit] : 0;
        }

        return total > TimeSpan.MaxValue.TotalSeconds / 2 ? null : TimeSpan.FromSeconds(total);
    }

    private static YamlNode? Root(string yaml, Faults faults)
    {
        try
        {
            var stream = new YamlStream();
            stream.Load(new StringReader(yaml));
            return stream.Documents.Count == 0 ? null : stream.Documents[0].RootNode is YamlScalarNode { Value: null or "" } ? null : stream.Documents[0].RootNode;
        }
        catch (YamlException error)
        {
            faults.Add(error.Start.Line, $"this is no YAML: {error.InnerException?.Message ?? error.Message}");
            return null;
        }
    }

    private static ScrapeJob Job(Section from, string folder, TimeSpan interval, TimeSpan timeout, ScrapeOptions options)
    {
        var ownInterval = from.Duration("scrape_interval") ?? interval;
        var ownTimeout = from.Duration("scrape_timeout") ?? (timeout < ownInterval ? timeout : ownInterval);
        var job = new ScrapeJob(from.Text("job_name") ?? from.Missing("job_name"), from.Text("realm") ?? options.Realm, ownInterval, ownTimeout)
        {
            Scheme = from.Word("scheme", "http", "https") ?? "http",
            MetricsPath = from.Text("metrics_path") ?? "/metrics",
            Params = from.Mapping("params")?.Lists() ?? new Dictionary<string, IReadOnlyList<string>>(),
            HonorLabels = from.Flag("honor_labels") ?? false,
            HonorTimestamps = from.Flag("honor_timestamps") ?? true,
            TrackTimestampsStaleness = from.Flag("track_timestamps_staleness") ?? false,
            Auth = Auth(from, folder),
            Groups = [.. from.List("static_configs").Select(section => Group(section))],
            Files = [.. from.List("file_sd_configs").SelectMany(section => Files(section, folder))],
            Relabel = Steps(from, "relabel_configs"),
            MetricRelabel = Steps(from, "metric_relabel_configs"),
            SampleLimit = from.Count("sample_limit"),
            TargetLimit = from.Count("target_limit"),
            LabelLimit = from.Count("label_limit"),
            LabelNameLengthLimit = from.Count("label_name_length_limit"),
            LabelValueLengthLimit = from.Count("label_value_length_limit"),
            BodySizeLimit = from.Bytes("body_size_limit"),
        };
        if (ownTimeout > ownInterval)
        {
            from.Fault($"scrape_timeout {ownTimeout.TotalSeconds:0.###}s is longer than scrape_interval {ownInterval.TotalSeconds:0.###}s.");
        }

        if (ownInterval < TimeSpan.FromMilliseconds(100) || ownTimeout <= TimeSpan.Zero)
        {
            from.Fault("scrape_interval is at least 100ms and scrape_timeout above 0.");
        }

        if (from.Flag("follow_redirects") is true)
        {
            from.Fault("follow_redirects: redirects are never followed, because they lead to addresses that nobody allowed. Leave the key out and name the final address.");
        }

        _ = (from.Flag("enable_http2"), from.Flag("enable_compression"));
        from.Close(key => key switch
        {
            _ when key.EndsWith("_sd_configs", StringComparison.Ordinal) => "targets come from static_configs and file_sd_configs here; let a discovery tool write the file.",
            "tls_config" => "certificates are checked against the machine's authorities; add yours there.",
            "bearer_token" or "bearer_token_file" => "write it as authorization: {credentials_file: …}.",
            _ => null,
        });
        return job;
    }

    private static ScrapeAuth? Auth(Section from, string folder)
    {
        ScrapeAuth? auth = null;
        if (from.Mapping("basic_auth") is { } basic)
        {
            auth = new("Basic", basic.Text("username") ?? basic.Missing("username"), basic.Text("password"), basic.Path("password_file", folder));
            basic.Close();
        }

        if (from.Mapping("authorization") is { } authorization)
        {
            if (auth is not null)
            {
                from.Fault("basic_auth and authorization exclude each other.");
            }

            auth = new(authorization.Text("type") ?? "Bearer", null, authorization.Text("credentials"), authorization.Path("credentials_file", folder));
            authorization.Close();
        }

        if (auth is { Secret: not null, SecretFile: not null })
        {
            from.Fault("give the secret or the file that holds it, not both.");
        }

        return auth;
    }

    private static TargetGroup Group(Section from, params ReadOnlySpan<(string Name, string Value)> more)
    {
        var labels = from.Mapping("labels")?.Texts() ?? new Dictionary<string, string>();
        foreach (var name in labels.Keys.Where(name => !RelabelStep.IsLabelName(name)))
        {
            from.Fault($"labels: \"{name}\" is no name of a label.");
        }

        foreach (var (name, value) in more)
        {
            labels[name] = value;
        }

        var group = new TargetGroup(from.Texts("targets"), labels);
        foreach (var target in group.Targets.Where(target => target.Contains('/', StringComparison.Ordinal) || target.Length == 0))
        {
            from.Fault($"targets: \"{target}\" is no address; it is host:port, without scheme and path (scheme and metrics_path have keys of their own).");
        }

        from.Close();
        return group;
    }

    private static List<string> Files(Section from, string folder)
    {
        var files = from.Texts("files").Select(file => Path.GetFullPath(file, folder)).ToList();
        foreach (var file in files.Where(file => Path.GetExtension(file) is not (".json" or ".yml" or ".yaml") || Path.GetDirectoryName(file)!.Contains('*', StringComparison.Ordinal)))
        {
            from.Fault($"files: \"{file}\" ends in .json, .yml or .yaml, and only its last part may hold a *.");
        }

        _ = from.Duration("refresh_interval"); // files are looked at every METRICS_SCRAPE_RELOAD_SECONDS
        from.Close();
        return files;
    }

    private static List<RelabelStep> Steps(Section from, string key)
    {
        var steps = new List<RelabelStep>();
        foreach (var section in from.List(key))
        {
            var word = section.Text("action") ?? "replace";
            if (!Enum.TryParse<RelabelAction>(word, ignoreCase: true, out var action) || word.Any(char.IsDigit))
            {
                section.Fault($"\"{word}\" is no action; it is one of {string.Join(", ", Enum.GetNames<RelabelAction>()).ToLowerInvariant()}.");
            }

            var sources = section.Texts("source_labels");
            var (separator, regex, target, replacement) = (section.Text("separator") ?? ";", section.Text("regex") ?? "(.*)", section.Text("target_label") ?? "", section.Text("replacement") ?? "$1");
            try
            {
                steps.Add(new(action, sources, separator, regex, (ulong)section.Count("modulus"), target, replacement));
            }
            catch (ArgumentException error)
            {
                section.Fault(error.Message);
            }

            section.Close();
        }

        return steps;
    }

    [GeneratedRegex(@"^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$")]
    private static partial Regex DurationPattern();

    [GeneratedRegex(@"^(\d+(?:\.\d+)?)\s*([KMGTPE]i?B|B)?$")]
    private static partial Regex SizePattern();

    private sealed class Faults(string path)
    {
        private readonly List<string> _faults = [];

        public void Add(YamlNode node, string message) => Add(node.Start.Line, message);

        public void Add(long line, string message)
        {
            if (_faults.Count < MostFaults)
            {
                _faults.Add($"{path}, line {line}: {message}");
            }
        }

        public void ThrowIfAny()
        {
            if (_faults.Count > 0)
            {
                throw new ScrapeConfigException(string.Join(Environment.NewLine, _faults));
            }
        }
    }

    /// <summary>A mapping whose keys are taken one by one; <see cref="Close"/> reports those that nobody took.</summary>
    private sealed class Section(YamlMappingNode node, string place, Faults faults)
    {
        private readonly HashSet<string> _taken = [];

        public YamlMappingNode Node => node;

        public static Section? Of(YamlNode from, string place, Faults faults)
        {
            if (from is YamlMappingNode mapping)
            {
                return new(mapping, place, faults);
            }

            faults.Add(from, $"{place} is to be a mapping of keys to values.");
            return null;
        }

        public void Fault(string message) => faults.Add(node, message);

        public string Missing(string key)
        {
            Fault($"{key} is missing.");
            return "";
        }

        public YamlNode? Take(string key)
        {
            _taken.Add(key);
            return node.Children.TryGetValue(new YamlScalarNode(key), out var value) ? value : null;
        }

        public string? Text(string key) => Take(key) switch
        {
            null => null,
            YamlScalarNode { Value: { } text } => text,
            var other => Wrong<string>(other, key, "a text"),
        };

        public string? Path(string key, string folder) => Text(key) is { } path ? System.IO.Path.GetFullPath(path, folder) : null;

        public string? Word(string key, params string[] words) =>
            Text(key) is not { } word ? null : words.Contains(word) ? word : Wrong<string>(Take(key)!, key, $"one of {string.Join(", ", words)}");

        public bool? Flag(string key) => Text(key) switch
        {
            null => null,
            "true" => true,
            "false" => false,
            _ => Wrong<bool?>(Take(key)!, key, "true or false"),
        };

        public int Count(string key) =>
            Text(key) is not { } text ? 0 : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : Wrong<int>(Take(key)!, key, "a whole number");

        public long Bytes(string key)
        {
            if (Text(key) is not { } text)
            {
                return 0;
            }

            var match = SizePattern().Match(text);
            var power = match.Groups[2].Value is [var letter, ..] and not ['B', ..] ? 1 + "KMGTPE".IndexOf(letter, StringComparison.Ordinal) : 0;
            return match.Success ? (long)(double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) * Math.Pow(1024, power)) : Wrong<long>(Take(key)!, key, "a size such as 10MB");
        }

        public TimeSpan? Duration(string key) =>
            Text(key) is not { } text ? null : ParseDuration(text) ?? Wrong<TimeSpan?>(Take(key)!, key, "a duration such as 15s or 1m30s");

        public Section? Mapping(string key) => Take(key) is { } value && value is not YamlScalarNode { Value: null or "" } ? Of(value, key, faults) : null;

        public Section[] List(string key)
        {
            switch (Take(key))
            {
                case YamlSequenceNode list:
                    return list.Children.Select(child => Of(child, $"an entry of {key}", faults)).OfType<Section>().ToArray();
                case null or YamlScalarNode { Value: null or "" }:
                    return [];
                case var other:
                    Wrong<object>(other, key, "a list");
                    return [];
            }
        }

        public IReadOnlyList<string> Texts(string key) => Take(key) switch
        {
            null => [],
            YamlSequenceNode list when list.Children.All(child => child is YamlScalarNode) => [.. list.Children.Select(child => ((YamlScalarNode)child).Value ?? "")],
            var other => Wrong<IReadOnlyList<string>>(other, key, "a list of texts") ?? [],
        };

        public Dictionary<string, string> Texts() => Keys().ToDictionary(key => key, key => Text(key) ?? "");

        public Dictionary<string, IReadOnlyList<string>> Lists() => Keys().ToDictionary(key => key, Texts);

        public void Close(Func<string, string?>? remedy = null)
        {
            foreach (var (key, value) in node.Children)
            {
                if (key is not YamlScalarNode { Value: { } name } || !_taken.Contains(name))
                {
                    faults.Add(key, $"the key \"{key}\" is not known {(place.Length > 0 ? $"in {place}" : "here")}{(remedy?.Invoke(key.ToString()) is { } way ? $": {way}" : ".")}");
                }
            }
        }

        private string[] Keys() => [.. node.Children.Keys.OfType<YamlScalarNode>().Select(key => key.Value ?? "")];

        private T? Wrong<T>(YamlNode at, string key, string expected)
        {
            faults.Add(at, $"{key} is to be {expected}.");
            return default;
        }
    }
}
