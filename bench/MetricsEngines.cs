using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>A metrics engine under measurement: takes remote write, answers the Prometheus API. Started with an empty data folder that goes with it.</summary>
internal abstract class MetricsEngine(string name) : IAsyncDisposable
{
    /// <summary>What the measured load uses.</summary>
    public const int Connections = 4;

    public static readonly string[] All = [Platform, VictoriaMetricsName, PrometheusName];

    public const string Platform = "platform";
    public const string VictoriaMetricsName = "victoria-metrics";
    public const string PrometheusName = "prometheus";

    private HttpClient? _door;

    public string Name { get; } = name;

    /// <summary>Of the process that takes samples and answers queries.</summary>
    public abstract Task<int> ProcessIdAsync(CancellationToken ct);

    /// <summary>The process below which everything of this engine runs.</summary>
    public abstract int Root { get; }

    /// <summary>The way clients come: base address <c>…/</c> before <c>api/v1/</c>, credentials on.</summary>
    public HttpClient Door => _door ??= Connect();

    public static async Task<MetricsEngine> StartAsync(string name, CancellationToken ct) => name switch
    {
        Platform => await PlatformEngine.StartAsync(new Dictionary<string, string?>(), ct),
        VictoriaMetricsName => await PeerEngine.VictoriaMetricsAsync(ct),
        PrometheusName => await PeerEngine.PrometheusAsync([], null, ct),
        _ => throw new ArgumentException($"There is no engine '{name}'; there are {string.Join(", ", All)}.", nameof(name)),
    };

    /// <summary>Processor seconds used so far by everything that belongs to the engine, by program.</summary>
    public Dictionary<string, double> ProcessorSeconds() => ProcessTree.ProcessorSecondsOf(Root);

    /// <summary>kill -9 of the engine's process; returns when its successor has been started. Other processes (PostgreSQL) go on.</summary>
    /// <returns>Runs since the successor's start.</returns>
    public abstract Task<Stopwatch> KillAndStartAsync(CancellationToken ct);

    /// <summary>The value of an expression with one series as result; null when there is none or the engine does not answer yet.</summary>
    public async Task<double?> FindValueAsync(string expression, long atMilliseconds, CancellationToken ct)
    {
        try
        {
            using var answer = await Door.GetAsync(new Uri(QueryPath(expression, atMilliseconds), UriKind.Relative), ct);
            if (!answer.IsSuccessStatusCode)
            {
                return null;
            }

            using var json = JsonDocument.Parse(await answer.Content.ReadAsByteArrayAsync(ct));
            return json.RootElement.GetProperty("data").GetProperty("result") is { } result && result.GetArrayLength() == 1
                ? double.Parse(result[0].GetProperty("value")[1].GetString()!, CultureInfo.InvariantCulture)
                : null;
        }
        catch (HttpRequestException)
        {
            return null;
        }
    }

    public static string QueryPath(string expression, long atMilliseconds) =>
        string.Create(CultureInfo.InvariantCulture, $"api/v1/query?query={Uri.EscapeDataString(expression)}&time={atMilliseconds / 1000.0:F3}");

    public static string RangePath(string expression, long from, long to, int stepSeconds) =>
        string.Create(CultureInfo.InvariantCulture, $"api/v1/query_range?query={Uri.EscapeDataString(expression)}&start={from / 1000.0:F3}&end={to / 1000.0:F3}&step={stepSeconds}");

    /// <summary>Until the engine has done what it put off (merges, flushes), so that it does not disturb the next one; at most half a minute.</summary>
    public async Task SettleAsync(CancellationToken ct)
    {
        var limit = Stopwatch.StartNew();
        for (var quiet = 0; quiet < 2 && limit.Elapsed < TimeSpan.FromSeconds(30);)
        {
            var before = ProcessorSeconds().Values.Sum();
            await Task.Delay(500, ct);
            quiet = ProcessorSeconds().Values.Sum() - before < 0.06 ? quiet + 1 : 0;
        }
    }

    public virtual ValueTask DisposeAsync()
    {
        _door?.Dispose();
        return ValueTask.CompletedTask;
    }

    protected abstract HttpClient Connect();

    protected void Reconnect()
    {
        _door?.Dispose();
        _door = null;
    }

