using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Platform.PromQL;

namespace Platform.Testing;

/// <summary>Samples of one series that a script loads.</summary>
public sealed record LoadedSeries(Labels Labels, IReadOnlyList<long> Times, IReadOnlyList<double> Values);

/// <summary>Gives a source of exactly these series, in whatever store is under test.</summary>
public delegate Task<ISeriesSource> LoadSeries(IReadOnlyList<LoadedSeries> series, CancellationToken ct);

/// <summary>One query of a script with what it must answer.</summary>
/// <param name="Skip">Why it cannot be asked of this engine; null: it must pass.</param>
public sealed record ScriptEval(string Script, int Line, string Query, string? Skip)
{
    public override string ToString() => $"{Script}:{Line} {Query}";

    internal bool IsRange { get; init; }

    internal long Start { get; init; }

    internal long End { get; init; }

    internal long Step { get; init; }

    internal IReadOnlyList<string> Expected { get; init; } = [];

    internal IReadOnlyList<string> Expectations { get; init; } = [];

    /// <summary>The samples that are loaded when it is asked.</summary>
    public IReadOnlyList<LoadedSeries> Loaded { get; init; } = [];

    /// <summary>Some of what was to be loaded were native histograms, which this platform does not have.</summary>
    internal bool WithoutHistograms { get; init; }
}

/// <summary>
/// A test script in the language of Prometheus: <c>load</c>, <c>clear</c>, <c>eval</c>, <c>expect</c>. Those of Prometheus itself are not
/// part of this project; they are read from <c>../shared/data/promqltest</c> beside the checkout where that folder is present.
/// </summary>
public sealed partial class PromqlScript
{
    /// <summary>Extensions of the language that the engine has, or that change nothing for it.</summary>
    private static readonly string[] s_stable = ["annotation_expected", "number_as_duration", "duration_as_number", "limitk_ratio"];

    /// <summary>The index calls these free of native histograms, and their answers are what they are because some samples are such.</summary>
    private static readonly string[] s_miscounted = ["functions.test:1649", "native_histograms.test:1419"];

    private readonly string _name;
    private readonly Dictionary<Labels, (List<long> Times, List<double> Values)> _loaded = [];
    private readonly List<ScriptEval> _evals = [];
    private readonly Dictionary<int, string> _reasons;
    private IReadOnlyList<LoadedSeries>? _snapshot;
    private bool _withoutHistograms;

    private PromqlScript(string name, Dictionary<int, string> reasons) => (_name, _reasons) = (name, reasons);

    /// <summary>The folder with Prometheus' own scripts, or null.</summary>
    public static string? PrometheusFolder { get; } = FindFolder();

    private static string? FindFolder()
    {
        var folder = Path.Combine(RepositoryFolder.Path, "..", "shared", "data", "promqltest");
        return Directory.Exists(folder) ? folder : null;
    }

