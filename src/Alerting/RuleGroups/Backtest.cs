using Platform.Contracts;
using Platform.PromQL;
using Platform.Alerting.Notifications;

namespace Platform.Alerting.RuleGroups;

/// <summary>One alert that would have been.</summary>
/// <param name="ActiveAt">Since when the condition held.</param>
/// <param name="FiredAt">When people would have been told; null: it never held for long enough.</param>
/// <param name="EndedAt">Null: it was still active at the end of the range.</param>
/// <param name="Seconds">How long it fired, within the range.</param>
/// <param name="Value">When it fired, or began; null for what is no finite number.</param>
public sealed record BacktestEpisode(
    IReadOnlyDictionary<string, string> Labels, IReadOnlyDictionary<string, string> Annotations, DateTimeOffset ActiveAt, DateTimeOffset? FiredAt, DateTimeOffset? EndedAt, double Seconds, double? Value);

/// <param name="Evaluations">How often the rule was evaluated.</param>
/// <param name="Fired">Alerts that fired.</param>
/// <param name="Pending">Alerts that did not come so far.</param>
/// <param name="FiringSeconds">Of all alerts together.</param>
/// <param name="Episodes">In order of their beginning; the first thousand of them.</param>
public sealed record BacktestResult(int Evaluations, int Fired, int Pending, double FiringSeconds, IReadOnlyList<BacktestEpisode> Episodes);

/// <summary>The backtest passes a limit, or the expression cannot be evaluated; the message says what to do.</summary>
public sealed class BacktestException(string message) : Exception(message);

/// <summary>
/// What a rule would have done: the same state machine that runs live, over stored samples, step by step. Samples are asked in pieces, so
/// that memory stays bounded whatever the range. The rule begins inactive at the start of the range. Over stored data there is no failing
/// data source, and an empty step counts as "the condition does not hold", whatever the rule's policies are.
/// </summary>
public sealed class Backtest(IMetricsClient metrics, RuleGroupOptions options, NotificationOptions notificationOptions) : IDisposable
{
    private const int StepsAtOnce = 500;
    private const int MostEpisodes = 1_000;

    private readonly SemaphoreSlim _free = new(options.BacktestConcurrency, options.BacktestConcurrency);

    /// <param name="realm">Whose series it reads.</param>
    /// <exception cref="BacktestException">See there.</exception>
    public async Task<BacktestResult> RunAsync(QueryRule rule, string realm, DateTimeOffset from, DateTimeOffset to, TimeSpan step, CancellationToken ct)
    {
        if ((to - from) / step > options.BacktestSteps)
        {
            throw new BacktestException($"{(to - from) / step:0} evaluations; ALERT_BACKTEST_MAX_STEPS allows {options.BacktestSteps}. Choose a shorter range or a larger step.");
        }

        await _free.WaitAsync(ct);
        try
        {
            var run = new Run(rule, realm, options, notificationOptions);
            for (var start = from; start <= to; start += StepsAtOnce * step)
            {
                var end = start + (StepsAtOnce - 1) * step is var last && last < to ? last : to;
                run.Take(await AskAsync(rule, realm, start, end, step, ct), start, end, step);
            }

            return run.Result(to);
        }
        finally
        {
            _free.Release();
        }
    }

    public void Dispose() => _free.Dispose();

    private async Task<IReadOnlyList<PrometheusSeries>> AskAsync(QueryRule rule, string realm, DateTimeOffset start, DateTimeOffset end, TimeSpan step, CancellationToken ct)
    {
        try
        {
            return (await metrics.QueryRangeAsync(realm, rule.Expr, start, end, step.TotalSeconds, ct)).Data.Series;
        }
        catch (RestEase.ApiException error) when ((int)error.StatusCode is 400 or 422)
        {
            throw new BacktestException($"The expression cannot be evaluated from {start:O} to {end:O}: {error.Content}");
        }
    }

