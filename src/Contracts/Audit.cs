namespace Platform.Contracts;

/// <summary>
/// Somebody did, or was denied, something that must be provable later: every privileged action, denied access, change of a rule or key,
/// read of audit data, incident action. Sent in the transaction of the action itself; Compliance appends it to the audit chain.
/// </summary>
/// <param name="Realm">Realm in which it happened.</param>
/// <param name="Actor">Who: the subject of the credential (<c>key:…</c>), or <c>system:alerting</c> for the platform itself. Personal data.</param>
/// <param name="ActorRole">The role in use, or <c>anonymous</c>.</param>
/// <param name="Action">What: <c>rule.created</c>, <c>alert.acknowledged</c>, <c>access.denied</c>, …</param>
/// <param name="TargetType">Kind of thing acted on: <c>rule</c>, <c>alert</c>, <c>api_key</c>, <c>incident</c>, <c>route</c>.</param>
/// <param name="TargetId">Which one.</param>
/// <param name="Outcome">success, failure or denied.</param>
/// <param name="At">When it happened, UTC.</param>
/// <param name="SourceAddress">Address of the caller, where there was one. Personal data.</param>
/// <param name="CorrelationId">Ties the record to logs and answers of the same request.</param>
/// <param name="TraceId">W3C trace id, 32 hex digits.</param>
/// <param name="Count">How often, when equal actions were folded into one record (denials per credential, route and minute).</param>
/// <param name="Details">Further facts, small and without secrets.</param>
public sealed record Audited(
    string Realm,
    string Actor,
    string ActorRole,
    string Action,
    string TargetType,
    string TargetId,
    AuditOutcome Outcome,
    DateTimeOffset At,
    string? SourceAddress = null,
    string? CorrelationId = null,
    string? TraceId = null,
    int Count = 1,
    IReadOnlyDictionary<string, string>? Details = null) : IMessage
{
    public static string Topic => "platform.audited.v1";
}

public enum AuditOutcome
{
    Success,
    Failure,
    Denied,
}
