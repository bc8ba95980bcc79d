using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

/// <summary>Appends to the chains. The head row of the realm is locked until the transaction ends, so replicas append strictly one after the other.</summary>
public sealed class AuditChain(SubjectKeys subjects, TimeProvider clock)
{
    public async Task<AuditRecord> AppendAsync(Audited said, NpgsqlTransaction tx, CancellationToken ct)
    {
        var entry = AuditEntry.From(said);
        var head = await LockHeadAsync(entry.Realm, tx, ct);
        var keys = await subjects.GetAsync(entry.Realm, entry.Personal.Select(value => value.Subject), tx, ct);

        // Clocks of two replicas differ a little; the order of the chain is the order of its times all the same.
        var now = Time.Micro(clock.GetUtcNow());
        var id = Guid.CreateVersion7(now);
        var commitments = new SortedDictionary<string, string>(
            entry.Personal.ToDictionary(value => value.Field, value => keys[value.Subject].Commit(id, value.Field, value.Value)), StringComparer.Ordinal);
        var record = AuditRecord.After(head.Hash, head.Seq + 1, id, now > head.RecordedAt ? now : head.RecordedAt, entry, commitments);

        await WriteAsync(record, entry, keys, tx, ct);
        return record;
    }

    /// <summary>The head of the realm's chain, locked until the transaction ends.</summary>
    public async Task<ChainHead> LockHeadAsync(string realm, NpgsqlTransaction tx, CancellationToken ct)
    {
        if (await FindAndLockAsync(realm, tx, ct) is { } head)
        {
            return head;
        }

        // The insert waits for a replica that is making the same head; only then is it known whether this chain is new.
        await tx.ExecuteAsync($"insert into audit_chains (realm, seq, hash, recorded_at) values ({realm}, 0, {AuditRecord.Genesis}, {DateTimeOffset.UnixEpoch}) on conflict do nothing", ct);
        var made = (await FindAndLockAsync(realm, tx, ct))!;
        if (made.Seq == 0
            && await tx.FindAsync($"select seq from audit_records where realm = {realm} order by seq desc limit 1", row => row.GetInt64(0), ct) is > 0 and var last)
        {
            throw new InvalidOperationException(
                $"The chain of realm '{realm}' has {last} records but its head is missing, so somebody removed it. Verify the chain, then restore the row of audit_chains from a backup.");
        }

        return made;
    }

    private static Task<ChainHead?> FindAndLockAsync(string realm, NpgsqlTransaction tx, CancellationToken ct) => tx.FindAsync(
        $"select realm, seq, hash, recorded_at from audit_chains where realm = {realm} for update", ChainHead.Read, ct);

    private static async Task WriteAsync(
        AuditRecord record, AuditEntry entry, IReadOnlyDictionary<string, SubjectKey> keys, NpgsqlTransaction tx, CancellationToken ct)
    {
        var fields = entry.Personal.Select(value => value.Field).ToArray();
        var owners = entry.Personal.Select(value => keys[value.Subject].Id).ToArray();
        var values = entry.Personal.Select(value => keys[value.Subject].Seal(record.Id, value.Field, value.Value)).ToArray();
        var moved = await tx.ExecuteAsync($"""
            with record as (
                insert into audit_records (realm, seq, id, at, recorded_at, action, target_type, target_id, actor_role, outcome, count,
                    correlation_id, trace_id, details, commitments, prev_hash, hash)
                values ({record.Realm}, {record.Seq}, {record.Id}, {record.At}, {record.RecordedAt}, {record.Action}, {record.TargetType}, {record.TargetId},
                    {record.ActorRole}, {record.Outcome}, {record.Count}, {record.CorrelationId}, {record.TraceId},
                    {Queries.Jsonb(record.Details, WireJson.Options)}, {Queries.Jsonb(record.Commitments, WireJson.Options)}, {record.PrevHash}, {record.Hash})),
            personal as (
                insert into audit_personal (realm, seq, field, key_id, sealed)
                select {record.Realm}, {record.Seq}, field, key_id, sealed from unnest({fields}, {owners}, {values}) as value (field, key_id, sealed))
            update audit_chains set seq = {record.Seq}, hash = {record.Hash}, recorded_at = {record.RecordedAt} where realm = {record.Realm}
            """, ct);
        if (moved != 1)
        {
            throw new InvalidOperationException($"The head of the chain of realm '{record.Realm}' vanished while it was locked.");
        }
    }
}

/// <summary>The newest record of a chain; sequence 0 and zero bytes for an empty one.</summary>
public sealed record ChainHead(string Realm, long Seq, byte[] Hash, DateTimeOffset RecordedAt)
{
    public static ChainHead Read(NpgsqlDataReader row) => new(row.GetString(0), row.GetInt64(1), row.GetFieldValue<byte[]>(2), row.GetTime(3));
}

/// <summary>Everything that was done or denied anywhere in the platform becomes a record.</summary>
public sealed class AppendToChainOnAudited(AuditChain chain, SealHeads seals, ComplianceMetrics metrics) : IConsumer<Audited>
{
    public Task HandleAsync(Audited message, NpgsqlTransaction tx, CancellationToken ct) => chain.AppendAsync(message, tx, ct);

    public void Committed()
    {
        metrics.Appended();
        seals.Wake();
    }
}
