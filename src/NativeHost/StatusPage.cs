using System.Net;
using System.Text.Json;

namespace Platform.NativeHost;

/// <summary><c>GET /</c> on loopback: the state of all resources as JSON, without secrets.</summary>
internal sealed class StatusPage : IDisposable
{
    private readonly HttpListener _listener = new();

    private StatusPage(string url) => Url = url;

    public string Url { get; }

    public static StatusPage Start(int port, IReadOnlyList<Supervised> resources)
    {
        var page = new StatusPage($"http://localhost:{port}");
        page._listener.Prefixes.Add($"http://localhost:{port}/");
        page._listener.Prefixes.Add($"http://127.0.0.1:{port}/");
        page._listener.Start();
        _ = page.AnswerAsync(resources);
        return page;
    }

    public void Dispose() => _listener.Close();

    private async Task AnswerAsync(IReadOnlyList<Supervised> resources)
    {
        while (_listener.IsListening)
        {
            try
            {
                var context = await _listener.GetContextAsync();
                var found = context.Request is { HttpMethod: "GET", Url.AbsolutePath: "/" };
                context.Response.StatusCode = found ? 200 : 404;
                context.Response.ContentType = "application/json";
                using var body = context.Response.OutputStream;
                await JsonSerializer.SerializeAsync(body, found ? Describe(resources) : new { Title = "Only GET / is answered here." }, Json.Snake);
            }
            catch (Exception error) when (error is HttpListenerException or ObjectDisposedException or IOException)
            {
                // The reader went away, or the page is being closed: the loop's condition tells.
            }
        }
    }

    private static object Describe(IReadOnlyList<Supervised> resources) => new
    {
        Healthy = resources.All(IsFine),
        Pid = Environment.ProcessId,
        Resources = resources.Select(resource => new
        {
            resource.Name,
            resource.Type,
            resource.Status.State,
            Health = IsFine(resource) ? "healthy" : "unhealthy",
            resource.Status.Reason,
            resource.Status.Pid,
            resource.Endpoints,
            resource.Status.Restarts,
            Log = resource.LogPath,
        }),
    };

    private static bool IsFine(Supervised resource) => resource.Status is { State: ResourceState.Running, Reason: null } or { State: ResourceState.Finished };
}
