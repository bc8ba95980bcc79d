namespace Platform.Testing;

/// <summary>A real Alertmanager without a cluster, on a free port of 127.0.0.1, with data in a temporary folder.</summary>
public sealed class AlertmanagerServer : IAsyncDisposable
{
    private readonly PeerProcess _process;

    private AlertmanagerServer(PeerProcess process) => _process = process;

    /// <summary>Whether this machine has one; tests that need it are skipped by name where it has not.</summary>
    public static bool IsInstalled { get; } = PeerProcess.Locate("prometheus-alertmanager") is not null;

    /// <summary>With the server's address.</summary>
    public HttpClient Client => _process.Client;

    public Uri Url => Client.BaseAddress!;

    /// <param name="configuration">YAML.</param>
    public static async Task<AlertmanagerServer> StartAsync(string configuration) =>
        new(await PeerProcess.StartAsync("prometheus-alertmanager", configuration, (file, data, address) =>
            [$"--config.file={file}", $"--storage.path={data}", $"--web.listen-address={address}", "--cluster.listen-address=", "--log.level=warn"]));

    public ValueTask DisposeAsync() => _process.DisposeAsync();
}
