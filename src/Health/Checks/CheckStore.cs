using System.Text.Json;
using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Health.Checks;

/// <param name="Component">The check's name.</param>
public sealed record StoredState(string Component, string Kind, CheckState State);

/// <summary>One result, as the history shows it.</summary>
/// <param name="State">What that run saw; the component's state follows when the threshold is reached.</param>
/// <param name="Reason">Why it was not healthy; only for moderators and admins.</param>
public sealed record PastResult(DateTimeOffset At, HealthState State, double LatencyMs, string? Reason);

/// <summary>States, changes and results of all components. The platform's own components belong to no tenant: their realm is <see cref="Realm.All"/>.</summary>
public sealed class CheckStore(NpgsqlDataSource db)
{
    // One deletion at a time stays short, so that it neither blocks nor bloats.
    private const int DeleteAtOnce = 5_000;

    /// <summary>
    /// Takes one more result into account: state, history, and the message about a change, all or nothing. The state is read under a lock,
    /// so that two replicas that both believe to be the runner count one after the other and tell a change once. A result older than the newest is dropped.
    /// </summary>
    public async Task<StateChange?> RecordAsync(Check check, CheckResult result, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await tx.ExecuteAsync(
            $"""
            insert into check_states (component, realm, kind, state, since, toward, streak, consecutive_failures, result, checked_at, latency_ms, reason, details)
            values ({check.Component}, {Realm.All}, {check.Kind}, 'unknown', {result.At}, 'unknown', 0, 0, 'unknown', '-infinity', 0, '', jsonb_build_object())
            on conflict (component) do nothing
            """,
            ct);
        var known = await tx.FindAsync($"select {Columns} from check_states where component = {check.Component} for update", Read, ct);
        if (known!.State.Last is { } last && last.At >= result.At)
        {
            return null;
        }

        var (next, change) = known.State.Take(result, check.Thresholds);
        await tx.ExecuteAsync(
            $"""
            update check_states set
                kind = {check.Kind}, state = {Word(next.State)}, since = {next.Since}, toward = {Word(next.Toward)}, streak = {next.Streak},
                consecutive_failures = {next.ConsecutiveFailures}, result = {Word(result.State)}, checked_at = {result.At},
                latency_ms = {result.Latency.TotalMilliseconds}, reason = {result.Reason}, details = {Queries.Jsonb(result.Details, WireJson.Options)}
            where component = {check.Component}
            """,
            ct);
        await tx.ExecuteAsync(
            $"""
            insert into check_results (realm, component, at, state, latency_ms, reason)
            values ({Realm.All}, {check.Component}, {result.At}, {Word(result.State)}, {result.Latency.TotalMilliseconds}, {result.Reason})
            """,
            ct);
        if (change is not null)
        {
            await AddChangeAsync(tx, check.Component, check.Kind, change, ct);
        }

        await tx.CommitAsync(ct);
        return change;
    }

    /// <summary>Forgets components that are checked no longer, and says so where somebody may still be alarmed about them.</summary>
    public async Task RetireAllButAsync(IReadOnlyCollection<string> components, DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var gone = await tx.QueryAsync($"delete from check_states where component <> all({components.ToArray()}) returning {Columns}", Read, ct);
        foreach (var retired in gone)
        {
            await AddChangeAsync(tx, retired.Component, retired.Kind, new StateChange(retired.State.State, HealthState.Unknown, now, "The check was taken out of the settings."), ct);
        }

        await tx.CommitAsync(ct);
    }

    private static async Task AddChangeAsync(NpgsqlTransaction tx, string component, string kind, StateChange change, CancellationToken ct)
    {
        await tx.ExecuteAsync(
            $"""
            insert into state_changes (realm, component, at, previous, current, reason)
            values ({Realm.All}, {component}, {change.At}, {Word(change.Previous)}, {Word(change.Current)}, {change.Reason})
            """,
            ct);
        if (change.IsNews)
        {
            await tx.SendAsync(new HealthChanged(Realm.All, component, kind, change.Previous, change.Current, change.Reason, change.At), ct);
        }
    }

