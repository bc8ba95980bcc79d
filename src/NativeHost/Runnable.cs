using System.Runtime.InteropServices;
using Aspire.Hosting;
using Aspire.Hosting.ApplicationModel;

namespace Platform.NativeHost;

/// <summary>How one process is prepared, started and asked whether it is healthy.</summary>
internal interface IRunnable
{
    string Type { get; }

    IReadOnlyList<string> Endpoints { get; }

    /// <summary>Whether the process is meant to stay: then any end is a crash. Otherwise exit code 0 is the end of its work.</summary>
    bool StaysUp { get; }

    /// <summary>Before each start. Running it again after being interrupted anywhere must be harmless.</summary>
    Task PrepareAsync(Launcher launcher, ResourceLog log, CancellationToken ct);

    Task<Command> CommandAsync(CancellationToken ct);

    /// <summary>Null when healthy, otherwise the reason why not yet.</summary>
    Task<string?> ProbeAsync(CancellationToken ct);

    /// <summary>After the process has been stopped for good: ends what belongs to it.</summary>
    Task StoppedAsync() => Task.CompletedTask;
}

/// <summary>A built project (the binary from the build output, not `dotnet run`) or any other program.</summary>
internal sealed class StartedProcess(StartedResource resource, int replica, string dataFolder, HttpClient http) : IRunnable
{
    private readonly string _instanceId = Guid.NewGuid().ToString("N")[..8];

    public string Type => resource is ProjectResource ? "project" : "executable";

    public IReadOnlyList<string> Endpoints => resource is ProjectResource { HasEndpoint: true } project ? [$"http://localhost:{project.Ports[replica]}"] : [];

    public bool StaysUp => Endpoints.Count > 0;

    public Task PrepareAsync(Launcher launcher, ResourceLog log, CancellationToken ct) => Task.CompletedTask;

    public async Task<Command> CommandAsync(CancellationToken ct)
    {
        var environment = new Dictionary<string, string>();
        if (resource is ProjectResource project)
        {
            Contract.AddProject(environment, project, replica, _instanceId, dataFolder);
        }

        foreach (var add in resource.Environment)
        {
            await add(environment, ct);
        }

        return resource switch
        {
            ProjectResource built => new(BuildOutput.Find(built.ProjectPath), resource.Arguments)
            {
                Environment = environment,
                WorkingDirectory = Path.GetDirectoryName(built.ProjectPath),
            },
            ExecutableResource program => new(program.Command, resource.Arguments) { Environment = environment, WorkingDirectory = program.WorkingDirectory },
            _ => throw new InvalidOperationException($"Nothing starts {resource.Name}."),
        };
    }

    public async Task<string?> ProbeAsync(CancellationToken ct)
    {
        foreach (var check in resource is ProjectResource project ? project.HealthChecks : [])
        {
            try
            {
                using var response = await http.GetAsync(new Uri(Endpoints[0] + check.Path), HttpCompletionOption.ResponseHeadersRead, ct);
                if ((int)response.StatusCode != check.StatusCode)
                {
                    return $"{check.Path} answers {(int)response.StatusCode}";
                }
            }
            catch (HttpRequestException error)
            {
                return $"{check.Path}: {error.Message}";
            }
        }

        return null;
    }
}

/// <summary>The environment that a process is given beside its references: the same in Aspire's run mode.</summary>
internal static class Contract
{
    public static void AddProject(IDictionary<string, string> environment, ProjectResource project, int replica, string instanceId, string dataFolder)
    {
        foreach (var (name, value) in project.LaunchEnvironment)
        {
            environment[name] = value;
        }

        if (project.HasEndpoint)
        {
            environment["ASPNETCORE_URLS"] = $"http://localhost:{project.Ports[replica]}";
        }

        environment["OTEL_SERVICE_NAME"] = project.Name;
        environment["OTEL_RESOURCE_ATTRIBUTES"] = $"service.instance.id={instanceId}";
        environment["PLATFORM_DATA_DIR"] = dataFolder;
        if (project.LaunchEnvironment.GetValueOrDefault("ASPNETCORE_ENVIRONMENT") == "Development")
        {
            environment["OTEL_BSP_SCHEDULE_DELAY"] = "1000";
            environment["OTEL_BLRP_SCHEDULE_DELAY"] = "1000";
            environment["OTEL_METRIC_EXPORT_INTERVAL"] = "1000";
        }

        // The binaries find the runtime that runs the host, also where that is not the one of the system.
        environment["DOTNET_ROOT"] = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));
    }
}

/// <summary>Where the build put a project, in the layout of artifacts/bin that AppHost itself was built into.</summary>
internal static class BuildOutput
{
    public static string Find(string projectPath)
    {
        var project = Path.GetFileNameWithoutExtension(projectPath);
        var own = new DirectoryInfo(AppContext.BaseDirectory);
        var folder = Path.Combine(own.Parent!.Parent!.FullName, project, own.Name);
        var marker = Directory.Exists(folder) ? Directory.EnumerateFiles(folder, "*.runtimeconfig.json").SingleOrDefault() : null;
        return marker is null
            ? throw new DistributedApplicationException($"{project} is not built ({folder} holds no program). Build AppHost, which builds it too.")
            : marker[..^".runtimeconfig.json".Length];
    }
}
