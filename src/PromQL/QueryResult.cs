namespace Platform.PromQL;

/// <summary>What a query answered.</summary>
/// <param name="Kind">
/// <see cref="ValueKind.InstantVector"/>: each series has one point. <see cref="ValueKind.RangeVector"/>: a matrix.
/// <see cref="ValueKind.Scalar"/>: one series without labels and with one point. <see cref="ValueKind.Text"/>: <paramref name="Text"/>.
/// </param>
/// <param name="Series">In the order of the answer: sorted by labels for a matrix, as the expression orders them for a vector.</param>
/// <param name="Warnings">What makes the result doubtful, each once.</param>
/// <param name="Infos">What may surprise.</param>
public sealed record QueryResult(
    ValueKind Kind, IReadOnlyList<ResultSeries> Series, string? Text, IReadOnlyList<string> Warnings, IReadOnlyList<string> Infos, QueryStats Stats);

/// <summary>Points of one series as two columns of equal length: only the points that exist.</summary>
public sealed record ResultSeries(Labels Labels, ReadOnlyMemory<long> Times, ReadOnlyMemory<double> Values);

/// <param name="Samples">Samples read from the source.</param>
/// <param name="PeakSamples">Most samples held at one time.</param>
public sealed record QueryStats(long Samples, long PeakSamples, TimeSpan Elapsed);

/// <summary>Why a query has no answer.</summary>
public enum QueryFault
{
    /// <summary>The text is no expression (400, <c>bad_data</c>).</summary>
    BadData,

    /// <summary>The expression cannot be evaluated over this data, or passes a limit (422, <c>execution</c>).</summary>
    Execution,

    /// <summary>Took longer than allowed (503, <c>timeout</c>).</summary>
    Timeout,

    /// <summary>The caller went away (503, <c>canceled</c>).</summary>
    Canceled,
}

/// <summary>An expression that cannot be parsed or evaluated. The message names the culprit and is made for the person who wrote it.</summary>
public sealed class QueryException(QueryFault fault, string message, Position? at = null) : Exception(message)
{
    public QueryFault Fault { get; } = fault;

    /// <summary>Where in the expression, if it has a place.</summary>
    public Position? At { get; } = at;
}
