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
/// <param name="Paged">Who would have been told of it, and when; null for what never fired.</param>
public sealed record BacktestEpisode(
    IReadOnlyDictionary<string, string> Labels, IReadOnlyDictionary<string, string> Annotations, DateTimeOffset ActiveAt, DateTimeOffset? FiredAt, DateTimeOffset? EndedAt, double Seconds, double? Value,
    IReadOnlyList<BacktestPage>? Paged = null);

/// <param name="Evaluations">How often the rule was evaluated.</param>
/// <param name="Fired">Alerts that fired.</param>
/// <param name="Pending">Alerts that did not come so far.</param>
/// <param name="FiringSeconds">Of all alerts together.</param>
/// <param name="Episodes">In order of their beginning; the first thousand of them.</param>
/// <param name="Paged">Who would have been told about these episodes, most messages first.</param>
/// <param name="PagedIsWhole">False when there were too many messages to follow all of them.</param>
public sealed record BacktestResult(
    int Evaluations, int Fired, int Pending, double FiringSeconds, IReadOnlyList<BacktestEpisode> Episodes, IReadOnlyList<BacktestPaged>? Paged = null, bool PagedIsWhole = true);

/// <summary>The backtest passes a limit, or the expression cannot be evaluated; the message says what to do.</summary>
public sealed class BacktestException(string message) : Exception(message);

/// <summary>Lets so many backtests run at the same time as <c>ALERT_BACKTEST_CONCURRENCY</c> says, of both kinds together: each holds in memory what it has found. The others wait.</summary>
public sealed class BacktestGate(RuleGroupOptions options) : IDisposable
{
    private readonly SemaphoreSlim _free = new(options.BacktestConcurrency, options.BacktestConcurrency);

    /// <summary>Waits for a place, which is free again when the answer is disposed of.</summary>
    public async Task<IDisposable> EnterAsync(CancellationToken ct)
    {
        await _free.WaitAsync(ct);
        return new Place(_free);
    }

    public void Dispose() => _free.Dispose();

    private sealed class Place(SemaphoreSlim free) : IDisposable
    {
        public void Dispose() => free.Release();
    }
}

/// <summary>Counts all episodes of a backtest and keeps the first thousand of them, however many there are.</summary>
internal sealed class FirstEpisodes
{
    public const int Most = 1_000;

    // The one that began last comes out first.
    private readonly PriorityQueue<BacktestEpisode, long> _first = new();

    public int Fired { get; private set; }

    public int Pending { get; private set; }

    public double FiringSeconds { get; private set; }

    public void Add(BacktestEpisode episode)
    {
        Fired += episode.FiredAt is null ? 0 : 1;
        Pending += episode.FiredAt is null ? 1 : 0;
        FiringSeconds += episode.Seconds;
        _first.Enqueue(episode, -episode.ActiveAt.UtcTicks);
        if (_first.Count > Most)
        {
            _first.Dequeue();
        }
    }

    public IReadOnlyList<BacktestEpisode> InOrder() => [.. _first.UnorderedItems.Select(one => one.Element).OrderBy(episode => episode.ActiveAt)];
}

/// <summary>
/// What a rule would have done: the same state machine that runs live, over stored samples, step by step. Samples are asked in pieces, so
/// that memory stays bounded whatever the range. The rule begins inactive at the start of the range. A rule with a policy for no data is
/// asked in each step whether its selectors found anything, as live; a data source that fails has no place in stored data.
/// </summary>
public sealed class Backtest(IMetricsClient metrics, BacktestGate gate, RuleGroupOptions options, NotificationOptions notificationOptions)
{
    private const int StepsAtOnce = 500;

