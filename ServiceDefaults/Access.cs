using System.Security.Claims;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Routing;

namespace Platform.ServiceDefaults;

/// <summary>Roles nest from <see cref="User"/> to <see cref="Admin"/>. <see cref="Auditor"/> reads compliance only; <see cref="Service"/> is a service of the platform.</summary>
public enum Role
{
    User,
    Moderator,
    Admin,
    Auditor,
    Service,
}

/// <summary>What a credential may be used for, within its role: sending data, everything else, or both.</summary>
[Flags]
public enum Scopes
{
    None = 0,
    Ingest = 1,
    Read = 2,
    All = Ingest | Read,
}

/// <summary>A realm is a tenant: every stored row carries one.</summary>
public static class Realm
{
    /// <summary>The realm of a credential that sees all realms.</summary>
    public const string All = "*";

    /// <summary>Where data of a credential that sees all realms goes when it names none.</summary>
    public const string Default = "default";
}

/// <summary>
/// The policies of every endpoint, and the only place where role, scope and realm are decided. An endpoint names one of them; the realm
/// that a request names (<c>?realm=</c>) is checked with it.
/// </summary>
public static class Access
{
    /// <summary>Send events and metrics: scope <c>ingest</c>, any role from user up.</summary>
    public const string Ingest = "ingest";

    /// <summary>Read what every user may: scope <c>read</c>.</summary>
    public const string UserRead = "user.read";

    /// <summary>Change what every user may (open an incident): both scopes.</summary>
    public const string UserWrite = "user.write";

    public const string ModeratorRead = "moderator.read";

    public const string ModeratorWrite = "moderator.write";

    public const string AdminRead = "admin.read";

    public const string AdminWrite = "admin.write";

    /// <summary>Work on the platform as a whole (dead letters): an admin of all realms.</summary>
    public const string Operator = "operator";

    /// <summary>Read compliance data: an auditor, or an admin.</summary>
    public const string Audit = "audit";

    /// <summary>Calls between services.</summary>
    public const string Service = "service";

    /// <summary>What holds where no policy is named: an endpoint that forgot is for admins, and a path without an endpoint says 404 or 405 to every known caller.</summary>
    internal const string Unnamed = "unnamed";

    internal static AuthorizationBuilder AddAccessPolicies(this AuthorizationBuilder builder)
    {
        foreach (var name in (string[])[Ingest, UserRead, UserWrite, ModeratorRead, ModeratorWrite, AdminRead, AdminWrite, Operator, Audit, Service])
        {
            builder.AddPolicy(name, policy => policy.RequireAuthenticatedUser().AddRequirements(new AccessRequirement(name)));
        }

        return builder.SetFallbackPolicy(new AuthorizationPolicyBuilder().RequireAuthenticatedUser().AddRequirements(new AccessRequirement(Unnamed)).Build());
    }

    internal static bool Allows(string policy, Caller caller, HttpContext? http) =>
        policy == Unnamed ? http?.GetEndpoint() is not RouteEndpoint || Allows(AdminRead, caller) : Allows(policy, caller);

    /// <summary>The whole table of who may what, apart from the realm.</summary>
    public static bool Allows(string policy, Caller caller) => policy switch
    {
        Ingest => caller.Scopes.HasFlag(Scopes.Ingest) && caller.Role is Role.User or Role.Moderator or Role.Admin or Role.Service,
        UserRead => caller.Scopes.HasFlag(Scopes.Read) && caller.Role is Role.User or Role.Moderator or Role.Admin or Role.Service,
        UserWrite => caller.Scopes == Scopes.All && caller.Role is Role.User or Role.Moderator or Role.Admin,
        ModeratorRead => caller.Scopes.HasFlag(Scopes.Read) && caller.Role is Role.Moderator or Role.Admin or Role.Service,
        ModeratorWrite => caller.Scopes == Scopes.All && caller.Role is Role.Moderator or Role.Admin,
        AdminRead => caller.Scopes.HasFlag(Scopes.Read) && caller.Role is Role.Admin,
        AdminWrite => caller.Scopes == Scopes.All && caller.Role is Role.Admin,
        Operator => caller.Scopes == Scopes.All && caller.Role is Role.Admin && caller.SeesAllRealms,
        Audit => caller.Scopes.HasFlag(Scopes.Read) && caller.Role is Role.Auditor or Role.Admin,
        Service => caller.Role is Role.Service,
        _ => false,
    };

