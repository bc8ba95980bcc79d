namespace Platform.PromQL.Tests;

public sealed class MatcherTests
{
    [Theory]
    // Literals and lists of them.
    [InlineData("up", "up", "down", "upp", "")]
    [InlineData("a|b|c", "a b c", "d", "ab", "")]
    [InlineData("foo(a|b)", "fooa foob", "foo", "fooab")]
    [InlineData("(a|b)(x|y)z?", "ax axz by byz", "a", "axy")]
    [InlineData("[ab]c", "ac bc", "cc", "abc")]
    [InlineData("^a$|^b$", "a b", "ab", "c")]
    [InlineData("a{2}", "aa", "a", "aaa")]
    [InlineData(@"a\.b\-c\_d", "a.b-c_d", "axb-c_d")]
    [InlineData(@"\Qa.*\E", "a.*", "ab")]
    [InlineData("(?i)ab", "ab AB aB Ab", "b")]
    // Gaps.
    [InlineData("foo.*", "foo foobar", "fo", "xfoo")]
    [InlineData("foo.+", "foobar foox", "foo", "xfoo")]
    [InlineData(".*foo", "foo xfoo foofoo", "foox", "")]
    [InlineData(".*foo.*", "foo xfoox", "fo", "")]
    [InlineData(".+foo.+", "xfoox", "foo", "foox", "xfoo")]
    [InlineData("a.*b.*c", "abc axbxc abbcc", "ab", "acb", "ac")]
    [InlineData("ab.*ba", "abba abxba", "aba", "ab")]
    [InlineData("(a|b).*c", "ac bxc", "cc", "c")]
    [InlineData(".+.+", "ab abc", "a", "")]
    [InlineData(".*.+", "a ab", "")]
    // What needs the engine.
    [InlineData("[a-z]+", "abc z", "Abc", "", "a1")]
    [InlineData("5..", "500 599", "50", "5000", "400")]
    [InlineData("[^/]+", "abc", "a/b", "")]
    [InlineData("(?P<n>a+)b", "ab aab", "b")]
    [InlineData("(?i)[^a]", "b B", "a", "A")]
    [InlineData("(?i:a)b", "ab Ab", "aB")]
    [InlineData("(?s-i:a)|(?i)b", "a b B", "A")]
    [InlineData(@"\d+\.\d*", "1. 12.34", "x", "1")]
    [InlineData(@"[[:alpha:]]+", "abZ", "a1", "")]
    [InlineData(@"[[:^digit:]x]+", "abx", "a1")]
    [InlineData(@"[]a]+", "a ] a]", "b")]
    [InlineData(@"[a-]+", "a- -", "b")]
    [InlineData(@"[\d\-]+", "1-2", "a")]
    [InlineData(@"\pL+", "aéж", "1")]
    [InlineData(@"\p{Lu}\P{Lu}", "Ab", "ab", "AB")]
    [InlineData(@"\x41\x{42}\103", "ABC", "abc")]
    [InlineData("a{,2}", "a{,2}", "aa")]
    [InlineData("a{1,2}", "a aa", "aaa", "")]
    [InlineData("a{2,}", "aa aaa", "a")]
    [InlineData(@"a\b-b", "a-b", "ab")]
    [InlineData(@"\Aab\z", "ab", "abc")]
    [InlineData("(?U)a+", "a aa", "b")]
    [InlineData("a+?b??", "a aab", "b")]
    public void A_pattern_matches_whole_texts(string pattern, string accepted, params string[] refused)
    {
        var matcher = new Matcher("l", MatchKind.Regex, pattern);
        var not = new Matcher("l", MatchKind.NotRegex, pattern);

        foreach (var value in accepted.Split(' '))
        {
            Assert.True(matcher.Matches(value), $"{pattern} refuses '{value}'");
            Assert.False(not.Matches(value));
            Assert.StartsWith(matcher.Prefix, value, StringComparison.Ordinal);
            Assert.True(matcher.SetMatches?.Contains(value) ?? true, $"'{value}' is not in the list");
        }

        foreach (var value in refused)
        {
            Assert.False(matcher.Matches(value), $"{pattern} accepts '{value}'");
            Assert.True(not.Matches(value));
        }

        Assert.All(matcher.SetMatches ?? [], value => Assert.True(matcher.Matches(value)));
    }

    [Fact]
    public void A_dot_is_any_character_also_a_line_feed_or_one_of_two_units()
    {
        Assert.True(new Matcher("l", MatchKind.Regex, "a.b").Matches("a\nb"));
        Assert.True(new Matcher("l", MatchKind.Regex, "a.b").Matches("a😀b"));
        Assert.False(new Matcher("l", MatchKind.Regex, "a..b").Matches("a😀b"));
        Assert.True(new Matcher("l", MatchKind.Regex, "[^a]").Matches("😀"));
        Assert.False(new Matcher("l", MatchKind.Regex, "[^a]+[^a]").Matches("😀"));
        Assert.True(new Matcher("l", MatchKind.Regex, "[^a]+").Matches("😀x"));
        Assert.True(new Matcher("l", MatchKind.Regex, "[😀-😎]+").Matches("😀😁😎"));
        Assert.False(new Matcher("l", MatchKind.Regex, "[😀-😎]").Matches("😏"));
        Assert.False(new Matcher("l", MatchKind.Regex, "(?-s).*").Matches("a\nb"));
        Assert.True(new Matcher("l", MatchKind.Regex, ".*").Matches("a\nb"));
    }