    protected static HttpClient Client(Uri at, string? bearer)
    {
        var http = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = Connections, UseProxy = false }) { BaseAddress = at, Timeout = TimeSpan.FromMinutes(10) };
        http.DefaultRequestHeaders.Authorization = bearer is null ? null : new("Bearer", bearer);
        return http;
    }
}

/// <summary>Debian's Prometheus or VictoriaMetrics: one program, its own defaults, a free port.</summary>
internal sealed class PeerEngine : MetricsEngine
{
    private readonly TemporaryFolder _folder = TemporaryFolder.Create("peer");
    private readonly string _program;
    private readonly string _ready;
    private readonly int _port = FreePort();
    private IReadOnlyList<string> _arguments = [];
    private Process? _process;

    private PeerEngine(string name, string program, string ready)
        : base(name)
    {
        _program = program;
        _ready = ready;
        // A bench that is interrupted leaves nothing behind.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Kill();
    }

    public override int Root => _process!.Id;

    /// <summary>Where the engine keeps its data.</summary>
    public string Data => Path.Combine(_folder.Path, "data");

    /// <param name="more">Further arguments.</param>
    /// <param name="data">Data to begin with, which is moved away from there.</param>
    /// <param name="ct">Of the bench.</param>
    public static async Task<PeerEngine> PrometheusAsync(IReadOnlyList<string> more, string? data, CancellationToken ct)
    {
        var engine = new PeerEngine(PrometheusName, "prometheus", "-/ready");
        var config = Path.Combine(engine._folder.Path, "prometheus.yml");
        await File.WriteAllTextAsync(config, "global: {}\n", ct);
        if (data is not null)
        {
            Directory.Move(data, engine.Data);
        }

        engine._arguments = [$"--config.file={config}", $"--storage.tsdb.path={engine.Data}", $"--web.listen-address=127.0.0.1:{engine._port}", "--web.enable-remote-write-receiver", .. more];
        await engine.LaunchAsync(ct);
        return engine;
    }

    public static async Task<PeerEngine> VictoriaMetricsAsync(CancellationToken ct)
    {
        var engine = new PeerEngine(VictoriaMetricsName, "victoria-metrics", "health");
        // The one setting is a guard of queries: counting half a million series is asked for here.
        engine._arguments = [$"-storageDataPath={engine.Data}", $"-httpListenAddr=127.0.0.1:{engine._port}", "-search.maxUniqueTimeseries=5000000"];
        await engine.LaunchAsync(ct);
        return engine;
    }

    public override Task<int> ProcessIdAsync(CancellationToken ct) => Task.FromResult(_process!.Id);

    public override async Task<Stopwatch> KillAndStartAsync(CancellationToken ct)
    {
        Kill();
        await _process!.WaitForExitAsync(ct);
        Reconnect();
        var clock = Stopwatch.StartNew();
        Start();
        return clock;
    }

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        Kill();
        if (_process is not null)
        {
            await _process.WaitForExitAsync();
            _process.Dispose();
            _process = null;
        }

