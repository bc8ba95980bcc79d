using System.Globalization;

namespace Platform.PromQL;

/// <summary>Bounds of an expression's text. What goes past them is refused with a message, never cut.</summary>
/// <param name="MaxLength">UTF-16 units.</param>
/// <param name="MaxDepth">How deep parts may lie in each other; the terms of <c>a + b + c</c> lie in each other too.</param>
public sealed record ParserOptions(int MaxLength = 131_072, int MaxDepth = 500)
{
    public static readonly ParserOptions Default = new();
}

/// <summary>
/// Text into a type-checked <see cref="Expr"/>: recursive descent over the lexer, binary operators by precedence climbing. The grammar and
/// the words of the errors are those of Prometheus 3.x.
/// </summary>
public sealed class Parser
{
    private readonly string _text;
    private readonly ParserOptions _options;
    private Lexer _lexer;
    private Token _token;
    private int _depth;
    private int _lastEnd;

    // Where an error has no better place, it says that it happened inside an aggregation.
    private int _aggregations;

    private Parser(string text, ParserOptions options)
    {
        _text = text;
        _options = options;
        _lexer = new(text);
        _token = _lexer.Next();
    }

    /// <exception cref="QueryException">
    /// The text is no expression: <see cref="QueryFault.BadData"/>, with line and column in the message and the place in <see cref="QueryException.At"/>.
    /// </exception>
    public static Expr Parse(string text, ParserOptions? options = null)
    {
        var expr = ParseUnchecked(text, options ?? ParserOptions.Default);
        TypeCheck.Check(text, expr);
        return expr;
    }

    /// <summary>One selector without range, offset or <c>@</c>, as <c>match[]</c> has it: <c>up{job="api"}</c>.</summary>
    /// <exception cref="QueryException">The text is none.</exception>
    public static IReadOnlyList<Matcher> ParseSelector(string text, ParserOptions? options = null) =>
        Parse(text, options) is Expr.VectorSelector { Shift: { Offset.Ticks: 0, At: null } } selector
            ? selector.Matchers
            : throw Error(text, new(0, text.Length), "expected a series selector without modifiers, like up{job=\"api\"}");

    internal static QueryException Error(string text, Position at, string message)
    {
        var before = text.AsSpan(0, Math.Min(at.From, text.Length));
        var line = before.Count('\n') + 1;
        var column = before.Length - (before.LastIndexOf('\n') + 1) + 1;
        return new(QueryFault.BadData, string.Create(CultureInfo.InvariantCulture, $"{line}:{column}: parse error: {message}"), at);
    }

    private static Expr ParseUnchecked(string text, ParserOptions options)
    {
        if (text.Length > options.MaxLength)
        {
            throw Error(text, new(0, text.Length), $"the expression is {text.Length} characters long, at most {options.MaxLength} are allowed");
        }

        var parser = new Parser(text, options);
        if (parser._token.Kind == TokenKind.End)
        {
            throw Error(text, default, "no expression found in input");
        }

        var expr = parser.Expression(0).Expr;
        return parser._token.Kind == TokenKind.End ? expr : throw parser.Unexpected();
    }

    // The depth of a part travels with it: a long chain of operators is as deep for whoever walks the tree as parentheses are.
    private readonly record struct Part(Expr Expr, int Depth);

    private Part Expression(int minPrecedence)
    {
        Enter();
        var left = Unary();
        while (PrecedenceOf(_token.Kind) is var precedence and > 0 && precedence >= minPrecedence)
        {
            var symbol = Take();
            var operation = OperatorOf(symbol.Kind);
            var modifiers = BinaryModifiers();
            // Power alone binds to the right.
            var right = Expression(operation == BinaryOperator.Power ? precedence : precedence + 1);
            // Where a scalar has nobody to match with, labels to match on are for the type check to complain about.
            var isSet = operation is BinaryOperator.And or BinaryOperator.Or or BinaryOperator.Unless;
            var matching = modifiers.Matching.Labels.Count == 0 && (left.Expr.Kind == ValueKind.Scalar || right.Expr.Kind == ValueKind.Scalar) ? null
                : isSet && modifiers.Matching.Cardinality == Cardinality.OneToOne ? modifiers.Matching with { Cardinality = Cardinality.ManyToMany }
                : modifiers.Matching;
            left = Deeper(
                new Expr.Binary(operation, left.Expr, right.Expr, modifiers.ReturnBool, matching) { At = new(left.Expr.At.From, right.Expr.At.To) },
                Math.Max(left.Depth, right.Depth));
        }

        _depth--;
        return left;
    }

