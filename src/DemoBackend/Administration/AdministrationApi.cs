using System.ComponentModel.DataAnnotations;
using System.Diagnostics;
using System.Net;
using System.Security.Claims;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.DemoBackend.Accounts;
using Platform.Instrumentation;

namespace Platform.DemoBackend.Administration;

public sealed record RoleGrant([Required, RegularExpression("^[a-z][a-z0-9-]{0,31}$")] string Role);

public sealed record Consent([Required, RegularExpression("^[a-z][a-z0-9-]{0,31}$")] string Purpose);

public sealed record Setting([Required, StringLength(256)] string Value);

public sealed record Delivery([Required, RegularExpression("^[a-z][a-z0-9-]{0,31}$")] string Target);

public sealed record OutageOrder([Required, StringLength(64)] string Dependency, [Range(1, 3_600)] int Seconds);

public sealed record Person(string Id, string UserName, IReadOnlyCollection<string> Roles);

/// <summary>What people with rights do to accounts, consents, settings and webhooks. Every outcome is an audit event.</summary>
public static class AdministrationApi
{
    private const int MostRoles = 50;

    public static void AddAdministration(this IHostApplicationBuilder builder)
    {
        builder.Services.AddSingleton<Dependencies>();
        builder.Services.AddSingleton<OwnAddress>();
        builder.Services.AddHttpClient("webhooks", http => http.Timeout = TimeSpan.FromSeconds(5));
    }

    public static void MapAdministration(this IEndpointRouteBuilder app)
    {
        var signedIn = app.MapGroup("/").RequireAuthorization();
        signedIn.MapPost("/consents", GrantConsent);
        signedIn.MapDelete("/consents/{purpose}", RevokeConsent);
        signedIn.MapPost("/webhooks/deliver", DeliverAsync);

        var admin = app.MapGroup("/").RequireAuthorization("admin");
        admin.MapGet("/users/{id}", ReadPerson);
        admin.MapPost("/users/{id}/roles", AssignRole).CountCalls("role_assignment");
        admin.MapDelete("/users/{id}/roles/{role}", RevokeRole);
        admin.MapPut("/settings/{name}", ChangeSetting);

        app.MapPost("/webhooks/sink/{target}", SinkAsync);
        app.MapPost("/demo/outage", DeclareOutage);
    }

    private static Results<Ok<Person>, NotFound> ReadPerson(string id, AccountStore accounts, AuditLog audit)
    {
        if (accounts.Find(id) is not { } account)
        {
            audit.DataAccess(id, Outcome.Failure, "not_found");
            return TypedResults.NotFound();
        }

        audit.DataAccess(id);
        return TypedResults.Ok(new Person(account.Id, account.UserName, account.Roles));
    }

    private static Results<NoContent, NotFound, ProblemHttpResult> AssignRole(string id, RoleGrant request, AccountStore accounts, AuditLog audit)
    {
        switch (accounts.Find(id))
        {
            case null:
                audit.RoleAssign(id, request.Role, Outcome.Failure, "not_found");
                return TypedResults.NotFound();
            case { Roles.Count: >= MostRoles }:
                audit.RoleAssign(id, request.Role, Outcome.Failure, "limit_reached");
                return TypedResults.Problem($"An account holds at most {MostRoles} roles; take one away first.", statusCode: 409, title: "Too many roles");
            default:
                accounts.Update(id, account => account with { Roles = account.Roles.Add(request.Role) });
                audit.RoleAssign(id, request.Role);
                return TypedResults.NoContent();
        }
    }

    private static Results<NoContent, NotFound> RevokeRole(string id, string role, AccountStore accounts, AuditLog audit)
    {
        if (accounts.Find(id)?.Roles.Contains(role) is not true)
        {
            audit.RoleRevoke(id, role, Outcome.Failure, "not_found");
            return TypedResults.NotFound();
        }

        accounts.Update(id, account => account with { Roles = account.Roles.Remove(role) });
        audit.RoleRevoke(id, role);
        return TypedResults.NoContent();
    }

    private static NoContent GrantConsent(Consent request, AuditLog audit)
    {
        audit.ConsentGrant(request.Purpose);
        return TypedResults.NoContent();
    }

    private static NoContent RevokeConsent([RegularExpression("^[a-z][a-z0-9-]{0,31}$")] string purpose, AuditLog audit)
    {
        audit.ConsentRevoke(purpose);
        return TypedResults.NoContent();
    }

    // The demo has no settings worth changing; that somebody entitled said so is what the audit trail is about.
    private static NoContent ChangeSetting([RegularExpression("^[a-z][a-z0-9-]{0,63}$")] string name, Setting request, AuditLog audit)
    {
        audit.ConfigChange(name, payload: new Dictionary<string, object?> { ["value"] = request.Value });
        return TypedResults.NoContent();
    }

    // Targets are names, and all lead to the sink of this backend: an address from a request would let the caller reach into the network.
    private static async Task<Results<NoContent, ProblemHttpResult>> DeliverAsync(
        Delivery request, ClaimsPrincipal user, IHttpClientFactory clients, OwnAddress self, AuditLog audit, CancellationToken ct)
    {
        using var http = clients.CreateClient("webhooks");
        var started = Stopwatch.GetTimestamp();
        using var answer = await http.PostAsJsonAsync(new Uri(self.Get(), $"/webhooks/sink/{request.Target}"), new { type = "user.updated", user_id = user.FindFirstValue("sub") }, ct);
        var delivered = answer.IsSuccessStatusCode;
        audit.WebhookDeliver(request.Target, delivered ? Outcome.Success : Outcome.Failure, (int)answer.StatusCode, Stopwatch.GetElapsedTime(started), delivered ? null : "unavailable");
        return delivered
            ? TypedResults.NoContent()
            : TypedResults.Problem($"{request.Target} answered {(int)answer.StatusCode}. Deliver again later.", statusCode: StatusCodes.Status502BadGateway, title: "The webhook was not delivered");
    }

    private static async Task<Results<NoContent, StatusCodeHttpResult>> SinkAsync(string target, Dependencies dependencies, CancellationToken ct) =>
        await dependencies.AnswersAsync("webhook-relay", ct) ? TypedResults.NoContent() : TypedResults.StatusCode(StatusCodes.Status503ServiceUnavailable);

    private static Results<NoContent, NotFound, ValidationProblem> DeclareOutage(OutageOrder request, HttpContext context, Dependencies dependencies)
    {
        // Only from this machine; for everybody else there is no such place.
        if (context.Connection.RemoteIpAddress is not { } address || !IPAddress.IsLoopback(address))
        {
            return TypedResults.NotFound();
        }

        if (!Dependencies.Names.Contains(request.Dependency))
        {
            return TypedResults.ValidationProblem(new Dictionary<string, string[]> { ["dependency"] = [$"Use one of {string.Join(", ", Dependencies.Names)}."] });
        }

        dependencies.TakeAway(request.Dependency, TimeSpan.FromSeconds(request.Seconds));
        return TypedResults.NoContent();
    }
}
