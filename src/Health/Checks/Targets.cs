using System.Globalization;
using System.Text.RegularExpressions;
using Platform.ServiceDefaults;

namespace Platform.Health.Checks;

/// <summary>An HTTP or TCP endpoint outside of the platform that the setting <c>HEALTH_CHECK_TARGETS</c> names.</summary>
/// <param name="Statuses">Answers that count as well; HTTP only.</param>
public sealed record Target(string Name, Uri Address, Pace Pace, Thresholds Thresholds, IReadOnlyList<StatusRange> Statuses, bool IsPublic)
{
    public bool IsHttp => Address.Scheme is "http" or "https";
}

/// <summary>HTTP status codes, both ends included.</summary>
public readonly record struct StatusRange(int From, int To)
{
    public bool Contains(int status) => status >= From && status <= To;

    public override string ToString() => From == To ? $"{From}" : $"{From}-{To}";
}

/// <summary>
/// Reads <c>shop=https://shop.example/health interval=30 public=true; db=tcp://10.0.0.5:5432</c>: entries apart by semicolons, each a name,
/// an address, and options apart by blanks. Every mistake is reported, with the entry and the remedy.
/// </summary>
public static partial class Targets
{
    /// <exception cref="SettingsException">Names every entry that is not understood.</exception>
    public static IReadOnlyList<Target> Parse(HealthOptions options, IReadOnlyCollection<string> taken)
    {
        List<string> errors = [];
        var targets = new List<Target>();
        var names = new HashSet<string>(taken, StringComparer.Ordinal);
        foreach (var entry in options.Targets.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (ParseEntry(entry, options, error => errors.Add(error)) is { } target)
            {
                targets.Add(target);
                if (!names.Add(target.Name))
                {
                    errors.Add($"HEALTH_CHECK_TARGETS: the name \"{target.Name}\" is taken, by another entry or a component of the platform. Choose another.");
                }
            }
        }

        if (targets.Count > options.MaxTargets)
        {
            errors.Add($"HEALTH_CHECK_TARGETS lists {targets.Count} targets; HEALTH_CHECK_MAX_TARGETS allows {options.MaxTargets}. List fewer, or raise that setting.");
        }

        return errors.Count == 0 ? targets : throw new SettingsException(string.Join(Environment.NewLine, errors));
    }

    private static Target? ParseEntry(string entry, HealthOptions options, Action<string> report)
    {
        var words = entry.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        var (name, text) = Pair(words[0]);
        // The address may carry what nobody should read in a log; the name is enough to find the entry.
        void Wrong(string what) => report($"HEALTH_CHECK_TARGETS, entry \"{name}\": {what}");
        if (!NamePattern().IsMatch(name))
        {
            Wrong("a name has up to 63 lower-case letters, digits, dots, dashes and underscores, as in shop=https://shop.example/health.");
            return null;
        }

        if (!Uri.TryCreate(text, UriKind.Absolute, out var address) || address.Host.Length == 0 || address.Scheme is not ("http" or "https" or "tcp"))
        {
            Wrong("expected an address such as https://shop.example/health or tcp://10.0.0.5:5432 after the first =.");
            return null;
        }

        if (address.UserInfo.Length > 0)
        {
            Wrong("credentials in the address are not supported. Leave out the part before the @.");
            return null;
        }

        if (address.Scheme == "tcp" && (address.Port <= 0 || address.PathAndQuery.Length > 1))
        {
            Wrong("a tcp address is a host and a port and nothing else, such as tcp://10.0.0.5:5432.");
            return null;
        }

        var target = new Target(name, address, options.Pace, options.Thresholds, [new StatusRange(200, 399)], IsPublic: false);
        var given = new HashSet<string>();
        foreach (var word in words.Skip(1))
        {
            var (option, value) = Pair(word);
            if (!given.Add(option))
            {
                Wrong($"the option {option} is given twice. Leave one out.");
                return null;
            }

            if (With(target, option, value) is not { } changed)
            {
                Wrong($"\"{word}\" is not understood. Options are interval=1…3600 and timeout=0.1…300 (seconds), failures=1…100, successes=1…100, public=true|false, and for http status=200-299,404.");
                return null;
            }

            target = changed;
        }

        return target;
    }

    private static Target? With(Target target, string option, string value) => option switch
    {
        "interval" when Seconds(value, 1, 3_600) is { } interval => target with { Pace = target.Pace with { Interval = interval } },
        "timeout" when Seconds(value, 0.1, 300) is { } timeout => target with { Pace = target.Pace with { Timeout = timeout } },
        "failures" when Count(value) is { } failures => target with { Thresholds = target.Thresholds with { Failures = failures } },
        "successes" when Count(value) is { } successes => target with { Thresholds = target.Thresholds with { Successes = successes } },
        "public" when bool.TryParse(value, out var isPublic) => target with { IsPublic = isPublic },
        "status" when target.IsHttp && Statuses(value) is { } statuses => target with { Statuses = statuses },
        _ => null,
    };

    private static (string Left, string Right) Pair(string word) =>
        word.IndexOf('=', StringComparison.Ordinal) is >= 0 and var at ? (word[..at], word[(at + 1)..]) : (word, "");

    private static TimeSpan? Seconds(string text, double from, double to) =>
        double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds) && seconds >= from && seconds <= to ? TimeSpan.FromSeconds(seconds) : null;

    private static int? Count(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var count) && count is >= 1 and <= 100 ? count : null;

    private static List<StatusRange>? Statuses(string text)
    {
        var ranges = new List<StatusRange>();
        foreach (var part in text.Split(','))
        {
            var ends = part.Split('-');
            if (ends.Length > 2 || Status(ends[0]) is not { } from || Status(ends[^1]) is not { } to || to < from)
            {
                return null;
            }

            ranges.Add(new StatusRange(from, to));
        }

        return ranges;
    }

    private static int? Status(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var status) && status is >= 100 and <= 599 ? status : null;

    [GeneratedRegex("^[a-z0-9][a-z0-9._-]{0,62}$")]
    private static partial Regex NamePattern();
}
