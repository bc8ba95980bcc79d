using Platform.Metrics.Events;

namespace Platform.Metrics.Exposition;

/// <summary>A metric of the exposition.</summary>
/// <param name="Name">As on the wire; a counter's ends in <c>_total</c>.</param>
/// <param name="Type">counter, gauge or untyped.</param>
public sealed record MetricFamily(string Name, string Type, string Help, IReadOnlyList<MetricPoint> Points);

/// <param name="Labels">In the order in which they are written.</param>
public readonly record struct MetricPoint(IReadOnlyList<(string Name, string Value)> Labels, double Value);

/// <summary>
/// The authentication counters of the seeds, made of the totals of events: an application that only sends events has them. Pure; which
/// action counts where is the table below and in <c>docs/events.md</c>. Labels are words of the vocabulary, never what a client wrote.
/// </summary>
public static class EventCounters
{
    /// <summary>Stands where an application that counts for itself would have the HTTP method, so that the two can be told apart.</summary>
    private const string Method = "event";

    private static readonly string[] Requests = ["login", "logout", "mfa_verify", "token_refresh"];

    private static readonly string[] UserOperations =
        ["register", "password_change", "mfa_enroll", "role_assign", "role_revoke", "consent_grant", "consent_revoke", "data_access", "data_export", "data_erase"];

    // The eight of seed 000: one number each, also when it is 0. No outcome: every outcome counts.
    private static readonly (string Name, string Type, string Help, string Action, string? Outcome)[] Singles =
    [
        ("login_success_total", "counter", "Number of successful login attempts.", "login", "success"),
        ("login_failure_total", "counter", "Number of failed login attempts.", "login", "failure"),
        ("registration_total", "counter", "Number of completed user registrations.", "register", "success"),
        ("role_assignments_total", "counter", "Role assignments performed.", "role_assign", "success"),
        ("mfa_challenge_total", "counter", "Number of MFA challenges triggered.", "mfa_challenge", null),
        ("user_consent_granted_total", "counter", "Count of user consents granted.", "consent_grant", "success"),
        // Without _total a counter's name is refused by promtool, so these two say no type.
        ("webhook_delivery_success", "untyped", "Successful webhook deliveries.", "webhook_deliver", "success"),
        ("webhook_delivery_failure", "untyped", "Failed webhook deliveries.", "webhook_deliver", "failure"),
        ("permission_denials_total", "counter", "Requests of known users for what they may not do.", "permission_denied", null),
        ("user_registrations_total", "counter", "Number of completed user registrations.", "register", "success"),
    ];

    /// <summary>The families that the totals of one realm, or of several realms together, make.</summary>
    public static List<MetricFamily> From(IReadOnlyList<ActionTotal> totals)
    {
        // Shown before the first one, too: rules ask for the increase.
        var sums = new SortedDictionary<(string Action, string Outcome), long> { [("token_revoke", "success")] = 0, [("config_drift", "failure")] = 0 };
        foreach (var total in totals)
        {
            sums[(total.Action, total.Outcome)] = sums.GetValueOrDefault((total.Action, total.Outcome)) + total.Total;
        }

        var families = new List<MetricFamily>();
        foreach (var (name, type, help, action, outcome) in Singles)
        {
            var value = sums.Where(sum => sum.Key.Action == action && (outcome is null || sum.Key.Outcome == outcome)).Sum(sum => sum.Value);
            families.Add(new(name, type, help, [new([], value)]));
        }

        Add("user_login_attempts_total", "Login attempts by how they ended.", key => key.Action == "login" ? [("status", key.Outcome)] : null);
        Add("auth_requests_total", "Total number of authentication requests.",
            key => Requests.Contains(key.Action) ? [("method", Method), ("endpoint", key.Action), ("status", key.Outcome)] : null);
        Add("token_operations_total", "Total number of token operations.",
            key => Token(key.Action) is { } token ? [("operation", token.Operation), ("token_type", token.Type), ("status", key.Outcome)] : null);
        Add("user_operations_total", "Total number of user operations.",
            key => UserOperations.Contains(key.Action) ? [("operation", key.Action), ("status", key.Outcome)] : null);
        Add("drift_detections_total", "Total number of drift detections.", key => key.Action == "config_drift" ? [("severity", "high"), ("status", "detected")] : null);
        return families;

        void Add(string name, string help, Func<(string Action, string Outcome), (string, string)[]?> label)
        {
            var points = new List<MetricPoint>();
            foreach (var (key, sum) in sums)
            {
                if (label(key) is { } labels)
                {
                    var same = points.FindIndex(point => point.Labels.SequenceEqual(labels));
                    if (same >= 0)
                    {
                        points[same] = points[same] with { Value = points[same].Value + sum };
                    }
                    else
                    {
                        points.Add(new(labels, sum));
                    }
                }
            }

            if (points.Count > 0)
            {
                families.Add(new(name, "counter", help, points));
            }
        }
    }

    private static (string Operation, string Type)? Token(string action) => action switch
    {
        "token_issue" => ("issue", "access"),
        "token_refresh" => ("refresh", "refresh"),
        "token_revoke" => ("revoke", "any"),
        _ => null,
    };
}
