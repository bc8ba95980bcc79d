using Microsoft.Extensions.Logging.Abstractions;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Scraping;

/// <summary>All targets of one moment. A new object whenever something has changed.</summary>
internal sealed record ScrapePlan(IReadOnlyList<TargetPlan> Targets, IReadOnlyList<DroppedTarget> Dropped);

/// <summary>
/// Where targets come from: the addresses in the environment, the configuration file, and the files that it names. Files are compared by
/// content at every look, which also sees what file watchers miss (mounted volumes, links that are swapped). A file that is not
/// understood leaves what it said before in force.
/// </summary>
internal sealed partial class ScrapeSources(ScrapeOptions options, IConfigurationSection services)
{
    private readonly Dictionary<string, KnownFile> _files = new(StringComparer.Ordinal);
    private ILogger _logger = NullLogger.Instance;
    private string? _text;
    private ScrapeConfig _config = new([], []);
    private ScrapePlan? _plan;
    private bool _isStale = true;

    /// <summary>Reads the file for the first time; what is wrong with it is the caller's to tell.</summary>
    /// <exception cref="ScrapeConfigException">The file is not there, too large, or not understood.</exception>
    public void ReadFirst()
    {
        if (options.ConfigFile is { } path)
        {
            _text = ReadText(path) ?? throw new ScrapeConfigException($"The file {path} is not there. Correct the setting, or unset it.");
            _config = ScrapeConfigFile.Parse(_text, path, options);
        }
    }

    public ScrapeSources LogTo(ILogger logger)
    {
        _logger = logger;
        if (_config.Ignored.Count > 0)
        {
            Ignored(options.ConfigFile!, string.Join(", ", _config.Ignored));
        }

        return this;
    }

    /// <summary>The plan as the files say it now: the same object as before when nothing has changed.</summary>
    public Task<ScrapePlan> ReadAsync(CancellationToken ct) => Task.Run(Read, ct);

    private ScrapePlan Read()
    {
        ReadConfig();
        foreach (var pattern in _config.Jobs.SelectMany(job => job.Files).Distinct(StringComparer.Ordinal))
        {
            foreach (var file in Matching(pattern))
            {
                ReadTargets(file);
            }
        }

        foreach (var gone in _files.Keys.Where(file => !File.Exists(file)).ToArray())
        {
            _files.Remove(gone);
            _isStale = true;
        }

        if (_plan is null || _isStale)
        {
            _plan = Make();
            _isStale = false;
        }

        return _plan;
    }

    private void ReadConfig()
    {
        if (options.ConfigFile is not { } path)
        {
            return;
        }

        try
        {
            var text = ReadText(path);
            if (text is null || text == _text)
            {
                return; // gone for a moment while it is replaced
            }

            _text = text;
            _config = ScrapeConfigFile.Parse(text, path, options);
            _isStale = true;
            Reloaded(path, _config.Jobs.Count);
        }
        catch (ScrapeConfigException error)
        {
            OldOneStays(path, error.Message);
        }
    }

    private void ReadTargets(string file)
    {
        var known = _files.TryGetValue(file, out var seen) ? seen : _files[file] = new();
        try
        {
            var text = ReadText(file);
            if (text is null || text == known.Text)
            {
                return;
            }

            known.Text = text;
            known.Groups = ScrapeConfigFile.ParseTargets(text, file);
            _isStale = true;
        }
        catch (ScrapeConfigException error)
        {
            OldOneStays(file, error.Message);
        }
    }

    private ScrapePlan Make()
    {
        var targets = new List<TargetPlan>();
        var dropped = new List<DroppedTarget>();
        var faults = new List<string>();
        foreach (var job in PlatformJobs())
        {
            TargetPlans.Add(job, job.Groups, targets, dropped, faults);
        }

        foreach (var job in _config.Jobs)
        {
            var groups = job.Groups.Concat(job.Files.SelectMany(Matching).SelectMany(file => _files.TryGetValue(file, out var known) ? known.Groups : []));
            TargetPlans.Add(job, groups, targets, dropped, faults);
        }

        if (targets.Count > options.MaxTargets)
        {
            faults.Add($"There are {targets.Count} targets; METRICS_SCRAPE_MAX_TARGETS allows {options.MaxTargets}, and the rest is left out.");
            targets.RemoveRange(options.MaxTargets, targets.Count - options.MaxTargets);
        }

        foreach (var fault in faults.Take(20))
        {
            LeftOut(fault);
        }

        // Enough to see what relabelling does; discovery may offer far more than anybody wants.
        return new(targets, dropped.Count <= 1_000 ? dropped : dropped[..1_000]);
    }

    // services__metrics__http__0=http://127.0.0.1:5102 and so on.
    private IEnumerable<ScrapeJob> PlatformJobs()
    {
        foreach (var service in services.GetChildren())
        {
            var addresses = service.GetSection("https").GetChildren().Concat(service.GetSection("http").GetChildren())
                .Select(child => Uri.TryCreate(child.Value, UriKind.Absolute, out var address) ? address : null).OfType<Uri>().ToArray();
            var isOurs = options.Services.Contains(service.Key, StringComparer.OrdinalIgnoreCase);
            var name = service.Key.ToLowerInvariant();
            foreach (var scheme in addresses.GroupBy(address => address.Scheme))
            {
                yield return new ScrapeJob(name, isOurs ? Realm.All : options.Realm, options.Interval, options.Timeout < options.Interval ? options.Timeout : options.Interval)
                {
                    Scheme = scheme.Key,
                    // The gateway's own port is the door of the platform; there its figures take a ticket.
                    TakesTicket = name == "gateway" && isOurs,
                    MetricsPath = name == "gateway" && isOurs ? "/internal/metrics/scrape" : "/metrics",
                    Groups = [new([.. scheme.Select(address => address.Authority)], new Dictionary<string, string>())],
                    IsOfPlatform = true,
                };
            }
        }
    }

    private static string[] Matching(string pattern)
    {
        var (folder, name) = (Path.GetDirectoryName(pattern)!, Path.GetFileName(pattern));
        return !name.Contains('*', StringComparison.Ordinal) ? [pattern]
            : !Directory.Exists(folder) ? []
            : [.. Directory.EnumerateFiles(folder, name).Order(StringComparer.Ordinal)];
    }

    private string? ReadText(string path)
    {
        try
        {
            var file = new FileInfo(path);
            return !file.Exists ? null
                : file.Length > options.MaxConfigBytes ? throw new ScrapeConfigException($"{path} has {file.Length} bytes; METRICS_SCRAPE_CONFIG_MAX_BYTES allows {options.MaxConfigBytes}.")
                : File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ScrapeConfigException($"{path} cannot be read: {error.Message}");
        }
    }

    private sealed class KnownFile
    {
        public string? Text { get; set; }

        public IReadOnlyList<TargetGroup> Groups { get; set; } = [];
    }

    [LoggerMessage(LogLevel.Information, "Read {Path}: {Jobs} jobs")]
    private partial void Reloaded(string path, int jobs);

    [LoggerMessage(LogLevel.Error, "{Path} is not understood, what it said before stays in force: {Faults}")]
    private partial void OldOneStays(string path, string faults);

    [LoggerMessage(LogLevel.Warning, "Not scraped: {Fault}")]
    private partial void LeftOut(string fault);

    [LoggerMessage(LogLevel.Information, "{Path} has sections that mean nothing here and are left out: {Sections}")]
    private partial void Ignored(string path, string sections);
}