    private sealed class Run(QueryRule rule, string realm, RuleGroupOptions options, NotificationOptions notificationOptions)
    {
        private readonly List<BacktestEpisode> _episodes = [];
        private readonly HashSet<Labels> _seen = [];
        private readonly Uri _externalUrl = new(notificationOptions.ExternalUrl is { Length: > 0 } url ? url : "http://localhost:8080");
        private readonly IReadOnlyDictionary<string, string> _externalLabels = options.ExternalWords();
        private IReadOnlyDictionary<Labels, ActiveAlert> _active = new Dictionary<Labels, ActiveAlert>();
        private int _evaluations;

        public void Take(IReadOnlyList<PrometheusSeries> matrix, DateTimeOffset start, DateTimeOffset end, TimeSpan step)
        {
            var flat = matrix.Select(series => series.Labels.OrderBy(label => label.Key, StringComparer.Ordinal).SelectMany(label => (string[])[label.Key, label.Value]).ToArray()).ToArray();
            var next = new int[matrix.Count];
            for (var at = start; at <= end; at += step)
            {
                var values = new List<RuleSeries>();
                for (var index = 0; index < matrix.Count; index++)
                {
                    var points = matrix[index].Points;
                    while (next[index] < points.Count && points[next[index]].At < at - step / 2)
                    {
                        next[index]++;
                    }

                    if (next[index] < points.Count && points[next[index]].At <= at + step / 2)
                    {
                        values.Add(new RuleSeries(flat[index], points[next[index]++].Value));
                    }
                }

                Step(values, at);
            }
        }

        private void Step(List<RuleSeries> values, DateTimeOffset at)
        {
            _evaluations++;
            var templates = new RuleTemplates(static _ => [], _externalUrl, _externalLabels, at);
            var samples = new Dictionary<Labels, IReadOnlyDictionary<string, string>>();
            Dictionary<Labels, double> hits;
            try
            {
                hits = RuleLabels.Alerts(rule, realm, 0, values, templates, samples);
            }
            catch (RuleResultException error)
            {
                throw new BacktestException($"At {at:O}: {error.Message}");
            }

            var step = RuleMachine.Next(rule, _active, new RuleFinding.Hits(hits), at);
            var active = step.Changes.Count == 0 ? step.Active : new Dictionary<Labels, ActiveAlert>(step.Active);
            foreach (var (move, alert) in step.Changes)
            {
                switch (move)
                {
                    case AlertMove.Pending or AlertMove.Fired:
                        if (_seen.Add(alert.Labels) && _seen.Count > options.BacktestSeries)
                        {
                            throw new BacktestException($"More than {options.BacktestSeries} different alerts (ALERT_BACKTEST_MAX_SERIES). Aggregate, or choose a shorter range.");
                        }

                        ((Dictionary<Labels, ActiveAlert>)active)[alert.Labels] = alert with
                        {
                            Annotations = rule.Annotations.ToDictionary(text => text.Key, text => templates.Expand(text.Value, samples[alert.Labels], hits[alert.Labels])),
                        };
                        break;
                    case AlertMove.Resolved or AlertMove.Dropped:
                        _episodes.Add(Episode(alert, at, at));
                        break;
                }
            }

            _active = active;
        }

        public BacktestResult Result(DateTimeOffset to)
        {
            _episodes.AddRange(_active.Values.Select(alert => Episode(alert, null, to)));
            var fired = _episodes.Where(episode => episode.FiredAt is not null).ToList();
            return new BacktestResult(
                _evaluations, fired.Count, _episodes.Count - fired.Count, fired.Sum(episode => episode.Seconds), [.. _episodes.OrderBy(episode => episode.ActiveAt).Take(MostEpisodes)]);
        }

        private static BacktestEpisode Episode(ActiveAlert alert, DateTimeOffset? ended, DateTimeOffset until) => new(
            RuleLabels.Words(alert.Labels), alert.Annotations, alert.ActiveAt, alert.FiredAt, ended, alert.FiredAt is { } fired ? (until - fired).TotalSeconds : 0,
            double.IsFinite(alert.Value) ? alert.Value : null);
    }
}
