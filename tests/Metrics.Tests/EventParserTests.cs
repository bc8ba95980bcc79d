using System.Text;
using System.Text.Json;
using Platform.Metrics.Events;
using Platform.Testing;

namespace Platform.Metrics.Tests;

public sealed class EventParserTests
{
    private static readonly DateTimeOffset Now = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly EventParser Parser = new(new EventOptions());

    [Theory]
    [InlineData("""{"event_type":"log","source":"a"}""", 1)]
    [InlineData("""[{"event_type":"log","source":"a"},{"event_type":"trace","source":"b"}]""", 2)]
    [InlineData("{\"event_type\":\"log\",\"source\":\"a\"}\n{\"event_type\":\"alert\",\"source\":\"b\"}\n\n", 2)]
    [InlineData("""  {"event_type":"metric","source":"a","message":null,"level":null,"tags":null,"payload":null,"timestamp":null}  """, 1)]
    public void One_event_an_array_and_NDJSON_are_all_taken(string body, int count)
    {
        var (events, faults) = Parse(body);

        Assert.Empty(faults);
        Assert.Equal(count, events!.Count);
    }

    [Theory]
    [InlineData("""{"event_type":"logg","source":"a"}""", "[0].event_type", "'logg' is no event type; it is one of log, metric, trace, alert.")]
    [InlineData("""{"event_type":7,"source":"a"}""", "[0].event_type", "Must be a string")]
    [InlineData("""{"source":"a"}""", "[0].event_type", "Is missing")]
    [InlineData("""{"event_type":"log"}""", "[0].source", "Is missing")]
    [InlineData("""{"event_type":"log","source":"  "}""", "[0].source", "Is missing")]
    [InlineData("""[{"event_type":"log","source":"a"},{"event_type":"log","source":"a","timestamp":"yesterday"}]""", "[1].timestamp", "ISO 8601")]
    [InlineData("""{"event_type":"log","source":"a","timestamp":"2026-03-01T12:00:00"}""", "[0].timestamp", "with an offset")]
    [InlineData("""{"event_type":"log","source":"a","timestamp":"2026-03-01T12:05:01Z"}""", "[0].timestamp", "in the future")]
    [InlineData("""{"event_type":"log","source":"a","timestamp":"2026-01-01T12:00:00Z"}""", "[0].timestamp", "older than 30 days")]
    [InlineData("""{"event_type":"log","source":"a","tags":[]}""", "[0].tags", "Must be an object")]
    [InlineData("""{"event_type":"log","source":"a","tags":{"x":{"y":1}}}""", "[0].tags.x", "put an object into payload")]
    [InlineData("""{"event_type":"log","source":"a","payload":"text"}""", "[0].payload", "Must be an object")]
    [InlineData("""{"event_type":"log","source":"a","tag":{}}""", "[0].tag", "Unknown field")]
    [InlineData("""{"event_type":"log","source":"a","message":"a\u0000b"}""", "[0].message", "cannot be stored")]
    [InlineData("""{"event_type":"log","source":"a","payload":{"k":["\ud800"]}}""", "[0].payload", "cannot be stored")]
    [InlineData("""{"event_type":"log","source":"a","tags":{"k\u0000":1}}""", "[0].tags", "cannot be stored")]
    [InlineData("""{"event_type":"log","source":"a","payload":{"n":1e999}}""", "[0].payload", "too long or too large")]
    [InlineData("""{"event_type":"log","source":"a","\ud800":1}""", "", "half a surrogate pair")]
    [InlineData("""["log"]""", "[0]", "An event is a JSON object; this is a string.")]
    [InlineData("", "", "holds no event")]
    [InlineData("[]", "", "holds no event")]
    public void A_fault_names_index_and_field(string body, string path, string message)
    {
        var (events, faults) = Parse(body);

        Assert.Null(events);
        Assert.Contains(faults, fault => fault.Path == path && fault.Message.Contains(message, StringComparison.Ordinal));
    }

