using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Platform.Instrumentation.Tests;

/// <param name="At">When it came, on the clock of <see cref="System.Diagnostics.Stopwatch"/>.</param>
public sealed record GatewayRequest(string Path, string? Authorization, string? Key, IReadOnlyList<JsonElement> Events, long At);

/// <summary>The rim of another process, on a real port: takes events and answers what the test says. The platform's own gateway is tested in the end-to-end tests.</summary>
public sealed class PlayedGateway : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly ConcurrentQueue<GatewayRequest> _requests = new();
    private readonly Func<GatewayRequest, int, Task<IResult>> _answer;
    private int _count;

    private PlayedGateway(WebApplication app, Func<GatewayRequest, int, Task<IResult>> answer) => (_app, _answer) = (app, answer);

    public Uri Url => new(_app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());

    public IReadOnlyList<GatewayRequest> Requests => [.. _requests];

    public IReadOnlyList<JsonElement> Events => [.. Requests.SelectMany(request => request.Events)];

    public static IResult Created => Results.StatusCode(201);

    public static Task<PlayedGateway> StartAsync() => StartAsync((_, _) => Created);

    /// <param name="answer">Gets the request and how many came before it.</param>
    public static Task<PlayedGateway> StartAsync(Func<GatewayRequest, int, IResult> answer, int port = 0) =>
        StartAsync((request, before) => Task.FromResult(answer(request, before)), port);

    public static async Task<PlayedGateway> StartAsync(Func<GatewayRequest, int, Task<IResult>> answer, int port = 0)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls($"http://127.0.0.1:{port}");
        var app = builder.Build();
        var gateway = new PlayedGateway(app, answer);
        app.MapPost("/{**path}", (Delegate)gateway.TakeAsync);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return gateway;
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private async Task<IResult> TakeAsync(HttpContext context)
    {
        using var body = await JsonDocument.ParseAsync(context.Request.Body, default, context.RequestAborted);
        var headers = context.Request.Headers;
        var request = new GatewayRequest(
            context.Request.Path, headers.Authorization, headers["Idempotency-Key"], [.. body.RootElement.EnumerateArray().Select(json => json.Clone())], System.Diagnostics.Stopwatch.GetTimestamp());
        _requests.Enqueue(request);
        return await _answer(request, Interlocked.Increment(ref _count) - 1);
    }
}
