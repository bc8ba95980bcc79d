using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Npgsql;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.OnCall;

/// <summary>Bounds of on-call, and what is urgent.</summary>
public sealed class OnCallOptions : IValidatableObject
{
    /// <summary>Users, schedules and escalation policies of a realm, each; and overrides of a schedule that are not over.</summary>
    [Setting("ALERT_ON_CALL_MAX_ENTRIES"), Range(1, 100_000)]
    public int MaxEntries { get; init; } = 1_000;

    /// <summary>Alerts of these severities are of high urgency; all others of low.</summary>
    [Setting("ALERT_HIGH_URGENCY_SEVERITIES")]
    public IReadOnlyList<string> HighUrgency { get; init; } = ["critical", "high"];

    public Urgency UrgencyOf(Severity severity) => HighUrgency.Contains(severity.Word()) ? Urgency.High : Urgency.Low;

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        foreach (var word in HighUrgency.Where(word => !Enum.GetValues<Severity>().Any(severity => severity.Word() == word)))
        {
            yield return new ValidationResult($"ALERT_HIGH_URGENCY_SEVERITIES names \"{word}\": expected critical, high, medium, low and info, separated by commas. Change it, or unset it.");
        }
    }
}

public enum PlanKind
{
    User,
    Schedule,
    Policy,
}

/// <summary>A user, schedule or escalation policy as stored.</summary>
/// <param name="Document">An <see cref="OnCallUser"/>, <see cref="Schedule"/> or <see cref="EscalationPolicy"/>, by <paramref name="Kind"/>.</param>
/// <param name="Version">Grows with each change.</param>
public sealed record Plan(
    Guid Id, string Realm, PlanKind Kind, string Name, string Document, int Version, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt) : IOfRealm
{
    public T As<T>() => JsonSerializer.Deserialize<T>(Document, WireJson.Options)!;
}

/// <summary>All SQL about users, schedules, overrides and escalation policies.</summary>
public sealed class OnCallStore(NpgsqlDataSource db)
{
    // Any constant that nothing else in this database uses. Held by whoever changes plans, so that nothing is deleted while it is being named.
    private const long ChangeLock = 0x6f6e63616c6c;

    private static Sql Columns => $"id, realm, kind, name, document::text, version, created_by, created_at, updated_at";

    public static Task LockForChangeAsync(NpgsqlTransaction tx, CancellationToken ct) => tx.ExecuteAsync($"select pg_advisory_xact_lock({ChangeLock})", ct);

    public Task<List<Plan>> ListAsync(PlanKind kind, string? realm, Cursor? after, int limit, CancellationToken ct)
    {
        Sql where = $"kind = {Word(kind)}";
        where = realm is not null ? $"{where} and (realm = {realm} or realm = {Realm.All})" : where;
        where = after is { } place ? $"{where} and (created_at, id) > ({place.At}, {place.Id})" : where;
        return db.QueryAsync($"select {Columns} from on_call_plans where {where} order by created_at, id limit {limit}", Read, ct);
    }

    public Task<Plan?> FindAsync(PlanKind kind, Guid id, CancellationToken ct) =>
        db.FindAsync($"select {Columns} from on_call_plans where id = {id} and kind = {Word(kind)}", Read, ct);

