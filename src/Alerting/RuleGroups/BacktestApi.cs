using System.Text.Json;
using Platform.Alerting.Rules;
using Platform.Alerting.Windows;
using Platform.Contracts;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>What to try, over which time.</summary>
/// <param name="Kind"><c>query</c> (unless given): a rule in PromQL; <c>events</c>: a rule over events.</param>
/// <param name="Rule">As in a group, <c>{alert, expr, for, …}</c>, or as <c>POST …/rules</c> takes a rule over events.</param>
/// <param name="Before">The rule as it is now, to compare with.</param>
/// <param name="RuleId">Instead of <paramref name="Before"/>: a stored rule.</param>
/// <param name="Step">Time between evaluations, like <c>15s</c>; the default interval unless given. Events are not evaluated in steps.</param>
public sealed record BacktestBody(string? Kind, JsonElement? Rule, JsonElement? Before, Guid? RuleId, DateTimeOffset? From, DateTimeOffset? To, string? Step, string? Realm);

/// <param name="Added">Alerts of the new rule that the old one would not have had at that time.</param>
/// <param name="Removed">The other way round.</param>
public sealed record BacktestDifference(IReadOnlyList<BacktestEpisode> Added, IReadOnlyList<BacktestEpisode> Removed, double FiringSeconds);

/// <param name="Before">Null without a rule to compare with.</param>
public sealed record BacktestAnswer(
    string Kind, DateTimeOffset From, DateTimeOffset To, double StepSeconds, BacktestResult After, BacktestResult? Before, BacktestDifference? Difference)
{
    /// <summary>Who would have been paged by the new rule.</summary>
    public IReadOnlyList<BacktestPaged> Paged => After.Paged ?? [];
}

/// <summary><c>POST …/rules/backtest</c>: what a rule would have done, and what an edit would have changed. Nothing is stored and nobody is told.</summary>
public static class BacktestApi
{
    public static async Task<IResult> RunAsync(
        BacktestBody body, Caller caller, Backtest backtest, EventBacktest events, BacktestPaging paging, RuleGroupStore store, RuleStore rules, RuleGroupOptions options, TimeProvider clock, CancellationToken ct)
    {
        var realm = body.Realm ?? caller.Realm;
        if (!caller.Reaches(realm))
        {
            return Access.RealmOutOfReach(caller, realm);
        }

        if (body.Kind == "events")
        {
            return await events.AnswerAsync(body, realm, caller, rules, paging, Compare, clock, ct);
        }

        var faults = new List<RuleFault>();
        Require("kind", body.Kind is null or "query", "query: a rule in PromQL; events: a rule over events.");
        var step = body.Step is null ? options.Interval : Durations.Parse(body.Step) ?? TimeSpan.Zero;
        Require("step", step >= TimeSpan.FromSeconds(1), "A duration of at least 1s, like 15s.");
        var to = body.To ?? clock.GetUtcNow();
        Require("from", body.From is not null && body.From < to, "A time before \"to\", for example 2026-03-01T09:15:00Z.");
        var rule = Parse(body.Rule, "rule", realm, faults);
        Require("rule", body.Rule is { ValueKind: JsonValueKind.Object }, "The rule to try: {alert, expr, for, labels, …}.");
        Require("rule", rule is null || rule.Alert is not null, "An alerting rule; a recording rule tells nobody anything.");
        var before = body.Before is { ValueKind: JsonValueKind.Object } ? Parse(body.Before, "before", realm, faults) : null;
        if (body.RuleId is { } id)
        {
            before = (await store.ListAsync(caller.RealmFilter, ct)).SelectMany(group => group.Rules).FirstOrDefault(one => one.Id == id && one.Alert is not null);
            Require("rule_id", before is not null, "The id of an alerting rule in reach.");
        }

        if (faults.Count > 0)
        {
            return RuleGroupsApi.Wrong(faults);
        }

        // Every evaluation at a time of the grid, as live.
        var from = new DateTimeOffset(body.From!.Value.UtcTicks - body.From.Value.UtcTicks % step.Ticks, TimeSpan.Zero);
        to = new DateTimeOffset(to.UtcTicks - to.UtcTicks % step.Ticks, TimeSpan.Zero);
        try
        {
            var after = await paging.FillAsync(await backtest.RunAsync(rule!, realm, from, to, step, ct), realm, to, ct);
            var former = before is null ? null : await paging.FillAsync(await backtest.RunAsync(before, realm, from, to, step, ct), realm, to, ct);
            return TypedResults.Ok(Envelope.Of(new BacktestAnswer("query", from, to, step.TotalSeconds, after, former, former is null ? null : Compare(after, former))));
        }
        catch (BacktestException error)
        {
            return TypedResults.Problem(error.Message, statusCode: StatusCodes.Status422UnprocessableEntity, title: "The backtest cannot be made");
        }

        void Require(string field, bool holds, string expected)
        {
            if (!holds)
            {
                faults.Add(new(field, 0, field, expected));
            }
        }
    }

    private static QueryRule? Parse(JsonElement? json, string field, string realm, List<RuleFault> faults) =>
        json is { ValueKind: JsonValueKind.Object } given && given.Deserialize<RuleText>(WireJson.Options) is { } text
            ? RuleGroupCheck.Rule(text, field, field, realm, new Dictionary<string, string>(), faults)
            : null;

    private static BacktestDifference Compare(BacktestResult after, BacktestResult before) => new(
        Only(after, before), Only(before, after), after.FiringSeconds - before.FiringSeconds);

    // Alerts that fired in one and not, at any time of theirs, in the other. Rules may differ in their labels; the series behind them tell alerts apart then.
    private static List<BacktestEpisode> Only(BacktestResult one, BacktestResult other)
    {
        var known = other.Episodes.Where(episode => episode.FiredAt is not null).ToLookup(Key);
        return [.. one.Episodes.Where(episode => episode.FiredAt is not null && !known[Key(episode)].Any(same =>
            (same.EndedAt ?? DateTimeOffset.MaxValue) >= episode.FiredAt && same.FiredAt <= (episode.EndedAt ?? DateTimeOffset.MaxValue)))];
    }

    private static string Key(BacktestEpisode episode) =>
        string.Join('\0', episode.Labels.Where(label => label.Key is not ("severity" or RuleLabels.AlertName)).OrderBy(label => label.Key, StringComparer.Ordinal).Select(label => $"{label.Key}\0{label.Value}"));
}
