namespace Platform.PromQL.Tests;

public sealed class SelectorsTests
{
    private static readonly TimeSpan LookBack = TimeSpan.FromMinutes(5);
    private static readonly Matcher Realm = new("realm", MatchKind.Equal, "acme");

    [Theory]
    [InlineData("up", "up", -300, 0)]
    [InlineData("up offset 1m", "up offset 1m", -360, -60)]
    [InlineData("up offset -1m", "up offset -1m", -240, 60)]
    [InlineData("rate(up[10m])", "up", -600, 0)]
    [InlineData("rate(up[10m] offset 1m)", "up offset 1m", -660, -60)]
    [InlineData("max_over_time(rate(up[1m])[10m:1m])", "up", -660, 0)]
    [InlineData("max_over_time(rate(up[1m] offset 2m)[10m:1m] offset 1h)", "up offset 2m", -4380, -3720)]
    [InlineData("max_over_time(max_over_time(up[1m:])[10m:])", "up", -960, 0)]
    [InlineData("-(sum by (a) (abs(up)))", "up", -300, 0)]
    public void A_selector_reaches_as_far_as_ranges_offsets_and_subqueries_say(string text, string selector, int earliest, int latest)
    {
        var reach = Assert.Single(Selectors.Of(Parser.Parse(text), LookBack));

        Assert.Equal(selector, Printer.Print(reach.Selector));
        Assert.Null(reach.Anchor);
        Assert.Equal((earliest, latest), (reach.Earliest.TotalSeconds, reach.Latest.TotalSeconds));
    }

    [Fact]
    public void An_anchor_makes_the_times_around_it_irrelevant()
    {
        var inner = Assert.Single(Selectors.Of(Parser.Parse("max_over_time(rate(up[1m] @ 100)[10m:1m])"), LookBack));
        var outer = Assert.Single(Selectors.Of(Parser.Parse("max_over_time(rate(up[1m])[10m:1m] @ end() offset 1m)"), LookBack));

        Assert.Equal(new AtTime(AtAnchor.Fixed, 100_000), inner.Anchor);
        Assert.Equal((-60d, 0d), (inner.Earliest.TotalSeconds, inner.Latest.TotalSeconds));
        Assert.Equal(new AtTime(AtAnchor.End), outer.Anchor);
        Assert.Equal((-720d, -60d), (outer.Earliest.TotalSeconds, outer.Latest.TotalSeconds));
    }

    [Fact]
    public void All_selectors_are_found_in_the_order_of_the_text()
    {
        var found = Selectors.Of(Parser.Parse("topk(scalar(a), b) + on(x) c{d=\"e\"} unless quantile_over_time(scalar(f), g[1m]) or label_replace(h, \"i\", \"j\", \"k\", \"l\")"), LookBack);

        Assert.Equal(["a", "b", "c{d=\"e\"}", "f", "g", "h"], found.Select(reach => Printer.Print(reach.Selector)));
    }

    [Theory]
    [InlineData("up", "up{realm=\"acme\"}")]
    [InlineData("up{}", "up{realm=\"acme\"}")]
    [InlineData("up{realm=\"other\"}", "up{realm=\"acme\",realm=\"other\"}")]
    [InlineData("{realm=~\".+\"}", "{realm=\"acme\",realm=~\".+\"}")]
    [InlineData("{\"realm\"=\"other\"}", "{realm=\"acme\",realm=\"other\"}")]
    [InlineData("{\"realm\"}", "{__name__=\"realm\",realm=\"acme\"}")]
    [InlineData("{__name__=\"up\",realm!=\"acme\"}", "{__name__=\"up\",realm!=\"acme\",realm=\"acme\"}")]
    [InlineData("rate(up[5m] offset 1m)", "rate(up{realm=\"acme\"}[5m] offset 1m)")]
    [InlineData("max_over_time(up[5m:1m] @ end())", "max_over_time(up{realm=\"acme\"}[5m:1m] @ end())")]
    [InlineData("topk(scalar(a), b)", "topk(scalar(a{realm=\"acme\"}), b{realm=\"acme\"})")]
    [InlineData("a{b=\"\\\"} or c{d=\\\"\"}", "a{b=\"\\\"} or c{d=\\\"\",realm=\"acme\"}")]
    [InlineData("a{b='} or c{'}", "a{b=\"} or c{\",realm=\"acme\"}")]
    [InlineData("a # } or b\n or c", "a{realm=\"acme\"} or c{realm=\"acme\"}")]
    [InlineData("sum without (realm) (a)", "sum without (realm) (a{realm=\"acme\"})")]
    [InlineData("label_replace(a, \"realm\", \"other\", \"\", \"\")", "label_replace(a{realm=\"acme\"}, \"realm\", \"other\", \"\", \"\")")]
    [InlineData("a == on () group_left (realm) b", "a{realm=\"acme\"} == on () group_left (realm) b{realm=\"acme\"}")]
    [InlineData("absent(a) or absent_over_time({realm=\"b\"}[1m])", "absent(a{realm=\"acme\"}) or absent_over_time({realm=\"acme\",realm=\"b\"}[1m])")]
    [InlineData("1 + 2", "1 + 2")]
    public void A_matcher_more_cannot_be_escaped(string text, string expected)
    {
        Assert.Equal(expected, Printer.Print(Selectors.WithMatcher(Parser.Parse(text), Realm)));
    }

    [Fact]
    public void Every_selector_of_real_expressions_has_it_after_printing_and_parsing_again()
    {
        var file = SharedFolder.Find("data/wild-promql.txt");
        Assert.SkipWhen(file is null, "wild-promql.txt is not here.");

        foreach (var line in File.ReadLines(file!).Where(line => line.Length > 0))
        {
            var original = Selectors.Of(Parser.Parse(line), LookBack);
            var narrowed = Selectors.Of(Parser.Parse(Printer.Print(Selectors.WithMatcher(Parser.Parse(line), Realm))), LookBack);

            Assert.Equal(original.Count, narrowed.Count);
            Assert.All(narrowed, reach => Assert.Contains(Realm, reach.Selector.Matchers));
            // Nothing else has changed.
            Assert.Equal(
                original.Select(reach => reach with { Selector = reach.Selector with { At = default } }),
                narrowed.Select(reach => reach with { Selector = reach.Selector with { At = default, Matchers = [.. reach.Selector.Matchers.Where(matcher => matcher != Realm)] } }));
        }
    }
}
