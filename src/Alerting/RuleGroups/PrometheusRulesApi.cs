using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>
/// <c>/prometheus/api/v1/rules</c> and <c>/alerts</c> in Prometheus' shape (https://prometheus.io/docs/prometheus/latest/querying/api/#rules),
/// as Grafana and others read them. Of groups of all realms, a caller of one realm sees the rules, whether they fail, and its own alerts.
/// </summary>
public static class PrometheusRulesApi
{
    private static readonly JsonSerializerOptions s_asWritten = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    public static IEndpointRouteBuilder MapPrometheusRules(this IEndpointRouteBuilder app)
    {
        var api = app.MapGroup("/prometheus/api/v1").WithTags("Prometheus").RequireAuthorization(Access.UserRead);
        api.MapGet("/rules", RulesAsync).WithSummary("Rule groups with their state and active alerts.");
        api.MapGet("/alerts", AlertsAsync).WithSummary("Active alerts of rule groups.");
        return app;
    }

    private static async Task<IResult> RulesAsync(HttpRequest request, Caller caller, RuleGroupStore store, RuleGroupOptions options, CancellationToken ct)
    {
        var type = request.Query["type"].ToString().ToLowerInvariant();
        if (type is not ("" or "alert" or "record"))
        {
            return Bad($"invalid parameter \"type\": not supported value {Printer.Quote(type)}");
        }

        if (!TryFlag(request.Query["exclude_alerts"].ToString(), out var withoutAlerts))
        {
            return Bad("invalid parameter \"exclude_alerts\": one of 1, t, T, TRUE, true, True, 0, f, F, FALSE, false, False is expected");
        }

        var limit = int.MaxValue;
        var token = request.Query["group_next_token"].ToString();
        if (request.Query["group_limit"] is [{ Length: > 0 } written, ..])
        {
            if (!int.TryParse(written, NumberStyles.None, CultureInfo.InvariantCulture, out limit) || limit == 0)
            {
                return Bad("invalid parameter \"group_limit\": a number greater than 0 is expected");
            }
        }
        else if (token.Length > 0)
        {
            return Bad("invalid parameter \"group_next_token\": group_limit is needed to page over groups");
        }

        IReadOnlyList<IReadOnlyList<Matcher>> selectors;
        try
        {
            selectors = [.. request.Query["match[]"].Select(text => Parser.ParseSelector(text ?? ""))];
        }
        catch (QueryException error)
        {
            return Bad($"invalid parameter \"match[]\": {error.Message}");
        }

        var (names, groupNames, files) = (Set("rule_name[]"), Set("rule_group[]"), Set("file[]"));
        // A group of which the filters leave nothing is none, so that every page but the last is full.
        var groups = (await store.ListAsync(caller.RealmFilter, ct))
            .Where(group => Has(groupNames, group.Name) && Has(files, FileOf(group)))
            .Select(group => (Group: group, Rules: group.Rules.Where(rule =>
                (type.Length == 0 || type == (rule.Alert is null ? "record" : "alert")) && Has(names, rule.Name)
                && (selectors.Count == 0 || selectors.Any(selector => selector.All(matcher => matcher.Matches(rule.Labels.GetValueOrDefault(matcher.Name, "")))))).ToList()))
            .Where(one => one.Rules.Count > 0)
            .ToList();
        var from = token.Length == 0 ? 0 : groups.FindIndex(one => one.Group.Id.ToString("N") == token);
        if (from < 0)
        {
            return Bad("invalid parameter \"group_next_token\": no such group; groups or filters have changed since");
        }

        var page = groups.Skip(from).Take(limit).ToList();
        var next = groups.Count - from > page.Count ? groups[from + page.Count].Group.Id.ToString("N") : null;
        var ids = page.Select(one => one.Group.Id).ToArray();
        // Also where they are not shown: the state of a rule is that of its alerts.
        var ofRule = Reachable(await store.AlertsAsync(ids, ct), caller).ToLookup(alert => alert.RuleId);
        var runs = (await store.RunsAsync(ids, ct)).ToDictionary(run => run.GroupId);
        var answer = page.Select(one => (one.Group, one.Rules, Run: runs.GetValueOrDefault(one.Group.Id)?.For(caller, one.Group))).Select(one => new
        {
            name = one.Group.Name,
            file = FileOf(one.Group),
            rules = one.Rules.Select(rule => rule.Alert is null ? Recording(rule, one.Run) : Alerting(rule, one.Run, ofRule[rule.Id], withoutAlerts)).ToList(),
            interval = (one.Group.Interval ?? options.Interval).TotalSeconds,
            limit = one.Group.Limit,
            evaluationTime = one.Run?.Took.TotalSeconds ?? 0,
            lastEvaluation = Time(one.Run?.EvaluatedAt),
        });
        return Success(new { groups = answer, groupNextToken = next });

        HashSet<string> Set(string name) => [.. request.Query[name].Select(value => value ?? "")];

        static bool Has(HashSet<string> wanted, string value) => wanted.Count == 0 || wanted.Contains(value);
    }

