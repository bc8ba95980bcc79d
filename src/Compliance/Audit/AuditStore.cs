using System.Text.Json;
using Npgsql;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

/// <param name="Actor">By subject. Finds nothing once the subject is erased.</param>
/// <param name="Realm">Null for all.</param>
public sealed record AuditFilter(
    string? Realm, string? Action, string? Actor, string? TargetType, string? Target, string? Outcome, DateTimeOffset? From, DateTimeOffset? To);

/// <summary>A record with the personal values that can still be opened.</summary>
public sealed record OpenedRecord(AuditRecord Record, IReadOnlyList<OpenedValue> Values);

/// <summary>Reads records. Nothing here, nor anywhere else, changes them.</summary>
public sealed class AuditStore(NpgsqlDataSource db, SubjectKeys subjects)
{
    /// <summary>Newest first, after (<paramref name="before"/>) in that order.</summary>
    public async Task<List<OpenedRecord>> ListAsync(AuditFilter filter, (DateTimeOffset At, Guid Id)? before, int limit, CancellationToken ct)
    {
        var actorKeys = filter.Actor is null ? [] : await subjects.FindIdsAsync(filter.Realm, filter.Actor, ct);
        var targetKeys = filter.Target is null ? [] : await subjects.FindIdsAsync(filter.Realm, filter.Target, ct);
        return await OpenAsync(await db.QueryAsync(Search(filter, before, actorKeys, targetKeys, limit), Read, ct), ct);
    }

    internal static Sql Search(AuditFilter filter, (DateTimeOffset At, Guid Id)? before, Guid[] actorKeys, Guid[] targetKeys, int limit)
    {
        Sql where = $"true";
        where = filter.Realm is null ? where : $"{where} and r.realm = {filter.Realm}";
        where = filter.Action is null ? where : $"{where} and r.action = {filter.Action}";
        where = filter.TargetType is null ? where : $"{where} and r.target_type = {filter.TargetType}";
        where = filter.Outcome is null ? where : $"{where} and r.outcome = {filter.Outcome}";
        where = filter.From is null ? where : $"{where} and r.at >= {filter.From.Value}";
        where = filter.To is null ? where : $"{where} and r.at < {filter.To.Value}";
        where = before is null ? where : $"{where} and (r.at, r.id) < ({before.Value.At}, {before.Value.Id})";
        if (filter.Actor is not null)
        {
            where = $"{where} and (r.realm, r.seq) in (select p.realm, p.seq from audit_personal p where p.key_id = any({actorKeys}) and p.field = 'actor')";
        }

        if (filter.Target is not null)
        {
            Sql inRealm = $"";
            inRealm = filter.Realm is null ? inRealm : $" and t.realm = {filter.Realm}";
            // Two look-ups and not one condition with "or", which no index could answer; left() is what the index holds.
            where = $"""
                {where} and (r.realm, r.seq) in (
                    select t.realm, t.seq from audit_records t where left(t.target_id, 200) = left({filter.Target}, 200) and t.target_id = {filter.Target}{inRealm}
                    union all
                    select p.realm, p.seq from audit_personal p where p.key_id = any({targetKeys}) and p.field = 'target_id')
                """;
        }

        return $"select {Columns} from audit_records r where {where} order by r.at desc, r.id desc limit {limit}";
    }

    public async Task<OpenedRecord?> FindAsync(Guid id, CancellationToken ct) =>
        (await OpenAsync(await db.QueryAsync($"select {Columns} from audit_records r where r.id = {id}", Read, ct), ct)).FirstOrDefault();

    /// <summary>A page of one chain in its order.</summary>
    public async Task<List<OpenedRecord>> PageAsync(string realm, long fromSeq, int limit, CancellationToken ct) => await OpenAsync(
        await db.QueryAsync($"select {Columns} from audit_records r where r.realm = {realm} and r.seq >= {fromSeq} order by r.seq limit {limit}", Read, ct), ct);

