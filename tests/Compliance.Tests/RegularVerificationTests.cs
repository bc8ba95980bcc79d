using Microsoft.Extensions.Logging;
using Platform.Compliance.Audit;
using Platform.Postgres;

namespace Platform.Compliance.Tests;

public sealed class RegularVerificationTests(ChainWorld world) : IClassFixture<ChainWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Tampering_is_noticed_without_anybody_asking()
    {
        var whole = await world.ChainAsync(5);
        var broken = await world.ChainAsync(5);
        await world.TamperAsync(broken, "update audit_records set count = 99 where realm = $1 and seq = 4");
        var log = new Lines();
        using var regularly = Regularly(log);

        await regularly.TickAsync(Ct);

        var line = Assert.Single(log.Errors);
        Assert.Contains(broken, line, StringComparison.Ordinal);
        Assert.Contains("record 4", line, StringComparison.Ordinal);
        Assert.DoesNotContain(whole, line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Signed_heads_are_thinned_out_to_the_last_one_of_an_hour()
    {
        world.Clock.Now = new DateTimeOffset(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);
        var realm = await world.ChainAsync(1);
        for (var i = 0; i < 3; i++)
        {
            world.Clock.Advance(TimeSpan.FromMinutes(25));
            await world.AppendAsync(ChainWorld.Said(realm));
            await world.Seals.TickAsync(Ct);
        }

        // Four heads: at 12:00, 12:25 and 12:50 of one hour, and at 13:15 of the next.
        world.Clock.Advance(TimeSpan.FromDays(2));
        await world.Heads.ThinOutAsync(100, Ct);

        Assert.Equal([3L, 4L], (await world.Heads.ListAsync(realm, 1, 100, Ct)).Select(head => head.Seq));
        Assert.True((await world.VerifyAsync(realm)).Ok);
    }

    [Fact]
    public async Task Memory_of_readings_does_not_pile_up()
    {
        var reads = new AuditReads(world.Db, world.Subjects, world.Clock);
        await reads.RecordAsync(ChainWorld.Admin("readers"), "list", Ct);

        world.Clock.Advance(TimeSpan.FromHours(2));
        await reads.ForgetAsync(Ct);

        Assert.Equal(0, await world.Db.FindAsync($"select count(*) from audit_reads", row => row.GetInt64(0), Ct));
    }

    private VerifyRegularly Regularly(ILogger<VerifyRegularly> log) => new(
        world.Verification, world.Store, new AuditReads(world.Db, world.Subjects, world.Clock), world.Heads, world.Erasure, new VerificationOptions(), world.Clock, log);

    private sealed class Lines : ILogger<VerifyRegularly>
    {
        public List<string> Errors { get; } = [];

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (logLevel >= LogLevel.Error)
            {
                Errors.Add(formatter(state, exception));
            }
        }
    }
}
