namespace Platform.Instrumentation;

/// <summary>
/// Security events: who tried to get in, with what, and how it went. No method takes a password, a code or a token, so none can be recorded.
/// Reasons are fixed words from docs/events.md. Where no user is given, the signed-in user of the current request is meant.
/// </summary>
public sealed class SecurityLog(EventLog events)
{
    /// <summary>Somebody presented a first credential.</summary>
    /// <param name="userId">The stable id, or the name that was typed when there is no such user.</param>
    /// <param name="provider">What checked the credential: <c>password</c>, <c>google</c>, <c>saml:acme</c>.</param>
    /// <param name="riskScore">From 0 to 1, when the application computes one.</param>
    /// <param name="place">Where the address is, in degrees, when the application knows: north and east are positive.</param>
    public void Login(
        string userId, Outcome outcome, string? reason = null, string provider = "password", string? sessionId = null, double? riskScore = null, (double Latitude, double Longitude)? place = null) =>
        events.Record(Actions.Login, outcome, Sentence("Login", outcome), new()
        {
            [Tags.UserId] = userId,
            [Tags.Reason] = reason,
            [Tags.Provider] = provider,
            [Tags.SessionId] = sessionId,
            [Tags.RiskScore] = riskScore,
            [Tags.Latitude] = place?.Latitude,
            [Tags.Longitude] = place?.Longitude,
        });

    public void Logout(string? userId = null, string? sessionId = null) =>
        events.Record(Actions.Logout, Outcome.Success, "Logged out", new() { [Tags.UserId] = userId, [Tags.SessionId] = sessionId });

    public void Register(string userId, Outcome outcome, string? reason = null, string provider = "password") =>
        events.Record(Actions.Register, outcome, Sentence("Registration", outcome), new() { [Tags.UserId] = userId, [Tags.Reason] = reason, [Tags.Provider] = provider });

    public void PasswordChange(Outcome outcome, string? reason = null, string? userId = null) =>
        events.Record(Actions.PasswordChange, outcome, Sentence("Password change", outcome), new() { [Tags.UserId] = userId, [Tags.Reason] = reason });

    /// <param name="method"><c>totp</c>, <c>webauthn</c>, <c>sms</c>, <c>email</c> or <c>recovery_code</c>.</param>
    public void MfaEnroll(string method, Outcome outcome, string? reason = null, string? userId = null) =>
        Mfa(Actions.MfaEnroll, "Second factor enrolment", method, outcome, reason, userId);

    /// <inheritdoc cref="MfaEnroll"/>
    public void MfaChallenge(string method, Outcome outcome = Outcome.Success, string? reason = null, string? userId = null) =>
        Mfa(Actions.MfaChallenge, "Second factor challenge", method, outcome, reason, userId);

    /// <summary>A second factor was presented; <see cref="Outcome.Denied"/> when the person who was asked refused.</summary>
    /// <param name="method"><inheritdoc cref="MfaEnroll" path="/param[@name='method']"/></param>
    /// <param name="sessionId">Of the login under way; not what opens it.</param>
    public void MfaVerify(string method, Outcome outcome, string? reason = null, string? userId = null, string? sessionId = null) =>
        Mfa(Actions.MfaVerify, "Second factor check", method, outcome, reason, userId, sessionId);

    /// <summary>The second factor of an account was taken away.</summary>
    /// <param name="targetUserId">Whose it was, also when they did it themselves.</param>
    public void MfaReset(string targetUserId, Outcome outcome, string? reason = null) =>
        events.Record(Actions.MfaReset, outcome, Sentence("Second factor reset", outcome), new() { [Tags.TargetUserId] = targetUserId, [Tags.Reason] = reason });

    public void TokenIssue(Outcome outcome, string? userId = null, string? sessionId = null, string? clientId = null, string? reason = null) =>
        Token(Actions.TokenIssue, "Token issue", outcome, userId, sessionId, clientId, reason);

    public void TokenRefresh(Outcome outcome, string? userId = null, string? sessionId = null, string? clientId = null, string? reason = null) =>
        Token(Actions.TokenRefresh, "Token refresh", outcome, userId, sessionId, clientId, reason);

    public void TokenRevoke(string? userId = null, string? sessionId = null, string? clientId = null, string? reason = null) =>
        Token(Actions.TokenRevoke, "Token revocation", Outcome.Success, userId, sessionId, clientId, reason);

    /// <summary>A known user asked for what the user may not do.</summary>
    /// <param name="permission">What was missing, by its stable name: <c>role:admin</c>, <c>reports:read</c>.</param>
    public void PermissionDenied(string permission, string? userId = null) =>
        events.Record(Actions.PermissionDenied, Outcome.Denied, "Permission denied", new() { [Tags.Permission] = permission, [Tags.UserId] = userId });

    /// <summary>Something the application stands on did not answer as it should. An error: somebody was not served.</summary>
    public void DependencyFailed(string dependency, string reason, TimeSpan? took = null) =>
        events.Record(
            Actions.DependencyCall, Outcome.Failure, "Dependency failed",
            new() { [Tags.Dependency] = dependency, [Tags.Reason] = reason, [Tags.DurationMs] = took?.TotalMilliseconds }, Levels.Error);

    private void Mfa(string action, string what, string method, Outcome outcome, string? reason, string? userId, string? sessionId = null) =>
        events.Record(action, outcome, Sentence(what, outcome), new() { [Tags.MfaMethod] = method, [Tags.Reason] = reason, [Tags.UserId] = userId, [Tags.SessionId] = sessionId });

    private void Token(string action, string what, Outcome outcome, string? userId, string? sessionId, string? clientId, string? reason) =>
        events.Record(action, outcome, Sentence(what, outcome), new()
        {
            [Tags.UserId] = userId,
            [Tags.SessionId] = sessionId,
            [Tags.ClientId] = clientId,
            [Tags.Reason] = reason,
        });

    internal static string Sentence(string what, Outcome outcome) => outcome switch
    {
        Outcome.Success => what + " succeeded",
        Outcome.Failure => what + " failed",
        Outcome.Denied => what + " denied",
    };
}
