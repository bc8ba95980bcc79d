using Npgsql;
using Platform.Compliance.Audit;
using Platform.Postgres;

namespace Platform.Compliance.Tests;

public sealed class ChainTests(ChainWorld world) : IClassFixture<ChainWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_untouched_chain_verifies()
    {
        var realm = await world.ChainAsync(12);

        var found = await world.VerifyAsync(realm);

        Assert.Null(found.Fault);
        Assert.True(found is { Ok: true, Complete: true, Count: 12, Checked: 12, ErasedValues: 0, Head.Seq: 12 });
    }

    [Fact]
    public async Task An_empty_chain_verifies()
    {
        var found = await world.VerifyAsync("nobody-was-here");

        Assert.True(found is { Ok: true, Complete: true, Count: 0, Head: null });
    }

    [Theory]
    [InlineData("a field is altered", "update audit_records set action = 'rule.deleted' where realm = $1 and seq = 4", FaultKind.HashMismatch, 4)]
    [InlineData("the time is moved", "update audit_records set at = at + interval '1 microsecond' where realm = $1 and seq = 7", FaultKind.HashMismatch, 7)]
    [InlineData("a detail is added", "update audit_records set details = details || '{\"x\":\"y\"}' where realm = $1 and seq = 2", FaultKind.HashMismatch, 2)]
    [InlineData("a commitment is removed", "update audit_records set commitments = commitments - 'actor' where realm = $1 and seq = 3", FaultKind.HashMismatch, 3)]
    [InlineData("a hash is altered", "update audit_records set hash = sha256('x') where realm = $1 and seq = 5", FaultKind.HashMismatch, 5)]
    [InlineData("a record is removed", "delete from audit_records where realm = $1 and seq = 6", FaultKind.Missing, 6)]
    [InlineData("the first is removed", "delete from audit_records where realm = $1 and seq = 1", FaultKind.Missing, 1)]
    [InlineData("two are swapped", "update audit_records set seq = case seq when 3 then -4 else -3 end where realm = $1 and seq in (3, 4); update audit_records set seq = -seq where realm = $1 and seq < 0", FaultKind.PrevMismatch, 3)]
    [InlineData("one is removed and the rest moved up", "delete from audit_records where realm = $1 and seq = 6; update audit_records set seq = -seq where realm = $1 and seq > 6; update audit_records set seq = -seq - 1 where realm = $1 and seq < 0", FaultKind.PrevMismatch, 6)]
    [InlineData("the tail is cut off", "delete from audit_records where realm = $1 and seq > 7", FaultKind.Truncated, 8)]
    [InlineData("the tail and the head row are cut off", "delete from audit_records where realm = $1 and seq > 7; delete from audit_chains where realm = $1", FaultKind.Truncated, 8)]
    [InlineData("the tail is cut off and the head row fits", "delete from audit_records where realm = $1 and seq > 7; update audit_chains set seq = 7, hash = (select hash from audit_records where realm = $1 and seq = 7) where realm = $1", FaultKind.Truncated, 8)]
    [InlineData("tail, head row and signed heads are gone", "delete from audit_records where realm = $1 and seq > 7; update audit_chains set seq = 7, hash = (select hash from audit_records where realm = $1 and seq = 7) where realm = $1; delete from audit_heads where realm = $1", FaultKind.Truncated, 8)]
    [InlineData("everything is gone", "delete from audit_records where realm = $1; delete from audit_chains where realm = $1; delete from audit_heads where realm = $1", FaultKind.Truncated, 1)]
    [InlineData("an old head row is put back", "update audit_chains set seq = 7, hash = (select hash from audit_records where realm = $1 and seq = 7) where realm = $1", FaultKind.HeadRowMismatch, 7)]
    [InlineData("the head row is removed", "delete from audit_chains where realm = $1", FaultKind.HeadRowMismatch, 10)]
    [InlineData("a sealed value is altered", "update audit_personal set sealed = sha256(sealed) where realm = $1 and seq = 5 and field = 'actor'", FaultKind.CommitmentMismatch, 5)]
    [InlineData("two sealed values change places", "update audit_personal set seq = case seq when 5 then -6 else -5 end where realm = $1 and seq in (5, 6); update audit_personal set seq = -seq where realm = $1 and seq < 0", FaultKind.CommitmentMismatch, 5)]
    [InlineData("a forged head is added", "insert into audit_heads select realm, 99, hash, 99, at, key_id, signature from audit_heads where realm = $1", FaultKind.SignatureInvalid, 99)]
    public async Task The_first_fault_is_named(string what, string sql, FaultKind kind, long seq)
    {
        var realm = await world.ChainAsync(10);

        await world.TamperAsync(realm, sql);
        var found = await world.VerifyAsync(realm);

        Assert.False(found.Ok, what);
        Assert.Equal((kind, seq), (found.Fault!.Kind, found.Fault.Seq));
        Assert.NotEmpty(found.Fault.Message);
    }

    [Fact]
    public async Task A_chain_rewritten_with_right_hashes_does_not_match_what_was_signed()
    {
        var realm = await world.ChainAsync(10);
        var records = (await world.Store.PageAsync(realm, 1, 100, Ct)).ConvertAll(opened => opened.Record);

        var prev = records[4].Hash;
        foreach (var record in records.Skip(5))
        {
            var rewritten = record with { Action = "nothing.happened", PrevHash = prev, Hash = [] };
            prev = rewritten.ComputeHash();
            await world.TamperAsync(realm, $"""
                update audit_records set action = 'nothing.happened', prev_hash = '\x{Convert.ToHexString(rewritten.PrevHash)}', hash = '\x{Convert.ToHexString(prev)}'
                where realm = $1 and seq = {record.Seq}
                """);
        }

        await world.TamperAsync(realm, $"update audit_chains set hash = '\\x{Convert.ToHexString(prev)}' where realm = $1");
        var found = await world.VerifyAsync(realm);

        Assert.Equal((FaultKind.SignedHeadMismatch, 10L), (found.Fault!.Kind, found.Fault.Seq));
    }

    [Theory]
    [InlineData("update audit_records set action = 'x'")]
    [InlineData("delete from audit_records")]
    [InlineData("truncate audit_records")]
    public async Task Records_refuse_to_be_changed(string sql)
    {
        await world.ChainAsync(1);

#pragma warning disable CA2100 // The statements are the ones above.
        await using var command = world.Db.CreateCommand(sql);
#pragma warning restore CA2100
        var error = await Assert.ThrowsAsync<PostgresException>(() => command.ExecuteNonQueryAsync(Ct));

        Assert.Contains("only grows", error.MessageText, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Replicas_that_append_at_once_leave_no_gap()
    {
        var realm = await world.ChainAsync(0) + "-busy";

        await Task.WhenAll(Enumerable.Range(0, 8).Select(async writer =>
        {
            for (var i = 0; i < 25; i++)
            {
                await world.AppendAsync(ChainWorld.Said(realm, $"key:{writer}"));
            }
        }));
        var found = await world.VerifyAsync(realm);

        Assert.Null(found.Fault);
        Assert.Equal(200, found.Count);
    }

    [Fact]
    public async Task A_long_chain_is_verified_in_parts()
    {
        var realm = await world.ChainAsync(10);

        var first = await world.VerifyAsync(realm, limit: 4);
        var rest = await world.VerifyAsync(realm, fromSeq: first.NextSeq!.Value);

        Assert.True(first is { Ok: true, Complete: false, NextSeq: 5, Checked: 4 });
        Assert.True(rest is { Ok: true, Complete: true, NextSeq: null, Checked: 6, Count: 10 });
    }

    [Fact]
    public async Task A_part_that_ends_before_a_hole_is_whole()
    {
        var realm = await world.ChainAsync(10);
        await world.TamperAsync(realm, "delete from audit_records where realm = $1 and seq = 5");

        Assert.True((await world.VerifyAsync(realm, limit: 4)).Ok);
        Assert.Equal(FaultKind.Missing, (await world.VerifyAsync(realm, limit: 5)).Fault!.Kind);
        Assert.Equal(FaultKind.Missing, (await world.VerifyAsync(realm, fromSeq: 6)).Fault!.Kind);
    }

    [Fact]
    public async Task Erasing_a_person_leaves_a_chain_that_verifies_and_says_nothing_of_them()
    {
        var realm = await world.ChainAsync(3);
        await world.AppendAsync(ChainWorld.Said(realm, "key:boris"));

        var erased = await world.Erasure.EraseAsync(realm, "key:anna", ChainWorld.Admin(realm), Ct);
        var found = await world.VerifyAsync(realm);
        var items = (await world.Store.PageAsync(realm, 1, 10, Ct)).ConvertAll(AuditItem.Of);

        Assert.Equal(6, erased!.Values);
        Assert.True(found is { Ok: true, Count: 4, ErasedValues: 6 }, found.Fault?.Message);
        Assert.All(items.Take(3), item => Assert.True(item is { Erased: true, Actor: null, SourceAddress: null, Action: "rule.created" }));
        Assert.True(items[3] is { Erased: false, Actor: "key:boris", SourceAddress: "203.0.113.9" });
        Assert.Empty(await world.Store.ListAsync(new AuditFilter(realm, null, "key:anna", null, null, null, null, null), null, 10, Ct));
        Assert.Equal(2, await world.Db.FindAsync($"select count(*) from audit_personal where realm = {realm}", row => row.GetInt64(0), Ct));
        Assert.Equal(9, items.SelectMany(item => item.Commitments.Values).Append("").Distinct().Count());
    }

    [Fact]
    public async Task Records_of_one_target_or_actor_are_found_by_index()
    {
        var realm = await world.ChainAsync(2);
        // Alike for longer than an index entry holds, and not compressible.
        var random = new Random(1);
        var longTarget = string.Concat(Enumerable.Range(0, 999).Select(_ => (char)random.Next(0x4E00, 0x9FFF)));
        await world.AppendAsync(ChainWorld.Said(realm, "key:boris") with { TargetId = longTarget + "a" });
        await world.AppendAsync(ChainWorld.Said(realm, "key:boris") with { TargetId = longTarget + "b" });
        await world.AppendAsync(ChainWorld.Said(realm) with { TargetType = "user", TargetId = "user:7" });
        // Many others, as in life: the plan is chosen by what the statistics say.
        await world.Db.ExecuteAsync($"""
            insert into audit_records
            select {realm + "-crowd"}, n, gen_random_uuid(), at + n * interval '1 second', recorded_at + n * interval '1 second', action, target_type, 'other-' || n,
                actor_role, outcome, count, correlation_id, trace_id, details, commitments, prev_hash, hash
            from audit_records, generate_series(1, 20000) n where realm = {realm} and seq = 1
            """, Ct);
        await world.Db.ExecuteAsync($"""
            insert into audit_personal select {realm + "-crowd"}, n, 'actor', gen_random_uuid(), sha256('x') from generate_series(1, 20000) n
            """, Ct);
        await world.Db.ExecuteAsync($"analyze audit_records, audit_personal", Ct);

        Assert.Equal([3L], await SeqsAsync(target: longTarget + "a"));
        Assert.Equal([5L], await SeqsAsync(target: "user:7"));
        Assert.Equal([3L, 4L], (await SeqsAsync(actor: "key:boris")).Order());
        Assert.Equal([1L, 2L], (await SeqsAsync(actor: "key:anna", target: "rule-1")).Order());
        Assert.Empty(await SeqsAsync(target: "nobody"));

        await FindsByAsync("audit_records_target", new(null, null, null, null, "other-7", null, null, null));
        await FindsByAsync("audit_personal_key", new(null, null, "key:x", null, null, null, null, null));

        async Task<IEnumerable<long>> SeqsAsync(string? actor = null, string? target = null) =>
            (await world.Store.ListAsync(new AuditFilter(realm, null, actor, null, target, null, null, null), null, 100, Ct)).Select(opened => opened.Record.Seq);

        async Task FindsByAsync(string index, AuditFilter filter)
        {
            Guid[] keys = [Guid.NewGuid()];
            var plan = string.Join('\n', await world.Db.QueryAsync($"explain {AuditStore.Search(filter, null, keys, keys, 100)}", row => row.GetString(0), Ct));
            Assert.Contains(index, plan, StringComparison.Ordinal);
            Assert.DoesNotContain("audit_records_at", plan, StringComparison.Ordinal);
            Assert.DoesNotContain("Seq Scan", plan, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_person_who_comes_back_after_erasure_is_somebody_new()
    {
        var realm = await world.ChainAsync(1);
        await world.Erasure.EraseAsync(realm, "key:anna", ChainWorld.Admin(realm), Ct);

        await world.AppendAsync(ChainWorld.Said(realm));
        var items = (await world.Store.PageAsync(realm, 1, 10, Ct)).ConvertAll(AuditItem.Of);

        Assert.Equal((string?[])[null, "key:anna"], items.Select(item => item.Actor));
        Assert.True((await world.VerifyAsync(realm)).Ok);
        Assert.Null(await world.Erasure.EraseAsync(realm, "key:nobody", ChainWorld.Admin(realm), Ct));
    }

    [Fact]
    public async Task Nothing_in_the_database_names_the_person()
    {
        var realm = await world.ChainAsync(1);

        var dump = await world.Db.QueryAsync($"""
            select row_to_json(r)::text from audit_records r where realm = {realm}
            union all select row_to_json(p)::text from audit_personal p where realm = {realm}
            union all select row_to_json(k)::text from subject_keys k where realm = {realm}
            """, row => row.GetString(0), Ct);

        Assert.Equal(4, dump.Count);
        Assert.All(dump, row => Assert.DoesNotContain("anna", row, StringComparison.Ordinal));
        Assert.All(dump, row => Assert.DoesNotContain("203.0.113.9", row, StringComparison.Ordinal));
        Assert.All(dump, row => Assert.DoesNotContain(Convert.ToHexString("anna"u8), row, StringComparison.OrdinalIgnoreCase));
    }
}
