using System.ComponentModel.DataAnnotations;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

public sealed class VerificationOptions
{
    /// <summary>A verification that takes longer answers how far it came and where to go on.</summary>
    [Setting("COMPLIANCE_VERIFY_SECONDS"), Range(1, 600)]
    public TimeSpan Longest { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Time between two verifications that the service does by itself.</summary>
    [Setting("COMPLIANCE_SELF_VERIFY_MINUTES"), Range(1, 10_080)]
    public TimeSpan SelfEvery { get; init; } = TimeSpan.FromHours(1);

    /// <summary>How many of the newest records of each chain it looks at then.</summary>
    [Setting("COMPLIANCE_SELF_VERIFY_RECORDS"), Range(1, 10_000_000)]
    public int SelfRecords { get; init; } = 10_000;
}

/// <param name="Ok">No fault as far as the walk went.</param>
/// <param name="Complete">The walk reached the end; otherwise go on with <c>from_seq</c> = <paramref name="NextSeq"/>.</param>
/// <param name="Count">Records in the chain as far as known: the sequence of the last good record.</param>
/// <param name="Checked">Records looked at.</param>
/// <param name="ErasedValues">Personal values among them that nobody can read any more, because their persons were erased.</param>
/// <param name="Head">The newest signed head.</param>
public sealed record ChainVerification(
    string Realm, bool Ok, bool Complete, long Count, long FromSeq, long Checked, long? NextSeq, long ErasedValues, SignedHead? Head, ChainFault? Fault);

/// <param name="Count">Records over all chains.</param>
/// <param name="Fault">The first fault of the first broken chain.</param>
public sealed record AuditVerification(bool Ok, bool Complete, long Count, ChainFault? Fault, IReadOnlyList<ChainVerification> Chains);

/// <summary>Walks a chain in pages and compares it on the way with every head that was signed, from the database and from the checkpoint file.</summary>
public sealed class Verification(AuditStore store, SignedHeads heads, CheckpointFile file, VerificationOptions options, ComplianceMetrics metrics, TimeProvider clock)
{
    private const int PageSize = 500;
    private const int MaxChains = 1_000;

    /// <summary>One realm's chain, or all of them within the time that one may take.</summary>
    public async Task<AuditVerification> VerifyAllAsync(string? realm, long fromSeq, long limit, CancellationToken ct)
    {
        var started = clock.GetTimestamp();
        var chains = new List<ChainVerification>();
        foreach (var each in realm is not null ? [realm] : await store.ListRealmsAsync(MaxChains, ct))
        {
            chains.Add(await VerifyAsync(each, fromSeq, limit, options.Longest - clock.GetElapsedTime(started), ct));
        }

        return new AuditVerification(
            chains.TrueForAll(chain => chain.Ok), chains.TrueForAll(chain => chain.Complete), chains.Sum(chain => chain.Count),
            chains.Find(chain => chain.Fault is not null)?.Fault, chains);
    }

    /// <param name="fromSeq">First record to look at; the hash before it is taken as stored.</param>
    /// <param name="limit">Most records to look at.</param>
    /// <param name="longest">When it is over, the answer says where to go on.</param>
    public async Task<ChainVerification> VerifyAsync(string realm, long fromSeq, long limit, TimeSpan longest, CancellationToken ct)
    {
        var started = clock.GetTimestamp();
        var publicKey = await heads.GetPublicKeyAsync(ct);
        var before = fromSeq == 1 ? AuditRecord.Genesis : await store.FindHashAsync(realm, fromSeq - 1, ct);
        var walk = new ChainWalk(fromSeq, before ?? AuditRecord.Genesis);
        var witnesses = await Witnesses.StartAsync(realm, fromSeq, heads, file, ct);
        var fault = before is null ? new ChainFault(FaultKind.Missing, fromSeq - 1, null, $"Record {fromSeq - 1} is missing.") : null;
        var complete = false;
        var last = fromSeq > long.MaxValue - limit ? long.MaxValue : fromSeq + limit - 1;
        while (fault is null && !complete && walk.Next <= last && clock.GetElapsedTime(started) < longest)
        {
            var page = await store.PageAsync(realm, walk.Next, (int)Math.Min(PageSize, last - walk.Next + 1), ct);
            foreach (var (record, values) in page)
            {
                fault = walk.Step(record, values);
                while (fault is null && await witnesses.PeekAsync(ct) is { } head && head.Seq < walk.Next)
                {
                    fault = walk.Compare(head, publicKey);
                    witnesses.Pass();
                }

                if (fault is not null)
                {
                    break;
                }
            }

            if (fault is null && page.Count == 0)
            {
                // Heads are read after the records: something appended meanwhile makes them point beyond, and the walk goes on.
                var row = await store.FindHeadAsync(realm, ct);
                var beyond = await witnesses.NewestAsync(ct);
                if (Math.Max(row?.Seq ?? 0, beyond?.Seq ?? 0) >= walk.Next && await store.FindHashAsync(realm, walk.Next, ct) is not null)
                {
                    continue;
                }

                fault = (beyond?.Seq >= walk.Next ? walk.Compare(beyond, publicKey) : null) ?? walk.End(row, beyond);
                complete = true;
            }
        }

        metrics.Verified(fault is null);
        return new ChainVerification(
            realm, fault is null, complete || fault is not null, walk.Next - 1, fromSeq, walk.Next - fromSeq, complete || fault is not null ? null : walk.Next,
            walk.ErasedValues, await heads.FindNewestAsync(realm, ct), fault);
    }

