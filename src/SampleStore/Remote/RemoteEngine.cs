using System.Net;
using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.SampleStore;

/// <summary>
/// Speaks HTTP to the Prometheus-compatible engine that keeps the samples. A realm reaches it in one way only: as a matcher that this class
/// puts into every selector. Nothing that a caller wrote goes there as text; it is parsed here and printed anew.
/// </summary>
public sealed class RemoteEngine(IHttpClientFactory clients, RemoteEngineOptions options)
{
    internal const string Client = "remote-engine";

    // Engines refuse times far from today, which here mean "since ever" and "for ever".
    private const long LatestTime = 4_102_444_800_000;

    /// <summary>The expression over the series of one realm, as text for the engine.</summary>
    public static string Restrict(Expr expr, string realm) => Printer.Print(Selectors.WithMatcher(expr, OfRealm(realm)));

    /// <summary>The selector over the series of one realm (null: all of them), as text for the engine.</summary>
    public static string Restrict(IReadOnlyList<Matcher> matchers, string? realm) =>
        Printer.Print(new Expr.VectorSelector(realm is null ? matchers : [OfRealm(realm), .. matchers], NameOutside: false, default));

    /// <summary>Asks, and hands over the answer as soon as its head is there. The caller disposes it.</summary>
    /// <exception cref="HttpRequestException">It cannot be reached.</exception>
    public async Task<HttpResponseMessage> AskAsync(HttpMethod method, string path, IEnumerable<KeyValuePair<string, string>> parameters, CancellationToken ct)
    {
        using var form = new FormUrlEncodedContent(parameters);
        using var request = new HttpRequestMessage(method, options.Address(path));
        if (method == HttpMethod.Get)
        {
            request.RequestUri = new($"{request.RequestUri}?{await form.ReadAsStringAsync(ct)}");
        }
        else
        {
            request.Content = form;
        }

        options.Identify(request.Headers);
        return await clients.CreateClient(Client).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ct);
    }

    /// <summary>The member <c>data</c> of an answer that is read as a whole.</summary>
    internal async Task<JsonElement> GetAsync(HttpMethod method, string path, IEnumerable<KeyValuePair<string, string>> parameters, CancellationToken ct)
    {
        using var answer = await AskAsync(method, path, parameters, ct);
        var (text, truncated) = await answer.Content.ReadAtMostAsync(options.MaxAnswerBytes, ct);
        if (truncated)
        {
            throw new QueryException(QueryFault.Execution, $"the engine behind answered with more than {options.MaxAnswerBytes} bytes (METRICS_PROMETHEUS_MAX_ANSWER_BYTES); narrow the request");
        }

        if (!answer.IsSuccessStatusCode)
        {
            throw new HttpRequestException($"The engine at METRICS_PROMETHEUS_URL answered {path} with {(int)answer.StatusCode}: {Short(text)}", null, answer.StatusCode);
        }

        return JsonElement.Parse(text).GetProperty("data");
    }

    /// <summary>Sends a request of remote write. What the engine will never take comes back as its reason; otherwise it has taken all.</summary>
    /// <exception cref="HttpRequestException">It cannot be reached, or does not let the platform in: the sender keeps the samples and tries again.</exception>
    internal async Task<CommitResult?> WriteAsync(byte[] body, int samples, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, options.WriteAddress()) { Content = new ByteArrayContent(body) };
        request.Content.Headers.ContentType = new("application/x-protobuf");
        request.Content.Headers.ContentEncoding.Add("snappy");
        request.Headers.Add("X-Prometheus-Remote-Write-Version", "0.1.0");
        options.Identify(request.Headers);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ct);
        patience.CancelAfter(options.WriteTimeout);
        try
        {
            using var answer = await clients.CreateClient(Client).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, patience.Token);
            if (answer.IsSuccessStatusCode)
            {
                return null;
            }

            var (reason, _) = await answer.Content.ReadAtMostAsync(4096, patience.Token);
            return (int)answer.StatusCode switch
            {
                429 or >= 500 => new CommitResult(CommitOutcome.Busy, 0, [], answer.Headers.RetryAfter?.Delta ?? TimeSpan.FromSeconds(5)),
                400 or 413 or 415 or 422 => new CommitResult(CommitOutcome.Stored, 0, [$"{samples} samples were refused by the engine that keeps them, with {(int)answer.StatusCode}: {Short(reason)}"]),
                _ => throw new HttpRequestException($"The engine at METRICS_PROMETHEUS_URL answered a write with {(int)answer.StatusCode}: {Short(reason)}", null, answer.StatusCode),
            };
        }
        catch (OperationCanceledException late) when (!ct.IsCancellationRequested)
        {
            throw new HttpRequestException("The engine at METRICS_PROMETHEUS_URL did not confirm a write within METRICS_PROMETHEUS_WRITE_TIMEOUT_SECONDS.", late);
        }
    }

    /// <summary>Milliseconds as seconds, within what engines understand.</summary>
    internal static string Seconds(long milliseconds) =>
        (Math.Clamp(milliseconds, 0, LatestTime) / 1000.0).ToString("0.000", System.Globalization.CultureInfo.InvariantCulture);

    private static Matcher OfRealm(string realm) => new("realm", MatchKind.Equal, realm);

    private static string Short(string text) => text.Length <= 500 ? text.Trim() : string.Concat(text.AsSpan(0, 500), "…");
}

internal static class RemoteEngineHosting
{
    public static void AddRemoteEngine(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<RemoteEngineOptions>();
        builder.Services.AddSingleton<RemoteEngine>();
        // Queries take as long as they are allowed to take, and a write that may have been done is for its sender to repeat: no retries here.
        builder.Services.AddHttpClient(RemoteEngine.Client, client => client.Timeout = Timeout.InfiniteTimeSpan)
            .RemoveAllLoggers()
            .ConfigureAdditionalHttpMessageHandlers((handlers, _) => handlers.Clear())
            .UseSocketsHttpHandler((handler, _) =>
            {
                handler.AllowAutoRedirect = false;
                handler.UseCookies = false;
                handler.AutomaticDecompression = DecompressionMethods.None;
                handler.ConnectTimeout = TimeSpan.FromSeconds(5);
                handler.PooledConnectionLifetime = TimeSpan.FromMinutes(2);
            });
    }
}
