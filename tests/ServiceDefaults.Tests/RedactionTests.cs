namespace Platform.ServiceDefaults.Tests;

public sealed class RedactionTests
{
    [Theory]
    [InlineData("password=hunter2", "password=[redacted]")]
    [InlineData("user=ada password=hunter2 from=x", "user=ada password=[redacted] from=x")]
    [InlineData("Password: hunter2, next", "Password: [redacted], next")]
    [InlineData("{\"password\":\"hunter2\",\"name\":\"ada\"}", "{\"password\":\"[redacted]\",\"name\":\"ada\"}")]
    [InlineData("{\"token\": \"a\\\"b\", \"n\": 1}", "{\"token\": \"[redacted]\", \"n\": 1}")]
    [InlineData("{\\\"api_key\\\":\\\"k1\\\"}", "{\\\"api_key\\\":\\\"[redacted]\\\"}")]
    [InlineData("api_key=abc&x=1", "api_key=[redacted]&x=1")]
    [InlineData("client_secret=abc", "client_secret=[redacted]")]
    [InlineData("tags.new_password=abc", "tags.new_password=[redacted]")]
    [InlineData("Host=db;Username=app;Password=p w!;Database=x", "Host=db;Username=app;Password=[redacted] w!;Database=x")]
    [InlineData("localhost:6379,password=s3cr3t,ssl=true", "localhost:6379,password=[redacted],ssl=true")]
    [InlineData("Authorization: Bearer abc.def.ghi", "Authorization: [redacted]")]
    [InlineData("Authorization: Basic dXNlcjpwYXNz", "Authorization: [redacted]")]
    [InlineData("Cookie: sid=1; theme=dark", "Cookie: [redacted]")]
    [InlineData("Set-Cookie: sid=1; Path=/\nnext line", "Set-Cookie: [redacted]\nnext line")]
    [InlineData("sent Bearer 0123456789abcdef to it", "sent Bearer [redacted] to it")]
    [InlineData("amqp://guest:pa%20ss@localhost:5672", "amqp://guest:[redacted]@localhost:5672")]
    [InlineData("postgres://app:x@db.example.org/metrics", "postgres://app:[redacted]@db.example.org/metrics")]
    [InlineData("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl back", "got [redacted] back")]
    [InlineData("https://hooks.slack.com/services/T000/B000/abcdefghijkl", "https://[redacted]")]
    [InlineData("AccountKey=abc==;Endpoint=x", "AccountKey=[redacted];Endpoint=x")]
    [InlineData("mail ada.lovelace+x@example.co.uk now", "mail [email] now")]
    [InlineData("<ada@example.org>, bob@example.org.", "<[email]>, [email].")]
    [InlineData("email=ada@example.org", "email=[email]")]
    [InlineData("card 4111111111111111.", "card [card].")]
    [InlineData("card 4111 1111 1111 1111 exp 12", "card [card] exp 12")]
    [InlineData("card 5500-0000-0000-0004", "card [card]")]
    [InlineData("amex 3782 822463 10005", "amex [card]")]
    [InlineData("19 digits 6304000000000000000", "19 digits [card]")]
    [InlineData("n=17 4111 1111 1111 1111", "n=17 [card]")]
    public void Secrets_and_personal_data_are_taken_out(string text, string expected) => Assert.Equal(expected, Redaction.Text(text));

    [Theory]
    [InlineData("")]
    [InlineData("Listening on http://localhost:5001")]
    [InlineData("at 2026-01-02T03:04:05.678Z it took 12.5 ms")]
    [InlineData("at 1732151339123 ms, 1732151339123456789 ns")]
    [InlineData("id 0193f1a2-7b3c-7d4e-8f90-123456789012")]
    [InlineData("id 41111111-1111-1111-1111-411111111111")]
    [InlineData("sha256 4111111111111111a94a8fe5ccb19ba61c4c0873d391e987982fbbd3")]
    [InlineData("trace 4bf92f3577b34da6a3ce929d0e0e4736")]
    [InlineData("ratio 0.4111111111111111")]
    [InlineData("card 4111111111111112 fails the check digit")]
    [InlineData("order 123456789012")]
    [InlineData("order ref_4111111111111111")]
    [InlineData("10.0.0.1:5432 and ::1")]
    [InlineData("user@host without a domain")]
    [InlineData("@everyone, see docs")]
    [InlineData("basic example of a bearer of news")]
    [InlineData("monkey=banana keyboard: qwerty")]
    [InlineData("sort=key order=asc")]
    [InlineData("passed: 12, failed: 0")]
    [InlineData("compass: north")]
    [InlineData("http://metrics/api/v1?query=up{job=\"api\"}")]
    public void Other_text_stays_as_it_is(string text) => Assert.Same(text, Redaction.Text(text));

    [Theory]
    [InlineData("password", true)]
    [InlineData("Password", true)]
    [InlineData("new_password", true)]
    [InlineData("ApiKey", true)]
    [InlineData("api-key", true)]
    [InlineData("PLATFORM_MASTER_KEY", true)]
    [InlineData("access_token", true)]
    [InlineData("Set-Cookie", true)]
    [InlineData("Authorization", true)]
    [InlineData("key", true)]
    [InlineData("user", false)]
    [InlineData("group_key", false)]
    [InlineData("routing_key", false)]
    [InlineData("keyboard", false)]
    [InlineData("cancellationToken", false)]
    [InlineData("duration_ms", false)]
    public void Fields_are_known_by_their_names(string name, bool sensitive) => Assert.Equal(sensitive, Redaction.IsSensitive(name));

    [Theory]
    [InlineData("@")]
    [InlineData("a@")]
    [InlineData("4111 ")]
    [InlineData("password=")]
    [InlineData("://a:")]
    [InlineData("1-")]
    [InlineData("=")]
    [InlineData(" :")]
    [InlineData("\\\"")]
    public void Hostile_text_is_not_slow(string piece)
    {
        var text = string.Concat(Enumerable.Repeat(piece, 200_000 / piece.Length));

        var started = System.Diagnostics.Stopwatch.GetTimestamp();
        Redaction.Text(text);

        Assert.InRange(System.Diagnostics.Stopwatch.GetElapsedTime(started).TotalSeconds, 0, 2);
    }
}
