using System.Security.Claims;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;
using Platform.Gateway.Edge;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Keys;

/// <summary>
/// <c>Authorization: Bearer &lt;key&gt;</c>. The only scheme at the gateway: an internal ticket presented from outside is a key that
/// nobody made. Another kind of credential is another scheme beside this one.
/// </summary>
public sealed class KeyAuthentication(
    IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, KnownKeys keys, KeyUse use, RateLimiter limiter)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    public const string SchemeName = "api-key";

    private const string Bearer = "Bearer ";

    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        if (Request.Headers.Authorization is not [{ } header] || !header.StartsWith(Bearer, StringComparison.OrdinalIgnoreCase))
        {
            return AuthenticateResult.NoResult();
        }

        var text = header[Bearer.Length..].Trim();
        if (!KeyText.IsPossible(text))
        {
            return AuthenticateResult.Fail("The credential is no key.");
        }

        // Guessing costs a query each time; an address that is over its limit gets none. The rate limit answers for it.
        if (!keys.Remembers(text) && limiter.IsExhausted(RateLimiter.AddressOf(Context)))
        {
            return AuthenticateResult.Fail("Too many credentials were tried from this address.");
        }

        if (await keys.FindAsync(text, Context.RequestAborted) is not { } known)
        {
            return AuthenticateResult.Fail("The key is not known, expired or revoked.");
        }

        use.Note(known.Key.Id);
        Context.Features.Set(known);
        var identity = new ClaimsIdentity(known.Key.Caller.ToClaims(), SchemeName, Caller.SubjectClaim, Caller.RoleClaim);
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), SchemeName));
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        Response.StatusCode = StatusCodes.Status401Unauthorized;
        Response.Headers.WWWAuthenticate = Request.Headers.Authorization.Count == 0 ? "Bearer" : "Bearer error=\"invalid_token\"";
        return Task.CompletedTask;
    }
}
