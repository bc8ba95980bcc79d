namespace Platform.Instrumentation;

/// <summary>Kinds of events. Security and audit events are always a <see cref="Log"/>.</summary>
public static class EventTypes
{
    public const string Log = "log";
    public const string Metric = "metric";
    public const string Trace = "trace";
    public const string Alert = "alert";
}

/// <summary>How bad an event is for the system that reports it. A user's mistake is at most a <see cref="Warning"/>.</summary>
public static class Levels
{
    public const string Debug = "debug";
    public const string Info = "info";
    public const string Warning = "warning";
    public const string Error = "error";
    public const string Critical = "critical";
}

/// <summary>What was tried. The words, and when to use which, are in docs/events.md.</summary>
public static class Actions
{
    public const string Login = "login";
    public const string Logout = "logout";
    public const string Register = "register";
    public const string PasswordChange = "password_change";
    public const string MfaEnroll = "mfa_enroll";
    public const string MfaReset = "mfa_reset";
    public const string MfaChallenge = "mfa_challenge";
    public const string MfaVerify = "mfa_verify";
    public const string TokenIssue = "token_issue";
    public const string TokenRefresh = "token_refresh";
    public const string TokenRevoke = "token_revoke";
    public const string PermissionDenied = "permission_denied";
    public const string RoleAssign = "role_assign";
    public const string RoleRevoke = "role_revoke";
    public const string ConsentGrant = "consent_grant";
    public const string ConsentRevoke = "consent_revoke";
    public const string DataAccess = "data_access";
    public const string DataExport = "data_export";
    public const string DataErase = "data_erase";
    public const string ConfigChange = "config_change";
    public const string ConfigDrift = "config_drift";
    public const string WebhookDeliver = "webhook_deliver";
    public const string DependencyCall = "dependency_call";
    public const string Request = "request";
    public const string EventsDropped = "events_dropped";
}

/// <summary>How it went: done; tried and not possible; possible but forbidden by a policy.</summary>
public enum Outcome
{
    Success,
    Failure,
    Denied,
}

/// <summary>Names of the tags that rules, timelines and reports look for.</summary>
public static class Tags
{
    public const string Action = "action";
    public const string Outcome = "outcome";
    public const string Reason = "reason";
    public const string UserId = "user_id";
    public const string TargetUserId = "target_user_id";
    public const string SessionId = "session_id";
    public const string IpAddress = "ip_address";
    public const string UserAgent = "user_agent";
    public const string Provider = "provider";
    public const string MfaMethod = "mfa_method";
    public const string ClientId = "client_id";
    public const string Latitude = "latitude";
    public const string Longitude = "longitude";
    public const string Proxy = "proxy";
    public const string Role = "role";
    public const string Permission = "permission";
    public const string Purpose = "purpose";
    public const string Setting = "setting";
    public const string Dependency = "dependency";
    public const string Target = "target";
    public const string RequestId = "request_id";
    public const string TraceId = "trace_id";
    public const string Endpoint = "endpoint";
    public const string Method = "method";
    public const string StatusCode = "status_code";
    public const string DurationMs = "duration_ms";
    public const string RiskScore = "risk_score";
    public const string Dropped = "dropped";
    public const string Host = "host";
}

public static class OutcomeWord
{
    /// <summary>The outcome as it stands in the <c>outcome</c> tag.</summary>
    public static string Of(Outcome outcome) => outcome switch
    {
        Outcome.Success => "success",
        Outcome.Failure => "failure",
        Outcome.Denied => "denied",
    };
}
