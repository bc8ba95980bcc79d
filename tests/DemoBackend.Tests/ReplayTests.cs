using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.DemoBackend.Replay;
using Platform.Instrumentation;
using Platform.Instrumentation.Tests;
using Platform.Testing;

namespace Platform.DemoBackend.Tests;

public sealed class ReplayTests : IDisposable
{
    private readonly TemporaryFolder _folder = TemporaryFolder.Create("replay");

    private static readonly DateTimeOffset Noon = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void The_last_event_happens_when_it_is_sent_and_the_gaps_stay()
    {
        var first = new DateTimeOffset(2024, 12, 10, 6, 0, 0, TimeSpan.Zero);
        var schedule = new ReplaySchedule(Noon, first, first.AddHours(2), Speed: 60);

        Assert.Equal(TimeSpan.FromMinutes(2), schedule.Duration);
        Assert.Equal(Noon.AddMinutes(2), schedule.Rebase(first.AddHours(2)));
        Assert.Equal(Noon.AddMinutes(2), schedule.Due(first.AddHours(2)));
        Assert.Equal(Noon, schedule.Due(first));
        Assert.Equal(Noon.AddMinutes(2) - TimeSpan.FromHours(2), schedule.Rebase(first));
        Assert.Equal(TimeSpan.FromSeconds(17), schedule.Rebase(first.AddSeconds(17)) - schedule.Rebase(first));
        // No event is dated after the moment it is sent.
        Assert.All(Enumerable.Range(0, 121), minute => Assert.True(schedule.Rebase(first.AddMinutes(minute)) <= schedule.Due(first.AddMinutes(minute))));
    }

    [Fact]
    public void At_full_speed_everything_is_due_at_once_and_the_last_event_is_now()
    {
        var first = new DateTimeOffset(2024, 12, 10, 6, 0, 0, TimeSpan.Zero);
        var schedule = new ReplaySchedule(Noon, first, first.AddHours(2), double.PositiveInfinity);

        Assert.Equal((TimeSpan.Zero, Noon, Noon, Noon), (schedule.Duration, schedule.Due(first), schedule.Due(first.AddHours(2)), schedule.Rebase(first.AddHours(2))));
    }

    [Fact]
    public async Task A_replay_arrives_whole_once_and_in_order_although_the_gateway_stumbles()
    {
        await using var gateway = await PlayedGateway.StartAsync((_, before) => before % 2 == 0 ? Results.StatusCode(503) : PlayedGateway.Created);
        var file = Write(
            "Dec 10 06:55:40 h sshd[1]: Invalid user x from 203.0.113.9",
            "this is no syslog",
            "Dec 10 06:55:41 h sshd[1]: Failed password for invalid user x from 203.0.113.9 port 1 ssh2",
            "Dec 10 06:55:43 h sshd[1]: message repeated 3 times: [ Failed password for root from 203.0.113.9 port 1 ssh2]",
            "Dec 10 06:56:10 h sshd[1]: Accepted password for root from 198.51.100.7 port 1 ssh2");
        using var progress = new StringWriter();

        var exit = await RunAsync(gateway, file, speed: 60, progress);

        Assert.Equal(0, exit);
        var stored = gateway.Requests.Where((_, number) => number % 2 == 1).ToArray();
        Assert.Equal(stored.Select(request => request.Key), gateway.Requests.Where((_, number) => number % 2 == 0).Select(request => request.Key));
        var events = stored.SelectMany(request => request.Events).ToArray();
        Assert.Equal([null, "failure", "failure", "failure", "failure", "success"], events.Select(happened => Tag(happened, "outcome")));
        var times = events.Select(happened => DateTimeOffset.Parse(happened.GetProperty("timestamp").GetString()!, CultureInfo.InvariantCulture)).ToArray();
        Assert.Equal([0, 1, 3, 3, 3, 30], times.Select(time => Math.Round((time - times[0]).TotalSeconds, 3)));
        Assert.InRange(times[^1], DateTimeOffset.UtcNow.AddSeconds(-20), DateTimeOffset.UtcNow);
        Assert.Contains(":2: skipped: no syslog header", progress.ToString(), StringComparison.Ordinal);
        Assert.Contains("Sent 6 of 6 events", progress.ToString(), StringComparison.Ordinal);
        Assert.Contains("4 failed logins from 1 addresses", progress.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_is_no_log_sends_nothing_and_says_so()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        using var progress = new StringWriter();

        var exit = await RunAsync(gateway, Write("one", "two"), double.PositiveInfinity, progress);

        Assert.Equal(1, exit);
        Assert.Empty(gateway.Requests);
        Assert.Contains("nothing was sent", progress.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_real_log_at_full_speed_arrives_as_2008_events()
    {
        var log = RealLog.PathOrSkip();
        await using var gateway = await PlayedGateway.StartAsync();
        using var progress = new StringWriter();

        var exit = await RunAsync(gateway, log, double.PositiveInfinity, progress);

        Assert.Equal(0, exit);
        Assert.Equal(2_008, gateway.Events.Count);
        Assert.Equal(528, gateway.Events.Count(happened => Tag(happened, "action") == "login" && Tag(happened, "outcome") == "failure"));
        Assert.All(gateway.Requests, request => Assert.InRange(request.Events.Count, 1, 500));
        Assert.Contains("528 failed logins from 23 addresses", progress.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_dry_run_prints_what_would_be_sent()
    {
        using var events = new StringWriter();
        using var progress = new StringWriter();
        var file = Write("Dec 10 06:55:41 h sshd[1]: message repeated 3 times: [ Failed password for root from 203.0.113.9 port 1 ssh2]");

        var exit = LogReplay.Preview(file, 0, 60, limit: 2, events, progress);

        Assert.Equal(0, exit);
        var lines = events.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(2, lines.Length);
        Assert.Equal("203.0.113.9", Tag(JsonDocument.Parse(lines[0]).RootElement, "ip_address"));
    }

    private static async Task<int> RunAsync(PlayedGateway gateway, string file, double speed, StringWriter progress)
    {
        using var http = EventDelivery.CreateClient(gateway.Url, "key-of-the-test", TimeSpan.FromSeconds(10));
        var delivery = new EventDelivery(http, TimeProvider.System, TimeSpan.FromSeconds(1), NullLogger.Instance);
        return await new LogReplay(delivery, TimeProvider.System, progress).RunAsync(file, 0, speed, TestContext.Current.CancellationToken);
    }

    private string Write(params string[] lines)
    {
        var path = Path.Combine(_folder.Path, "auth.log");
        File.WriteAllLines(path, lines);
        return path;
    }

    private static string? Tag(JsonElement happened, string name) => happened.GetProperty("tags").TryGetProperty(name, out var value) ? value.GetString() : null;
}
