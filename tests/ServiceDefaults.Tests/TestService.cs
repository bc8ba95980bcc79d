using System.Collections.Concurrent;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace Platform.ServiceDefaults.Tests;

/// <summary>A real service on a real port, standing on the defaults except identity; its log lines are kept.</summary>
internal sealed class TestService(WebApplication app, LogLines log) : IAsyncDisposable
{
    public HttpClient Http { get; } = new() { BaseAddress = new Uri(app.Urls.First()) };

    public Uri Address => new(app.Urls.First());

    public IServiceProvider Services => app.Services;

    public LogLines Log => log;

    public static async Task<TestService> StartAsync(Action<WebApplication> map, Action<WebApplicationBuilder>? configure = null, Dictionary<string, string?>? settings = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Configuration.AddInMemoryCollection(settings ?? []);
        builder.Configuration["OTEL_SERVICE_NAME"] = "probe";
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Configuration["PLATFORM_MASTER_KEY"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        builder.Configuration["ConnectionStrings:identity"] = "Host=127.0.0.1;Port=1;Database=none";
        builder.AddServiceDefaults();
        WithoutTickets(builder.Services);
        var log = new LogLines();
        builder.Services.Remove(builder.Services.Single(service => service.ServiceType == typeof(ILoggerProvider) && service.ImplementationType == typeof(ConsoleLoggerProvider)));
        builder.Logging.AddProvider(log);
        configure?.Invoke(builder);

        var app = builder.Build();
        app.MapDefaultEndpoints();
        map(app);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return new TestService(app, log);
    }

    // Tickets need a database; these tests are about what lies below them. Endpoints are open.
    private static void WithoutTickets(IServiceCollection services)
    {
        services.AddAuthorizationBuilder().SetFallbackPolicy(null!);
        foreach (var hosted in services.Where(service => service.ServiceType == typeof(IHostedService)
            && (service.ImplementationType == typeof(TicketKeys) || service.ImplementationType?.Namespace == "Microsoft.AspNetCore.DataProtection.Internal")).ToList())
        {
            services.Remove(hosted);
        }
    }

    public Task StopAsync(CancellationToken ct) => app.StopAsync(ct);

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await app.DisposeAsync();
    }
}

/// <summary>What the service would have written to standard output, line by line.</summary>
internal sealed class LogLines : ILoggerProvider, ISupportExternalScope
{
    private readonly JsonLogFormatter _formatter = new("probe", TimeProvider.System);
    private readonly ConcurrentQueue<string> _lines = new();
    private IExternalScopeProvider? _scopes;

    public IReadOnlyCollection<string> Lines => _lines;

    public ILogger CreateLogger(string categoryName) => new Logger(this, categoryName);

    public void SetScopeProvider(IExternalScopeProvider scopeProvider) => _scopes = scopeProvider;

    public void Dispose()
    {
    }

    private sealed class Logger(LogLines owner, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => owner._scopes?.Push(state);

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            var line = new StringWriter();
            owner._formatter.Write(new LogEntry<TState>(logLevel, category, eventId, state, exception, formatter), owner._scopes, line);
            owner._lines.Enqueue(line.ToString());
        }
    }
}
