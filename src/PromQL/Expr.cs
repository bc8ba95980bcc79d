namespace Platform.PromQL;

/// <summary>Where something stands in the text of an expression: UTF-16 offsets, <see cref="To"/> exclusive.</summary>
public readonly record struct Position(int From, int To);

/// <summary>The four types of PromQL.</summary>
public enum ValueKind
{
    Scalar,
    InstantVector,
    RangeVector,
    Text,
}

/// <summary>
/// A parsed and type-checked expression. Two expressions are equal when they mean the same: positions do not count.
/// Grammar: https://prometheus.io/docs/prometheus/latest/querying/basics/
/// </summary>
public abstract record Expr
{
    private Expr()
    {
    }

    /// <summary>Where it stands in the text it was parsed from.</summary>
    public Position At { get; init; }

    /// <summary>What it evaluates to.</summary>
    public abstract ValueKind Kind { get; }

    public virtual bool Equals(Expr? other) => other is not null && EqualityContract == other.EqualityContract;

    public override int GetHashCode() => EqualityContract.GetHashCode();

    /// <summary>A number; durations count in seconds.</summary>
    /// <param name="AsDuration">Written as a duration (<c>5m</c>), and printed as one.</param>
    public sealed record Number(double Value, bool AsDuration = false) : Expr
    {
        public override ValueKind Kind => ValueKind.Scalar;
    }

    public sealed record Text(string Value) : Expr
    {
        public override ValueKind Kind => ValueKind.Text;
    }

    /// <summary><c>(inner)</c>; kept so that an expression prints as it was grouped.</summary>
    public sealed record Parentheses(Expr Inner) : Expr
    {
        public override ValueKind Kind => Inner.Kind;
    }

    /// <summary><c>-operand</c>. A plus sign leaves no trace, a minus before a number is part of the number.</summary>
    public sealed record Negate(Expr Operand) : Expr
    {
        public override ValueKind Kind => Operand.Kind;
    }

    /// <summary><c>name{matchers} offset x @ y</c></summary>
    /// <param name="Matchers">The name is the last of them, as an equality on <c>__name__</c>, if it was written before the braces.</param>
    /// <param name="NameOutside">The name stood before the braces.</param>
    public sealed record VectorSelector(IReadOnlyList<Matcher> Matchers, bool NameOutside, TimeShift Shift) : Expr
    {
        public override ValueKind Kind => ValueKind.InstantVector;

        public bool Equals(VectorSelector? other)
        {
            if (other is null || Shift != other.Shift || Matchers.Count != other.Matchers.Count)
            {
                return false;
            }

            // All of them have to match, in whatever order they are written.
            var unmatched = other.Matchers.ToList();
            return Matchers.All(unmatched.Remove);
        }

        public override int GetHashCode() => HashCode.Combine(Matchers.Count, Shift);
    }

    /// <summary><c>selector[range]</c>; the offset and <c>@</c> stand on the selector.</summary>
    public sealed record MatrixSelector(VectorSelector Selector, TimeSpan Range) : Expr
    {
        public override ValueKind Kind => ValueKind.RangeVector;
    }

    /// <summary><c>inner[range:step] offset x @ y</c></summary>
    /// <param name="Step">Null: the engine's default.</param>
    public sealed record Subquery(Expr Inner, TimeSpan Range, TimeSpan? Step, TimeShift Shift) : Expr
    {
        public override ValueKind Kind => ValueKind.RangeVector;
    }

    public sealed record Call(Function Function, IReadOnlyList<Expr> Arguments) : Expr
    {
        public override ValueKind Kind => Function.Returns;

        public bool Equals(Call? other) => other is not null && Function == other.Function && Arguments.SequenceEqual(other.Arguments);

        public override int GetHashCode() => HashCode.Combine(Function.Name, Arguments.Count);
    }

    /// <summary><c>operator by (labels) (parameter, operand)</c></summary>
    /// <param name="Parameter">Of <c>topk</c>, <c>bottomk</c>, <c>limitk</c>, <c>limit_ratio</c>, <c>quantile</c>, <c>count_values</c>; otherwise null.</param>
    /// <param name="Without">The labels are those that go, not those that stay.</param>
    public sealed record Aggregate(AggregateOperator Operator, Expr Operand, Expr? Parameter, IReadOnlyList<string> Grouping, bool Without) : Expr
    {
        public override ValueKind Kind => ValueKind.InstantVector;

        public bool Equals(Aggregate? other) =>
            other is not null && Operator == other.Operator && Operand == other.Operand && Parameter == other.Parameter && Without == other.Without
            && Grouping.SequenceEqual(other.Grouping);

        public override int GetHashCode() => HashCode.Combine(Operator, Operand, Grouping.Count, Without);
    }

    /// <param name="ReturnBool">A comparison answers 0 or 1 instead of filtering.</param>
    /// <param name="Matching">Null when one side is a scalar.</param>
    public sealed record Binary(BinaryOperator Operator, Expr Left, Expr Right, bool ReturnBool, VectorMatching? Matching) : Expr
    {
        public override ValueKind Kind =>
            Left.Kind == ValueKind.Scalar && Right.Kind == ValueKind.Scalar ? ValueKind.Scalar : ValueKind.InstantVector;
    }
}

/// <summary>The modifiers <c>offset</c> and <c>@</c> of a selector or subquery.</summary>
/// <param name="Offset">Reads that much earlier; negative reads later.</param>
/// <param name="At">Null: the time of evaluation.</param>
public readonly record struct TimeShift(TimeSpan Offset, AtTime? At = null);

/// <summary><c>@ 1609746000</c>, <c>@ start()</c>, <c>@ end()</c>: the anchor, and the milliseconds when it is a fixed time.</summary>
public readonly record struct AtTime(AtAnchor Anchor, long Milliseconds = 0);

public enum AtAnchor
{
    Fixed,
    Start,
    End,
}

public enum BinaryOperator
{
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    And,
    Or,
    Unless,
}

public enum AggregateOperator
{
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    StdDev,
    StdVar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

public enum Cardinality
{
    OneToOne,

    /// <summary><c>group_left</c></summary>
    ManyToOne,

    /// <summary><c>group_right</c></summary>
    OneToMany,

    /// <summary>Set operators.</summary>
    ManyToMany,
}

/// <summary>How the series of both sides find each other.</summary>
/// <param name="On">Match on <paramref name="Labels"/> only; otherwise on all others.</param>
/// <param name="Include">Labels of the "one" side that the result gets.</param>
public sealed record VectorMatching(Cardinality Cardinality, bool On, IReadOnlyList<string> Labels, IReadOnlyList<string> Include)
{
    public bool Equals(VectorMatching? other) =>
        other is not null && Cardinality == other.Cardinality && On == other.On && Labels.SequenceEqual(other.Labels) && Include.SequenceEqual(other.Include);

    public override int GetHashCode() => HashCode.Combine(Cardinality, On, Labels.Count, Include.Count);
}
