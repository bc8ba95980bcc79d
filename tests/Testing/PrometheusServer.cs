using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json;

namespace Platform.Testing;

/// <summary>
/// A real Prometheus with nothing in it, on a free port of 127.0.0.1, with data in a temporary folder; to compare with, and to be the
/// engine behind the platform. It takes samples by remote write.
/// </summary>
public sealed class PrometheusServer : IAsyncDisposable
{
    private readonly TemporaryFolder _folder;
    private readonly Process _process;
    private readonly ConcurrentQueue<string> _log = new();

    private PrometheusServer(TemporaryFolder folder, Process process, Uri url)
    {
        _folder = folder;
        _process = process;
        Client = new HttpClient { BaseAddress = url, Timeout = TimeSpan.FromMinutes(1) };
        process.OutputDataReceived += (_, line) => _log.Enqueue(line.Data ?? "");
        process.ErrorDataReceived += (_, line) => _log.Enqueue(line.Data ?? "");
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        // The children of a test process that ends early end with it.
        AppDomain.CurrentDomain.ProcessExit += KillAtExit;
    }

    /// <summary>Whether this machine has one; tests that need it are skipped by name where it has not.</summary>
    public static bool IsInstalled { get; } = Locate() is not null;

    /// <summary>With the server's address.</summary>
    public HttpClient Client { get; }

    public Uri Url => Client.BaseAddress!;

    public int ProcessId => _process.Id;

    /// <param name="configuration">YAML; one that scrapes nothing unless given.</param>
    /// <param name="arguments">More flags.</param>
    public static async Task<PrometheusServer> StartAsync(string? configuration = null, IEnumerable<string>? arguments = null)
    {
        var folder = TemporaryFolder.Create("prometheus");
        var file = Path.Combine(folder.Path, "prometheus.yml");
        await File.WriteAllTextAsync(file, configuration ?? "global:\n  scrape_interval: 1h\n");
        var address = $"127.0.0.1:{TestWorld.FreePort()}";
        var start = new ProcessStartInfo(Locate() ?? throw new InvalidOperationException("prometheus is not installed."),
        [
            $"--config.file={file}", $"--storage.tsdb.path={Path.Combine(folder.Path, "data")}", $"--web.listen-address={address}",
            "--web.enable-remote-write-receiver", "--web.enable-admin-api", "--web.enable-lifecycle", "--log.level=warn", .. arguments ?? [],
        ])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var server = new PrometheusServer(folder, Process.Start(start)!, new Uri($"http://{address}/"));
        try
        {
            await Eventually.TrueAsync(
                async () => server._process.HasExited || (await server.Client.GetAsync(new Uri("-/ready", UriKind.Relative))).IsSuccessStatusCode,
                because: "prometheus is ready");
            return server._process.HasExited
                ? throw new InvalidOperationException($"prometheus has ended with {server._process.ExitCode}:\n{string.Join('\n', server._log)}")
                : server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

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

    public async ValueTask DisposeAsync()
    {
        AppDomain.CurrentDomain.ProcessExit -= KillAtExit;
        Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        Client.Dispose();
        _folder.Dispose();
    }

    private void KillAtExit(object? sender, EventArgs ended) => Kill();

    private void Kill()
    {
        // Nobody reads the data again: no reason to wait for an orderly end.
        if (!_process.HasExited)
        {
            _process.Kill();
        }
    }

    private static string? Locate() => new[] { "/usr/bin/prometheus", "/usr/local/bin/prometheus", "/opt/homebrew/bin/prometheus" }.FirstOrDefault(File.Exists);
}
