using System.Net;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;

namespace Platform.ServiceDefaults.Tests;

public sealed class QueryNamesTests
{
    private const string Known = "Known here are start_time, order, ids, state, assigned_to, limit, realm and tags.NAME.";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public enum Order
    {
        Asc,
        Desc,
    }

    public sealed record Span([FromQuery(Name = "start_time")] string? StartTime, [FromQuery(Name = "order")] Order? Order, [FromQuery(Name = "ids")] Guid[]? Ids);

    private static Task<TestService> StartAsync() => TestService.StartAsync(app =>
    {
        app.MapGet("/api/v1/things/{id:int}", (int id, HttpContext context, TimeProvider clock, CancellationToken ct, [AsParameters] Span span, string? state = null, string? assigned_to = null, int limit = 10) => id).TakesQuery("tags.");
        app.MapGroup("/api/v1/things").MapPost("/", () => "made");
        app.MapGet("/api/v1/scraped", () => "any").TakesQuery("");
        app.MapGet("/standard/api/v1/things", (string? state = null) => "theirs");
    });

    [Theory]
    [InlineData("GET", "/api/v1/things/1?stat=open", "stat", $"\"stat\" is not known at this address; state is probably meant. {Known}")]
    [InlineData("GET", "/api/v1/things/1?starttime=x", "starttime", $"\"starttime\" is not known at this address; start_time is probably meant. {Known}")]
    [InlineData("GET", "/api/v1/things/1?startTime=x", "startTime", $"\"startTime\" is not known at this address; start_time is probably meant. {Known}")]
    [InlineData("GET", "/api/v1/things/1?limti=1", "limti", $"\"limti\" is not known at this address; limit is probably meant. {Known}")]
    [InlineData("GET", "/api/v1/things/1/?assigned=anna", "assigned", $"\"assigned\" is not known at this address; assigned_to is probably meant. {Known}")]
    [InlineData("GET", "/api/v1/things/1?tag.user=anna", "tag.user", $"\"tag.user\" is not known at this address; tags.NAME is probably meant. {Known}")]
    [InlineData("GET", "/api/v1/things/1?tags.=anna", "tags.", $"\"tags.\" is not known at this address; tags.NAME is probably meant. {Known}")]
    [InlineData("GET", "/API/v1/things/1?colour=red", "colour", $"\"colour\" is not known at this address. {Known}")]
    // What is in the path and what is no parameter at all is not taken from the query.
    [InlineData("GET", "/api/v1/things/1?id=2", "id", $"\"id\" is not known at this address; ids is probably meant. {Known}")]
    [InlineData("GET", "/api/v1/things/1?clock=2", "clock", $"\"clock\" is not known at this address. {Known}")]
    [InlineData("POST", "/api/v1/things?dry_run=true", "dry_run", "\"dry_run\" is not known at this address. Known here is realm only.")]
    public async Task A_parameter_that_the_endpoint_does_not_take_is_refused_and_the_nearest_is_named(string method, string path, string name, string sentence)
    {
        await using var service = await StartAsync();

        using var answer = await service.Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), new Uri(path, UriKind.Relative)), Ct);

        var problem = await ProblemAsync(answer);
        Assert.Equal(sentence, problem.GetProperty("detail").GetString());
        Assert.Equal(sentence, Assert.Single(problem.GetProperty("errors").GetProperty(name).EnumerateArray()).GetString());
        Assert.False(string.IsNullOrEmpty(problem.GetProperty("traceId").GetString()));
    }

    [Theory]
    [InlineData("/api/v1/things/1?state=open&assigned_to=anna&limit=3&start_time=x&order=Asc&realm=acme")]
    [InlineData("/api/v1/things/1?STATE=open&Start_Time=x&ORDER=Desc&Realm=acme")]
    [InlineData("/api/v1/things/1?tags.user_id=42&Tags.n=1&ids=01900000-0000-7000-8000-000000000000&ids=01900000-0000-7000-8000-000000000001")]
    [InlineData("/api/v1/things/1?")]
    [InlineData("/api/v1/scraped?collect[]=cpu&=x")]
    [InlineData("/standard/api/v1/things?stat=open")]
    public async Task What_the_endpoint_takes_and_what_speaks_another_systems_protocol_passes(string path)
    {
        await using var service = await StartAsync();

        using var answer = await service.Http.GetAsync(new Uri(path, UriKind.Relative), Ct);

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
    }

    [Fact]
    public async Task All_unknown_parameters_are_told_at_once_and_a_flood_of_them_makes_no_flood()
    {
        await using var service = await StartAsync();
        var alike = new string('x', 100);

        using var few = await service.Http.GetAsync(new Uri($"/api/v1/things/1?sate=open&colour=red&{alike}1=a&{alike}2=b", UriKind.Relative), Ct);
        using var many = await service.Http.GetAsync(new Uri($"/api/v1/things/1?{string.Join('&', Enumerable.Range(0, 1_000).Select(number => $"z{number}"))}", UriKind.Relative), Ct);

        Assert.Equal(["sate", "colour", new string('x', 63) + "…"], (await ProblemAsync(few)).GetProperty("errors").EnumerateObject().Select(error => error.Name));
        Assert.Equal(20, (await ProblemAsync(many)).GetProperty("errors").EnumerateObject().Count());
    }

    private static async Task<JsonElement> ProblemAsync(HttpResponseMessage answer)
    {
        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType?.MediaType);
        return JsonElement.Parse(await answer.Content.ReadAsStringAsync(Ct));
    }
}
