using Npgsql;
using Platform.Alerting.Rules;
using Platform.Postgres;

namespace Platform.Alerting.Windows;

/// <summary>
/// The second steps of sequences. Most of them follow nothing: every login may be the one after a reset, and almost none is. So a key has
/// a window only from its first step on. What comes before it on the wire, though later in event time, is found in the tails: one row
/// per batch, kept as long as events may be late.
/// </summary>
internal static class Tails
{
    /// <summary>Among advisory locks, those of this class; any constant will do.</summary>
    private const long Lock = 0x7461696c_00000000;

    /// <summary>
    /// Stores the second steps of the batch, adds those of earlier batches to the groups whose first step came, and leaves out the groups
    /// that no first step is known for. Batches with a first step of a rule and batches with second steps of it go one after the other,
    /// whatever replica handles them: else each might miss what the other is about to write.
    /// </summary>
    public static async Task<List<GroupHits>> PullAsync(NpgsqlTransaction tx, IReadOnlyCollection<GroupHits> groups, DateTimeOffset now, CancellationToken ct)
    {
        var sequences = groups.Where(group => group.Rule.Condition is Condition.Sequence).ToList();
        if (sequences.Count == 0)
        {
            return [.. groups];
        }

        var rules = sequences.GroupBy(group => group.Rule.Id).OrderBy(rule => rule.Key).ToList();
        var first = rules.Where(rule => rule.Any(group => group.StandsAlone)).Select(rule => rule.Key).ToHashSet();
        await tx.ExecuteAsync($"""
            select case when alone then pg_advisory_xact_lock(number) else pg_advisory_xact_lock_shared(number) end
            from (select number, bool_or(alone) as alone
                from unnest({rules.Select(rule => NumberOf(rule.Key)).ToArray()}, {rules.Select(rule => first.Contains(rule.Key)).ToArray()}) as rule (number, alone)
                group by number order by number) as locks
            """, ct);

        // Read before they are written: what this batch brings, its groups have already.
        var waiting = sequences.Where(group => group.StandsAlone).ToDictionary(group => group.Key);
        if (waiting.Count > 0)
        {
            var oldest = waiting.Values.Min(group => group.Hits.Min(hit => hit.At));
            var found = await tx.QueryAsync($"""
                select hit.key, hit.at from event_tails t, unnest(t.keys, t.times) as hit (key, at)
                where t.rule_id = any({first.ToArray()}) and t.newest >= {oldest} and hit.key = any({waiting.Keys.ToArray()})
                """, row => (Key: row.GetGuid(0), At: row.GetInt64(1)), ct);
            foreach (var (key, at) in found)
            {
                var group = waiting[key];
                group.Add(new Hit(at, 1), group.Source);
            }
        }

        foreach (var rule in rules)
        {
            var tail = rule.SelectMany(group => group.Hits.Where(hit => hit.A == 1).Select(hit => (group.Key, hit.At))).ToList();
            if (tail.Count > 0)
            {
                await tx.ExecuteAsync($"""
                    insert into event_tails (rule_id, seen_at, newest, keys, times)
                    values ({rule.Key}, {now}, {tail.Max(hit => hit.At)}, {tail.Select(hit => hit.Key).ToArray()}, {tail.Select(hit => hit.At).ToArray()})
                    """, ct);
            }
        }

        var second = sequences.Where(group => !group.StandsAlone).Select(group => group.Key).ToArray();
        var existing = second.Length == 0 ? [] : (await WindowStore.ExistingAsync(tx, second, ct)).ToHashSet();
        return [.. groups.Where(group => group.StandsAlone || existing.Contains(group.Key))];
    }

    public static Task<int> ForgetAsync(NpgsqlDataSource db, DateTimeOffset before, CancellationToken ct) =>
        db.ExecuteAsync($"delete from event_tails where seen_at < {before}", ct);

    private static long NumberOf(Guid rule) => Lock ^ Hit.NumberOf(rule.ToString());
}