    /// <summary>Signed heads of both places in order of their sequence, a page of the database at a time.</summary>
    private sealed class Witnesses(string realm, SignedHeads heads, List<SignedHead> fromFile)
    {
        private const int PageSize = 1_000;

        private readonly Queue<SignedHead> _page = new();
        private long _nextSeq;
        private bool _exhausted;
        private int _file;

        public static async Task<Witnesses> StartAsync(string realm, long fromSeq, SignedHeads heads, CheckpointFile file, CancellationToken ct) =>
            new(realm, heads, await file.ListAsync(realm, fromSeq, ct)) { _nextSeq = fromSeq };

        public async Task<SignedHead?> PeekAsync(CancellationToken ct)
        {
            if (_page.Count == 0 && !_exhausted)
            {
                foreach (var head in await heads.ListAsync(realm, _nextSeq, PageSize, ct))
                {
                    _page.Enqueue(head);
                    _nextSeq = head.Seq + 1;
                }

                _exhausted = _page.Count < PageSize;
            }

            var stored = _page.TryPeek(out var first) ? first : null;
            var filed = _file < fromFile.Count ? fromFile[_file] : null;
            return stored is null || filed?.Seq <= stored.Seq ? filed ?? stored : stored;
        }

        public void Pass()
        {
            if (_page.TryPeek(out var stored) && (_file >= fromFile.Count || stored.Seq < fromFile[_file].Seq))
            {
                _page.Dequeue();
            }
            else
            {
                _file++;
            }
        }

        public async Task<SignedHead?> NewestAsync(CancellationToken ct)
        {
            var stored = await heads.FindNewestAsync(realm, ct);
            return fromFile.Count > 0 && (stored is null || fromFile[^1].Seq > stored.Seq) ? fromFile[^1] : stored;
        }
    }
}

/// <summary>Looks at the newest part of every chain on its own, so that tampering is noticed without anybody asking; tidies up what has a bound.</summary>
public sealed partial class VerifyRegularly(
    Verification verification, AuditStore store, AuditReads reads, SignedHeads heads, Subjects.Erasure erasure, VerificationOptions options, TimeProvider clock,
    ILogger<VerifyRegularly> logger) : BackgroundService
{
    private const int MostRealms = 10_000;
    private const int TidyBatch = 10_000;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(options.SelfEvery, clock);
        do
        {
            await TickAsync(stoppingToken);
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            foreach (var realm in await store.ListRealmsAsync(MostRealms, ct))
            {
                var newest = (await store.FindHeadAsync(realm, ct))?.Seq ?? 0;
                var found = await verification.VerifyAsync(realm, Math.Max(1, newest - options.SelfRecords + 1), long.MaxValue, options.Longest, ct);
                if (found.Fault is { } fault)
                {
                    Broken(realm, fault.Kind, fault.Seq, fault.Message);
                }
            }

            await erasure.ForgetAsync(ct);
            await reads.ForgetAsync(ct);
            while (await heads.ThinOutAsync(TidyBatch, ct) == TidyBatch)
            {
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            Failed(error);
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
    }

    [LoggerMessage(LogLevel.Error, "The audit chain of realm {Realm} is broken: {Kind} at record {Seq}. {Reason}")]
    private partial void Broken(string realm, FaultKind kind, long seq, string reason);

    [LoggerMessage(LogLevel.Error, "The regular verification of the audit chains failed; trying again at the next tick")]
    private partial void Failed(Exception error);
}
