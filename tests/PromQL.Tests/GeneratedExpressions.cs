using FsCheck;
using FsCheck.Fluent;

namespace Platform.PromQL.Tests;

/// <summary>Trees that the parser could have made: every kind of expression, parentheses only where the grammar needs them or by chance.</summary>
internal static class GeneratedExpressions
{
    private static readonly Gen<string> s_label = Gen.Elements("a", "job", "le", "_x1", "by", "on", "inf", "l.x", "ü", "a b\"\n");
    private static readonly Gen<string> s_text = Gen.Elements("", "v", "a\"b\\c", "\n\t", "é😀", "\udcff", "} or {", "\u200b", "`'");
    private static readonly Gen<TimeSpan> s_duration =
        Gen.Elements(1L, 250, 1000, 90_000, 300_000, 3_600_000, 86_400_000, 604_800_000, 31_536_000_000, 31_622_400_123).Select(milliseconds => TimeSpan.FromMilliseconds(milliseconds));

    private static readonly Gen<IReadOnlyList<string>> s_labels = s_label.ListOf(3).Select(labels => (IReadOnlyList<string>)[.. labels.Distinct()]);

    private static readonly Gen<TimeShift> s_shift =
        from offset in Gen.OneOf(Gen.Constant(TimeSpan.Zero), Gen.Constant(TimeSpan.Zero), s_duration, s_duration.Select(duration => -duration))
        from at in Gen.Frequency(
            (4, Gen.Constant((AtTime?)null)),
            (1, Gen.Elements<AtTime?>(new AtTime(AtAnchor.Start), new AtTime(AtAnchor.End), new AtTime(AtAnchor.Fixed, 1_609_746_000_123), new AtTime(AtAnchor.Fixed, -1500))))
        select new TimeShift(offset, at);

    private static readonly Gen<Matcher> s_matcher =
        from name in s_label
        from kind in Gen.Elements(Enum.GetValues<MatchKind>())
        from value in kind is MatchKind.Regex or MatchKind.NotRegex ? Gen.Elements("a|b", "x.*", "[0-9]+", "") : s_text
        select new Matcher(name, kind, value);

    private static readonly Gen<Expr.VectorSelector> s_selector =
        from name in Gen.Elements("up", "a:b", "sum", "by", "offset", "my.metric", "start")
        from matchers in s_matcher.ListOf(2)
        from shift in s_shift
        let outside = !name.Contains('.', StringComparison.Ordinal)
        let byName = new Matcher(Labels.MetricName, MatchKind.Equal, name)
        select new Expr.VectorSelector(outside ? [.. matchers, byName] : [byName, .. matchers], outside, shift);

    public static Gen<Expr> Any { get; } = Gen.Sized(size => Gen.OneOf(Scalar(size / 4), Vector(size / 4), Range(size / 8).Select(range => range), s_text.Select(text => (Expr)new Expr.Text(text))));

    public static Arbitrary<Expr> Arbitrary => Arb.From(Any);

    private static Gen<Expr> Scalar(int size)
    {
        var literal = Gen.OneOf(
            Gen.Elements(0, 1, -1, 0.5, 1e300, -1e-7, double.NaN, double.PositiveInfinity, double.NegativeInfinity).Select(value => (Expr)new Expr.Number(value)),
            s_duration.Select(duration => (Expr)new Expr.Number(duration.TotalSeconds, AsDuration: true)));
        return size <= 0
            ? literal
            : Gen.OneOf(
                literal,
                Scalar(size / 2).Select(inner => (Expr)new Expr.Parentheses(inner)),
                Vector(size / 2).Select(inner => (Expr)new Expr.Call(Functions.Find("scalar")!, [inner])),
                Scalar(size / 2).Select(inner => (Expr)Negated(inner)),
                from operation in Gen.Elements(BinaryOperator.Add, BinaryOperator.Subtract, BinaryOperator.Multiply, BinaryOperator.Power, BinaryOperator.Equal, BinaryOperator.Atan2)
                from left in Scalar(size / 2)
                from right in Scalar(size / 2)
                select (Expr)Joined(operation, left, right, operation == BinaryOperator.Equal, null));
    }

    private static Gen<Expr> Vector(int size)
    {
        var selector = s_selector.Select(one => (Expr)one);
        return size <= 0
            ? selector
            : Gen.OneOf(
                selector,
                Vector(size / 2).Select(inner => (Expr)new Expr.Parentheses(inner)),
                Vector(size / 2).Select(inner => (Expr)Negated(inner)),
                Called(size),
                Aggregated(size),
                Matched(size),
                from operation in Gen.Elements(BinaryOperator.Divide, BinaryOperator.Modulo, BinaryOperator.Power, BinaryOperator.Less, BinaryOperator.GreaterOrEqual)
                from vector in Vector(size / 2)
                from scalar in Scalar(size / 2)
                from swapped in Gen.Elements(true, false)
                from returnBool in Gen.Elements(true, false)
                select (Expr)Joined(
                    operation, swapped ? scalar : vector, swapped ? vector : scalar, returnBool && operation is BinaryOperator.Less or BinaryOperator.GreaterOrEqual, null));
    }

