using System.Globalization;
using System.Text;
using Platform.PromQL;

namespace Platform.Metrics.Scraping;

/// <summary>One target, ready to be scraped.</summary>
/// <param name="Labels">What its series carry, <c>realm</c> among them.</param>
/// <param name="Error">Set when it must not be scraped, because its job has too many targets: then it is down, with this reason.</param>
public sealed record TargetPlan(ScrapeJob Job, Labels Discovered, Labels Labels, Uri Url, TimeSpan Interval, TimeSpan Timeout, string? Error = null)
{
    /// <summary>The same target in the same place: a changed configuration goes on where the one before stopped.</summary>
    public (string Job, Labels Labels, Uri Url) Identity => (Job.Name, Labels, Url);
}

/// <summary>From jobs and addresses to targets. Pure.</summary>
public static class TargetPlans
{
    private const string Address = "__address__";
    private const string Scheme = "__scheme__";
    private const string Path = "__metrics_path__";
    private const string Interval = "__scrape_interval__";
    private const string Timeout = "__scrape_timeout__";
    private const string Parameter = "__param_";

    /// <summary>The targets of a job: its addresses with their labels, relabelled. Two that come out alike are one.</summary>
    /// <param name="faults">Gets a sentence per address that makes no target.</param>
    public static void Add(ScrapeJob job, IEnumerable<TargetGroup> groups, List<TargetPlan> active, List<DroppedTarget> dropped, List<string> faults)
    {
        var first = active.Count;
        var known = new HashSet<(string, Labels, Uri)>();
        foreach (var group in groups)
        {
            foreach (var address in group.Targets)
            {
                if (Plan(job, group, address, dropped, faults) is { } plan && known.Add(plan.Identity))
                {
                    active.Add(plan);
                }
            }
        }

        var count = active.Count - first;
        if (job.TargetLimit > 0 && count > job.TargetLimit)
        {
            for (var index = first; index < active.Count; index++)
            {
                active[index] = active[index] with { Error = $"target_limit exceeded (number of targets: {count}, limit: {job.TargetLimit})" };
            }
        }
    }

    private static TargetPlan? Plan(ScrapeJob job, TargetGroup group, string address, List<DroppedTarget> dropped, List<string> faults)
    {
        var labels = new LabelSet(group.Labels) { [Address] = address };
        Default(labels, "job", job.Name);
        Default(labels, Scheme, job.Scheme);
        Default(labels, Path, job.MetricsPath);
        Default(labels, Interval, Seconds(job.Interval));
        Default(labels, Timeout, Seconds(job.Timeout));
        foreach (var (name, values) in job.Params)
        {
            if (values.Count > 0)
            {
                Default(labels, Parameter + name, values[0]);
            }
        }

        var discovered = labels.ToLabels();
        if (!RelabelStep.Apply(job.Relabel, labels))
        {
            dropped.Add(new(job.Realm, job.Name, discovered));
            return null;
        }

        if (Url(job, labels) is not { } url)
        {
            faults.Add($"{job.Name}: {labels[Scheme]}://{labels[Address]}{labels[Path]} is no address after relabelling; the target {address} is left out.");
            return null;
        }

        if (ScrapeConfigFile.ParseDuration(labels[Interval]) is not { } interval || interval < TimeSpan.FromMilliseconds(100)
            || ScrapeConfigFile.ParseDuration(labels[Timeout]) is not { } timeout || timeout <= TimeSpan.Zero || timeout > interval)
        {
            faults.Add($"{job.Name}: the interval {labels[Interval]} and timeout {labels[Timeout]} of the target {address} are no durations, or the timeout is the longer one; it is left out.");
            return null;
        }

        Default(labels, "instance", labels[Address]);
        labels.RemoveAll(name => name.StartsWith("__", StringComparison.Ordinal));
        // Last, so that neither a file nor relabelling can put data into another realm.
        labels["realm"] = job.Realm;
        return new(job, discovered, labels.ToLabels(), url, interval, timeout);
    }

    private static void Default(LabelSet labels, string name, string value)
    {
        if (labels[name].Length == 0)
        {
            labels[name] = value;
        }
    }

    private static Uri? Url(ScrapeJob job, LabelSet labels)
    {
        if (labels[Address].Length == 0 || labels[Scheme] is not ("http" or "https"))
        {
            return null;
        }

        var query = new StringBuilder();
        var given = job.Params.ToDictionary(parameter => parameter.Key, parameter => parameter.Value.ToList(), StringComparer.Ordinal);
        foreach (var (name, value) in labels.Where(label => label.Key.StartsWith(Parameter, StringComparison.Ordinal)))
        {
            // The label holds the first value of its parameter, the job the others.
            var key = name[Parameter.Length..];
            given[key] = [value, .. given.GetValueOrDefault(key, []).Skip(1)];
        }

        foreach (var (name, values) in given.OrderBy(parameter => parameter.Key, StringComparer.Ordinal))
        {
            foreach (var value in values)
            {
                query.Append(query.Length == 0 ? '?' : '&').Append(Uri.EscapeDataString(name)).Append('=').Append(Uri.EscapeDataString(value));
            }
        }

        var path = labels[Path];
        return Uri.TryCreate($"{labels[Scheme]}://{labels[Address]}{(path.StartsWith('/') ? "" : "/")}{path}{query}", UriKind.Absolute, out var url) && url.UserInfo.Length == 0 ? url : null;
    }

    private static string Seconds(TimeSpan time) =>
        time.Ticks % TimeSpan.TicksPerSecond == 0 ? string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0}s") : string.Create(CultureInfo.InvariantCulture, $"{time.TotalMilliseconds:0}ms");
}
