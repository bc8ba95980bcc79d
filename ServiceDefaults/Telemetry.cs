using System.Diagnostics;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Logs;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Platform.ServiceDefaults;

/// <summary>Traces, metrics and logs over OTLP when <c>OTEL_EXPORTER_OTLP_ENDPOINT</c> is set; trace ids in any case.</summary>
internal static class Telemetry
{
    private static readonly string[] Sources = ["Microsoft.AspNetCore", "System.Net.Http", "Npgsql", "RabbitMQ.Client.Publisher", "RabbitMQ.Client.Subscriber", "Platform.*"];
    private static readonly string[] Meters = ["Microsoft.AspNetCore.*", "System.Net.Http", "System.Runtime", "Npgsql", "Platform.*"];

    public static void AddTelemetry(this IHostApplicationBuilder builder)
    {
        // RabbitMQ.Client writes and reads traceparent by itself when somebody listens to its sources.
        builder.Services.AddSingleton<TraceIds>();
        builder.Services.AddHostedService(services => services.GetRequiredService<TraceIds>());
        if (string.IsNullOrWhiteSpace(builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"]))
        {
            return;
        }

        var service = builder.ServiceName();
        builder.Services.AddSingleton(_ => OpenTelemetrySdk.Create(telemetry =>
        {
            // The SDK builds a container of its own, which would only know the environment.
            telemetry.Services.AddSingleton<IConfiguration>(builder.Configuration);
            telemetry.ConfigureResource(resource => Describe(resource, service))
                .WithTracing(tracing => tracing.AddSource(Sources).AddOtlpExporter())
                .WithMetrics(metrics => metrics.AddMeter(Meters).AddOtlpExporter());
        }));
        builder.Services.AddHostedService<Export>();
        builder.Logging.AddOpenTelemetry(logs =>
        {
            logs.IncludeFormattedMessage = true;
            logs.SetResourceBuilder(Describe(ResourceBuilder.CreateDefault(), service));
            logs.AddProcessor(new RedactingProcessor());
            logs.AddOtlpExporter();
        });
    }

    private static ResourceBuilder Describe(ResourceBuilder resource, string service) => resource.AddService(service).AddEnvironmentVariableDetector();

    /// <summary>Holds the exporters for as long as the process runs and lets them send the rest at its end.</summary>
    private sealed class Export(OpenTelemetrySdk telemetry) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.Run(
            () =>
            {
                telemetry.TracerProvider.ForceFlush(2_000);
                telemetry.MeterProvider.ForceFlush(2_000);
            },
            cancellationToken);
    }

    /// <summary>Without any listener there are no activities, and with them no ids that logs, messages and calls could share. This one asks for ids and nothing else.</summary>
    private sealed class TraceIds : IHostedService, IDisposable
    {
        private readonly ActivityListener _listener = new()
        {
            ShouldListenTo = source => source.Name is "Microsoft.AspNetCore" or "System.Net.Http"
                || source.Name.StartsWith("RabbitMQ.Client", StringComparison.Ordinal) || source.Name.StartsWith("Platform.", StringComparison.Ordinal),
            Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.PropagationData,
        };

        public TraceIds() => ActivitySource.AddActivityListener(_listener);

        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public void Dispose() => _listener.Dispose();
    }

    /// <summary>What leaves as a log record is as clean as what is written as a line.</summary>
    private sealed class RedactingProcessor : BaseProcessor<LogRecord>
    {
        public override void OnEnd(LogRecord data)
        {
            data.FormattedMessage = data.FormattedMessage is { } message ? Redaction.Text(LogMessage.WithoutSecrets(message, data.Attributes)) : null;
            data.Body = data.Body is { } body ? Redaction.Text(body) : null;
            List<KeyValuePair<string, object?>> attributes = [];
            foreach (var (name, value) in data.Attributes ?? [])
            {
                attributes.Add(new(name, Clean(name, value)));
            }

            if (data.Exception is { } error)
            {
                attributes.Add(new("exception.type", error.GetType().FullName));
                attributes.Add(new("exception.message", Redaction.Text(error.Message)));
                attributes.Add(new("exception.stacktrace", Redaction.Text(JsonLogFormatter.Cut(error.ToString(), JsonLogFormatter.MaxLine))));
                data.Exception = null;
            }

            if (Correlation.Current is { } correlation)
            {
                attributes.Add(new("correlation_id", correlation));
            }

            data.Attributes = attributes;
        }

        private static object? Clean(string name, object? value) => value switch
        {
            null => null,
            _ when Redaction.IsSensitive(name) => Redaction.Mark,
            bool or int or double => value,
            _ => Redaction.Text(value.ToString() ?? ""),
        };
    }
}
