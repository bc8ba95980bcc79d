using System.Security.Cryptography;
using System.Text;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Routing;

/// <summary>
/// A node of the routing tree, with the meaning of Alertmanager's: an alert goes down to the deepest routes that match; the first match
/// among siblings takes it, unless that one says <c>continue</c>. https://prometheus.io/docs/alerting/latest/configuration/#route
/// Settings that are null come from the parent.
/// </summary>
public sealed record Route
{
    /// <summary>Who is told; the root must name one.</summary>
    public string? Receiver { get; init; }

    /// <summary>All must hold. The root has none: it takes every alert.</summary>
    public IReadOnlyList<Matcher> Matchers { get; init; } = [];

    /// <summary>Alerts with the same values of these labels share a notification; <c>...</c> means all labels.</summary>
    public IReadOnlyList<string>? GroupBy { get; init; }

    /// <summary>How long a new group waits for more of its kind. Alerts of severity critical do not wait.</summary>
    public TimeSpan? GroupWait { get; init; }

    /// <summary>Least time between two notifications about changes of a group.</summary>
    public TimeSpan? GroupInterval { get; init; }

    /// <summary>A group in which nothing changed is told again after this.</summary>
    public TimeSpan? RepeatInterval { get; init; }

    /// <summary>Names of time intervals in which nothing is sent.</summary>
    public IReadOnlyList<string> MuteTimeIntervals { get; init; } = [];

    /// <summary>Names of the time intervals in which this route sends at all; empty: always.</summary>
    public IReadOnlyList<string> ActiveTimeIntervals { get; init; } = [];

    /// <summary>Siblings after this one are tried as well.</summary>
    public bool Continue { get; init; }

    public IReadOnlyList<Route> Routes { get; init; } = [];
}

/// <summary>Where an alert ended in the tree, with all settings resolved.</summary>
/// <param name="Path">Index of each child from the root on: <c>0/2</c>; the root is the empty text. Stable as long as the tree is.</param>
/// <param name="Key">The matchers of each route on the way, as in Alertmanager's group keys: <c>/{severity="critical"}</c>; the root adds nothing.</param>
/// <param name="Because">The matchers that led here, for whoever asks why.</param>
public sealed record RouteMatch(
    string Path,
    string Key,
    string Receiver,
    IReadOnlyList<string> GroupBy,
    TimeSpan GroupWait,
    TimeSpan GroupInterval,
    TimeSpan RepeatInterval,
    IReadOnlyList<string> MuteTimeIntervals,
    IReadOnlyList<string> ActiveTimeIntervals,
    IReadOnlyList<Matcher> Because)
{
    /// <summary>Stands for "every label" in <see cref="GroupBy"/>.</summary>
    public const string AllLabels = "...";

    private const int LongestKey = 500;

    /// <summary>
    /// The name of a group for receivers: <c>{realm="default"}/{severity="critical"}:{alertname="Down"}</c>, as Alertmanager writes it with
    /// the realm at the root. Longer ones are cut, with a hash that tells them apart.
    /// </summary>
    public string GroupKey(string realm, Labels groupLabels)
    {
        var key = $"{{realm=\"{realm}\"}}{Key}:{MatcherNotation.Write(groupLabels)}";
        return key.Length <= LongestKey
            ? key
            : $"{StorableText.Cut(key, LongestKey)}…{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)).AsSpan(0, 8))}";
    }

    /// <summary>The labels that name the group of an alert on this route.</summary>
    public Labels GroupLabels(Labels alert)
    {
        if (GroupBy.Contains(AllLabels))
        {
            return alert;
        }

        var kept = new List<(string, string)>(GroupBy.Count);
        foreach (var name in GroupBy.Distinct())
        {
            kept.Add((name, alert[name]));
        }

        return Labels.Of([.. kept]);
    }
}

