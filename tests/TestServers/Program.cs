using System.Runtime.InteropServices;
using System.Text.Json;
using Platform.Testing;

// Starts the servers once for all test projects: writes their addresses to the file given, and keeps them until it is told to stop.
//   Platform.TestServers <file>
using var stop = new CancellationTokenSource();
void Stop(PosixSignalContext context)
{
    context.Cancel = true;
    stop.Cancel();
}

using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);

var (addresses, running) = await TestServers.StartAsync(stop.Token);
await using (running)
{
    // Whoever waits for the file must not find half of it.
    await File.WriteAllTextAsync($"{args[0]}.new", JsonSerializer.Serialize(addresses), stop.Token);
    File.Move($"{args[0]}.new", args[0], overwrite: true);

    var stopped = new TaskCompletionSource();
    using var registration = stop.Token.Register(stopped.SetResult);
    await stopped.Task;
}
