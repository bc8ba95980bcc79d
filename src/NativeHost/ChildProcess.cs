using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Platform.NativeHost;

/// <summary>
/// Starts children from one thread that lives as long as the host: the kernel sends the parent-death signal when the *thread* that forked ends.
/// </summary>
internal sealed class Launcher : IDisposable
{
    private readonly BlockingCollection<Action> _work = [];

    public Launcher() => new Thread(Run) { IsBackground = true, Name = "launcher" }.Start();

    public Task<ChildProcess> StartAsync(Command command, ResourceLog log)
    {
        var started = new TaskCompletionSource<ChildProcess>(TaskCreationOptions.RunContinuationsAsynchronously);
        _work.Add(() =>
        {
            try
            {
                started.SetResult(new(Process.Start(command.ToStartInfo())!, command.Stop, log));
            }
            catch (Exception error)
            {
                started.SetException(error);
            }
        });
        return started.Task;
    }

    /// <summary>Runs a command that ends by itself and answers with its exit code.</summary>
    public async Task<int> RunAsync(Command command, ResourceLog log, CancellationToken ct)
    {
        var child = await StartAsync(command, log);
        try
        {
            return await child.Exited.WaitAsync(ct);
        }
        finally
        {
            await child.StopAsync(TimeSpan.Zero, CancellationToken.None);
        }
    }

    public void Dispose() => _work.CompleteAdding();

    private void Run()
    {
        foreach (var action in _work.GetConsumingEnumerable())
        {
            action();
        }
    }
}

/// <summary>A running process whose output goes to a log.</summary>
internal sealed class ChildProcess
{
    private readonly Process _process;
    private readonly Signal _stop;

    public ChildProcess(Process process, Signal stop, ResourceLog log)
    {
        _process = process;
        _stop = stop;
        Identity = ProcessIdentity.Of(process.Id);
        process.StandardInput.Close();
        _ = log.CopyAsync(process.StandardOutput.BaseStream);
        _ = log.CopyAsync(process.StandardError.BaseStream);
        Exited = WaitAsync();
    }

    public int Id => _process.Id;

    /// <summary>Null when the process ended before it could be looked at.</summary>
    public ProcessIdentity? Identity { get; }

    /// <summary>Completes with the exit code; 128 plus the signal's number after a signal.</summary>
    public Task<int> Exited { get; }

    /// <summary>Asks, waits for at most <paramref name="patience"/>, then kills; returns when the process has gone.</summary>
    /// <param name="now">Ends the waiting early.</param>
    public async Task StopAsync(TimeSpan patience, CancellationToken now = default)
    {
        if (!Exited.IsCompleted && patience > TimeSpan.Zero)
        {
            _ = Signals.Send(Id, _stop);
            await Task.WhenAny(Exited, Task.Delay(patience, now));
        }

        Kill();
        await Exited;
    }

    /// <summary>Ends the process and, where it heads a group, everything it started in that group.</summary>
    public void Kill()
    {
        _ = Signals.Send(-Id, Signal.Kill);
        if (!Exited.IsCompleted)
        {
            _ = Signals.Send(Id, Signal.Kill);
        }
    }

    private async Task<int> WaitAsync()
    {
        await _process.WaitForExitAsync();
        return _process.ExitCode;
    }
}

/// <summary>A process id alone may have been reused; together with its time of birth it names one process.</summary>
internal sealed record ProcessIdentity(int Pid, string Born)
{
    public bool IsAlive => Of(Pid) == this;

    /// <summary>Null when there is no such process, or it has ended and only waits to be reaped.</summary>
    public static ProcessIdentity? Of(int pid)
    {
        try
        {
            if (!OperatingSystem.IsLinux())
            {
                using var process = Process.GetProcessById(pid);
                return new(pid, process.StartTime.ToUniversalTime().ToString("O"));
            }

            // The name in brackets may hold anything; the fields are counted from the last bracket. State is field 3, start time field 22.
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? null : new(pid, $"{Boot.Value}/{fields[19]}");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or InvalidOperationException)
        {
            return null;
        }
    }

    private static readonly Lazy<string> Boot = new(() => File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim());
}

internal static class Signals
{
    /// <returns>False when there is no such process any more.</returns>
    public static bool Send(int pid, Signal signal) => Kill(pid, (int)signal) == 0;

    [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static extern int Kill(int pid, int signal);
}
