using System.Security.Claims;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;
using Platform.Instrumentation;

namespace Platform.DemoBackend.Accounts;

/// <summary>Turns a bearer access token into the signed-in user, and records who is turned away.</summary>
public sealed class SessionAuthentication(
    IOptionsMonitor<AuthenticationSchemeOptions> schemes, ILoggerFactory loggers, UrlEncoder encoder, Sessions sessions, AccountStore accounts, SecurityLog security)
    : AuthenticationHandler<AuthenticationSchemeOptions>(schemes, loggers, encoder)
{
    public const string SchemeName = "Session";

    protected override Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        if (Request.Headers.Authorization.ToString() is not { } header || !header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase))
        {
            return Task.FromResult(AuthenticateResult.NoResult());
        }

        if (sessions.FindByAccessToken(header["Bearer ".Length..].Trim()) is not { } session || accounts.Find(session.AccountId) is not { } account)
        {
            return Task.FromResult(AuthenticateResult.Fail("The access token is unknown or has ended."));
        }

        var identity = new ClaimsIdentity([new("sub", account.Id), new("sid", session.Id), .. account.Roles.Select(role => new Claim("role", role))], SchemeName, "sub", "role");
        return Task.FromResult(AuthenticateResult.Success(new(new(identity), SchemeName)));
    }

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties)
    {
        security.PermissionDenied("role:admin");
        return base.HandleForbiddenAsync(properties);
    }
}
