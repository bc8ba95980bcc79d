using System.CommandLine;
using System.Globalization;
using Microsoft.Extensions.Logging.Console;
using Platform.Instrumentation;

namespace Platform.DemoBackend.Replay;

/// <summary><c>DemoBackend replay FILE</c>: plays an OpenSSH auth log into the platform.</summary>
public static class ReplayCommand
{
    public static Command Create()
    {
        var file = new Argument<FileInfo>("FILE") { Description = "The auth log: syslog lines such as \"Dec 10 06:55:46 host sshd[24200]: Failed password for root from …\"" };
        file.AcceptExistingOnly();
        var speed = new Option<double>("--speed")
        {
            Description = "How many times as fast as the log was written, at least 1, or max: everything at once",
            DefaultValueFactory = _ => 60,
            HelpName = "N|max",
            CustomParser = result =>
            {
                if (result.Tokens is [{ Value: "max" }])
                {
                    return double.PositiveInfinity;
                }

                if (result.Tokens is [var token] && double.TryParse(token.Value, NumberStyles.Float, CultureInfo.InvariantCulture, out var times) && times is >= 1 and <= 1_000_000)
                {
                    return times;
                }

                result.AddError("--speed takes a number from 1 to 1000000, or max.");
                return 0;
            },
        };
        var gateway = new Option<Uri>("--gateway")
        {
            Description = "Base address of the gateway [default: PLATFORM_GATEWAY_URL or http://localhost:8080]",
            HelpName = "URL",
            CustomParser = result =>
            {
                if (Uri.TryCreate(result.Tokens[0].Value, UriKind.Absolute, out var url) && url.Scheme is "http" or "https")
                {
                    return url;
                }

                result.AddError($"--gateway: \"{result.Tokens[0].Value}\" is not an http(s) address.");
                return null;
            },
        };
        var apiKey = new Option<string>("--api-key") { Description = "API key with scope ingest [default: PLATFORM_API_KEY, which keeps it out of the process list]", HelpName = "KEY" };
        var year = new Option<int>("--year") { Description = "Year of the first line, which syslog does not say [default: the year that puts the first line into the last twelve months]", HelpName = "YYYY" };
        year.Validators.Add(result =>
        {
            if (result.Tokens is [var token] && !(int.TryParse(token.Value, CultureInfo.InvariantCulture, out var given) && given is >= 1970 and <= 9998))
            {
                result.AddError("--year takes a year from 1970 to 9998.");
            }
        });
        var dryRun = new Option<bool>("--dry-run") { Description = "Send nothing; print the first events as NDJSON" };
        var limit = new Option<int>("--limit") { Description = "Events that --dry-run prints; 0 prints all", DefaultValueFactory = _ => 20, HelpName = "N" };

        var command = new Command("replay", "Plays an OpenSSH auth log as events: dated so that the last line is now, gaps kept, repeated messages expanded.")
        {
            file, speed, gateway, apiKey, year, dryRun, limit,
        };
        command.SetAction(async (parsed, ct) =>
        {
            var path = parsed.GetRequiredValue(file).FullName;
            if (parsed.GetValue(dryRun))
            {
                return LogReplay.Preview(path, parsed.GetValue(year), parsed.GetValue(speed), parsed.GetValue(limit), Console.Out, Console.Error);
            }

            var key = parsed.GetValue(apiKey) ?? Environment.GetEnvironmentVariable("PLATFORM_API_KEY");
            if (string.IsNullOrWhiteSpace(key))
            {
                await Console.Error.WriteLineAsync("An API key is missing: give --api-key, or set PLATFORM_API_KEY. The admin key that the first start prints will do.");
                return 2;
            }

            var url = parsed.GetValue(gateway) ?? new Uri(Environment.GetEnvironmentVariable("PLATFORM_GATEWAY_URL") ?? "http://localhost:8080");
            using var logs = LoggerFactory.Create(logging => logging.AddSimpleConsole(console => console.ColorBehavior = LoggerColorBehavior.Disabled)
                .Services.Configure<ConsoleLoggerOptions>(console => console.LogToStandardErrorThreshold = LogLevel.Trace));
            using var http = EventDelivery.CreateClient(url, key, TimeSpan.FromSeconds(30));
            var delivery = new EventDelivery(http, TimeProvider.System, TimeSpan.FromSeconds(5), logs.CreateLogger("replay"));
            return await new LogReplay(delivery, TimeProvider.System, Console.Error).RunAsync(path, parsed.GetValue(year), parsed.GetValue(speed), ct);
        });
        return command;
    }
}
