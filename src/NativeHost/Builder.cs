using Aspire.Hosting.ApplicationModel;
using Microsoft.Extensions.Configuration;
using Platform.NativeHost;

namespace Aspire.Hosting;

/// <summary>A project of the graph; the classes in the namespace <c>Projects</c> are generated when AppHost is built.</summary>
public interface IProjectMetadata
{
    /// <summary>Absolute path of the .csproj file.</summary>
    string ProjectPath { get; }
}

public interface IDistributedApplicationBuilder
{
    /// <summary>appsettings.json beside AppHost, environment, and <c>--name=value</c> arguments; the last one wins.</summary>
    ConfigurationManager Configuration { get; }

    IResourceBuilder<T> AddResource<T>(T resource)
        where T : IResource;

    DistributedApplication Build();
}

/// <summary>What a user can put right: a missing server, a taken port, a parameter without a value. The message says how.</summary>
public sealed class DistributedApplicationException(string message) : Exception(message);

internal sealed record ResourceBuilder<T>(IDistributedApplicationBuilder ApplicationBuilder, T Resource) : IResourceBuilder<T>
    where T : IResource;

internal sealed class NativeApplicationBuilder : IDistributedApplicationBuilder
{
    private readonly List<Resource> _resources = [];
    private readonly string[] _args;

    public NativeApplicationBuilder(string[] args)
    {
        _args = args;
        Configuration.AddJsonFile(Path.Combine(AppContext.BaseDirectory, "appsettings.json"), optional: true);
        Configuration.AddEnvironmentVariables();
        // Bare switches such as --no-demo are the AppHost's own; the configuration provider would swallow the word that follows them.
        Configuration.AddCommandLine([.. args.Where(argument => argument.Contains('='))]);
    }

    public ConfigurationManager Configuration { get; } = new();

    public IResourceBuilder<T> AddResource<T>(T resource)
        where T : IResource
    {
        if (_resources.Any(other => string.Equals(other.Name, resource.Name, StringComparison.OrdinalIgnoreCase)))
        {
            throw new DistributedApplicationException($"Two resources are called '{resource.Name}'.");
        }

        _resources.Add((Resource)(object)resource);
        return new ResourceBuilder<T>(this, resource);
    }

    public DistributedApplication Build() =>
        new(new Orchestrator(_resources, Configuration, new StatusConsole(isQuiet: _args.Contains("--quiet"), showsLogs: _args.Contains("--logs"))));
}

public static class ResourceBuilders
{
    public static IResourceBuilder<ParameterResource> AddParameter(this IDistributedApplicationBuilder builder, string name, bool secret = false) =>
        builder.AddResource(new ParameterResource(name, secret));

    public static IResourceBuilder<ParameterResource> AddParameter(
        this IDistributedApplicationBuilder builder, string name, string value, bool publishValueAsDefault = false, bool secret = false) =>
        builder.AddResource(new ParameterResource(name, secret) { Literal = value });

    public static IResourceBuilder<IResourceWithConnectionString> AddConnectionString(this IDistributedApplicationBuilder builder, string name) =>
        builder.AddResource(new ConnectionStringResource(name, builder.Configuration.GetConnectionString(name)));

    public static IResourceBuilder<PostgresServerResource> AddPostgres(
        this IDistributedApplicationBuilder builder,
        string name,
        IResourceBuilder<ParameterResource>? userName = null,
        IResourceBuilder<ParameterResource>? password = null,
        int? port = null)
    {
        RefuseUserName(name, userName);
        return builder.AddResource(new PostgresServerResource(name, Password(builder, name, password), port));
    }

    public static IResourceBuilder<PostgresDatabaseResource> AddDatabase(
        this IResourceBuilder<PostgresServerResource> builder, string name, string? databaseName = null)
    {
        var database = new PostgresDatabaseResource(name, databaseName ?? name, builder.Resource);
        builder.Resource.Databases.Add(database);
        return builder.ApplicationBuilder.AddResource(database);
    }

    public static IResourceBuilder<RedisResource> AddRedis(
        this IDistributedApplicationBuilder builder, string name, int? port = null, IResourceBuilder<ParameterResource>? password = null) =>
        builder.AddResource(new RedisResource(name, Password(builder, name, password), port));

    public static IResourceBuilder<RabbitMQServerResource> AddRabbitMQ(
        this IDistributedApplicationBuilder builder,
        string name,
        IResourceBuilder<ParameterResource>? userName = null,
        IResourceBuilder<ParameterResource>? password = null,
        int? port = null)
    {
        RefuseUserName(name, userName);
        return builder.AddResource(new RabbitMQServerResource(name, Password(builder, name, password), port));
    }

    public static IResourceBuilder<RabbitMQServerResource> WithManagementPlugin(this IResourceBuilder<RabbitMQServerResource> builder)
    {
        builder.Resource.HasManagement = true;
        return builder;
    }

    // PostgreSQL and RabbitMQ always keep their data here, in a folder of their own; there is no volume to name.
    public static IResourceBuilder<PostgresServerResource> WithDataVolume(
        this IResourceBuilder<PostgresServerResource> builder, string? name = null, bool isReadOnly = false) => builder;

    public static IResourceBuilder<RabbitMQServerResource> WithDataVolume(
        this IResourceBuilder<RabbitMQServerResource> builder, string? name = null, bool isReadOnly = false) => builder;

    public static IResourceBuilder<RedisResource> WithDataVolume(
        this IResourceBuilder<RedisResource> builder, string? name = null, bool isReadOnly = false)
    {
        builder.Resource.KeepsData = true;
        return builder;
    }

    /// <summary>Only here, not in Aspire: overrides one of PostgreSQL's settings, for tests that trade durability for speed.</summary>
    public static IResourceBuilder<PostgresServerResource> WithServerSetting(
        this IResourceBuilder<PostgresServerResource> builder, string name, string value)
    {
        builder.Resource.Settings[name] = value;
        return builder;
    }

    public static IResourceBuilder<ProjectResource> AddProject<TProject>(this IDistributedApplicationBuilder builder, string name)
        where TProject : IProjectMetadata, new() => builder.AddProject(name, new TProject().ProjectPath);

    public static IResourceBuilder<ProjectResource> AddProject(this IDistributedApplicationBuilder builder, string name, string projectPath)
    {
        var (hasEndpoint, environment) = LaunchProfile.Read(projectPath);
        return builder.AddResource(new ProjectResource(name, projectPath) { HasEndpoint = hasEndpoint, LaunchEnvironment = environment });
    }

    public static IResourceBuilder<ExecutableResource> AddExecutable(
        this IDistributedApplicationBuilder builder, string name, string command, string workingDirectory, params string[]? args) =>
        builder.AddResource(new ExecutableResource(name, command, Path.GetFullPath(workingDirectory))).WithArgs(args ?? []);

    private static ParameterResource Password(IDistributedApplicationBuilder builder, string name, IResourceBuilder<ParameterResource>? password) =>
        (password ?? builder.AddParameter($"{name}-password", secret: true)).Resource;

    private static void RefuseUserName(string name, IResourceBuilder<ParameterResource>? userName)
    {
        if (userName is not null)
        {
            throw new DistributedApplicationException($"{name}: the native host knows the standard user only; leave userName out.");
        }
    }
}
