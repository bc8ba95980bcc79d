using System.Text.Json;
using Npgsql;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Incidents.Lifecycle;

/// <summary>What a list of incidents is narrowed to.</summary>
/// <param name="Realm">Null for all realms.</param>
/// <param name="Subject">Only what this credential opened or is assigned to; null for everything.</param>
public sealed record IncidentFilter(
    string? Realm, string? Subject, IReadOnlyList<IncidentStatus> Statuses, IReadOnlyList<Severity> Severities, string? AssignedTo, DateTimeOffset? From, DateTimeOffset? To);

/// <summary>A place in a list of incidents, newest first.</summary>
public readonly record struct ListPosition(DateTimeOffset OpenedAt, Guid Id);

/// <summary>All SQL about incidents themselves. A change is: lock, decide, save, in one transaction.</summary>
public sealed class IncidentStore(NpgsqlDataSource db)
{
    // Spliced into every query, so that the reader below fits all of them. A piece of SQL is used once, hence a property.
    private static Sql Columns => $"""
        id, realm, title, description, severity, status, root_cause, assigned_to, created_by, group_key, event_tags,
        opened_at, created_at, acknowledged_at, resolved_at, closed_at, updated_at, version, quiet_since
        """;

    public Task<Incident?> FindAsync(Guid id, CancellationToken ct) =>
        db.FindAsync($"select {Columns} from incidents where id = {id}", Read, ct);

    public Task<Incident?> LockAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from incidents where id = {id} for update", Read, ct);