    private Part Unary()
    {
        if (_token.Kind is not (TokenKind.Add or TokenKind.Subtract))
        {
            return Postfix(Primary());
        }

        var sign = Take();
        // Binds as multiplication does: -2 ^ 2 is -(2 ^ 2).
        var operand = Expression(PrecedenceOf(TokenKind.Power));
        var at = new Position(sign.From, operand.Expr.At.To);
        return (sign.Kind, operand.Expr) switch
        {
            (TokenKind.Add, Expr.Number number) => operand with { Expr = number with { At = at } },
            (_, Expr.Number number) => operand with { Expr = number with { Value = -number.Value, At = at } },
            (TokenKind.Add, var plain) when TypeCheck.IsNumeric(plain.Kind) => operand,
            // A plus leaves no trace, but where it is wrong the type check has to see the place.
            (_, var plain) => Deeper(new Expr.Negate(plain) { At = at }, operand.Depth),
        };
    }

    private Part Primary()
    {
        switch (_token.Kind)
        {
            case TokenKind.Number:
                var number = Take();
                return new(new Expr.Number(Literals.Number(Written(number))) { At = At(number) }, 1);
            case TokenKind.Duration:
                var duration = Take();
                return new(new Expr.Number(Seconds(duration), AsDuration: true) { At = At(duration) }, 1);
            case TokenKind.Text:
                var quoted = Take();
                return new(new Expr.Text(Unquote(quoted)) { At = At(quoted) }, 1);
            case TokenKind.LeftParenthesis:
                var open = Take();
                var inner = Expression(0);
                Expect(TokenKind.RightParenthesis);
                return Deeper(new Expr.Parentheses(inner.Expr) { At = new(open.From, _lastEnd) }, inner.Depth);
            case TokenKind.LeftBrace:
                return new(Selector(null), 1);
            case TokenKind.Aggregate:
                var operation = Take();
                return _token.Kind is TokenKind.LeftParenthesis or TokenKind.By or TokenKind.Without ? Aggregation(operation) : new(Selector(operation), 1);
            case TokenKind.Identifier or TokenKind.Start or TokenKind.End_:
                var name = Take();
                return _token.Kind == TokenKind.LeftParenthesis ? Call(name) : new(Selector(name), 1);
            case TokenKind.MetricIdentifier or TokenKind.By or TokenKind.Without or TokenKind.Offset
                or TokenKind.And or TokenKind.Or or TokenKind.Unless:
                return new(Selector(Take()), 1);
            default:
                throw Unexpected();
        }
    }

    private Part Postfix(Part part)
    {
        while (true)
        {
            switch (_token.Kind)
            {
                case TokenKind.LeftBracket:
                    part = Range(part);
                    break;
                case TokenKind.Offset:
                    part = part with { Expr = Offset(part.Expr) };
                    break;
                case TokenKind.At:
                    part = part with { Expr = AtModifier(part.Expr) };
                    break;
                default:
                    return part;
            }
        }
    }

    // name{matchers}, the name or the braces left out. The name was taken already.
    private Expr.VectorSelector Selector(Token? name)
    {
        var from = name?.From ?? _token.From;
        var matchers = new List<Matcher>();
        if (_token.Kind == TokenKind.LeftBrace)
        {
            Take();
            var first = true;
            while (_token.Kind != TokenKind.RightBrace)
            {
                if (!first)
                {
                    if (_token.Kind != TokenKind.Comma)
                    {
                        throw Unexpected("label matching", "\",\" or \"}\"");
                    }

                    Take();
                    if (_token.Kind == TokenKind.RightBrace)
                    {
                        break;
                    }
                }

                first = false;
                matchers.Add(LabelMatcher());
            }

            Take();
        }

        if (name is { } outside)
        {
            matchers.Add(new(Labels.MetricName, MatchKind.Equal, Written(outside).ToString()));
        }

        return new(matchers, name is not null, default) { At = new(from, _lastEnd) };
    }

