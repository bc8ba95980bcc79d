using Npgsql;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

/// <summary>Reading audit data is itself audited: one record per reader, endpoint and minute, whatever the number of pages and replicas.</summary>
public sealed class AuditReads(NpgsqlDataSource db, SubjectKeys subjects, TimeProvider clock)
{
    /// <summary>Before the first byte is answered: whoever reads cannot do so unseen by cutting the connection.</summary>
    public async Task RecordAsync(Caller caller, string endpoint, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var minute = new DateTimeOffset(now.Ticks - (now.Ticks % TimeSpan.TicksPerMinute), TimeSpan.Zero);
        var reader = await subjects.LookupAsync(caller.RealmOfNewData, caller.Subject, ct);

        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var first = await tx.ExecuteAsync($"insert into audit_reads (reader, endpoint, minute) values ({reader}, {endpoint}, {minute}) on conflict do nothing", ct);
        if (first == 1)
        {
            await tx.SendAsync(caller.Did("audit.read", "audit", endpoint, now), ct);
        }

        await tx.CommitAsync(ct);
    }

    /// <summary>Minutes that are over need no memory.</summary>
    public async Task ForgetAsync(CancellationToken ct)
    {
        var before = clock.GetUtcNow().AddHours(-1);
        while (await db.ExecuteAsync($"delete from audit_reads where ctid = any(array(select ctid from audit_reads where minute < {before} limit 10000))", ct) > 0)
        {
        }
    }
}
