using System.ComponentModel.DataAnnotations;
using System.Net;
using Platform.Alerting.Rules;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Detections;

/// <summary>
/// The numbers of the detection pack: <c>DETECTION_</c>, the detection's name, and what is counted. What each detection is for, and what to
/// do about it, is in docs/detections.md.
/// </summary>
public sealed class DetectionOptions : IValidatableObject
{
    /// <summary>Whether the pack is in force. Without it, <c>auth_failures</c> counts every failed login.</summary>
    [Setting("DETECTIONS_ENABLED")]
    public bool Enabled { get; init; } = true;

    /// <summary>Names of detections that are switched off.</summary>
    [Setting("DETECTIONS_DISABLED")]
    public IReadOnlyList<string> Disabled { get; init; } = [];

    [Setting("DETECTION_BRUTE_FORCE_FAILURES"), Range(1, 10_000)]
    public int BruteForceFailures { get; init; } = 10;

    [Setting("DETECTION_BRUTE_FORCE_WINDOW_SECONDS"), Range(1, 86_400)]
    public int BruteForceWindow { get; init; } = 300;

    [Setting("DETECTION_MANY_ADDRESSES_TRIES"), Range(1, 10_000)]
    public int ManyAddressesTries { get; init; } = 10;

    [Setting("DETECTION_MANY_ADDRESSES_ADDRESSES"), Range(1, 10_000)]
    public int ManyAddressesAddresses { get; init; } = 5;

    [Setting("DETECTION_MANY_ADDRESSES_WINDOW_SECONDS"), Range(1, 86_400)]
    public int ManyAddressesWindow { get; init; } = 1_800;

    [Setting("DETECTION_CREDENTIAL_STUFFING_TRIES"), Range(1, 10_000)]
    public int StuffingTries { get; init; } = 25;

    [Setting("DETECTION_CREDENTIAL_STUFFING_USERS"), Range(1, 10_000)]
    public int StuffingUsers { get; init; } = 15;

    [Setting("DETECTION_CREDENTIAL_STUFFING_TRIES_PER_USER"), Range(1, 10_000)]
    public int StuffingTriesPerUser { get; init; } = 2;

    [Setting("DETECTION_CREDENTIAL_STUFFING_WINDOW_SECONDS"), Range(1, 86_400)]
    public int StuffingWindow { get; init; } = 900;

    [Setting("DETECTION_PASSWORD_SPRAY_USERS"), Range(1, 10_000)]
    public int SprayUsers { get; init; } = 15;

    [Setting("DETECTION_PASSWORD_SPRAY_WINDOW_SECONDS"), Range(1, 86_400)]
    public int SprayWindow { get; init; } = 300;

    [Setting("DETECTION_DISTRIBUTED_SPRAY_ADDRESSES"), Range(1, 10_000)]
    public int DistributedSprayAddresses { get; init; } = 5;

    [Setting("DETECTION_DISTRIBUTED_SPRAY_USERS"), Range(1, 10_000)]
    public int DistributedSprayUsers { get; init; } = 8;

    [Setting("DETECTION_DISTRIBUTED_SPRAY_TRIES"), Range(1, 10_000)]
    public int DistributedSprayTries { get; init; } = 25;

    [Setting("DETECTION_DISTRIBUTED_SPRAY_TRIES_PER_USER"), Range(1, 10_000)]
    public int DistributedSprayTriesPerUser { get; init; } = 5;

    [Setting("DETECTION_DISTRIBUTED_SPRAY_WINDOW_SECONDS"), Range(1, 86_400)]
    public int DistributedSprayWindow { get; init; } = 900;

    [Setting("DETECTION_MFA_FATIGUE_DENIALS"), Range(1, 1_000)]
    public int MfaFatigueDenials { get; init; } = 5;

    [Setting("DETECTION_MFA_FATIGUE_WINDOW_SECONDS"), Range(1, 86_400)]
    public int MfaFatigueWindow { get; init; } = 600;

    [Setting("DETECTION_TOTP_GUESSING_FAILURES"), Range(1, 10_000)]
    public int TotpGuessingFailures { get; init; } = 20;

    [Setting("DETECTION_TOTP_GUESSING_SESSIONS"), Range(1, 10_000)]
    public int TotpGuessingSessions { get; init; } = 10;

    [Setting("DETECTION_TOTP_GUESSING_WINDOW_SECONDS"), Range(1, 86_400)]
    public int TotpGuessingWindow { get; init; } = 540;

    [Setting("DETECTION_IMPOSSIBLE_TRAVEL_KILOMETRES"), Range(1, 20_000)]
    public double TravelKilometres { get; init; } = 500;

    [Setting("DETECTION_IMPOSSIBLE_TRAVEL_KILOMETRES_PER_HOUR"), Range(1, 100_000)]
    public double TravelSpeed { get; init; } = 800;

