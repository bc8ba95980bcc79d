using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Npgsql;

namespace Platform.ServiceDefaults;

/// <summary>Settings of the section <c>Aspire:Npgsql</c>, under the names that the Aspire package has.</summary>
public sealed class NpgsqlSettings
{
    public string? ConnectionString { get; set; }

    public bool DisableHealthChecks { get; set; }
}

public static class PostgresIntegration
{
    /// <summary>
    /// Registers a pooled <see cref="NpgsqlDataSource"/> for <c>ConnectionStrings:{connectionName}</c> and the check <c>PostgreSql</c>: without its own database a service is unhealthy.
    /// </summary>
    /// <exception cref="SettingsException">The connection string is missing.</exception>
    public static void AddNpgsqlDataSource(this IHostApplicationBuilder builder, string connectionName,
        Action<NpgsqlSettings>? configureSettings = null, Action<NpgsqlDataSourceBuilder>? configureDataSourceBuilder = null)
    {
        var settings = Connections.Bind<NpgsqlSettings>(builder, "Aspire:Npgsql", connectionName);
        settings.ConnectionString = builder.Configuration.GetConnectionString(connectionName) ?? settings.ConnectionString;
        configureSettings?.Invoke(settings);
        var connectionString = Connections.Require(settings.ConnectionString, connectionName, "Host=localhost;Port=5432;Username=postgres;Password=…;Database=…");

        builder.Services.TryAddSingleton(services =>
        {
            var source = new NpgsqlDataSourceBuilder(connectionString) { Name = connectionName };
            source.UseLoggerFactory(services.GetService<Microsoft.Extensions.Logging.ILoggerFactory>());
            configureDataSourceBuilder?.Invoke(source);
            return source.Build();
        });
        builder.Services.TryAddSingleton<System.Data.Common.DbDataSource>(services => services.GetRequiredService<NpgsqlDataSource>());
        if (!settings.DisableHealthChecks)
        {
            builder.Services.AddHealthChecks().Add(new HealthCheckRegistration("PostgreSql",
                services => new PostgresCheck(services.GetRequiredService<NpgsqlDataSource>()), HealthStatus.Unhealthy, tags: null));
        }
    }
}

internal sealed class PostgresCheck(NpgsqlDataSource database) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken)
    {
        await using var command = database.CreateCommand("select 1");
        await command.ExecuteScalarAsync(cancellationToken);
        return HealthCheckResult.Healthy();
    }
}

internal static class Connections
{
    /// <summary>The section's values, then those of its named subsection, as the Aspire packages do it.</summary>
    public static T Bind<T>(IHostApplicationBuilder builder, string section, string connectionName) where T : new()
    {
        var settings = new T();
        builder.Configuration.GetSection(section).Bind(settings);
        builder.Configuration.GetSection($"{section}:{connectionName}").Bind(settings);
        return settings;
    }

    public static string Require(string? connectionString, string connectionName, string example) =>
        !string.IsNullOrWhiteSpace(connectionString)
            ? connectionString
            : throw new SettingsException($"ConnectionStrings__{connectionName} is not set. Set it, for example to \"{example}\".");
}
