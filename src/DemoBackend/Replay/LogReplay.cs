using System.Globalization;
using Platform.Instrumentation;

namespace Platform.DemoBackend.Replay;

/// <summary>
/// The effects around <see cref="OpenSshLog"/> and <see cref="ReplaySchedule"/>: reads the file twice (once to know where it ends, once to send), waits until lines are due,
/// delivers them in batches. Memory does not grow with the file.
/// </summary>
public sealed class LogReplay(EventDelivery delivery, TimeProvider clock, TextWriter progress)
{
    private const int BatchEvents = 500;
    private const int MalformedShown = 20;
    private static readonly TimeSpan Pulse = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan BetweenReports = TimeSpan.FromSeconds(5);

    private readonly HashSet<string> _addresses = [];
    private int _sent;
    private int _refused;
    private int _failedLogins;

    /// <summary>Exit code: 0 when every event is stored, 1 when the file holds none, 3 when some were refused, 130 when interrupted.</summary>
    /// <param name="year">Year of the first line; 0 for the default.</param>
    public async Task<int> RunAsync(string path, int year, double speed, CancellationToken ct)
    {
        var log = Survey(path, year, clock.GetUtcNow(), progress);
        if (log.Events == 0)
        {
            await progress.WriteLineAsync("The file holds no line of an auth log; nothing was sent.");
            return 1;
        }

        var schedule = new ReplaySchedule(clock.GetUtcNow(), log.First, log.Last, speed);
        await progress.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"Replaying {log.Events} events over {schedule.LogDuration} of log in {schedule.Duration}."));
        try
        {
            await SendAsync(path, log, schedule, ct);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            await progress.WriteLineAsync("Interrupted.");
        }

        var took = clock.GetUtcNow() - schedule.Start;
        await progress.WriteLineAsync(string.Create(
            CultureInfo.InvariantCulture,
            $"Sent {_sent} of {log.Events} events in {took:hh\\:mm\\:ss\\.f}: {_failedLogins} failed logins from {_addresses.Count} addresses. Refused: {_refused}. Malformed lines skipped: {log.Malformed}."));
        return ct.IsCancellationRequested ? 130 : _refused > 0 ? 3 : 0;
    }

    /// <summary>Writes the first events as NDJSON, dated as if the replay started now.</summary>
    public static int Preview(string path, int year, double speed, int limit, TextWriter events, TextWriter progress)
    {
        var now = TimeProvider.System.GetUtcNow();
        var log = Survey(path, year, now, progress);
        var schedule = new ReplaySchedule(now, log.First, log.Last, speed);
        foreach (var line in Lines(path, log.Year).Take(limit > 0 ? limit : int.MaxValue))
        {
            events.WriteLine(System.Text.Encoding.UTF8.GetString(AsEvent(line, schedule).ToJson()));
        }

        return log.Events == 0 ? 1 : 0;
    }

    private async Task SendAsync(string path, LogSurvey log, ReplaySchedule schedule, CancellationToken ct)
    {
        var batch = new List<LogLine.Event>();
        var reported = schedule.Start;
        foreach (var line in Lines(path, log.Year))
        {
            // Lines due within one pulse travel together; a line that is not due yet lets the ones before it go first.
            if (batch.Count == BatchEvents || (batch.Count > 0 && schedule.Due(line.At) - schedule.Due(batch[0].At) >= Pulse))
            {
                await DeliverAsync(batch, schedule, ct);
                if (clock.GetUtcNow() - reported >= BetweenReports)
                {
                    reported = clock.GetUtcNow();
                    await ReportAsync(log, schedule, line.At);
                }
            }

            batch.Add(line);
        }

        await DeliverAsync(batch, schedule, ct);
    }

    private async Task DeliverAsync(List<LogLine.Event> batch, ReplaySchedule schedule, CancellationToken ct)
    {
        // Until the youngest line of the batch is due, so that no event is dated after the moment it is sent.
        var wait = schedule.Due(batch[^1].At) - clock.GetUtcNow();
        if (wait > TimeSpan.Zero)
        {
            await Task.Delay(wait, clock, ct);
        }

        var report = await delivery.DeliverAsync([.. batch.Select(line => AsEvent(line, schedule).ToJson())], ct);
        ct.ThrowIfCancellationRequested();
        _sent += report.Accepted;
        _refused += report.Refused;
        foreach (var failed in batch.Where(line => line.IsFailedLogin))
        {
            _failedLogins++;
            _addresses.Add((string)failed.Tags[Tags.IpAddress]!);
        }

        batch.Clear();
    }

    private Task ReportAsync(LogSurvey log, ReplaySchedule schedule, DateTimeOffset at)
    {
        var left = schedule.Start + schedule.Duration - clock.GetUtcNow();
        var percent = 100.0 * _sent / log.Events;
        return progress.WriteLineAsync(string.Create(
            CultureInfo.InvariantCulture, $"{percent,3:0}%  {_sent} of {log.Events} events, log at {at:MMM dd HH:mm:ss}, {(left > TimeSpan.Zero ? left : TimeSpan.Zero):hh\\:mm\\:ss} left"));
    }

    private static MonitoringEvent AsEvent(LogLine.Event line, ReplaySchedule schedule) =>
        new(EventTypes.Log, line.Source, line.Message, line.Level, schedule.Rebase(line.At), line.Tags);

    private static IEnumerable<LogLine.Event> Lines(string path, int year) =>
        OpenSshLog.Parse(File.ReadLines(path), year).OfType<LogLine.Event>().SelectMany(line => Enumerable.Repeat(line, line.Times));

    private static LogSurvey Survey(string path, int year, DateTimeOffset now, TextWriter progress)
    {
        var firstYear = year > 0 ? year : GuessYear(path, now);
        var (events, malformed) = (0, 0);
        var (first, last) = (DateTimeOffset.MaxValue, DateTimeOffset.MinValue);
        foreach (var line in OpenSshLog.Parse(File.ReadLines(path), firstYear))
        {
            switch (line)
            {
                case LogLine.Event read:
                    events += read.Times;
                    first = read.At < first ? read.At : first;
                    last = read.At > last ? read.At : last;
                    break;
                case LogLine.Malformed bad:
                    if (++malformed <= MalformedShown)
                    {
                        progress.WriteLine($"{path}:{bad.Number}: skipped: {bad.Reason}: {(bad.Text.Length > 120 ? bad.Text[..120] + "…" : bad.Text)}");
                    }

                    break;
            }
        }

        if (malformed > MalformedShown)
        {
            progress.WriteLine($"… and {malformed - MalformedShown} more malformed lines.");
        }

        return new(firstYear, events, malformed, first, last);
    }

    // The first line cannot lie in the future, so in this year or in the one before.
    private static int GuessYear(string path, DateTimeOffset now)
    {
        var first = OpenSshLog.Parse(File.ReadLines(path), now.Year).OfType<LogLine.Event>().FirstOrDefault();
        return first is not null && first.At > now.AddDays(1) ? now.Year - 1 : now.Year;
    }

    private sealed record LogSurvey(int Year, int Events, int Malformed, DateTimeOffset First, DateTimeOffset Last);
}