        _folder.Dispose();
    }

    protected override HttpClient Connect() => Client(new Uri($"http://127.0.0.1:{_port}/"), null);

    private async Task LaunchAsync(CancellationToken ct)
    {
        Start();
        await Eventually.TrueAsync(
            async () =>
            {
                using var answer = await Door.GetAsync(new Uri(_ready, UriKind.Relative), ct);
                return answer.IsSuccessStatusCode;
            },
            TimeSpan.FromMinutes(2),
            $"{Name} is ready");
    }

    private void Start()
    {
        // The shell gives its place to the program, with the log in a file: nobody here has to read it.
        var start = new ProcessStartInfo("sh", ["-c", $"exec \"$@\" >>'{_folder.Path}/log' 2>&1", "sh", _program, .. _arguments]) { WorkingDirectory = _folder.Path };
        _process = Process.Start(start)!;
    }

    private void Kill()
    {
        if (_process is { HasExited: false })
        {
            _process.Kill();
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}

/// <summary>Our whole platform without the demo; clients come through the gateway with an API key.</summary>
internal sealed class PlatformEngine : MetricsEngine
{
    private readonly TemporaryFolder _folder;
    private PlatformProcess _platform;
    private string _key = "";
    private IHost? _identity;

    private PlatformEngine(TemporaryFolder folder, PlatformProcess platform)
        : base(MetricsEngine.Platform)
    {
        _folder = folder;
        _platform = platform;
    }

    public override int Root => _platform.ProcessId;

    public static async Task<PlatformEngine> StartAsync(IReadOnlyDictionary<string, string?> settings, CancellationToken ct)
    {
        var folder = TemporaryFolder.Create("bench");
        var engine = new PlatformEngine(folder, await LaunchAsync(folder, settings, ct));
        using var http = new HttpClient { BaseAddress = engine._platform.GatewayUrl };
        http.DefaultRequestHeaders.Authorization = new("Bearer", engine._platform.AdminKey);
        using var made = await http.PostAsJsonAsync("api/v1/monitoring/api-keys", new { name = "bench", role = "user", realm = Realm.Default, scopes = (string[])["ingest", "read"] }, ct);
        made.EnsureSuccessStatusCode();
        var answer = await made.Content.ReadFromJsonAsync<JsonElement>(ct);
        engine._key = answer.GetProperty("data").GetProperty("key").GetString()!;
        return engine;
    }

    /// <summary>An orderly end and a new start on the same data.</summary>
    public async Task RestartAsync(IReadOnlyDictionary<string, string?> settings, CancellationToken ct)
    {
        Reconnect();
        await _platform.DisposeAsync();
        _platform = await LaunchAsync(_folder, settings, ct);
    }

    public override async Task<int> ProcessIdAsync(CancellationToken ct) => (await _platform.ResourceAsync("metrics", ct)).Pid!.Value;

    /// <summary>PostgreSQL's parent process.</summary>
    public async Task<int> PostgresAsync(CancellationToken ct) => (await _platform.ResourceAsync("postgres", ct)).Pid!.Value;

    public Task<string> DatabaseAsync(CancellationToken ct) => _platform.PostgresAsync("metricsdb", ct);

    public override async Task<Stopwatch> KillAndStartAsync(CancellationToken ct)
    {
        var before = await ProcessIdAsync(ct);
        using (var metrics = Process.GetProcessById(before))
        {
            metrics.Kill();
        }

        // The host waits a moment before it starts a crashed process again; that wait is not the engine's.
        while ((await _platform.ResourceAsync("metrics", ct)).Pid is not { } now || now == before)
        {
            await Task.Delay(5, ct);
        }

        return Stopwatch.StartNew();
    }

    /// <summary>Straight to Metrics' own port, with a ticket as the gateway mints it for an API key. The ticket lives a minute.</summary>
    public async Task<HttpClient> InsideAsync(CancellationToken ct)
    {
        var url = (await _platform.ResourceAsync("metrics", ct)).Endpoints[0];
        return Client(new Uri($"{url.TrimEnd('/')}/prometheus/"), null);
    }

    /// <summary>A fresh ticket for <see cref="InsideAsync"/>.</summary>
    public async Task<string> TicketAsync(CancellationToken ct)
    {
        if (_identity is null)
        {
            using var secrets = JsonDocument.Parse(await File.ReadAllBytesAsync(Path.Combine(_folder.Path, "secrets.json"), ct));
            var builder = Host.CreateEmptyApplicationBuilder(null);
            builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
            {
                ["PLATFORM_MASTER_KEY"] = secrets.RootElement.GetProperty("masterkey").GetString(),
                ["ConnectionStrings:identity"] = await _platform.PostgresAsync("identity", ct),
            });
            builder.AddTickets();
            _identity = builder.Build();
            await _identity.StartAsync(ct);
        }

        return _identity.Services.GetRequiredService<TicketMint>().Mint(new Caller("key:bench", Role.User, Realm.Default, Scopes.All));
    }

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        await ForgetIdentityAsync();
        await _platform.DisposeAsync();
        _folder.Dispose();
    }

    protected override HttpClient Connect() => Client(new Uri(_platform.GatewayUrl, "prometheus/"), _key);

    private static Task<PlatformProcess> LaunchAsync(TemporaryFolder folder, IReadOnlyDictionary<string, string?> settings, CancellationToken ct) =>
        PlatformProcess.StartAsync(settings, ["--no-demo"], folder.Path, ct);

    private async Task ForgetIdentityAsync()
    {
        if (_identity is not null)
        {
            await _identity.StopAsync();
            _identity.Dispose();
            _identity = null;
        }
    }
}