    /// <summary>As many rows as there are checks.</summary>
    public Task<List<StoredState>> ListAsync(CancellationToken ct) =>
        db.QueryAsync($"select {Columns} from check_states order by component", Read, ct);

    public async Task<DateTimeOffset?> FindLastRunAsync(string component, CancellationToken ct) =>
        (await db.FindAsync($"select {Columns} from check_states where component = {component}", Read, ct))?.State.Last?.At;

    /// <summary>Newest first.</summary>
    /// <param name="before">Not included: where the page before this one ended, or the end of the time asked for.</param>
    public Task<List<PastResult>> ListResultsAsync(string component, DateTimeOffset from, DateTimeOffset before, int limit, CancellationToken ct) =>
        db.QueryAsync(
            $"""
            select at, state, latency_ms, reason from check_results
            where component = {component} and at >= {from} and at < {before} order by at desc limit {limit}
            """,
            row => new PastResult(row.GetTime(0), State(row.GetString(1)), row.GetDouble(2), row.GetString(3)),
            ct);

    /// <summary>
    /// Per component and number of days, the share of the time that it was not unhealthy, of the time that its state was known.
    /// Time in which nobody checked counts as the state before it.
    /// </summary>
    public Task<List<(string Component, int Days, double Percent)>> ListUptimeAsync(DateTimeOffset now, CancellationToken ct) =>
        db.QueryAsync(
            $"""
            with spans as (
                select component, current, at as began, lead(at, 1, {now}) over (partition by component order by at, id) as ended
                from state_changes),
            seen as (
                select component, days, current, extract(epoch from least(ended, {now}) - greatest(began, {now} - days * interval '1 day')) as seconds
                from spans cross join (values (1), (7), (30)) as windows (days)
                where current <> 'unknown' and ended > {now} - days * interval '1 day')
            select component, days, coalesce(sum(seconds) filter (where current <> 'unhealthy'), 0)::float8, sum(seconds)::float8
            from seen group by component, days having sum(seconds) > 0
            """,
            // Divided first: x / x is 1 exactly, 100 * x / x may be a hair less, and uptime is rounded down.
            row => (row.GetString(0), row.GetInt32(1), row.GetDouble(2) / row.GetDouble(3) * 100),
            ct);

    /// <summary>Deletes some results and changes from before the given times.</summary>
    /// <returns>Whether there may be more.</returns>
    public async Task<bool> DeleteSomeAsync(DateTimeOffset resultsBefore, DateTimeOffset changesBefore, CancellationToken ct)
    {
        var results = await db.ExecuteAsync(
            $"delete from check_results where ctid = any(array(select ctid from check_results where at < {resultsBefore} limit {DeleteAtOnce}))", ct);
        // The last change before the time stays: it says which state the component was in since.
        var changes = await db.ExecuteAsync(
            $"""
            delete from state_changes where id = any(array(
                select id from state_changes old
                where at < {changesBefore} and exists (select 1 from state_changes newer where newer.component = old.component and newer.at > old.at and newer.at < {changesBefore})
                limit {DeleteAtOnce}))
            """,
            ct);
        return results == DeleteAtOnce || changes == DeleteAtOnce;
    }

    private static Sql Columns => $"component, kind, state, since, toward, streak, consecutive_failures, result, checked_at, latency_ms, reason, details";

    private static StoredState Read(NpgsqlDataReader row)
    {
        var result = State(row.GetString(7));
        return new(row.GetString(0), row.GetString(1), new CheckState(
            State(row.GetString(2)),
            row.GetTime(3),
            State(row.GetString(4)),
            row.GetInt32(5),
            row.GetInt32(6),
            result == HealthState.Unknown ? null : new CheckResult(
                row.GetTime(8),
                result,
                TimeSpan.FromMilliseconds(row.GetDouble(9)),
                row.GetString(10),
                JsonSerializer.Deserialize<Dictionary<string, double>>(row.GetString(11))!)));
    }

    internal static string Word(HealthState state) => WireJson.Name(state.ToString());

    private static HealthState State(string word) => Enum.Parse<HealthState>(word, ignoreCase: true);
}
