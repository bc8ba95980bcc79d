using FsCheck;
using FsCheck.Fluent;
using Platform.PromQL;

namespace Platform.SampleStore.Tests;

public sealed class LabelIndexTests
{
    private static readonly Config Thorough = Config.QuickThrowOnFailure.WithMaxTest(500);

    private static readonly string[] Names = ["__name__", "job", "instance", "code", "realm"];
    private static readonly string[] Texts = ["a", "b", "ab", "api-1", "api-2", "500", "ä"];
    private static readonly string[] Patterns = ["", "a", "a|b", "a|", "a.*", ".*", ".+", "api-[12]", "api-.*|ä", "(a|b)?", "nothing", "nothing|", "b|500|ab|nothing", ".*b", "[^a]*"];

    [Fact]
    public void Any_matchers_select_what_a_look_at_every_series_would() =>
        Prop.ForAll(Questions.ToArbitrary(), question =>
        {
            var index = Index(question.Series);
            var found = new List<Known>();
            index.Select(question.Realm, question.Matchers, found);

            Assert.Equal(question.Accepted(question.Matchers), found);
        }).Check(Thorough);

    [Fact]
    public void Names_and_values_of_labels_are_those_of_the_accepted_series() =>
        Prop.ForAll((from question in Questions from other in MatcherLists from label in Gen.Elements(Names) from limit in Gen.Elements(0, 1, 3, 100) select (question, other, label, limit)).ToArbitrary(), asked =>
        {
            var (question, other, label, limit) = asked;
            var index = Index(question.Series);
            IReadOnlyList<IReadOnlyList<Matcher>>[] lists = [[], [question.Matchers], [question.Matchers, other]];
            foreach (var any in lists)
            {
                var accepted = any.Count == 0 ? question.Accepted([]) : [.. any.SelectMany(question.Accepted)];
                var names = accepted.SelectMany(series => Enumerable.Range(0, series.Labels.Count).Select(series.Labels.NameAt));
                var values = accepted.Select(series => series.Labels[label]).Where(value => value.Length > 0);

                Assert.Equal(Sorted(names, limit), index.LabelNames(question.Realm, any, limit));
                Assert.Equal(Sorted(values, limit), index.LabelValues(question.Realm, label, any, limit));
            }
        }).Check(Thorough);

    [Theory]
    [InlineData("job=", "2")]
    [InlineData("job!=", "0 1")]
    [InlineData("job=~a|", "0 2")]
    [InlineData("job!~a|", "1")]
    [InlineData("job=~.*", "0 1 2")]
    [InlineData("job=~.+", "0 1")]
    [InlineData("job!~.+", "2")]
    [InlineData("job!~.*", "")]
    [InlineData("job!=a", "1 2")]
    [InlineData("job!~a", "1 2")]
    [InlineData("absent=", "0 1 2")]
    [InlineData("absent!=", "")]
    [InlineData("absent=~.*", "0 1 2")]
    [InlineData("absent=~a|", "0 1 2")]
    [InlineData("absent!=a", "0 1 2")]
    [InlineData("absent!~a", "0 1 2")]
    [InlineData("absent=a", "")]
    [InlineData("job=a job!=a", "")]
    [InlineData("job=a job=b", "")]
    [InlineData("job=~a|b job!=a", "1")]
    [InlineData("job=~A|b", "1")]
    [InlineData("", "0 1 2")]
    public void A_label_that_is_missing_counts_as_empty(string matchers, string expected)
    {
        var index = Index([Of(0, ("job", "a")), Of(1, ("job", "b")), Of(2, ("other", "x"))]);
        var found = new List<Known>();

        index.Select(null, [.. matchers.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Parse)], found);

