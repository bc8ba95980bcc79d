using Platform.Alerting.Routing;
using Platform.Alerting.RuleGroups;

namespace Platform.Alerting.Tests;

public sealed class YamlTextTests
{
    [Theory]
    [InlineData("route: &r {receiver: x, routes: [*r]}", "line 1: this YAML (or JSON) is not taken: anchors (&name) and aliases (*name) are not taken; write out what they stand for.")]
    [InlineData("route: {receiver: x}\nreceivers: [{name: \"a\\0b\"}]", "line 2: this YAML (or JSON) is not taken: this text holds U+0000 or half of a character, which cannot be stored; leave it out.")]
    public void Routing_says_what_it_does_not_take(string text, string expected) => Assert.Equal(expected, Assert.Single(RoutingDocument.Read(text).Faults));

    [Fact]
    public void Brackets_without_end_are_refused_and_not_walked()
    {
        var deep = new string('[', 100_000);

        Assert.Contains("nested more than 50 deep", Assert.Single(RoutingDocument.Read(deep).Faults), StringComparison.Ordinal);
        Assert.Contains("nested more than 50 deep", Assert.Single(Rules(deep)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void More_than_can_be_meant_is_refused_before_it_is_made()
    {
        var wide = "groups: [" + string.Concat(Enumerable.Repeat("a,", YamlText.MostNodes)) + "a]";

        Assert.Contains("more than 200000 keys and values", Assert.Single(Rules(wide)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Aliases_that_multiply_are_refused() =>
        Assert.Contains("write out what they stand for", Assert.Single(Rules("groups:\n- &g {name: a}\n- *g\n")).Message, StringComparison.Ordinal);

    private static List<RuleFault> Rules(string text)
    {
        var faults = new List<RuleFault>();
        RuleFile.Parse(text, faults);
        return faults;
    }
}
