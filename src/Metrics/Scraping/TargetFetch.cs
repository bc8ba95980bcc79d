using System.Buffers;
using System.Globalization;
using System.IO.Compression;
using System.Net.Http.Headers;
using System.Text;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Scraping;

/// <summary>The scrape failed for a reason that the operator can act on.</summary>
internal sealed class ScrapeException(string message) : Exception(message);

/// <summary>Gets a target's text over HTTP: bounded, decompressed, with the job's credentials, never following a redirect.</summary>
internal sealed class TargetFetch(TargetPlan plan, ScrapeTools tools)
{
    public const string Client = "scrape";
    public const string PlatformClient = "scrape platform";

    private const string Accept =
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    /// <returns>A pooled array that the caller gives back, what is filled of it, and the format that the target says it is.</returns>
    /// <exception cref="ScrapeException">The target answered, but not with its metrics, or with too much.</exception>
    public async Task<(byte[] Body, int Length, TextFormat Format)> GetAsync(CancellationToken ct)
    {
        using var response = await AskAsync(ct);
        var (body, length) = await ReadAsync(response, ct);
        return (body, length, response.Content.Headers.ContentType?.MediaType == "application/openmetrics-text" ? TextFormat.OpenMetrics : TextFormat.Prometheus);
    }

    private async Task<HttpResponseMessage> AskAsync(CancellationToken ct)
    {
        using var client = tools.Clients.CreateClient(plan.Job.IsOfPlatform ? PlatformClient : Client);
        client.Timeout = Timeout.InfiniteTimeSpan;
        using var request = new HttpRequestMessage(HttpMethod.Get, plan.Url);
        request.Headers.TryAddWithoutValidation("Accept", Accept);
        request.Headers.AcceptEncoding.ParseAdd("gzip");
        request.Headers.UserAgent.ParseAdd("platform-scrape/1.0");
        request.Headers.TryAddWithoutValidation("X-Prometheus-Scrape-Timeout-Seconds", plan.Timeout.TotalSeconds.ToString(CultureInfo.InvariantCulture));
        request.Headers.Authorization = await AuthorizationAsync(ct);
        var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ct);
        if (response.StatusCode != System.Net.HttpStatusCode.OK)
        {
            var status = $"{(int)response.StatusCode} {response.ReasonPhrase}";
            response.Dispose();
            throw new ScrapeException($"server returned HTTP status {status}");
        }

        return response;
    }

    private async Task<AuthenticationHeaderValue?> AuthorizationAsync(CancellationToken ct)
    {
        if (plan.Job.Auth is not { } auth)
        {
            return plan.Job.TakesTicket ? new("Bearer", tools.Tickets.Mint(new Caller("system:scrape", Role.Service, Realm.All, Scopes.Read))) : null;
        }

        var secret = auth.Secret ?? "";
        if (auth.SecretFile is { } file)
        {
            try
            {
                secret = (await File.ReadAllTextAsync(file, ct)).Trim();
            }
            catch (UnauthorizedAccessException)
            {
                throw new ScrapeException($"the secret in {file} cannot be read: access is denied");
            }
        }

        return new(auth.Type, auth.User is null ? secret : Convert.ToBase64String(Encoding.UTF8.GetBytes($"{auth.User}:{secret}")));
    }

    // Into a pooled array that grows up to the limit: a target that sends without end costs no more.
    private async Task<(byte[] Body, int Length)> ReadAsync(HttpResponseMessage response, CancellationToken ct)
    {
        var limit = plan.Job.BodySizeLimit > 0 ? (int)Math.Min(plan.Job.BodySizeLimit, tools.Options.MaxBodyBytes) : tools.Options.MaxBodyBytes;
        await using var sent = await response.Content.ReadAsStreamAsync(ct);
        var encodings = response.Content.Headers.ContentEncoding;
        await using var plain = encodings.Count == 0 ? sent : encodings is { Count: 1 } && encodings.Contains("gzip") ? new GZipStream(sent, CompressionMode.Decompress)
            : throw new ScrapeException($"the answer is encoded as {string.Join(", ", encodings)}, which was not asked for");
        var body = ArrayPool<byte>.Shared.Rent(Math.Min(limit + 1, 64 * 1024));
        try
        {
            for (var length = 0; ;)
            {
                var read = await plain.ReadAsync(body.AsMemory(length), ct);
                length += read;
                if (length > limit)
                {
                    throw new ScrapeException($"body size limit exceeded: the answer has more than {limit} bytes ({(plan.Job.BodySizeLimit > 0 && plan.Job.BodySizeLimit == limit ? "body_size_limit" : "METRICS_SCRAPE_MAX_BODY_BYTES")})");
                }

                if (read == 0)
                {
                    return (body, length);
                }

                if (length == body.Length)
                {
                    var larger = ArrayPool<byte>.Shared.Rent((int)Math.Min(2L * body.Length, limit + 1L));
                    body.AsSpan(0, length).CopyTo(larger);
                    ArrayPool<byte>.Shared.Return(body);
                    body = larger;
                }
            }
        }
        catch
        {
            ArrayPool<byte>.Shared.Return(body);
            throw;
        }
    }
}
