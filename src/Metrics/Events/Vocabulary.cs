using System.Text.Json;

namespace Platform.Metrics.Events;

/// <summary>
/// The words of <c>docs/events.md</c> that events are counted by. Anything else counts as the empty word: the table of counts stays
/// small whatever clients send.
/// </summary>
internal static class Vocabulary
{
    public static readonly string[] Actions =
    [
        "login", "logout", "register", "password_change", "mfa_enroll", "mfa_reset", "mfa_challenge", "mfa_verify", "token_issue", "token_refresh", "token_revoke",
        "permission_denied", "role_assign", "role_revoke", "consent_grant", "consent_revoke", "data_access", "data_export", "data_erase",
        "config_change", "config_drift", "webhook_deliver", "dependency_call", "request", "events_dropped",
    ];

    public static readonly string[] Outcomes = ["success", "failure", "denied"];

    public static string Action(ref Utf8JsonReader reader) => Word(ref reader, Actions);

    public static string Outcome(ref Utf8JsonReader reader) => Word(ref reader, Outcomes);

    private static string Word(ref Utf8JsonReader reader, string[] words)
    {
        foreach (var word in words)
        {
            if (reader.ValueTextEquals(word))
            {
                return word;
            }
        }

        return "";
    }
}
