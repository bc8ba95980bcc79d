using System.Net.Http.Headers;
using System.Text;
using Microsoft.Extensions.Logging;

namespace Platform.Instrumentation;

/// <param name="Accepted">Stored by the platform.</param>
/// <param name="Refused">The platform will never take them; the reason was logged.</param>
/// <param name="Undelivered">Not answered when the delivery was cancelled. They may or may not be stored.</param>
public readonly record struct DeliveryReport(int Accepted, int Refused, int Undelivered);

/// <summary>
/// Delivers batches of events to the gateway. A batch is tried until the gateway has stored or refused it; all tries carry the same <c>Idempotency-Key</c>,
/// so that a lost answer does not store it twice. Not for use by two callers at once.
/// </summary>
/// <param name="maxRetryDelay">Longest pause between two tries unless the gateway asks for more.</param>
/// <param name="hurry">When cancelled, pauses shrink to a quarter of a second: the application ends.</param>
public sealed partial class EventDelivery(HttpClient http, TimeProvider clock, TimeSpan maxRetryDelay, ILogger logger, CancellationToken hurry = default)
{
    private static readonly TimeSpan BetweenWarnings = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan PauseInHurry = TimeSpan.FromMilliseconds(250);
    private const int LongestProblem = 64 * 1024;

    private long? _warnedAt;

    /// <summary>A client for the gateway at <paramref name="gateway"/>, which may have a path prefix.</summary>
    public static HttpClient CreateClient(Uri gateway, string apiKey, TimeSpan timeout)
    {
        var handler = new SocketsHttpHandler
        {
            // A redirect would carry the key to another host, or turn the POST into a GET.
            AllowAutoRedirect = false,
            // The gateway may move behind its name.
            PooledConnectionLifetime = TimeSpan.FromMinutes(5),
            UseCookies = false,
        };
        return new HttpClient(handler)
        {
            BaseAddress = new Uri(gateway.AbsoluteUri.TrimEnd('/') + "/"),
            Timeout = timeout,
            MaxResponseContentBufferSize = 16 * 1024 * 1024,
            DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", apiKey) },
        };
    }

