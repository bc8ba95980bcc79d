using System.Globalization;
using System.Net.Http.Headers;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

/// <summary>Makes one attempt at one webhook. It does not retry, keeps nothing and never throws for what a receiver does.</summary>
public sealed class WebhookSender(IHttpClientFactory clients, NotificationOptions options, TimeProvider clock)
{
    public const string Client = "webhooks";

    private const int LongestResponse = 500;

    private readonly Dictionary<string, Uri> _urls = options.Channels().ToDictionary(channel => channel.Name, channel => channel.Url);

    public async Task<Answer> SendAsync(Claimed notification)
    {
        if (!_urls.TryGetValue(notification.Channel, out var url))
        {
            return new(DeliveryOutcome.Refused, "the channel is no longer configured");
        }

        using var patience = new CancellationTokenSource(options.Timeout, clock);
        try
        {
            using var request = Request(notification, url);
            using var client = clients.CreateClient(Client);
            using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, patience.Token);
            var (text, _) = await response.Content.ReadAtMostAsync(LongestResponse, patience.Token);
            return Answer.Of(response.StatusCode, RetryAfter(response.Headers.RetryAfter), Clean(text));
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested)
        {
            return new(DeliveryOutcome.TryAgain, string.Create(CultureInfo.InvariantCulture, $"no answer within {options.Timeout.TotalSeconds:0.#} s"));
        }
        catch (Exception error) when (error is HttpRequestException or IOException)
        {
            // A target that OUTBOUND_ALLOWED_NETWORKS forbids is tried again, too: a corrected setting must find it waiting.
            return new(DeliveryOutcome.TryAgain, Clean(error.GetBaseException().Message));
        }
    }

    private HttpRequestMessage Request(Claimed notification, Uri url)
    {
        var body = Webhook.Body(notification.Content, options.ExternalUrl);
        var now = clock.GetUtcNow().ToUnixTimeSeconds();
        var request = new HttpRequestMessage(HttpMethod.Post, url) { Content = new ByteArrayContent(body) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        request.Headers.TryAddWithoutValidation("User-Agent", "Platform-Alerting");
        request.Headers.TryAddWithoutValidation("webhook-id", notification.Id.ToString());
        request.Headers.TryAddWithoutValidation("webhook-timestamp", now.ToString(CultureInfo.InvariantCulture));
        if (options.WebhookSecret.Length > 0)
        {
            request.Headers.TryAddWithoutValidation("webhook-signature", Webhook.Sign(options.WebhookSecret, notification.Id, now, body));
        }

        return request;
    }

    private TimeSpan? RetryAfter(RetryConditionHeaderValue? header) => header switch
    {
        { Delta: { } delta } => delta,
        { Date: { } date } => date - clock.GetUtcNow() is { Ticks: > 0 } wait ? wait : TimeSpan.Zero,
        _ => null,
    };

    // PostgreSQL's text cannot hold the character zero.
    private static string Clean(string text) => (text.Length <= LongestResponse ? text : text[..LongestResponse]).Replace('\0', ' ');
}
