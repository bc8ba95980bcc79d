using System.CommandLine;
using Platform.DemoBackend;
using Platform.DemoBackend.Replay;

var root = new RootCommand("An authentication backend that the platform monitors, with traffic of its own. Without a command it serves; settings come from the environment (see README.md).")
{
    TreatUnmatchedTokensAsErrors = false,
};
root.Subcommands.Add(ReplayCommand.Create());
root.SetAction((_, ct) => DemoApp.Create(args).RunAsync(ct));

// The host handles Ctrl-C by itself; five seconds are for a replay that is interrupted.
return await root.Parse(args).InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = TimeSpan.FromSeconds(15) });
