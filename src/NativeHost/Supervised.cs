using Aspire.Hosting;
using Aspire.Hosting.ApplicationModel;

namespace Platform.NativeHost;

internal enum ResourceState
{
    Waiting,
    Starting,
    Running,
    Crashed,
    Finished,
    Stopping,
    Stopped,
}

/// <param name="Reason">Why it is not healthy (yet); null when it is.</param>
internal sealed record ResourceStatus(ResourceState State, string? Reason, int? Pid, int Restarts);

/// <summary>How long to wait before starting a crashed process again.</summary>
internal static class Backoff
{
    /// <summary>After this long in good health the next crash counts as the first.</summary>
    public static readonly TimeSpan Forgiven = TimeSpan.FromMinutes(1);

    private static readonly TimeSpan First = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(30);

    /// <param name="crashes">In a row, at least 1.</param>
    public static TimeSpan After(int crashes) => crashes > 6 ? Longest : First * Math.Pow(2, crashes - 1);
}

/// <summary>
/// One process and everything that happens to it: waits for what it depends on, starts, is asked for its health, comes back after a crash.
/// Only <see cref="RunAsync"/> touches the process; stopping asks it to end.
/// </summary>
internal sealed class Supervised(
    string name, Resource resource, IRunnable runnable, ResourceLog log, Launcher launcher, Ledger ledger, StatusConsole console) : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly CancellationTokenSource _stopNow = new();
    private readonly TaskCompletionSource _healthy = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<int> _finished = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TimeSpan _patience;
    private Task _run = Task.CompletedTask;

    public string Name => name;

    public Resource Resource => resource;

    public string Type => runnable.Type;

    public IReadOnlyList<string> Endpoints => runnable.Endpoints;

    public string LogPath => log.Path;

    public ResourceStatus Status { get; private set; } = new(ResourceState.Waiting, null, null, 0);

    /// <summary>Completes at the first good probe, and stays so.</summary>
    public Task Healthy => _healthy.Task;

    /// <summary>Completes with the exit code when the process has done its work.</summary>
    public Task<int> Finished => _finished.Task;

    public void Start(Func<CancellationToken, Task> dependencies) => _run = RunAsync(dependencies);

    public async Task StopAsync(TimeSpan patience)
    {
        _patience = patience;
        await _stop.CancelAsync();
        await _run;
    }

    /// <summary>After <see cref="StopAsync"/>.</summary>
    public void Dispose()
    {
        _stop.Dispose();
        _stopNow.Dispose();
    }

    public void StopNow() => _stopNow.Cancel();

    private async Task RunAsync(Func<CancellationToken, Task> dependencies)
    {
        try
        {
            await dependencies(_stop.Token);
            for (var crashes = 0; await RunOnceAsync() is { } lifetime;)
            {
                crashes = lifetime > Backoff.Forgiven ? 1 : crashes + 1;
                await Task.Delay(Backoff.After(crashes), _stop.Token);
                Change(Status with { State = ResourceState.Starting, Restarts = Status.Restarts + 1 });
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // Asked to end while nothing ran.
        }
        catch (DistributedApplicationException error)
        {
            Crashed($"is not started: {error.Message}");
        }

        await runnable.StoppedAsync();
        if (Status.State != ResourceState.Finished && _stop.IsCancellationRequested)
        {
            Change(Status with { State = ResourceState.Stopped, Reason = null, Pid = null });
        }
    }

    /// <summary>From start to end of one process: how long it lived when it crashed, null when it is not to be started again.</summary>
    private async Task<TimeSpan?> RunOnceAsync()
    {
        var born = TimeProvider.System.GetTimestamp();
        Change(Status with { State = ResourceState.Starting });
        ChildProcess child;
        try
        {
            await runnable.PrepareAsync(launcher, log, _stop.Token);
            child = await launcher.StartAsync(await runnable.CommandAsync(_stop.Token), log);
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            Crashed($"cannot be started: {error.Message}");
            return TimeSpan.Zero;
        }

        ledger.Add(name, child.Identity);
        Change(Status with { Pid = child.Id });
        using (var probing = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token))
        {
            var probes = ProbeAsync(probing.Token);
            await Task.WhenAny(child.Exited, Task.Delay(Timeout.Infinite, probing.Token));
            await probing.CancelAsync();
            await probes;
        }

        if (_stop.IsCancellationRequested)
        {
            Change(Status with { State = ResourceState.Stopping });
            await child.StopAsync(_patience, _stopNow.Token);
            log.Note($"stopped with exit code {await child.Exited}");
            ledger.Add(name, null);
            return null;
        }

        // What it started in its group (helpers of the Erlang machine, say) must not outlive it, or it holds the port.
        child.Kill();
        var code = await child.Exited;
        if (code == 0 && !runnable.StaysUp)
        {
            Change(Status with { State = ResourceState.Finished, Reason = null, Pid = null });
            _finished.TrySetResult(code);
            return null;
        }

        Crashed($"ended with exit code {code}");
        return TimeProvider.System.GetElapsedTime(born);
    }

    private void Crashed(string reason)
    {
        log.Note(reason);
        Change(Status with { State = ResourceState.Crashed, Reason = reason, Pid = null });
        console.Crashed(name, log);
    }

    // Often until the first good answer, then now and then: the state is for the eye, restarts depend on the process alone.
    private async Task ProbeAsync(CancellationToken ct)
    {
        try
        {
            while (true)
            {
                var reason = await ProbeOnceAsync(ct);
                Change(Status with { State = reason is null || Status.State == ResourceState.Running ? ResourceState.Running : ResourceState.Starting, Reason = reason });
                if (reason is null)
                {
                    _healthy.TrySetResult();
                }

                await Task.Delay(TimeSpan.FromMilliseconds(Status.State == ResourceState.Running && reason is null ? 5_000 : 250), ct);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The process has ended or is to end.
        }
    }

    private async Task<string?> ProbeOnceAsync(CancellationToken ct)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ct);
        patience.CancelAfter(TimeSpan.FromSeconds(10));
        try
        {
            return await runnable.ProbeAsync(patience.Token);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return "does not answer within 10 s";
        }
    }

    private void Change(ResourceStatus next)
    {
        if (next == Status)
        {
            return;
        }

        var before = Status;
        Status = next;
        console.Changed(this, before);
    }
}
