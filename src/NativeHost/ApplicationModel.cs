using System.Text.RegularExpressions;

namespace Aspire.Hosting.ApplicationModel;

// The part of Aspire's application model that an AppHost of ours touches, under Aspire's own names, so that AppHost.cs compiles against
// either. What a resource needs at run time (port, password) is filled in by the plan, right before anything starts.

public interface IResource
{
    /// <summary>ASCII letter first, then letters, digits and single hyphens; at most 64 characters.</summary>
    string Name { get; }
}

public interface IResourceWithEnvironment : IResource;

public interface IResourceWithArgs : IResource;

public interface IResourceWithWaitSupport : IResource;

public interface IResourceWithEndpoints : IResource;

public interface IResourceWithServiceDiscovery : IResourceWithEndpoints;

public interface IResourceWithConnectionString : IResource
{
    /// <summary>Known once the application has started; null where an optional connection string is not configured.</summary>
    ValueTask<string?> GetConnectionStringAsync(CancellationToken cancellationToken = default);
}

/// <summary>Covariant, so that the builder of a database passes as the builder of anything with a connection string.</summary>
public interface IResourceBuilder<out T>
    where T : IResource
{
    IDistributedApplicationBuilder ApplicationBuilder { get; }

    T Resource { get; }
}

public abstract partial class Resource : IResource
{
    protected Resource(string name)
    {
        Name = NamePattern().IsMatch(name) && name.Length <= 64
            ? name
            : throw new DistributedApplicationException($"'{name}' is not a resource name: an ASCII letter, then letters, digits and single hyphens, at most 64.");
    }

    public string Name { get; }

    internal List<Wait> Waits { get; } = [];

    [GeneratedRegex("^[a-zA-Z](-?[a-zA-Z0-9])*$")]
    private static partial Regex NamePattern();

    /// <param name="ExitCode">Null: until the dependency is healthy. Otherwise: until it has ended with this code.</param>
    internal sealed record Wait(Resource Dependency, int? ExitCode = null);
}

/// <summary>A value from outside (<c>Parameters:name</c>); a secret without one is generated once and kept.</summary>
public sealed class ParameterResource(string name, bool secret) : Resource(name)
{
    public bool Secret { get; } = secret;

    internal string? Literal { get; init; }

    /// <summary>32 random bytes, base64url, where nothing else is configured.</summary>
    internal string? Resolved { get; set; }

    public ValueTask<string?> GetValueAsync(CancellationToken cancellationToken) => ValueTask.FromResult(Resolved);
}

public sealed class ConnectionStringResource(string name, string? value) : Resource(name), IResourceWithConnectionString
{
    public ValueTask<string?> GetConnectionStringAsync(CancellationToken cancellationToken = default) => ValueTask.FromResult(value);
}

/// <summary>A server that the host brings itself: one process with a port and a password.</summary>
public abstract class ServerResource(string name, ParameterResource password, int? port) : Resource(name), IResourceWithConnectionString
{
    internal ParameterResource Password { get; } = password;

    internal int? WantedPort { get; } = port;

    internal int Port { get; set; }

    internal string Secret => Password.Resolved ?? throw new InvalidOperationException($"{Name} has no password before the start.");

    public abstract ValueTask<string?> GetConnectionStringAsync(CancellationToken cancellationToken = default);
}

public sealed class PostgresServerResource(string name, ParameterResource password, int? port) : ServerResource(name, password, port)
{
    internal List<PostgresDatabaseResource> Databases { get; } = [];

    /// <summary>Settings on top of the host's own, by PostgreSQL's names; a later one wins.</summary>
    internal Dictionary<string, string> Settings { get; } = [];

    public override ValueTask<string?> GetConnectionStringAsync(CancellationToken cancellationToken = default) =>
        ValueTask.FromResult<string?>($"Host=localhost;Port={Port};Username=postgres;Password={Secret}");
}

public sealed class PostgresDatabaseResource(string name, string databaseName, PostgresServerResource parent) : Resource(name), IResourceWithConnectionString
{
    public PostgresServerResource Parent { get; } = parent;

    public string DatabaseName { get; } = databaseName;

    public async ValueTask<string?> GetConnectionStringAsync(CancellationToken cancellationToken = default) =>
        $"{await Parent.GetConnectionStringAsync(cancellationToken)};Database={DatabaseName}";
}

public sealed class RedisResource(string name, ParameterResource password, int? port) : ServerResource(name, password, port)
{
    /// <summary>Without it the content ends with the process, as a cache may.</summary>
    internal bool KeepsData { get; set; }

    public override ValueTask<string?> GetConnectionStringAsync(CancellationToken cancellationToken = default) =>
        ValueTask.FromResult<string?>($"localhost:{Port},password={Secret}");
}

public sealed class RabbitMQServerResource(string name, ParameterResource password, int? port) : ServerResource(name, password, port)
{
    internal bool HasManagement { get; set; }

    internal int DistributionPort { get; set; }

    internal int EpmdPort { get; set; }

    /// <summary>Port of the management API; 0 without <c>WithManagementPlugin()</c>.</summary>
    public int ManagementPort { get; internal set; }

    public override ValueTask<string?> GetConnectionStringAsync(CancellationToken cancellationToken = default) =>
        ValueTask.FromResult<string?>($"amqp://guest:{Uri.EscapeDataString(Secret)}@localhost:{Port}");
}

/// <summary>What the host starts with an environment of its own: a project or a program.</summary>
public abstract class StartedResource(string name) : Resource(name), IResourceWithEnvironment, IResourceWithArgs, IResourceWithWaitSupport
{
    /// <summary>Applied in order at each start, when ports and secrets are known.</summary>
    internal List<Func<IDictionary<string, string>, CancellationToken, ValueTask>> Environment { get; } = [];

    internal List<string> Arguments { get; } = [];
}

public sealed class ProjectResource(string name, string projectPath) : StartedResource(name), IResourceWithServiceDiscovery
{
    public string ProjectPath { get; } = projectPath;

    internal int Replicas { get; set; } = 1;

    internal bool IsExternal { get; set; }

    internal bool HasEndpoint { get; init; }

    internal IReadOnlyDictionary<string, string> LaunchEnvironment { get; init; } = new Dictionary<string, string>();

    internal List<HttpHealthCheck> HealthChecks { get; } = [];

    /// <summary>One for each replica.</summary>
    internal IReadOnlyList<int> Ports { get; set; } = [];

    internal sealed record HttpHealthCheck(string Path, int StatusCode);
}

public sealed class ExecutableResource(string name, string command, string workingDirectory) : StartedResource(name)
{
    public string Command { get; } = command;

    public string WorkingDirectory { get; } = workingDirectory;
}

/// <summary>The address of a project, known once the application has started.</summary>
public sealed class EndpointReference(ProjectResource resource, string endpointName)
{
    public string EndpointName { get; } = endpointName;

    public IResourceWithEndpoints Resource { get; } = resource;

    public bool IsAllocated => resource.Ports.Count > 0;

    public string Url => IsAllocated
        ? $"http://localhost:{resource.Ports[0]}"
        : throw new InvalidOperationException($"The endpoint '{EndpointName}' of {resource.Name} has no address before the start.");
}