    /// <summary>Returns when every event is stored, refused, or given up because <paramref name="ct"/> was cancelled. Never throws for what the gateway does.</summary>
    /// <param name="events">Each one JSON object in UTF-8.</param>
    public async Task<DeliveryReport> DeliverAsync(IReadOnlyList<byte[]> events, CancellationToken ct)
    {
        var (accepted, refused) = (0, 0);
        var waiting = new Stack<IReadOnlyList<byte[]>>([events]);
        try
        {
            while (waiting.TryPeek(out var batch))
            {
                var answer = await SendUntilAnsweredAsync(batch, ct);
                waiting.Pop();
                if (answer.Verdict == Verdict.Accepted)
                {
                    accepted += batch.Count;
                    continue;
                }

                var (again, dropped) = Answer.Salvage(batch, answer);
                refused += dropped;
                again.ForEach(waiting.Push);
                EventsRefused(dropped, answer.Status, answer.Problem);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The report says how many are left.
        }

        return new(accepted, refused, events.Count - accepted - refused);
    }

    private async Task<Answer> SendUntilAnsweredAsync(IReadOnlyList<byte[]> batch, CancellationToken ct)
    {
        var key = Guid.CreateVersion7(clock.GetUtcNow()).ToString();
        for (var attempt = 1; ; attempt++)
        {
            var answer = await SendAsync(batch, key, ct);
            if (answer.Verdict is Verdict.Accepted or Verdict.Refused or Verdict.TooLarge)
            {
                Recovered(answer);
                return answer;
            }

            Warn(answer, attempt);
            await PauseAsync(Answer.Pause(attempt, Random.Shared.NextDouble(), answer.RetryAfter, maxRetryDelay), mayHurry: answer.RetryAfter is null, ct);
        }
    }

    private async Task<Answer> SendAsync(IReadOnlyList<byte[]> batch, string key, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "api/v1/monitoring/events") { Content = AsJsonArray(batch) };
        request.Headers.Add("Idempotency-Key", key);
        try
        {
            using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ct);
            var verdict = Answer.Judge(response.StatusCode);
            var problem = verdict == Verdict.Accepted ? "" : await ReadProblemAsync(response, ct);
            return new(verdict, (int)response.StatusCode, problem, RetryAfter(response.Headers.RetryAfter));
        }
        catch (Exception error) when (error is HttpRequestException or IOException || (error is OperationCanceledException && !ct.IsCancellationRequested))
        {
            return new(Verdict.TryAgain, 0, error.Message, null);
        }
    }

    private static ByteArrayContent AsJsonArray(IReadOnlyList<byte[]> batch)
    {
        var body = new byte[batch.Sum(json => json.Length) + batch.Count + 1];
        body[0] = (byte)'[';
        var at = 1;
        foreach (var json in batch)
        {
            json.CopyTo(body, at);
            at += json.Length;
            body[at++] = (byte)',';
        }

        body[^1] = (byte)']';
        return new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } };
    }

    private static async Task<string> ReadProblemAsync(HttpResponseMessage response, CancellationToken ct)
    {
        await using var body = await response.Content.ReadAsStreamAsync(ct);
        var start = new byte[LongestProblem];
        var length = await body.ReadAtLeastAsync(start, start.Length, throwOnEndOfStream: false, ct);
        return Encoding.UTF8.GetString(start, 0, length);
    }

    private TimeSpan? RetryAfter(RetryConditionHeaderValue? header) =>
        header?.Delta ?? (header?.Date is { } date ? date - clock.GetUtcNow() : null);

    private async Task PauseAsync(TimeSpan pause, bool mayHurry, CancellationToken ct)
    {
        if (mayHurry && hurry.IsCancellationRequested)
        {
            pause = pause < PauseInHurry ? pause : PauseInHurry;
            mayHurry = false;
        }

        using var cut = CancellationTokenSource.CreateLinkedTokenSource(ct, mayHurry ? hurry : CancellationToken.None);
        try
        {
            await Task.Delay(pause, clock, cut.Token);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            // In a hurry: try again now.
        }
    }

    private void Warn(Answer answer, int attempt)
    {
        var now = clock.GetTimestamp();
        if (_warnedAt is { } last && clock.GetElapsedTime(last, now) < BetweenWarnings)
        {
            return;
        }

        _warnedAt = now;
        if (answer.Verdict == Verdict.Misdirected)
        {
            GatewayMisunderstands(http.BaseAddress, answer.Status, answer.Problem);
        }
        else
        {
            GatewayAway(http.BaseAddress, attempt, answer.Status, answer.Problem);
        }
    }

    private void Recovered(Answer answer)
    {
        if (_warnedAt is not null)
        {
            _warnedAt = null;
            GatewayBack(answer.Status);
        }
    }

    [LoggerMessage(LogLevel.Warning, "Events wait: the gateway {Gateway} did not take them at try {Attempt} (status {Status}): {Problem}. Trying again; this is said at most once a minute")]
    private partial void GatewayAway(Uri? gateway, int attempt, int status, string problem);

    [LoggerMessage(LogLevel.Error, "Events wait: {Gateway} answers {Status}, so the address or the API key is wrong: {Problem}. Check PlatformMonitoring:GatewayUrl and PLATFORM_API_KEY. Trying again; this is said at most once a minute")]
    private partial void GatewayMisunderstands(Uri? gateway, int status, string problem);

    [LoggerMessage(LogLevel.Information, "The gateway answers again with status {Status}")]
    private partial void GatewayBack(int status);

    [LoggerMessage(LogLevel.Warning, "The platform refused {Count} events with status {Status}: {Problem}")]
    private partial void EventsRefused(int count, int status, string problem);
}