    private static Gen<Expr> Range(int size)
    {
        var matrix =
            from selector in s_selector
            from range in s_duration
            select (Expr)new Expr.MatrixSelector(selector, range);
        return size <= 0
            ? matrix
            : Gen.OneOf(
                matrix,
                from inner in Vector(size / 2)
                from range in s_duration
                from step in Gen.OneOf(Gen.Constant((TimeSpan?)null), s_duration.Select(duration => (TimeSpan?)duration))
                from shift in s_shift
                select (Expr)new Expr.Subquery(Fit(inner, 8), range, step, shift));
    }

    private static Gen<Expr> Called(int size) =>
        from function in Gen.Elements(Functions.All.Where(function => function.Returns == ValueKind.InstantVector).ToArray())
        from left in Gen.Choose(0, function.Variadic ? 2 : function.Optional)
        from arguments in Gen.CollectToList(
            function.Arguments.SkipLast(function.Variadic ? 1 : left).Concat(function.Variadic ? Enumerable.Repeat(function.Arguments[^1], left) : []),
            kind => kind switch
            {
                ValueKind.Scalar => Scalar(size / 3),
                ValueKind.InstantVector => Vector(size / 3),
                ValueKind.RangeVector => Range(size / 3),
                ValueKind.Text => s_text.Select(text => (Expr)new Expr.Text(text)),
            })
        select (Expr)new Expr.Call(function, [.. arguments]);

    private static Gen<Expr> Aggregated(int size) =>
        from operation in Gen.Elements(Enum.GetValues<AggregateOperator>())
        from operand in Vector(size / 2)
        from parameter in operation switch
        {
            AggregateOperator.CountValues => s_text.Select(text => (Expr?)new Expr.Text(text)),
            AggregateOperator.TopK or AggregateOperator.BottomK or AggregateOperator.Quantile or AggregateOperator.LimitK or AggregateOperator.LimitRatio =>
                Scalar(size / 2).Select(scalar => (Expr?)scalar),
            _ => Gen.Constant((Expr?)null),
        }
        from labels in s_labels
        from without in Gen.Elements(true, false)
        select (Expr)new Expr.Aggregate(operation, operand, parameter, labels, without);

    private static Gen<Expr> Matched(int size) =>
        from operation in Gen.Elements(Enum.GetValues<BinaryOperator>())
        from left in Vector(size / 2)
        from right in Vector(size / 2)
        from named in Gen.Elements(true, false)
        from labels in s_labels
        from grouped in Gen.Elements(Cardinality.OneToOne, Cardinality.ManyToOne, Cardinality.OneToMany)
        from include in s_labels
        from returnBool in Gen.Elements(true, false)
        let isSet = operation is BinaryOperator.And or BinaryOperator.Or or BinaryOperator.Unless
        let cardinality = isSet ? Cardinality.ManyToMany : grouped
        select (Expr)Joined(
            operation,
            left,
            right,
            returnBool && operation is >= BinaryOperator.Equal and <= BinaryOperator.LessOrEqual,
            new VectorMatching(
                cardinality, named, labels, cardinality is Cardinality.ManyToOne or Cardinality.OneToMany ? [.. include.Except(named ? labels : [])] : []));

    private static Expr.Binary Joined(BinaryOperator operation, Expr left, Expr right, bool returnBool, VectorMatching? matching)
    {
        var precedence = PrecedenceOf(operation);
        var toTheRight = operation == BinaryOperator.Power;
        return new Expr.Binary(operation, Fit(left, toTheRight ? precedence + 1 : precedence), Fit(right, toTheRight ? precedence : precedence + 1), returnBool, matching);
    }

    // The parser makes a minus part of a number, and binds it as tightly as multiplication.
    private static Expr.Negate Negated(Expr operand) => new Expr.Negate(Fit(operand is Expr.Number ? new Expr.Parentheses(operand) : operand, 6));

    private static Expr Fit(Expr expr, int precedence)
    {
        var own = expr switch
        {
            Expr.Binary binary => PrecedenceOf(binary.Operator),
            Expr.Negate => 5,
            // -1 ^ 2 would be -(1 ^ 2), and a range would take the sign's number alone.
            Expr.Number { Value: var value } when double.IsNegative(value) || value == double.PositiveInfinity => 5,
            _ => 9,
        };
        return own >= precedence ? expr : new Expr.Parentheses(expr);
    }

    private static int PrecedenceOf(BinaryOperator operation) => operation switch
    {
        BinaryOperator.Or => 1,
        BinaryOperator.And or BinaryOperator.Unless => 2,
        BinaryOperator.Add or BinaryOperator.Subtract => 4,
        BinaryOperator.Multiply or BinaryOperator.Divide or BinaryOperator.Modulo or BinaryOperator.Atan2 => 5,
        BinaryOperator.Power => 6,
        _ => 3,
    };
}
