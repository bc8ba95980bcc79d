using Platform.Contracts;
using Platform.Health.Checks;

namespace Platform.Health.Status;

/// <summary>A component as people see it.</summary>
/// <param name="State">Unknown also when its last result is too old to speak for it.</param>
/// <param name="Since">When the state was entered.</param>
/// <param name="Uptime">Null while nothing is known.</param>
public sealed record ComponentStatus(
    string Component, string Kind, bool IsCore, bool IsPublic, HealthState State, DateTimeOffset? Since, int ConsecutiveFailures, CheckResult? Last, string Reason, Uptime? Uptime);

/// <summary>Percent of the known time in which a component was not unhealthy, over the last day, 7 days and 30 days.</summary>
public sealed record Uptime(double Day, double Week, double Month);

/// <param name="State">The whole platform in one word; never <see cref="HealthState.Unknown"/>.</param>
/// <param name="Score">0 to 100: see <see cref="Board.Score"/>.</param>
public sealed record Overview(HealthState State, int Score, DateTimeOffset At, IReadOnlyList<ComponentStatus> Components);

/// <summary>
/// What every request is answered from: the states of all components as last read from the database, in memory. Requests never trigger a check
/// nor wait for the database; all replicas show the same.
/// </summary>
public sealed class Board(Checklist checklist, HealthOptions options, TimeProvider clock)
{
    private Reading? _reading;

    /// <summary>Readers see the old reading or the new one, never a mixture.</summary>
    internal void Replace(Reading reading) => Volatile.Write(ref _reading, reading);

    /// <summary>False when the states were read from the database once, and cannot be read any more.</summary>
    public bool IsReadable => Volatile.Read(ref _reading) is not { } reading || clock.GetUtcNow() - reading.At <= options.CacheTtl;

    public Overview Look() => Show(checklist, options, Volatile.Read(ref _reading), clock.GetUtcNow());

    /// <summary>Pure: what people see of a reading at a time.</summary>
    internal static Overview Show(Checklist checklist, HealthOptions options, Reading? reading, DateTimeOffset now)
    {
        var isReadable = reading is not null && now - reading.At <= options.CacheTtl;
        if (!options.Enabled)
        {
            return new Overview(isReadable ? HealthState.Healthy : HealthState.Unhealthy, isReadable ? 100 : 0, now, []);
        }

        var components = checklist.Checks.Select(check => Show(check, options, isReadable ? reading : null, now)).ToArray();
        return new Overview(Overall(components, isReadable), Score(components), now, components);
    }

    private static ComponentStatus Show(Check check, HealthOptions options, Reading? reading, DateTimeOffset now)
    {
        if (reading?.States.GetValueOrDefault(check.Component) is not { Last: { } last } state)
        {
            return new(check.Component, check.Kind, check.IsCore, check.IsPublic, HealthState.Unknown, null, 0, null,
                reading is null ? "The states cannot be read from the database." : "It has not been checked yet.", null);
        }

        var uptime = reading.Uptime.GetValueOrDefault(check.Component);
        return now - last.At > check.Pace.Interval + check.Pace.Timeout + options.CacheTtl
            ? new(check.Component, check.Kind, check.IsCore, check.IsPublic, HealthState.Unknown, null, state.ConsecutiveFailures, last, "Its last result is too old.", uptime)
            : new(check.Component, check.Kind, check.IsCore, check.IsPublic, state.State, state.Since, state.ConsecutiveFailures, last, last.Reason, uptime);
    }

    /// <summary>Unhealthy when the platform cannot take in data or alert, or when nobody knows; degraded when anything else is not healthy.</summary>
    private static HealthState Overall(ComponentStatus[] components, bool isReadable) =>
        !isReadable || Array.TrueForAll(components, component => component.State == HealthState.Unknown) ? HealthState.Unhealthy
        : Array.Exists(components, component => component is { IsCore: true, State: HealthState.Unhealthy }) ? HealthState.Unhealthy
        : Array.Exists(components, component => component.State != HealthState.Healthy) ? HealthState.Degraded
        : HealthState.Healthy;

    /// <summary>
    /// The weighted share of what works: a core component weighs 3, any other 1; healthy counts whole, degraded half, unhealthy and unknown nothing.
    /// Rounded down, so that 100 means all is well.
    /// </summary>
    internal static int Score(IReadOnlyCollection<ComponentStatus> components)
    {
        var most = components.Sum(Weight);
        var reached = components.Sum(component => Weight(component) * (component.State switch
        {
            HealthState.Healthy => 1.0,
            HealthState.Degraded => 0.5,
            HealthState.Unhealthy or HealthState.Unknown => 0,
        }));
        return most == 0 ? 100 : (int)Math.Floor(100 * reached / most);
    }

    private static double Weight(ComponentStatus component) => component.IsCore ? 3 : 1;
}

/// <param name="At">When it was read.</param>
internal sealed record Reading(DateTimeOffset At, IReadOnlyDictionary<string, CheckState> States, IReadOnlyDictionary<string, Uptime> Uptime);

/// <summary>Keeps the board current. When the database is away the board grows old, and says so.</summary>
public sealed partial class BoardWorker(Board board, CheckStore store, HealthOptions options, TimeProvider clock, ILogger<BoardWorker> logger) : BackgroundService
{
    // Percentages over days move slowly and cost more to read.
    private static readonly TimeSpan UptimeEvery = TimeSpan.FromMinutes(1);

    private Dictionary<string, Uptime> _uptime = [];
    private DateTimeOffset _uptimeDue = DateTimeOffset.MinValue;
    private bool _failing;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await TickAsync(stoppingToken).WaitAsync(options.CacheTtl, stoppingToken);
                _failing = false;
            }
            catch (Exception error) when (!stoppingToken.IsCancellationRequested)
            {
                if (!_failing)
                {
                    ReadingFailed(error.GetBaseException().Message);
                }

                _failing = true;
            }
            catch (OperationCanceledException)
            {
                return;
            }

            await Task.Delay(options.BoardRefresh, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var states = await store.ListAsync(ct);
        if (now >= _uptimeDue || states.Exists(state => !_uptime.ContainsKey(state.Component)))
        {
            _uptime = (await store.ListUptimeAsync(now, ct)).GroupBy(row => row.Component).ToDictionary(rows => rows.Key, rows => Over([.. rows]));
            _uptimeDue = now + UptimeEvery;
        }

        board.Replace(new Reading(now, states.ToDictionary(state => state.Component, state => state.State), _uptime));
    }

    private static Uptime Over((string Component, int Days, double Percent)[] rows)
    {
        return new(Of(1), Of(7), Of(30));

        // Rounded down: 100 is said only of what never failed.
        double Of(int days) => Math.Floor(rows.First(row => row.Days == days).Percent * 1_000) / 1_000;
    }

    [LoggerMessage(LogLevel.Warning, "The states of the components cannot be read: {Reason}. Trying again until they can")]
    private partial void ReadingFailed(string reason);
}

public static class StatusHosting
{
    /// <summary>The states of all components in memory, for everything that asks.</summary>
    public static IHostApplicationBuilder AddStatus(this IHostApplicationBuilder builder)
    {
        builder.Services.AddSingleton<Board>();
        builder.Services.AddHostedService<BoardWorker>();
        return builder;
    }
}
