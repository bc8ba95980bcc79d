using System.Globalization;
using Platform.DemoBackend.Replay;
using Platform.Instrumentation;

namespace Platform.DemoBackend.Tests;

public sealed class OpenSshLogTests
{
    private const string Start = "Dec 10 06:55:46 LabSZ sshd[24200]: ";

    [Theory]
    [InlineData("Failed password for root from 203.0.113.9 port 42393 ssh2", "failure", "root", "203.0.113.9", "wrong_password")]
    [InlineData("Failed password for invalid user test9 from 203.0.113.9 port 36060 ssh2", "failure", "test9", "203.0.113.9", "unknown_user")]
    [InlineData("Failed password for invalid user  0101 from 203.0.113.9 port 36279 ssh2", "failure", " 0101", "203.0.113.9", "unknown_user")]
    [InlineData("Failed password for invalid user x from 192.0.2.1 port 22 ssh2 from 203.0.113.9 port 1 ssh2", "failure", "x from 192.0.2.1 port 22 ssh2", "203.0.113.9", "unknown_user")]
    [InlineData("Failed password for root from 2001:0db8::0001 port 42393 ssh2", "failure", "root", "2001:db8::1", "wrong_password")]
    [InlineData("Failed password for root from ::ffff:203.0.113.9 port 42393 ssh2", "failure", "root", "203.0.113.9", "wrong_password")]
    [InlineData("Failed keyboard-interactive/pam for root from 203.0.113.9 port 42393 ssh2", "failure", "root", "203.0.113.9", "wrong_password")]
    [InlineData("Accepted password for fztu from 203.0.113.9 port 49116 ssh2", "success", "fztu", "203.0.113.9", null)]
    [InlineData("Accepted publickey for anna from 203.0.113.9 port 1 ssh2: ED25519 SHA256:abc", "success", "anna", "203.0.113.9", null)]
    public void An_attempt_is_a_login(string message, string outcome, string user, string address, string? reason)
    {
        var tags = Single(Start + message).Tags;

        Assert.Equal(("login", outcome, user, address, reason, "sshd"), (tags["action"], tags["outcome"], tags["user_id"], tags["ip_address"], tags["reason"], tags["provider"]));
    }

    [Theory]
    [InlineData("Invalid user test9 from 203.0.113.9", "203.0.113.9")]
    [InlineData("input_userauth_request: invalid user test9 [preauth]", null)]
    [InlineData("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root", "203.0.113.9")]
    [InlineData("PAM 5 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root", "203.0.113.9")]
    [InlineData("Failed none for invalid user admin from 203.0.113.9 port 52631 ssh2", "203.0.113.9")]
    [InlineData("Failed publickey for anna from 203.0.113.9 port 52631 ssh2", "203.0.113.9")]
    [InlineData("Connection closed by 203.0.113.9 [preauth]", "203.0.113.9")]
    [InlineData("reverse mapping checking getaddrinfo for host.example [203.0.113.9] failed - POSSIBLE BREAK-IN ATTEMPT!", "203.0.113.9")]
    [InlineData("error: Received disconnect from 203.0.113.9: 14: No more user authentication methods available. [preauth]", "203.0.113.9")]
    [InlineData("Disconnecting: Too many authentication failures for root [preauth]", null)]
    public void What_else_is_said_about_an_attempt_is_not_another_attempt(string message, string? address)
    {
        var line = Single(Start + message);

        Assert.False(line.Tags.ContainsKey("action"));
        Assert.Equal(address, line.Tags["ip_address"]);
        // Errors page people; a stranger's disconnect is not one of ours.
        Assert.NotEqual(Levels.Error, line.Level);
    }

    [Fact]
    public void A_repeated_message_stands_for_as_many_events_as_it_says()
    {
        var line = Single(Start + "message repeated 5 times: [ Failed password for root from 203.0.113.9 port 42393 ssh2]");

        Assert.Equal(5, line.Times);
        Assert.True(line.IsFailedLogin);
        Assert.Equal("Failed password for root from 203.0.113.9 port 42393 ssh2", line.Message);
    }

    [Fact]
    public void The_year_turns_between_December_and_January_and_not_when_lines_are_a_little_out_of_order()
    {
        string[] lines = ["Dec 31 23:59:59 h sshd[1]: a", "Dec 31 23:59:58 h sshd[1]: b", "Jan  1 00:00:01 h sshd[1]: c", "Dec 31 23:59:59 h sshd[1]: late", "Jan  1 00:00:02 h sshd[1]: d"];

        var times = OpenSshLog.Parse(lines, 2024).Cast<LogLine.Event>().Select(line => line.At.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture));

