using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Platform.Testing;

/// <summary>Another system, played by one function: a real HTTP server on 127.0.0.1 that can go away and come back.</summary>
public sealed class LoopbackServer : IAsyncDisposable
{
    private readonly RequestDelegate _answer;
    private WebApplication? _app;
    private Socket? _reserved;

    private LoopbackServer(RequestDelegate answer) => _answer = answer;

    /// <summary>With a slash at the end; the same after <see cref="OpenAsync"/>.</summary>
    public Uri Url { get; private set; } = new("http://127.0.0.1:0");

    public static async Task<LoopbackServer> StartAsync(RequestDelegate answer)
    {
        var server = new LoopbackServer(answer);
        await server.OpenAsync();
        return server;
    }

    /// <summary>As if the program had died: connections break, new ones are refused. Nobody else gets the port meanwhile.</summary>
    public async Task CloseAsync()
    {
        await StopAsync();
        _reserved = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        _reserved.Bind(new IPEndPoint(IPAddress.Loopback, Url.Port));
    }

    /// <summary>Takes requests, at the port of before.</summary>
    public async Task OpenAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls(Url.ToString());
        _app = builder.Build();
        _app.Run(_answer);
        await _app.StartAsync();
        Url = new Uri(_app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());
        _reserved?.Dispose();
        _reserved = null;
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _reserved?.Dispose();
    }

    private async Task StopAsync()
    {
        if (_app is { } app)
        {
            _app = null;
            // Whoever still waits for an answer gets none.
            await app.StopAsync(new CancellationToken(canceled: true));
            await app.DisposeAsync();
        }
    }
}