    /// <summary>403 for a thing that is there, in a realm that the caller does not reach. Which realm is not told, unless it is that of all.</summary>
    public static ProblemHttpResult ForeignRealm(Caller caller, string realm) =>
        Forbidden($"Missing: {(realm == Realm.All ? "the realm \"*\" (all realms)" : "another realm")}, to which this belongs. The request reaches the realm \"{caller.Realm}\" only.");

    /// <summary>403 for a request that names, in its body, a realm that the caller does not reach.</summary>
    public static ProblemHttpResult RealmOutOfReach(Caller caller, string named) =>
        Forbidden($"Missing: {Refusal.OfRealm(named)}, which the body names. The request reaches the realm \"{caller.Realm}\" only.");

    /// <summary>403 for any other reason.</summary>
    /// <param name="detail">What was missing.</param>
    public static ProblemHttpResult Forbidden(string detail) => TypedResults.Problem(detail, statusCode: StatusCodes.Status403Forbidden, title: "Forbidden");
}

/// <param name="Policy">One of the names in <see cref="Access"/>.</param>
public sealed record AccessRequirement(string Policy) : IAuthorizationRequirement;

internal sealed class AccessHandler : AuthorizationHandler<AccessRequirement>
{
    protected override Task HandleRequirementAsync(AuthorizationHandlerContext context, AccessRequirement requirement)
    {
        if (Caller.From(context.User) is not { } caller)
        {
            return Task.CompletedTask;
        }

        var http = context.Resource as HttpContext;
        var named = http is null ? null : Caller.NamedRealm(http);
        var allowed = Access.Allows(requirement.Policy, caller, http);
        if (allowed && caller.Reaches(named))
        {
            context.Succeed(requirement);
        }
        else
        {
            http?.Features.Set(Refusal.Of(allowed ? null : requirement.Policy, caller, named));
        }

        return Task.CompletedTask;
    }
}

/// <summary>Who is asking, as an endpoint sees it: <c>Realm</c> is already narrowed to the realm that the request names.</summary>
/// <param name="Subject">Stable id of the credential or service: <c>key:0198…</c>, <c>system:alerting</c>.</param>
/// <param name="Realm">The realm the work is in; <see cref="ServiceDefaults.Realm.All"/> for all.</param>
public sealed record Caller(string Subject, Role Role, string Realm, Scopes Scopes)
{
    public const string SubjectClaim = "sub";
    public const string RoleClaim = "role";
    public const string RealmClaim = "realm";
    public const string ScopeClaim = "scope";

    /// <summary>The query parameter with which any request names a realm.</summary>
    internal const string RealmParameter = "realm";

    /// <summary>Address of the client as the gateway saw it, or null for a call inside the platform.</summary>
    public string? Address { get; init; }

    public bool SeesAllRealms => Realm == ServiceDefaults.Realm.All;

    /// <summary>For queries: the one realm to read, or null for all.</summary>
    public string? RealmFilter => SeesAllRealms ? null : Realm;

    /// <summary>For writes: the realm that new data belongs to.</summary>
    public string RealmOfNewData => SeesAllRealms ? ServiceDefaults.Realm.Default : Realm;

    public bool IsAtLeast(Role role) => Role is Role.User or Role.Moderator or Role.Admin && Role >= role;

    /// <summary>Whether data of <paramref name="realm"/> is in reach; null (no particular realm) always is.</summary>
    public bool Reaches(string? realm) => SeesAllRealms || realm is null || realm == Realm;

    public IEnumerable<Claim> ToClaims() =>
    [
        new(SubjectClaim, Subject),
        new(RoleClaim, Role.ToString()),
        new(RealmClaim, Realm),
        new(ScopeClaim, Scopes.ToString("D")),
    ];

    /// <summary>The caller that a verified principal stands for; null when a claim is missing.</summary>
    public static Caller? From(ClaimsPrincipal user) =>
        user.FindFirst(SubjectClaim) is { } subject
        && Enum.TryParse<Role>(user.FindFirst(RoleClaim)?.Value, out var role)
        && user.FindFirst(RealmClaim) is { } realm
        && Enum.TryParse<Scopes>(user.FindFirst(ScopeClaim)?.Value, out var scopes)
            ? new Caller(subject.Value, role, realm.Value, scopes)
            : null;

    /// <summary>The realm that a request names, or null.</summary>
    internal static string? NamedRealm(HttpContext context) =>
        context.Request.Query.TryGetValue(RealmParameter, out var named) && !string.IsNullOrEmpty(named) ? named.ToString() : null;

    /// <summary>Lets an endpoint take <c>Caller caller</c> as a parameter.</summary>
    public static ValueTask<Caller> BindAsync(HttpContext context)
    {
        var caller = From(context.User) ?? throw new InvalidOperationException($"The endpoint {context.Request.Path} takes a caller but lets anonymous requests in.");
        return ValueTask.FromResult(caller with
        {
            Realm = NamedRealm(context) ?? caller.Realm,
            // Only the gateway reaches a service with a person's request, and it replaces what the client claimed.
            Address = context.Request.Headers["X-Forwarded-For"] is [{ Length: > 0 } address, ..] ? address : null,
        });
    }
}
