using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Notifications;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>What is to be evaluated of a group.</summary>
/// <param name="Rules">In their order; all of them, or those that data has touched.</param>
/// <param name="IsOnGrid">It is the group's time; otherwise data has called.</param>
internal sealed record GroupTurn(RunningGroup Group, DateTimeOffset At, IReadOnlyList<RunningRule> Rules, bool IsOnGrid);

/// <summary>
/// One evaluation of some groups: ask Metrics for all expressions at once, judge (<see cref="RuleMachine"/>), write states, alerts and
/// their messages in one transaction, then the series that the rules make. Dying anywhere loses nothing: what was not written is found
/// again by the next evaluation, and what was written is not done twice, because it is in the states.
/// </summary>
public sealed partial class RuleEvaluation(
    IMetricsClient metricsClient,
    NpgsqlDataSource db,
    AlertStore alerts,
    Flusher flusher,
    DataSource source,
    RuleGroupOptions options,
    NotificationOptions notificationOptions,
    AlertingMetrics metrics,
    TimeProvider clock,
    ILogger<RuleEvaluation> logger)
{
    internal const string Over = "The condition of the rule is over.";
    private const int SamplesAtOnce = 5_000;
    private const int MostValues = 1_000;
    private const int QueriesOfTemplates = 200;
    private const int CharactersAtOnce = 1_000_000;
    private const int LongestError = 2_000;

    private readonly IReadOnlyDictionary<string, string> _externalLabels = options.ExternalWords();
    private readonly Uri _externalUrl = new(notificationOptions.ExternalUrl is { Length: > 0 } url ? url : "http://localhost:8080");

    /// <summary>Evaluates the groups, stage by stage.</summary>
    internal async Task RunAsync(Guid evaluator, IReadOnlyList<GroupTurn> turns, CancellationToken ct)
    {
        var started = clock.GetTimestamp();
        var stages = turns.Max(turn => turn.Group.Stages);
        for (var stage = 0; stage < stages; stage++)
        {
            var rules = (from turn in turns from rule in turn.Rules where rule.Stage == stage select (Turn: turn, Rule: rule)).ToList();
            if (rules.Count == 0)
            {
                continue;
            }

            // The next evaluation is due: what comes after this is for then, or for a group of its own.
            if (stage > 0 && turns is [{ Group: var slow }] && clock.GetElapsedTime(started) > slow.Interval)
            {
                TookTooLong(slow.Group.Name, stage, stages, rules.Count);
                foreach (var (_, rule) in rules)
                {
                    rule.Error = $"not evaluated: the rules before it, which it reads, take longer than the interval of the group ({slow.Interval.TotalSeconds:0} s). Make the interval longer, or the group smaller.";
                }

                return;
            }

            var judged = await JudgeAsync(rules, ct);
            foreach (var turn in turns)
            {
                turn.Group.Took = clock.GetElapsedTime(started);
            }

            if (!await WriteStatesAsync(evaluator, turns, judged, ct))
            {
                return; // another replica has them, or they have changed: what was found here is not true any more
            }

            await WriteSeriesAsync(judged, ct);
        }
    }

    private sealed record Judged(GroupTurn Turn, RunningRule Rule, RuleStep Step, Dictionary<Labels, double> Values, IReadOnlyDictionary<Labels, ActiveAlert> Active)
    {
        public IReadOnlyDictionary<Labels, ActiveAlert> Active { get; set; } = Active;

        /// <summary>Nothing was found out: what was written before stands.</summary>
        public bool IsUnknown { get; init; }
    }

    private async Task<List<Judged>> JudgeAsync(List<(GroupTurn Turn, RunningRule Rule)> rules, CancellationToken ct)
    {
        var queries = rules.ConvertAll(one => new RuleQuery(one.Turn.Group.Group.Realm, one.Rule.Rule.Expr, (one.Turn.At - one.Turn.Group.Offset).ToUnixTimeMilliseconds()));
        IReadOnlyList<RuleAnswer> answers;
        try
        {
            answers = await AskAsync(queries, ct);
            await source.AnsweredAsync(ct);
        }
        catch (Exception error) when (error is HttpRequestException or RestEase.ApiException || (error is OperationCanceledException && !ct.IsCancellationRequested))
        {
            var reason = error.GetBaseException().Message;
            await source.FailedAsync(reason, ct);
            // One alert tells of it; those of the rules keep still, unless a rule wants its own to resolve.
            return rules.ConvertAll(one => Fail(one.Turn, one.Rule, $"samples cannot be asked: {reason}", isSource: true));
        }

        var judged = new List<Judged>(rules.Count);
        for (var index = 0; index < rules.Count; index++)
        {
            judged.Add(Judge(rules[index].Turn, rules[index].Rule, answers[index], ct));
        }

        metrics.RulesEvaluated(rules.Count, judged.Count(one => one.Rule.Error is not null));
        return judged;
    }

    // In as many requests as their size needs, so that long expressions of one group are refused to nobody.
    private async Task<IReadOnlyList<RuleAnswer>> AskAsync(List<RuleQuery> queries, CancellationToken ct)
    {
        var answers = new List<RuleAnswer>(queries.Count);
        while (answers.Count < queries.Count)
        {
            var characters = 0;
            var some = queries.Skip(answers.Count).TakeWhile((query, index) => (characters += query.Query.Length) <= CharactersAtOnce || index == 0).ToList();
            answers.AddRange((await metricsClient.EvaluateRulesAsync(new RuleQueries(some), ct)).Answers);
        }

        return answers;
    }

    /// <summary>Shows people that the evaluation of a group breaks off, and why: its rules have that error, and keep the state they had.</summary>
    internal async Task FailedAsync(Guid evaluator, GroupTurn turn, string reason, CancellationToken ct)
    {
        var group = turn.Group.Group;
        metrics.RulesEvaluated(group.Rules.Count, group.Rules.Count);
        try
        {
            await RuleGroupStore.NoteFailureAsync(db, evaluator, group, $"the evaluation broke off: {reason.Replace('\0', '\uFFFD')}", turn.At, ct);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            NotNoted(group.Name, error.GetBaseException().Message);
        }
    }

    private Judged Judge(GroupTurn turn, RunningRule running, RuleAnswer answer, CancellationToken ct)
    {
        running.Took = TimeSpan.FromSeconds(answer.Seconds);
        if (answer.Error is { } failure)
        {
            return Fail(turn, running, failure, isSource: false);
        }

        var (rule, group, series) = (running.Rule, turn.Group.Group, answer.Series!);
        try
        {
            running.Error = null;
            if (rule.Record is not null)
            {
                return new Judged(turn, running, new RuleStep(running.Active, []), RuleLabels.Recorded(rule, group.Realm, group.Limit, series), running.Active);
            }

            var templates = Templates(group, turn.At - turn.Group.Offset, ct);
            if (series.Count == 0 && answer.SamplesRead == 0 && rule.NoData != AbsencePolicy.Resolve)
            {
                var own = RuleLabels.NothingKnown(rule, group.Realm, RuleLabels.NoData, templates);
                return Step(turn, running, new RuleFinding.NoData(own), new Dictionary<Labels, double> { [own] = double.NaN }, templates, null);
            }

            var samples = running.HasTemplates ? new Dictionary<Labels, IReadOnlyDictionary<string, string>>() : null;
            var hits = RuleLabels.Alerts(rule, group.Realm, group.Limit, series, templates, samples);
            return Step(turn, running, new RuleFinding.Hits(hits), hits, templates, samples);
        }
        catch (RuleResultException error)
        {
            return Fail(turn, running, error.Message, isSource: false);
        }
    }

    private Judged Fail(GroupTurn turn, RunningRule running, string error, bool isSource)
    {
        // Errors repeat what a rule or a sample says, whatever that is.
        var message = StorableText.Clean(StorableText.Shorten(error, LongestError));
        if (running.Error != message)
        {
            EvaluationFailed(turn.Group.Group.Name, running.Rule.Name, message);
        }

        running.Error = message;
        if (running.Rule.Alert is null || (isSource && running.Rule.OnError == AbsencePolicy.Alert))
        {
            return new Judged(turn, running, new RuleStep(running.Active, []), [], running.Active) { IsUnknown = true };
        }

        // A template that asks would ask in vain.
        var templates = new RuleTemplates(_ => [], _externalUrl, _externalLabels, turn.At);
        var own = RuleLabels.NothingKnown(running.Rule, turn.Group.Group.Realm, "error", templates);
        return Step(turn, running, new RuleFinding.Failed(message, own), new Dictionary<Labels, double> { [own] = double.NaN }, templates, null);
    }

    private static Judged Step(
        GroupTurn turn, RunningRule running, RuleFinding finding, Dictionary<Labels, double> values, RuleTemplates templates, Dictionary<Labels, IReadOnlyDictionary<string, string>>? samples)
    {
        var step = RuleMachine.Next(running.Rule, running.Active, finding, turn.At);
        if (step.Changes.Count == 0)
        {
            return new Judged(turn, running, step, values, step.Active);
        }

        var changes = new List<AlertChange>(step.Changes.Count);
        var active = new Dictionary<Labels, ActiveAlert>(step.Active);
        foreach (var (move, alert) in step.Changes)
        {
            if (move is AlertMove.Pending or AlertMove.Fired)
            {
                var (own, value) = (samples?.GetValueOrDefault(alert.Labels) ?? RuleLabels.Words(alert.Labels), values.GetValueOrDefault(alert.Labels, double.NaN));
                var told = alert with { Annotations = running.Rule.Annotations.ToDictionary(text => text.Key, text => templates.Expand(text.Value, own, value)) };
                active[alert.Labels] = told;
                changes.Add(new AlertChange(move, told));
            }
            else
            {
                changes.Add(new AlertChange(move, alert));
            }
        }

        return new Judged(turn, running, new RuleStep(active, changes), values, active);
    }

    private RuleTemplates Templates(RuleGroup group, DateTimeOffset at, CancellationToken ct)
    {
        var asked = 0;
        return new RuleTemplates(Ask, _externalUrl, _externalLabels, at);

        // Templates are no place to wait asynchronously. They ask when an alert changes, which is seldom, and so many times at most.
        IReadOnlyList<(IReadOnlyDictionary<string, string> Labels, double Value)> Ask(string text)
        {
            if (++asked > QueriesOfTemplates)
            {
                throw new Templates.TemplateFunctionException($"the templates of one rule ask more than {QueriesOfTemplates} queries at a time");
            }

            try
            {
                var answer = Task.Run(() => metricsClient.EvaluateRulesAsync(new RuleQueries([new(group.Realm, text, at.ToUnixTimeMilliseconds())]), ct), ct).GetAwaiter().GetResult().Answers[0];
                return answer.Error is { } failure ? throw new Templates.TemplateFunctionException(failure) : [.. answer.Series!.Select(series => ((IReadOnlyDictionary<string, string>)RuleLabels.Words(series.Labels), series.Value))];
            }
            catch (Exception error) when (error is HttpRequestException or RestEase.ApiException || (error is OperationCanceledException && !ct.IsCancellationRequested))
            {
                throw new Templates.TemplateFunctionException(error.Message);
            }
        }
    }

    private async Task<bool> WriteStatesAsync(Guid evaluator, IReadOnlyList<GroupTurn> turns, List<Judged> judged, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var changed = judged.Where(one => one.Step.Changes.Count > 0).ToList();
        if (changed.Count == 0 && !turns.Any(turn => turn.IsOnGrid))
        {
            Keep(judged);
            return true; // data called, and nothing came of it
        }

        try
        {
            await using var connection = await db.OpenConnectionAsync(ct);
            await using var tx = await connection.BeginTransactionAsync(ct);
            if (changed.Count == 0)
            {
                await RuleGroupStore.NeedNotLastAsync(tx, ct);
            }

            var values = judged.ToLookup(one => one.Turn.Group);
            var ours = await RuleGroupStore.NoteRunsAsync(tx, evaluator, [.. turns.Select(turn => Run(turn, values[turn.Group]))], [.. turns.Select(turn => turn.Group.Group.Version)], ct);
            if (ours.Count < turns.Count)
            {
                foreach (var turn in turns)
                {
                    turn.Group.IsDoubtful |= !ours.Contains(turn.Group.Group.Id);
                }

                judged.RemoveAll(one => one.Turn.Group.IsDoubtful);
                changed.RemoveAll(one => one.Turn.Group.IsDoubtful);
            }

            await WriteAsync(tx, changed, now, ct);
            await SaveAsync(tx, changed, ct);
            await tx.CommitAsync(ct);
        }
        catch
        {
            // Whether it was committed is not known: the database says, before the next evaluation.
            foreach (var turn in turns)
            {
                turn.Group.IsDoubtful = true;
            }

            throw;
        }

        if (changed.Exists(one => one.Step.Changes.Any(change => change.Move is AlertMove.Fired or AlertMove.Resolved)))
        {
            flusher.Wake();
        }

        Keep(judged);
        return judged.Count > 0;
    }

    private static void Keep(List<Judged> judged)
    {
        foreach (var one in judged)
        {
            (one.Rule.Active, one.Rule.LastAt) = (one.Active, one.Turn.At);
        }
    }

    private async Task WriteAsync(NpgsqlTransaction tx, List<Judged> changed, DateTimeOffset now, CancellationToken ct)
    {
        var over = new List<(Guid Alert, DateTimeOffset EndsAt, string Reason)>();
        var begun = new List<(Dictionary<Labels, ActiveAlert> Active, ActiveAlert Alert, Alert Fired)>();
        foreach (var one in changed)
        {
            var active = new Dictionary<Labels, ActiveAlert>(one.Active);
            foreach (var (move, alert) in one.Step.Changes)
            {
                switch (move)
                {
                    case AlertMove.Fired:
                        begun.Add((active, alert, Describe(one.Rule.Rule, alert, one.Values.GetValueOrDefault(alert.Labels, double.NaN), one.Rule.Error, one.Turn.At, now)));
                        break;
                    case AlertMove.Resolved when alert.AlertId is { } open:
                        over.Add((open, one.Turn.At, Over));
                        break;
                }
            }

            one.Active = active;
        }

        await alerts.ResolveAllAsync(tx, over, now, ct);
        var ids = await alerts.FireAllAsync(tx, begun.ConvertAll(one => one.Fired), ct);
        foreach (var (one, id) in begun.Zip(ids))
        {
            one.Active[one.Alert.Labels] = one.Alert with { AlertId = id };
        }
    }

    /// <param name="error">Why the expression could not be evaluated, when that is what the alert is about.</param>
    internal static Alert Describe(QueryRule rule, ActiveAlert alert, double value, string? error, DateTimeOffset at, DateTimeOffset now)
    {
        var labels = RuleLabels.Words(alert.Labels);
        var realm = labels[RuleLabels.Realm];
        var group = labels.Where(label => label.Key is not (RuleLabels.AlertName or RuleLabels.Realm or "severity")).ToDictionary();
        var severity = Severities.OfLabel(labels.GetValueOrDefault("severity"));
        double? measured = double.IsFinite(value) ? value : null;
        return Alert.Fire(
            realm, $"{realm}/{rule.Id}:{alert.Labels}", rule.Id, rule.Alert!, severity, AlertSource.Query, labels, group, alert.Annotations,
            new Dictionary<string, string>(), measured, rule.Threshold, at, now, new AlertReason(measured, rule.Threshold, Seen: Seen(), Condition: rule.For > TimeSpan.Zero ? $"{rule.Expr} for {Printer.Duration(rule.For)}" : rule.Expr))
            // The labels as the rule makes them: whoever routes by severity="warning" finds it.
            with
        { Labels = labels, Fingerprint = Fingerprint.Of(labels) };

        string? Seen() => error ?? (double.IsNaN(value) && labels.GetValueOrDefault(RuleLabels.Reason) == RuleLabels.NoData ? "no selector of the expression finds a sample" : null);
    }

    private static async Task SaveAsync(NpgsqlTransaction tx, List<Judged> changed, CancellationToken ct)
    {
        var saved = new List<(Guid, Guid, ActiveAlert)>();
        var gone = new List<(Guid, Labels)>();
        foreach (var one in changed)
        {
            foreach (var (move, alert) in one.Step.Changes)
            {
                if (move is AlertMove.Resolved or AlertMove.Dropped)
                {
                    gone.Add((one.Rule.Rule.Id, alert.Labels));
                }
                else
                {
                    saved.Add((one.Turn.Group.Group.Id, one.Rule.Rule.Id, one.Active[alert.Labels]));
                }
            }
        }

        if (gone.Count > 0)
        {
            await RuleGroupStore.DeleteAlertsAsync(tx, gone, ct);
        }

        if (saved.Count > 0)
        {
            await RuleGroupStore.SaveAlertsAsync(tx, saved, ct);
        }
    }

    private static RuleGroupRun Run(GroupTurn turn, IEnumerable<Judged> judged)
    {
        var rules = turn.Group.Rules;
        var values = new Dictionary<string, double>();
        foreach (var one in judged)
        {
            foreach (var (labels, value) in one.Values)
            {
                if (values.Count < MostValues && one.Active.ContainsKey(labels))
                {
                    values.TryAdd($"{one.Rule.Rule.Id}/{RuleGroupStore.FingerprintOf(labels)}", value);
                }
            }
        }

        return new RuleGroupRun(
            turn.Group.Group.Id, turn.At, turn.Group.Took, rules.ToDictionary(rule => rule.Rule.Id, rule => rule.Took),
            rules.Where(rule => rule.Error is not null).ToDictionary(rule => rule.Rule.Id, rule => rule.Error!), values);
    }

    // Alerts and new series, as samples of the time of evaluation; and the end of those that were there before and are not any more.
    private async Task WriteSeriesAsync(List<Judged> judged, CancellationToken ct)
    {
        var samples = new List<RuleSample>();
        var written = new List<(RunningRule Rule, HashSet<Labels> Now)>();
        foreach (var one in judged)
        {
            if (one.IsUnknown || (!one.Turn.IsOnGrid && one.Step.Changes.Count == 0))
            {
                continue;
            }

            var at = (one.Turn.At - one.Turn.Group.Offset).ToUnixTimeMilliseconds();
            var now = new HashSet<Labels>();
            if (one.Rule.Rule.Record is not null)
            {
                foreach (var (labels, value) in one.Values)
                {
                    Add(labels, value);
                }
            }

            foreach (var alert in one.Active.Values)
            {
                var series = RunningRule.SeriesOf(alert);
                Add(series[0], 1);
                Add(series[1], alert.ActiveAt.ToUnixTimeSeconds());
            }

            samples.AddRange(one.Rule.Written.Where(labels => !now.Contains(labels)).Select(labels => new RuleSample(RuleLabels.Flat(labels), at, null)));
            written.Add((one.Rule, now));

            void Add(Labels labels, double value)
            {
                now.Add(labels);
                samples.Add(new RuleSample(RuleLabels.Flat(labels), at, value));
            }
        }

        foreach (var turn in judged.Select(one => one.Turn).Distinct().Where(turn => turn.Group.Orphans.Count > 0))
        {
            samples.AddRange(turn.Group.Orphans.Select(labels => new RuleSample(RuleLabels.Flat(labels), (turn.At - turn.Group.Offset).ToUnixTimeMilliseconds(), null)));
            turn.Group.Orphans = [];
        }

        try
        {
            foreach (var some in samples.Chunk(SamplesAtOnce))
            {
                await metricsClient.WriteRuleSamplesAsync(new RuleSamples(some), ct);
            }

            foreach (var (rule, now) in written)
            {
                rule.Written = now;
            }
        }
        catch (Exception error) when (error is HttpRequestException or RestEase.ApiException || (error is OperationCanceledException && !ct.IsCancellationRequested))
        {
            // The alerts are safe. What may or may not have been written is ended by a later evaluation when it is over.
            foreach (var (rule, now) in written)
            {
                rule.Written.UnionWith(now);
            }

            SeriesNotWritten(samples.Count, error.GetBaseException().Message);
        }
    }

    [LoggerMessage(LogLevel.Warning, "The rule {Rule} of group {Group} could not be evaluated: {Reason}")]
    private partial void EvaluationFailed(string group, string rule, string reason);

    [LoggerMessage(LogLevel.Warning, "The group {Group} takes longer than its interval: after {Done} of {Stages} stages {Rules} rules were not evaluated")]
    private partial void TookTooLong(string group, int done, int stages, int rules);

    [LoggerMessage(LogLevel.Warning, "That the evaluation of the group {Group} broke off could not be noted: {Reason}")]
    private partial void NotNoted(string group, string reason);

    [LoggerMessage(LogLevel.Warning, "{Samples} samples that rules made could not be stored: {Reason}")]
    private partial void SeriesNotWritten(int samples, string reason);
}
