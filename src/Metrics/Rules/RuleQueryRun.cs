using System.Collections.Concurrent;
using Platform.Contracts;
using Platform.Metrics.Prometheus;
using Platform.PromQL;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Rules;

/// <summary>
/// Evaluates the expressions of rules, one after the other and each on one thread: they are many and small. They do not queue behind
/// people's queries, so that a large dashboard delays no page. Parsed expressions are kept, because the same come every few seconds.
/// </summary>
public sealed class RuleQueryRun(ISampleStore store, QueryOptions queries, RuleOptions options, TimeProvider clock) : IDisposable
{
    private const long MostCachedCharacters = 16_000_000;

    private readonly Engine _engine = new(
        new EngineOptions { LookBack = queries.Lookback, MaxSamples = queries.MaxSamples, MaxSeries = options.MaxSeries, Timeout = options.Timeout, Parallelism = 1 }, clock);
    private readonly SemaphoreSlim _free = new(options.Concurrency, options.Concurrency);
    private readonly ConcurrentDictionary<string, Expr> _parsed = new(StringComparer.Ordinal);
    private long _characters;

    /// <summary>An answer for each query in their order; null when too many requests are evaluated already.</summary>
    public async Task<RuleAnswer[]?> EvaluateAsync(IReadOnlyList<RuleQuery> batch, CancellationToken ct)
    {
        if (!await _free.WaitAsync(TimeSpan.FromSeconds(1), ct))
        {
            return null;
        }

        try
        {
            var started = clock.GetTimestamp();
            var answers = new RuleAnswer[batch.Count];
            var sources = new Dictionary<string, ISeriesSource>(StringComparer.Ordinal);
            for (var index = 0; index < answers.Length; index++)
            {
                var query = batch[index];
                if (!sources.TryGetValue(query.Realm, out var source))
                {
                    sources.Add(query.Realm, source = store.Source(query.Realm == Realm.All ? null : query.Realm));
                }

                var left = options.RequestTime - clock.GetElapsedTime(started);
                answers[index] = left > TimeSpan.Zero
                    ? await EvaluateAsync(query, source, left, ct)
                    : new RuleAnswer(null, 0, "timeout", $"the expressions of this request took more than {options.RequestTime.TotalSeconds:0.#} s together (METRICS_RULE_REQUEST_SECONDS)");
            }

            return answers;
        }
        finally
        {
            _free.Release();
        }
    }

    public void Dispose() => _free.Dispose();

    private async Task<RuleAnswer> EvaluateAsync(RuleQuery query, ISeriesSource source, TimeSpan left, CancellationToken ct)
    {
        try
        {
            var result = await _engine.InstantAsync(Parsed(query.Query), source, query.At, new QueryOverrides(Timeout: left), ct);
            return result.Kind is ValueKind.InstantVector or ValueKind.Scalar
                ? new RuleAnswer([.. result.Series.Select(series => new RuleSeries(Flat(series.Labels), series.Values.Span[0]))], result.Kind == ValueKind.Scalar ? 1 : result.Stats.Samples,
                    Seconds: result.Stats.Elapsed.TotalSeconds)
                : new RuleAnswer(null, 0, "bad_data", "rule result is not a vector or scalar");
        }
        catch (QueryException error) when (error.Fault != QueryFault.Canceled)
        {
            return new RuleAnswer(null, 0, error.Fault switch { QueryFault.BadData => "bad_data", QueryFault.Timeout => "timeout", _ => "execution" }, error.Message);
        }
    }

    private Expr Parsed(string text)
    {
        if (_parsed.TryGetValue(text, out var known))
        {
            return known;
        }

        var expr = Parser.Parse(text);
        if (Interlocked.Add(ref _characters, text.Length) > MostCachedCharacters)
        {
            // Rules change seldom; starting over now and then costs less than knowing which ones are gone.
            _parsed.Clear();
            Interlocked.Exchange(ref _characters, text.Length);
        }

        _parsed[text] = expr;
        return expr;
    }

    internal static string[] Flat(Labels labels)
    {
        var flat = new string[2 * labels.Count];
        for (var index = 0; index < labels.Count; index++)
        {
            flat[2 * index] = labels.NameAt(index);
            flat[2 * index + 1] = labels.ValueAt(index);
        }

        return flat;
    }
}
