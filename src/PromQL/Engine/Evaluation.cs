namespace Platform.PromQL;

internal sealed class Evaluation
{
    public static Task<QueryResult> RunAsync(
        Expr expr, string? text, ISeriesSource source, Steps steps, bool instant, EngineOptions options, TimeProvider clock, CancellationToken ct) =>
        throw new NotSupportedException("The evaluation is on its way.");
}
