namespace Platform.PromQL;

/// <summary>What one selector of an expression reads: samples from <see cref="Earliest"/> to <see cref="Latest"/> around a time.</summary>
/// <param name="Anchor">Null: around the time of evaluation. Otherwise around that time, whenever the expression is evaluated.</param>
/// <param name="Earliest">Added to that time; usually negative.</param>
/// <param name="Latest">Added to that time; positive only where the expression looks ahead (negative offsets).</param>
public sealed record SelectorReach(Expr.VectorSelector Selector, AtTime? Anchor, TimeSpan Earliest, TimeSpan Latest);

/// <summary>The selectors of an expression: the only places where it reads data.</summary>
public static class Selectors
{
    /// <summary>Every selector in the order of the text, the same one as often as it is written.</summary>
    /// <param name="lookBack">How old the sample of an instant selector may be.</param>
    public static IReadOnlyList<SelectorReach> Of(Expr expr, TimeSpan lookBack)
    {
        var found = new List<SelectorReach>();
        Collect(expr, null, TimeSpan.Zero, TimeSpan.Zero, lookBack, found);
        return found;
    }

    /// <summary>The expression with each selector replaced; those of ranges keep their range.</summary>
    public static Expr Rewrite(Expr expr, Func<Expr.VectorSelector, Expr.VectorSelector> replace) => expr switch
    {
        Expr.Number or Expr.Text => expr,
        Expr.Parentheses parentheses => parentheses with { Inner = Rewrite(parentheses.Inner, replace) },
        Expr.Negate negate => negate with { Operand = Rewrite(negate.Operand, replace) },
        Expr.VectorSelector selector => replace(selector),
        Expr.MatrixSelector matrix => matrix with { Selector = replace(matrix.Selector) },
        Expr.Subquery subquery => subquery with { Inner = Rewrite(subquery.Inner, replace) },
        Expr.Call call => call with { Arguments = [.. call.Arguments.Select(argument => Rewrite(argument, replace))] },
        Expr.Aggregate aggregate => aggregate with
        {
            Operand = Rewrite(aggregate.Operand, replace),
            Parameter = aggregate.Parameter is { } parameter ? Rewrite(parameter, replace) : null,
        },
        Expr.Binary binary => binary with { Left = Rewrite(binary.Left, replace), Right = Rewrite(binary.Right, replace) },
        // A kind of expression that is new here must not slip through unseen.
        _ => throw new NotSupportedException($"No rule rewrites {expr.GetType().Name}."),
    };

    /// <summary>
    /// The expression over fewer series: each selector also demands <paramref name="matcher"/>. What the expression demands of the same
    /// label stays and holds as well, so that nothing written in it reaches other series.
    /// </summary>
    public static Expr WithMatcher(Expr expr, Matcher matcher) =>
        // In front, because a name written before the braces is the last one.
        Rewrite(expr, selector => selector with { Matchers = [matcher, .. selector.Matchers] });

    private static void Collect(Expr expr, AtTime? anchor, TimeSpan earliest, TimeSpan latest, TimeSpan lookBack, List<SelectorReach> found)
    {
        switch (expr)
        {
            case Expr.Number or Expr.Text:
                break;
            case Expr.Parentheses parentheses:
                Collect(parentheses.Inner, anchor, earliest, latest, lookBack, found);
                break;
            case Expr.Negate negate:
                Collect(negate.Operand, anchor, earliest, latest, lookBack, found);
                break;
            case Expr.VectorSelector selector:
                Add(selector, lookBack);
                break;
            case Expr.MatrixSelector matrix:
                Add(matrix.Selector, matrix.Range);
                break;
            case Expr.Subquery subquery:
                var (at, from, to) = Shifted(subquery.Shift);
                Collect(subquery.Inner, at, from - subquery.Range, to, lookBack, found);
                break;
            case Expr.Call call:
                foreach (var argument in call.Arguments)
                {
                    Collect(argument, anchor, earliest, latest, lookBack, found);
                }

                break;
            case Expr.Aggregate aggregate:
                if (aggregate.Parameter is { } parameter)
                {
                    Collect(parameter, anchor, earliest, latest, lookBack, found);
                }

                Collect(aggregate.Operand, anchor, earliest, latest, lookBack, found);
                break;
            case Expr.Binary binary:
                Collect(binary.Left, anchor, earliest, latest, lookBack, found);
                Collect(binary.Right, anchor, earliest, latest, lookBack, found);
                break;
            default:
                throw new NotSupportedException($"No rule walks {expr.GetType().Name}.");
        }

        void Add(Expr.VectorSelector selector, TimeSpan back)
        {
            var (at, from, to) = Shifted(selector.Shift);
            found.Add(new(selector, at, from - back, to));
        }

        // An own @ makes it irrelevant when the parts around are evaluated.
        (AtTime? At, TimeSpan From, TimeSpan To) Shifted(TimeShift shift) =>
            shift.At is { } own ? (own, -shift.Offset, -shift.Offset) : (anchor, earliest - shift.Offset, latest - shift.Offset);
    }
}
