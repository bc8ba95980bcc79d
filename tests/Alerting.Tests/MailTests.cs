using System.Text;
using System.Text.Json;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>Alerting that trusts the certificate of its mail servers.</summary>
public sealed class MailWorld : IAsyncLifetime
{
    private readonly TemporaryFolder _folder = TemporaryFolder.Create("mail");

    public ChannelWorld Alerting { get; private set; } = null!;

    public MailServer StartTls { get; private set; } = null!;

    public MailServer Tls { get; private set; } = null!;

    public MailServer Plain { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        if (!MailServer.IsInstalled)
        {
            return;
        }

        var (certificate, key) = await MailServer.CertificateAsync(_folder.Path);
        StartTls = await MailServer.StartAsync(MailEncryption.StartTls, certificate, key);
        Tls = await MailServer.StartAsync(MailEncryption.Tls, certificate, key);
        Plain = await MailServer.StartAsync(MailEncryption.None, certificate, key);
        Alerting = new ChannelWorld([
            ("SSL_CERT_FILE", certificate), ("ALERT_EMAIL_RECIPIENTS", "team@example.com"), ("ALERT_SMTP_SMARTHOST", $"localhost:{StartTls.Port}"), ("ALERT_SMTP_FROM", "Alerts <alerts@example.com>"),
            ("ALERT_SMTP_USERNAME", "alerts"), ("ALERT_SMTP_PASSWORD", "a secret"), ("ALERT_EXTERNAL_URL", "https://platform.example"),
        ]);
        await Alerting.InitializeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (Alerting is not null)
        {
            await Alerting.DisposeAsync();
            await StartTls.DisposeAsync();
            await Tls.DisposeAsync();
            await Plain.DisposeAsync();
        }

        _folder.Dispose();
    }
}

/// <summary>E-mail through a real mail server.</summary>
public sealed class MailTests(MailWorld world) : IClassFixture<MailWorld>
{
    private const string Missing = "aiosmtpd is not installed (deploy/native/install.sh --peers)";