public static class Routing
{
    private static readonly RouteMatch Defaults =
        new("", "", "", [], TimeSpan.FromSeconds(30), TimeSpan.FromMinutes(5), TimeSpan.FromHours(4), [], [], []);

    /// <summary>Every route that tells somebody about an alert with these labels, in the order of the tree; at least one.</summary>
    public static IReadOnlyList<RouteMatch> Match(Route root, Labels labels)
    {
        var found = new List<RouteMatch>();
        Descend(root, Inherit(Defaults, root, "", ""), labels, found);
        return found;
    }

    /// <summary>What must not be in a tree: each fault with the path of its route.</summary>
    public static IEnumerable<string> Faults(Route root, IReadOnlySet<string> receivers, IReadOnlySet<string> intervals)
    {
        if (root.Receiver is null)
        {
            yield return "The root route names no receiver; every alert must end somewhere.";
        }

        if (root.Matchers.Count > 0 || root.Continue)
        {
            yield return "The root route has matchers or continue; it takes every alert. Move them to a child route.";
        }

        if (root.MuteTimeIntervals.Count > 0 || root.ActiveTimeIntervals.Count > 0)
        {
            yield return "The root route has time intervals; it must be able to send always. Move them to a child route.";
        }

        foreach (var (route, path) in Walk(root, ""))
        {
            var place = path.Length == 0 ? "The root route" : $"Route {path}";
            if (route.Receiver is { } receiver && !receivers.Contains(receiver))
            {
                yield return $"{place} names the receiver \"{receiver}\", which is not defined.";
            }

            foreach (var name in route.MuteTimeIntervals.Concat(route.ActiveTimeIntervals).Where(name => !intervals.Contains(name)))
            {
                yield return $"{place} names the time interval \"{name}\", which is not defined.";
            }

            if (route.GroupInterval <= TimeSpan.Zero || route.RepeatInterval <= TimeSpan.Zero || route.GroupWait < TimeSpan.Zero)
            {
                yield return $"{place} has a group_interval or repeat_interval of zero or a negative group_wait.";
            }

            if (route.GroupBy is { Count: > 1 } by && by.Contains(RouteMatch.AllLabels))
            {
                yield return $"{place} groups by \"...\" and by labels; \"...\" stands alone.";
            }
        }
    }

    public static IEnumerable<(Route Route, string Path)> Walk(Route route, string path)
    {
        yield return (route, path);
        for (var index = 0; index < route.Routes.Count; index++)
        {
            foreach (var below in Walk(route.Routes[index], Join(path, index)))
            {
                yield return below;
            }
        }
    }

    private static void Descend(Route route, RouteMatch here, Labels labels, List<RouteMatch> found)
    {
        var before = found.Count;
        for (var index = 0; index < route.Routes.Count; index++)
        {
            var child = route.Routes[index];
            if (!child.Matchers.All(matcher => matcher.Matches(labels[matcher.Name])))
            {
                continue;
            }

            Descend(child, Inherit(here, child, Join(here.Path, index), $"{here.Key}/{{{string.Join(',', child.Matchers.Select(MatcherNotation.Write))}}}"), labels, found);
            if (!child.Continue)
            {
                break;
            }
        }

        if (found.Count == before)
        {
            found.Add(here);
        }
    }

    // Time intervals are the route's own: they are not inherited.
    private static RouteMatch Inherit(RouteMatch parent, Route route, string path, string key) => new(
        path,
        key,
        route.Receiver ?? parent.Receiver,
        route.GroupBy ?? parent.GroupBy,
        route.GroupWait ?? parent.GroupWait,
        route.GroupInterval ?? parent.GroupInterval,
        route.RepeatInterval ?? parent.RepeatInterval,
        route.MuteTimeIntervals,
        route.ActiveTimeIntervals,
        [.. parent.Because, .. route.Matchers]);

    private static string Join(string path, int index) => path.Length == 0 ? $"{index}" : $"{path}/{index}";
}
