using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;
using Platform.ServiceDefaults;

namespace Platform.Gateway.OpenApi;

/// <summary>
/// <c>GET /openapi/v1.json</c>: the description of everything that can be called from outside, put together from what the services say
/// about themselves. Kept for a minute; when a service does not answer the rest is served, and kept only for seconds.
/// </summary>
public sealed partial class ApiDocument(
    [FromKeyedServices("v1")] IOpenApiDocumentProvider own, IHttpClientFactory http, TimeProvider clock, ILogger<ApiDocument> logger) : IDisposable
{
    private const string Path = "openapi/v1.json";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Kept = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan PartKept = TimeSpan.FromSeconds(5);

    // One request puts it together, the others wait for that.
    private readonly SemaphoreSlim _making = new(1, 1);
    private (byte[] Json, DateTimeOffset Until)? _kept;

    public async Task<byte[]> GetAsync(CancellationToken ct)
    {
        await _making.WaitAsync(ct);
        try
        {
            if (_kept is not { } kept || clock.GetUtcNow() >= kept.Until)
            {
                var (json, isWhole) = await MakeAsync(ct);
                _kept = kept = (json, clock.GetUtcNow() + (isWhole ? Kept : PartKept));
            }

            return kept.Json;
        }
        finally
        {
            _making.Release();
        }
    }

    private async Task<(byte[] Json, bool IsWhole)> MakeAsync(CancellationToken ct)
    {
        var parts = await Task.WhenAll(Routes.Services.Select(async service => (Service: service, Document: await FindAsync(service, ct))));
        var described = JsonNode.Parse(await (await own.GetOpenApiDocumentAsync(ct)).SerializeAsJsonAsync(OpenApiSpecVersion.OpenApi3_1, ct))!.AsObject();
        var missing = parts.Where(part => part.Document is null).Select(part => part.Service).ToList();
        var merged = DocumentMerge.Merge([("gateway", described), .. parts.Where(part => part.Document is not null).Select(part => (part.Service, part.Document!))], missing);
        return (JsonSerializer.SerializeToUtf8Bytes(merged), missing.Count == 0);
    }

    private async Task<JsonObject?> FindAsync(string service, CancellationToken ct)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ct);
        patience.CancelAfter(Patience);
        try
        {
            using var client = http.CreateClient("openapi");
            client.MaxResponseContentBufferSize = 16 * 1024 * 1024;
            return JsonNode.Parse(await client.GetByteArrayAsync(new Uri($"http://{service}/{Path}"), patience.Token)) as JsonObject;
        }
        catch (Exception error) when (!ct.IsCancellationRequested && error is HttpRequestException or OperationCanceledException or JsonException)
        {
            PartIsMissing(service, error.Message);
            return null;
        }
    }

    public void Dispose() => _making.Dispose();

    [LoggerMessage(LogLevel.Warning, "The description of {service} is missing from the OpenAPI document: {reason}")]
    private partial void PartIsMissing(string service, string reason);
}

public static class ApiDocumentEndpoint
{
    public static IHostApplicationBuilder AddApiDocument(this IHostApplicationBuilder builder)
    {
        builder.Services.AddHttpClient("openapi");
        builder.Services.AddSingleton<ApiDocument>();
        return builder;
    }

    public static IEndpointRouteBuilder MapApiDocument(this IEndpointRouteBuilder app)
    {
        app.MapGet("/openapi/v1.json", GetAsync).RequireAuthorization(Access.UserRead).ExcludeFromDescription();
        return app;
    }

    private static async Task<FileContentHttpResult> GetAsync(ApiDocument document, CancellationToken ct) =>
        TypedResults.Bytes(await document.GetAsync(ct), "application/json");
}
