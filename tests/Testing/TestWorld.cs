using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Authentication.BearerToken;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using Npgsql;
using Platform.ServiceDefaults;

namespace Platform.Testing;

/// <summary>
/// A world of its own for a test class: empty databases, a virtual host on the broker, and a key ring, in which real services run as
/// processes with the environment that AppHost would give them. Services and replicas started in one world share it.
/// </summary>
public sealed class TestWorld : IAsyncDisposable
{
    private readonly string _masterKey = WebEncoders.Base64UrlEncode(RandomNumberGenerator.GetBytes(32));
    private readonly ConcurrentDictionary<string, Lazy<Task<string>>> _databases = new();
    private readonly List<ServiceProcess> _running = [];
    private readonly TestServers _servers;
    private IHost? _identity;

    private TestWorld(TestServers servers, string broker)
    {
        _servers = servers;
        Broker = broker;
    }

    /// <summary>By which a host of the test's own becomes a service of this world.</summary>
    public string MasterKey => _masterKey;

    /// <summary>Connection string of the world's virtual host.</summary>
    public string Broker { get; }

    public static async Task<TestWorld> CreateAsync()
    {
        var servers = await TestServers.GetAsync();
        return new TestWorld(servers, await servers.RabbitMq.CreateVirtualHostAsync());
    }

    /// <summary>Connection string of a database of this world, made when first asked for: <c>metricsdb</c>, <c>identity</c>.</summary>
    public Task<string> DatabaseAsync(string connectionName) =>
        _databases.GetOrAdd(connectionName, _ => new Lazy<Task<string>>(() => _servers.Postgres.CreateDatabaseAsync())).Value;

    /// <summary>A data source on a database of this world, for looking behind the service's back.</summary>
    public async Task<NpgsqlDataSource> OpenAsync(string connectionName) =>
        NpgsqlDataSource.Create(await DatabaseAsync(connectionName) + ";Maximum Pool Size=5");

    /// <summary>Starts the service's built program and waits until it is healthy.</summary>
    /// <param name="project">The project's name: <c>Metrics</c>. The test project references it, so its program lies beside the test's.</param>
    /// <param name="connectionName">The service's own database.</param>
    /// <param name="environment">More settings, and addresses of other services (<c>services__metrics__http__0</c>).</param>
    public async Task<ServiceProcess> StartAsync(string project, string connectionName, params (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, $"Platform.{project}.dll")])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = AppContext.BaseDirectory,
        };
        var url = $"http://127.0.0.1:{FreePort()}";
        start.Environment["ASPNETCORE_URLS"] = url;
        start.Environment["ASPNETCORE_ENVIRONMENT"] = "Development";
        start.Environment["OTEL_SERVICE_NAME"] = project.ToLowerInvariant();
        start.Environment["PLATFORM_MASTER_KEY"] = _masterKey;
        start.Environment[$"ConnectionStrings__{connectionName}"] = await DatabaseAsync(connectionName);
        start.Environment["ConnectionStrings__identity"] = await DatabaseAsync("identity");
        start.Environment["ConnectionStrings__messaging"] = Broker;
        start.Environment["ConnectionStrings__cache"] = _servers.Redis.ConnectionString;
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        var service = new ServiceProcess(project, new Uri(url), start);
        _running.Add(service);
        await service.HealthyAsync();
        return service;
    }

    /// <summary>A client with a ticket as the gateway would mint it.</summary>
    public async Task<HttpClient> ClientAsync(
        ServiceProcess service, Role role = Role.Admin, string realm = "default", Scopes scopes = Scopes.All, string subject = "key:test")
    {
        var client = Anonymous(service);
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", await TicketAsync(new Caller(subject, role, realm, scopes)));
        return client;
    }

    /// <summary>A client without any credential.</summary>
    public static HttpClient Anonymous(ServiceProcess service) => new(new SocketsHttpHandler { AllowAutoRedirect = false }) { BaseAddress = service.Url };

    /// <summary>A ticket that lives as long as the gateway's do.</summary>
    public async Task<string> TicketAsync(Caller caller) => (await IdentityAsync()).GetRequiredService<TicketMint>().Mint(caller);

    /// <summary>Whom a service of this world would take the ticket's bearer for; null when it would refuse the ticket.</summary>
    public async Task<Caller?> ReadTicketAsync(string ticket)
    {
        var options = (await IdentityAsync()).GetRequiredService<IOptionsMonitor<BearerTokenOptions>>().Get(Tickets.Scheme);
        return options.BearerTokenProtector.Unprotect(ticket) is { } read && read.Properties.ExpiresUtc > DateTimeOffset.UtcNow ? Caller.From(read.Principal) : null;
    }

    private async Task<IServiceProvider> IdentityAsync()
    {
        if (_identity is null)
        {
            var builder = Host.CreateEmptyApplicationBuilder(null);
            builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
            {
                ["PLATFORM_MASTER_KEY"] = _masterKey,
                ["ConnectionStrings:identity"] = await DatabaseAsync("identity"),
            });
            builder.AddTickets();
            _identity = builder.Build();
            await _identity.StartAsync();
        }

        return _identity.Services;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var service in _running)
        {
            await service.DisposeAsync();
        }

        if (_identity is not null)
        {
            await _identity.StopAsync();
            _identity.Dispose();
        }
    }

    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}

