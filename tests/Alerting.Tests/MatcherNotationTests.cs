using Platform.Alerting.Routing;
using Platform.Alerting.Silences;
using Platform.PromQL;

namespace Platform.Alerting.Tests;

public sealed class MatcherNotationTests
{
    [Theory]
    [InlineData("a", "x")]
    [InlineData("a,b", "x,y")]
    [InlineData("a b", "x y")]
    [InlineData("a=b", "=~")]
    [InlineData("a\"b", "x\"y")]
    [InlineData("{a}", "}")]
    [InlineData("a\\", "x\\")]
    [InlineData("ü!", "")]
    [InlineData(" a ", " ")]
    public void What_is_written_is_read_back(string name, string value)
    {
        Matcher[] matchers = [new(name, MatchKind.Equal, value), new("plain", MatchKind.NotEqual, value)];

        Assert.Equal(matchers, MatcherNotation.Parse(string.Join(',', matchers.Select(MatcherNotation.Write))));
        Assert.Null(MatcherNotation.FindUnreadable(matchers));
    }

    [Fact]
    public void A_plain_name_is_written_as_ever() => Assert.Equal("severity=~\"a|b\"", MatcherNotation.Write(new Matcher("severity", MatchKind.Regex, "a|b")));

    [Theory]
    [InlineData("\"a,b\"=\"x\"", "\"a,b\"=\"x\"")]
    [InlineData("\"a b\" != x", "\"a b\"!=\"x\"")]
    public void A_quoted_name_stays_quoted(string text, string expected) => Assert.Equal(expected, MatcherNotation.Write(Assert.Single(MatcherNotation.Parse(text))));

    [Theory]
    [InlineData("\"\"=\"x\"")]
    [InlineData("\"a=\"x\"")]
    [InlineData("a b=\"x\"")]
    [InlineData("a\0=\"x\"")]
    public void What_is_no_matcher_is_refused(string text) => Assert.Throws<FormatException>(() => MatcherNotation.Parse(text));

    // Attributes cannot hold it.
    [Fact]
    public void Half_of_a_character_is_refused() => Assert.Throws<FormatException>(() => MatcherNotation.Parse("a=\"\ud83d\""));

    [Fact]
    public void A_matcher_that_cannot_be_read_back_is_found() => Assert.NotNull(MatcherNotation.FindUnreadable([new Matcher("", MatchKind.Equal, "x")]));

    [Fact]
    public void Old_matchers_of_a_route_are_read_back()
    {
        var (config, faults) = RoutingDocument.Read("{route: {receiver: x, routes: [{match: {\"a b\": c}}]}, receivers: [{name: x}]}");

        Assert.Empty(faults);
        Assert.Null(RoutingDocument.Unreadable(config!));
    }

    [Fact]
    public void A_silence_that_cannot_be_read_takes_nothing()
    {
        var now = DateTimeOffset.UnixEpoch;
        var silence = new Silence(Guid.Empty, "*", [], "o", "c", now, now.AddHours(1), now, now, "o", 1) { Unreadable = ["a,b=\"x\""] };

        Assert.False(silence.Holds("default", Labels.Of([("a", "b")]), now));
        Assert.Equal(["a,b=\"x\""], silence.Matchers);
    }

    [Theory]
    [InlineData("9999-12-31T00:00:00Z", null, "1d")]
    [InlineData(null, "9999-12-31T00:00:00Z", null)]
    public void A_silence_ends_within_the_calendar(string? starts, string? ends, string? duration)
    {
        var body = new SilenceBody(["a=\"b\""], "c", At(starts), At(ends), duration);

        Assert.Contains("ends_at", body.Check(DateTimeOffset.UnixEpoch, isPreview: false).Errors.Keys);

        static DateTimeOffset? At(string? text) => text is null ? null : DateTimeOffset.Parse(text, System.Globalization.CultureInfo.InvariantCulture);
    }
}
