using System.Diagnostics;
using System.Net.Http.Json;
using Platform.NativeHost;

namespace Platform.Testing;

/// <summary>
/// The whole platform as its users start it: the built AppHost as a process, with data in a temporary folder and free ports. The project that
/// uses it references AppHost (<c>ReferenceOutputAssembly="false"</c>), so that it is built.
/// </summary>
public sealed class PlatformProcess : IAsyncDisposable
{
    private static readonly TimeSpan StartPatience = TimeSpan.FromMinutes(4);
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(15);

    private readonly TemporaryFolder? _folder;
    private readonly Process _process;
    private readonly HttpClient _http = new() { Timeout = TimeSpan.FromSeconds(10) };
    private readonly List<string> _console = [];
    private readonly HashSet<int> _children = [];
    private HostFile? _host;

    private PlatformProcess(Process process, TemporaryFolder? folder, string data)
    {
        _process = process;
        _folder = folder;
        DataFolder = data;
    }

    public string DataFolder { get; }

    /// <summary>Of the AppHost.</summary>
    public int ProcessId => _process.Id;

    public Uri GatewayUrl => new(_host!.GatewayUrl);

    public Uri StatusUrl => new(_host!.StatusUrl);

    /// <summary>The key that the gateway made at its first start.</summary>
    public string AdminKey => File.ReadAllText(Path.Combine(DataFolder, "admin-key")).Trim();

    /// <summary>The key with which the demo sends events.</summary>
    public string IngestKey => Secret("ingestkey");

    /// <summary>Everything that AppHost has printed.</summary>
    public string Console
    {
        get
        {
            lock (_console)
            {
                return string.Join('\n', _console);
            }
        }
    }