    // name="value" with one of the four operators, or a metric's name in quotes.
    private Matcher LabelMatcher()
    {
        if (_token.Kind is not (TokenKind.Identifier or TokenKind.Text))
        {
            throw Unexpected("label matching", "identifier or \"}\"");
        }

        var label = Take();
        var name = label.Kind == TokenKind.Text ? Unquote(label) : Written(label).ToString();
        var kind = _token.Kind switch
        {
            TokenKind.Assign => MatchKind.Equal,
            TokenKind.NotEqual => MatchKind.NotEqual,
            TokenKind.MatchesRegex => MatchKind.Regex,
            TokenKind.MatchesNotRegex => MatchKind.NotRegex,
            TokenKind.Comma or TokenKind.RightBrace when label.Kind == TokenKind.Text => (MatchKind?)null,
            _ => throw Unexpected("label matching", label.Kind == TokenKind.Text ? "label matching operator, \",\" or \"}\"" : "label matching operator"),
        };
        if (kind is null)
        {
            return new(Labels.MetricName, MatchKind.Equal, name);
        }

        Take();
        if (_token.Kind != TokenKind.Text)
        {
            throw Unexpected("label matching", "string");
        }

        var value = Take();
        try
        {
            return new(name, kind.Value, Unquote(value));
        }
        catch (ArgumentException error)
        {
            throw Error(_text, new(label.From, value.To), error.Message);
        }
    }

    private Part Aggregation(Token name)
    {
        var operation = Lexer.AggregateOf(Written(name));
        IReadOnlyList<string> grouping = [];
        var without = false;
        var grouped = GroupingModifier(ref grouping, ref without);
        if (_token.Kind != TokenKind.LeftParenthesis)
        {
            throw Unexpected("aggregation");
        }

        _aggregations++;
        var arguments = Arguments(out var depth);
        _aggregations--;
        if (!grouped)
        {
            GroupingModifier(ref grouping, ref without);
        }

        var at = new Position(name.From, _lastEnd);
        var takesParameter = operation is AggregateOperator.TopK or AggregateOperator.BottomK or AggregateOperator.CountValues
            or AggregateOperator.Quantile or AggregateOperator.LimitK or AggregateOperator.LimitRatio;
        var expected = takesParameter ? 2 : 1;
        if (arguments.Count != expected)
        {
            throw Error(_text, at, arguments.Count == 0
                ? "no arguments for aggregate expression provided"
                : $"wrong number of arguments for aggregate expression provided, expected {expected}, got {arguments.Count}");
        }

        return Deeper(new Expr.Aggregate(operation, arguments[^1], takesParameter ? arguments[0] : null, grouping, without) { At = at }, depth);
    }

    private bool GroupingModifier(ref IReadOnlyList<string> grouping, ref bool without)
    {
        if (_token.Kind is not (TokenKind.By or TokenKind.Without))
        {
            return false;
        }

        without = Take().Kind == TokenKind.Without;
        grouping = GroupingLabels();
        return true;
    }

    private List<string> GroupingLabels()
    {
        if (_token.Kind != TokenKind.LeftParenthesis)
        {
            throw Unexpected("grouping opts", "\"(\"");
        }

        Take();
        var labels = new List<string>();
        while (_token.Kind != TokenKind.RightParenthesis)
        {
            if (labels.Count > 0)
            {
                if (_token.Kind != TokenKind.Comma)
                {
                    throw Unexpected("grouping opts", "\",\" or \")\"");
                }

                Take();
                if (_token.Kind == TokenKind.RightParenthesis)
                {
                    break;
                }
            }

            labels.Add(GroupingLabel());
        }

        Take();
        return labels;
    }

    private string GroupingLabel()
    {
        if (_token.Kind == TokenKind.Text)
        {
            var quoted = Take();
            var name = Unquote(quoted);
            return name.Length > 0 && Literals.IsText(name) ? name : throw Error(_text, At(quoted), $"invalid label name {Printer.Quote(name)}");
        }

        // Keywords are fine as names of labels, and so are inf and nan; numbers and names with colons are not.
        var written = Written(_token);
        if (!Lexer.IsPlainLabel(written))
        {
            throw Unexpected("grouping opts", "label");
        }

        Take();
        return written.ToString();
    }

