namespace Platform.PromQL.Tests;

public sealed class ParserTests
{
    [Theory]
    // Nothing, too much, the wrong thing.
    [InlineData("", "1:1: parse error: no expression found in input")]
    [InlineData(" # a comment", "1:1: parse error: no expression found in input")]
    [InlineData("a b", "1:3: parse error: unexpected identifier \"b\"")]
    [InlineData("a\n  b", "2:3: parse error: unexpected identifier \"b\"")]
    [InlineData("1 1", "1:3: parse error: unexpected number \"1\"")]
    [InlineData("a \"a long text\"", "1:3: parse error: unexpected string \"\\\"a long te\"...")]
    [InlineData("a 5m", "1:3: parse error: unexpected duration \"5m\"")]
    [InlineData("a b:c", "1:3: parse error: unexpected metric identifier \"b:c\"")]
    [InlineData("1 +", "1:4: parse error: unexpected end of input")]
    [InlineData("* 1", "1:1: parse error: unexpected <op:*>")]
    [InlineData("on", "1:1: parse error: unexpected <on>")]
    [InlineData("a sum", "1:3: parse error: unexpected <aggr:sum>")]
    [InlineData("=", "1:1: parse error: unexpected \"=\"")]
    [InlineData("()", "1:2: parse error: unexpected \")\"")]
    // Characters.
    [InlineData("a $", "1:3: parse error: unexpected character: '$'")]
    [InlineData("a é", "1:3: parse error: unexpected character: 'é'")]
    [InlineData("a ! b", "1:3: parse error: unexpected character after '!': ' '")]
    [InlineData("a !", "1:3: parse error: unexpected character after '!': end of input")]
    [InlineData("a =~ b", "1:3: parse error: unexpected character after '=': '~'")]
    [InlineData("\"abc", "1:1: parse error: unterminated quoted string")]
    [InlineData("'a\nb'", "1:1: parse error: unterminated quoted string")]
    [InlineData("`abc", "1:1: parse error: unterminated raw string")]
    [InlineData("\"\\q\"", "1:2: parse error: unknown escape sequence \"\\\\q\" in string")]
    [InlineData("\"a\\'\"", "1:3: parse error: unknown escape sequence \"\\\\'\" in string")]
    [InlineData("\"\\xf\"", "1:2: parse error: unknown escape sequence \"\\\\x\" in string")]
    [InlineData("\"\\400\"", "1:2: parse error: unknown escape sequence \"\\\\4\" in string")]
    [InlineData("\"\\ud800\"", "1:2: parse error: unknown escape sequence \"\\\\u\" in string")]
    // Brackets.
    [InlineData("(a", "1:3: parse error: unclosed left parenthesis")]
    [InlineData("sum(a", "1:6: parse error: unclosed left parenthesis")]
    [InlineData("a)", "1:2: parse error: unexpected right parenthesis ')'")]
    [InlineData("a}", "1:2: parse error: unexpected character: '}'")]
    [InlineData("a]", "1:2: parse error: unexpected right bracket ']'")]
    [InlineData("a[5m", "1:5: parse error: unclosed left bracket")]
    [InlineData("a[[", "1:3: parse error: unexpected left bracket '['")]
    [InlineData("a{", "1:3: parse error: unexpected end of input inside braces")]
    [InlineData("a{b=\"c\"", "1:8: parse error: unexpected end of input inside braces")]
    [InlineData("a{{", "1:3: parse error: unexpected left brace '{'")]
    // Numbers and durations.
    [InlineData("1e", "1:1: parse error: bad number or duration syntax: \"1e\"")]
    [InlineData("0x", "1:1: parse error: bad number or duration syntax: \"0x\"")]
    [InlineData("1_", "1:1: parse error: bad number or duration syntax: \"1_\"")]
    [InlineData("1__0", "1:1: parse error: bad number or duration syntax: \"1__0\"")]
    [InlineData("5h5x", "1:1: parse error: bad number or duration syntax: \"5h5x\"")]
    [InlineData("1.5h", "1:1: parse error: not a valid duration string: \"1.5h\"")]
    [InlineData("5m1h", "1:1: parse error: not a valid duration string: \"5m1h\"")]
    [InlineData("5m5m", "1:1: parse error: not a valid duration string: \"5m5m\"")]
    [InlineData("999999y", "1:1: parse error: duration out of range")]
    [InlineData("a[1e11]", "1:3: parse error: duration out of range")]
    [InlineData("a[0s]", "1:3: parse error: duration must be greater than 0")]
    [InlineData("a[0]", "1:3: parse error: duration must be greater than 0")]
    [InlineData("a[-5m]", "1:3: parse error: duration must be greater than 0")]
    [InlineData("a[NaN]", "1:3: parse error: duration out of range")]
    // Selectors.
    [InlineData("a{b=c}", "1:5: parse error: unexpected identifier \"c\" in label matching, expected string")]
    [InlineData("a{b=\"c\" d=\"e\"}", "1:9: parse error: unexpected identifier \"d\" in label matching, expected \",\" or \"}\"")]
    [InlineData("a{=}", "1:3: parse error: unexpected \"=\" in label matching, expected identifier or \"}\"")]
    [InlineData("a{,}", "1:3: parse error: unexpected \",\" in label matching, expected identifier or \"}\"")]
    [InlineData("a{b=\"c\",,}", "1:9: parse error: unexpected \",\" in label matching, expected identifier or \"}\"")]
    [InlineData("a{b}", "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator")]
    [InlineData("a{b!\"c\"}", "1:4: parse error: unexpected character after '!' inside braces: '\"'")]
    [InlineData("a{1=\"b\"}", "1:3: parse error: unexpected character inside braces: '1'")]
    [InlineData("a{b=~\"[\"}", "1:3: parse error: error parsing regexp: missing closing ]: `[`")]
    [InlineData("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher")]
    [InlineData("1 + {a=\"\",b=~\".*\",c!=\"d\"}", "1:5: parse error: vector selector must contain at least one non-empty matcher")]
    [InlineData("{__name__=\"\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher")]
    [InlineData("a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"")]
    [InlineData("a{__name__=~\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"")]
    [InlineData("a{\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"")]
    // Ranges, offsets, @.
    [InlineData("a[", "1:3: parse error: unclosed left bracket")]
    [InlineData("a[]", "1:3: parse error: unexpected \"]\" in subquery or range selector, expected number or duration")]
    [InlineData("a[x]", "1:3: parse error: unexpected identifier \"x\" in subquery or range selector, expected number or duration")]
    [InlineData("a[5m x]", "1:6: parse error: unexpected identifier \"x\" in subquery or range, expected \":\" or \"]\"")]
    [InlineData("a[5m:x]", "1:6: parse error: unexpected identifier \"x\" in subquery selector, expected number or duration or \"]\"")]
    [InlineData("a[5m:1m 1]", "1:9: parse error: unexpected number \"1\" in subquery selector, expected \"]\"")]
    [InlineData("sum(a)[5m]", "1:7: parse error: ranges only allowed for vector selectors")]
    [InlineData("(a)[5m]", "1:4: parse error: ranges only allowed for vector selectors")]
    [InlineData("a[5m][5m]", "1:6: parse error: ranges only allowed for vector selectors")]
    [InlineData("a offset 1m[5m]", "1:12: parse error: no offset modifiers allowed before range")]
    [InlineData("a @ 1[5m]", "1:6: parse error: no @ modifiers allowed before range")]
    [InlineData("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead")]
    [InlineData("a[5m:][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead")]
    [InlineData("a offset", "1:9: parse error: unexpected end of input in offset, expected number or duration")]
    [InlineData("a offset b", "1:10: parse error: unexpected identifier \"b\" in offset, expected number or duration")]
    [InlineData("\"a\" offset 5m", "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery")]
    [InlineData("(a) offset 5m", "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery")]
    [InlineData("a offset 5m offset 3m", "1:1: parse error: offset may not be set multiple times")]
    [InlineData("a @", "1:4: parse error: unexpected end of input in @, expected timestamp")]
    [InlineData("a @ b", "1:5: parse error: unexpected identifier \"b\" in @, expected timestamp")]
    [InlineData("a @ start", "1:10: parse error: unexpected end of input in @, expected timestamp")]
    [InlineData("a @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times")]
    [InlineData("a @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf")]
    [InlineData("sum(a) @ 1", "1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery")]
    // Aggregations.
    [InlineData("sum(a +)", "1:8: parse error: unexpected \")\" in aggregation")]
    [InlineData("sum(abs(a +))", "1:12: parse error: unexpected \")\" in aggregation")]
    [InlineData("topk(1 2)", "1:8: parse error: unexpected number \"2\" in aggregation")]
    [InlineData("sum a", "1:5: parse error: unexpected identifier \"a\"")]
    [InlineData("sum by a", "1:8: parse error: unexpected identifier \"a\" in grouping opts, expected \"(\"")]
    [InlineData("sum by (a) b", "1:12: parse error: unexpected identifier \"b\" in aggregation")]
    [InlineData("sum by (1) (a)", "1:9: parse error: unexpected number \"1\" in grouping opts, expected label")]
    [InlineData("sum by (a b) (c)", "1:11: parse error: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"")]
    [InlineData("sum by (a:b) (c)", "1:9: parse error: unexpected metric identifier \"a:b\" in grouping opts, expected label")]
    [InlineData("sum by (\"\") (c)", "1:9: parse error: invalid label name \"\"")]
    [InlineData("sum by (\"a\\xff\") (c)", "1:9: parse error: invalid label name \"a\\xff\"")]
    [InlineData("sum by (a)(b) by (c)", "1:15: parse error: unexpected <by>")]
    [InlineData("sum()", "1:1: parse error: no arguments for aggregate expression provided")]
    [InlineData("sum(a, b)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2")]
    [InlineData("topk(a)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1")]
    [InlineData("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar")]
    [InlineData("topk(\"a\", b)", "1:6: parse error: expected type scalar in aggregation parameter, got string")]
    [InlineData("count_values(1, a)", "1:14: parse error: expected type string in aggregation parameter, got scalar")]
    [InlineData("limitk(a, b)", "1:8: parse error: expected type scalar in aggregation parameter, got instant vector")]
    // Calls.
    [InlineData("nothing(1)", "1:1: parse error: unknown function with name \"nothing\"")]
    [InlineData("RATE(a[1m])", "1:1: parse error: unknown function with name \"RATE\"")]
    [InlineData("abs(a,)", "1:6: parse error: trailing commas not allowed in function call args")]
    [InlineData("abs(,a)", "1:5: parse error: unexpected \",\"")]
    [InlineData("rate(a)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector")]
    [InlineData("rate(a[5m], 1)", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2")]
    [InlineData("clamp(a)", "1:1: parse error: expected 3 argument(s) in call to \"clamp\", got 1")]
    [InlineData("round()", "1:1: parse error: expected at least 1 argument(s) in call to \"round\", got 0")]
    [InlineData("round(a, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3")]
    [InlineData("label_join(a, \"b\")", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2")]
    [InlineData("label_join(a, \"b\", \",\", c)", "1:25: parse error: expected type string in call to function \"label_join\", got instant vector")]
    [InlineData("absent(a[5m])", "1:8: parse error: expected type instant vector in call to function \"absent\", got range vector")]
    [InlineData("sum(rate(a))", "1:10: parse error: expected type range vector in call to function \"rate\", got instant vector")]
    // Operators.
    [InlineData("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier")]
    [InlineData("1 + \"a\"", "1:5: parse error: binary expression must contain only scalar and instant vector types")]
    [InlineData("a[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types")]
    [InlineData("1 and 2", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression")]
    [InlineData("1 or a", "1:1: parse error: set operator \"or\" not allowed in binary scalar expression")]
    [InlineData("a and on(b) group_left c", "1:1: parse error: no grouping allowed for \"and\" operation")]
    [InlineData("a + on(b, c) group_left(c) d", "1:3: parse error: label \"c\" must not occur in ON and GROUP clause at once")]
    [InlineData("1 + on(a) b", "1:1: parse error: vector matching only allowed between instant vectors")]
    [InlineData("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators")]
    [InlineData("a + on b", "1:8: parse error: unexpected identifier \"b\" in grouping opts, expected \"(\"")]
    [InlineData("a + group_left b", "1:5: parse error: unexpected <group_left>")]
    [InlineData("-\"a\"", "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"")]
    [InlineData("+a[5m]", "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"")]
    public void What_is_no_expression_is_refused_with_place_and_reason(string text, string message)
    {
        var error = Assert.Throws<QueryException>(() => Parser.Parse(text));

        Assert.Equal(message, error.Message);
        Assert.Equal(QueryFault.BadData, error.Fault);
    }

    [Theory]
    [InlineData("1_000.5", 1000.5)]
    [InlineData("1_0e1_0", 1e11)]
    [InlineData("0x_Ff", 255)]
    [InlineData("0755", 493)]
    [InlineData("08", 8)]
    [InlineData(".5", 0.5)]
    [InlineData("5.", 5)]
    [InlineData("1e-3", 0.001)]
    [InlineData("1E+3", 1000)]
    [InlineData("iNf", double.PositiveInfinity)]
    [InlineData("-inf", double.NegativeInfinity)]
    [InlineData("NaN", double.NaN)]
    [InlineData("+1", 1)]
    [InlineData("--1", 1)]
    [InlineData("5m", 300)]
    [InlineData("-1h30m", -5400)]
    [InlineData("1y2w3d4h5m6s7ms", 31_536_000 + 1_209_600 + 259_200 + 14_400 + 300 + 6 + 0.007)]
    public void Numbers_have_many_forms(string text, double value)
    {
        Assert.Equal(value, Assert.IsType<Expr.Number>(Parser.Parse(text)).Value, 9);
    }

    [Theory]
    [InlineData("\"a\\n\\t\\\\\\\"\\x41\\u00e9\\U0001F600\\101\"", "a\n\t\\\"Aé😀A")]
    [InlineData("'it\\'s \"so\"'", "it's \"so\"")]
    [InlineData("`a\\n\nb`", "a\\n\nb")]
    [InlineData("\"\\xc3\\xa9\"", "é")]
    [InlineData("\"\"", "")]
    public void Texts_have_the_escapes_of_Go(string text, string value)
    {
        Assert.Equal(value, Assert.IsType<Expr.Text>(Parser.Parse(text)).Value);
    }

    [Fact]
    public void A_byte_that_is_no_text_stays_what_it_is()
    {
        var text = Assert.IsType<Expr.Text>(Parser.Parse("\"a\\xffb\""));

        Assert.Equal("a\udcffb", text.Value);
        Assert.Equal("\"a\\xffb\"", Printer.Print(text));
    }

    [Theory]
    [InlineData("1 + 2 * 3", "1 + (2 * 3)")]
    [InlineData("1 - 2 - 3", "(1 - 2) - 3")]
    [InlineData("2 ^ 3 ^ 4", "2 ^ (3 ^ 4)")]
    [InlineData("-2 ^ 2", "-(2 ^ 2)")]
    [InlineData("2 ^ -1 * 3", "(2 ^ -1) * 3")]
    [InlineData("2 ^ -a ^ 3", "2 ^ (-(a ^ 3))")]
    [InlineData("-a * b", "(-a) * b")]
    [InlineData("a or b and c", "a or (b and c)")]
    [InlineData("a unless b and c", "(a unless b) and c")]
    [InlineData("a > b == c", "(a > b) == c")]
    [InlineData("a + b > c and d", "((a + b) > c) and d")]
    [InlineData("a * b atan2 c % d", "((a * b) atan2 c) % d")]
    public void Operators_bind_as_in_Prometheus(string text, string grouped)
    {
        Assert.Equal(WithoutParentheses(Parser.Parse(grouped)), Parser.Parse(text));
    }

    [Theory]
    [InlineData("SUM BY (a) (b)", "sum by (a) (b)")]
    [InlineData("sum(b) By (a,)", "sum by (a) (b)")]
    [InlineData("sum by () (b)", "sum(b)")]
    [InlineData("sum without () (b)", "sum without () (b)")]
    [InlineData("sum + by + offset + and and or", "sum + by + offset + and and or")]
    [InlineData("sum{by=\"x\",sum!=\"y\"} offset 5m", "sum{by=\"x\",sum!=\"y\"} offset 5m")]
    [InlineData("sum by (by, sum, on, bool, offset, and, inf) (a)", "sum by (by, sum, on, bool, offset, and, inf) (a)")]
    [InlineData("start + end{a=\"b\"}", "start + end{a=\"b\"}")]
    [InlineData("limitk(2, a) + limit_ratio(-0.5, a)", "limitk(2, a) + limit_ratio(-0.5, a)")]
    [InlineData(":a:b{c='d',}", ":a:b{c=\"d\"}")]
    [InlineData("{b=\"1\", a=\"2\", __name__=\"c\"}", "{__name__=\"c\",a=\"2\",b=\"1\"}")]
    [InlineData("{\"my.metric\", \"l.x\"=\"v\"}", "{\"l.x\"=\"v\",__name__=\"my.metric\"}")]
    [InlineData("{\"a\",__name__!=\"b\"}", "{__name__!=\"b\",__name__=\"a\"}")]
    [InlineData("{`a\"b`}", "{__name__=\"a\\\"b\"}")]
    [InlineData("sum by (\"l.x\", y) (a)", "sum by (\"l.x\", y) (a)")]
    [InlineData("a + ignoring (b) group_left c", "a + ignoring (b) group_left () c")]
    [InlineData("a == bool on (b) group_right (c) d", "a == bool on (b) group_right (c) d")]
    [InlineData("a == bool (1)", "a == bool (1)")]
    [InlineData("a + ignoring () b", "a + b")]
    [InlineData("a + on () b", "a + on () b")]
    [InlineData("a[300]", "a[5m]")]
    [InlineData("a[0.5]", "a[500ms]")]
    [InlineData("a[1e-4]", "a[0.0001]")]
    [InlineData("a[24h] offset -90s @ 1.5", "a[1d] @ 1.500 offset -1m30s")]
    [InlineData("a offset 300", "a offset 5m")]
    [InlineData("a @ -1e3", "a @ -1000.000")]
    [InlineData("a @ end ( ) offset 0s", "a @ end()")]
    [InlineData("sum(a)[1w:] @ start()", "sum(a)[1w:] @ start()")]
    [InlineData("a[5m:60]", "a[5m:1m]")]
    [InlineData("a # comment\n+ # more\nb", "a + b")]
    [InlineData("+a", "a")]
    [InlineData("- - a", "--a")]
    [InlineData("1e7 + 1e-7 + 1e300", "")]
    [InlineData("((a))", "((a))")]
    [InlineData("\"\\u200b\\x7f\\xff\\U0001F600\"", "\"\\u200b\\x7f\\xff😀\"")]
    [InlineData("365d + 366d + 8d + 0s", "1y + 366d + 8d + 0s")]
    public void Everything_stable_is_understood_and_printed_in_its_canonical_form(string text, string printed)
    {
        var expr = Parser.Parse(text);
        var canonical = Printer.Print(expr);

        Assert.Equal(printed.Length == 0 ? $"10000000 + 0.0000001 + 1{new string('0', 300)}" : printed, canonical);
        Assert.Equal(expr, Parser.Parse(canonical));
    }

    [Fact]
    public void Every_function_can_be_called_with_arguments_of_its_types()
    {
        foreach (var function in Functions.All)
        {
            var arguments = function.Arguments.Select(kind => kind switch
            {
                ValueKind.Scalar => "1",
                ValueKind.InstantVector => "a",
                ValueKind.RangeVector => "a[1m]",
                ValueKind.Text => "\"a\"",
            }).ToList();

            Assert.Equal(function.Returns, Parser.Parse($"{function.Name}({string.Join(", ", arguments)})").Kind);
            Assert.Equal(function.Returns, Parser.Parse($"{function.Name}({string.Join(", ", arguments.SkipLast(function.Variadic ? 1 : function.Optional))})").Kind);
            Assert.Same(function, Functions.Find(function.Name));
        }
    }

    [Theory]
    [InlineData("(", ")")]
    [InlineData("abs(", ")")]
    [InlineData("-", "")]
    [InlineData("a + ", "")]
    [InlineData("a ^ ", "")]
    [InlineData("sum by (x) (", ")")]
    public void What_is_nested_too_deeply_is_refused_before_the_stack_ends(string open, string close)
    {
        string Nested(int times) => string.Concat(Enumerable.Repeat(open, times)) + "a" + string.Concat(Enumerable.Repeat(close, times));

        Assert.NotNull(Parser.Parse(Nested(400)));
        var error = Assert.Throws<QueryException>(() => Parser.Parse(Nested(10_000)));
        Assert.EndsWith("the expression is nested deeper than 500 levels", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_text_that_is_too_long_is_refused()
    {
        var error = Assert.Throws<QueryException>(() => Parser.Parse("a or b", new ParserOptions(MaxLength: 5)));

        Assert.Equal("1:1: parse error: the expression is 6 characters long, at most 5 are allowed", error.Message);
    }

    [Fact]
    public void Parts_know_where_they_stand()
    {
        const string text = "  sum by (a) (rate(b{c=\"d\"}[5m] offset 1m)) / on (a) group_left -c ";

        var binary = Assert.IsType<Expr.Binary>(Parser.Parse(text));
        var sum = Assert.IsType<Expr.Aggregate>(binary.Left);
        var rate = Assert.IsType<Expr.Call>(sum.Operand);
        var matrix = Assert.IsType<Expr.MatrixSelector>(rate.Arguments[0]);

        string At(Expr expr) => text[expr.At.From..expr.At.To];
        Assert.Equal("sum by (a) (rate(b{c=\"d\"}[5m] offset 1m)) / on (a) group_left -c", At(binary));
        Assert.Equal("sum by (a) (rate(b{c=\"d\"}[5m] offset 1m))", At(sum));
        Assert.Equal("rate(b{c=\"d\"}[5m] offset 1m)", At(rate));
        Assert.Equal("b{c=\"d\"}[5m] offset 1m", At(matrix));
        Assert.Equal("b{c=\"d\"}", At(matrix.Selector));
        Assert.Equal("-c", At(binary.Right));
    }

    [Fact]
    public void A_selector_alone_is_what_match_parameters_hold()
    {
        Assert.Equal([new Matcher("job", MatchKind.Regex, "a|b"), new Matcher("__name__", MatchKind.Equal, "up")], Parser.ParseSelector("up{job=~\"a|b\"}"));
        Assert.Throws<QueryException>(() => Parser.ParseSelector("rate(up[5m])"));
        Assert.Throws<QueryException>(() => Parser.ParseSelector("up offset 5m"));
        Assert.Throws<QueryException>(() => Parser.ParseSelector("{a=\"\"}"));
    }

    private static Expr WithoutParentheses(Expr expr) => expr switch
    {
        Expr.Parentheses parentheses => WithoutParentheses(parentheses.Inner),
        Expr.Negate negate => negate with { Operand = WithoutParentheses(negate.Operand) },
        Expr.Binary binary => binary with { Left = WithoutParentheses(binary.Left), Right = WithoutParentheses(binary.Right) },
        _ => expr,
    };
}
