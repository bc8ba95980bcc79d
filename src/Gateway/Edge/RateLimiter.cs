using System.ComponentModel.DataAnnotations;
using System.Net.Sockets;
using Microsoft.AspNetCore.Mvc;
using Platform.Gateway.Keys;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Edge;

/// <summary>How much one credential, or one address without a credential, may ask.</summary>
public sealed class RateLimitOptions
{
    /// <summary>Requests per second and key, over all gateways together.</summary>
    [Setting("GATEWAY_RATE_LIMIT_PER_SECOND"), Range(0.01, 1_000_000)]
    public double PerSecond { get; init; } = 2_000;

    /// <summary>Requests that a key may have sent at once after a pause.</summary>
    [Setting("GATEWAY_RATE_LIMIT_BURST"), Range(1, 10_000_000)]
    public int Burst { get; init; } = 4_000;

    /// <summary>Requests per second and address (IPv6: /64 network) without a valid key.</summary>
    [Setting("GATEWAY_ANONYMOUS_RATE_LIMIT_PER_SECOND"), Range(0.01, 1_000_000)]
    public double AnonymousPerSecond { get; init; } = 50;

    [Setting("GATEWAY_ANONYMOUS_RATE_LIMIT_BURST"), Range(1, 10_000_000)]
    public int AnonymousBurst { get; init; } = 100;

    /// <summary>Buckets one gateway remembers; those unused for longest are forgotten first.</summary>
    [Setting("GATEWAY_RATE_LIMIT_BUCKETS"), Range(100, 10_000_000)]
    public int Buckets { get; init; } = 50_000;

    /// <summary>Put before the buckets' keys in Redis, for several platforms with one Redis.</summary>
    [Setting("GATEWAY_RATE_LIMIT_PREFIX"), StringLength(100)]
    public string Prefix { get; init; } = "gateway:rate:";
}

/// <summary>
/// One token bucket per credential, shared by all gateways through Redis: each leases a few tokens at a time, so that a busy credential
/// costs one round trip in many requests. Without Redis each gateway goes on with buckets of its own.
/// </summary>
public sealed partial class RateLimiter(RateLimitOptions options, Cache redis, TimeProvider clock, ILogger<RateLimiter> logger)
{
    private readonly Recent<string, Bucket> _buckets = new(options.Buckets);
    private readonly SharedBuckets _shared = new(redis, clock);
    private long _complained;

    /// <summary>Takes a token from the bucket of the request's credential or, without one, of its address.</summary>
    /// <returns>Zero to go on, or how long to wait before the next attempt.</returns>
    public ValueTask<TimeSpan> TakeAsync(HttpContext context, CancellationToken ct) =>
        BucketOf(context.Features.Get<KnownKey>()?.Key.Caller.Subject ?? AddressOf(context)).TakeAsync(_shared, clock, Complain, ct);

    /// <summary>Whether the last attempt of an address found nothing left.</summary>
    public bool IsExhausted(string address) => _buckets.TryGet(address, out var bucket) && bucket.IsExhausted(clock.GetUtcNow());

    /// <summary>Who counts as one without a credential. A household or a server has a whole /64 of IPv6.</summary>
    public static string AddressOf(HttpContext context)
    {
        if (ClientAddress.Of(context) is not { } address)
        {
            return "address:none";
        }

        if (address.AddressFamily != AddressFamily.InterNetworkV6)
        {
            return $"address:{address}";
        }

        var bytes = address.GetAddressBytes();
        bytes.AsSpan(8).Clear();
        return $"address:{new System.Net.IPAddress(bytes)}/64";
    }

    private Bucket BucketOf(string who) => _buckets.TryGet(who, out var bucket) ? bucket : _buckets.GetOrAdd(who, Make);

    private Bucket Make(string who) => who.StartsWith("address:", StringComparison.Ordinal)
        ? new Bucket(options.Prefix + who, options.AnonymousPerSecond, options.AnonymousBurst, clock.GetUtcNow())
        : new Bucket(options.Prefix + who, options.PerSecond, options.Burst, clock.GetUtcNow());

    private void Complain()
    {
        var now = clock.GetUtcNow().UtcTicks;
        var last = Volatile.Read(ref _complained);
        if (now - last >= TimeSpan.TicksPerMinute && Interlocked.CompareExchange(ref _complained, now, last) == last)
        {
            RedisIsAway();
        }
    }

    [LoggerMessage(LogLevel.Warning, "Redis does not answer: each gateway limits requests by itself")]
    private partial void RedisIsAway();
}

/// <summary>429 for who asks too much, before anything is decided or forwarded. Probes of the process itself are free.</summary>
public sealed class RateLimit(RequestDelegate next, RateLimiter limiter, IProblemDetailsService problems)
{
    public async Task InvokeAsync(HttpContext context)
    {
        if (context.Request.Path.Value is "/health" or "/alive")
        {
            await next(context);
            return;
        }

        var wait = await limiter.TakeAsync(context, context.RequestAborted);
        if (wait == TimeSpan.Zero)
        {
            await next(context);
            return;
        }

        var seconds = Math.Max(1, (long)Math.Ceiling(wait.TotalSeconds));
        context.Response.StatusCode = StatusCodes.Status429TooManyRequests;
        context.Response.Headers.RetryAfter = seconds.ToString(System.Globalization.CultureInfo.InvariantCulture);
        var known = context.Features.Get<KnownKey>() is not null;
        await problems.WriteAsync(new ProblemDetailsContext
        {
            HttpContext = context,
            ProblemDetails = new ProblemDetails
            {
                Status = StatusCodes.Status429TooManyRequests,
                Detail = known
                    ? $"This key sends more requests than it may. Wait {seconds} s, send more in each request, or have GATEWAY_RATE_LIMIT_PER_SECOND raised."
                    : $"This address sends more requests without a valid key than it may. Wait {seconds} s, or send a key (\"Authorization: Bearer <key>\").",
            },
        });
    }
}

public static class RateLimiting
{
    public static IHostApplicationBuilder AddRateLimit(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<RateLimitOptions>();
        builder.Services.AddSingleton<RateLimiter>();
        return builder;
    }

    public static IApplicationBuilder UseRateLimit(this IApplicationBuilder app) => app.UseMiddleware<RateLimit>();
}