    public static Task<Plan?> FindForChangeAsync(NpgsqlTransaction tx, PlanKind kind, Guid id, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from on_call_plans where id = {id} and kind = {Word(kind)} for update", Read, ct);

    /// <summary>What a name means in a realm: the realm's own, else that of realm <c>*</c>.</summary>
    public static Task<Plan?> FindAsync(NpgsqlTransaction tx, PlanKind kind, string realm, string name, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from on_call_plans where kind = {Word(kind)} and name = {name} and (realm = {realm} or realm = {Realm.All}) order by realm = {Realm.All} limit 1", Read, ct);

    /// <summary>Those of these names (<c>user:anna</c>) that mean nothing in the realm.</summary>
    public static async Task<IReadOnlySet<string>> MissingAsync(NpgsqlTransaction tx, string realm, string[] references, CancellationToken ct) =>
        (await tx.QueryAsync($"""
            select r from unnest({references}) r
            where not exists (select 1 from on_call_plans where kind || ':' || name = r and (realm = {realm} or realm = {Realm.All}))
            """, row => row.GetString(0), ct)).ToHashSet();

    /// <summary>Names of plans that would lose something if this one went; the first few.</summary>
    public static Task<List<string>> NamedByAsync(NpgsqlTransaction tx, Plan plan, CancellationToken ct) =>
        tx.QueryAsync($"""
            select kind || ' ' || name from on_call_plans
            where {Reference(plan.Kind, plan.Name)} = any(refers) and (realm = {plan.Realm} or {plan.Realm} = {Realm.All})
            union all
            select 'an override of schedule ' || s.name from on_call_overrides o join on_call_plans s on s.id = o.schedule_id
            where {plan.Kind == PlanKind.User} and o.user_name = {plan.Name} and o.ends_at > now() and (s.realm = {plan.Realm} or {plan.Realm} = {Realm.All})
            order by 1 limit 5
            """, row => row.GetString(0), ct);

    /// <summary>Policies with this channel among their targets, and the person whose contact method it is, in words; the first few.</summary>
    /// <param name="realm">The channel's: <c>*</c> is reached from everywhere.</param>
    public static Task<List<string>> TellingOverAsync(NpgsqlTransaction tx, string realm, string channel, CancellationToken ct) =>
        tx.QueryAsync($"""
            select case kind when 'user' then 'user ' else 'escalation policy ' end || name || ' of realm ' || realm from on_call_plans p
            where (p.realm = {realm} or ({realm} = '*' and not exists (select 1 from channels c where c.realm = p.realm and c.name = {channel})))
                and (p.kind = 'policy' and p.document->'steps' @> {Queries.Jsonb(new[] { new { targets = new[] { new { type = "channel", name = channel } } } }, WireJson.Options)}
                    or p.kind = 'user' and exists (select 1 from jsonb_array_elements(p.document->'contact_methods') as m where 'on-call/' || p.name || '/' || (m->>'name') = {channel}))
            order by 1 limit 5
            """, row => row.GetString(0), ct);

    public static Task<int> CountAsync(NpgsqlTransaction tx, PlanKind kind, string realm, CancellationToken ct) =>
        tx.FindAsync($"select count(*)::int from on_call_plans where kind = {Word(kind)} and realm = {realm}", row => row.GetInt32(0), ct);

    /// <returns>False when the name is taken.</returns>
    public static async Task<bool> InsertAsync(NpgsqlTransaction tx, Plan plan, string[] refers, CancellationToken ct) =>
        await tx.ExecuteAsync($"""
            insert into on_call_plans (id, realm, kind, name, document, refers, version, created_by, created_at, updated_at)
            values ({plan.Id}, {plan.Realm}, {Word(plan.Kind)}, {plan.Name}, {Queries.Jsonb(plan.Document)}, {refers}, {plan.Version}, {plan.CreatedBy}, {plan.CreatedAt}, {plan.UpdatedAt})
            on conflict (realm, kind, name) do nothing
            """, ct) == 1;

    public static Task UpdateAsync(NpgsqlTransaction tx, Plan plan, string[] refers, CancellationToken ct) =>
        tx.ExecuteAsync($"""
            update on_call_plans set document = {Queries.Jsonb(plan.Document)}, refers = {refers}, version = {plan.Version}, updated_at = {plan.UpdatedAt} where id = {plan.Id}
            """, ct);

    public static Task DeleteAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) => tx.ExecuteAsync($"delete from on_call_plans where id = {id}", ct);

    /// <summary>Overrides of these schedules that touch the time.</summary>
    public Task<List<(Guid Schedule, Override Override)>> OverridesAsync(Guid[] schedules, DateTimeOffset from, DateTimeOffset to, CancellationToken ct) =>
        db.QueryAsync($"{Overrides(schedules, from, to)}", ReadOverride, ct);

    /// <inheritdoc cref="OverridesAsync(Guid[], DateTimeOffset, DateTimeOffset, CancellationToken)"/>
    public static Task<List<(Guid Schedule, Override Override)>> OverridesAsync(NpgsqlTransaction tx, Guid[] schedules, DateTimeOffset from, DateTimeOffset to, CancellationToken ct) =>
        tx.QueryAsync($"{Overrides(schedules, from, to)}", ReadOverride, ct);

    public static Task<int> CountOverridesAsync(NpgsqlTransaction tx, Guid schedule, DateTimeOffset now, CancellationToken ct) =>
        tx.FindAsync($"select count(*)::int from on_call_overrides where schedule_id = {schedule} and ends_at > {now}", row => row.GetInt32(0), ct);

    public static Task InsertAsync(NpgsqlTransaction tx, Guid schedule, Override one, CancellationToken ct) =>
        tx.ExecuteAsync($"""
            insert into on_call_overrides (id, schedule_id, user_name, starts_at, ends_at, reason, created_by, created_at)
            values ({one.Id}, {schedule}, {one.User}, {one.From}, {one.To}, {one.Reason}, {one.CreatedBy}, {one.CreatedAt})
            """, ct);

    /// <summary>What is over stays as it was; what runs ends now; what has not begun never will.</summary>
    public static async Task<bool> EndOverrideAsync(NpgsqlTransaction tx, Guid schedule, Guid id, DateTimeOffset now, CancellationToken ct) =>
        await tx.ExecuteAsync($"delete from on_call_overrides where id = {id} and schedule_id = {schedule} and starts_at >= {now}", ct)
        + await tx.ExecuteAsync($"update on_call_overrides set ends_at = {now} where id = {id} and schedule_id = {schedule} and starts_at < {now} and ends_at > {now}", ct) > 0;

    /// <summary>Overrides that ended before this, which no question about the past will need.</summary>
    public Task<int> DeleteOverridesAsync(DateTimeOffset before, CancellationToken ct) => db.ExecuteAsync($"delete from on_call_overrides where ends_at < {before}", ct);

    public static string Reference(PlanKind kind, string name) => $"{Word(kind)}:{name}";

    private static Sql Overrides(Guid[] schedules, DateTimeOffset from, DateTimeOffset to) => $"""
        select schedule_id, id, user_name, starts_at, ends_at, reason, created_by, created_at from on_call_overrides
        where schedule_id = any({schedules}) and ends_at > {from} and starts_at < {to} order by starts_at, id
        """;

    private static string Word(PlanKind kind) => WireJson.Name(kind.ToString());

    private static Plan Read(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), Enum.Parse<PlanKind>(row.GetString(2), ignoreCase: true), row.GetString(3), row.GetString(4), row.GetInt32(5), row.GetString(6), row.GetTime(7), row.GetTime(8));

    private static (Guid, Override) ReadOverride(NpgsqlDataReader row) =>
        (row.GetGuid(0), new Override(row.GetGuid(1), row.GetString(2), row.GetTime(3), row.GetTime(4), row.GetString(5), row.GetString(6), row.GetTime(7)));
}
