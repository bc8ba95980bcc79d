using System.Text.Json;
using Microsoft.AspNetCore.HttpOverrides;
using Platform.DemoBackend.Accounts;
using Platform.DemoBackend.Administration;
using Platform.DemoBackend.Pages;
using Platform.DemoBackend.Traffic;
using Platform.Instrumentation;

namespace Platform.DemoBackend;

/// <summary>The backend, put together.</summary>
public static class DemoApp
{
    public static WebApplication Create(string[] args)
    {
        var builder = WebApplication.CreateBuilder(args);

        builder.AddPlatformMonitoring();
        builder.AddDemoOptions();
        builder.AddAccounts();
        builder.AddAdministration();
        builder.AddPages();
        builder.AddTraffic();

        // Only loopback may say on whose behalf it calls (the default of the middleware): that is the traffic generator.
        builder.Services.Configure<ForwardedHeadersOptions>(forwarded => forwarded.ForwardedHeaders = ForwardedHeaders.XForwardedFor);
        builder.Services.ConfigureHttpJsonOptions(json => json.SerializerOptions.PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower);
        builder.Services.AddProblemDetails();

        // The backend's own requests and answers are events; what is left for the console is what it decides.
        builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning).AddFilter("System.Net.Http.HttpClient", LogLevel.Warning);
        builder.Logging.AddSimpleConsole(console => console.SingleLine = true);
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Limits.MaxRequestBodySize = 256 * 1024);

        var app = builder.Build();

        app.UseForwardedHeaders();
        app.UseExceptionHandler();
        app.UseStatusCodePages();
        app.UseAuthentication();
        app.UseAuthorization();

        app.MapGet("/health", () => "Healthy");
        app.MapPlatformMetrics();
        app.Services.GetRequiredService<PlatformMetrics>().ObserveActiveSessions(() => app.Services.GetRequiredService<Sessions>().Count);
        app.MapAccounts();
        app.MapAdministration();
        app.MapPages();

        return app;
    }
}