    [Theory]
    [InlineData("a|b|c", "", "a", "b", "c")]
    [InlineData("(foo|foobar)", "foo", "foo", "foobar")]
    [InlineData("api-(one|two)", "api-", "api-one", "api-two")]
    [InlineData("a|a", "a", "a")]
    [InlineData("x", "x", "x")]
    [InlineData("", "", "")]
    [InlineData("10[0-3]", "10", "100", "101", "102", "103")]
    [InlineData("foo.*", "foo", null)]
    [InlineData("foo.*|foob.+", "foo", null)]
    [InlineData("foo[a-z]+(x|y)", "foo", null)]
    [InlineData("(foo|fox)[a-z]+", "fo", null)]
    [InlineData("foo+", "foo", null)]
    [InlineData("fo*", "f", null)]
    [InlineData("^abc[0-9]+$", "abc", null)]
    [InlineData("(?i)abc[0-9]+", "", null)]
    [InlineData(".*", "", null)]
    public void What_a_pattern_can_match_is_known_where_it_is_plain(string pattern, string prefix, params string[]? set)
    {
        var matcher = new Matcher("l", MatchKind.Regex, pattern);

        Assert.Equal(prefix, matcher.Prefix);
        Assert.Equal(set is [null] ? null : set, matcher.SetMatches);
    }

    [Fact]
    public void An_equality_stands_for_its_value()
    {
        var matcher = new Matcher("l", MatchKind.Equal, "x");

        Assert.Equal(["x"], matcher.SetMatches);
        Assert.Equal("x", matcher.Prefix);
    }

    [Theory]
    [InlineData("[", "missing closing ]: `[`")]
    [InlineData("a(b", "missing closing ): `a(b`")]
    [InlineData("a)", "unexpected ): `a)`")]
    [InlineData("*", "missing argument to repetition operator: `*`")]
    [InlineData("a**", "invalid nested repetition operator: `**`")]
    [InlineData("a*+", "invalid nested repetition operator: `*+`")]
    [InlineData("a{1001}", "invalid repeat count: `{1001}`")]
    [InlineData("a{3,2}", "invalid repeat count: `{3,2}`")]
    [InlineData("(a{100}){100}", "invalid repeat count: `{100}`")]
    [InlineData("[z-a]", "invalid character class range: `z-a`")]
    [InlineData(@"(a)\1", @"invalid escape sequence: `\1`")]
    [InlineData(@"\Z", @"invalid escape sequence: `\Z`")]
    [InlineData(@"a\", "trailing backslash at end of expression: ``")]
    [InlineData("(?=a)", "invalid or unsupported Perl syntax: `(?=`")]
    [InlineData("(?!a)", "invalid or unsupported Perl syntax: `(?!`")]
    [InlineData("(?<=a)", "invalid or unsupported Perl syntax: `(?<`")]
    [InlineData("(?>a)", "invalid or unsupported Perl syntax: `(?>`")]
    [InlineData("(?P<n", "invalid named capture: `(?P<n`")]
    [InlineData("[[:no:]]", "invalid character class range: `[:no:]`")]
    [InlineData(@"\p{Greek}", "invalid character class range (general categories like \\pL and \\p{Lu} are known, scripts are not): `\\p{Greek}`")]
    public void What_RE2_refuses_is_refused_with_the_reason(string pattern, string reason)
    {
        var error = Assert.Throws<ArgumentException>(() => new Matcher("l", MatchKind.Regex, pattern));

        Assert.Equal($"error parsing regexp: {reason}", error.Message);
    }

    [Theory]
    [InlineData(100_000, "a", "")]
    [InlineData(1, "(", ")", 10_000)]
    [InlineData(50, "(a|b|c|d)", "")]
    [InlineData(10_000, "(a|b)?", "")]
    [InlineData(1, "((a{30}){30}", "b)*", 1)]
    [InlineData(6000, "[0-9]{1000}", "")]
    public void No_pattern_takes_long_to_read(int times, string unit, string end, int wrap = 0)
    {
        var pattern = wrap > 1
            ? new string('(', wrap) + "a" + new string(')', wrap)
            : string.Concat(Enumerable.Repeat(unit, times)) + end;

        var clock = System.Diagnostics.Stopwatch.StartNew();
        try
        {
            var matcher = new Matcher("l", MatchKind.Regex, pattern);
            _ = matcher.Matches(new string('a', 1000));
        }
        catch (ArgumentException error)
        {
            Assert.StartsWith("error parsing regexp: ", error.Message, StringComparison.Ordinal);
        }

        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(10));
    }

    [Theory]
    [InlineData("(.*):(.*)", "host:9090", "$1", "host")]
    [InlineData("(.*):(.*)", "host:9090", "${2}/$1", "9090/host")]
    [InlineData("(?P<a>.*):(?P<b>.*)", "host:9090", "$b-${a}", "9090-host")]
    [InlineData("(?P<a>x)(y)", "xy", "$2$1", "yx")]
    [InlineData("(.*)", "v", "$1x|${1}x|$9|$none|$$1|$|$-|${1", "|vx|||$1|$|$-|${1")]
    [InlineData("(a)|(b)", "b", "<$1$2>", "<b>")]
    [InlineData("(?P<n>a)|(?P<n>b)", "b", "<$n>", "<b>")]
    [InlineData("a.*", "abc", "plain", "plain")]
    [InlineData("a.*", "abc", "$0", "abc")]
    [InlineData("a", "b", "x", null)]
    [InlineData("(?U)(a+)(a*)", "aaa", "$1", "a")]
    [InlineData("(a+)(a*)", "aaa", "$1", "aaa")]
    public void A_template_is_filled_with_what_the_groups_matched(string pattern, string value, string template, string? expected)
    {
        Assert.Equal(expected is not null, new AnchoredRegex(pattern).TryReplace(value, template, out var replaced));
        Assert.Equal(expected, replaced);
    }
}
