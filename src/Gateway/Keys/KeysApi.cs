using System.ComponentModel.DataAnnotations;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Keys;

/// <param name="Role">user, moderator, admin or auditor.</param>
/// <param name="Realm">The caller's own unless given; <c>*</c> and other realms only by an admin of <c>*</c>.</param>
/// <param name="Scopes">ingest, read, or both (the default).</param>
/// <param name="ExpiresAt">When it stops working; never unless given.</param>
/// <param name="ExpiresInDays">The same, counted from now. Give one of the two.</param>
public sealed record NewApiKey(
    [Required, StringLength(100, MinimumLength = 1)] string? Name,
    [Required] Role? Role,
    string? Realm,
    string[]? Scopes,
    DateTimeOffset? ExpiresAt,
    [Range(1, 3650)] int? ExpiresInDays);

/// <summary>A key as it is listed.</summary>
/// <param name="LastUsedAt">To the minute; null when it was never used.</param>
/// <param name="Key">The key itself: only in the answer to the request that made it.</param>
public sealed record ApiKeyView(
    Guid Id,
    string Name,
    Role Role,
    string Realm,
    string[] Scopes,
    string KeyPrefix,
    DateTimeOffset CreatedAt,
    string CreatedBy,
    DateTimeOffset? ExpiresAt,
    DateTimeOffset? RevokedAt,
    DateTimeOffset? LastUsedAt,
    [property: System.Text.Json.Serialization.JsonIgnore(Condition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull)] string? Key = null)
{
    internal static ApiKeyView Of(ApiKey key, string? text = null) => new(
        key.Id, key.Name, key.Role, key.Realm, ScopeNames.Of(key.Scopes), key.KeyPrefix, key.CreatedAt, key.CreatedBy, key.ExpiresAt, key.RevokedAt, key.LastUsedAt, text);
}

public static class KeysApi
{
    private const string Path = "/api/v1/monitoring/api-keys";

    public static IHostApplicationBuilder AddKeys(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<SeedOptions>();
        builder.Services.AddSingleton<KeyStore>();
        builder.Services.AddSingleton<KnownKeys>();
        builder.Services.AddHostedService(services => services.GetRequiredService<KnownKeys>());
        builder.Services.AddSingleton<KeyUse>();
        builder.Services.AddHostedService(services => services.GetRequiredService<KeyUse>());
        builder.Services.AddHostedService<SeededKeys>();
        // The default scheme from here on: tickets are what the gateway gives to services, not what it takes.
        builder.Services.AddAuthentication(KeyAuthentication.SchemeName).AddScheme<AuthenticationSchemeOptions, KeyAuthentication>(KeyAuthentication.SchemeName, null);
        return builder;
    }

    public static IEndpointRouteBuilder MapKeys(this IEndpointRouteBuilder app)
    {
        var keys = app.MapGroup(Path).WithTags("API keys");
        keys.MapPost("/", CreateAsync).RequireAuthorization(Access.AdminWrite).WithSummary("Make a key. It is shown in this answer and never again.");
        keys.MapGet("/", ListAsync).RequireAuthorization(Access.AdminRead).WithSummary("Keys of the realms the caller reaches, newest first.");
        keys.MapDelete("/{id:guid}", RevokeAsync).RequireAuthorization(Access.AdminWrite).WithSummary("Revoke a key, at once and for good.");
        return app;
    }

    private static async Task<Results<Created<Envelope<ApiKeyView>>, ValidationProblem, ProblemHttpResult>> CreateAsync(
        NewApiKey request, Caller caller, KeyStore store, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        if (Check(request, now) is { Count: > 0 } errors)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var realm = request.Realm ?? caller.Realm;
        if (!caller.Reaches(realm))
        {
            return TypedResults.Problem(
                $"An admin of the realm \"{caller.Realm}\" makes keys for that realm only; the request names \"{realm}\".", statusCode: StatusCodes.Status403Forbidden);
        }

        var text = KeyText.New();
        var expires = request.ExpiresInDays is { } days ? now.AddDays(days) : request.ExpiresAt?.ToUniversalTime();
        var key = new ApiKey(
            Guid.CreateVersion7(now), request.Name!, request.Role!.Value, realm, request.Scopes is null ? Scopes.All : ScopeNames.Parse(request.Scopes)!.Value,
            KeyText.Prefix(text), now, caller.Subject, expires, null, null);

        await store.CreateAsync(key, KeyText.Hash(text), caller.Did("api_key.created", "api_key", key.Id.ToString(), now, key.Caller.RealmOfNewData, Facts(key)), ct);

        return TypedResults.Created($"{Path}/{key.Id}", Envelope.Of(ApiKeyView.Of(key, text)));
    }

    private static async Task<Results<Ok<Envelope<Page<ApiKeyView>>>, ValidationProblem>> ListAsync(
        Caller caller, KeyStore store, TimeProvider clock, CancellationToken ct,
        [Range(1, 200)] int limit = 50, Guid? cursor = null, bool revoked = false)
    {
        var keys = await store.ListAsync(caller.RealmFilter, cursor, revoked, clock.GetUtcNow(), limit + 1, ct);
        var more = keys.Count > limit;
        var page = keys.Take(limit).Select(key => ApiKeyView.Of(key)).ToList();
        return TypedResults.Ok(Envelope.Page<ApiKeyView>(page, more ? page[^1].Id.ToString() : null));
    }

    private static async Task<Results<NoContent, NotFound, ProblemHttpResult>> RevokeAsync(
        Guid id, Caller caller, KeyStore store, KnownKeys known, TimeProvider clock, CancellationToken ct)
    {
        if (await store.FindAsync(id, ct) is not { } key)
        {
            return TypedResults.NotFound();
        }

        if (!caller.Reaches(key.Realm))
        {
            return Access.ForeignRealm(caller, key.Realm);
        }

        var now = clock.GetUtcNow();
        await store.RevokeAsync(id, now, caller.Did("api_key.revoked", "api_key", id.ToString(), now, key.Caller.RealmOfNewData, Facts(key)), ct);
        // The other gateways hear of it through the database; this one need not wait for that.
        known.Forget();
        return TypedResults.NoContent();
    }

    private static Dictionary<string, string[]> Check(NewApiKey request, DateTimeOffset now)
    {
        var errors = new Dictionary<string, string[]>();
        if (request.Role == Role.Service)
        {
            errors["role"] = ["The role service is the platform's own. Take user, moderator, admin or auditor."];
        }

        if (request.Realm is { } realm && !RealmName.IsValid(realm))
        {
            errors["realm"] = [RealmName.Syntax];
        }

        if (request.Scopes is { } scopes && ScopeNames.Parse(scopes) is null)
        {
            errors["scopes"] = ["Give \"ingest\", \"read\" or both; leave the field out for both."];
        }

        if (request.ExpiresAt is not null && request.ExpiresInDays is not null)
        {
            errors["expires_in_days"] = ["Give expires_at or expires_in_days, not both."];
        }

        if (request.ExpiresAt is { } expires && (expires <= now || expires > now.AddDays(3650)))
        {
            errors["expires_at"] = ["It must be in the future, and at most ten years from now."];
        }

        return errors;
    }

    /// <summary>What an audit record says about a key.</summary>
    internal static Dictionary<string, string> Facts(ApiKey key) => new()
    {
        ["name"] = key.Name,
        ["role"] = WireJson.Name(key.Role.ToString()),
        ["realm"] = key.Realm,
        ["scopes"] = string.Join(' ', ScopeNames.Of(key.Scopes)),
        ["key_prefix"] = key.KeyPrefix,
    };
}
