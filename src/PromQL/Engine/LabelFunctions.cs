namespace Platform.PromQL;

/// <summary>The functions that look at labels and not at values.</summary>
internal static class LabelFunctions
{
    /// <exception cref="QueryException">No regular expression, or no label name.</exception>
    public static void Replace(Table table, string target, string replacement, string source, string pattern)
    {
        AnchoredRegex regex;
        try
        {
            regex = new AnchoredRegex(pattern);
        }
        catch (ArgumentException error)
        {
            throw new QueryException(QueryFault.Execution, $"invalid regular expression in label_replace(): {pattern}: {error.Message}");
        }

        CheckName(target, "destination", "label_replace");
        foreach (ref var row in table.Rows)
        {
            if (regex.TryReplace(row.Labels[source], replacement, out var value))
            {
                Set(ref row, target, value);
            }
        }
    }

    /// <exception cref="QueryException">No label name.</exception>
    public static void Join(Table table, string target, string separator, string[] sources)
    {
        foreach (var source in sources)
        {
            CheckName(source, "source", "label_join");
        }

        CheckName(target, "destination", "label_join");
        foreach (ref var row in table.Rows)
        {
            var labels = row.Labels;
            Set(ref row, target, string.Join(separator, sources.Select(source => labels[source])));
        }
    }

    private static void Set(ref Table.Row row, string target, string value)
    {
        row.Labels = row.Labels.With(target, value);

        // A name that was given on purpose stays.
        row.DropName &= target != Labels.MetricName;
    }

    public static void CheckName(string name, string role, string function)
    {
        if (name.Length == 0 || !Literals.IsText(name))
        {
            throw new QueryException(QueryFault.Execution, $"invalid {role} label name in {function}(): {name}");
        }
    }

    /// <summary>The labels that <c>absent</c> can tell from its argument: those that a selector pins to one value.</summary>
    public static Labels OfAbsent(Expr argument)
    {
        var matchers = argument switch
        {
            Expr.VectorSelector selector => selector.Matchers,
            Expr.MatrixSelector matrix => matrix.Selector.Matchers,
            _ => [],
        };
        var labels = Labels.Empty;
        var told = new HashSet<string>();
        foreach (var matcher in matchers)
        {
            if (matcher.Name == Labels.MetricName)
            {
                continue;
            }

            // Named twice, or not by equality: then the label says nothing.
            labels = told.Add(matcher.Name) && matcher.Kind == MatchKind.Equal ? labels.With(matcher.Name, matcher.Value) : labels.Without(matcher.Name);
        }

        return labels;
    }
}
