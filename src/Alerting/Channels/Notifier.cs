using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Platform.Alerting.Notifications;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>One notification on its way over one channel.</summary>
/// <param name="Id">The same at every attempt: receivers drop by it what they have seen.</param>
/// <param name="Kind">Why it is sent, in a word: <c>acknowledged</c>, <c>fallback</c>, <c>test</c> and others.</param>
/// <param name="Memory">What the channel noted when it last spoke of this group; null when it noted nothing.</param>
public sealed record ChannelMessage(Guid Id, string Realm, string Kind, NotificationContent Content, DateTimeOffset CreatedAt, string? Memory)
{
    /// <summary>The group as receivers know it: of one realm, and short enough for all of them.</summary>
    public string Key()
    {
        var key = $"{Realm}/{Content.GroupKey}";
        return key.Length <= 255 ? key : Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(key)));
    }
}

/// <summary>One way to reach people. It makes one attempt: it does not retry, stores nothing, and does not throw for what a receiver does. The dispatcher does the rest.</summary>
public interface INotifier
{
    ChannelKind Kind { get; }

    /// <summary>Tells it. The answer carries what the channel wants to remember of the group.</summary>
    Task<Answer> SendAsync(Channel channel, ChannelMessage message);
}

/// <summary>One request to a receiver, and what its answer means. No redirects, allowed networks only, connections kept.</summary>
public sealed class OutboundPost(IHttpClientFactory clients, NotificationOptions options, TimeProvider clock)
{
    public const string Client = "channels";

    /// <summary>What is kept of an answer.</summary>
    public const int LongestResponse = 500;

    // Slack's answers repeat the message.
    private const int LongestRead = 64 * 1024;

    /// <summary>Sends JSON.</summary>
    /// <param name="judge">A second look at an answer with status 2xx, for receivers that say no with 200.</param>
    public async Task<Answer> SendAsync(Uri url, ReadOnlyMemory<byte> json, Action<HttpRequestHeaders>? head = null, Func<Answer, string, Answer>? judge = null)
    {
        using var patience = new CancellationTokenSource(options.Timeout, clock);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, url) { Content = new ReadOnlyMemoryContent(json) };
            request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
            request.Headers.TryAddWithoutValidation("User-Agent", "Platform-Alerting");
            head?.Invoke(request.Headers);
            using var client = clients.CreateClient(Client);
            using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, patience.Token);
            var (text, _) = await response.Content.ReadAtMostAsync(LongestRead, patience.Token);
            var answer = Answer.Of(response.StatusCode, RetryAfter(response.Headers.RetryAfter, clock.GetUtcNow()), Clean(text));
            return answer.Outcome == DeliveryOutcome.Accepted && judge is not null ? judge(answer, text) : answer;
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested)
        {
            return Silent(options.Timeout);
        }
        catch (Exception error) when (error is HttpRequestException or IOException)
        {
            // A target that OUTBOUND_ALLOWED_NETWORKS forbids is tried again, too: a corrected setting must find it waiting.
            return new(DeliveryOutcome.TryAgain, Clean(error.GetBaseException().Message));
        }
    }

    public static Answer Silent(TimeSpan timeout) =>
        new(DeliveryOutcome.TryAgain, string.Create(CultureInfo.InvariantCulture, $"no answer within {timeout.TotalSeconds:0.#} s"));

    /// <summary>Seconds or a date; null when there is neither.</summary>
    internal static TimeSpan? RetryAfter(RetryConditionHeaderValue? header, DateTimeOffset now) => header switch
    {
        { Delta: { } delta } => delta,
        { Date: { } date } => date > now ? date - now : TimeSpan.Zero,
        _ => null,
    };

    /// <summary>The beginning of a text as PostgreSQL can hold it.</summary>
    public static string Clean(string text) => StorableText.Clean(StorableText.Cut(text, LongestResponse));

    public static ReadOnlyMemory<byte> Json(object body) => JsonSerializer.SerializeToUtf8Bytes(body, JsonOptions);

    // Text stays readable for whoever looks at a request; nothing of it is put into a page of ours.
    internal static readonly JsonSerializerOptions JsonOptions = new(JsonSerializerDefaults.Web)
    {
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull,
    };
}
