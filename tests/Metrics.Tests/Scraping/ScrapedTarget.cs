using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Platform.Metrics.Tests.Scraping;

/// <summary>Something to scrape, that answers as the test says and remembers how it was asked.</summary>
internal sealed class ScrapedTarget : IAsyncDisposable
{
    private readonly WebApplication _app;
    private volatile Func<HttpContext, Task> _answer = _ => Task.CompletedTask;
    private int _requests;

    private ScrapedTarget(WebApplication app) => _app = app;

    public string Address => new Uri(_app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()).Authority;

    public int Requests => Volatile.Read(ref _requests);

    public volatile IHeaderDictionary? LastHeaders;

    public volatile string LastPath = "";

    public static async Task<ScrapedTarget> StartAsync(string text = "")
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        var app = builder.Build();
        var target = new ScrapedTarget(app);
        target.Expose(text);
        app.Run(context =>
        {
            Interlocked.Increment(ref target._requests);
            target.LastHeaders = new HeaderDictionary(context.Request.Headers.ToDictionary(header => header.Key, header => header.Value));
            target.LastPath = context.Request.Path + context.Request.QueryString;
            return target._answer(context);
        });
        await app.StartAsync();
        return target;
    }

    public void Expose(string text, string type = "text/plain; version=0.0.4") => Answer(async context =>
    {
        context.Response.ContentType = type;
        await context.Response.WriteAsync(text);
    });

    public void Fail(int status) => Answer(context =>
    {
        context.Response.StatusCode = status;
        return Task.CompletedTask;
    });

    public void Answer(Func<HttpContext, Task> answer) => _answer = answer;

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();
}
