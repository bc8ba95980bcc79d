namespace Platform.SampleStore;

/// <summary>
/// The order in which this replica applies commits to its head, and which of them are chunks by now. Samples leave memory only when all
/// commits up to theirs are settled.
/// </summary>
internal sealed class CommitOrder
{
    // Guards the list below and the numbers.
    private readonly Lock _lock = new();
    private readonly List<(long Place, ulong Txid, int Samples)> _open = [];
    private long _last;
    private long _samples;

    /// <summary>Samples of commits that are not settled: what the log holds, as far as this replica knows.</summary>
    public long Samples => Interlocked.Read(ref _samples);

    /// <summary>The place of a commit that is about to be applied.</summary>
    public long Begin(ulong txid, int samples)
    {
        lock (_lock)
        {
            _open.Add((++_last, txid, samples));
            Interlocked.Add(ref _samples, samples);
            return _last;
        }
    }

    /// <summary>All commits with a lower txid are chunks.</summary>
    /// <returns>How many of them were applied here.</returns>
    public int Settle(ulong before)
    {
        lock (_lock)
        {
            var count = 0;
            _open.RemoveAll(commit =>
            {
                if (commit.Txid >= before)
                {
                    return false;
                }

                count++;
                Interlocked.Add(ref _samples, -commit.Samples);
                return true;
            });
            return count;
        }
    }

    /// <summary>The place up to which every commit is settled.</summary>
    public long Settled
    {
        get
        {
            lock (_lock)
            {
                return _open.Count == 0 ? _last : _open[0].Place - 1;
            }
        }
    }
}

/// <summary>The commits of this replica, between the moment they are sent and the moment the follower has met them in the log.</summary>
internal sealed class OwnCommits
{
    // Guards both sets.
    private readonly Lock _lock = new();
    private readonly Dictionary<Guid, (bool Applied, bool Met, DateTimeOffset At)> _commits = [];
    private readonly HashSet<Guid> _lost = [];

    public void Begin(Guid token, DateTimeOffset now)
    {
        lock (_lock)
        {
            _commits[token] = (false, false, now);
        }
    }

    /// <summary>The writer has applied the commit itself.</summary>
    public void Applied(Guid token)
    {
        lock (_lock)
        {
            if (_commits.TryGetValue(token, out var commit))
            {
                if (commit.Met)
                {
                    _commits.Remove(token);
                }
                else
                {
                    _commits[token] = commit with { Applied = true };
                }
            }
        }
    }

    /// <summary>
    /// The writer does not know how its commit ended. If it did commit, the follower applies it like one of another replica: when it meets
    /// the row, or now, if it has met it already.
    /// </summary>
    public void Failed(Guid token)
    {
        lock (_lock)
        {
            if (_commits.Remove(token, out var commit) && commit.Met)
            {
                _lost.Add(token);
            }
        }
    }

    /// <summary>The follower has met the row.</summary>
    /// <returns>The writer applies it, or has done so.</returns>
    public bool Meet(Guid token)
    {
        lock (_lock)
        {
            if (!_commits.TryGetValue(token, out var commit))
            {
                return false;
            }

            if (commit.Applied)
            {
                _commits.Remove(token);
            }
            else
            {
                _commits[token] = commit with { Met = true };
            }

            return true;
        }
    }

    /// <summary>Rows that the follower passed over although nobody has applied them.</summary>
    public Guid[] Lost
    {
        get
        {
            lock (_lock)
            {
                return _lost.Count == 0 ? [] : [.. _lost];
            }
        }
    }

    /// <summary>The follower has looked for these once more, and applied what was there.</summary>
    public void Found(Guid[] lost)
    {
        lock (_lock)
        {
            _lost.ExceptWith(lost);
        }
    }

    /// <summary>Forgets what was applied and never met: its row became chunks before the follower came by.</summary>
    public void Prune(DateTimeOffset before)
    {
        lock (_lock)
        {
            foreach (var (token, commit) in _commits)
            {
                if (commit.Applied && commit.At < before)
                {
                    _commits.Remove(token);
                }
            }
        }
    }
}