    /// <summary>The hash of one record, or null.</summary>
    public Task<byte[]?> FindHashAsync(string realm, long seq, CancellationToken ct) =>
        db.FindAsync($"select hash from audit_records where realm = {realm} and seq = {seq}", row => row.GetFieldValue<byte[]>(0), ct);

    /// <summary>Sequences of the records chained in [from, to); times rise along the chain, so it is one unbroken stretch.</summary>
    public Task<(long First, long Last)> FindStretchAsync(string realm, DateTimeOffset from, DateTimeOffset to, CancellationToken ct) => db.FindAsync(
        // "offset 0" keeps min and max from walking the chain from its ends until a record of that time turns up.
        $"""
        select coalesce(min(seq), 0), coalesce(max(seq), 0)
        from (select seq from audit_records where realm = {realm} and recorded_at >= {from} and recorded_at < {to} offset 0) stretch
        """,
        row => (row.GetInt64(0), row.GetInt64(1)),
        ct);

    public Task<ChainHead?> FindHeadAsync(string realm, CancellationToken ct) =>
        db.FindAsync($"select realm, seq, hash, recorded_at from audit_chains where realm = {realm}", ChainHead.Read, ct);

    /// <summary>Every realm that has, or once had, a chain: also one whose head row or records were removed.</summary>
    public Task<List<string>> ListRealmsAsync(int most, CancellationToken ct) => db.QueryAsync(
        $"select realm from audit_chains union select realm from audit_heads union select realm from audit_records where seq = 1 order by realm limit {most}", row => row.GetString(0), ct);

    private async Task<List<OpenedRecord>> OpenAsync(List<AuditRecord> records, CancellationToken ct)
    {
        if (records.Count == 0)
        {
            return [];
        }

        var ids = records.ToDictionary(record => (record.Realm, record.Seq), record => record.Id);
        var rows = await db.QueryAsync($"""
            select p.realm, p.seq, p.field, p.sealed, p.key_id, k.sealed
            from unnest({records.Select(record => record.Realm).ToArray()}, {records.Select(record => record.Seq).ToArray()}) as wanted (realm, seq)
            join audit_personal p on p.realm = wanted.realm and p.seq = wanted.seq
            left join subject_keys k on k.id = p.key_id and k.destroyed_at is null
            """,
            row =>
            {
                var place = (Realm: row.GetString(0), Seq: row.GetInt64(1));
                var field = row.GetString(2);
                var key = row.IsDBNull(5) ? null : subjects.Open(row.GetGuid(4), row.GetFieldValue<byte[]>(5));
                return (place, value: new OpenedValue(field, key?.Open(ids[place], field, row.GetFieldValue<byte[]>(3)), key));
            },
            ct);
        var values = rows.ToLookup(row => row.place, row => row.value);
        return [.. records.Select(record => new OpenedRecord(record, [.. values[(record.Realm, record.Seq)]]))];
    }

    private static Sql Columns => $"""
        r.realm, r.seq, r.id, r.at, r.recorded_at, r.action, r.target_type, r.target_id, r.actor_role, r.outcome, r.count,
        r.correlation_id, r.trace_id, r.details, r.commitments, r.prev_hash, r.hash
        """;

    private static AuditRecord Read(NpgsqlDataReader row) => new(
        row.GetString(0), row.GetInt64(1), row.GetGuid(2), row.GetTime(3), row.GetTime(4), row.GetString(5), row.GetString(6), row.GetOrNull(7, row.GetString),
        row.GetString(8), row.GetString(9), row.GetInt32(10), row.GetOrNull(11, row.GetString), row.GetOrNull(12, row.GetString),
        Texts(row.GetString(13)), Texts(row.GetString(14)), row.GetFieldValue<byte[]>(15), row.GetFieldValue<byte[]>(16));

    private static Dictionary<string, string> Texts(string json) => JsonSerializer.Deserialize<Dictionary<string, string>>(json, WireJson.Options)!;
}
