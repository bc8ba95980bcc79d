using Platform.Alerting.Rules;
using Platform.Contracts;

namespace Platform.Alerting.Detections;

/// <summary>
/// Attacks on accounts, as event rules: what they look like in the vocabulary of docs/events.md, how bad they are, their technique in MITRE
/// ATT&amp;CK, and what to do. The numbers are settings; docs/detections.md says where they come from.
/// </summary>
public static class DetectionPack
{
    /// <summary>What the settings call the detections; <c>mfa_fatigue</c> is two rules, the second for the success that follows.</summary>
    public static readonly IReadOnlyList<string> Names =
    [
        "brute_force", "many_addresses", "credential_stuffing", "password_spray", "distributed_spray", "mfa_fatigue", "totp_guessing",
        "impossible_travel", "lockout_storm", "mfa_reset", "signup_flood", "privilege_escalation", "token_revocation", "configuration_drift",
    ];

    private const string By = "system:alerting";
    private const string User = "tags.user_id";
    private const string Address = "tags.ip_address";
    private const string Guessing = "password_guessing";

    public static IReadOnlyList<Rule> Rules(DetectionOptions options, DateTimeOffset now)
    {
        // Tries that failed, and those that a lock refused: an attacker goes on when the lock is shut.
        var tries = Match("login", [], User) with { AnyOf = Any("tags.outcome", "failure", "denied") };
        return
        [
            Make(1, "brute_force", "T1110.001", Severity.High,
                "Somebody guesses the password of one user from one address.",
                "Look whether a login of this user succeeded after the failures: then end the user's sessions, change the password and look at what was done since. Otherwise block the address and see that the account has a second factor. A device with an old password looks alike: same user agent, even gaps.",
                Match("login", [("outcome", "failure")], User), options.BruteForceFailures, options.BruteForceWindow, [User, Address])
                with { Cause = Guessing, CauseBy = Address },
            Make(2, "many_addresses", "T1110.001", Severity.High,
                "The password of one user is guessed from many addresses.",
                "Blocking addresses does not help: ask for a second factor or a captcha for this user, tell the user, and look for a success among the tries. If there is one, end the user's sessions and change the password.",
                tries, options.ManyAddressesTries, options.ManyAddressesWindow, [User], new Condition.Distinct(Numbers((Address, options.ManyAddressesAddresses)), Numbers())),
            Make(3, "credential_stuffing", "T1110.004", Severity.High,
                "One address tries leaked passwords: many users, each once or twice.",
                "Block the address. Every login from it that succeeded is an account taken over: end its sessions, change its password, tell the user. Compare the tried names with known leaks.",
                tries, options.StuffingTries, options.StuffingWindow, [Address],
                new Condition.Distinct(Numbers((User, options.StuffingUsers)), Numbers((User, options.StuffingTriesPerUser))))
                with { Cause = Guessing, CauseBy = Address },
            Make(4, "password_spray", "T1110.003", Severity.High,
                "One address tries a few common passwords on many users.",
                "Block the address. Look for a success among the tries, end those sessions and change those passwords. If it is the exit of an office or a school, see what broke: a single sign-on that fails looks alike.",
                tries, 1, options.SprayWindow, [Address], new Condition.Distinct(Numbers((User, options.SprayUsers)), Numbers()))
                with { Cause = Guessing, CauseBy = Address },
            Make(5, "distributed_spray", "T1110.003", Severity.High,
                "Many addresses together try a few passwords on many users.",
                "Look at what the tries share (user agent, network, provider) and block that. Look for successes among them. Raise the numbers if your users mistype this often in an ordinary quarter of an hour.",
                tries, options.DistributedSprayTries, options.DistributedSprayWindow, ["source"],
                new Condition.Distinct(Numbers((Address, options.DistributedSprayAddresses), (User, options.DistributedSprayUsers)), Numbers((User, options.DistributedSprayTriesPerUser)))),
            Make(6, "mfa_fatigue", "T1621", Severity.High,
                "A user is asked for the second factor again and again, and refuses: somebody has the password.",
                "Call the user. The password is known to somebody else: change it, and end the sessions. Switch the user to number matching or a security key.",
                Denial(), options.MfaFatigueDenials, options.MfaFatigueWindow, [User])
                with { Cause = "mfa_fatigue", CauseBy = User },
            Make(7, "mfa_fatigue_accepted", "T1621", Severity.Critical,
                "After refusing the second factor again and again, a user accepted it: somebody is probably in.",
                "Act now: end all sessions of the user, revoke tokens, lock the account, then call the user. Look at everything the account did since the success.",
                Match("mfa_verify", [("outcome", "success")], User), 1, options.MfaFatigueWindow, [User],
                new Condition.Sequence(Denial(), [User], options.MfaFatigueDenials, options.MfaFatigueWindow))
                with { Cause = "mfa_fatigue", CauseBy = User },
            Make(8, "totp_guessing", "T1110.001", Severity.High,
                "The one-time codes of one user are guessed over many sessions: somebody has the password.",
                "Change the password and end the sessions. A million codes are few for somebody who may try often: limit the tries per user, not per session.",
                Match("mfa_verify", [("outcome", "failure"), ("mfa_method", "totp")], User), options.TotpGuessingFailures, options.TotpGuessingWindow, [User],
                new Condition.Distinct(Numbers(("tags.session_id", options.TotpGuessingSessions)), Numbers())),
            Make(9, "impossible_travel", "T1078", Severity.High,
                "One user logged in at two places, too far apart for the time between.",
                "Ask the user. If only one of the logins was theirs, end the sessions of the other, change the password and look at what was done. If it was a VPN, put its exit into DETECTION_IMPOSSIBLE_TRAVEL_IGNORED_NETWORKS, or let the source send the tag proxy.",
                Match("login", [("outcome", "success")], User), 1, options.TravelWindow, [User],
                new Condition.Travel(options.TravelKilometres, options.TravelSpeed, options.TravelIgnoredNetworks)),
            Make(10, "lockout_storm", "T1110", Severity.High,
                "Many accounts are locked at once: somebody guesses on all of them, or wants them locked.",
                "Find what the tries before the locks share and block that. Unlock those who cannot work. If a service account or a provider changed, it is no attack: mend that.",
                Match("login", [("outcome", "denied"), ("reason", "account_locked")], User), options.LockoutStormLockouts, options.LockoutStormWindow, ["source"],
                new Condition.Distinct(Numbers((User, options.LockoutStormUsers)), Numbers())),
            Make(11, "mfa_reset", "T1556.006", Severity.Medium,
                "A user's second factor was reset, and somebody logged in as that user.",
                "Ask the user, not over the account, whether they wanted the reset. Ask who at the help desk did it, and how they knew whom they spoke to. If it was not the user: lock the account, end its sessions.",
                Match("login", [("outcome", "success")], User), 1, options.MfaResetWindow, [User],
                new Condition.Sequence(Match("mfa_reset", [("outcome", "success")]), ["tags.target_user_id|tags.user_id"], 1, options.MfaResetWindow)),
            Make(12, "signup_flood", "T1136", Severity.Medium,
                "One address asks for accounts by the dozen.",
                "Block the address or ask it for a captcha. Look at what the new accounts have in common, and remove those that no person made.",
                Match("register", [], Address), options.SignupFloodSignups, options.SignupFloodWindow, [Address]),
            Make(13, "privilege_escalation", "T1098.003", Severity.High,
                "Somebody was given a role and used it for something sensitive within minutes.",
                "See who gave the role and whether it was asked for. If not: take the role away, end the sessions of both, undo what was done.",
                Match(null, [("outcome", "success")], User) with { AnyOf = Any("tags.action", [.. options.PrivilegeEscalationActions]) }, 1, options.PrivilegeEscalationWindow, [User],
                new Condition.Sequence(Match("role_assign", [("outcome", "success")], "tags.target_user_id"), ["tags.target_user_id"], 1, options.PrivilegeEscalationWindow)),
            Make(14, "token_revocation", "T1528", Severity.Medium,
                "Tokens are revoked in a burst: refresh tokens come twice, or somebody cleans up after a theft.",
                "Look at the reason of the revocations. With reused: tokens were copied, find out where. By an administrator: make sure that it was one. By a deployment: it is no attack.",
                Match("token_revoke", []), options.TokenRevocations, options.TokenRevocationWindow, ["source"]),
            Make(15, "configuration_drift", "T1484", Severity.Medium,
                "A setting was changed outside of the change windows.",
                "Ask who changed it and why it could not wait. If nobody knows: put the setting back, change the credentials of the account that did it, and look at what else it did. Your change windows are DETECTION_CONFIGURATION_DRIFT_CHANGE_WINDOWS.",
                Match("config_change", []), 1, options.ConfigurationDriftWindow, ["source", "tags.setting"])
                with { NotDuring = options.ChangeTimes },
        ];

        Rule Make(
            int number, string name, string technique, Severity severity, string description, string runbook,
            RuleMatch match, int threshold, int window, string[] groupBy, Condition? condition = null) =>
            new(new Guid($"0190a000-0000-7000-8000-1000000000{number:00}"), ServiceDefaults.Realm.All, name, description, match, threshold, window, groupBy, severity,
                options.Enabled && !options.Disabled.Contains(Family(name)), By, now, now, 1)
            {
                Condition = condition,
                Labels = new Dictionary<string, string> { ["mitre_attack"] = technique },
                Annotations = new Dictionary<string, string>
                {
                    ["runbook"] = runbook,
                    ["mitre_attack_url"] = $"https://attack.mitre.org/techniques/{technique.Replace('.', '/')}/",
                },
            };
    }

    private static string Family(string name) => name == "mfa_fatigue_accepted" ? "mfa_fatigue" : name;

    // The person refused; what was mistyped or ran out is a failure.
    private static RuleMatch Denial() =>
        Match(null, [("outcome", "denied")], User) with { AnyOf = Any("tags.action", "mfa_verify", "mfa_challenge") };

    private static RuleMatch Match(string? action, (string Tag, string Value)[] tags, params string[] present)
    {
        var all = tags.ToDictionary(tag => tag.Tag, tag => tag.Value);
        if (action is not null)
        {
            all["action"] = action;
        }

        return new RuleMatch(null, null, null, all) { Present = present.Length > 0 ? present : null };
    }

    private static Dictionary<string, IReadOnlyList<string>> Any(string field, params string[] values) => new() { [field] = values };

    private static Dictionary<string, int> Numbers(params (string Field, int Number)[] numbers) => numbers.ToDictionary(one => one.Field, one => one.Number);
}
