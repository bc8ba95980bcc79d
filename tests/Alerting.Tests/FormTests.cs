using Platform.Alerting.Rules;
using Platform.Alerting.Silences;

namespace Platform.Alerting.Tests;

/// <summary>What people may write, and what it means.</summary>
public sealed class FormTests
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 6, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData("saturday:sunday", "saturday,sunday")]
    [InlineData("friday:monday", "friday,saturday,sunday,monday")]
    [InlineData("monday:friday", "monday,tuesday,wednesday,thursday,friday")]
    [InlineData("sunday", "sunday")]
    public void Ranges_of_weekdays_may_go_over_the_end_of_the_week(string text, string days)
    {
        var times = WeeklyTimes.Parse(text);

        var held = Enumerable.Range(0, 7).Select(day => Noon.AddDays(day)).Where(times.Contains).Select(day => $"{day.DayOfWeek}".ToLowerInvariant());
        Assert.Equal(days.Split(',').Order(StringComparer.Ordinal), held.Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("saturday:sonntag")]
    [InlineData("saturday:sunday:monday")]
    public void Wrong_weekdays_are_named(string text) => Assert.Contains(text.Contains("sonntag", StringComparison.Ordinal) ? "sonntag" : text, Assert.Throws<FormatException>(() => WeeklyTimes.Parse(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void A_silence_that_has_begun_is_prolonged_from_now_and_one_that_has_not_from_its_start()
    {
        var body = new SilenceBody(["host=\"a\""], "works", Duration: "2h");

        Assert.Equal((Noon.AddDays(-1), Noon.AddHours(2)), Times(body.Check(Noon, isPreview: false, Noon.AddDays(-1))));
        Assert.Equal((Noon.AddDays(1), Noon.AddDays(1).AddHours(2)), Times(body.Check(Noon, isPreview: false, Noon.AddDays(1))));
        Assert.Equal((Noon, Noon.AddHours(2)), Times(body.Check(Noon, isPreview: false)));

        static (DateTimeOffset, DateTimeOffset) Times((IReadOnlyList<Platform.PromQL.Matcher> Matching, DateTimeOffset Start, DateTimeOffset End, Dictionary<string, string[]> Errors) checkedBody)
        {
            Assert.Empty(checkedBody.Errors);
            return (checkedBody.Start, checkedBody.End);
        }
    }
}
