using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Platform.ServiceDefaults.Tests;

public sealed class LogLineTests
{
    [Fact]
    public void A_line_has_the_time_the_level_and_the_fields_of_its_message()
    {
        var line = Line(logger => logger.LogWarning("Sent {Count} to {Target} after {Took} of {Card}", 3, "ada@example.org", TimeSpan.FromSeconds(2), 4111111111111111L));

        Assert.Matches(@"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", line.GetProperty("time").GetString());
        Assert.Equal("warning", line.GetProperty("level").GetString());
        Assert.Equal("Sent 3 to [email] after 00:00:02 of [card]", line.GetProperty("message").GetString());
        Assert.Equal("{\"Count\":3,\"Target\":\"[email]\",\"Took\":\"00:00:02\",\"Card\":\"[card]\"}", line.GetProperty("fields").GetRawText());
        Assert.Equal("test", line.GetProperty("category").GetString());
    }

    [Fact]
    public void A_sensitive_field_is_hidden_in_the_message_too()
    {
        var line = Line(logger => logger.LogInformation("Login of {User} with {Password}", "ada", "correct horse battery"));

        Assert.Equal("Login of ada with [redacted]", line.GetProperty("message").GetString());
        Assert.Equal("[redacted]", line.GetProperty("fields").GetProperty("Password").GetString());
    }

    [Fact]
    public void An_exception_has_type_message_and_stack_without_secrets()
    {
        var line = Line(logger =>
        {
            try
            {
                throw new InvalidOperationException("Password=hunter2;Host=db");
            }
            catch (InvalidOperationException error)
            {
                logger.LogError(error, "Connecting failed");
            }
        });

        var exception = line.GetProperty("exception");
        Assert.Equal("System.InvalidOperationException", exception.GetProperty("type").GetString());
        Assert.Equal("Password=[redacted];Host=db", exception.GetProperty("message").GetString());
        Assert.Contains(nameof(An_exception_has_type_message_and_stack_without_secrets), exception.GetProperty("stack").GetString(), StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", line.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("plain")]
    [InlineData("a\nb\r\n\u2028\"\\\0")]
    [InlineData("\ud83d")]
    [InlineData("😀")]
    public void A_line_is_one_line_and_at_most_32_KiB_whatever_is_logged(string piece)
    {
        var text = string.Concat(Enumerable.Repeat(piece, 40_000));
        var fields = string.Join(' ', Enumerable.Range(0, 40).Select(n => $"{{F{n}}}"));

#pragma warning disable CA2254 // The template is made here to have many fields.
        var raw = Raw(logger => logger.LogError(new InvalidOperationException(text), $"{fields}", [.. Enumerable.Repeat((object)text, 40)]));
#pragma warning restore CA2254

        Assert.InRange(Encoding.UTF8.GetByteCount(raw), 100, JsonLogFormatter.MaxLine);
        Assert.Equal(raw.Length - 1, raw.IndexOf('\n', StringComparison.Ordinal));
        Assert.Equal("error", JsonDocument.Parse(raw).RootElement.GetProperty("level").GetString());
    }

    private static string Raw(Action<ILogger> log)
    {
        using var lines = new LogLines();
        log(lines.CreateLogger("test"));
        return Assert.Single(lines.Lines);
    }

    private static JsonElement Line(Action<ILogger> log) => JsonDocument.Parse(Raw(log)).RootElement;
}
