using System.Collections.Frozen;
using System.Globalization;
using System.Net;
using System.Text.RegularExpressions;
using Platform.Instrumentation;

namespace Platform.DemoBackend.Replay;

/// <summary>What one line of an auth log says. Times are those of the log, in UTC for want of anything better.</summary>
public abstract record LogLine(int Number)
{
    /// <param name="Times">How many events the line stands for: syslog folds repeats into "message repeated N times".</param>
    public sealed record Event(int Number, DateTimeOffset At, string Source, string Message, string Level, IReadOnlyDictionary<string, object?> Tags, int Times) : LogLine(Number)
    {
        public bool IsFailedLogin => Tags.GetValueOrDefault(Platform.Instrumentation.Tags.Action) is Actions.Login && Tags.GetValueOrDefault(Platform.Instrumentation.Tags.Outcome) is "failure";
    }

    /// <summary>A line that is not syslog, and why.</summary>
    public sealed record Malformed(int Number, string Reason, string Text) : LogLine(Number);
}

/// <summary>
/// Reads the auth log of an OpenSSH server (syslog lines, or rsyslog's ISO 8601 lines) as events of the vocabulary. One attempt is one event: only
/// "Failed password" and "Accepted …" lines are logins; what PAM and sshd add about the same attempt stays ordinary log text. Pure, streaming.
/// </summary>
public static partial class OpenSshLog
{
    private const int LongestLine = 8_192;
    private const int LongestUserName = 256;
    private const int MostRepeats = 10_000;

    // A log may step back a little (two processes, one second); a step back of more than this is a new year.
    private static readonly TimeSpan NewYear = TimeSpan.FromDays(90);
    private static readonly TimeSpan LittleLate = TimeSpan.FromDays(1);

    private static readonly FrozenDictionary<string, int> Months =
        CultureInfo.InvariantCulture.DateTimeFormat.AbbreviatedMonthNames.Take(12).Select((name, index) => (name, index)).ToFrozenDictionary(month => month.name, month => month.index + 1);

    /// <summary>Every line that is not blank, in order.</summary>
    /// <param name="firstYear">The year of the first line, which syslog does not say. A step from December back to January begins the next one.</param>
    public static IEnumerable<LogLine> Parse(IEnumerable<string> lines, int firstYear)
    {
        var (number, year) = (0, firstYear);
        DateTimeOffset? previous = null;
        foreach (var raw in lines)
        {
            number++;
            var text = raw.TrimEnd('\r', '\n', '\0');
            if (string.IsNullOrWhiteSpace(text))
            {
                continue;
            }

            if (text.Length > LongestLine)
            {
                yield return new LogLine.Malformed(number, $"longer than {LongestLine} characters", text[..80]);
                continue;
            }

            if (Header().Match(text) is not { Success: true } header)
            {
                yield return new LogLine.Malformed(number, "no syslog header (\"Dec 10 06:55:46 host sshd[24200]: …\" or an ISO 8601 time)", text);
                continue;
            }

            var at = Time(header, year);
            if (at is { } read && previous is { } before && header.Groups["month"].Success)
            {
                if (before - read > NewYear)
                {
                    at = Time(header, ++year);
                }
                else if (Time(header, year - 1) is { } lastYear && (before - lastYear).Duration() <= LittleLate)
                {
                    // A line of December that arrives after the first one of January.
                    at = lastYear;
                }
            }

            if (at is not { } when)
            {
                yield return new LogLine.Malformed(number, $"no such time in {year} (give the year of the first line with --year)", text);
                continue;
            }

            previous = previous > when ? previous : when;
            yield return Read(number, when, header.Groups["host"].Value, header.Groups["program"].Value, header.Groups["pid"].Value, header.Groups["message"].Value);
        }
    }

    private static DateTimeOffset? Time(Match header, int year)
    {
        if (header.Groups["iso"] is { Success: true } iso)
        {
            return DateTimeOffset.TryParse(iso.Value, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var exact) ? exact : null;
        }

        return Months.TryGetValue(header.Groups["month"].Value, out var month)
            && int.TryParse(header.Groups["day"].ValueSpan, CultureInfo.InvariantCulture, out var day) && day >= 1 && day <= DateTime.DaysInMonth(year, month)
            && TimeOnly.TryParseExact(header.Groups["time"].ValueSpan, "HH:mm:ss", CultureInfo.InvariantCulture, DateTimeStyles.None, out var time)
            ? new DateTimeOffset(new DateOnly(year, month, day), time, TimeSpan.Zero)
            : null;
    }

