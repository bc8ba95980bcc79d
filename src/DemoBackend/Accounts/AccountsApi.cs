using System.ComponentModel.DataAnnotations;
using System.Security.Claims;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.DemoBackend.Administration;
using Platform.Instrumentation;

namespace Platform.DemoBackend.Accounts;

public sealed record NewAccount([Required, StringLength(64, MinimumLength = 1)] string UserName, [Required, StringLength(256)] string Password, bool Mfa = false);

/// <param name="TotpSecret">For an authenticator app, in base 32; shown this once.</param>
public sealed record AccountCreated(string UserId, string? TotpSecret);

public sealed record Credentials([Required, StringLength(64, MinimumLength = 1)] string UserName, [Required, StringLength(256)] string Password);

/// <param name="ChallengeId">Set when a second factor is asked for; then there are no tokens yet.</param>
public sealed record SignedIn(IssuedTokens? Tokens, string? ChallengeId);

public sealed record SecondFactor([Required, StringLength(128)] string ChallengeId, [Required, StringLength(16)] string Code);

public sealed record RefreshRequest([Required, StringLength(128)] string RefreshToken);

public sealed record PasswordChange([Required, StringLength(256)] string OldPassword, [Required, StringLength(256)] string NewPassword);

/// <summary>Registering, signing in and out. Every outcome is a security event.</summary>
public static class AccountsApi
{
    private const int ShortestPassword = 10;

    // Checked against when there is no such user, so that the time of the answer does not tell. No password has this hash.
    private static PasswordHash Nobody(DemoOptions options) => new(new byte[16], new byte[32], options.PasswordRounds);

    public static void AddAccounts(this IHostApplicationBuilder builder)
    {
        builder.Services.AddSingleton<AccountStore>();
        builder.Services.AddSingleton<Sessions>();
        builder.Services.AddValidation();

        // AddAuthentication would bring data protection along, which nothing here needs and which writes its keys to the disk.
        builder.Services.AddWebEncoders();
        new AuthenticationBuilder(builder.Services.AddAuthenticationCore(options => options.DefaultScheme = SessionAuthentication.SchemeName))
            .AddScheme<AuthenticationSchemeOptions, SessionAuthentication>(SessionAuthentication.SchemeName, null);
        builder.Services.AddAuthorizationBuilder().AddPolicy("admin", policy => policy.RequireRole("admin"));
    }

    public static void MapAccounts(this IEndpointRouteBuilder app)
    {
        app.MapPost("/register", Register);
        app.MapPost("/login", LoginAsync);
        app.MapPost("/mfa/verify", VerifyAsync);
        app.MapPost("/token/refresh", Refresh);
        app.MapPost("/logout", Logout).RequireAuthorization();
        app.MapPost("/password", ChangePassword).RequireAuthorization();
    }

    private static Results<Created<AccountCreated>, ProblemHttpResult> Register(NewAccount request, AccountStore accounts, SecurityLog security, DemoOptions options)
    {
        if (request.Password.Length < ShortestPassword)
        {
            security.Register(request.UserName, Outcome.Failure, "weak_password");
            return Problem(400, "The password is too short", $"password: use at least {ShortestPassword} characters.");
        }

        var id = "u-" + Guid.CreateVersion7().ToString("N");
        var secret = request.Mfa ? Totp.NewSecret() : null;
        switch (accounts.TryAdd(new Account(id, request.UserName, PasswordHash.Of(request.Password, options.PasswordRounds), secret, [])))
        {
            case AccountStore.Added.NameTaken:
                security.Register(request.UserName, Outcome.Failure, "already_exists");
                return Problem(409, "The name is taken", "user_name: choose another one.");
            case AccountStore.Added.Full:
                security.Register(request.UserName, Outcome.Failure, "limit_reached");
                return Problem(409, "No more accounts", $"This backend keeps {options.MaxAccounts} accounts (DEMO_MAX_ACCOUNTS).");
            case AccountStore.Added.Yes:
            default:
                security.Register(id, Outcome.Success);
                if (secret is not null)
                {
                    security.MfaEnroll("totp", Outcome.Success, userId: id);
                }

                return TypedResults.Created($"/users/{id}", new AccountCreated(id, secret is null ? null : Totp.ToBase32(secret)));
        }
    }

