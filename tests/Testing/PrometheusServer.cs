using System.Text.Json;

namespace Platform.Testing;

/// <summary>
/// A real Prometheus with nothing in it, on a free port of 127.0.0.1, with data in a temporary folder; to compare with, and to be the
/// engine behind the platform. It takes samples by remote write.
/// </summary>
public sealed class PrometheusServer : IAsyncDisposable
{
    private readonly PeerProcess _process;

    private PrometheusServer(PeerProcess process) => _process = process;

    /// <summary>Whether this machine has one; tests that need it are skipped by name where it has not.</summary>
    public static bool IsInstalled { get; } = PeerProcess.Locate("prometheus") is not null;

    /// <summary>With the server's address.</summary>
    public HttpClient Client => _process.Client;

    public Uri Url => Client.BaseAddress!;

    public int ProcessId => _process.Id;

    /// <param name="configuration">YAML; one that scrapes nothing unless given.</param>
    /// <param name="arguments">More flags.</param>
    public static async Task<PrometheusServer> StartAsync(string? configuration = null, IEnumerable<string>? arguments = null) =>
        new(await PeerProcess.StartAsync("prometheus", configuration ?? "global:\n  scrape_interval: 1h\n", (file, data, address) =>
        [
            $"--config.file={file}", $"--storage.tsdb.path={data}", $"--web.listen-address={address}",
            "--web.enable-remote-write-receiver", "--web.enable-admin-api", "--web.enable-lifecycle", "--log.level=warn", .. arguments ?? [],
        ]));

    /// <summary>
    /// Writes all samples, in slices of half an hour across all series: Prometheus refuses what is an hour older than the newest it has.
    /// </summary>
    public async Task WriteAsync(IReadOnlyCollection<WrittenSeries> series, CancellationToken ct)
    {
        const long slice = 30 * 60 * 1000;
        var at = new int[series.Count];
        while (true)
        {
            var next = series.Select((one, index) => at[index] < one.Samples.Count ? one.Samples[at[index]].At : long.MaxValue).Min();
            if (next == long.MaxValue)
            {
                return;
            }

            var batch = new List<WrittenSeries>();
            foreach (var (index, one) in series.Index())
            {
                var from = at[index];
                while (at[index] < one.Samples.Count && one.Samples[at[index]].At < next + slice)
                {
                    at[index]++;
                }

                if (at[index] > from)
                {
                    batch.Add(one with { Samples = [.. one.Samples.Skip(from).Take(at[index] - from)] });
                }
            }

            using var response = await Client.PostAsync(new Uri("api/v1/write", UriKind.Relative), RemoteWrite.Content(batch), ct);
            if (!response.IsSuccessStatusCode)
            {
                throw new InvalidOperationException($"prometheus answered {(int)response.StatusCode}: {await response.Content.ReadAsStringAsync(ct)}");
            }
        }
    }

    /// <summary>The whole answer of an API call, whatever its status: <c>query</c> with <c>query=up</c> and <c>time=0</c>.</summary>
    public async Task<JsonElement> AskAsync(string path, IEnumerable<KeyValuePair<string, string>> form, CancellationToken ct)
    {
        using var response = await Client.PostAsync(new Uri($"api/v1/{path}", UriKind.Relative), new FormUrlEncodedContent(form), ct);
        await using var body = await response.Content.ReadAsStreamAsync(ct);
        using var document = await JsonDocument.ParseAsync(body, cancellationToken: ct);
        return document.RootElement.Clone();
    }

    public ValueTask DisposeAsync() => _process.DisposeAsync();
}
