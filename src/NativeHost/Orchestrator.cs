using System.Diagnostics;
using Aspire.Hosting;
using Aspire.Hosting.ApplicationModel;
using Microsoft.Extensions.Configuration;

namespace Platform.NativeHost;

/// <summary>Starts the graph in the order of its dependencies, keeps it running, and stops it in reverse.</summary>
internal sealed class Orchestrator(IReadOnlyList<Resource> resources, IConfiguration configuration, StatusConsole console) : IAsyncDisposable
{
    // Together under the 15 s within which Ctrl-C ends everything.
    private static readonly TimeSpan PatienceWithServices = TimeSpan.FromSeconds(8);
    private static readonly TimeSpan PatienceWithServers = TimeSpan.FromSeconds(4);

    private readonly TaskCompletionSource _healthy = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Launcher _launcher = new();
    private readonly HttpClient _http = new(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false });
    private IReadOnlyList<Supervised> _running = [];
    private IReadOnlyDictionary<Resource, int> _depths = new Dictionary<Resource, int>();
    private HostFolder? _folder;
    private Ledger? _ledger;
    private StatusPage? _page;

    /// <summary>Completes when every resource has been healthy once.</summary>
    public Task Healthy => _healthy.Task;

    public string StatusUrl => _page?.Url ?? throw new InvalidOperationException("There is no status page before the start.");

    /// <summary>Returns when everything is on its way up; see <see cref="Healthy"/>.</summary>
    public async Task StartAsync(CancellationToken ct)
    {
        var started = TimeProvider.System.GetTimestamp();
        _depths = Depths(resources);
        _folder = HostFolder.Open(HostFolder.Locate(configuration));
        _ledger = new(_folder);
        if (await _ledger.EndLeftoversAsync(ct) is > 0 and var left)
        {
            console.Say($"Ended {left} processes that a killed host had left behind.");
        }

        Secrets.Resolve(resources.OfType<ParameterResource>(), configuration, _folder);
        var statusPort = Ports.From(configuration).Allocate(resources);
        _running = [.. resources.SelectMany(resource => Plan(resource, _folder, _ledger))];
        _page = StatusPage.Start(statusPort, _running);
        _folder.Write("apphost.json", new { Pid = Environment.ProcessId, StatusUrl, GatewayUrl = ExternalUrl(), Data = _folder.Path });

        foreach (var supervised in _running)
        {
            supervised.Start(stopping => DependenciesAsync(supervised.Resource, stopping));
        }

        _ = AnnounceAsync(started);
    }

    public void StopNow()
    {
        foreach (var supervised in _running)
        {
            supervised.StopNow();
        }
    }

    /// <summary>Those that nobody waits for first, the servers last. Harmless when called twice, or before the start.</summary>
    public async Task StopAsync()
    {
        if (_folder is null)
        {
            return;
        }

        console.Say("Stopping …");
        var clock = Stopwatch.StartNew();
        foreach (var level in _running.GroupBy(supervised => _depths[supervised.Resource]).OrderByDescending(level => level.Key))
        {
            var patience = level.Key == 0 ? PatienceWithServers : PatienceWithServices - clock.Elapsed;
            await Task.WhenAll(level.Select(supervised => supervised.StopAsync(patience > TimeSpan.FromSeconds(1) ? patience : TimeSpan.FromSeconds(1))));
        }

        foreach (var supervised in _running)
        {
            supervised.Dispose();
        }

        _running = [];
        _page?.Dispose();
        _ledger?.Clear();
        _folder.Delete("apphost.json");
        _folder.Dispose();
        _folder = null;
        console.Say($"Stopped after {clock.Elapsed.TotalSeconds:0.0} s. The data stays.");
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _launcher.Dispose();
        _http.Dispose();
    }

    /// <summary>How far a resource is from those that wait for nothing.</summary>
    internal static IReadOnlyDictionary<Resource, int> Depths(IEnumerable<Resource> resources)
    {
        var depths = new Dictionary<Resource, int>();
        foreach (var resource in resources)
        {
            Visit(resource, []);
        }

        return depths;

        int Visit(Resource resource, IReadOnlyList<Resource> path)
        {
            if (path.Contains(resource))
            {
                throw new DistributedApplicationException(
                    $"these wait for each other: {string.Join(" → ", path.Append(resource).Select(step => step.Name))}.");
            }

            if (!depths.TryGetValue(resource, out var depth))
            {
                depth = resource.Waits.Select(wait => Visit(Process(wait.Dependency), [.. path, resource]) + 1).DefaultIfEmpty(0).Max();
                depths[resource] = depth;
            }

            return depth;
        }
    }

    private static Resource Process(Resource resource) => resource is PostgresDatabaseResource database ? database.Parent : resource;

    private IEnumerable<Supervised> Plan(Resource resource, HostFolder folder, Ledger ledger)
    {
        return resource switch
        {
            PostgresServerResource server => [Supervise(server.Name, new PostgresServer(server, folder))],
            RedisResource server => [Supervise(server.Name, new RedisServer(server, folder))],
            RabbitMQServerResource server => [Supervise(server.Name, new RabbitMqServer(server, folder, ledger))],
            ProjectResource project => Enumerable.Range(0, project.Replicas).Select(replica =>
                Supervise(replica == 0 ? project.Name : $"{project.Name}-{replica + 1}", new StartedProcess(project, replica, folder.Path, _http))),
            ExecutableResource program => [Supervise(program.Name, new StartedProcess(program, 0, folder.Path, _http))],
            // Parameters, databases and connection strings are values, not processes.
            _ => [],
        };

        Supervised Supervise(string name, IRunnable runnable) =>
            new(name, resource, runnable, new(name, folder.LogFile(name), console.ShowsLogs), _launcher, ledger, console);
    }

    private async Task DependenciesAsync(Resource resource, CancellationToken stopping)
    {
        foreach (var wait in resource.Waits)
        {
            foreach (var dependency in _running.Where(other => other.Resource == Process(wait.Dependency)))
            {
                if (wait.ExitCode is null)
                {
                    await dependency.Healthy.WaitAsync(stopping);
                }
                else if (await dependency.Finished.WaitAsync(stopping) is var code && code != wait.ExitCode)
                {
                    throw new DistributedApplicationException($"{resource.Name} waits for {dependency.Name} to end with {wait.ExitCode}; it ended with {code}.");
                }
            }
        }
    }

    private async Task AnnounceAsync(long started)
    {
        await Task.WhenAll(_running.Select(supervised => Task.WhenAny(supervised.Healthy, supervised.Finished)));
        _healthy.TrySetResult();
        console.AllHealthy(TimeProvider.System.GetElapsedTime(started), ExternalUrl(), StatusUrl, _folder!.Path, _running);
    }

    private string? ExternalUrl() =>
        resources.OfType<ProjectResource>().FirstOrDefault(project => project.IsExternal) is { } project ? $"http://localhost:{project.Ports[0]}" : null;
}