    private (bool ReturnBool, VectorMatching Matching) BinaryModifiers()
    {
        var returnBool = _token.Kind == TokenKind.Bool;
        if (returnBool)
        {
            Take();
        }

        if (_token.Kind is not (TokenKind.On or TokenKind.Ignoring))
        {
            return (returnBool, new(Cardinality.OneToOne, false, [], []));
        }

        var on = Take().Kind == TokenKind.On;
        var labels = GroupingLabels();
        var cardinality = Cardinality.OneToOne;
        IReadOnlyList<string> include = [];
        if (_token.Kind is TokenKind.GroupLeft or TokenKind.GroupRight)
        {
            cardinality = Take().Kind == TokenKind.GroupLeft ? Cardinality.ManyToOne : Cardinality.OneToMany;
            if (_token.Kind == TokenKind.LeftParenthesis)
            {
                include = GroupingLabels();
            }
        }

        return (returnBool, new(cardinality, on, labels, include));
    }

    private Part Call(Token name)
    {
        var arguments = Arguments(out var depth);
        var written = Written(name).ToString();
        var function = Functions.Find(written) ?? throw Error(_text, At(name), $"unknown function with name {Printer.Quote(written)}");
        return Deeper(new Expr.Call(function, arguments) { At = new(name.From, _lastEnd) }, depth);
    }

    private List<Expr> Arguments(out int depth)
    {
        Take();
        depth = 0;
        var arguments = new List<Expr>();
        while (_token.Kind != TokenKind.RightParenthesis)
        {
            if (arguments.Count > 0)
            {
                if (_token.Kind != TokenKind.Comma)
                {
                    throw Unexpected();
                }

                var comma = Take();
                if (_token.Kind == TokenKind.RightParenthesis)
                {
                    throw Error(_text, At(comma), "trailing commas not allowed in function call args");
                }
            }

            var argument = Expression(0);
            depth = Math.Max(depth, argument.Depth);
            arguments.Add(argument.Expr);
        }

        Take();
        return arguments;
    }

    // [range] or [range:step]
    private Part Range(Part part)
    {
        var open = Take();
        var range = Duration("subquery or range selector", "number or duration", positive: true);
        if (_token.Kind == TokenKind.Colon)
        {
            Take();
            TimeSpan? step = null;
            if (_token.Kind != TokenKind.RightBracket)
            {
                step = Duration("subquery selector", "number or duration or \"]\"", positive: true);
            }

            if (_token.Kind != TokenKind.RightBracket)
            {
                throw Unexpected("subquery selector", "\"]\"");
            }

            Take();
            return Deeper(new Expr.Subquery(part.Expr, range, step, default) { At = new(part.Expr.At.From, _lastEnd) }, part.Depth);
        }

        if (_token.Kind != TokenKind.RightBracket)
        {
            throw Unexpected("subquery or range", "\":\" or \"]\"");
        }

        Take();
        return part.Expr switch
        {
            Expr.VectorSelector { Shift: { At: null, Offset.Ticks: 0 } } selector =>
                new(new Expr.MatrixSelector(selector, range) { At = new(selector.At.From, _lastEnd) }, 2),
            Expr.VectorSelector { Shift.At: null } => throw Error(_text, new(open.From, _lastEnd), "no offset modifiers allowed before range"),
            Expr.VectorSelector => throw Error(_text, new(open.From, _lastEnd), "no @ modifiers allowed before range"),
            _ => throw Error(_text, new(open.From, _lastEnd), "ranges only allowed for vector selectors"),
        };
    }

    private Expr Offset(Expr expr)
    {
        Take();
        var offset = Duration("offset", "number or duration", positive: false);
        var shift = ShiftOf(expr, "offset");
        return shift.Offset == TimeSpan.Zero
            ? Shifted(expr, shift with { Offset = offset })
            : throw Error(_text, expr.At, "offset may not be set multiple times");
    }