    private static async Task<Results<Ok<SignedIn>, ProblemHttpResult>> LoginAsync(
        Credentials request, HttpContext context, AccountStore accounts, Sessions sessions, Dependencies dependencies, SecurityLog security, DemoOptions options, TimeProvider clock, CancellationToken ct)
    {
        var place = Places.Of(context.Connection.RemoteIpAddress);
        if (!await dependencies.AnswersAsync("user-directory", ct))
        {
            return Unavailable("user-directory");
        }

        var account = accounts.FindByName(request.UserName);
        if (account?.IsLocked(clock.GetUtcNow()) is true)
        {
            security.Login(account.Id, Outcome.Denied, "account_locked");
            return NotSignedIn();
        }

        if (!(account?.Password ?? Nobody(options)).Matches(request.Password) || account is null)
        {
            accounts.Update(account?.Id ?? "", known => known.AfterWrongPassword(clock.GetUtcNow()));
            security.Login(account?.Id ?? request.UserName, Outcome.Failure, account is null ? "unknown_user" : "wrong_password");
            return NotSignedIn();
        }

        accounts.Update(account.Id, known => known with { WrongInARow = 0 });
        if (account.TotpSecret is not null)
        {
            security.Login(account.Id, Outcome.Success, place: place);
            security.MfaChallenge("totp", userId: account.Id);
            return TypedResults.Ok(new SignedIn(null, sessions.Challenge(account.Id)));
        }

        var tokens = sessions.Start(account.Id);
        security.Login(account.Id, Outcome.Success, sessionId: tokens.SessionId, place: place);
        security.TokenIssue(Outcome.Success, account.Id, tokens.SessionId);
        return TypedResults.Ok(new SignedIn(tokens, null));
    }

    private static async Task<Results<Ok<SignedIn>, ProblemHttpResult>> VerifyAsync(
        SecondFactor request, AccountStore accounts, Sessions sessions, Dependencies dependencies, SecurityLog security, TimeProvider clock, CancellationToken ct)
    {
        if (!await dependencies.AnswersAsync("mfa-service", ct))
        {
            return Unavailable("mfa-service");
        }

        if (sessions.TakeChallenge(request.ChallengeId) is not { } id || accounts.Find(id) is not { TotpSecret: { } secret } account)
        {
            security.MfaVerify("totp", Outcome.Failure, "expired");
            return Problem(401, "The challenge is over", "challenge_id: sign in again to get another one.");
        }

        // A code works once: whoever looked over the shoulder cannot use it within the same half minute.
        if (Totp.Match(secret, request.Code, clock.GetUtcNow()) is not { } step || step <= account.LastTotpStep)
        {
            // The challenge is used up; its hash tells one login from another and opens nothing.
            security.MfaVerify("totp", Outcome.Failure, "wrong_code", id, OpaqueToken.Hash(request.ChallengeId)[..16]);
            return Problem(401, "The code is wrong", "code: sign in again and give the code that the authenticator shows now.");
        }

        accounts.Update(id, known => known with { LastTotpStep = step });
        var tokens = sessions.Start(id);
        security.MfaVerify("totp", Outcome.Success, userId: id, sessionId: tokens.SessionId);
        security.TokenIssue(Outcome.Success, id, tokens.SessionId);
        return TypedResults.Ok(new SignedIn(tokens, null));
    }

    private static Results<Ok<IssuedTokens>, ProblemHttpResult> Refresh(RefreshRequest request, Sessions sessions, SecurityLog security)
    {
        var (outcome, session, tokens) = sessions.Refresh(request.RefreshToken);
        switch (outcome)
        {
            case Refreshed.Yes:
                security.TokenRefresh(Outcome.Success, session!.AccountId, session.Id);
                return TypedResults.Ok(tokens);
            case Refreshed.Reused:
                security.TokenRefresh(Outcome.Denied, session!.AccountId, session.Id, reason: "reused");
                security.TokenRevoke(session.AccountId, session.Id, reason: "reused");
                break;
            case Refreshed.Unknown:
                security.TokenRefresh(Outcome.Failure, reason: "expired");
                break;
        }

        return Problem(401, "The refresh token does not work", "refresh_token: sign in again.");
    }

    private static NoContent Logout(ClaimsPrincipal user, Sessions sessions, SecurityLog security)
    {
        sessions.End(user.FindFirstValue("sid")!);
        security.Logout();
        return TypedResults.NoContent();
    }

    private static Results<NoContent, ProblemHttpResult> ChangePassword(PasswordChange request, ClaimsPrincipal user, AccountStore accounts, SecurityLog security, DemoOptions options)
    {
        var account = accounts.Find(user.FindFirstValue("sub")!)!;
        if (!account.Password.Matches(request.OldPassword))
        {
            security.PasswordChange(Outcome.Failure, "wrong_password");
            return Problem(403, "The old password is wrong", "old_password: give the one you signed in with.");
        }

        if (request.NewPassword.Length < ShortestPassword)
        {
            security.PasswordChange(Outcome.Failure, "weak_password");
            return Problem(400, "The password is too short", $"new_password: use at least {ShortestPassword} characters.");
        }

        var hash = PasswordHash.Of(request.NewPassword, options.PasswordRounds);
        accounts.Update(account.Id, known => known with { Password = hash });
        security.PasswordChange(Outcome.Success);
        return TypedResults.NoContent();
    }

    private static ProblemHttpResult NotSignedIn() => Problem(401, "Not signed in", "user_name or password is wrong, or the account is locked for a minute.");

    private static ProblemHttpResult Unavailable(string dependency) => Problem(503, "Try again in a minute", $"{dependency} does not answer.");

    private static ProblemHttpResult Problem(int status, string title, string detail) => TypedResults.Problem(detail, title: title, statusCode: status);
}
