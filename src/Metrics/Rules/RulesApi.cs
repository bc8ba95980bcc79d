using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.PromQL;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Rules;

/// <summary>What the evaluation of rules may cost here.</summary>
public sealed class RuleOptions
{
    /// <summary>Time for one expression of a rule; longer is an error of that rule.</summary>
    [Setting("METRICS_RULE_TIMEOUT_SECONDS"), Range(0.1, 600)]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Time for all expressions of one request; what has not had its turn by then is answered as a timeout. Stay below PLATFORM_HTTP_ATTEMPT_TIMEOUT_SECONDS.</summary>
    [Setting("METRICS_RULE_REQUEST_SECONDS"), Range(0.1, 600)]
    public TimeSpan RequestTime { get; init; } = TimeSpan.FromSeconds(8);

    /// <summary>Expressions, or samples, in one request of the rules.</summary>
    [Setting("METRICS_RULE_REQUEST_ITEMS"), Range(1, 1_000_000)]
    public int MaxItems { get; init; } = 10_000;

    /// <summary>Series that an expression of a rule may answer with.</summary>
    [Setting("METRICS_RULE_MAX_SERIES"), Range(1, 10_000_000)]
    public int MaxSeries { get; init; } = 100_000;

    /// <summary>Requests of the rules that are evaluated at the same time, beside people's queries; further ones are refused (503).</summary>
    [Setting("METRICS_RULE_CONCURRENCY"), Range(1, 256)]
    public int Concurrency { get; init; } = 8;
}

/// <summary>
/// What the rules of Alerting need of the samples: expressions, many at a time; a place for what they make; and a word when series that they
/// read got samples. For services only.
/// </summary>
public static class RulesApi
{
    private static readonly TimeSpan SignOfLife = TimeSpan.FromSeconds(5);

    public static IHostApplicationBuilder AddRuleQueries(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<RuleOptions>();
        builder.Services.AddSingleton<RuleQueryRun>();
        return builder;
    }

    public static IEndpointRouteBuilder MapRuleQueries(this IEndpointRouteBuilder app)
    {
        var rules = app.MapGroup("/internal/rules").RequireAuthorization(Access.Service).ExcludeFromDescription();
        rules.MapPost("/evaluate", EvaluateAsync);
        rules.MapPost("/samples", WriteAsync);
        rules.MapPost("/watch", WatchAsync);
        return app;
    }

    private static async Task<Results<Ok<RuleAnswers>, ProblemHttpResult>> EvaluateAsync(RuleQueries body, RuleQueryRun run, RuleOptions options, HttpContext http, CancellationToken ct) =>
        body.Queries.Count > options.MaxItems ? TooMany(body.Queries.Count, options)
        : await run.EvaluateAsync(body.Queries, ct) is { } answers ? TypedResults.Ok(new RuleAnswers(answers))
        : Busy(http);

    // With a time to come back at it counts as busy, not as broken.
    private static ProblemHttpResult Busy(HttpContext http)
    {
        http.Response.Headers.RetryAfter = "1";
        return TypedResults.Problem("As many requests of rules are evaluated as METRICS_RULE_CONCURRENCY allows.", statusCode: StatusCodes.Status503ServiceUnavailable, title: "Too many at once");
    }

    private static async Task<Results<Ok<RuleSamplesWritten>, ProblemHttpResult>> WriteAsync(RuleSamples body, ISampleStore store, RuleOptions options, CancellationToken ct)
    {
        if (body.Samples.Count > options.MaxItems)
        {
            return TooMany(body.Samples.Count, options);
        }

        using var batch = new WriteBatch();
        var refusals = new HashSet<string>();
        foreach (var sample in body.Samples)
        {
            // A sample without a realm would be everybody's: the rules always name one.
            var labels = Labels.FromSorted(sample.Labels);
            var refusal = labels["realm"].Length == 0 ? "a sample without the label realm" : null;
            if (refusal is null && store.Intern(labels, out refusal) is { } series)
            {
                batch.Add(series, sample.At, sample.Value ?? StaleMarker.Value);
            }
            else if (refusals.Count < 10)
            {
                refusals.Add(refusal!);
            }
        }

        var result = batch.Count == 0 ? new CommitResult(CommitOutcome.Stored, 0, []) : await store.CommitAsync(batch, ct);
        return result.Outcome == CommitOutcome.Busy
            ? TypedResults.Problem("The queue of samples is full (METRICS_QUEUE_SAMPLES). Nothing was stored; try again.", statusCode: StatusCodes.Status429TooManyRequests)
            : TypedResults.Ok(new RuleSamplesWritten(result.Written, [.. refusals, .. result.Refusals]));
    }

    /// <summary>
    /// A stream of events while the caller keeps it open: the places of what was touched, at most once per gap for each. What is touched
    /// within the gap is told at its end. An empty line every few seconds says that nothing is to be said.
    /// </summary>
    private static async Task WatchAsync(RuleWatches body, HttpContext context, ISampleStore store, TimeProvider clock, CancellationToken ct)
    {
        using var watcher = store.Watch.Watch([.. body.Watches.Select(watch => new Watched(
            watch.Realm == Realm.All ? null : watch.Realm, [.. watch.Selectors.Select(selector => Parser.ParseSelector(selector))]))]);
        context.Response.ContentType = "text/event-stream";
        await context.Response.WriteAsync(":\n\n", ct);
        await context.Response.Body.FlushAsync(ct);

        var gap = TimeSpan.FromMilliseconds(Math.Clamp(body.GapMilliseconds, 10, 60_000));
        var free = new long[body.Watches.Count];
        var waiting = new HashSet<int>();
        try
        {
            while (true)
            {
                var now = Environment.TickCount64;
                var wait = waiting.Count == 0 ? SignOfLife : TimeSpan.FromMilliseconds(Math.Max(1, waiting.Min(place => free[place]) - now));
                await watcher.WaitAsync(wait, ct);
                watcher.Take(waiting);
                now = Environment.TickCount64;
                var due = waiting.Where(place => free[place] <= now).ToList();
                if (due.Count == 0 && waiting.Count > 0)
                {
                    continue;
                }

                foreach (var place in due)
                {
                    waiting.Remove(place);
                    free[place] = now + (long)gap.TotalMilliseconds;
                }

                var line = due.Count == 0 ? ":\n\n" : $"data: {string.Join(',', due.Select(place => place.ToString(CultureInfo.InvariantCulture)))}\n\n";
                await context.Response.Body.WriteAsync(Encoding.ASCII.GetBytes(line), ct);
                await context.Response.Body.FlushAsync(ct);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The rules have changed, or their evaluator went away.
        }
    }

    private static ProblemHttpResult TooMany(int count, RuleOptions options) =>
        TypedResults.Problem($"{count} items; METRICS_RULE_REQUEST_ITEMS allows {options.MaxItems} in one request.", statusCode: StatusCodes.Status400BadRequest);
}
