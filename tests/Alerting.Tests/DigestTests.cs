using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Alerting.Canaries;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Alerting.OnCall;
using Platform.Contracts;
using Platform.Postgres;

namespace Platform.Alerting.Tests;

/// <summary>The daily digest: when, once, and what it says.</summary>
public sealed class DigestTests(GroupingWorld world) : IClassFixture<GroupingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("2026-03-02T06:59:00Z", null)] // yesterday's is too old by now
    [InlineData("2026-03-02T07:00:00Z", "2026-03-02 from 01T07:00")]
    [InlineData("2026-03-02T18:59:00Z", "2026-03-02 from 01T07:00")]
    [InlineData("2026-03-02T19:01:00Z", null)]
    public void It_is_due_at_its_time_and_for_twelve_hours(string now, string? expected) => Assert.Equal(expected, Due("07:00", "UTC", now));

    [Theory]
    // The clocks go forward on 29 March: the day before that digest has 23 hours.
    [InlineData("2026-03-28T08:00:00Z", "2026-03-28 from 27T06:00")]
    [InlineData("2026-03-29T08:00:00Z", "2026-03-29 from 28T06:00")]
    [InlineData("2026-03-30T08:00:00Z", "2026-03-30 from 29T05:00")]
    // In the evening of the day before by UTC.
    [InlineData("2026-07-14T22:30:00Z", null)]
    public void Its_time_is_that_of_the_wall_clock(string now, string? expected) => Assert.Equal(expected, Due("07:00", "Europe/Berlin", now));

    [Fact]
    public async Task Two_replicas_write_one_digest_of_the_day_with_what_fired_and_what_is_open()
    {
        // The clock stands at noon of 2 March; what fires now is in the digest of the next morning.
        var taken = await world.FireAsync("digest", "disk_full", Severity.Critical);
        await world.FireAsync("digest", "api_errors", Severity.High, ("host", "a"));
        await world.FireAsync("digest-east", "api_errors", Severity.High, ("host", "b"));
        // The platform's own test alert is none of it.
        await world.FireAsync(Canary.Realm, Canary.Name, Severity.Info);
        world.Clock.Advance(TimeSpan.FromMinutes(4));
        await world.AcknowledgeAsync(taken);
        world.Clock.Advance(TimeSpan.FromMinutes(8));
        await world.ResolveAsync(taken);
        world.Clock.Now = new DateTimeOffset(2026, 3, 3, 7, 0, 30, TimeSpan.Zero);

        await using var services = world.Replica();
        using var first = Worker(services);
        using var second = Worker(services);
        await Task.WhenAll(first.TickAsync(Ct), second.TickAsync(Ct));
        await first.TickAsync(Ct);

        var (realm, kind, content) = Assert.Single(await world.Db.QueryAsync(
            $"select realm, kind, content::text from notifications where channel = 'digest'", row => (row.GetString(0), row.GetString(1), row.GetString(2)), Ct));
        Assert.Equal(("*", "digest"), (realm, kind));
        var annotations = System.Text.Json.JsonElement.Parse(content).GetProperty("alerts")[0].GetProperty("annotations");
        Assert.Equal("2026-03-03: 3 alerts fired, 2 open", annotations.GetProperty("summary").GetString());
        Assert.Equal(
            """
            From 2026-03-02 07:00 to 2026-03-03 07:00 UTC.
            Fired: 1 critical, 2 high.
            By realm: digest 2, digest-east 1.
            Most often: api_errors 2, disk_full 1.
            Open: 2 high, the oldest since 2026-03-02 12:00 UTC.
            Acknowledged after 4 min on average.
            Over after 12 min on average.
            Notifications: 0 delivered, 0 not.
            """.ReplaceLineEndings("\n"), annotations.GetProperty("description").GetString());

        world.Clock.Advance(TimeSpan.FromDays(1));
        await second.TickAsync(Ct);
        Assert.Equal(2, await world.Db.FindAsync($"select count(*) from notifications where channel = 'digest'", row => row.GetInt64(0), Ct));

        DigestWorker Worker(IServiceProvider of) => new(
            world.Db, of.GetRequiredService<NotificationStore>(), of.GetRequiredService<SettingsChannels>(), of.GetRequiredService<Dispatcher>(), new DigestOptions(), world.Clock, NullLogger<DigestWorker>.Instance);
    }

    [Fact]
    public void Its_recipients_are_a_channel_to_which_no_alert_goes_by_itself()
    {
        var smtp = new SmtpSettings { Smarthost = "mail.example:25", From = "alerts@example.com" };

        var channels = new SettingsChannels(new ChannelSettings { DigestRecipients = ["board@example.com"], NtfyTopic = "ops", Fallback = "ntfy" }, new NotificationOptions(), smtp);

        Assert.Equal(("board@example.com", null), (channels.Find("digest")!["to"], channels.Find("digest")!.Fallback));
        Assert.All(Enum.GetValues<Severity>(), severity => Assert.DoesNotContain("digest", channels.For(severity)));
        Assert.Contains("MONITORING_DIGEST_RECIPIENTS", Assert.Throws<ServiceDefaults.SettingsException>(() => new SettingsChannels(new ChannelSettings { DigestRecipients = ["nobody"] }, new NotificationOptions(), smtp)).Message, StringComparison.Ordinal);
        Assert.Single(new DigestOptions { TimeZone = "Berlin" }.Validate(new(this)));
    }

    private static string? Due(string at, string zone, string now) =>
        Digest.Due(Clocks.ParseTime(at)!.Value, Clocks.FindZone(zone)!, DateTimeOffset.Parse(now, System.Globalization.CultureInfo.InvariantCulture)) is { } due
            ? string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{due.Day:yyyy-MM-dd} from {due.From.UtcDateTime:dd'T'HH:mm}")
            : null;
}
