using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Platform.Metrics.Prometheus;
using Platform.PromQL;

namespace Platform.Metrics.Tests;

/// <summary>Turns, queue and time of queries.</summary>
public sealed class PrometheusGateTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task One_runs_one_waits_and_a_third_is_refused()
    {
        using var gate = Gate(new QueryOptions { MaxConcurrent = 1, Queue = 1 });
        var (first, second) = (new TaskCompletionSource(), new TaskCompletionSource());
        var runs = gate.RunAsync("instant", null, _ => first.Task, Ct);
        var waits = gate.RunAsync("instant", null, _ => second.Task, Ct);

        var refused = await Assert.ThrowsAsync<TooManyQueriesException>(() => gate.RunAsync("instant", null, _ => Task.CompletedTask, Ct));
        first.SetResult();
        await runs;
        var next = gate.RunAsync("instant", null, _ => Task.CompletedTask, Ct);
        second.SetResult();
        await waits;
        await next;

        Assert.Contains("METRICS_QUERY_MAX_CONCURRENT", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_query_that_waits_too_long_never_runs_and_leaves_its_place()
    {
        using var gate = Gate(new QueryOptions { MaxConcurrent = 1, Queue = 1 });
        var first = new TaskCompletionSource();
        var runs = gate.RunAsync("instant", null, _ => first.Task, Ct);
        var hasRun = false;
        var waits = gate.RunAsync("instant", TimeSpan.FromMilliseconds(50), _ => Task.FromResult(hasRun = true), Ct);

        var late = await Assert.ThrowsAsync<QueryException>(() => waits);
        var another = gate.RunAsync("instant", null, _ => Task.CompletedTask, Ct);
        first.SetResult();
        await runs;
        await another;

        Assert.Equal((QueryFault.Timeout, "query timed out in query queue", false), (late.Fault, late.Message, hasRun));
    }

    [Fact]
    public async Task A_query_is_told_when_its_time_is_over_and_when_its_client_has_gone()
    {
        using var gate = Gate(new QueryOptions { Timeout = TimeSpan.FromMilliseconds(200) });
        using var client = new CancellationTokenSource();
        var slow = gate.RunAsync("range", TimeSpan.FromHours(1), ends => Task.Delay(Timeout.Infinite, ends), Ct);
        var left = gate.RunAsync("range", null, ends => Task.Delay(Timeout.Infinite, ends), client.Token);

        await client.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => left);

        Assert.Equal(QueryFault.Timeout, (await Assert.ThrowsAsync<QueryException>(() => slow)).Fault);
    }

    private static QueryGate Gate(QueryOptions options) =>
        new(options, TimeProvider.System, new ServiceCollection().AddMetrics().BuildServiceProvider().GetRequiredService<IMeterFactory>());
}
