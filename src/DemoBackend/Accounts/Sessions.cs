namespace Platform.DemoBackend.Accounts;

/// <summary>Somebody signed in. Tokens are kept as hashes; a refresh token works once.</summary>
public sealed record Session(string Id, string AccountId, string AccessHash, DateTimeOffset AccessEnds, string RefreshHash, string? UsedRefreshHash, DateTimeOffset Ends);

/// <summary>What the owner gets.</summary>
public sealed record IssuedTokens(string SessionId, string AccessToken, string RefreshToken, int ExpiresIn);

public enum Refreshed
{
    Yes,
    Unknown,

    /// <summary>The token was used before: somebody has a copy, so the session is over for both.</summary>
    Reused,
}

/// <summary>Sessions and pending second-factor challenges, in memory, bounded: the oldest end first.</summary>
public sealed class Sessions(TimeProvider clock, DemoOptions options)
{
    private static readonly TimeSpan AccessLife = TimeSpan.FromMinutes(15);
    private static readonly TimeSpan SessionLife = TimeSpan.FromHours(12);
    private static readonly TimeSpan ChallengeLife = TimeSpan.FromMinutes(2);

    // Guards all tables below; nothing slow happens while it is held.
    private readonly Lock _lock = new();
    private readonly OrderedDictionary<string, Session> _sessions = [];
    private readonly Dictionary<string, string> _idByHash = [];
    private readonly OrderedDictionary<string, (string AccountId, DateTimeOffset Ends)> _challenges = [];

    /// <summary>Sessions that have not ended, and some that have and are not cleared away yet.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _sessions.Count;
            }
        }
    }

    public IssuedTokens Start(string accountId)
    {
        var (access, refresh) = (OpaqueToken.New(), OpaqueToken.New());
        var now = clock.GetUtcNow();
        var session = new Session(
            Guid.CreateVersion7(now).ToString("N"), accountId, OpaqueToken.Hash(access), now + AccessLife, OpaqueToken.Hash(refresh), null, now + SessionLife);
        lock (_lock)
        {
            while (_sessions.Count >= options.MaxSessions || (_sessions.Count > 0 && _sessions.GetAt(0).Value.Ends <= now))
            {
                Remove(_sessions.GetAt(0).Value);
            }

            Put(session);
        }

        return new(session.Id, access, refresh, (int)AccessLife.TotalSeconds);
    }

    public Session? FindByAccessToken(string token)
    {
        var (hash, now) = (OpaqueToken.Hash(token), clock.GetUtcNow());
        lock (_lock)
        {
            return _idByHash.TryGetValue(hash, out var id) && _sessions.TryGetValue(id, out var session) && session.AccessHash == hash && now < session.AccessEnds ? session : null;
        }
    }

    public (Refreshed Outcome, Session? Session, IssuedTokens? Tokens) Refresh(string token)
    {
        var (hash, now) = (OpaqueToken.Hash(token), clock.GetUtcNow());
        lock (_lock)
        {
            if (!_idByHash.TryGetValue(hash, out var id) || !_sessions.TryGetValue(id, out var session) || now >= session.Ends || hash == session.AccessHash)
            {
                return (Refreshed.Unknown, null, null);
            }

            Remove(session);
            if (session.UsedRefreshHash == hash)
            {
                return (Refreshed.Reused, session, null);
            }

            var (access, refresh) = (OpaqueToken.New(), OpaqueToken.New());
            Put(session with { AccessHash = OpaqueToken.Hash(access), AccessEnds = now + AccessLife, RefreshHash = OpaqueToken.Hash(refresh), UsedRefreshHash = hash });
            return (Refreshed.Yes, session, new(session.Id, access, refresh, (int)AccessLife.TotalSeconds));
        }
    }

    public void End(string sessionId)
    {
        lock (_lock)
        {
            if (_sessions.TryGetValue(sessionId, out var session))
            {
                Remove(session);
            }
        }
    }

    public string Challenge(string accountId)
    {
        var (id, now) = (OpaqueToken.New(), clock.GetUtcNow());
        lock (_lock)
        {
            while (_challenges.Count >= options.MaxSessions || (_challenges.Count > 0 && _challenges.GetAt(0).Value.Ends <= now))
            {
                _challenges.RemoveAt(0);
            }

            _challenges.Add(id, (accountId, now + ChallengeLife));
        }

        return id;
    }

    /// <summary>Whose challenge it is; null when it is unknown, old or answered before. It can be answered once.</summary>
    public string? TakeChallenge(string id)
    {
        lock (_lock)
        {
            return _challenges.Remove(id, out var challenge) && clock.GetUtcNow() < challenge.Ends ? challenge.AccountId : null;
        }
    }

    private void Put(Session session)
    {
        _sessions[session.Id] = session;
        _idByHash[session.AccessHash] = session.Id;
        _idByHash[session.RefreshHash] = session.Id;
        if (session.UsedRefreshHash is { } used)
        {
            _idByHash[used] = session.Id;
        }
    }

    private void Remove(Session session)
    {
        _sessions.Remove(session.Id);
        _idByHash.Remove(session.AccessHash);
        _idByHash.Remove(session.RefreshHash);
        if (session.UsedRefreshHash is { } used)
        {
            _idByHash.Remove(used);
        }
    }
}
