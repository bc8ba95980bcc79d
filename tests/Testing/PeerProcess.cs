using System.Collections.Concurrent;
using System.Diagnostics;

namespace Platform.Testing;

/// <summary>A program of somebody else with an HTTP port of its own on 127.0.0.1 and a temporary folder that goes with it.</summary>
public sealed class PeerProcess : IAsyncDisposable
{
    private readonly TemporaryFolder _folder;
    private readonly Process _process;
    private readonly ConcurrentQueue<string> _log = new();

    private PeerProcess(TemporaryFolder folder, Process process, Uri url)
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

    /// <summary>With the server's address.</summary>
    public HttpClient Client { get; }

    public int Id => _process.Id;

    /// <summary>Starts the program and waits until <c>/-/ready</c> answers 200.</summary>
    /// <param name="program">One that <see cref="Locate"/> finds.</param>
    /// <param name="configuration">Written to a file in the folder.</param>
    /// <param name="arguments">From the configuration's file, the folder for data and <c>host:port</c> to listen at.</param>
    public static async Task<PeerProcess> StartAsync(string program, string configuration, Func<string, string, string, IEnumerable<string>> arguments)
    {
        var folder = TemporaryFolder.Create(program);
        var file = Path.Combine(folder.Path, $"{program}.yml");
        await File.WriteAllTextAsync(file, configuration);
        var address = $"127.0.0.1:{TestWorld.FreePort()}";
        var start = new ProcessStartInfo(Locate(program) ?? throw new InvalidOperationException($"{program} is not installed."), arguments(file, Path.Combine(folder.Path, "data"), address))
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var peer = new PeerProcess(folder, Process.Start(start)!, new Uri($"http://{address}/"));
        try
        {
            await Eventually.TrueAsync(
                async () => peer._process.HasExited || (await peer.Client.GetAsync(new Uri("-/ready", UriKind.Relative))).IsSuccessStatusCode,
                because: $"{program} is ready");
            return peer._process.HasExited
                ? throw new InvalidOperationException($"{program} has ended with {peer._process.ExitCode}:\n{string.Join('\n', peer._log)}")
                : peer;
        }
        catch
        {
            await peer.DisposeAsync();
            throw;
        }
    }

    public static string? Locate(string program) =>
        new[] { "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin" }.Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);

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
}
