using System.Security.Cryptography;

namespace Platform.Compliance.Audit;

/// <summary>A link of the chain, as stored. The README describes the hashed bytes one by one.</summary>
/// <param name="Seq">From 1, without gaps within a realm.</param>
/// <param name="At">When it happened.</param>
/// <param name="RecordedAt">When it was chained; never earlier than the record before.</param>
/// <param name="TargetId">Null when the target is a person.</param>
/// <param name="Details">What is not personal.</param>
/// <param name="Commitments">For each personal field the HMAC-SHA-256, in hex, under its person's key.</param>
/// <param name="PrevHash">Hash of the record before; 32 zero bytes for the first.</param>
public sealed record AuditRecord(
    string Realm,
    long Seq,
    Guid Id,
    DateTimeOffset At,
    DateTimeOffset RecordedAt,
    string Action,
    string TargetType,
    string? TargetId,
    string ActorRole,
    string Outcome,
    int Count,
    string? CorrelationId,
    string? TraceId,
    IReadOnlyDictionary<string, string> Details,
    IReadOnlyDictionary<string, string> Commitments,
    byte[] PrevHash,
    byte[] Hash)
{
    /// <summary>What the first record of a chain has in place of a hash before it.</summary>
    public static byte[] Genesis { get; } = new byte[SHA256.HashSizeInBytes];

    /// <summary>The next link after (<paramref name="seq"/> − 1, <paramref name="prevHash"/>).</summary>
    public static AuditRecord After(byte[] prevHash, long seq, Guid id, DateTimeOffset recordedAt, AuditEntry entry, IReadOnlyDictionary<string, string> commitments)
    {
        var record = new AuditRecord(
            entry.Realm, seq, id, entry.At, recordedAt, entry.Action, entry.TargetType, entry.TargetId, entry.ActorRole, entry.Outcome, entry.Count,
            entry.CorrelationId, entry.TraceId, entry.Details, commitments, prevHash, []);
        return record with { Hash = record.ComputeHash() };
    }

    /// <summary>SHA-256 over the hash before and the canonical JSON of the rest.</summary>
    public byte[] ComputeHash() => SHA256.HashData([.. PrevHash, .. Canonical()]);

    public byte[] Canonical() => CanonicalJson.Of(new
    {
        V = 1,
        Realm,
        Seq,
        Id,
        At = Time.Canonical(At),
        RecordedAt = Time.Canonical(RecordedAt),
        Action,
        TargetType,
        TargetId,
        ActorRole,
        Outcome,
        Count,
        CorrelationId,
        TraceId,
        Details,
        Commitments,
    });
}
