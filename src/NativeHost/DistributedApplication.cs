using System.Runtime.InteropServices;
using Platform.NativeHost;

namespace Aspire.Hosting;

/// <summary>The graph, running. One instance per data folder at a time.</summary>
public sealed class DistributedApplication : IAsyncDisposable
{
    private readonly Orchestrator _orchestrator;

    internal DistributedApplication(Orchestrator orchestrator) => _orchestrator = orchestrator;

    public static IDistributedApplicationBuilder CreateBuilder(string[] args) => new NativeApplicationBuilder(args);

    /// <summary>Runs until Ctrl-C, SIGTERM or a closed terminal; a second signal ends everything at once.</summary>
    public void Run() => RunAsync().GetAwaiter().GetResult();

    public async Task RunAsync(CancellationToken cancellationToken = default)
    {
        var asked = new TaskCompletionSource();
        using var stopping = new CancellationTokenSource();
        void OnSignal(PosixSignalContext context)
        {
            context.Cancel = true;
            if (!asked.TrySetResult())
            {
                _orchestrator.StopNow();
            }

            stopping.Cancel();
        }

        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
        using var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, OnSignal);
        using var cancelled = cancellationToken.Register(() => asked.TrySetResult());

        try
        {
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, stopping.Token);
            await _orchestrator.StartAsync(either.Token);
            await asked.Task;
        }
        catch (OperationCanceledException) when (asked.Task.IsCompleted)
        {
            // Stopped while starting: what is up is stopped below like anything else.
        }
        catch (DistributedApplicationException error)
        {
            Console.Error.WriteLine($"\nCannot start: {error.Message}");
            Environment.ExitCode = 1;
        }
        finally
        {
            await _orchestrator.DisposeAsync();
        }
    }

    /// <summary>Returns when every resource is healthy.</summary>
    public async Task StartAsync(CancellationToken cancellationToken = default)
    {
        await _orchestrator.StartAsync(cancellationToken);
        await _orchestrator.Healthy.WaitAsync(cancellationToken);
    }

    /// <param name="cancellationToken">When it is cancelled, everything is killed instead of asked.</param>
    public async Task StopAsync(CancellationToken cancellationToken = default)
    {
        await using var now = cancellationToken.Register(_orchestrator.StopNow);
        await _orchestrator.StopAsync();
    }

    public ValueTask DisposeAsync() => _orchestrator.DisposeAsync();
}