        Assert.Equal(expected, string.Join(' ', found.Select(series => series.Number)));
    }

    [Fact]
    public void Gone_series_are_passed_over_at_once_and_forgotten_by_pruning()
    {
        var all = Enumerable.Range(0, 4_000).Select(number => Of(number, ("job", $"job-{number}"), ("parity", number % 2 == 0 ? "even" : "odd"))).ToArray();
        var index = Index(all);
        foreach (var series in all.Where(series => series.Number % 2 == 0))
        {
            series.Gone = true;
        }

        AssertOnlyOdd();
        index.Prune();
        Assert.Equal(2_000, index.Count);
        AssertOnlyOdd();
        index.Add(Of(4_000, ("parity", "even")));
        Assert.Equal(["even", "odd"], index.LabelValues(null, "parity", [], 10));

        void AssertOnlyOdd()
        {
            var found = new List<Known>();
            index.Select(null, [new Matcher("parity", MatchKind.Regex, ".*")], found);
            Assert.Equal(all.Where(series => series.Number % 2 == 1), found);
            Assert.Equal(["odd"], index.LabelValues(null, "parity", [], 10));
            Assert.Equal("job-1", index.LabelValues(null, "job", [], 1).Single());
            Assert.Empty(index.LabelValues(null, "job", [[new Matcher("parity", MatchKind.Equal, "even")]], 10));
        }
    }

    [Fact]
    public async Task Readers_see_whole_series_and_all_that_were_added_before_them_while_a_writer_adds()
    {
        var index = new LabelIndex<Known>(series => series.Gone);
        var added = 0;
        var writer = Task.Run(
            () =>
            {
                for (var number = 0; number < 60_000; number++)
                {
                    index.Add(Of(number, ("half", number % 2 == 0 ? "even" : "odd"), ("number", $"{number}"), ("third", $"{number % 3}")));
                    Volatile.Write(ref added, number + 1);
                }
            },
            TestContext.Current.CancellationToken);

        var found = new List<Known>();
        while (!writer.IsCompleted)
        {
            var before = Volatile.Read(ref added);
            found.Clear();
            index.Select(null, [new Matcher("half", MatchKind.Equal, "odd"), new Matcher("third", MatchKind.NotRegex, "1|2"), new Matcher("number", MatchKind.Regex, ".+")], found);

            // Odd multiples of three, without a gap, at least as far as was known before.
            Assert.Equal(Enumerable.Range(0, found.Count).Select(index => 6 * index + 3), found.Select(series => series.Number));
            Assert.True(found.Count >= (before + 2) / 6, $"{found.Count} of {before}");
            if (before > 0)
            {
                found.Clear();
                index.Select(null, [new Matcher("number", MatchKind.Equal, $"{before - 1}")], found);
                Assert.Equal(before - 1, Assert.Single(found).Number);
            }
        }

        await writer;
    }

    private static Gen<IReadOnlyList<Matcher>> MatcherLists =>
        from matchers in Gen.ListOf(
            from name in Gen.Elements((string[])[.. Names, "absent"])
            from kind in Gen.Elements(MatchKind.Equal, MatchKind.NotEqual, MatchKind.Regex, MatchKind.NotRegex)
            from value in Gen.Elements(kind is MatchKind.Equal or MatchKind.NotEqual ? [.. Texts, ""] : Patterns)
            select new Matcher(name, kind, value))
        select (IReadOnlyList<Matcher>)[.. matchers.Take(4)];

    private static Gen<Question> Questions =>
        from count in Gen.OneOf(Gen.Choose(0, 60), Gen.Choose(1_000, 1_500))
        from seed in Gen.Choose(0, int.MaxValue)
        from matchers in MatcherLists
        from realm in Gen.Elements(null, "a", "b", "unknown")
        select new Question(Make(count, new Random(seed)), matchers, realm);

    private static Known[] Make(int count, Random random)
    {
        var made = new Known[count];
        for (var number = 0; number < count; number++)
        {
            var labels = Names.Where(_ => random.Next(3) > 0).Select(name => (name, name == "instance" ? $"{Texts[random.Next(Texts.Length)]}{random.Next(800)}" : Texts[random.Next(Texts.Length)]));
            made[number] = Of(number, [.. labels]);
            made[number].Gone = random.Next(10) == 0;
        }

        return made;
    }

    private static LabelIndex<Known> Index(IEnumerable<Known> all)
    {
        var index = new LabelIndex<Known>(series => series.Gone);
        foreach (var series in all)
        {
            index.Add(series);
        }

        return index;
    }

    private static string[] Sorted(IEnumerable<string> texts, int limit) => [.. texts.Distinct().Order(StringComparer.Ordinal).Take(limit)];

    private static Matcher Parse(string text)
    {
        var at = text.IndexOfAny(['=', '!']);
        var sign = text[at..] is ['=', '~', ..] or ['!', _, ..] ? text.Substring(at, 2) : "=";
        var kind = sign switch { "=" => MatchKind.Equal, "!=" => MatchKind.NotEqual, "=~" => MatchKind.Regex, _ => MatchKind.NotRegex };
        return new Matcher(text[..at], kind, text[(at + sign.Length)..]);
    }

    private static Known Of(int number, params ReadOnlySpan<(string Name, string Value)> labels) => new(number, Labels.Of(labels));

    private sealed class Known(int number, Labels labels) : StoredSeries(labels)
    {
        public int Number => number;

        public bool Gone { get; set; }

        public override string ToString() => $"{number}: {Labels}";
    }

    private sealed record Question(Known[] Series, IReadOnlyList<Matcher> Matchers, string? Realm)
    {
        public Known[] Accepted(IReadOnlyList<Matcher> matchers) =>
        [
            .. Series.Where(series => !series.Gone && (Realm is null || series.Labels["realm"] == Realm) && matchers.All(matcher => matcher.Matches(series.Labels[matcher.Name]))),
        ];

        public override string ToString() => $"{Series.Length} series, realm {Realm ?? "*"}, {string.Join(", ", Matchers.Select(matcher => $"{matcher.Name} {matcher.Kind} \"{matcher.Value}\""))}";
    }
}
