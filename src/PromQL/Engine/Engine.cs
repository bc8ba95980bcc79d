namespace Platform.PromQL;

/// <summary>Which samples a range and the look-back reach.</summary>
public enum RangeSemantics
{
    /// <summary>Prometheus 3.x: a sample exactly at the left edge is outside.</summary>
    LeftOpen,

    /// <summary>Prometheus 2.x: a sample at the left edge is inside, and a counter that may have started at zero is extrapolated by the older rule.</summary>
    Closed,
}

/// <summary>How an engine evaluates, and what one query may cost.</summary>
public sealed record EngineOptions
{
    /// <summary>How old the last sample of a series may be to count as its present value. At least one millisecond.</summary>
    public TimeSpan LookBack { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// Most samples that a query may hold at one time: points of the intermediate results and of the result, and the samples of the longest
    /// window of a range function. More is <see cref="QueryFault.Execution"/>.
    /// </summary>
    public long MaxSamples { get; init; } = 50_000_000;

    /// <summary>Most series of a result. More is <see cref="QueryFault.Execution"/>.</summary>
    public int MaxSeries { get; init; } = int.MaxValue;

    /// <summary>Most steps of a range query for each series, as Prometheus limits it. More is <see cref="QueryFault.BadData"/>.</summary>
    public int MaxSteps { get; init; } = 11_000;

    /// <summary>Longest evaluation; after that <see cref="QueryFault.Timeout"/>.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>Step of a subquery that names none.</summary>
    public TimeSpan SubqueryStep { get; init; } = TimeSpan.FromMinutes(1);

    public RangeSemantics Ranges { get; init; } = RangeSemantics.LeftOpen;

    /// <summary>
    /// The metric's name is dropped from the result of the whole expression instead of by each function (an option of Prometheus 3.x that is off
    /// there too): <c>label_replace</c> over <c>rate</c> still sees the name.
    /// </summary>
    public bool DelayedNameRemoval { get; init; }

    /// <summary>Threads that evaluate one query. 0: as many as there are processors.</summary>
    public int Parallelism { get; init; }
}

/// <summary>What one query wants otherwise than the engine's options; null keeps them. A longer timeout than the engine's is cut to it.</summary>
public readonly record struct QueryOverrides(TimeSpan? LookBack = null, TimeSpan? Timeout = null);

/// <summary>
/// Evaluates expressions over a source of series. Without state: any number of queries may run at once. All times are milliseconds since
/// 1970-01-01 UTC. What cannot be answered is a <see cref="QueryException"/> and nothing else, unless the source throws.
/// </summary>
/// <param name="clock">Only for the timeout and the elapsed time of the statistics.</param>
public sealed class Engine(EngineOptions options, TimeProvider clock)
{
    public EngineOptions Options { get; } = options;

    /// <summary>The value of the expression at one time.</summary>
    /// <exception cref="QueryException">No expression, not to be evaluated over this data, over a limit, out of time, or cancelled.</exception>
    public Task<QueryResult> InstantAsync(string text, ISeriesSource source, long at, CancellationToken ct) =>
        InstantAsync(text, source, at, default, ct);

    /// <inheritdoc cref="InstantAsync(string, ISeriesSource, long, CancellationToken)"/>
    public Task<QueryResult> InstantAsync(string text, ISeriesSource source, long at, QueryOverrides overrides, CancellationToken ct) =>
        Evaluation.RunAsync(Parser.Parse(text), text, source, new Steps(at, at, 1), instant: true, With(overrides), clock, ct);

    /// <inheritdoc cref="InstantAsync(string, ISeriesSource, long, CancellationToken)"/>
    public Task<QueryResult> InstantAsync(Expr expr, ISeriesSource source, long at, CancellationToken ct) =>
        InstantAsync(expr, source, at, default, ct);

    /// <inheritdoc cref="InstantAsync(string, ISeriesSource, long, CancellationToken)"/>
    public Task<QueryResult> InstantAsync(Expr expr, ISeriesSource source, long at, QueryOverrides overrides, CancellationToken ct) =>
        Evaluation.RunAsync(expr, null, source, new Steps(at, at, 1), instant: true, With(overrides), clock, ct);

    /// <summary>The values of the expression at <paramref name="start"/> and every <paramref name="step"/> milliseconds until <paramref name="end"/>.</summary>
    /// <exception cref="QueryException">No expression of scalars or an instant vector, or as for an instant query.</exception>
    public Task<QueryResult> RangeAsync(string text, ISeriesSource source, long start, long end, long step, CancellationToken ct) =>
        RangeAsync(text, source, start, end, step, default, ct);

    /// <inheritdoc cref="RangeAsync(string, ISeriesSource, long, long, long, CancellationToken)"/>
    public Task<QueryResult> RangeAsync(string text, ISeriesSource source, long start, long end, long step, QueryOverrides overrides, CancellationToken ct) =>
        Evaluation.RunAsync(Parser.Parse(text), text, source, new Steps(start, end, step), instant: false, With(overrides), clock, ct);

    /// <inheritdoc cref="RangeAsync(string, ISeriesSource, long, long, long, CancellationToken)"/>
    public Task<QueryResult> RangeAsync(Expr expr, ISeriesSource source, long start, long end, long step, CancellationToken ct) =>
        RangeAsync(expr, source, start, end, step, default, ct);

    /// <inheritdoc cref="RangeAsync(string, ISeriesSource, long, long, long, CancellationToken)"/>
    public Task<QueryResult> RangeAsync(Expr expr, ISeriesSource source, long start, long end, long step, QueryOverrides overrides, CancellationToken ct) =>
        Evaluation.RunAsync(expr, null, source, new Steps(start, end, step), instant: false, With(overrides), clock, ct);

    private EngineOptions With(QueryOverrides overrides) => Options with
    {
        LookBack = overrides.LookBack ?? Options.LookBack,
        Timeout = overrides.Timeout is { } wanted && wanted < Options.Timeout ? wanted : Options.Timeout,
    };
}