/// <summary>A service's program, running.</summary>
public sealed class ServiceProcess : IAsyncDisposable
{
    private readonly Process _process;
    private readonly ConcurrentQueue<string> _log = new();
    private int _disposed;

    internal ServiceProcess(string name, Uri url, ProcessStartInfo start)
    {
        Name = name;
        Url = url;
        _process = Process.Start(start)!;
        _process.OutputDataReceived += (_, line) => Keep(line.Data);
        _process.ErrorDataReceived += (_, line) => Keep(line.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public string Name { get; }

    public Uri Url { get; }

    /// <summary>The newest lines that the service wrote.</summary>
    public IReadOnlyCollection<string> Log => _log;

    /// <summary>kill -9: nothing is flushed, nobody is told.</summary>
    public async Task KillAsync()
    {
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
    }

    /// <summary>SIGTERM, as a host ends a service: what is in flight is finished.</summary>
    public async Task StopAsync()
    {
        using (var kill = Process.Start("kill", ["-TERM", _process.Id.ToString(CultureInfo.InvariantCulture)]))
        {
            await kill.WaitForExitAsync();
        }

        await _process.WaitForExitAsync();
    }

    internal async Task HealthyAsync()
    {
        using var client = TestWorld.Anonymous(this);
        try
        {
            await Eventually.TrueAsync(
                async () =>
                {
                    if (_process.HasExited)
                    {
                        return true;
                    }

                    using var answer = await client.GetAsync(new Uri("health", UriKind.Relative));
                    return answer.IsSuccessStatusCode;
                },
                TimeSpan.FromSeconds(60),
                $"{Name} is healthy");
        }
        catch (TimeoutException error)
        {
            throw new TimeoutException($"{error.Message}\n{string.Join('\n', _log)}", error);
        }

        if (_process.HasExited)
        {
            // Also waits for its last words.
            await _process.WaitForExitAsync();
            throw new InvalidOperationException($"{Name} ended with {_process.ExitCode}.\n{string.Join('\n', _log)}");
        }
    }

    private void Keep(string? line)
    {
        if (line is null)
        {
            return;
        }

        _log.Enqueue(line);
        while (_log.Count > 400)
        {
            _log.TryDequeue(out _);
        }
    }

    /// <summary>Kills the process if it still runs. Harmless when it is repeated: the world does it too.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            if (!_process.HasExited)
            {
                await KillAsync();
            }

            _process.Dispose();
        }
    }
}