    [Fact]
    public void Broken_JSON_is_located_by_line()
    {
        var (events, faults) = Parse("{\"event_type\":\"log\",\"source\":\"a\"}\n{\"event_type\": oops}");

        Assert.Null(events);
        Assert.Contains("line 2", Assert.Single(faults).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void All_faults_of_a_request_are_reported_at_once()
    {
        var (_, faults) = Parse("""[{"event_type":"x","source":""},{"event_type":"log","source":"a"},{"event_type":"log","source":"a","timestamp":1}]""");

        Assert.Equal(["[0].event_type", "[0].source", "[2].timestamp"], faults.Select(fault => fault.Path));
    }

    [Fact]
    public void An_event_over_the_limit_is_a_fault_of_size()
    {
        var (_, faults) = Parse($$$"""{"event_type":"log","source":"a","payload":{"x":"{{{new string('y', 64 * 1024)}}}"}}""");

        Assert.True(Assert.Single(faults).TooLarge);
    }

    [Fact]
    public void Reading_stops_at_the_most_events_a_request_may_hold()
    {
        var parser = new EventParser(new EventOptions { MaxPerRequest = 2 });

        var (_, faults) = parser.Parse("""[{"event_type":"log","source":"a"},{"event_type":"log","source":"a"},{"event_type":"log","source":"a"},{"event_type":"nope"}]"""u8, "default", Now);

        Assert.Equal(("[2]", true), (Assert.Single(faults).Path, faults[0].TooLarge));
    }

    [Fact]
    public void Bytes_that_are_not_UTF8_are_refused()
    {
        var (events, faults) = Parser.Parse([.. "{\"event_type\":\"log\",\"source\":\""u8, 0xc3, 0x28, .. "\"}"u8], "default", Now);

        Assert.Null(events);
        Assert.Contains("UTF-8", Assert.Single(faults).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_message_for_other_services_carries_what_rules_match_on()
    {
        var (events, _) = Parse(
            """[{"event_type":"log","source":"auth \"api\"","level":"warning","timestamp":"2026-03-01T13:00:00.5+01:00","tags":{"action":"login","outcome":"failure","n":5}},{"event_type":"log","source":"b"}]""");

        var messages = JsonElement.Parse($"[{Encoding.UTF8.GetString(events!.Messages.WrittenSpan)}]");
        var first = messages[0];
        Assert.Equal(events.IdAt(0), first.GetProperty("id").GetGuid());
        Assert.Equal("default", first.GetProperty("realm").GetString());
        Assert.Equal("auth \"api\"", first.GetProperty("source").GetString());
        Assert.Equal(Now.AddSeconds(0.5), first.GetProperty("timestamp").GetDateTimeOffset());
        Assert.Equal(5, first.GetProperty("tags").GetProperty("n").GetInt32());
        Assert.Equal(events.IdAt(1), messages[1].GetProperty("id").GetGuid());
        Assert.Equal(Now, messages[1].GetProperty("timestamp").GetDateTimeOffset());
        Assert.Equal(1, events.Counts[new CountKey(Now.ToUnixTimeSeconds() / 60, "log", "login", "failure")]);
    }

    [Fact]
    public void Words_outside_the_vocabulary_count_together()
    {
        var (events, _) = Parse("""[{"event_type":"log","source":"a","tags":{"action":"x1"}},{"event_type":"log","source":"a","tags":{"action":"x2"}}]""");

        Assert.Equal(2, Assert.Single(events!.Counts).Value);
    }

    [Fact]
    public void The_vocabulary_is_the_one_of_the_documentation()
    {
        var text = File.ReadAllText(Path.Combine(RepositoryFolder.Path, "docs", "events.md"));
        var table = text[text.IndexOf("| action |", StringComparison.Ordinal)..text.IndexOf("New actions are added here first", StringComparison.Ordinal)];
        var documented = table.Split('\n').Skip(2).Where(line => line.StartsWith("| `", StringComparison.Ordinal))
            .SelectMany(line => line.Split('|')[1].Split(',')).Select(word => word.Trim(' ', '`'));
        Assert.Equal(documented.Order(), Vocabulary.Actions.Order());
    }

    private static (ParsedEvents? Events, IReadOnlyList<EventFault> Faults) Parse(string body) => Parser.Parse(Encoding.UTF8.GetBytes(body), "default", Now);
}
