using System.ComponentModel.DataAnnotations;
using System.Globalization;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Canaries;

public sealed class PingOptions : IValidatableObject
{
    /// <summary>Asked with GET as long as test alerts arrive: another system's dead man's switch. Such addresses are secrets.</summary>
    [Setting("ALERT_PING_URL", Secret = true)]
    public string Url { get; init; } = "";

    /// <summary>From one ping to the next, over all replicas.</summary>
    [Setting("ALERT_PING_SECONDS"), Range(1, 86_400)]
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long the other system may take to answer.</summary>
    [Setting("ALERT_PING_TIMEOUT_SECONDS"), Range(1, 60)]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Url.Length > 0 && (!Uri.TryCreate(Url, UriKind.Absolute, out var url) || url.Scheme is not ("http" or "https")))
        {
            yield return new ValidationResult("ALERT_PING_URL is no http or https URL (it is not shown, because such addresses carry secrets). Correct it, or unset it.");
        }
    }
}

/// <summary>
/// Tells another system that this one can tell people. Silence is the message that matters: when test alerts stay away, when nothing here
/// runs, or when the network is gone, the pings stop, and the other system raises the alarm. A ping that fails is not repeated; the next one
/// comes in its time.
/// </summary>
public sealed partial class PingWorker(
    CanaryStore canaries, IHttpClientFactory clients, PingOptions options, CanaryOptions canary, CanaryMetrics metrics, TimeProvider clock, ILogger<PingWorker> logger) : BackgroundService
{
    internal const string Client = "ping";
    private static readonly TimeSpan LongestLook = TimeSpan.FromSeconds(5);

    private bool _isQuiet;

    private TimeSpan Look => options.Interval < LongestLook ? options.Interval : LongestLook;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (options.Url.Length == 0)
        {
            return;
        }

        using var timer = new PeriodicTimer(Look, clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            await TickAsync(stoppingToken);
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            var now = clock.GetUtcNow();
            var flight = await canaries.FlightAsync(ct);
            if (!flight.IsFresh(now, canary.Interval, canary.Overdue))
            {
                if (!_isQuiet)
                {
                    Quiet(flight.ArrivedAt);
                }

                _isQuiet = true;
                return;
            }

            _isQuiet = false;
            if (await canaries.ClaimPingAsync(options.Interval - Look / 2, now, ct))
            {
                var failure = await PingAsync(ct);
                metrics.Pinged(accepted: failure is null);
                if (failure is not null)
                {
                    PingFailed(failure);
                }
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error);
        }
    }

    // Null when it was accepted. The address is in no answer of this: it is a secret.
    private async Task<string?> PingAsync(CancellationToken ct)
    {
        using var patience = new CancellationTokenSource(options.Timeout, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, patience.Token);
        try
        {
            using var client = clients.CreateClient(Client);
            using var request = new HttpRequestMessage(HttpMethod.Get, options.Url);
            request.Headers.TryAddWithoutValidation("User-Agent", "Platform-Alerting");
            using var answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token);
            return answer.IsSuccessStatusCode ? null : $"status {(int)answer.StatusCode}";
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested && !ct.IsCancellationRequested)
        {
            return string.Create(CultureInfo.InvariantCulture, $"no answer within {options.Timeout.TotalSeconds:0.#} s");
        }
        catch (Exception error) when (error is HttpRequestException or IOException)
        {
            return error.GetBaseException().Message;
        }
    }

    [LoggerMessage(LogLevel.Warning, "No pings any more until test alerts arrive; the last one arrived at {Arrived}")]
    private partial void Quiet(DateTimeOffset? arrived);

    [LoggerMessage(LogLevel.Warning, "The ping to ALERT_PING_URL failed: {Reason}. The next one comes in its time")]
    private partial void PingFailed(string reason);

    [LoggerMessage(LogLevel.Error, "The ping could not be decided on; trying again in a few seconds")]
    private partial void TickFailed(Exception error);
}
