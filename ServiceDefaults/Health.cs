using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Diagnostics.HealthChecks;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;

namespace Platform.ServiceDefaults;

internal static class Health
{
    /// <summary>A check that has not answered after this long has failed.</summary>
    public static readonly TimeSpan Timeout = TimeSpan.FromSeconds(2);

    public static void AddDefaultHealthChecks(this IHostApplicationBuilder builder)
    {
        builder.Services.AddHealthChecks()
            .AddCheck("self", () => HealthCheckResult.Healthy(), ["live"])
            .AddCheck<AcceptingCheck>("accepting");
        builder.Services.AddSingleton<Drain>();
        builder.Services.AddHostedService(services => services.GetRequiredService<Drain>());
        builder.Services.PostConfigure<HealthCheckServiceOptions>(checks =>
        {
            foreach (var check in checks.Registrations)
            {
                var inner = check.Factory;
                check.Factory = services => new BoundedCheck(inner(services));
            }
        });
    }

    public static void MapDefaultHealthChecks(this IEndpointRouteBuilder app)
    {
        app.MapHealthChecks("/health", new HealthCheckOptions { ResponseWriter = WriteAsync }).AllowAnonymous();
        app.MapHealthChecks("/alive", new HealthCheckOptions { Predicate = check => check.Tags.Contains("live"), ResponseWriter = WriteAsync }).AllowAnonymous();
    }

    private static Task WriteAsync(HttpContext context, HealthReport report) =>
        context.Response.WriteAsJsonAsync(
            new
            {
                Status = report.Status.ToString(),
                DurationMs = Math.Round(report.TotalDuration.TotalMilliseconds, 3),
                Entries = report.Entries.ToDictionary(entry => entry.Key, entry => new
                {
                    Status = entry.Value.Status.ToString(),
                    DurationMs = Math.Round(entry.Value.Duration.TotalMilliseconds, 3),
                    Description = entry.Value.Description is { } description ? Redaction.Text(description) : null,
                }),
            },
            WireJson.Options, "application/json", context.RequestAborted);

    // The health check's token is a request to hurry; this is the end of waiting, also for checks that do not look at their token.
    private sealed class BoundedCheck(IHealthCheck inner) : IHealthCheck
    {
        public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken)
        {
            using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            patience.CancelAfter(Timeout);
            try
            {
                return await inner.CheckHealthAsync(context, patience.Token).WaitAsync(Timeout, cancellationToken);
            }
            catch (Exception error) when (!cancellationToken.IsCancellationRequested)
            {
                var reason = error is TimeoutException or OperationCanceledException ? $"No answer within {Timeout.TotalSeconds:0} s." : $"{error.GetType().Name}: {error.Message}";
                return new HealthCheckResult(context.Registration.FailureStatus, reason, error);
            }
        }
    }
}

/// <summary>From the moment the process is told to stop, <c>/health</c> says no, and the process serves on for the drain time.</summary>
internal sealed class Drain(ProcessOptions options, IHostApplicationLifetime lifetime, TimeProvider clock) : IHostedLifecycleService
{
    private volatile bool _stopping;

    public bool IsStopping => _stopping || lifetime.ApplicationStopping.IsCancellationRequested;

    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        _stopping = true;
        if (options.Drain > TimeSpan.Zero)
        {
            await Task.Delay(options.Drain, clock, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}

internal sealed class AcceptingCheck(Drain drain) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken) =>
        Task.FromResult(drain.IsStopping ? HealthCheckResult.Unhealthy("The process is stopping.") : HealthCheckResult.Healthy());
}
