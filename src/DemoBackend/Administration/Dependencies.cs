using System.Collections.Concurrent;
using Platform.Instrumentation;

namespace Platform.DemoBackend.Administration;

/// <summary>
/// The systems that the backend stands on, as far as a demo has any: they answer, unless an outage was declared. A call to one that is away
/// takes a moment, as a connection that times out would, and is an error event.
/// </summary>
public sealed class Dependencies(SecurityLog security, TimeProvider clock)
{
    public static readonly IReadOnlyList<string> Names = ["user-directory", "mfa-service", "webhook-relay"];

    private static readonly TimeSpan TimesOutAfter = TimeSpan.FromMilliseconds(250);

    private readonly ConcurrentDictionary<string, DateTimeOffset> _awayUntil = new();

    public void TakeAway(string name, TimeSpan time) => _awayUntil[name] = clock.GetUtcNow() + time;

    public async Task<bool> AnswersAsync(string name, CancellationToken ct)
    {
        if (!_awayUntil.TryGetValue(name, out var until) || clock.GetUtcNow() >= until)
        {
            return true;
        }

        await Task.Delay(TimesOutAfter, clock, ct);
        security.DependencyFailed(name, "timeout", TimesOutAfter);
        return false;
    }
}
