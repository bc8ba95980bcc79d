using Npgsql;
using Platform.Contracts;
using Platform.Postgres;

namespace Platform.Alerting.RuleGroups;

/// <summary>
/// When which group is evaluated, and by whom. Every replica says every now and then that it is alive and takes its share of the groups;
/// a group is evaluated on a grid of its own that no delay shifts, and rules that data has touched at once. What replicas know
/// is in the database: a replica that takes a group over, or starts again after whatever time, goes on where the group was.
/// </summary>
public sealed partial class RuleWorker(
    NpgsqlDataSource db, RuleGroupStore store, RuleEvaluation evaluation, DataSignals signals, RuleGroupOptions options, TimeProvider clock, ILogger<RuleWorker> logger) : BackgroundService
{
    private static readonly TimeSpan Reread = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(1);

    private readonly Guid _id = Guid.NewGuid();
    private readonly Signal _wake = new();
    private readonly HashSet<Task> _running = [];
    private Dictionary<Guid, RunningGroup> _groups = [];
    private volatile bool _changed = true;
    private DateTimeOffset _nextClaim;
    private DateTimeOffset _nextRead;
    private double _tokens;
    private DateTimeOffset _tokensAt;

    public void Wake() => _wake.Raise();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var listening = db.ListenAsync("rule_groups", Changed, ListeningFailed, clock, stoppingToken);
        var hearing = signals.RunAsync(Wake, stoppingToken);
        while (!stoppingToken.IsCancellationRequested)
        {
            await TickAsync(stoppingToken);
            await WaitAsync(stoppingToken);
        }

        await Task.WhenAll(_running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Task.WhenAll(listening, hearing).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await store.LeaveAsync(_id, CancellationToken.None).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

        void Changed()
        {
            _changed = true;
            Wake();
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            var now = clock.GetUtcNow();
            _running.RemoveWhere(task => task.IsCompleted);
            // Nothing is ever planned further ahead than that, unless the clock was set back since.
            if (now >= _nextClaim || _nextClaim > now + options.Lease || _changed)
            {
                await TakeAsync(now, ct);
                _nextClaim = clock.GetUtcNow() + options.Lease / 3;
            }

            foreach (var batch in Due(clock.GetUtcNow()))
            {
                foreach (var turn in batch)
                {
                    turn.Group.IsBusy = true;
                }

                _running.Add(EvaluateAsync(batch, ct));
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error.GetBaseException().Message);
            _nextClaim = clock.GetUtcNow() + options.Lease / 3;
        }
    }

    // Sleeps until the next group is due, somebody calls, or the lease wants to be renewed.
    private async Task WaitAsync(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var next = _groups.Values.Where(group => group is { IsBusy: false, IsHeld: false }).Select(group => group.Next).Append(_nextClaim).Min() - now;
        var wait = _running.Count >= options.Concurrency ? LongestWait : next < TimeSpan.Zero ? TimeSpan.Zero : next < LongestWait ? next : LongestWait;
        try
        {
            await _wake.WaitAsync(wait, ct);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The end.
        }
    }

    // Brings the groups here in line with those that the database says are ours, and as it says they are.
    private async Task TakeAsync(DateTimeOffset now, CancellationToken ct)
    {
        var read = _changed || now >= _nextRead || _nextRead > now + Reread;
        _changed = false;
        var ours = (await store.ClaimAsync(_id, options.Lease, ct)).ToHashSet();
        var isNew = ours.Any(id => !_groups.ContainsKey(id));
        var lost = _groups.Keys.Any(id => !ours.Contains(id));
        if (!read && !isNew && !lost && !_groups.Values.Any(group => group is { IsDoubtful: true, IsBusy: false }))
        {
            return;
        }

        var known = (await store.ListAsync(ct)).Where(group => ours.Contains(group.Id)).ToList();
        _nextRead = now + Reread;
        var stale = known.Where(group => !_groups.TryGetValue(group.Id, out var running) || running.IsDoubtful || running.Group.Version != group.Version).ToList();
        if (stale.Exists(group => _groups.TryGetValue(group.Id, out var running) && running.IsBusy))
        {
            // Its evaluation ends first; what it finds is not written, because the version has moved.
            _changed = true;
        }

        stale.RemoveAll(group => _groups.TryGetValue(group.Id, out var running) && running.IsBusy);
        var ids = stale.Select(group => group.Id).ToArray();
        var alerts = (await store.AlertsAsync(ids, ct)).ToLookup(alert => alert.RuleId);
        var runs = (await store.RunsAsync(ids, ct)).ToDictionary(run => run.GroupId);
        var groups = known.Where(group => _groups.ContainsKey(group.Id)).ToDictionary(group => group.Id, group => _groups[group.Id]);
        foreach (var group in stale)
        {
            var before = _groups.GetValueOrDefault(group.Id);
            var running = new RunningGroup(group, options, group.Rules.SelectMany(rule => alerts[rule.Id]), before);
            if (before?.Group.Version == group.Version)
            {
                running.GoOnLike(before);
            }
            else
            {
                // A group that was changed is evaluated at once, so that people see what they have done.
                running.BeginAt(before is null ? runs.GetValueOrDefault(group.Id)?.EvaluatedAt : null, clock.GetUtcNow());
            }

            groups[group.Id] = running;
        }

        _groups = groups;
        if (stale.Count > 0 || lost)
        {
            Owning(_groups.Count, _groups.Values.Sum(group => group.Rules.Count));
            signals.Replace([.. from running in _groups.Values
                                from rule in running.Rules
                                where rule is { IsOnData: true, Selectors.Count: > 0 }
                                select (rule, new RuleWatch(running.Group.Realm, rule.Selectors))]);
        }
    }

    // Groups whose time has come, and rules that data has touched; small ones share a request.
    private List<List<GroupTurn>> Due(DateTimeOffset now)
    {
        var batches = new List<List<GroupTurn>>();
        var (shared, expressions) = (new List<GroupTurn>(), 0);
        var free = options.Concurrency - _running.Count;
        _tokens = Math.Min(options.OnDataPerSecond, _tokens + Math.Max(0, (now - _tokensAt).TotalSeconds) * options.OnDataPerSecond);
        _tokensAt = now;
        // Slow groups of one realm leave half of the places to the other realms, if there are any.
        var share = _groups.Values.DistinctBy(group => group.Group.Realm).Take(2).Count() < 2 ? options.Concurrency : Math.Max(1, options.Concurrency / 2);
        var slow = _groups.Values.Where(group => group is { IsBusy: true, IsSlow: true }).CountBy(group => group.Group.Realm).ToDictionary();
        foreach (var group in _groups.Values.Where(group => group is { IsBusy: false, IsDoubtful: false }).OrderBy(group => group.Next))
        {
            if (batches.Count >= free)
            {
                break;
            }

            group.IsHeld = group.IsSlow && slow.GetValueOrDefault(group.Group.Realm) >= share;
            if (group.IsHeld)
            {
                continue;
            }

            if (TurnOf(group, now) is not { } turn)
            {
                continue;
            }

            if (group.IsSlow)
            {
                slow[group.Group.Realm] = slow.GetValueOrDefault(group.Group.Realm) + 1;
                batches.Add([turn]);
                continue;
            }

            shared.Add(turn);
            expressions += turn.Rules.Count;
            if (expressions >= options.Batch)
            {
                batches.Add(shared);
                (shared, expressions) = ([], 0);
            }
        }

        if (shared.Count > 0)
        {
            batches.Add(shared);
        }

        return batches;
    }

    private GroupTurn? TurnOf(RunningGroup group, DateTimeOffset now)
    {
        if (group.IsDue(now))
        {
            var slot = group.SlotAt(now);
            group.GoOnAfter(slot);
            foreach (var rule in group.Rules)
            {
                rule.IsTouched = false;
            }

            // A rule that data called a moment after the slot has been evaluated later than the slot; time does not go back, unless the clock was set back.
            return new GroupTurn(group, slot, [.. group.Rules.Where(rule => rule.LastAt < slot || rule.LastAt > now)], IsOnGrid: true);
        }

        List<RunningRule>? touched = null;
        foreach (var rule in group.Rules)
        {
            if (rule.IsTouched && _tokens >= 1)
            {
                rule.IsTouched = false;
                _tokens--;
                (touched ??= []).Add(rule);
            }
        }

        return touched is null ? null : new GroupTurn(group, DateTimeOffset.FromUnixTimeMilliseconds(now.ToUnixTimeMilliseconds()), touched, IsOnGrid: false);
    }

    private async Task EvaluateAsync(List<GroupTurn> turns, CancellationToken ct)
    {
        try
        {
            await Task.Yield();
            await evaluation.RunAsync(_id, turns, ct);
            if (turns is [var alone])
            {
                alone.Group.IsAlone = false;
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            // Which of them is at fault shows when each is evaluated alone.
            EvaluationFailed(turns.Count, error.GetBaseException().Message);
            foreach (var turn in turns)
            {
                (turn.Group.IsDoubtful, turn.Group.IsAlone) = (true, true);
            }

            if (turns is [var culprit])
            {
                await evaluation.FailedAsync(_id, culprit, error.GetBaseException().Message, ct);
            }
        }
        catch (OperationCanceledException)
        {
            // The end; nothing half was written.
        }
        finally
        {
            foreach (var turn in turns)
            {
                turn.Group.IsBusy = false;
                _changed |= turn.Group.IsDoubtful;
            }

            Wake();
        }
    }

    [LoggerMessage(LogLevel.Information, "Evaluating {Groups} groups with {Rules} rules")]
    private partial void Owning(int groups, int rules);

    [LoggerMessage(LogLevel.Warning, "Looking after the rule groups failed; trying again: {Reason}")]
    private partial void TickFailed(string reason);

    [LoggerMessage(LogLevel.Error, "Evaluating {Groups} groups failed; they are read again and evaluated at their next time: {Reason}")]
    private partial void EvaluationFailed(int groups, string reason);

    [LoggerMessage(LogLevel.Warning, "Not listening for changes of rules: {Reason}. Looking every half minute meanwhile")]
    private partial void ListeningFailed(string reason);
}
