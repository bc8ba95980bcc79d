using System.ComponentModel.DataAnnotations;
using System.Reflection;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Platform.ServiceDefaults;

namespace Platform.Postgres;

/// <summary>Settings of the connection to the service's own database.</summary>
public sealed class PostgresOptions
{
    /// <summary>Statements that take longer than this are logged, in milliseconds.</summary>
    [Setting("DATABASE_SLOW_QUERY_MILLISECONDS"), Range(1, 600_000)]
    public int SlowQueryMilliseconds { get; init; } = 100;

    /// <summary>Most connections one process opens to its database.</summary>
    [Setting("DATABASE_MAX_POOL_SIZE"), Range(2, 500)]
    public int MaxPoolSize { get; init; } = 20;
}

public static class PostgresHosting
{
    /// <summary>
    /// The service's own database under <c>ConnectionStrings:<paramref name="connectionName"/></c>, migrated before the service starts
    /// with the SQL files embedded in the calling assembly.
    /// </summary>
    /// <param name="plansEachTime">
    /// For a service whose tables fill and empty within seconds: PostgreSQL would keep the plan that it made for an empty table, and read
    /// a full one from end to end with it. Costs some planning at every statement.
    /// </param>
    public static IHostApplicationBuilder AddPostgres(this IHostApplicationBuilder builder, string connectionName, bool plansEachTime = false)
    {
        var options = builder.AddSettings<PostgresOptions>();
        builder.AddNpgsqlDataSource(connectionName, configureDataSourceBuilder: source =>
        {
            source.ConnectionStringBuilder.MaxPoolSize = options.MaxPoolSize;
            // A statement that comes a second time is parsed once; the texts of a service are few.
            source.ConnectionStringBuilder.MaxAutoPrepare = 64;
            source.ConnectionStringBuilder.AutoPrepareMinUsages = 2;
            // Whoever changes something about a session changes it back: clearing it between any two users would cost a statement each time.
            source.ConnectionStringBuilder.NoResetOnClose = true;
            source.ConnectionStringBuilder.ApplicationName = builder.Environment.ApplicationName;
            if (plansEachTime)
            {
                source.ConnectionStringBuilder.Options = $"{source.ConnectionStringBuilder.Options} -c plan_cache_mode=force_custom_plan".Trim();
            }
        });
        builder.Services.AddHostedService<QueryTelemetry>();
        builder.Services.AddHostedService<Migrator>();
        builder.AddMigrations(connectionName, Assembly.GetCallingAssembly());
        return builder;
    }

    /// <summary>Another set of migrations in the same database, for a library that keeps tables there.</summary>
    public static IHostApplicationBuilder AddMigrations(this IHostApplicationBuilder builder, string name, Assembly assembly)
    {
        builder.Services.AddSingleton(new MigrationSet(name, assembly));
        return builder;
    }
}