    /// <param name="realm">Whose series it reads.</param>
    /// <exception cref="BacktestException">See there.</exception>
    public async Task<BacktestResult> RunAsync(QueryRule rule, string realm, DateTimeOffset from, DateTimeOffset to, TimeSpan step, CancellationToken ct)
    {
        if ((to - from) / step > options.BacktestSteps)
        {
            throw new BacktestException($"{(to - from) / step:0} evaluations; ALERT_BACKTEST_MAX_STEPS allows {options.BacktestSteps}. Choose a shorter range or a larger step.");
        }

        using var place = await gate.EnterAsync(ct);
        var run = new Run(rule, realm, options, notificationOptions);
        var known = rule.NoData == AbsencePolicy.Resolve ? null : Known(rule.Expr);
        for (var start = from; start <= to; start += StepsAtOnce * step)
        {
            var end = start + (StepsAtOnce - 1) * step is var last && last < to ? last : to;
            var found = known is null ? null : known.Length == 0 ? [] : await AskAsync(known, realm, start, end, step, ct);
            run.Take(await AskAsync(rule.Expr, realm, start, end, step, ct), found, start, end, step);
        }

        return run.Result(to);
    }

    /// <summary>An expression that has a value whenever a selector of <paramref name="expr"/> finds a sample; empty when it has no selector.</summary>
    internal static string Known(string expr) => string.Join(" or ", Selectors.Of(Parser.Parse(expr), TimeSpan.Zero).Select(reach =>
    {
        var selector = reach.Selector with { Shift = new TimeShift(-reach.Latest, reach.Anchor) };
        var range = reach.Latest - reach.Earliest;
        return range == TimeSpan.Zero ? $"group({Printer.Print(selector)})" : $"group(present_over_time({Printer.Print(new Expr.MatrixSelector(selector, range))}))";
    }).Distinct());

    private async Task<IReadOnlyList<PrometheusSeries>> AskAsync(string query, string realm, DateTimeOffset start, DateTimeOffset end, TimeSpan step, CancellationToken ct)
    {
        try
        {
            return (await metrics.QueryRangeAsync(realm, query, start, end, step.TotalSeconds, ct)).Data.Series;
        }
        catch (RestEase.ApiException error) when ((int)error.StatusCode is 400 or 422)
        {
            throw new BacktestException($"The expression cannot be evaluated from {start:O} to {end:O}: {error.Content}");
        }
    }

    private sealed class Run(QueryRule rule, string realm, RuleGroupOptions options, NotificationOptions notificationOptions)
    {
        private readonly FirstEpisodes _episodes = new();
        private readonly HashSet<Labels> _seen = [];
        private readonly Uri _externalUrl = new(notificationOptions.ExternalUrl is { Length: > 0 } url ? url : "http://localhost:8080");
        private readonly IReadOnlyDictionary<string, string> _externalLabels = options.ExternalWords();
        private IReadOnlyDictionary<Labels, ActiveAlert> _active = new Dictionary<Labels, ActiveAlert>();
        private int _evaluations;

        /// <param name="known">Has a point wherever samples were found; null when nobody asks.</param>
        public void Take(IReadOnlyList<PrometheusSeries> matrix, IReadOnlyList<PrometheusSeries>? known, DateTimeOffset start, DateTimeOffset end, TimeSpan step)
        {
            // Points lie on the grid of the steps.
            var places = known?.SelectMany(series => series.Points).Select(point => (int)Math.Round((point.At - start) / step)).ToHashSet();
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

                Step(values, at, places is null || places.Contains((int)Math.Round((at - start) / step)));
            }
        }

        private void Step(List<RuleSeries> values, DateTimeOffset at, bool isKnown)
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

            RuleFinding finding = new RuleFinding.Hits(hits);
            if (values.Count == 0 && !isKnown)
            {
                var own = RuleLabels.NothingKnown(rule, realm, RuleLabels.NoData, templates);
                (finding, hits[own], samples[own]) = (new RuleFinding.NoData(own), double.NaN, RuleLabels.Words(own));
            }

            var step = RuleMachine.Next(rule, _active, finding, at);
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
            foreach (var alert in _active.Values)
            {
                _episodes.Add(Episode(alert, null, to));
            }

            return new BacktestResult(_evaluations, _episodes.Fired, _episodes.Pending, _episodes.FiringSeconds, _episodes.InOrder());
        }

        private static BacktestEpisode Episode(ActiveAlert alert, DateTimeOffset? ended, DateTimeOffset until) => new(
            RuleLabels.Words(alert.Labels), alert.Annotations, alert.ActiveAt, alert.FiredAt, ended, alert.FiredAt is { } fired ? (until - fired).TotalSeconds : 0,
            double.IsFinite(alert.Value) ? alert.Value : null);
    }
}
