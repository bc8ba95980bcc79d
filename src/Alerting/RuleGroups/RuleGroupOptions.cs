using System.ComponentModel.DataAnnotations;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

public enum OnData
{
    None,
    Critical,
    All,
}

/// <summary>How rules in PromQL are read and evaluated.</summary>
public sealed class RuleGroupOptions : IValidatableObject
{
    /// <summary>Rule files, several patterns by commas; the last part of each may hold <c>*</c>. <c>default</c> stands for those that come with the platform, <c>none</c> for no file.</summary>
    [Setting("ALERT_RULE_FILES")]
    public IReadOnlyList<string> Files { get; init; } = ["default"];

    /// <summary>The realm of the groups in files; <c>*</c>: they read the series of all realms.</summary>
    [Setting("ALERT_RULE_FILES_REALM"), StringLength(100, MinimumLength = 1)]
    public string FilesRealm { get; init; } = Realm.All;

    /// <summary>Time between two looks at the rule files.</summary>
    [Setting("ALERT_RULE_FILES_POLL_SECONDS"), Range(0.1, 3600)]
    public TimeSpan FilesPoll { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Bytes of one rule file.</summary>
    [Setting("ALERT_RULE_FILE_MAX_BYTES"), Range(1_000, 100_000_000)]
    public int MaxFileBytes { get; init; } = 4_000_000;

    /// <summary>Time between two evaluations of a group that names none.</summary>
    [Setting("ALERT_RULE_INTERVAL_SECONDS"), Range(1, 86_400)]
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Rules in one group.</summary>
    [Setting("ALERT_RULE_GROUP_RULES"), Range(1, 100_000)]
    public int MaxRulesPerGroup { get; init; } = 5_000;

    /// <summary>Rules of one realm, in all of its groups together.</summary>
    [Setting("ALERT_RULE_REALM_RULES"), Range(1, 1_000_000)]
    public int MaxRulesPerRealm { get; init; } = 20_000;

    /// <summary>How long a replica that does not answer keeps the groups that it evaluates.</summary>
    [Setting("ALERT_RULE_LEASE_SECONDS"), Range(1, 600)]
    public TimeSpan Lease { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Requests to Metrics at the same time, per process.</summary>
    [Setting("ALERT_RULE_CONCURRENCY"), Range(1, 64)]
    public int Concurrency { get; init; } = 4;

    /// <summary>Expressions in one request to Metrics.</summary>
    [Setting("ALERT_RULE_BATCH"), Range(1, 10_000)]
    public int Batch { get; init; } = 2_000;

    /// <summary>Which alerting rules are evaluated as soon as a series that they read gets a sample: those of severity critical, all, or none.</summary>
    [Setting("ALERT_RULE_ON_DATA")]
    public OnData OnData { get; init; } = OnData.Critical;

    /// <summary>Between two such evaluations of one rule.</summary>
    [Setting("ALERT_RULE_ON_DATA_MILLISECONDS"), Range(10, 60_000)]
    public TimeSpan OnDataGap { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>Such evaluations of all rules together; beyond that, rules wait for the next second or for their interval.</summary>
    [Setting("ALERT_RULE_ON_DATA_PER_SECOND"), Range(1, 100_000)]
    public int OnDataPerSecond { get; init; } = 200;

    /// <summary>Samples could not be asked for this long: an alert says so, one for all rules.</summary>
    [Setting("ALERT_RULE_SOURCE_FAILURE_SECONDS"), Range(1, 86_400)]
    public TimeSpan SourceFailure { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Labels that templates see as <c>$externalLabels</c>: <c>cluster=eu,stage=prod</c>.</summary>
    [Setting("ALERT_RULE_EXTERNAL_LABELS")]
    public IReadOnlyList<string> ExternalLabels { get; init; } = [];

    /// <summary>Evaluations in one backtest.</summary>
    [Setting("ALERT_BACKTEST_MAX_STEPS"), Range(10, 10_000_000)]
    public int BacktestSteps { get; init; } = 50_000;

    /// <summary>Alerts (label sets) that one backtest follows.</summary>
    [Setting("ALERT_BACKTEST_MAX_SERIES"), Range(1, 1_000_000)]
    public int BacktestSeries { get; init; } = 5_000;

    /// <summary>Backtests at the same time, of both kinds together, per process; further ones wait.</summary>
    [Setting("ALERT_BACKTEST_CONCURRENCY"), Range(1, 64)]
    public int BacktestConcurrency { get; init; } = 2;

    /// <summary><see cref="ExternalLabels"/> as names and values.</summary>
    public IReadOnlyDictionary<string, string> ExternalWords() => ExternalLabels.Select(pair => pair.Split('=', 2)).ToDictionary(pair => pair[0].Trim(), pair => pair[1].Trim());

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        var names = ExternalLabels.Select(pair => pair.Split('=', 2)[0].Trim()).ToList();
        if (ExternalLabels.Any(pair => !pair.Contains('=', StringComparison.Ordinal)) || names.Distinct().Count() != names.Count)
        {
            yield return new ValidationResult("ALERT_RULE_EXTERNAL_LABELS is a list of name=value, separated by commas, each name once.");
        }
    }
}
