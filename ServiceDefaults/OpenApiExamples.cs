using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.OpenApi;

namespace Platform.ServiceDefaults;

/// <summary>Bodies that do something useful, in the OpenAPI document: what people copy.</summary>
public static class OpenApiExamples
{
    /// <summary>
    /// Shows <paramref name="body"/> as an example of the request's body; also where the handler reads the body by itself, and the document
    /// would have none. Called again with another content type, it shows both.
    /// </summary>
    /// <param name="body">JSON is shown as such, anything else as text.</param>
    public static RouteHandlerBuilder WithExample(this RouteHandlerBuilder endpoint, string body, string contentType = "application/json") =>
        endpoint.AddOpenApiOperationTransformer((operation, _, _) =>
        {
            var request = operation.RequestBody as OpenApiRequestBody ?? new OpenApiRequestBody { Required = true };
            request.Content ??= new Dictionary<string, OpenApiMediaType>();
            if (!request.Content.TryGetValue(contentType, out var media))
            {
                request.Content[contentType] = media = new OpenApiMediaType();
            }

            media.Example = contentType.EndsWith("json", StringComparison.Ordinal) ? JsonNode.Parse(body) : JsonValue.Create(body);
            operation.RequestBody = request;
            return Task.CompletedTask;
        });
}