    /// <summary>Every query of Prometheus' scripts; those that need what this engine does not have carry the reason.</summary>
    public static IReadOnlyList<ScriptEval> ReadPrometheus(string folder)
    {
        using var index = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "index.json")));
        var reasons = index.RootElement.EnumerateArray().GroupBy(eval => eval.GetProperty("file").GetString()!).ToDictionary(
            file => file.Key,
            file => file.ToDictionary(
                eval => eval.GetProperty("line").GetInt32(),
                eval => s_miscounted.Contains($"{file.Key}:{eval.GetProperty("line")}") ? "native_histogram" : string.Join(", ", eval.GetProperty("features").EnumerateArray().Select(feature => feature.GetString()!).Where(feature => !s_stable.Contains(feature)))));
        return
        [
            .. Directory.GetFiles(folder, "*.test").Order(StringComparer.Ordinal)
                .SelectMany(file => Parse(Path.GetFileName(file), File.ReadAllLines(file), reasons.GetValueOrDefault(Path.GetFileName(file)) ?? [])),
        ];
    }

    /// <summary>Every query of a script of our own.</summary>
    public static IReadOnlyList<ScriptEval> Read(string file) => Parse(Path.GetFileName(file), File.ReadAllLines(file), []);

    private static List<ScriptEval> Parse(string name, string[] lines, Dictionary<int, string> reasons)
    {
        var script = new PromqlScript(name, reasons);
        var at = 0;
        while (at < lines.Length)
        {
            var number = at + 1;
            var head = lines[at++].Trim();
            var block = new List<string>();
            if (head.StartsWith("load", StringComparison.Ordinal) || head.StartsWith("eval", StringComparison.Ordinal))
            {
                while (at < lines.Length && lines[at].Trim() is { Length: > 0 } line && line[0] != '#')
                {
                    block.Add(line);
                    at++;
                }
            }

            if (head.StartsWith("load", StringComparison.Ordinal))
            {
                script.Load(head, block);
            }
            else if (head.StartsWith("eval", StringComparison.Ordinal))
            {
                script.Eval(head, number, block);
            }
            else if (head == "clear")
            {
                script._loaded.Clear();
                script._snapshot = null;
                script._withoutHistograms = false;
            }
            else if (head.Length > 0 && head[0] != '#')
            {
                throw new FormatException($"{name}:{number}: unknown command {head}");
            }
        }

        return script._evals;
    }

    private void Load(string head, List<string> block)
    {
        _snapshot = null;
        var step = Time(head.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]);
        _withoutHistograms |= head.StartsWith("load_with_nhcb", StringComparison.Ordinal);

        // The last line of a series in one load counts.
        foreach (var (labels, rest) in block.Select(Series).Reverse().DistinctBy(series => series.Labels).Reverse())
        {
            if (Points(rest) is not { } points)
            {
                _withoutHistograms = true;
                continue;
            }

            if (!_loaded.TryGetValue(labels, out var series))
            {
                _loaded.Add(labels, series = ([], []));
            }

            for (var index = 0; index < points.Count; index++)
            {
                if (points[index] is { } value)
                {
                    if (series.Times.Count > 0 && series.Times[^1] >= index * step)
                    {
                        continue;
                    }

                    series.Times.Add(index * step);
                    series.Values.Add(value);
                }
            }

            _withoutHistograms |= rest.Contains("{{", StringComparison.Ordinal);
        }
    }

    private void Eval(string head, int line, List<string> block)
    {
        var parts = EvalLine().Match(head);
        if (!parts.Success)
        {
            throw new FormatException($"{_name}:{line}: cannot read {head}");
        }

        var range = parts.Groups["from"].Success;
        var start = Time(parts.Groups[range ? "from" : "at"].Value);
        var expectations = block.Where(text => text.StartsWith("expect ", StringComparison.Ordinal)).Select(text => text["expect ".Length..].Trim()).ToList();
        if (parts.Groups["mode"].Value is { Length: > 0 } mode)
        {
            expectations.Add(mode[1..]);
        }

        _reasons.TryGetValue(line, out var reason);
        _snapshot ??= [.. _loaded.Select(series => new LoadedSeries(series.Key, [.. series.Value.Times], [.. series.Value.Values]))];
        _evals.Add(new ScriptEval(_name, line, parts.Groups["query"].Value, string.IsNullOrEmpty(reason) ? null : reason)
        {
            IsRange = range,
            Start = start,
            End = range ? Time(parts.Groups["to"].Value) : start,
            Step = range ? Time(parts.Groups["step"].Value) : 1,
            Expected = [.. block.Where(text => !text.StartsWith("expect ", StringComparison.Ordinal))],
            Expectations = expectations,
            Loaded = _snapshot,
            WithoutHistograms = _withoutHistograms,
        });
    }

    [GeneratedRegex(@"^eval(?<mode>_\w+)?\s+(instant\s+at\s+(?<at>\S+)|range\s+from\s+(?<from>\S+)\s+to\s+(?<to>\S+)\s+step\s+(?<step>\S+))\s+(?<query>.+)$")]
    private static partial Regex EvalLine();

    /// <summary>A duration or a number of seconds, in milliseconds.</summary>
    internal static long Time(string text)
    {
        if (double.TryParse(text, CultureInfo.InvariantCulture, out var seconds))
        {
            return (long)Math.Round(seconds * 1000);
        }

        var total = 0L;
        foreach (Match part in Duration().Matches(text))
        {
            total += long.Parse(part.Groups[1].Value, CultureInfo.InvariantCulture) * part.Groups[2].Value switch
            {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 604_800_000,
                _ => 31_536_000_000,
            };
        }

        return text.StartsWith('-') ? -total : total;
    }

    [GeneratedRegex("([0-9]+)(ms|[smhdwy])")]
    private static partial Regex Duration();

    /// <summary>The labels at the beginning of a line, and what follows.</summary>
    internal static (Labels Labels, string Points) Series(string line)
    {
        var end = 0;
        while (end < line.Length && line[end] != '{' && !char.IsWhiteSpace(line[end]))
        {
            end++;
        }

        var pairs = new List<(string, string)>();
        if (end > 0)
        {
            pairs.Add((Labels.MetricName, line[..end]));
        }

        var brace = end;
        while (brace < line.Length && char.IsWhiteSpace(line[brace]))
        {
            brace++;
        }

        if (brace < line.Length && line[brace] == '{' && (brace == end || end == 0) && !line.AsSpan(brace).StartsWith("{{"))
        {
            end = CloseOf(line, brace);
            var inner = line[(brace + 1)..end].Trim();
            if (inner.Length > 0)
            {
                foreach (var matcher in Parser.ParseSelector($"{{{inner}, __never__=\"x\"}}"))
                {
                    if (matcher.Name != "__never__")
                    {
                        pairs.Add((matcher.Name, matcher.Value));
                    }
                }
            }

            end++;
        }

        return (Labels.Of([.. pairs]), line[end..].Trim());
    }

    private static int CloseOf(string line, int from)
    {
        var quote = '\0';
        for (var at = from; at < line.Length; at++)
        {
            if (quote != '\0')
            {
                at += line[at] == '\\' && quote != '`' ? 1 : 0;
                quote = at < line.Length && line[at] == quote ? '\0' : quote;
            }
            else if (line[at] is '"' or '\'' or '`')
            {
                quote = line[at];
            }
            else if (line[at] == '}')
            {
                return at;
            }
        }

        throw new FormatException($"no closing brace in {line}");
    }

    /// <summary>Points in the script's short notation; null for none. Histograms count as none. Null when the notation is not known.</summary>
    internal static List<double?>? Points(string text)
    {
        var points = new List<double?>();
        foreach (var token in Histogram().Replace(text, "H").Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = Token().Match(token);
            if (!parts.Success)
            {
                return null;
            }

            var repeat = parts.Groups["count"].Success ? int.Parse(parts.Groups["count"].Value, CultureInfo.InvariantCulture) : 0;
            var first = parts.Groups["first"].Value;
            if (first == "_")
            {
                points.AddRange(Enumerable.Repeat<double?>(null, Math.Max(1, repeat)));
                continue;
            }

            double? value = first switch
            {
                "H" => null,
                "stale" => StaleMarker.Value,
                _ => Number(first),
            };
            var change = parts.Groups["change"].Success && first != "H" ? Number(parts.Groups["change"].Value) : 0;
            points.Add(value);
            for (var index = 0; index < repeat; index++)
            {
                value = first == "stale" ? value : value + change;
                points.Add(value);
            }
        }

        return points;
    }

    [GeneratedRegex(@"\{\{.*?\}\}")]
    private static partial Regex Histogram();

    [GeneratedRegex(@"^(?<first>_|stale|H|[+-]?(Inf|NaN|inf|nan|[0-9.]+([eE][+-]?[0-9]+)?))(?<change>[+-](H|Inf|NaN|[0-9.]+([eE][+-]?[0-9]+)?))?(x(?<count>[0-9]+))?$")]
    private static partial Regex Token();

    internal static double Number(string text) => text.TrimStart('+', '-').ToUpperInvariant() switch
    {
        "INF" => text[0] == '-' ? double.NegativeInfinity : double.PositiveInfinity,
        "NAN" => double.NaN,
        _ => double.Parse(text, CultureInfo.InvariantCulture),
    };
}
