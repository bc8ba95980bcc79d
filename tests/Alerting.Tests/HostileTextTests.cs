using System.Text;
using System.Text.Json;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Doors;
using Platform.Alerting.Notifications;
using Platform.Alerting.Routing;
using Platform.Alerting.RuleGroups;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Tests;

/// <summary>Text that others choose, at the places where it is cut, stored and told: one text that cannot be stored must not stop anybody else's.</summary>
public sealed class HostileTextTests
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);

    // What Npgsql does with texts: it throws for half of a character.
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    [Fact]
    public void A_tag_that_is_cut_in_an_emoji_is_a_whole_text()
    {
        var stored = new StoredEvent(JsonSerializer.SerializeToElement(new { tags = new { user_id = new string('a', 199) + "😀x" } }));

        var value = EventField.Parse("tags.user_id")!.Value.ReadForGroup(stored);

        Assert.Equal(199 + 1 + 16, value.Length);
        Assert.Equal(value, Strict.GetString(Strict.GetBytes(value)));
        Assert.True(EventField.IsCut(value));
    }

    [Fact]
    public void A_group_key_that_is_cut_in_an_emoji_is_a_whole_text()
    {
        var route = Routing.Routing.Match(RoutingDocument.Read("{route: {receiver: x, group_by: [...]}, receivers: [{name: x}]}").Config!.Route, Labels.Of(("a", "b")))[0];

        // Wherever the cut falls: one of two neighbours has it inside of a pair.
        Assert.All(Enumerable.Range(0, 2), shift => Strict.GetBytes(route.GroupKey("default", Labels.Of(("a", new string('x', shift) + string.Concat(Enumerable.Repeat("😀", 400)))))));
    }

    [Fact]
    public void A_receivers_answer_that_is_cut_in_an_emoji_is_a_whole_text()
    {
        Strict.GetBytes(OutboundPost.Clean(new string('a', 499) + "😀"));
        Assert.Equal("a\uFFFD", OutboundPost.Clean("a\0"));
    }

    [Fact]
    public void An_alert_is_made_of_texts_that_can_be_stored()
    {
        var bad = new Dictionary<string, string> { ["alertname"] = "A", ["x"] = "a\0\ud83d" };

        var alert = Alert.Fire("default", "key\ud83d", null, "A\0", Severity.High, AlertSource.Api, bad, bad, bad, bad, null, null, Noon, Noon, new AlertReason(null, null, Seen: "\udc00"), "u\0");

        Assert.All(
            [alert.GroupKey, alert.Name, alert.Why.Seen!, alert.GeneratorUrl, alert.Labels["x"], alert.GroupLabels["x"], alert.Annotations["x"], alert.EventTags["x"]],
            text => Assert.Equal(StorableText.Clean(text), text));
        Assert.Equal("a\uFFFD\uFFFD", alert.Labels["x"]);
        Assert.Equal(Fingerprint.Of(alert.Labels), alert.Fingerprint);
    }

    [Theory]
    [InlineData("""{"labels":{"alertname":"A","x":"\ud800"}}""")]
    [InlineData("""{"labels":{"alertname":"A","\ud800":"x"}}""")]
    [InlineData("""{"labels":{"alertname":"A"},"annotations":{"x":"\udc00"}}""")]
    [InlineData("""{"labels":{"alertname":"A"},"generatorURL":"\ud800"}""")]
    public void Half_of_a_character_is_a_fault_of_the_alert_that_has_it(string json)
    {
        var (alert, fault) = PushedAlert.Read(JsonElement.Parse(json), "[0]", null, 65_536, Noon);

        Assert.Null(alert);
        Assert.StartsWith("[0]", fault, StringComparison.Ordinal);
        Assert.False(PushedBody.IsWhole(JsonElement.Parse(json)));
    }

    [Fact]
    public void Whole_characters_are_taken() => Assert.True(PushedBody.IsWhole(JsonElement.Parse("""{"a":["\ud83d\ude00",{"b":null,"c":1}]}""")));

    [Theory]
    [InlineData("!channel", "")]
    [InlineData("javascript:alert(1)", "")]
    [InlineData("/graph?g0.expr=up", "")]
    [InlineData("http://p/a|b", "")]
    [InlineData("http://p/>", "")]
    [InlineData("", "")]
    [InlineData("http://prometheus:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1", "http://prometheus:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1")]
    public void Only_addresses_of_the_web_are_links(string generator, string expected)
    {
        var alert = new ToldAlert(Guid.NewGuid(), "f", "A", Severity.High, NotificationStatus.Firing, new Dictionary<string, string>(), new Dictionary<string, string>(), Noon, null, null, null, generator);

        Assert.Equal(expected, Wording.Link(alert, ""));
        Assert.Equal("", Wording.Link(alert with { GeneratorUrl = "http://p/" + new string('x', 1_000) }, ""));
        Assert.Equal($"https://platform.example/api/v1/monitoring/alerts/{alert.Id}", Wording.Link(alert, "https://platform.example/"));
    }

    [Theory]
    [InlineData("x < Inf", null)]
    [InlineData("x > -Inf", null)]
    [InlineData("x != NaN", null)]
    [InlineData("x > -5", -5.0)]
    public void A_threshold_is_a_number_that_can_be_shown(string expr, double? expected) => Assert.Equal(expected, Thresholds.Of(Parser.Parse(expr)));

    [Theory]
    [InlineData("0001-01-01T00:00:00Z", false)]
    [InlineData("9999-12-31T00:00:00Z", false)]
    [InlineData("2026-03-01T09:15:00Z", true)]
    public void Times_lie_within_the_calendar(string text, bool isTaken) => Assert.Equal(isTaken, QueryTime.Parse(text) is not null);
}
