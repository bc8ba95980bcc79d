namespace Platform.Compliance.Audit;

public enum FaultKind
{
    /// <summary>A sequence number is not there.</summary>
    Missing,

    /// <summary>The record does not name the hash of the one before it: something was inserted, removed or reordered here.</summary>
    PrevMismatch,

    /// <summary>The record is not what its hash was computed from.</summary>
    HashMismatch,

    /// <summary>A personal value is not the one that was committed to.</summary>
    CommitmentMismatch,

    /// <summary>The chain ends before a head that was signed.</summary>
    Truncated,

    /// <summary>The record's hash is not the one that was signed for its place: the chain was rewritten from some point on.</summary>
    SignedHeadMismatch,

    /// <summary>A head bears a signature that the service did not make.</summary>
    SignatureInvalid,

    /// <summary>The head row and the last record differ: one of them was put back or removed.</summary>
    HeadRowMismatch,
}

/// <summary>The first thing that is wrong with a chain.</summary>
/// <param name="Seq">Where.</param>
/// <param name="Id">Of the record that is there; null when none is.</param>
public sealed record ChainFault(FaultKind Kind, long Seq, Guid? Id, string Message);

/// <param name="Value">Null when it cannot be opened: the key is gone, or the bytes are not what it sealed.</param>
/// <param name="Key">The person's key; null once it is destroyed.</param>
public sealed record OpenedValue(string Field, string? Value, SubjectKey? Key);

/// <summary>Goes along a chain record by record and says what is wrong first. Knows nothing of databases; memory does not grow.</summary>
/// <param name="fromSeq">Where the walk begins.</param>
/// <param name="prevHash">Hash of the record before; taken on trust when the walk does not begin at 1.</param>
public sealed class ChainWalk(long fromSeq, byte[] prevHash)
{
    /// <summary>Sequence of the next record expected.</summary>
    public long Next { get; private set; } = fromSeq;

    /// <summary>Hash of the last record.</summary>
    public byte[] Hash { get; private set; } = prevHash;

    /// <summary>Commitments whose value is gone because its person was erased.</summary>
    public long ErasedValues { get; private set; }

    public ChainFault? Step(AuditRecord record, IReadOnlyList<OpenedValue> values)
    {
        if (record.Seq != Next)
        {
            return new(FaultKind.Missing, Next, null, $"Record {Next} is missing; record {record.Seq} ({record.Id}) comes next.");
        }

        if (!record.PrevHash.AsSpan().SequenceEqual(Hash))
        {
            return new(FaultKind.PrevMismatch, record.Seq, record.Id,
                $"Record {record.Seq} does not follow the record before it: it names {Hex(record.PrevHash)} as the previous hash, and that is {Hex(Hash)}. A record was inserted, removed or reordered here.");
        }

        var computed = record.ComputeHash();
        if (!record.Hash.AsSpan().SequenceEqual(computed))
        {
            return new(FaultKind.HashMismatch, record.Seq, record.Id,
                $"Record {record.Seq} was altered: its hash says {Hex(record.Hash)}, its content gives {Hex(computed)}.");
        }

        if (CheckValues(record, values) is { } fault)
        {
            return fault;
        }

        Next++;
        Hash = record.Hash;
        return null;
    }

    /// <summary>Compares with a head that was signed for the record just passed.</summary>
    public ChainFault? Compare(SignedHead head, byte[] publicKey)
    {
        if (head.KeyId != SignedHead.KeyIdOf(publicKey) || !head.IsSignedBy(publicKey))
        {
            return new(FaultKind.SignatureInvalid, head.Seq, null,
                $"The head of {head.At:O} for record {head.Seq} is not signed by this service's key {SignedHead.KeyIdOf(publicKey)}: the head was forged, or the signing key was replaced.");
        }

        return head.Seq == Next - 1 && head.Hash != Convert.ToHexStringLower(Hash)
            ? new(FaultKind.SignedHeadMismatch, head.Seq, null,
                $"At {head.At:O} the hash of record {head.Seq} was signed as {head.Hash}; now it is {Hex(Hash)}. The chain was rewritten at or before this record.")
            : null;
    }

    /// <summary>At the end of the records: is it where the head row and the newest signed head say?</summary>
    /// <param name="row">The head row as read after the last record; null when it is not there.</param>
    public ChainFault? End(ChainHead? row, SignedHead? newest)
    {
        var found = Next - 1;
        if (newest is not null && newest.Seq > found)
        {
            return new(FaultKind.Truncated, Next, null, $"The end is cut off: expected {newest.Count} records (signed at {newest.At:O}), found {found}.");
        }

        if (row is null)
        {
            return found == 0 ? null : new(FaultKind.HeadRowMismatch, found, null, $"The chain has {found} records, and its head row is missing.");
        }

        if (row.Seq > found)
        {
            return new(FaultKind.Truncated, Next, null, $"The end is cut off: expected {row.Seq} records (head row), found {found}.");
        }

        return row.Seq < found || !row.Hash.AsSpan().SequenceEqual(Hash)
            ? new(FaultKind.HeadRowMismatch, row.Seq, null, $"The head row says record {row.Seq} with hash {Hex(row.Hash)}; the last record is {found} with hash {Hex(Hash)}. An old head row was put back.")
            : null;
    }

    private ChainFault? CheckValues(AuditRecord record, IReadOnlyList<OpenedValue> values)
    {
        foreach (var value in values)
        {
            if (value.Key is { } key && (value.Value is null || !record.Commitments.TryGetValue(value.Field, out var commitment) || key.Commit(record.Id, value.Field, value.Value) != commitment))
            {
                return new(FaultKind.CommitmentMismatch, record.Seq, record.Id, $"The personal value '{value.Field}' of record {record.Seq} is not the one that the record commits to.");
            }
        }

        ErasedValues += record.Commitments.Count - values.Count(value => value.Key is not null);
        return null;
    }

    private static string Hex(byte[] hash) => Convert.ToHexStringLower(hash);
}
