namespace Platform.PromQL;

internal static class Syntax
{
    /// <summary>Without the parentheses around it.</summary>
    public static Expr Bare(Expr expr)
    {
        while (expr is Expr.Parentheses parentheses)
        {
            expr = parentheses.Inner;
        }

        return expr;
    }

    public static string TextOf(Expr expr) => ((Expr.Text)Bare(expr)).Value;

    public static Expr VectorOf(Expr.Call call) => call.Arguments.First(argument => argument.Kind == ValueKind.InstantVector);

    public static Expr.Subquery SubqueryOf(Expr.Call call) => (Expr.Subquery)Bare(call.Arguments.First(argument => argument.Kind == ValueKind.RangeVector));
}
