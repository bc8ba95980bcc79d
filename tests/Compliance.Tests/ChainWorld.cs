using Microsoft.AspNetCore.DataProtection;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;
using Platform.Compliance.Audit;
using Platform.Compliance.Subjects;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Compliance.Tests;

/// <summary>Chains on a real database, one realm per test, and somebody who may do anything to that database.</summary>
public sealed class ChainWorld : IAsyncLifetime
{
    private readonly TemporaryFolder _folder = TemporaryFolder.Create("heads");
    private readonly List<IDisposable> _open = [];

    /// <summary>Ahead by a fixed step at each look, so that times differ as in life.</summary>
    public TestClock Clock { get; } = new();

    public NpgsqlDataSource Db { get; private set; } = null!;

    public AuditChain Chain { get; private set; } = null!;

    public AuditStore Store { get; private set; } = null!;

    public SubjectKeys Subjects { get; private set; } = null!;

    public SignedHeads Heads { get; private set; } = null!;

    public CheckpointFile File { get; private set; } = null!;

    public SealHeads Seals { get; private set; } = null!;

    public Verification Verification { get; private set; } = null!;

    public Erasure Erasure { get; private set; } = null!;

    public string FilePath => Path.Combine(_folder.Path, "audit-heads.jsonl");

    public async ValueTask InitializeAsync()
    {
        var servers = await TestServers.GetAsync();
        Db = NpgsqlDataSource.Create(await servers.Postgres.CreateDatabaseAsync() + ";Maximum Pool Size=20;Max Auto Prepare=64;Auto Prepare Min Usages=2");
        await new Migrator(
            Db, [new("compliancedb", typeof(AuditChain).Assembly), new("messaging", typeof(MessagingHosting).Assembly)], NullLogger<Migrator>.Instance)
            .MigrateAsync(CancellationToken.None);
        var protection = new EphemeralDataProtectionProvider();
        var keys = new ServiceKeys(Db, protection, Clock);
        var metrics = Keep(new ComplianceMetrics());
        Subjects = Keep(new SubjectKeys(Db, keys, protection, Clock));
        Chain = new AuditChain(Subjects, Clock);
        Store = new AuditStore(Db, Subjects);
        Heads = new SignedHeads(Db, keys, Clock);
        File = new CheckpointFile(new CheckpointOptions { File = FilePath });
        Seals = Keep(new SealHeads(Heads, File, new SealOptions(), metrics, Clock, NullLogger<SealHeads>.Instance));
        Verification = new Verification(Store, Heads, File, new VerificationOptions(), metrics, Clock);
        Erasure = new Erasure(Db, Chain, Subjects, metrics, Clock);
    }

    public static Audited Said(string realm, string actor = "key:anna") => new(
        realm, actor, "admin", "rule.created", "rule", "rule-1", AuditOutcome.Success, new DateTimeOffset(2026, 1, 15, 12, 0, 0, TimeSpan.Zero), "203.0.113.9",
        "c-1", Details: new Dictionary<string, string> { ["name"] = "Brute force" });

    /// <summary>Appends as the consumer does: one transaction each.</summary>
    public async Task AppendAsync(Audited said)
    {
        var ct = TestContext.Current.CancellationToken;
        await using var connection = await Db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await Chain.AppendAsync(said, tx, ct);
        await tx.CommitAsync(ct);
    }

    /// <summary>A chain of some records, its head signed.</summary>
    public async Task<string> ChainAsync(int records)
    {
        var realm = $"r{Guid.NewGuid():N}";
        for (var i = 0; i < records; i++)
        {
            Clock.Advance(TimeSpan.FromMilliseconds(1));
            await AppendAsync(Said(realm));
        }

        await Seals.TickAsync(TestContext.Current.CancellationToken);
        return realm;
    }

    public Task<ChainVerification> VerifyAsync(string realm, long fromSeq = 1, long limit = long.MaxValue) =>
        Verification.VerifyAsync(realm, fromSeq, limit, TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);

    /// <summary>Runs SQL with the triggers off, as a superuser can. <c>$1</c> is the realm.</summary>
    public async Task TamperAsync(string realm, string sql)
    {
        var ct = TestContext.Current.CancellationToken;
        await using var connection = await Db.OpenConnectionAsync(ct);
        await using (var off = new NpgsqlCommand("set session_replication_role = replica", connection))
        {
            await off.ExecuteNonQueryAsync(ct);
        }

        foreach (var statement in sql.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
#pragma warning disable CA2100 // The statements are written in the tests.
            await using var command = new NpgsqlCommand(statement, connection);
#pragma warning restore CA2100
            command.Parameters.Add(new NpgsqlParameter { Value = realm });
            await command.ExecuteNonQueryAsync(ct);
        }

        await using var on = new NpgsqlCommand("set session_replication_role = origin", connection);
        await on.ExecuteNonQueryAsync(ct);
    }

    public static Caller Admin(string realm) => new("key:admin", Role.Admin, realm, Scopes.All);

    private T Keep<T>(T thing) where T : IDisposable
    {
        _open.Add(thing);
        return thing;
    }

    public async ValueTask DisposeAsync()
    {
        _open.ForEach(thing => thing.Dispose());
        await Db.DisposeAsync();
        _folder.Dispose();
    }
}
