using System.Text.Json;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Postgres;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>How the last evaluation of a group went.</summary>
/// <param name="EvaluatedAt">Null: never.</param>
/// <param name="Errors">By rule, of those whose evaluation failed.</param>
/// <param name="Values">Of active alerts, by rule and fingerprint; not of all where there are very many.</param>
public sealed record RuleGroupRun(
    Guid GroupId, DateTimeOffset? EvaluatedAt, TimeSpan Took, IReadOnlyDictionary<Guid, TimeSpan> RuleTimes, IReadOnlyDictionary<Guid, string> Errors, IReadOnlyDictionary<string, double> Values)
{
    private const string NotShown = "The rule failed. Its group reads all realms, and so may the error name series of any: it is shown to callers of all realms.";

    /// <summary>As <paramref name="caller"/> may see it: of a group of all realms, that a rule failed, but not the words of the error, unless the caller sees them all, too.</summary>
    public RuleGroupRun For(Caller caller, RuleGroup group) =>
        group.Realm != Realm.All || caller.SeesAllRealms ? this : this with { Errors = Errors.ToDictionary(error => error.Key, _ => NotShown) };
}

/// <param name="RuleId">Whose alert it is.</param>
public sealed record StoredRuleAlert(Guid RuleId, string Fingerprint, ActiveAlert Alert);

/// <param name="LoadedAt">Null: it was never understood.</param>
/// <param name="Error">What is wrong with the file as it is now; what it said before stays in force.</param>
public sealed record RuleFileState(string File, DateTimeOffset? LoadedAt, string? Error, DateTimeOffset? ErrorAt);

/// <summary>All SQL about rule groups.</summary>
public sealed class RuleGroupStore(NpgsqlDataSource db)
{
    /// <summary>Held by whoever changes groups, so that two changes of one group come one after the other.</summary>
    private const long Lock = 0x72756c65_67727073;

    private static Sql Columns => $"id, realm, file, name, interval_ms, series_limit, offset_ms, labels::text, rules::text, created_by, created_at, updated_at, version";

    public static Task LockForChangeAsync(NpgsqlTransaction tx, CancellationToken ct) => tx.ExecuteAsync($"select pg_advisory_xact_lock({Lock})", ct);

    public Task<List<RuleGroup>> ListAsync(CancellationToken ct) => db.QueryAsync($"select {Columns} from rule_groups order by realm, file, name", Read, ct);

    /// <param name="realm">That realm's groups and those of all realms; null for every group.</param>
    public Task<List<RuleGroup>> ListAsync(string? realm, CancellationToken ct) =>
        db.QueryAsync($"select {Columns} from rule_groups where {realm}::text is null or realm in ({realm}, '*') order by realm, file, name", Read, ct);

    public Task<RuleGroup?> FindAsync(Guid id, CancellationToken ct) => db.FindAsync($"select {Columns} from rule_groups where id = {id}", Read, ct);