    private Expr AtModifier(Expr expr)
    {
        Take();
        AtTime time;
        if (_token.Kind is TokenKind.Start or TokenKind.End_)
        {
            time = new(Take().Kind == TokenKind.Start ? AtAnchor.Start : AtAnchor.End);
            Expect(TokenKind.LeftParenthesis, "@", "timestamp");
            Expect(TokenKind.RightParenthesis, "@", "timestamp");
        }
        else
        {
            var negative = Sign();
            if (_token.Kind is not (TokenKind.Number or TokenKind.Duration))
            {
                throw Unexpected("@", "timestamp");
            }

            var seconds = NumberOrDuration() * (negative ? -1 : 1);
            if (!(Math.Abs(seconds) < long.MaxValue / 1000))
            {
                throw Error(_text, expr.At, $"timestamp out of bounds for @ modifier: {Printer.Number(seconds)}");
            }

            time = new(AtAnchor.Fixed, (long)Math.Round(seconds * 1000, MidpointRounding.AwayFromZero));
        }

        var shift = ShiftOf(expr, "@");
        return shift.At is null
            ? Shifted(expr, shift with { At = time })
            : throw Error(_text, expr.At, "@ <timestamp> may not be set multiple times");
    }

    private TimeShift ShiftOf(Expr expr, string modifier) => expr switch
    {
        Expr.VectorSelector vector => vector.Shift,
        Expr.MatrixSelector matrix => matrix.Selector.Shift,
        Expr.Subquery subquery => subquery.Shift,
        _ => throw Error(_text, expr.At, $"{modifier} modifier must be preceded by an instant vector selector or range vector selector or a subquery"),
    };

    private Expr Shifted(Expr expr, TimeShift shift)
    {
        var at = new Position(expr.At.From, _lastEnd);
        return expr switch
        {
            Expr.VectorSelector vector => vector with { Shift = shift, At = at },
            Expr.MatrixSelector matrix => matrix with { Selector = matrix.Selector with { Shift = shift }, At = at },
            _ => (Expr.Subquery)expr with { Shift = shift, At = at },
        };
    }

    // A number of seconds or a duration, with a sign where it may be negative.
    private TimeSpan Duration(string context, string expected, bool positive)
    {
        var from = _token.From;
        var negative = Sign();
        if (_token.Kind is not (TokenKind.Number or TokenKind.Duration))
        {
            throw Unexpected(context, expected);
        }

        var seconds = NumberOrDuration() * (negative ? -1 : 1);
        var at = new Position(from, _lastEnd);
        if (!(Math.Abs(seconds) <= Literals.MaxSeconds))
        {
            throw Error(_text, at, "duration out of range");
        }

        var duration = TimeSpan.FromTicks((long)Math.Round(seconds * TimeSpan.TicksPerSecond));
        return duration > TimeSpan.Zero || !positive ? duration : throw Error(_text, at, "duration must be greater than 0");
    }

    private double NumberOrDuration()
    {
        var token = Take();
        return token.Kind == TokenKind.Number ? Literals.Number(Written(token)) : Seconds(token);
    }

    private bool Sign()
    {
        if (_token.Kind is TokenKind.Add or TokenKind.Subtract)
        {
            return Take().Kind == TokenKind.Subtract;
        }

        return false;
    }

    private double Seconds(Token duration)
    {
        var seconds = Literals.Duration(Written(duration))
            ?? throw Error(_text, At(duration), $"not a valid duration string: {Printer.Quote(Written(duration).ToString())}");
        return seconds <= Literals.MaxSeconds ? seconds : throw Error(_text, At(duration), "duration out of range");
    }

    private string Unquote(Token quoted)
    {
        var written = Written(quoted);
        return Literals.Unquote(written, out var at)
            ?? throw Error(_text, new(quoted.From + at, quoted.To), at + 1 < written.Length
                ? $"unknown escape sequence {Printer.Quote(written[at..Math.Min(at + 2, written.Length)].ToString())} in string"
                : "escape sequence not terminated");
    }

    private Token Take()
    {
        var taken = _token;
        _lastEnd = taken.To;
        _token = _lexer.Next();
        return taken;
    }

    private void Expect(TokenKind kind, string? context = null, string? expected = null)
    {
        if (_token.Kind != kind)
        {
            throw Unexpected(context, expected);
        }

        Take();
    }

