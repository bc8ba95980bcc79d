using System.Net;
using System.Text;
using System.Text.Json;

namespace Platform.Instrumentation.Tests;

public sealed class AnswerTests
{
    [Theory]
    [InlineData(201, nameof(Verdict.Accepted))]
    [InlineData(202, nameof(Verdict.Accepted))]
    [InlineData(200, nameof(Verdict.Misdirected))]
    [InlineData(302, nameof(Verdict.Misdirected))]
    [InlineData(400, nameof(Verdict.Refused))]
    [InlineData(401, nameof(Verdict.Misdirected))]
    [InlineData(403, nameof(Verdict.Misdirected))]
    [InlineData(404, nameof(Verdict.Misdirected))]
    [InlineData(408, nameof(Verdict.TryAgain))]
    [InlineData(409, nameof(Verdict.TryAgain))]
    [InlineData(413, nameof(Verdict.TooLarge))]
    [InlineData(415, nameof(Verdict.Refused))]
    [InlineData(422, nameof(Verdict.Refused))]
    [InlineData(429, nameof(Verdict.TryAgain))]
    [InlineData(500, nameof(Verdict.TryAgain))]
    [InlineData(503, nameof(Verdict.TryAgain))]
    public void The_status_decides(int status, string verdict) => Assert.Equal(verdict, Answer.Judge((HttpStatusCode)status).ToString());

    [Theory]
    [InlineData(1, 1.0, 0, 0.2)]
    [InlineData(1, 0.0, 0, 0.1)]
    [InlineData(3, 1.0, 0, 0.8)]
    [InlineData(8, 1.0, 0, 25.6)]
    [InlineData(9, 1.0, 0, 30)]
    [InlineData(1_000_000, 1.0, 0, 30)]
    [InlineData(1, 1.0, 7, 7)]
    [InlineData(1, 1.0, 86_400, 600)]
    [InlineData(9, 1.0, 7, 30)]
    public void Pauses_double_up_to_a_limit_with_jitter_and_never_undercut_Retry_After(int attempt, double jitter, int retryAfter, double seconds) =>
        Assert.Equal(seconds, Answer.Pause(attempt, jitter, retryAfter == 0 ? null : TimeSpan.FromSeconds(retryAfter), TimeSpan.FromSeconds(30)).TotalSeconds, 3);

    [Theory]
    [InlineData("""{"index": 2}""", "2")]
    [InlineData("""{"errors": {"[1].level": ["x"], "[1].source": ["x"], "[4]": ["x"]}}""", "1,4")]
    [InlineData("""{"errors": {"events[3].tags": ["x"]}}""", "3")]
    [InlineData("""{"errors": {"$[0].timestamp": ["x"]}}""", "0")]
    [InlineData("""{"errors": {"4.level": ["x"]}}""", "4")]
    [InlineData("""{"errors": {"level": ["x"], "tags[x]": ["y"]}}""", "")]
    [InlineData("""{"errors": {"[5].level": ["beyond the batch"]}}""", "")]
    [InlineData("""{"index": "two", "errors": []}""", "")]
    [InlineData("[1]", "")]
    [InlineData("<html>", "")]
    [InlineData("", "")]
    public void A_problem_names_the_events_it_is_about(string problem, string indexes) =>
        Assert.Equal(indexes, string.Join(',', Answer.Culprits(problem, count: 5).Order()));

    [Fact]
    public void Secrets_are_redacted_at_any_depth_and_numbers_stay_numbers()
    {
        var happened = new MonitoringEvent(
            EventTypes.Log, "shop", "Message", Levels.Info, DateTimeOffset.UnixEpoch,
            new Dictionary<string, object?> { ["user_password"] = "hunter2", ["accessToken"] = "hunter2", ["attempt"] = 3, ["risk_score"] = 0.5, ["new_device"] = true, ["country"] = null, ["odd"] = double.NaN },
            new Dictionary<string, object?> { ["request"] = new { headers = new[] { new { Authorization = "hunter2", accept = "text/html" } } }, ["api-key"] = "hunter2" });

        var text = Encoding.UTF8.GetString(happened.ToJson());

        Assert.DoesNotContain("hunter2", text, StringComparison.Ordinal);
        var json = JsonDocument.Parse(text).RootElement;
        Assert.Equal("1970-01-01T00:00:00Z", json.Text("timestamp"));
        var tags = json.GetProperty("tags");
        Assert.Equal((JsonValueKind.Number, JsonValueKind.Number, JsonValueKind.True, JsonValueKind.String), (tags.GetProperty("attempt").ValueKind, tags.GetProperty("risk_score").ValueKind, tags.GetProperty("new_device").ValueKind, tags.GetProperty("odd").ValueKind));
        Assert.False(tags.TryGetProperty("country", out _));
        Assert.Equal("text/html", json.GetProperty("payload").GetProperty("request").GetProperty("headers")[0].Text("accept"));
    }

    [Theory]
    [InlineData("an\0na", "an\uFFFDna")]
    [InlineData("an<half>na", "an\uFFFDna")]
    [InlineData("anna<half>", "anna\uFFFD")]
    [InlineData("an\ud83d\ude00na", "an\ud83d\ude00na")]
    [InlineData("\"a\r\nb\"", "\"a\r\nb\"")]
    public void No_name_makes_an_event_that_cannot_be_stored(string name, string stored)
    {
        // An attribute cannot hold half a surrogate pair either.
        name = name.Replace("<half>", "\ud800", StringComparison.Ordinal);
        var fields = new Dictionary<string, object?> { ["user_id"] = name, [name] = "x", ["nested"] = null };
        var happened = new MonitoringEvent(EventTypes.Log, "shop", name, Levels.Info, DateTimeOffset.UnixEpoch, fields, new Dictionary<string, object?> { ["nested"] = new Dictionary<string, string> { [name] = name } });

        var bytes = happened.ToJson();

        Assert.DoesNotContain((byte)'\n', bytes);
        var json = JsonDocument.Parse(bytes).RootElement;
        Assert.Equal((stored, stored, "x"), (json.Text("message"), json.Tag("user_id"), json.Tag(stored)));
        Assert.Equal(stored, json.GetProperty("payload").GetProperty("nested").Text(stored));
    }

    [Fact]
    public void A_payload_that_cannot_be_written_costs_neither_the_event_nor_the_request()
    {
        var endless = new Dictionary<string, object?>();
        endless["self"] = endless;
        var happened = new MonitoringEvent(EventTypes.Log, "shop", "Message", Levels.Info, DateTimeOffset.UnixEpoch, new Dictionary<string, object?>(), new Dictionary<string, object?> { ["endless"] = endless, ["size"] = 3 });

        var payload = JsonDocument.Parse(happened.ToJson()).RootElement.GetProperty("payload");

        Assert.Equal(("[not written: JsonException]", "3"), (payload.Text("endless"), payload.Text("size")));
    }

    [Fact]
    public void Every_word_of_the_vocabulary_is_in_the_document()
    {
        var document = File.ReadAllText(Path.Combine(RepositoryRoot(), "docs", "events.md"));

        var words = new[] { typeof(Actions), typeof(Tags), typeof(Levels), typeof(EventTypes) }.SelectMany(type => type.GetFields()).Select(field => (string)field.GetRawConstantValue()!);

        Assert.All(words, word => Assert.Contains($"`{word}`", document, StringComparison.Ordinal));
    }

    private static string RepositoryRoot()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Platform.sln")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("The tests run outside of the repository.");
        }

        return folder;
    }
}
