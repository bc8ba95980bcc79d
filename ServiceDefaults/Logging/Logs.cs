using Microsoft.Extensions.Configuration.Memory;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace Platform.ServiceDefaults;

internal static class Logs
{
    /// <summary>Lines waiting for a slow standard output; what comes on top is dropped.</summary>
    private const int MaxWaiting = 10_000;

    private static readonly string[] Quiet = ["Microsoft.AspNetCore", "Microsoft.Extensions", "System.Net.Http", "Npgsql", "Yarp"];

    /// <summary>Replaces all log providers by JSON lines on standard output.</summary>
    public static void AddJsonLogs(this IHostApplicationBuilder builder)
    {
        builder.Logging.ClearProviders();
        builder.Logging.AddConsole(console =>
        {
            console.FormatterName = JsonLogFormatter.FormatterName;
            console.MaxQueueLength = MaxWaiting;

            // A reader of our output that stops reading must not stop the service. How many lines were lost is written to standard error when it moves again.
            console.QueueFullMode = ConsoleLoggerQueueFullMode.DropWrite;
        });
        builder.Services.AddSingleton<ConsoleFormatter>(services => new JsonLogFormatter(builder.ServiceName(), services.GetRequiredService<TimeProvider>()));

        // The ids of the trace are fields of each line; as scopes they would only cost.
        builder.Logging.Configure(factory => factory.ActivityTrackingOptions = ActivityTrackingOptions.None);

        // Below every other source of configuration, so that "Logging__LogLevel__Npgsql=Debug" still works: one line per decision, none per request.
        builder.Configuration.Sources.Insert(0, new MemoryConfigurationSource
        {
            InitialData = Quiet.Select(category => KeyValuePair.Create<string, string?>($"Logging:LogLevel:{category}", nameof(LogLevel.Warning))),
        });
    }

    /// <summary>The resource's name in the graph; outside of a graph the program's.</summary>
    public static string ServiceName(this IHostApplicationBuilder builder) =>
        builder.Configuration["OTEL_SERVICE_NAME"] is { Length: > 0 } name ? name : builder.Environment.ApplicationName;
}