    [Fact]
    public async Task The_channel_of_settings_sends_text_and_HTML_over_STARTTLS_with_its_account()
    {
        Assert.SkipUnless(MailServer.IsInstalled, Missing);

        await world.Alerting.TellAsync("email", "mailed");

        var mail = await Eventually.GetAsync(() => Task.FromResult(world.StartTls.Mails.FirstOrDefault(one => one.To.Contains("team@example.com"))), because: "the mail arrives");
        Assert.Equal("alerts@example.com", mail.From);
        Assert.Contains("Subject: [HIGH] Down: mailed is down\r\n", mail.Data, StringComparison.Ordinal);
        Assert.Contains("From: Alerts <alerts@example.com>\r\n", mail.Data, StringComparison.Ordinal);
        Assert.Contains("https://platform.example/api/v1/monitoring/alerts/", Part(mail, "text/plain"), StringComparison.Ordinal);
        Assert.Contains("<h2", Part(mail, "text/html"), StringComparison.Ordinal);
        var sent = Assert.Single(await world.Alerting.SettledAsync("email", 1));
        Assert.Contains($"Message-ID: <{sent.GetProperty("id").GetString()}@example.com>", mail.Data, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_recipient_that_must_wait_is_tried_again_alone_and_one_that_does_not_exist_holds_up_nobody()
    {
        Assert.SkipUnless(MailServer.IsInstalled, Missing);
        await world.Alerting.ChannelAsync("several", "email", new { to = new[] { "now@example.com", "later@example.com", "never@example.com" } });

        await world.Alerting.TellAsync("several", "several");

        var sent = Assert.Single(await world.Alerting.SettledAsync("several", 1));
        Assert.Equal("delivered", sent.GetProperty("state").GetString());
        Assert.Equal(["try_again", "accepted"], sent.GetProperty("attempts").EnumerateArray().Select(attempt => attempt.GetProperty("outcome").GetString()));
        Assert.Contains("never@example.com: 550 no such user", sent.GetProperty("attempts")[0].GetProperty("reason").GetString(), StringComparison.Ordinal);
        Assert.Equal(["now@example.com", "later@example.com"], world.StartTls.Mails.Where(mail => mail.Data.Contains("several is down", StringComparison.Ordinal)).SelectMany(mail => mail.To));
    }

    [Fact]
    public async Task TLS_from_the_first_byte_works_and_a_wrong_password_is_final()
    {
        Assert.SkipUnless(MailServer.IsInstalled, Missing);
        var right = await world.Alerting.ChannelAsync("tls", "email", Settings($"localhost:{world.Tls.Port}", "a secret"));
        var wrong = await world.Alerting.ChannelAsync("tls-wrong", "email", Settings($"localhost:{world.Tls.Port}", "another"));

        var sent = await world.Alerting.TestAsync(right);
        var refused = await world.Alerting.TestAsync(wrong);

        Assert.True(sent.GetProperty("delivered").GetBoolean(), sent.GetRawText());
        Assert.Contains(world.Tls.Mails, mail => mail.To.Contains("tls@example.com"));
        Assert.Equal(("refused", 535), (refused.GetProperty("attempt").GetProperty("outcome").GetString(), refused.GetProperty("attempt").GetProperty("status_code").GetInt32()));

        static object Settings(string smarthost, string password) =>
            new { to = "tls@example.com", from = "alerts@example.com", smarthost, tls = "tls", username = "alerts", password };
    }

    [Fact]
    public async Task Nothing_is_sent_in_the_clear_when_encryption_was_asked_for_nor_to_a_server_with_another_name()
    {
        Assert.SkipUnless(MailServer.IsInstalled, Missing);
        var plain = await world.Alerting.ChannelAsync("plain", "email", new { to = "plain@example.com", from = "a@example.com", smarthost = $"localhost:{world.Plain.Port}" });
        var foreign = await world.Alerting.ChannelAsync("foreign", "email", new { to = "plain@example.com", from = "a@example.com", smarthost = $"127.0.0.1:{world.StartTls.Port}" });
        var open = await world.Alerting.ChannelAsync("open", "email", new { to = "plain@example.com", from = "a@example.com", smarthost = $"localhost:{world.Plain.Port}", tls = "none" });

        var unencrypted = await world.Alerting.TestAsync(plain);
        var untrusted = await world.Alerting.TestAsync(foreign);

        Assert.Equal("try_again", unencrypted.GetProperty("attempt").GetProperty("outcome").GetString());
        Assert.Contains("does not offer encryption", Reason(unencrypted), StringComparison.Ordinal);
        Assert.Contains("certificate", Reason(untrusted), StringComparison.OrdinalIgnoreCase);
        Assert.Empty(world.Plain.Mails);
        Assert.True((await world.Alerting.TestAsync(open)).GetProperty("delivered").GetBoolean());
        Assert.Single(world.Plain.Mails);

        static string Reason(JsonElement result) => result.GetProperty("attempt").GetProperty("reason").GetString()!;
    }

    [Fact]
    public async Task Mail_goes_only_where_the_settings_allow()
    {
        Assert.SkipUnless(MailServer.IsInstalled, Missing);
        var inside = await world.Alerting.ChannelAsync("inside", "email", new { to = "x@example.com", from = "a@example.com", smarthost = "10.1.2.3:25", tls = "none" });

        var result = await world.Alerting.TestAsync(inside);

        Assert.Contains("OUTBOUND_ALLOWED_NETWORKS", result.GetProperty("attempt").GetProperty("reason").GetString(), StringComparison.Ordinal);
    }

    private static string Part(Mail mail, string type)
    {
        var part = mail.Data.Split("--=_platform_alternative").Single(one => one.Contains($"Content-Type: {type}", StringComparison.Ordinal));
        return Encoding.UTF8.GetString(Convert.FromBase64String(part[(part.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..]));
    }
}
