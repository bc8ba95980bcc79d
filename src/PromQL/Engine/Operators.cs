namespace Platform.PromQL;

/// <summary>
/// The operators over columns. Each is a type of its own, so that the loops are compiled for it and a column is one tight pass.
/// A step without a value on either side has none in the result.
/// </summary>
internal static class Operators
{
    public static bool IsComparison(BinaryOperator operation) => operation is >= BinaryOperator.Equal and <= BinaryOperator.LessOrEqual;

    public static bool IsSet(BinaryOperator operation) => operation is BinaryOperator.And or BinaryOperator.Or or BinaryOperator.Unless;

    /// <summary>Computes into <paramref name="into"/>, which may be one of the sides. Comparisons answer 0 or 1 with <paramref name="asBool"/>; otherwise they keep the value of the left side.</summary>
    /// <param name="keepRight">Comparisons that filter keep the value of the right side: there stands the vector.</param>
    public static void Apply(
        BinaryOperator operation, ReadOnlySpan<double> left, ReadOnlySpan<double> right, Span<double> into, bool asBool, bool keepRight = false)
    {
        switch (operation)
        {
            case BinaryOperator.Add:
                Compute<Add>(left, right, into);
                break;
            case BinaryOperator.Subtract:
                Compute<Subtract>(left, right, into);
                break;
            case BinaryOperator.Multiply:
                Compute<Multiply>(left, right, into);
                break;
            case BinaryOperator.Divide:
                Compute<Divide>(left, right, into);
                break;
            case BinaryOperator.Modulo:
                Compute<Modulo>(left, right, into);
                break;
            case BinaryOperator.Power:
                Compute<Power>(left, right, into);
                break;
            case BinaryOperator.Atan2:
                Compute<Atan2>(left, right, into);
                break;
            case BinaryOperator.Equal:
                Compare<Equal>(left, right, into, asBool, keepRight);
                break;
            case BinaryOperator.NotEqual:
                Compare<NotEqual>(left, right, into, asBool, keepRight);
                break;
            case BinaryOperator.Greater:
                Compare<Greater>(left, right, into, asBool, keepRight);
                break;
            case BinaryOperator.Less:
                Compare<Less>(left, right, into, asBool, keepRight);
                break;
            case BinaryOperator.GreaterOrEqual:
                Compare<GreaterOrEqual>(left, right, into, asBool, keepRight);
                break;
            case BinaryOperator.LessOrEqual:
                Compare<LessOrEqual>(left, right, into, asBool, keepRight);
                break;
            case BinaryOperator.And or BinaryOperator.Or or BinaryOperator.Unless:
                throw new NotSupportedException("Set operators compare no values.");
        }
    }

    private interface IArithmetic
    {
        static abstract double Of(double left, double right);
    }

    private interface IComparison
    {
        static abstract bool Holds(double left, double right);
    }

    private static void Compute<T>(ReadOnlySpan<double> left, ReadOnlySpan<double> right, Span<double> into)
        where T : struct, IArithmetic
    {
        left = left[..into.Length];
        right = right[..into.Length];
        for (var at = 0; at < into.Length; at++)
        {
            var (l, r) = (left[at], right[at]);
            into[at] = Absent.Is(l) || Absent.Is(r) ? Absent.Value : T.Of(l, r);
        }
    }

    private static void Compare<T>(ReadOnlySpan<double> left, ReadOnlySpan<double> right, Span<double> into, bool asBool, bool keepRight)
        where T : struct, IComparison
    {
        for (var at = 0; at < into.Length; at++)
        {
            var (l, r) = (left[at], right[at]);
            if (Absent.Is(l) || Absent.Is(r))
            {
                into[at] = Absent.Value;
            }
            else if (asBool)
            {
                into[at] = T.Holds(l, r) ? 1 : 0;
            }
            else
            {
                into[at] = T.Holds(l, r) ? keepRight ? r : l : Absent.Value;
            }
        }
    }

    private readonly struct Add : IArithmetic
    {
        public static double Of(double left, double right) => left + right;
    }

    private readonly struct Subtract : IArithmetic
    {
        public static double Of(double left, double right) => left - right;
    }

    private readonly struct Multiply : IArithmetic
    {
        public static double Of(double left, double right) => left * right;
    }

    private readonly struct Divide : IArithmetic
    {
        public static double Of(double left, double right) => left / right;
    }

    private readonly struct Modulo : IArithmetic
    {
        public static double Of(double left, double right) => left % right;
    }

    private readonly struct Power : IArithmetic
    {
        public static double Of(double left, double right) => Math.Pow(left, right);
    }

    private readonly struct Atan2 : IArithmetic
    {
        public static double Of(double left, double right) => Math.Atan2(left, right);
    }

    private readonly struct Equal : IComparison
    {
        public static bool Holds(double left, double right) => left == right;
    }

    private readonly struct NotEqual : IComparison
    {
        public static bool Holds(double left, double right) => left != right;
    }

    private readonly struct Greater : IComparison
    {
        public static bool Holds(double left, double right) => left > right;
    }

    private readonly struct Less : IComparison
    {
        public static bool Holds(double left, double right) => left < right;
    }

    private readonly struct GreaterOrEqual : IComparison
    {
        public static bool Holds(double left, double right) => left >= right;
    }

    private readonly struct LessOrEqual : IComparison
    {
        public static bool Holds(double left, double right) => left <= right;
    }
}
