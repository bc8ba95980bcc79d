using System.Net;
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Platform.Gateway.Tests;

public sealed class ApiDocumentTests(GatewayFixture fixture) : IClassFixture<GatewayFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task One_document_describes_the_gateway_and_every_service_that_answers()
    {
        await using var alerting = await Backend.StartAsync();
        alerting.Answer = context => context.Request.Path == "/openapi/v1.json"
            ? Results.Content("""{"openapi":"3.1.1","paths":{"/api/v1/monitoring/rules":{"get":{"responses":{"200":{"description":"OK"}}}},"/internal/x":{"get":{}}}}""", "application/json").ExecuteAsync(context)
            : Results.NotFound().ExecuteAsync(context);
        await using var gateway = await fixture.StartAsync(("services__alerting__http__0", alerting.Url), ("services__compliance__http__0", "http://127.0.0.1:9"));
        using var client = fixture.Client((await fixture.CreateKeyAsync("user", "reader")).Key, gateway);

        using var answer = await client.GetAsync("openapi/v1.json", Ct);
        using var again = await client.GetAsync("openapi/v1.json", Ct);

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("application/json", answer.Content.Headers.ContentType?.MediaType);
        var document = await Backend.JsonAsync(answer);
        var paths = document.GetProperty("paths").EnumerateObject().Select(path => path.Name).ToList();
        Assert.Contains("/api/v1/monitoring/rules", paths);
        Assert.Contains("/api/v1/monitoring/api-keys", paths);
        Assert.Contains("/api/v1/monitoring/api-keys/{id}", paths);
        Assert.DoesNotContain(paths, path => path.StartsWith("/internal", StringComparison.Ordinal));
        Assert.Equal("/", document.GetProperty("servers")[0].GetProperty("url").GetString());
        Assert.Contains("compliance", document.GetProperty("x-unavailable").EnumerateArray().Select(name => name.GetString()));
        Assert.Single(alerting.Arrivals, arrival => arrival.Path == "/openapi/v1.json");
        Assert.All(References(document), reference => Assert.True(Resolves(document, reference), reference));
    }

    [Fact]
    public async Task The_document_is_not_for_strangers()
    {
        using var anonymous = fixture.Client(null);
        using var answer = await anonymous.GetAsync("openapi/v1.json", Ct);

        await GatewayFixture.ProblemAsync(answer, HttpStatusCode.Unauthorized);
    }

    private static IEnumerable<string> References(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => element.EnumerateObject().SelectMany(member => member is { Name: "$ref", Value.ValueKind: JsonValueKind.String } ? [member.Value.GetString()!] : References(member.Value)),
        JsonValueKind.Array => element.EnumerateArray().SelectMany(References),
        _ => [],
    };

    private static bool Resolves(JsonElement document, string reference)
    {
        foreach (var name in reference.TrimStart('#').Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (!document.TryGetProperty(name, out document))
            {
                return false;
            }
        }

        return true;
    }
}