    private Part Deeper(Expr expr, int depth) =>
        depth < _options.MaxDepth ? new(expr, depth + 1) : throw Error(_text, expr.At, $"the expression is nested deeper than {_options.MaxDepth} levels");

    // Counts what lies open on the stack; Deeper counts what stands in the tree.
    private void Enter()
    {
        if (++_depth > _options.MaxDepth)
        {
            throw Error(_text, new(_token.From, _text.Length), $"the expression is nested deeper than {_options.MaxDepth} levels");
        }
    }

    private ReadOnlySpan<char> Written(Token token) => _text.AsSpan(token.From, token.To - token.From);

    private static Position At(Token token) => new(token.From, token.To);

    private QueryException Unexpected(string? context = null, string? expected = null)
    {
        context ??= _aggregations > 0 ? "aggregation" : null;
        return Error(_text, At(_token), $"unexpected {Describe(_token)}{(context is null ? "" : $" in {context}")}{(expected is null ? "" : $", expected {expected}")}");
    }

    private string Describe(Token token)
    {
        var written = Written(token).ToString();
        return token.Kind switch
        {
            TokenKind.End => "end of input",
            TokenKind.Identifier => $"identifier {Printer.Quote(written)}",
            TokenKind.MetricIdentifier => $"metric identifier {Printer.Quote(written)}",
            TokenKind.Number => $"number {Shortened(written)}",
            TokenKind.Duration => $"duration {Shortened(written)}",
            TokenKind.Text => $"string {Shortened(written)}",
            TokenKind.Aggregate => $"<aggr:{written}>",
            TokenKind.Bool or TokenKind.By or TokenKind.GroupLeft or TokenKind.GroupRight or TokenKind.Ignoring or TokenKind.Offset or TokenKind.On
                or TokenKind.Without => $"<{written}>",
            TokenKind.Assign or TokenKind.LeftParenthesis or TokenKind.RightParenthesis or TokenKind.LeftBrace or TokenKind.RightBrace
                or TokenKind.LeftBracket or TokenKind.RightBracket or TokenKind.Comma or TokenKind.Colon or TokenKind.Start or TokenKind.End_ => Printer.Quote(written),
            _ => $"<op:{written}>",
        };
    }

    private static string Shortened(string written) => written.Length > 10 ? Printer.Quote(written[..10]) + "..." : Printer.Quote(written);

    /// <summary>Greater binds tighter; 0 is no binary operator.</summary>
    private static int PrecedenceOf(TokenKind kind) => kind switch
    {
        TokenKind.Or => 1,
        TokenKind.And or TokenKind.Unless => 2,
        TokenKind.Equal or TokenKind.NotEqual or TokenKind.Greater or TokenKind.Less or TokenKind.GreaterOrEqual or TokenKind.LessOrEqual => 3,
        TokenKind.Add or TokenKind.Subtract => 4,
        TokenKind.Multiply or TokenKind.Divide or TokenKind.Modulo or TokenKind.Atan2 => 5,
        TokenKind.Power => 6,
        _ => 0,
    };

    private static BinaryOperator OperatorOf(TokenKind kind) => kind switch
    {
        TokenKind.Add => BinaryOperator.Add,
        TokenKind.Subtract => BinaryOperator.Subtract,
        TokenKind.Multiply => BinaryOperator.Multiply,
        TokenKind.Divide => BinaryOperator.Divide,
        TokenKind.Modulo => BinaryOperator.Modulo,
        TokenKind.Power => BinaryOperator.Power,
        TokenKind.Atan2 => BinaryOperator.Atan2,
        TokenKind.Equal => BinaryOperator.Equal,
        TokenKind.NotEqual => BinaryOperator.NotEqual,
        TokenKind.Greater => BinaryOperator.Greater,
        TokenKind.Less => BinaryOperator.Less,
        TokenKind.GreaterOrEqual => BinaryOperator.GreaterOrEqual,
        TokenKind.LessOrEqual => BinaryOperator.LessOrEqual,
        TokenKind.And => BinaryOperator.And,
        TokenKind.Or => BinaryOperator.Or,
        TokenKind.Unless => BinaryOperator.Unless,
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "No binary operator."),
    };
}