    private static async Task<IResult> AlertsAsync(Caller caller, RuleGroupStore store, CancellationToken ct)
    {
        var groups = await store.ListAsync(caller.RealmFilter, ct);
        var ids = groups.Select(group => group.Id).ToArray();
        var alerts = Reachable(await store.AlertsAsync(ids, ct), caller);
        var values = (await store.RunsAsync(ids, ct)).SelectMany(run => run.Values).ToDictionary(value => value.Key, value => value.Value);
        return Success(new { alerts = alerts.Select(alert => Active(alert, values)) });
    }

    private static object Alerting(QueryRule rule, RuleGroupRun? run, IEnumerable<StoredRuleAlert> alerts, bool withoutAlerts)
    {
        var active = alerts.ToList();
        return new
        {
            state = active.Exists(alert => alert.Alert.Phase == AlertPhase.Firing) ? "firing" : active.Count > 0 ? "pending" : "inactive",
            name = rule.Alert,
            query = rule.Expr,
            duration = rule.For.TotalSeconds,
            keepFiringFor = rule.KeepFiringFor.TotalSeconds,
            labels = rule.Labels,
            annotations = rule.Annotations,
            alerts = withoutAlerts ? null : active.Select(alert => Active(alert, run?.Values)),
            health = Health(rule, run),
            lastError = run?.Errors.GetValueOrDefault(rule.Id),
            evaluationTime = run?.RuleTimes.GetValueOrDefault(rule.Id).TotalSeconds ?? 0,
            lastEvaluation = Time(run?.EvaluatedAt),
            type = "alerting",
        };
    }

    private static object Recording(QueryRule rule, RuleGroupRun? run) => new
    {
        name = rule.Record,
        query = rule.Expr,
        labels = rule.Labels.Count > 0 ? rule.Labels : null,
        health = Health(rule, run),
        lastError = run?.Errors.GetValueOrDefault(rule.Id),
        evaluationTime = run?.RuleTimes.GetValueOrDefault(rule.Id).TotalSeconds ?? 0,
        lastEvaluation = Time(run?.EvaluatedAt),
        type = "recording",
    };

    private static object Active(StoredRuleAlert alert, IReadOnlyDictionary<string, double>? values) => new
    {
        labels = RuleLabels.Words(alert.Alert.Labels),
        annotations = alert.Alert.Annotations,
        state = alert.Alert.Phase == AlertPhase.Firing ? "firing" : "pending",
        activeAt = Time(alert.Alert.ActiveAt),
        keepFiringSince = alert.Alert.KeepFiringSince is { } since ? Time(since) : (DateTime?)null,
        value = Exponent(values is not null && values.TryGetValue($"{alert.RuleId}/{alert.Fingerprint}", out var value) ? value : alert.Alert.Value),
    };

    private static List<StoredRuleAlert> Reachable(List<StoredRuleAlert> alerts, Caller caller) => [.. alerts.Where(alert => caller.Reaches(alert.Alert.Labels[RuleLabels.Realm]))];

    private static string FileOf(RuleGroup group) => group.File.Length > 0 ? group.File : "api";

    private static string Health(QueryRule rule, RuleGroupRun? run) => run?.EvaluatedAt is null ? "unknown" : run.Errors.ContainsKey(rule.Id) ? "err" : "ok";

    // As Go's strconv.ParseBool; nothing is false.
    private static bool TryFlag(string text, out bool flag)
    {
        flag = text is "1" or "t" or "T" or "true" or "TRUE" or "True";
        return flag || text is "" or "0" or "f" or "F" or "false" or "FALSE" or "False";
    }

    // What never was is the zero time in Go.
    private static DateTime Time(DateTimeOffset? at) => at?.UtcDateTime ?? DateTime.SpecifyKind(DateTime.MinValue, DateTimeKind.Utc);

    /// <summary>As Go's format <c>e</c> with the fewest digits: <c>1e+00</c>, <c>-2.5e-07</c>.</summary>
    internal static string Exponent(double value)
    {
        if (!double.IsFinite(value))
        {
            return Printer.Number(value);
        }

        var digits = value.ToString("E16", CultureInfo.InvariantCulture);
        for (var precision = 0; precision < 17; precision++)
        {
            var shorter = value.ToString($"E{precision}", CultureInfo.InvariantCulture);
            if (double.Parse(shorter, CultureInfo.InvariantCulture).Equals(value))
            {
                digits = shorter;
                break;
            }
        }

        var at = digits.IndexOf('E', StringComparison.Ordinal);
        return $"{digits[..at]}e{digits[at + 1]}{int.Parse(digits.AsSpan(at + 2), CultureInfo.InvariantCulture):00}";
    }

    private static JsonHttpResult<object> Success(object data) => TypedResults.Json<object>(new { status = "success", data }, s_asWritten);

    private static JsonHttpResult<object> Bad(string error) => TypedResults.Json<object>(new { status = "error", errorType = "bad_data", error }, s_asWritten, statusCode: StatusCodes.Status400BadRequest);
}