        Assert.Equal(["2024-12-31 23:59:59", "2024-12-31 23:59:58", "2025-01-01 00:00:01", "2024-12-31 23:59:59", "2025-01-01 00:00:02"], times);
    }

    [Fact]
    public void Leap_days_exist_in_leap_years_only()
    {
        Assert.IsType<LogLine.Event>(Assert.Single(OpenSshLog.Parse(["Feb 29 10:00:00 h sshd[1]: x"], 2024)));
        Assert.Contains("--year", Assert.IsType<LogLine.Malformed>(Assert.Single(OpenSshLog.Parse(["Feb 29 10:00:00 h sshd[1]: x"], 2025))).Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void Lines_of_rsyslog_with_full_times_and_of_the_newer_sshd_are_read_too()
    {
        var line = Single("2026-03-01T10:15:02.123456+02:00 bastion sshd-session[77]: Failed password for root from 203.0.113.9 port 1 ssh2\r");

        Assert.True(line.IsFailedLogin);
        Assert.Equal(new DateTimeOffset(2026, 3, 1, 8, 15, 2, TimeSpan.Zero).AddTicks(1_234_560), line.At);
        Assert.Equal(("sshd", "bastion", "77"), (line.Source, line.Tags["host"], line.Tags["session_id"]));
    }

    [Fact]
    public void Other_programs_in_the_same_file_keep_their_names_and_cannot_pose_as_sshd()
    {
        var line = Single("Dec 10 06:55:46 LabSZ sudo: Failed password for root from 203.0.113.9 port 42393 ssh2");

        Assert.Equal("sudo", line.Source);
        Assert.False(line.IsFailedLogin);
    }

    [Theory]
    [InlineData("garbage", "header")]
    [InlineData("Foo 10 06:55:46 LabSZ sshd[1]: x", "time")]
    [InlineData("Dec 32 06:55:46 LabSZ sshd[1]: x", "time")]
    [InlineData("Dec 10 25:55:46 LabSZ sshd[1]: x", "time")]
    public void A_line_that_is_not_syslog_is_reported_with_its_number_and_the_rest_is_read(string bad, string reason)
    {
        var lines = OpenSshLog.Parse([Start + "first", "", bad, Start + "last"], 2024).ToArray();

        Assert.Equal([1, 3, 4], lines.Select(line => line.Number));
        var malformed = Assert.IsType<LogLine.Malformed>(lines[1]);
        Assert.Contains(reason, malformed.Reason, StringComparison.Ordinal);
        Assert.Equal(bad, malformed.Text);
    }

    [Fact]
    public void A_line_without_end_is_malformed() =>
        Assert.IsType<LogLine.Malformed>(Assert.Single(OpenSshLog.Parse([Start + new string('x', 10_000)], 2024)));

    [Fact]
    public void The_real_log_holds_528_failed_logins_from_23_addresses_11_of_which_fail_5_times_within_300_seconds()
    {
        var lines = OpenSshLog.Parse(File.ReadLines(RealLog.PathOrSkip()), 2024).Cast<LogLine.Event>().ToArray();

        var failed = lines.Where(line => line.IsFailedLogin).ToArray();
        Assert.Equal(518, failed.Count(line => line.Times == 1));
        Assert.Equal(10, failed.Where(line => line.Times > 1).Sum(line => line.Times));
        Assert.Single(lines, line => line.Tags.GetValueOrDefault("outcome") is "success");

        var byAddress = failed.SelectMany(line => Enumerable.Repeat(line, line.Times)).GroupBy(line => (string)line.Tags["ip_address"]!).ToArray();
        Assert.Equal(23, byAddress.Length);
        Assert.Equal([286, 80, 46], byAddress.Select(address => address.Count()).OrderDescending().Take(3));
        Assert.Equal((11, 6, 4), (byAddress.Count(address => Fails(address, 5, 300)), byAddress.Count(address => Fails(address, 10, 300)), byAddress.Count(address => Fails(address, 20, 600))));
    }

    private static bool Fails(IEnumerable<LogLine.Event> attempts, int times, int seconds)
    {
        var at = attempts.Select(line => line.At).Order().ToArray();
        return Enumerable.Range(0, Math.Max(0, at.Length - times + 1)).Any(first => at[first + times - 1] - at[first] <= TimeSpan.FromSeconds(seconds));
    }

    private static LogLine.Event Single(string line) => Assert.IsType<LogLine.Event>(Assert.Single(OpenSshLog.Parse([line], 2024)));
}
