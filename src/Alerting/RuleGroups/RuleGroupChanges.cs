using Npgsql;
using Platform.Alerting.Alerts;

namespace Platform.Alerting.RuleGroups;

/// <summary>What has to happen with a change of groups, whoever makes it: alerts of rules that are gone resolve, in the change's transaction.</summary>
public sealed class RuleGroupChanges(AlertStore alerts, RuleGroupOptions options)
{
    private const string Gone = "The rule was removed.";

    /// <param name="old">What it replaces; null: it is new.</param>
    public async Task SaveAsync(NpgsqlTransaction tx, RuleGroup? old, RuleGroup group, CancellationToken ct)
    {
        await RuleGroupStore.SaveAsync(tx, group, ct);
        var kept = group.Rules.Where(rule => rule.Alert is not null).Select(rule => rule.Id).ToHashSet();
        foreach (var rule in old?.Rules.Where(rule => rule.Alert is not null && !kept.Contains(rule.Id)) ?? [])
        {
            await alerts.ResolveOfRuleAsync(tx, rule.Id, Gone, group.UpdatedAt, ct);
            await RuleGroupStore.ForgetAsync(tx, rule.Id, ct);
        }
    }

    public async Task DeleteAsync(NpgsqlTransaction tx, RuleGroup group, DateTimeOffset now, CancellationToken ct)
    {
        await RuleGroupStore.HoldRunAsync(tx, group.Id, ct);
        foreach (var rule in group.Rules.Where(rule => rule.Alert is not null))
        {
            await alerts.ResolveOfRuleAsync(tx, rule.Id, Gone, now, ct);
        }

        await RuleGroupStore.DeleteAsync(tx, group.Id, ct);
    }

    /// <summary>Null when the realm has room for the rules that were just saved; otherwise what to say.</summary>
    public async Task<string?> CheckRoomAsync(NpgsqlTransaction tx, string realm, CancellationToken ct) =>
        await RuleGroupStore.CountRulesAsync(tx, realm, ct) is var rules && rules > options.MaxRulesPerRealm
            ? $"The realm {realm} would have {rules} rules; ALERT_RULE_REALM_RULES allows {options.MaxRulesPerRealm}."
            : null;
}