    [Setting("DETECTION_IMPOSSIBLE_TRAVEL_WINDOW_SECONDS"), Range(1, 86_400)]
    public int TravelWindow { get; init; } = 5_400;

    /// <summary>Exits of the company's VPN and other addresses that say nothing about where somebody is.</summary>
    [Setting("DETECTION_IMPOSSIBLE_TRAVEL_IGNORED_NETWORKS")]
    public IReadOnlyList<string> TravelIgnoredNetworks { get; init; } = [];

    [Setting("DETECTION_LOCKOUT_STORM_LOCKOUTS"), Range(1, 10_000)]
    public int LockoutStormLockouts { get; init; } = 30;

    [Setting("DETECTION_LOCKOUT_STORM_USERS"), Range(1, 10_000)]
    public int LockoutStormUsers { get; init; } = 25;

    [Setting("DETECTION_LOCKOUT_STORM_WINDOW_SECONDS"), Range(1, 86_400)]
    public int LockoutStormWindow { get; init; } = 1_800;

    [Setting("DETECTION_MFA_RESET_WINDOW_SECONDS"), Range(1, 86_400)]
    public int MfaResetWindow { get; init; } = 43_200;

    [Setting("DETECTION_SIGNUP_FLOOD_SIGNUPS"), Range(1, 10_000)]
    public int SignupFloodSignups { get; init; } = 50;

    [Setting("DETECTION_SIGNUP_FLOOD_WINDOW_SECONDS"), Range(1, 86_400)]
    public int SignupFloodWindow { get; init; } = 60;

    /// <summary>Actions that somebody who just got a role should not be seen doing.</summary>
    [Setting("DETECTION_PRIVILEGE_ESCALATION_ACTIONS")]
    public IReadOnlyList<string> PrivilegeEscalationActions { get; init; } =
        ["role_assign", "role_revoke", "config_change", "data_access", "data_export", "data_erase", "mfa_reset"];

    [Setting("DETECTION_PRIVILEGE_ESCALATION_WINDOW_SECONDS"), Range(1, 86_400)]
    public int PrivilegeEscalationWindow { get; init; } = 600;

    [Setting("DETECTION_TOKEN_REVOCATION_REVOCATIONS"), Range(1, 10_000)]
    public int TokenRevocations { get; init; } = 20;

    [Setting("DETECTION_TOKEN_REVOCATION_WINDOW_SECONDS"), Range(1, 86_400)]
    public int TokenRevocationWindow { get; init; } = 300;

    /// <summary>
    /// When settings may change, separated by semicolons, each as <see cref="WeeklyTimes"/> reads it:
    /// <c>monday:friday 09:00-17:00 Europe/Berlin; saturday 06:00-08:00</c>. None: every change is reported.
    /// </summary>
    [Setting("DETECTION_CONFIGURATION_DRIFT_CHANGE_WINDOWS")]
    public string ChangeWindows { get; init; } = "";

    /// <summary>How long the alert about a change stays open when no further one comes.</summary>
    [Setting("DETECTION_CONFIGURATION_DRIFT_WINDOW_SECONDS"), Range(1, 86_400)]
    public int ConfigurationDriftWindow { get; init; } = 3_600;

    internal string[] ChangeTimes => ChangeWindows.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        foreach (var name in Disabled.Where(name => !DetectionPack.Names.Contains(name)))
        {
            yield return new ValidationResult($"DETECTIONS_DISABLED names \"{name}\", which is no detection: expected some of {string.Join(", ", DetectionPack.Names)}. Correct it, or leave it out.");
        }

        foreach (var network in TravelIgnoredNetworks.Where(network => !IPNetwork.TryParse(network, out _)))
        {
            yield return new ValidationResult($"DETECTION_IMPOSSIBLE_TRAVEL_IGNORED_NETWORKS has \"{network}\", which is no network: expected for example 203.0.113.0/24. Correct it, or leave it out.");
        }

        if (PrivilegeEscalationActions.Count is 0 or > 50)
        {
            yield return new ValidationResult("DETECTION_PRIVILEGE_ESCALATION_ACTIONS needs 1 to 50 actions, for example config_change,data_export. To do without, put privilege_escalation into DETECTIONS_DISABLED.");
        }

        foreach (var time in ChangeTimes)
        {
            if (Wrong(time) is { } wrong)
            {
                yield return new ValidationResult($"DETECTION_CONFIGURATION_DRIFT_CHANGE_WINDOWS: {wrong} Correct it, or unset it.");
            }
        }
    }

    private static string? Wrong(string time)
    {
        try
        {
            WeeklyTimes.Parse(time);
            return null;
        }
        catch (FormatException wrong)
        {
            return wrong.Message;
        }
    }
}
