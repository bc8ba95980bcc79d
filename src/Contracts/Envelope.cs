using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Platform.ServiceDefaults;
using RestEase;

namespace Platform.Contracts;

/// <summary>What answers of <c>/api/v1/monitoring</c> are wrapped in. Errors are not: they are problem details.</summary>
public sealed record Envelope<T>(bool Success, T Data);

public static class Envelope
{
    public static Envelope<T> Of<T>(T data) => new(true, data);

    public static Envelope<Page<T>> Page<T>(IReadOnlyList<T> items, string? nextCursor) => new(true, new Page<T>(items, nextCursor));
}

/// <param name="NextCursor">Give it back as <c>cursor</c> for the next page; null at the end.</param>
public sealed record Page<T>(IReadOnlyList<T> Items, string? NextCursor);

public static class ServiceClients
{
    /// <summary>
    /// A typed client of another service. It finds the service by name, retries safe calls (both in ServiceDefaults), and carries a
    /// ticket of role <c>service</c> for the realm that the call names with <c>?realm=</c>.
    /// </summary>
    internal static IHostApplicationBuilder AddServiceClient<T>(this IHostApplicationBuilder builder, string service) where T : class
    {
        builder.Services
            .AddHttpClient(service, client => client.BaseAddress = new Uri($"http://{service}/"))
            .AddHttpMessageHandler(services => services.GetRequiredService<ServiceTicketHandler>());
        builder.Services.AddSingleton(services => new RestClient(services.GetRequiredService<IHttpClientFactory>().CreateClient(service))
        {
            ResponseDeserializer = new SystemTextJson(),
            RequestBodySerializer = new SystemTextJsonBody(),
        }.For<T>());
        return builder;
    }

    private sealed class SystemTextJson : ResponseDeserializer
    {
        public override T Deserialize<T>(string? content, HttpResponseMessage response, ResponseDeserializerInfo info) =>
            JsonSerializer.Deserialize<T>(content ?? "null", WireJson.Options)!;
    }

    private sealed class SystemTextJsonBody : RequestBodySerializer
    {
        public override HttpContent? SerializeBody<T>(T body, RequestBodySerializerInfo info) =>
            System.Net.Http.Json.JsonContent.Create(body, options: WireJson.Options);
    }
}
