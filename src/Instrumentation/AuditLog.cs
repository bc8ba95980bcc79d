namespace Platform.Instrumentation;

/// <summary>
/// Audit events: what somebody with a right did to people, data or settings. The actor is the signed-in user of the request unless given;
/// whom it was done to is the target.
/// </summary>
public sealed class AuditLog(EventLog events)
{
    public void RoleAssign(string targetUserId, string role, Outcome outcome = Outcome.Success, string? reason = null, string? userId = null) =>
        Role(Actions.RoleAssign, "Role assignment", targetUserId, role, outcome, reason, userId);

    public void RoleRevoke(string targetUserId, string role, Outcome outcome = Outcome.Success, string? reason = null, string? userId = null) =>
        Role(Actions.RoleRevoke, "Role revocation", targetUserId, role, outcome, reason, userId);

    /// <param name="purpose">What the person agreed to, by its stable name: <c>marketing</c>, <c>analytics</c>.</param>
    public void ConsentGrant(string purpose, string? userId = null) =>
        events.Record(Actions.ConsentGrant, Outcome.Success, "Consent granted", new() { [Tags.Purpose] = purpose, [Tags.UserId] = userId });

    /// <inheritdoc cref="ConsentGrant"/>
    public void ConsentRevoke(string purpose, string? userId = null) =>
        events.Record(Actions.ConsentRevoke, Outcome.Success, "Consent revoked", new() { [Tags.Purpose] = purpose, [Tags.UserId] = userId });

    /// <param name="setting">The setting's name. Its old and new values go into <paramref name="payload"/>, unless they are secret.</param>
    public void ConfigChange(
        string setting, Outcome outcome = Outcome.Success, string? reason = null, string? userId = null, IReadOnlyDictionary<string, object?>? payload = null) =>
        events.Record(
            Actions.ConfigChange, outcome, SecurityLog.Sentence("Configuration change", outcome),
            new() { [Tags.Setting] = setting, [Tags.Reason] = reason, [Tags.UserId] = userId }, payload: payload);

    /// <summary>Staff read personal data.</summary>
    public void DataAccess(string targetUserId, Outcome outcome = Outcome.Success, string? reason = null, string? userId = null) =>
        Data(Actions.DataAccess, "Data access", targetUserId, outcome, reason, userId);

    /// <summary>Personal data was handed out, to the person or to somebody entitled.</summary>
    public void DataExport(string targetUserId, Outcome outcome = Outcome.Success, string? reason = null, string? userId = null) =>
        Data(Actions.DataExport, "Data export", targetUserId, outcome, reason, userId);

    public void DataErase(string targetUserId, Outcome outcome = Outcome.Success, string? reason = null, string? userId = null) =>
        Data(Actions.DataErase, "Data erasure", targetUserId, outcome, reason, userId);

    /// <param name="target">The receiver's stable name, not its URL: a URL may carry a secret.</param>
    /// <param name="statusCode">What the receiver answered; null when it did not.</param>
    public void WebhookDeliver(string target, Outcome outcome, int? statusCode, TimeSpan took, string? reason = null) =>
        events.Record(Actions.WebhookDeliver, outcome, SecurityLog.Sentence("Webhook delivery", outcome), new()
        {
            [Tags.Target] = target,
            [Tags.StatusCode] = statusCode,
            [Tags.DurationMs] = Math.Round(took.TotalMilliseconds, 1),
            [Tags.Reason] = reason,
        });

    private void Role(string action, string what, string targetUserId, string role, Outcome outcome, string? reason, string? userId) =>
        events.Record(action, outcome, SecurityLog.Sentence(what, outcome), new()
        {
            [Tags.TargetUserId] = targetUserId,
            [Tags.Role] = role,
            [Tags.Reason] = reason,
            [Tags.UserId] = userId,
        });

    private void Data(string action, string what, string targetUserId, Outcome outcome, string? reason, string? userId) =>
        events.Record(action, outcome, SecurityLog.Sentence(what, outcome), new()
        {
            [Tags.TargetUserId] = targetUserId,
            [Tags.Reason] = reason,
            [Tags.UserId] = userId,
        });
}