    /// <summary>The one incident of a group that is not closed.</summary>
    public Task<Incident?> LockOpenAsync(NpgsqlTransaction tx, string realm, string groupKey, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from incidents where realm = {realm} and group_key = {groupKey} and status <> 'closed' for update", Read, ct);

    /// <summary>Newest first; at most <paramref name="limit"/>.</summary>
    public Task<List<Incident>> ListAsync(IncidentFilter filter, ListPosition? after, int limit, CancellationToken ct)
    {
        Sql where = $"true";
        if (filter.Realm is { } realm)
        {
            where = $"{where} and realm = {realm}";
        }

        if (filter.Subject is { } subject)
        {
            where = $"{where} and (created_by = {subject} or assigned_to = {subject})";
        }

        if (filter.Statuses.Count > 0)
        {
            where = $"{where} and status = any({filter.Statuses.Select(status => status.Word()).ToArray()})";
        }

        if (filter.Severities.Count > 0)
        {
            where = $"{where} and severity = any({filter.Severities.Select(severity => severity.Word()).ToArray()})";
        }

        if (filter.AssignedTo is { } assignee)
        {
            where = $"{where} and assigned_to = {assignee}";
        }

        if (filter.From is { } from)
        {
            where = $"{where} and opened_at >= {from}";
        }

        if (filter.To is { } to)
        {
            where = $"{where} and opened_at < {to}";
        }

        if (after is { } position)
        {
            where = $"{where} and (opened_at, id) < ({position.OpenedAt}, {position.Id})";
        }

        return db.QueryAsync($"select {Columns} from incidents where {where} order by opened_at desc, id desc limit {limit}", Read, ct);
    }

    /// <summary>False when the group has an incident that is not closed; then nothing is written.</summary>
    public async Task<bool> TryInsertAsync(NpgsqlTransaction tx, Incident incident, CancellationToken ct) => await tx.ExecuteAsync($"""
        insert into incidents ({Columns})
        values ({incident.Id}, {incident.Realm}, {incident.Title}, {incident.Description}, {incident.Severity.Word()}, {incident.Status.Word()},
                {incident.RootCause}, {incident.AssignedTo}, {incident.CreatedBy}, {incident.GroupKey}, {Queries.Jsonb(incident.EventTags, WireJson.Options)},
                {incident.OpenedAt}, {incident.CreatedAt}, {incident.AcknowledgedAt}, {incident.ResolvedAt}, {incident.ClosedAt}, {incident.UpdatedAt},
                {incident.Version}, {incident.QuietSince})
        on conflict (realm, group_key) where status <> 'closed' do nothing
        """, ct) == 1;

    /// <summary>Writes a locked incident back, as its next version.</summary>
    public async Task<Incident> SaveAsync(NpgsqlTransaction tx, Incident incident, DateTimeOffset now, CancellationToken ct)
    {
        var saved = incident with { UpdatedAt = now, Version = incident.Version + 1 };
        await tx.ExecuteAsync($"""
            update incidents
            set title = {saved.Title}, description = {saved.Description}, severity = {saved.Severity.Word()}, status = {saved.Status.Word()},
                root_cause = {saved.RootCause}, assigned_to = {saved.AssignedTo}, opened_at = {saved.OpenedAt}, acknowledged_at = {saved.AcknowledgedAt},
                resolved_at = {saved.ResolvedAt}, closed_at = {saved.ClosedAt}, quiet_since = {saved.QuietSince}, updated_at = {now}, version = {saved.Version}
            where id = {saved.Id}
            """, ct);
        return saved;
    }

    /// <summary>Forgets incidents that were closed before <paramref name="before"/>, with all that belongs to them. At most a batch; answers how many.</summary>
    public Task<int> ForgetAsync(DateTimeOffset before, CancellationToken ct) => db.ExecuteAsync($"""
        delete from incidents where id = any(array(select id from incidents where status = 'closed' and closed_at < {before} limit 200))
        """, ct);

    /// <summary>Figures for one realm, or all. The stretch from <paramref name="from"/> up to <paramref name="to"/> bounds everything but <see cref="IncidentCounts.Open"/>.</summary>
    public async Task<IncidentCounts> CountAsync(string? realm, DateTimeOffset from, DateTimeOffset to, CancellationToken ct) =>
        (await db.FindAsync($"""
            select count(*) filter (where status <> 'closed'),
                   count(*) filter (where opened_at >= {from} and opened_at < {to}),
                   count(*) filter (where closed_at >= {from} and closed_at < {to}),
                   avg(extract(epoch from greatest(acknowledged_at - opened_at, interval '0'))::float8) filter (where acknowledged_at >= {from} and acknowledged_at < {to}),
                   avg(extract(epoch from greatest(resolved_at - opened_at, interval '0'))::float8) filter (where resolved_at >= {from} and resolved_at < {to})
            from incidents
            where {realm}::text is null or realm = {realm}
            """,
            row => new IncidentCounts(
                row.GetInt64(0),
                row.GetInt64(1),
                row.GetInt64(2),
                row.IsDBNull(3) ? null : row.GetDouble(3),
                row.IsDBNull(4) ? null : row.GetDouble(4)),
            ct))!;

    /// <summary>How many incidents of each severity are not closed.</summary>
    public Task<List<(string Severity, long Count)>> CountOpenAsync(CancellationToken ct) =>
        db.QueryAsync($"select severity, count(*) from incidents where status <> 'closed' group by severity", row => (row.GetString(0), row.GetInt64(1)), ct);

    private static Incident Read(NpgsqlDataReader row) => new(
        row.GetGuid(0),
        row.GetString(1),
        row.GetString(2),
        row.GetOrNull(3, row.GetString),
        Enum.Parse<Severity>(row.GetString(4), ignoreCase: true),
        Enum.Parse<IncidentStatus>(row.GetString(5), ignoreCase: true),
        row.GetOrNull(6, row.GetString),
        row.GetOrNull(7, row.GetString),
        row.GetString(8),
        row.GetOrNull(9, row.GetString),
        JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(10), WireJson.Options)!,
        row.GetTime(11),
        row.GetTime(12),
        row.GetTimeOrNull(13),
        row.GetTimeOrNull(14),
        row.GetTimeOrNull(15),
        row.GetTime(16),
        row.GetInt32(17))
    {
        QuietSince = row.GetTimeOrNull(18),
    };
}
