using System.Diagnostics.Metrics;

namespace Platform.Instrumentation;

/// <summary>
/// What an authentication backend or web application measures, under the names that dashboards and rules know: requests, errors and sizes,
/// authentication, tokens, users, sessions, drift, database and cache. Most of it counts by itself: requests by the middleware, what
/// users do by <see cref="SecurityLog"/> and <see cref="AuditLog"/>, queries by listening to Npgsql. The methods here are for the rest.
/// Labels are bounded: route templates, fixed words, names that your code gives; never a user, an address or a raw path. Safe from any thread.
/// </summary>
public sealed class PlatformMetrics
{
    public const string MeterName = EventBuffer.MeterName;

    private static readonly InstrumentAdvice<double> Seconds = new() { HistogramBucketBoundaries = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] };
    private static readonly InstrumentAdvice<double> QuerySeconds = new() { HistogramBucketBoundaries = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] };
    private static readonly InstrumentAdvice<long> Bytes = new() { HistogramBucketBoundaries = [256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216] };

    private readonly Meter _meter;
    private readonly Counter<long> _requests;
    private readonly Counter<long> _errors;
    private readonly UpDownCounter<long> _active;
    private readonly Histogram<double> _duration;
    private readonly Histogram<double> _apiDuration;
    private readonly Histogram<long> _size;
    private readonly Counter<long> _authRequests;
    private readonly Histogram<double> _authDuration;
    private readonly Counter<long> _tokens;
    private readonly Counter<long> _users;
    private readonly Counter<long> _logins;
    private readonly Counter<long> _registrations;
    private readonly Counter<long> _drift;
    private readonly Counter<long> _cacheHits;
    private readonly Counter<long> _cacheMisses;
    private readonly Histogram<double> _queries;
    private readonly Counter<long> _calls;
    private readonly Dictionary<(string Action, string Outcome), Action<long>> _singles;
    private readonly bool _enabled;

    public PlatformMetrics(IMeterFactory meters, PlatformMonitoringOptions options)
    {
        _enabled = options.MetricsEnabled;
        _meter = meters.Create(MeterName);
        _requests = Counter("http_requests", "HTTP requests by method, route and status.");
        _errors = Counter("http_errors", "HTTP requests that were answered 4xx or 5xx.");
        _active = _meter.CreateUpDownCounter<long>("http_requests_active", description: "HTTP requests that are being answered.");
        _duration = _meter.CreateHistogram("http_request_duration", "s", "Time to answer an HTTP request.", advice: Seconds);
        _apiDuration = _meter.CreateHistogram("api_request_duration", "s", "API request duration in seconds.", advice: Seconds);
        _size = _meter.CreateHistogram("http_response_size", "By", "Bytes of the bodies of answers.", advice: Bytes);
        _authRequests = Counter("auth_requests", "Total number of authentication requests.");
        _authDuration = _meter.CreateHistogram("auth_request_duration", "s", "Authentication request duration in seconds.", advice: Seconds);
        _tokens = Counter("token_operations", "Total number of token operations.");
        _users = Counter("user_operations", "Total number of user operations.");
        _logins = Counter("user_login_attempts", "Login attempts by how they ended.");
        _registrations = Counter("user_registrations", "Completed user registrations.");
        _drift = Counter("drift_detections", "Total number of drift detections.");
        _cacheHits = Counter("cache_hits", "Look-ups that a cache answered.");
        _cacheMisses = Counter("cache_misses", "Look-ups that a cache could not answer.");
        _queries = _meter.CreateHistogram("database_query_duration", "s", "Time a statement took.", advice: QuerySeconds);
        _calls = Counter("service_calls", "Calls of what is marked to be counted.");
        _singles = new()
        {
            [(Actions.Login, "success")] = Counter("login_success", "Number of successful login attempts.").Add,
            [(Actions.Login, "failure")] = Counter("login_failure", "Number of failed login attempts.").Add,
            [(Actions.Register, "success")] = Counter("registration", "Number of completed user registrations.").Add,
            [(Actions.RoleAssign, "success")] = Counter("role_assignments", "Role assignments performed.").Add,
            [(Actions.ConsentGrant, "success")] = Counter("user_consent_granted", "Count of user consents granted.").Add,
            // Exporters end a counter's name in _total, which these two must not have.
            [(Actions.WebhookDeliver, "success")] = _meter.CreateUpDownCounter<long>("webhook_delivery_success", description: "Successful webhook deliveries.").Add,
            [(Actions.WebhookDeliver, "failure")] = _meter.CreateUpDownCounter<long>("webhook_delivery_failure", description: "Failed webhook deliveries.").Add,
        };
        var challenges = Counter("mfa_challenge", "Number of MFA challenges triggered.");
        _singles[(Actions.MfaChallenge, "success")] = _singles[(Actions.MfaChallenge, "failure")] = challenges.Add;
    }

    /// <summary>A statement was run; not needed for Npgsql, which is listened to.</summary>
    /// <param name="operation"><c>select</c>, <c>insert</c> and so on, or a fixed name of your own; never the statement.</param>
    public void DatabaseQuery(string operation, TimeSpan took)
    {
        if (_enabled)
        {
            _queries.Record(took.TotalSeconds, new KeyValuePair<string, object?>("operation", operation));
        }
    }

    /// <param name="cache">The cache's own name, such as <c>sessions</c>; never a key.</param>
    public void CacheHit(string cache) => Add(_cacheHits, Label("cache", cache));

    /// <inheritdoc cref="CacheHit"/>
    public void CacheMiss(string cache) => Add(_cacheMisses, Label("cache", cache));

    /// <summary>A setting is not what it was declared to be.</summary>
    /// <param name="severity"><c>critical</c>, <c>high</c>, <c>medium</c>, <c>low</c> or <c>info</c>.</param>
    /// <param name="status">What became of it: <c>detected</c>, <c>resolved</c>, <c>ignored</c>.</param>
    public void DriftDetected(string severity, string status = "detected") => Add(_drift, Label("severity", severity), Label("status", status));

    /// <summary>Something to do with a user's account that no event tells of.</summary>
    public void UserOperation(string operation, Outcome outcome) => Add(_users, Label("operation", operation), Label("status", OutcomeWord.Of(outcome)));

    /// <summary>Shows the number of sessions as <c>active_sessions</c>; asked at each collection, so it should be cheap. Call it once.</summary>
    public void ObserveActiveSessions(Func<long> count)
    {
        if (_enabled)
        {
            _meter.CreateObservableGauge("active_sessions", count, description: "Number of active user sessions.");
        }
    }

    /// <summary>Counts a call of a service method: <c>service_calls_total{operation, status}</c>, <c>failure</c> when it throws.</summary>
    /// <param name="operation">A fixed name.</param>
    public async Task<T> CountAsync<T>(string operation, Func<Task<T>> call)
    {
        try
        {
            var result = await call();
            Called(operation, Outcome.Success);
            return result;
        }
        catch
        {
            Called(operation, Outcome.Failure);
            throw;
        }
    }

    /// <inheritdoc cref="CountAsync{T}"/>
    public Task CountAsync(string operation, Func<Task> call) => CountAsync(operation, async () =>
    {
        await call();
        return true;
    });

    /// <summary>One call of something, for where <see cref="CountAsync{T}"/> does not fit.</summary>
    public void Called(string operation, Outcome outcome) => Add(_calls, Label("operation", operation), Label("status", OutcomeWord.Of(outcome)));

    internal Meter Meter => _meter;

    /// <summary>Makes the counters without labels visible before anything has happened: a counter that appears at 1 has no rate.</summary>
    internal void ShowZeros()
    {
        foreach (var add in _singles.Values.Append(value => _registrations.Add(value)))
        {
            add(0);
        }
    }

    /// <summary>What an event of the vocabulary counts.</summary>
    internal void Happened(string action, Outcome outcome)
    {
        if (!_enabled)
        {
            return;
        }

        var status = OutcomeWord.Of(outcome);
        if (_singles.TryGetValue((action, status), out var add))
        {
            add(1);
        }

        switch (action)
        {
            case Actions.Login:
                Add(_logins, Label("status", status));
                break;
            case Actions.TokenIssue:
                Token("issue", "access", status);
                break;
            case Actions.TokenRefresh:
                Token("refresh", "refresh", status);
                break;
            case Actions.TokenRevoke:
                Token("revoke", "any", status);
                break;
            case Actions.ConfigDrift:
                DriftDetected("high");
                break;
            case Actions.Register or Actions.PasswordChange or Actions.MfaEnroll or Actions.RoleAssign or Actions.RoleRevoke or Actions.ConsentGrant
                or Actions.ConsentRevoke or Actions.DataAccess or Actions.DataExport or Actions.DataErase:
                UserOperation(action, outcome);
                if (action == Actions.Register && outcome == Outcome.Success)
                {
                    Add(_registrations);
                }

                break;
            default:
                break; // counts nothing of its own
        }
    }

    internal void RequestStarted() => _active.Add(1);

    internal void RequestEnded(string method, string endpoint, int status)
    {
        _active.Add(-1);
        Add(_requests, Label("method", method), Label("endpoint", endpoint), Label("status_code", status));
        if (status >= 400)
        {
            Add(_errors, Label("method", method), Label("endpoint", endpoint), Label("status_code", status));
        }
    }

    internal void RequestTook(string method, string endpoint, int status, TimeSpan took, long bytes)
    {
        _duration.Record(took.TotalSeconds, new("method", method), new("endpoint", endpoint));
        _apiDuration.Record(took.TotalSeconds, new("endpoint", endpoint), new("method", method), new("status_code", status));
        _size.Record(bytes, new KeyValuePair<string, object?>("endpoint", endpoint));
    }

    internal void Authenticated(string method, string endpoint, Outcome outcome, TimeSpan took)
    {
        Add(_authRequests, Label("method", method), Label("endpoint", endpoint), Label("status", OutcomeWord.Of(outcome)));
        _authDuration.Record(took.TotalSeconds, new KeyValuePair<string, object?>("endpoint", endpoint));
    }

    private void Token(string operation, string type, string status) => Add(_tokens, Label("operation", operation), Label("token_type", type), Label("status", status));

    private void Add(Counter<long> counter, params ReadOnlySpan<KeyValuePair<string, object?>> labels)
    {
        if (_enabled)
        {
            counter.Add(1, labels);
        }
    }

    private static KeyValuePair<string, object?> Label(string name, object value) => new(name, value);

    private Counter<long> Counter(string name, string help) => _meter.CreateCounter<long>(name, description: help);
}