    private static LogLine.Event Read(int number, DateTimeOffset at, string host, string program, string pid, string message)
    {
        var times = 1;
        if (Repeated().Match(message) is { Success: true } repeated)
        {
            times = Math.Clamp(int.Parse(repeated.Groups["times"].ValueSpan, CultureInfo.InvariantCulture), 1, MostRepeats);
            message = repeated.Groups["message"].Value;
        }

        // Since OpenSSH 9.8 sessions are logged by a program of their own.
        var isSshd = program is "sshd" or "sshd-session" or "sshd-auth";
        var tags = new Dictionary<string, object?> { [Tags.Host] = host, [Tags.SessionId] = pid is "" ? null : pid };
        if (isSshd && Attempt().Match(message) is { Success: true } attempt && (attempt.Groups["result"].Value, attempt.Groups["method"].Value) is not ("Failed", "none" or "publickey"))
        {
            var success = attempt.Groups["result"].Value == "Accepted";
            tags[Tags.Action] = Actions.Login;
            tags[Tags.Outcome] = OutcomeWord.Of(success ? Outcome.Success : Outcome.Failure);
            tags[Tags.UserId] = Clip(attempt.Groups["user"].Value);
            tags[Tags.IpAddress] = Canonical(attempt.Groups["address"].Value);
            tags[Tags.Provider] = "sshd";
            tags["ssh_method"] = attempt.Groups["method"].Value;
            tags[Tags.Reason] = success ? null : attempt.Groups["invalid"].Success ? "unknown_user" : "wrong_password";
            return new(number, at, "sshd", message, success ? Levels.Info : Levels.Warning, tags, times);
        }

        // An address makes the line findable beside the attempts it belongs to; without an action nothing counts it.
        tags[Tags.IpAddress] = Address().Match(message) is { Success: true } address ? Canonical(address.Groups["address"].Value) : null;
        var unusual = message.StartsWith("error:", StringComparison.Ordinal) || message.StartsWith("fatal:", StringComparison.Ordinal) || message.Contains("BREAK-IN", StringComparison.Ordinal);
        return new(number, at, isSshd ? "sshd" : program.ToLowerInvariant(), message, unusual ? Levels.Warning : Levels.Info, tags, times);
    }

    private static string Canonical(string address) =>
        IPAddress.TryParse(address, out var parsed) ? (parsed.IsIPv4MappedToIPv6 ? parsed.MapToIPv4() : parsed).ToString() : address;

    private static string Clip(string text) => text.Length > LongestUserName ? text[..LongestUserName] : text;

    [GeneratedRegex(@"^((?<month>[A-Z][a-z]{2}) +(?<day>\d{1,2}) (?<time>\d{2}:\d{2}:\d{2})|(?<iso>\d{4}-\d{2}-\d{2}T\S+)) (?<host>\S+) (?<program>[^\s\[:]+)(\[(?<pid>\d+)\])?: (?<message>.*)$", RegexOptions.NonBacktracking | RegexOptions.ExplicitCapture)]
    private static partial Regex Header();

    [GeneratedRegex(@"^message repeated (?<times>\d{1,6}) times: \[ (?<message>.*)\]$", RegexOptions.ExplicitCapture)]
    private static partial Regex Repeated();

    // Greedy user: a user name may itself contain " from 192.0.2.1 port 22", and the last one is sshd's own.
    [GeneratedRegex(@"^(?<result>Failed|Accepted) (?<method>\S+) for (?<invalid>invalid user )?(?<user>.*) from (?<address>\S+) port \d+( ssh2)?(: .*)?$", RegexOptions.ExplicitCapture)]
    private static partial Regex Attempt();

    [GeneratedRegex(@"(from |by |rhost=|\[)(?<address>\d{1,3}(\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7})\b", RegexOptions.ExplicitCapture)]
    private static partial Regex Address();
}