    /// <param name="environment">On top of this process's own; a null value takes a variable away.</param>
    /// <param name="args">Of AppHost, for example <c>--no-demo</c>.</param>
    /// <param name="dataFolder">Data of an earlier run, which stays; a new temporary folder unless given.</param>
    /// <param name="ct">Of the test.</param>
    public static async Task<PlatformProcess> StartAsync(
        IReadOnlyDictionary<string, string?>? environment = null, IReadOnlyList<string>? args = null, string? dataFolder = null, CancellationToken ct = default)
    {
        var platform = Launch(environment, args, dataFolder);
        try
        {
            await platform.WaitHealthyAsync(StartPatience, ct);
            return platform;
        }
        catch
        {
            await platform.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts AppHost without waiting for anything.</summary>
    public static PlatformProcess Launch(
        IReadOnlyDictionary<string, string?>? environment = null, IReadOnlyList<string>? args = null, string? dataFolder = null)
    {
        var folder = dataFolder is null ? TemporaryFolder.Create("platform") : null;
        var data = dataFolder ?? folder!.Path;
        // Where the tests run in the background of a script, its shell has told them all to ignore Ctrl-C, and AppHost would inherit that.
        var start = new ProcessStartInfo("env", ["--default-signal=INT", Binary()]) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (var argument in args ?? [])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["PLATFORM_DATA_DIR"] = data;
        start.Environment["PLATFORM_PORT_BASE"] = "0";
        start.Environment.Remove("PLATFORM_TEST_SERVERS");
        foreach (var (name, value) in environment ?? new Dictionary<string, string?>())
        {
            start.Environment[name] = value;
        }

        var process = Process.Start(start)!;
        process.StandardInput.Close();
        var platform = new PlatformProcess(process, folder, data);
        process.OutputDataReceived += (_, line) => platform.Keep(line.Data);
        process.ErrorDataReceived += (_, line) => platform.Keep(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return platform;
    }

    /// <summary>Until every resource is healthy; also after one was killed.</summary>
    public async Task WaitHealthyAsync(TimeSpan? timeout = null, CancellationToken ct = default)
    {
        try
        {
            await Eventually.TrueAsync(
                async () =>
                {
                    if (_process.HasExited)
                    {
                        return true;
                    }

                    return (await StatusAsync(ct)).Healthy;
                },
                timeout ?? TimeSpan.FromMinutes(1),
                "every resource of the platform is healthy");
        }
        catch (TimeoutException error)
        {
            throw new TimeoutException($"{error.Message}\n{await DescribeAsync()}", error);
        }

        if (_process.HasExited)
        {
            throw new InvalidOperationException($"AppHost ended with exit code {_process.ExitCode}.\n{await DescribeAsync()}");
        }
    }

    public async Task<PlatformStatus> StatusAsync(CancellationToken ct = default)
    {
        _host ??= await ReadHostFileAsync(ct);
        var status = (await _http.GetFromJsonAsync<PlatformStatus>(StatusUrl, Json.Snake, ct))!;
        _children.UnionWith(status.Resources.Select(resource => resource.Pid).OfType<int>());
        return status;
    }

    public async Task<ResourceReport> ResourceAsync(string name, CancellationToken ct = default) =>
        (await StatusAsync(ct)).Resources.SingleOrDefault(resource => resource.Name == name)
        ?? throw new ArgumentException($"The platform has no resource '{name}'.", nameof(name));

    /// <summary>Connection string of one of the databases, for looking behind the API.</summary>
    public async Task<string> PostgresAsync(string database, CancellationToken ct = default)
    {
        var address = (await ResourceAsync("postgres", ct)).Endpoints[0].Split(':');
        return $"Host={address[0]};Port={address[1]};Username=postgres;Password={Secret("postgres-password")};Database={database}";
    }

    /// <summary>Connection string of the broker, for playing a part on the bus.</summary>
    public async Task<string> BrokerAsync(CancellationToken ct = default) =>
        $"amqp://guest:{Uri.EscapeDataString(Secret("messaging-password"))}@{(await ResourceAsync("messaging", ct)).Endpoints[0]}";

    /// <summary>kill -9 of one resource's process; returns when the host has noticed. It starts the resource again by itself.</summary>
    public async Task KillAsync(string resourceName, CancellationToken ct = default)
    {
        var before = await ResourceAsync(resourceName, ct);
        Signals.Send(before.Pid ?? throw new InvalidOperationException($"{resourceName} does not run: {before.State}, {before.Reason}"), Signal.Kill);
        await Eventually.TrueAsync(
            async () => await ResourceAsync(resourceName, ct) is var now && (now.Restarts > before.Restarts || now.State == "crashed"),
            because: $"the host notices that {resourceName} was killed");
    }

    /// <summary>Holds a resource's process still (SIGSTOP), as a hung one would be; <see cref="ResumeAsync"/> lets it go on.</summary>
    public async Task SuspendAsync(string resourceName, CancellationToken ct = default) => await SendAsync(resourceName, Signal.Stop, ct);

    public async Task ResumeAsync(string resourceName, CancellationToken ct = default) => await SendAsync(resourceName, Signal.Continue, ct);

    /// <summary>kill -9 of AppHost itself.</summary>
    public async Task KillHostAsync(CancellationToken ct = default)
    {
        _ = await StatusAsync(ct);
        _process.Kill();
        await _process.WaitForExitAsync(ct);
    }

    /// <summary>Ctrl-C, then until AppHost has ended; fails when that takes more than 15 seconds or a process stays behind.</summary>
    public async Task StopAsync()
    {
        if (!_process.HasExited)
        {
            if (_host is not null)
            {
                _ = await StatusAsync();
            }

            Signals.Send(_process.Id, Signal.Interrupt);
            try
            {
                await _process.WaitForExitAsync().WaitAsync(StopPatience);
            }
            catch (TimeoutException)
            {
                var description = await DescribeAsync();
                _process.Kill();
                throw new TimeoutException($"AppHost has not ended within {StopPatience.TotalSeconds:0} s of Ctrl-C.\n{description}");
            }
        }

        await EverythingGoneAsync();
    }

    /// <summary>Until no process of this platform lives.</summary>
    public Task EverythingGoneAsync() => Eventually.TrueAsync(
        () => LivingChildren().Count == 0, TimeSpan.FromSeconds(10), "no process of the platform is left behind");

    /// <summary>Those that were seen running and still do.</summary>
    public IReadOnlyList<int> LivingChildren() => [.. _children.Where(pid => ProcessIdentity.Of(pid) is not null && BelongsHere(pid))];

    public async ValueTask DisposeAsync()
    {
        try
        {
            await StopAsync();
        }
        finally
        {
            _process.Dispose();
            _http.Dispose();
            _folder?.Dispose();
        }
    }

    /// <summary>What a failed test shows: AppHost's console and the end of every log.</summary>
    public async Task<string> DescribeAsync()
    {
        var text = new System.Text.StringBuilder("--- AppHost ---\n").AppendLine(Console);
        var logs = Path.Combine(DataFolder, "logs");
        foreach (var file in Directory.Exists(logs) ? Directory.GetFiles(logs, "*.log").Order() : Enumerable.Empty<string>())
        {
            text.Append(null, $"--- {Path.GetFileName(file)} ---\n").AppendJoin('\n', (await File.ReadAllLinesAsync(file)).TakeLast(15)).AppendLine();
        }

        return text.ToString();
    }

    // A process id may have been given to another program meanwhile; those of the platform carry its data folder in their environment or command.
    private bool BelongsHere(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline").Contains(DataFolder, StringComparison.Ordinal)
                || File.ReadAllText($"/proc/{pid}/environ").Contains(DataFolder, StringComparison.Ordinal);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private string Secret(string name)
    {
        using var secrets = System.Text.Json.JsonDocument.Parse(File.ReadAllText(Path.Combine(DataFolder, "secrets.json")));
        return secrets.RootElement.GetProperty(name).GetString()!;
    }

    private static string Binary()
    {
        var own = new DirectoryInfo(AppContext.BaseDirectory);
        var binary = Path.Combine(own.Parent!.Parent!.FullName, "AppHost", own.Name, "Platform.AppHost");
        return File.Exists(binary)
            ? binary
            : throw new InvalidOperationException($"{binary} is not there: reference AppHost from the test project with ReferenceOutputAssembly=\"false\".");
    }

    private async Task SendAsync(string resourceName, Signal signal, CancellationToken ct)
    {
        var resource = await ResourceAsync(resourceName, ct);
        Signals.Send(resource.Pid ?? throw new InvalidOperationException($"{resourceName} does not run."), signal);
    }

    private async Task<HostFile> ReadHostFileAsync(CancellationToken ct)
    {
        var host = System.Text.Json.JsonSerializer.Deserialize<HostFile>(await File.ReadAllBytesAsync(Path.Combine(DataFolder, "apphost.json"), ct), Json.Snake)!;
        return host.Pid == ProcessId ? host : throw new InvalidOperationException("apphost.json is still that of an earlier run.");
    }

    private void Keep(string? line)
    {
        lock (_console)
        {
            _console.Add(line ?? "");
        }
    }

    private sealed record HostFile(int Pid, string StatusUrl, string GatewayUrl);
}

/// <summary>The answer of the host's status page.</summary>
public sealed record PlatformStatus(bool Healthy, int Pid, IReadOnlyList<ResourceReport> Resources);

/// <param name="Endpoints">host:port of a server, a URL of a project.</param>
public sealed record ResourceReport(
    string Name, string Type, string State, string Health, string? Reason, int? Pid, IReadOnlyList<string> Endpoints, int Restarts, string Log);
