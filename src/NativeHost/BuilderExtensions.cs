using Aspire.Hosting.ApplicationModel;

namespace Aspire.Hosting;

public static class ResourceBuilderExtensions
{
    public static IResourceBuilder<T> WithReference<T>(
        this IResourceBuilder<T> builder, IResourceBuilder<IResourceWithConnectionString> source, string? connectionName = null, bool optional = false)
        where T : IResourceWithEnvironment =>
        builder.WithValue(async (environment, ct) =>
        {
            var value = await source.Resource.GetConnectionStringAsync(ct);
            if (value is not null)
            {
                environment[$"ConnectionStrings__{connectionName ?? source.Resource.Name}"] = value;
            }
            else if (!optional)
            {
                throw new DistributedApplicationException(
                    $"{builder.Resource.Name} needs the connection string '{source.Resource.Name}': set ConnectionStrings__{source.Resource.Name}.");
            }
        });

    public static IResourceBuilder<T> WithReference<T>(this IResourceBuilder<T> builder, IResourceBuilder<IResourceWithServiceDiscovery> source)
        where T : IResourceWithEnvironment =>
        builder.WithValue((environment, _) =>
        {
            var project = (ProjectResource)source.Resource;
            foreach (var (index, port) in project.Ports.Index())
            {
                environment[$"services__{project.Name}__http__{index}"] = $"http://localhost:{port}";
            }

            return ValueTask.CompletedTask;
        });

    public static IResourceBuilder<T> WithReference<T>(this IResourceBuilder<T> builder, string name, Uri uri)
        where T : IResourceWithEnvironment => builder.WithEnvironment($"services__{name}__default__0", uri.ToString());

    public static IResourceBuilder<T> WithEnvironment<T>(this IResourceBuilder<T> builder, string name, string? value)
        where T : IResourceWithEnvironment => builder.WithValue(name, () => value ?? "");

    public static IResourceBuilder<T> WithEnvironment<T>(this IResourceBuilder<T> builder, string name, IResourceBuilder<ParameterResource> parameter)
        where T : IResourceWithEnvironment => builder.WithValue(name, () => parameter.Resource.Resolved ?? "");

    public static IResourceBuilder<T> WithEnvironment<T>(this IResourceBuilder<T> builder, string name, EndpointReference endpointReference)
        where T : IResourceWithEnvironment => builder.WithValue(name, () => endpointReference.Url);

    public static IResourceBuilder<T> WithArgs<T>(this IResourceBuilder<T> builder, params string[] args)
        where T : IResourceWithArgs
    {
        ((StartedResource)(object)builder.Resource).Arguments.AddRange(args);
        return builder;
    }

    /// <summary>Starts this resource only when <paramref name="dependency"/> runs and is healthy.</summary>
    public static IResourceBuilder<T> WaitFor<T>(this IResourceBuilder<T> builder, IResourceBuilder<IResource> dependency)
        where T : IResourceWithWaitSupport => builder.With(resource => resource.Waits.Add(new((Resource)dependency.Resource)));

    /// <summary>Starts this resource only when <paramref name="dependency"/> has ended with <paramref name="exitCode"/>.</summary>
    public static IResourceBuilder<T> WaitForCompletion<T>(this IResourceBuilder<T> builder, IResourceBuilder<IResource> dependency, int exitCode = 0)
        where T : IResourceWithWaitSupport => builder.With(resource => resource.Waits.Add(new((Resource)dependency.Resource, exitCode)));

    public static IResourceBuilder<T> WithHttpHealthCheck<T>(
        this IResourceBuilder<T> builder, string? path = null, int? statusCode = null, string? endpointName = null)
        where T : IResourceWithEndpoints =>
        builder.OnProject(project => project.HealthChecks.Add(new(path ?? "/", statusCode ?? 200)));

    public static IResourceBuilder<T> WithExternalHttpEndpoints<T>(this IResourceBuilder<T> builder)
        where T : IResourceWithEndpoints => builder.OnProject(project => project.IsExternal = true);

    /// <summary>That many processes, each on a port of its own; those who reference the project get all addresses.</summary>
    public static IResourceBuilder<ProjectResource> WithReplicas(this IResourceBuilder<ProjectResource> builder, int replicas)
    {
        builder.Resource.Replicas = replicas;
        return builder;
    }

    public static EndpointReference GetEndpoint<T>(this IResourceBuilder<T> builder, string name)
        where T : IResourceWithEndpoints => new((ProjectResource)(object)builder.Resource, name);

    private static IResourceBuilder<T> OnProject<T>(this IResourceBuilder<T> builder, Action<ProjectResource> change)
        where T : IResourceWithEndpoints =>
        builder.With(resource => change(resource is ProjectResource { HasEndpoint: true } project
            ? project
            : throw new DistributedApplicationException(
                $"{resource.Name} has no endpoint: its Properties/launchSettings.json needs a profile with an http applicationUrl.")));

    private static IResourceBuilder<T> With<T>(this IResourceBuilder<T> builder, Action<Resource> change)
        where T : IResource
    {
        change((Resource)(object)builder.Resource);
        return builder;
    }

    private static IResourceBuilder<T> WithValue<T>(this IResourceBuilder<T> builder, string name, Func<string> value)
        where T : IResourceWithEnvironment =>
        builder.WithValue((environment, _) =>
        {
            environment[name] = value();
            return ValueTask.CompletedTask;
        });

    private static IResourceBuilder<T> WithValue<T>(
        this IResourceBuilder<T> builder, Func<IDictionary<string, string>, CancellationToken, ValueTask> value)
        where T : IResourceWithEnvironment => builder.With(resource => ((StartedResource)resource).Environment.Add(value));
}