    public static Task<RuleGroup?> FindAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) => tx.FindAsync($"select {Columns} from rule_groups where id = {id}", Read, ct);

    public static Task<RuleGroup?> FindAsync(NpgsqlTransaction tx, string realm, string file, string name, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from rule_groups where realm = {realm} and file = {file} and name = {name}", Read, ct);

    /// <summary>The group that has this alerting rule.</summary>
    public Task<RuleGroup?> FindOfRuleAsync(Guid rule, CancellationToken ct) => db.FindAsync(OfRule(rule), Read, ct);

    public static Task<RuleGroup?> FindOfRuleAsync(NpgsqlTransaction tx, Guid rule, CancellationToken ct) => tx.FindAsync(OfRule(rule), Read, ct);

    private static Sql OfRule(Guid rule) => $"""
        select {Columns} from rule_groups where exists (select 1 from jsonb_array_elements(rules) as r where r->>'id' = {rule.ToString()} and r->>'alert' is not null)
        """;

    public static Task<List<RuleGroup>> OfFileAsync(NpgsqlTransaction tx, string file, CancellationToken ct) =>
        tx.QueryAsync($"select {Columns} from rule_groups where file = {file}", Read, ct);

    public static async Task<long> CountRulesAsync(NpgsqlTransaction tx, string realm, CancellationToken ct) =>
        await tx.FindAsync($"select coalesce(sum(jsonb_array_length(rules)), 0) from rule_groups where realm = {realm}", row => row.GetInt64(0), ct);

    public static async Task SaveAsync(NpgsqlTransaction tx, RuleGroup group, CancellationToken ct)
    {
        var text = RuleGroupText.Of(group);
        await tx.ExecuteAsync($"""
            insert into rule_groups (id, realm, file, name, interval_ms, series_limit, offset_ms, labels, rules, created_by, created_at, updated_at, version)
            values ({group.Id}, {group.Realm}, {group.File}, {group.Name}, {Milliseconds(group.Interval)}, {group.Limit}, {Milliseconds(group.QueryOffset)},
                {Json(group.Labels)}, {Json(text.Rules)}, {group.CreatedBy}, {group.CreatedAt}, {group.UpdatedAt}, {group.Version})
            on conflict (id) do update set name = excluded.name, interval_ms = excluded.interval_ms, series_limit = excluded.series_limit, offset_ms = excluded.offset_ms,
                labels = excluded.labels, rules = excluded.rules, updated_at = excluded.updated_at, version = excluded.version
            """, ct);
        // Waits for an evaluation that is being written, and lets no later one of the former version through.
        await tx.ExecuteAsync($"insert into rule_group_runs (group_id, version) values ({group.Id}, {group.Version}) on conflict (group_id) do update set version = excluded.version", ct);
    }

    /// <summary>Waits for an evaluation that is being written, and keeps others off until the transaction ends.</summary>
    public static Task HoldRunAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) => tx.ExecuteAsync($"select 1 from rule_group_runs where group_id = {id} for update", ct);

    public static Task DeleteAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) => tx.ExecuteAsync($"delete from rule_groups where id = {id}", ct);

    /// <summary>Forgets the states of a rule that is gone.</summary>
    public static Task ForgetAsync(NpgsqlTransaction tx, Guid rule, CancellationToken ct) => tx.ExecuteAsync($"delete from rule_alerts where rule_id = {rule}", ct);

    // --- evaluation

    /// <summary>
    /// Says that this replica is alive, forgets those that have long not been, and takes its share of the groups: those that nobody alive
    /// evaluates, and when these are not enough, some of replicas that have more. A group that is taken away needs no farewell: what its
    /// former owner finds from then on is not written, see <see cref="NoteRunsAsync"/>.
    /// </summary>
    /// <returns>The groups that are this replica's now, all of them.</returns>
    public async Task<List<Guid>> ClaimAsync(Guid evaluator, TimeSpan lease, CancellationToken ct)
    {
        await db.ExecuteAsync($"""
            insert into rule_evaluators (id, alive_until) values ({evaluator}, clock_timestamp() + {lease})
            on conflict (id) do update set alive_until = excluded.alive_until
            """, ct);
        await db.ExecuteAsync($"delete from rule_evaluators where alive_until < clock_timestamp() - interval '1 hour'", ct);
        var (groups, replicas, ours) = await db.FindAsync($"""
            select count(*), (select count(*) from rule_evaluators where alive_until >= clock_timestamp()), count(*) filter (where owner = {evaluator}) from rule_group_runs
            """, row => (row.GetInt64(0), row.GetInt64(1), row.GetInt64(2)), ct);
        var (least, most) = Share(groups, replicas);
        if (ours < most)
        {
            ours += await db.ExecuteAsync($"""
                update rule_group_runs set owner = {evaluator} where group_id = any(array(
                    select group_id from rule_group_runs r
                    where owner is null or not exists (select 1 from rule_evaluators e where e.id = r.owner and e.alive_until >= clock_timestamp())
                    limit {most - ours} for update skip locked))
                """, ct);
        }

        if (ours < least)
        {
            // Nobody is left with less than that: what is taken away is not taken back.
            var spare = await db.QueryAsync($"""
                select group_id from (select group_id, row_number() over (partition by owner order by group_id) as place from rule_group_runs where owner <> {evaluator}) r
                where place > {least} order by place desc, group_id limit {least - ours}
                """, row => row.GetGuid(0), ct);
            await db.ExecuteAsync($"""
                update rule_group_runs set owner = {evaluator} where group_id = any(array(
                    select group_id from rule_group_runs where group_id = any({spare.ToArray()}) and owner <> {evaluator} for update skip locked))
                """, ct);
        }

        return await db.QueryAsync($"select group_id from rule_group_runs where owner = {evaluator}", row => row.GetGuid(0), ct);
    }

    /// <summary>How many groups a replica may claim, and how many it may ask of others.</summary>
    internal static (long Least, long Most) Share(long groups, long replicas) => (groups / Math.Max(1, replicas), (groups + Math.Max(1, replicas) - 1) / Math.Max(1, replicas));

    /// <summary>Lets go of everything, so that another replica need not wait for the end of the lease.</summary>
    public Task LeaveAsync(Guid evaluator, CancellationToken ct) => db.ExecuteAsync($"delete from rule_evaluators where id = {evaluator}", ct);

    public Task<List<StoredRuleAlert>> AlertsAsync(Guid[] groups, CancellationToken ct) => db.QueryAsync($"""
        select rule_id, fingerprint, labels::text, annotations::text, phase, active_at, fired_at, keep_firing_since, value, alert_id
        from rule_alerts where group_id = any({groups})
        """, ReadAlert, ct);

    public Task<List<RuleGroupRun>> RunsAsync(Guid[] groups, CancellationToken ct) => db.QueryAsync($"""
        select group_id, evaluated_at, coalesce(took_ms, 0), rule_ids, rule_ms, errors::text, value_of, alert_values from rule_group_runs where group_id = any({groups})
        """, ReadRun, ct);

    /// <summary>
    /// Notes an evaluation of each group, if this replica still owns it and it is still at that version. Comes first in the transaction: it holds the group against a
    /// replica that takes it over.
    /// </summary>
    /// <returns>The groups that are still this replica's.</returns>
    public static Task<List<Guid>> NoteRunsAsync(NpgsqlTransaction tx, Guid evaluator, IReadOnlyList<RuleGroupRun> runs, IReadOnlyList<int> versions, CancellationToken ct) => tx.QueryAsync($"""
        update rule_group_runs r
        set evaluated_at = n.evaluated_at, took_ms = n.took_ms, rule_ids = n.rule_ids::uuid[], rule_ms = n.rule_ms::real[], errors = n.errors::jsonb,
            value_of = n.value_of::text[], alert_values = n.alert_values::double precision[]
        from unnest({runs.Select(run => run.GroupId).ToArray()}, {versions.ToArray()}, {runs.Select(run => run.EvaluatedAt!.Value).ToArray()}, {runs.Select(run => run.Took.TotalMilliseconds).ToArray()},
                {runs.Select(run => Literal(run.RuleTimes.Keys.Select(id => id.ToString()))).ToArray()},
                {runs.Select(run => Literal(run.RuleTimes.Values.Select(time => time.TotalMilliseconds.ToString("0.###", System.Globalization.CultureInfo.InvariantCulture)))).ToArray()},
                {runs.Select(run => JsonSerializer.Serialize(run.Errors)).ToArray()},
                {runs.Select(run => Literal(run.Values.Keys)).ToArray()},
                {runs.Select(run => Literal(run.Values.Values.Select(value => value.ToString("R", System.Globalization.CultureInfo.InvariantCulture)))).ToArray()})
            as n (group_id, version, evaluated_at, took_ms, rule_ids, rule_ms, errors, value_of, alert_values)
        where r.group_id = n.group_id and r.owner = {evaluator} and r.version = n.version
        returning r.group_id
        """, row => row.GetGuid(0), ct);

    /// <summary>Notes that a group could not be evaluated at all, as the error of each of its rules.</summary>
    public static Task NoteFailureAsync(NpgsqlDataSource db, Guid evaluator, RuleGroup group, string reason, DateTimeOffset at, CancellationToken ct) =>
        db.ExecuteAsync($"""
            update rule_group_runs set evaluated_at = {at}, errors = {Json(group.Rules.ToDictionary(rule => rule.Id, _ => reason))}
            where group_id = {group.Id} and owner = {evaluator} and version = {group.Version}
            """, ct);

    /// <summary>A lost note of an evaluation that changed nothing costs nothing, so its commit does not wait for the disk.</summary>
    public static Task NeedNotLastAsync(NpgsqlTransaction tx, CancellationToken ct) => tx.ExecuteAsync($"set local synchronous_commit to off", ct);

    public static Task SaveAlertsAsync(NpgsqlTransaction tx, IReadOnlyList<(Guid Group, Guid Rule, ActiveAlert Alert)> alerts, CancellationToken ct) => tx.ExecuteAsync($"""
        insert into rule_alerts (rule_id, fingerprint, group_id, realm, labels, annotations, phase, active_at, fired_at, keep_firing_since, value, alert_id)
        select rule_id, fingerprint, group_id, realm, labels::jsonb, annotations::jsonb, phase, active_at, fired_at, keep_firing_since, value, alert_id
        from unnest(
            {alerts.Select(alert => alert.Rule).ToArray()}, {alerts.Select(alert => FingerprintOf(alert.Alert.Labels)).ToArray()}, {alerts.Select(alert => alert.Group).ToArray()},
            {alerts.Select(alert => alert.Alert.Labels[RuleLabels.Realm]).ToArray()},
            {alerts.Select(alert => JsonSerializer.Serialize(RuleLabels.Words(alert.Alert.Labels))).ToArray()}, {alerts.Select(alert => JsonSerializer.Serialize(alert.Alert.Annotations)).ToArray()},
            {alerts.Select(alert => alert.Alert.Phase == AlertPhase.Firing ? "firing" : "pending").ToArray()}, {alerts.Select(alert => alert.Alert.ActiveAt).ToArray()},
            {alerts.Select(alert => alert.Alert.FiredAt).ToArray()}, {alerts.Select(alert => alert.Alert.KeepFiringSince).ToArray()},
            {alerts.Select(alert => alert.Alert.Value).ToArray()}, {alerts.Select(alert => alert.Alert.AlertId).ToArray()})
            as n (rule_id, fingerprint, group_id, realm, labels, annotations, phase, active_at, fired_at, keep_firing_since, value, alert_id)
        on conflict (rule_id, fingerprint) do update set annotations = excluded.annotations, phase = excluded.phase, active_at = excluded.active_at, fired_at = excluded.fired_at,
            keep_firing_since = excluded.keep_firing_since, value = excluded.value, alert_id = excluded.alert_id
        """, ct);

    public static Task DeleteAlertsAsync(NpgsqlTransaction tx, IReadOnlyList<(Guid Rule, Labels Labels)> alerts, CancellationToken ct) => tx.ExecuteAsync($"""
        delete from rule_alerts a using unnest({alerts.Select(alert => alert.Rule).ToArray()}, {alerts.Select(alert => FingerprintOf(alert.Labels)).ToArray()}) as n (rule_id, fingerprint)
        where a.rule_id = n.rule_id and a.fingerprint = n.fingerprint
        """, ct);

    public static string FingerprintOf(Labels labels) => Fingerprint.Of(RuleLabels.Words(labels));

    // --- files

    public Task<List<RuleFileState>> FilesAsync(CancellationToken ct) =>
        db.QueryAsync($"select file, loaded_at, error, error_at from rule_files order by file", row => new RuleFileState(row.GetString(0), row.GetTimeOrNull(1), row.GetOrNull(2, row.GetString), row.GetTimeOrNull(3)), ct);

    public async Task<Dictionary<string, string>> FileHashesAsync(CancellationToken ct) =>
        (await db.QueryAsync($"select file, hash from rule_files", row => (row.GetString(0), row.GetString(1)), ct)).ToDictionary();

    public static async Task<string?> FileHashAsync(NpgsqlTransaction tx, string file, CancellationToken ct) =>
        await tx.FindAsync($"select hash from rule_files where file = {file}", row => row.GetString(0), ct);

    public static Task NoteFileAsync(NpgsqlTransaction tx, string file, string hash, string? error, DateTimeOffset now, CancellationToken ct) => error is null
        ? tx.ExecuteAsync($"""
            insert into rule_files (file, hash, loaded_at) values ({file}, {hash}, {now})
            on conflict (file) do update set hash = excluded.hash, loaded_at = excluded.loaded_at, error = null, error_at = null
            """, ct)
        : tx.ExecuteAsync($"""
            insert into rule_files (file, hash, error, error_at) values ({file}, {hash}, {error}, {now})
            on conflict (file) do update set hash = excluded.hash, error = excluded.error, error_at = excluded.error_at
            """, ct);

    public static Task ForgetFileAsync(NpgsqlTransaction tx, string file, CancellationToken ct) => tx.ExecuteAsync($"delete from rule_files where file = {file}", ct);

    private static long? Milliseconds(TimeSpan? time) => time is { } known ? (long)known.TotalMilliseconds : null;

    private static NpgsqlParameter Json<T>(T value) => Queries.Jsonb(value, WireJson.Options);

    private static string Literal(IEnumerable<string> values) => $"{{{string.Join(',', values)}}}";

    private static RuleGroup Read(NpgsqlDataReader row)
    {
        var labels = JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(7))!;
        var rules = JsonSerializer.Deserialize<List<RuleText>>(row.GetString(8), WireJson.Options)!;
        return new RuleGroup(
            row.GetGuid(0), row.GetString(1), row.GetString(2), row.GetString(3), row.IsDBNull(4) ? null : TimeSpan.FromMilliseconds(row.GetInt64(4)), row.GetInt32(5),
            row.IsDBNull(6) ? null : TimeSpan.FromMilliseconds(row.GetInt64(6)), labels, [.. rules.Select(rule => Rule(rule, labels))],
            row.GetString(9), row.GetTime(10), row.GetTime(11), row.GetInt32(12));
    }

    // It was checked when it was stored.
    private static QueryRule Rule(RuleText text, Dictionary<string, string> ofGroup)
    {
        var labels = new Dictionary<string, string>(ofGroup);
        foreach (var (name, value) in text.Labels ?? [])
        {
            labels[name] = value!;
        }

        return new QueryRule(
            text.Id!.Value, text.Alert, text.Record, text.Expr!, Durations.Parse(text.For ?? "0")!.Value, Durations.Parse(text.KeepFiringFor ?? "0")!.Value, labels,
            (text.Annotations ?? []).ToDictionary(annotation => annotation.Key, annotation => annotation.Value!), text.NoData ?? AbsencePolicy.Resolve, text.OnError ?? AbsencePolicy.Keep, text.Threshold);
    }

    private static StoredRuleAlert ReadAlert(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1),
        new ActiveAlert(
            RuleLabels.Pack(JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(2))!), row.GetString(4) == "firing" ? AlertPhase.Firing : AlertPhase.Pending,
            row.GetTime(5), row.GetTimeOrNull(6), row.GetTimeOrNull(7), row.GetDouble(8), row.IsDBNull(9) ? null : row.GetGuid(9))
        {
            Annotations = JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(3))!,
        });

    private static RuleGroupRun ReadRun(NpgsqlDataReader row)
    {
        var (ids, times) = (row.GetFieldValue<Guid[]>(3), row.GetFieldValue<float[]>(4));
        var (of, values) = (row.GetFieldValue<string[]>(6), row.GetFieldValue<double[]>(7));
        return new RuleGroupRun(
            row.GetGuid(0), row.GetTimeOrNull(1), TimeSpan.FromMilliseconds(row.GetDouble(2)), ids.Zip(times).ToDictionary(rule => rule.First, rule => TimeSpan.FromMilliseconds(rule.Second)),
            JsonSerializer.Deserialize<Dictionary<Guid, string>>(row.GetString(5))!, of.Zip(values).ToDictionary());
    }
}
