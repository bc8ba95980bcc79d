using System.ComponentModel.DataAnnotations;
using System.Net;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

public sealed class NotificationOptions : IValidatableObject
{
    /// <summary>Where webhooks go; several separated by commas. None: alerts are only listed. The addresses are secrets and appear in no log or answer.</summary>
    [Setting("ALERT_WEBHOOK_URL", Secret = true)]
    public IReadOnlyList<string> WebhookUrls { get; init; } = [];

    /// <summary>Signs webhooks after Standard Webhooks; <c>whsec_</c> and base64, or any text of 24 characters or more. Unset: they are not signed.</summary>
    [Setting("ALERT_WEBHOOK_SECRET", Secret = true)]
    public string WebhookSecret { get; init; } = "";

    /// <summary>Where people reach the platform; links in notifications begin with it.</summary>
    [Setting("ALERT_EXTERNAL_URL")]
    public string ExternalUrl { get; init; } = "";

    /// <summary>How long a receiver may take to answer.</summary>
    [Setting("ALERT_WEBHOOK_TIMEOUT_SECONDS"), Range(1, 120)]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Notifications on their way at once, per process; one channel gets at most half of it.</summary>
    [Setting("ALERT_NOTIFICATION_CONCURRENCY"), Range(1, 256)]
    public int Concurrency { get; init; } = 64;

    /// <summary>A notification that nobody accepted for this long is given up.</summary>
    [Setting("ALERT_NOTIFICATION_DEADLINE_HOURS"), Range(1, 720)]
    public TimeSpan Deadline { get; init; } = TimeSpan.FromHours(72);

    /// <summary>Wait before the second attempt; it doubles with each further one.</summary>
    [Setting("ALERT_RETRY_FIRST_SECONDS"), Range(1, 3600)]
    public TimeSpan FirstPause { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait between attempts, also when a receiver asks for more with <c>Retry-After</c>.</summary>
    [Setting("ALERT_RETRY_LONGEST_SECONDS"), Range(1, 86_400)]
    public TimeSpan LongestPause { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Notifications that one request to search the log for a text reads; the next page goes on behind them.</summary>
    [Setting("ALERT_NOTIFICATION_SEARCH_MAX"), Range(10, 10_000_000)]
    public int SearchAtMost { get; init; } = 20_000;

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        for (var i = 0; i < WebhookUrls.Count; i++)
        {
            if (!Uri.TryCreate(WebhookUrls[i], UriKind.Absolute, out var url) || url.Scheme is not ("http" or "https"))
            {
                yield return new ValidationResult($"ALERT_WEBHOOK_URL: address number {i + 1} is no http or https URL (it is not shown, because such addresses carry secrets). Correct it, or unset it.");
            }
        }

        if (ExternalUrl.Length > 0 && (!Uri.TryCreate(ExternalUrl, UriKind.Absolute, out var link) || link.Scheme is not ("http" or "https")))
        {
            yield return new ValidationResult($"ALERT_EXTERNAL_URL is \"{ExternalUrl}\": expected an absolute http or https URL. Change it, or unset it.");
        }

        if (WebhookSecret.Length is > 0 and < 24)
        {
            yield return new ValidationResult("ALERT_WEBHOOK_SECRET has fewer than 24 characters. Make a longer one, or unset it.");
        }
    }

    /// <summary>Names of the channels: webhook, webhook-2, …</summary>
    public IReadOnlyList<(string Name, Uri Url)> Channels() =>
        [.. WebhookUrls.Select((url, i) => (i == 0 ? "webhook" : $"webhook-{i + 1}", new Uri(url)))];
}

/// <summary>What a receiver's answer means.</summary>
public enum DeliveryOutcome
{
    /// <summary>They have it.</summary>
    Accepted,

    /// <summary>Not now.</summary>
    TryAgain,

    /// <summary>Never: the request itself is not wanted.</summary>
    Refused,
}

/// <summary>The answer to one attempt.</summary>
/// <param name="StatusCode">Null when there was no answer.</param>
/// <param name="RetryAfter">How long the receiver wants to be left alone.</param>
/// <param name="Response">The beginning of the body.</param>
public sealed record Answer(DeliveryOutcome Outcome, string Reason, int? StatusCode = null, TimeSpan? RetryAfter = null, string Response = "")
{
    /// <summary>What the channel is to remember of the group: null leaves what it knows, the empty text forgets it.</summary>
    public string? Memory { get; init; }

    public static Answer Of(HttpStatusCode code, TimeSpan? retryAfter, string response) => (int)code switch
    {
        >= 200 and < 300 => new(DeliveryOutcome.Accepted, "accepted", (int)code, null, response),
        408 => new(DeliveryOutcome.TryAgain, "the receiver gave up waiting", 408, retryAfter, response),
        429 => new(DeliveryOutcome.TryAgain, "the receiver has too much to do", 429, retryAfter, response),
        >= 500 => new(DeliveryOutcome.TryAgain, $"the receiver failed with {(int)code}", (int)code, retryAfter, response),
        >= 300 and < 400 => new(DeliveryOutcome.Refused, "the receiver points elsewhere; redirects are not followed", (int)code, null, response),
        var other => new(DeliveryOutcome.Refused, $"the receiver refused with {other}", other, null, response),
    };
}

/// <summary>What becomes of a notification after an attempt. Pure.</summary>
/// <param name="NextAttemptAt">Null when there is none.</param>
public sealed record Verdict(NotificationState State, DateTimeOffset? NextAttemptAt)
{
    /// <param name="attempt">Number of the attempt that was answered, from 1.</param>
    /// <param name="since">From when the deadline counts.</param>
    /// <param name="deadline">How long it is tried.</param>
    /// <param name="jitter">From 0 to 1; spreads attempts that failed together.</param>
    public static Verdict On(Answer answer, int attempt, DateTimeOffset since, TimeSpan deadline, DateTimeOffset now, double jitter, NotificationOptions options)
    {
        switch (answer.Outcome)
        {
            case DeliveryOutcome.Accepted:
                return new(NotificationState.Delivered, null);
            case DeliveryOutcome.Refused:
                return new(NotificationState.Failed, null);
            case DeliveryOutcome.TryAgain:
            default:
                // Who says when to come again is asked then, a moment apart, and not later each time: after a storm of 429 some would wait for
                // minutes with what comes after them, while the receiver takes everything again.
                var spread = 1 - jitter / 2;
                var next = now + (answer.RetryAfter is { } asked
                    ? AtMost(asked + options.FirstPause * spread)
                    : AtMost(options.FirstPause * Math.Pow(2, Math.Min(attempt - 1, 20))) * spread);
                return next > since + deadline ? new(NotificationState.Failed, null) : new(NotificationState.Pending, next);
        }

        TimeSpan AtMost(TimeSpan pause) => pause < options.LongestPause ? pause : options.LongestPause;
    }
}
