using System.Collections.Concurrent;
using System.ComponentModel.DataAnnotations;
using System.Net;
using Polly;
using Polly.CircuitBreaker;
using Polly.Retry;
using Polly.Timeout;

namespace Platform.ServiceDefaults;

/// <summary>How patient calls between services are.</summary>
public sealed class ResilienceOptions
{
    /// <summary>One attempt, up to the answer's headers.</summary>
    [Setting("PLATFORM_HTTP_ATTEMPT_TIMEOUT_SECONDS"), Range(0.1, 600)]
    public TimeSpan AttemptTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>All attempts and the waits between them.</summary>
    [Setting("PLATFORM_HTTP_TOTAL_TIMEOUT_SECONDS"), Range(0.1, 3600)]
    public TimeSpan TotalTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Attempts after the first, for GET, HEAD and OPTIONS only; 0 switches retries off.</summary>
    [Setting("PLATFORM_HTTP_RETRIES"), Range(0, 10)]
    public int Retries { get; init; } = 3;

    /// <summary>How long a host that failed half of its calls is left alone.</summary>
    [Setting("PLATFORM_HTTP_BREAK_SECONDS"), Range(0.5, 300)]
    public TimeSpan Break { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>Total timeout and retries. Only methods that change nothing are sent twice.</summary>
internal sealed class RetryHandler : DelegatingHandler
{
    private readonly TimeProvider _clock;
    private readonly ResiliencePipeline<HttpResponseMessage> _once;
    private readonly ResiliencePipeline<HttpResponseMessage> _repeat;

    public RetryHandler(ResilienceOptions options, TimeProvider clock)
    {
        _clock = clock;
        _once = new ResiliencePipelineBuilder<HttpResponseMessage> { TimeProvider = clock }.AddTimeout(options.TotalTimeout).Build();
        _repeat = options.Retries == 0 ? _once : new ResiliencePipelineBuilder<HttpResponseMessage> { TimeProvider = clock }
            .AddTimeout(options.TotalTimeout)
            .AddRetry(new RetryStrategyOptions<HttpResponseMessage>
            {
                MaxRetryAttempts = options.Retries,
                BackoffType = DelayBackoffType.Exponential,
                Delay = TimeSpan.FromMilliseconds(200),
                MaxDelay = TimeSpan.FromSeconds(5),
                UseJitter = true,
                ShouldHandle = outcome => ValueTask.FromResult(IsTransient(outcome.Outcome)),
                DelayGenerator = wait => ValueTask.FromResult(RetryAfter(wait.Outcome.Result)),
                OnRetry = retry =>
                {
                    retry.Outcome.Result?.Dispose();
                    return ValueTask.CompletedTask;
                },
            })
            .Build();
    }

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var safe = request.Method == HttpMethod.Get || request.Method == HttpMethod.Head || request.Method == HttpMethod.Options;
        try
        {
            return await (safe ? _repeat : _once).ExecuteAsync(
                static async (call, ct) => await call.Handler.SendOnAsync(call.Request, ct), (Handler: this, Request: request), cancellationToken);
        }
        catch (TimeoutRejectedException late)
        {
            throw new HttpRequestException($"{request.Method} {request.RequestUri?.GetLeftPart(UriPartial.Path)} did not answer in time. {late.Message}", late);
        }
        catch (BrokenCircuitException open)
        {
            throw new HttpRequestException($"{request.RequestUri?.Authority} failed too often just now and is left alone for a moment.", open);
        }
    }

    internal static bool IsTransient(Outcome<HttpResponseMessage> outcome) => outcome switch
    {
        { Exception: HttpRequestException or TimeoutRejectedException or BrokenCircuitException } => true,
        { Result.StatusCode: HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests or >= HttpStatusCode.InternalServerError } => true,
        _ => false,
    };

    // Longer waits than the total timeout end there: the pipeline around this one gives up.
    private TimeSpan? RetryAfter(HttpResponseMessage? response) => response?.Headers.RetryAfter switch
    {
        { Delta: { } delta } => delta,
        { Date: { } date } => date - _clock.GetUtcNow() is { Ticks: > 0 } wait ? wait : TimeSpan.Zero,
        _ => null,
    };

    private Task<HttpResponseMessage> SendOnAsync(HttpRequestMessage request, CancellationToken ct) => base.SendAsync(request, ct);
}

/// <summary>One circuit breaker per address, shared by all clients of the process.</summary>
internal sealed class HostCircuits(ResilienceOptions options, TimeProvider clock)
{
    // Calls between services go to few addresses. Should they ever be many, the rest shares one pipeline without a breaker.
    private const int MaxHosts = 1_000;

    private readonly ConcurrentDictionary<string, ResiliencePipeline<HttpResponseMessage>> _hosts = new(StringComparer.OrdinalIgnoreCase);
    private readonly ResiliencePipeline<HttpResponseMessage> _plain = new ResiliencePipelineBuilder<HttpResponseMessage> { TimeProvider = clock }.AddTimeout(options.AttemptTimeout).Build();

    public ResiliencePipeline<HttpResponseMessage> For(string host) =>
        _hosts.TryGetValue(host, out var circuit) ? circuit : _hosts.Count >= MaxHosts ? _plain : _hosts.GetOrAdd(host, Build);

    private ResiliencePipeline<HttpResponseMessage> Build(string host) => new ResiliencePipelineBuilder<HttpResponseMessage> { TimeProvider = clock }
        .AddCircuitBreaker(new CircuitBreakerStrategyOptions<HttpResponseMessage>
        {
            FailureRatio = 0.5,
            MinimumThroughput = 20,
            SamplingDuration = TimeSpan.FromSeconds(10),
            BreakDuration = options.Break,
            ShouldHandle = outcome => ValueTask.FromResult(IsBroken(outcome.Outcome)),
        })
        .AddTimeout(options.AttemptTimeout)
        .Build();

    // 429, and 503 with a time to come back at, say "busy", not "broken", and must not shut out the other callers.
    private static bool IsBroken(Outcome<HttpResponseMessage> outcome) =>
        outcome is { Exception: HttpRequestException or TimeoutRejectedException }
        || outcome.Result is { StatusCode: >= HttpStatusCode.InternalServerError } answer && !(answer.StatusCode == HttpStatusCode.ServiceUnavailable && answer.Headers.RetryAfter is not null);
}

/// <summary>One attempt at one address: attempt timeout inside that address' circuit breaker.</summary>
internal sealed class AttemptHandler(HostCircuits circuits) : DelegatingHandler
{
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken) =>
        await circuits.For(request.RequestUri?.Authority ?? "").ExecuteAsync(
            static async (call, ct) => await call.Handler.SendOnAsync(call.Request, ct), (Handler: this, Request: request), cancellationToken);

    private Task<HttpResponseMessage> SendOnAsync(HttpRequestMessage request, CancellationToken ct) => base.SendAsync(request, ct);
}
