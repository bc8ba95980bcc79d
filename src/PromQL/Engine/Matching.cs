namespace Platform.PromQL;

/// <summary>
/// Operators between two vectors. Which series belong together is settled once for each series; step by step only where several series of
/// one side share the labels that match.
/// </summary>
internal sealed class Matching
{
    private readonly Table _left;
    private readonly Table _right;
    private readonly VectorMatching _on;
    private readonly Groups _signatures;
    private readonly int[] _leftSignatures;
    private readonly int[] _rightSignatures;
    private Groups? _kept;

    public Matching(Table left, Table right, VectorMatching on)
    {
        (_left, _right, _on) = (left, right, on);
        _signatures = on.On ? new Groups(on.Labels, only: true) : new Groups([.. on.Labels, Labels.MetricName], only: false);
        _leftSignatures = SignaturesOf(left);
        _rightSignatures = SignaturesOf(right);
    }

    private int[] SignaturesOf(Table table)
    {
        var signatures = new int[table.Count];
        for (var row = 0; row < signatures.Length; row++)
        {
            signatures[row] = _signatures.Of(table.Rows[row].Labels);
        }

        return signatures;
    }

    /// <summary>and: what has a partner; unless: what has none. Works on the left side.</summary>
    public Table Filter(bool partnered)
    {
        var present = Presence(_right, _rightSignatures);
        for (var row = 0; row < _left.Count; row++)
        {
            Mask(_left[row], present[_leftSignatures[row]], partnered);
        }

        _left.Recount();
        return _left;
    }

    /// <summary>The left side, and of the right one what has no partner. Two rows may be called the same.</summary>
    public Table Or()
    {
        var present = Presence(_left, _leftSignatures);
        for (var row = 0; row < _right.Count; row++)
        {
            Mask(_right[row], present[_rightSignatures[row]], keepPresent: false);
        }

        _right.Recount();
        _left.Append(_right);
        return _left;
    }

    /// <summary>For each signature the steps at which some series has a value; null: none at any.</summary>
    private bool[]?[] Presence(Table table, int[] signatures)
    {
        var present = new bool[]?[_signatures.Count];
        for (var row = 0; row < table.Count; row++)
        {
            var steps = present[signatures[row]] ??= new bool[table.Steps];
            var column = table[row];
            for (var step = 0; step < column.Length; step++)
            {
                steps[step] |= !Absent.Is(column[step]);
            }
        }

        return present;
    }

    private static void Mask(Span<double> column, bool[]? present, bool keepPresent)
    {
        if (present is null)
        {
            if (keepPresent)
            {
                column.Fill(Absent.Value);
            }

            return;
        }

        for (var step = 0; step < column.Length; step++)
        {
            if (present[step] != keepPresent)
            {
                column[step] = Absent.Value;
            }
        }
    }

    /// <summary>Arithmetic and comparison.</summary>
    /// <param name="delayed">See <see cref="EngineOptions.DelayedNameRemoval"/>.</param>
    /// <param name="mayRepeat">Rows of the result may be called the same; they never have a value at the same step.</param>
    /// <exception cref="QueryException">A series has several partners where one is wanted.</exception>
    public Table Compute(BinaryOperator operation, bool asBool, bool delayed, Position at, out bool mayRepeat)
    {
        // The "many" side keeps its series; the "one" side is looked up. One to one is the case where "many" may be only one, too.
        var swapped = _on.Cardinality == Cardinality.OneToMany;
        var (many, manySignatures) = swapped ? (_right, _rightSignatures) : (_left, _leftSignatures);
        var (one, oneSignatures) = swapped ? (_left, _leftSignatures) : (_right, _rightSignatures);
        var partners = FindPartners(one, oneSignatures, many, swapped, at);
        var dropsName = !Operators.IsComparison(operation) || (asBool && !delayed);
        mayRepeat = partners.TakeTurns || MayRepeat(many, manySignatures, dropsName);
        var matched = new Dictionary<(int Signature, Labels? Result), bool[]>();

        var result = new Table(many.Steps);
        for (var row = 0; row < many.Count; row++)
        {
            for (var partner = partners.First[manySignatures[row]]; partner >= 0; partner = partners.Next(partner))
            {
                var labels = ResultOf(many.Rows[row].Labels, one.Rows[partner].Labels, dropsName);
                var left = swapped ? one[partner] : many[row];
                var right = swapped ? many[row] : one[partner];
                var column = result.Room();
                Operators.Apply(operation, left, right, column, asBool);
                if (mayRepeat)
                {
                    CheckUnique(matched, manySignatures[row], labels, left, right, column, at);
                }

                var points = Absent.CountPresent(column);
                if (points > 0)
                {
                    result.Add(labels, asBool, points);
                }
            }
        }

        return result;
    }

    /// <summary>The rows of the "one" side by signature: as a rule one, or several that have their values at different steps.</summary>
    private sealed class Partners(int signatures)
    {
        private int[]? _next;

        public int[] First { get; } = NewChain(signatures);

        public bool TakeTurns => _next is not null;

        public int Next(int row) => _next is null ? -1 : _next[row];

        public void Add(int signature, int row, int rows)
        {
            if (First[signature] >= 0)
            {
                _next ??= NewChain(rows);
                _next[row] = First[signature];
            }

            First[signature] = row;
        }

        private static int[] NewChain(int length)
        {
            var chain = new int[length];
            chain.AsSpan().Fill(-1);
            return chain;
        }
    }

    private Partners FindPartners(Table one, int[] signatures, Table many, bool swapped, Position at)
    {
        var partners = new Partners(_signatures.Count);
        var taken = new Dictionary<int, bool[]>();
        bool[]? occupied = null;
        for (var row = 0; row < one.Count; row++)
        {
            var signature = signatures[row];
            var first = partners.First[signature];
            if (first >= 0)
            {
                occupied ??= Occupied(many);
                if (!taken.TryGetValue(signature, out var steps))
                {
                    taken.Add(signature, steps = new bool[one.Steps]);
                    Take(steps, one[first]);
                }

                if (Meet(one[row], steps, occupied) is var step and >= 0)
                {
                    while (Absent.Is(one[first][step]))
                    {
                        first = partners.Next(first);
                    }

                    throw Twins(one.Rows[first].Labels, one.Rows[row].Labels, swapped, at);
                }

                Take(steps, one[row]);
            }

            partners.Add(signature, row, one.Count);
        }

        return partners;
    }

    private QueryException Twins(Labels left, Labels right, bool swapped, Position at)
    {
        Labels[] twins = [left, right];
        Array.Sort(twins, (one, other) => one.CompareTo(other));
        return new QueryException(
            QueryFault.Execution,
            $"found duplicate series for the match group {Written(_signatures.LabelsOf(left))} on the {(swapped ? "left" : "right")} hand-side of the operation: "
                + $"[{Written(twins[0])}, {Written(twins[1])}];many-to-many matching not allowed: matching labels must be unique on one side",
            at);
    }

    private static void Take(bool[] steps, ReadOnlySpan<double> column)
    {
        for (var step = 0; step < column.Length; step++)
        {
            steps[step] |= !Absent.Is(column[step]);
        }
    }

    /// <summary>The first step that is taken already, and where the other side has something to match; -1: none.</summary>
    private static int Meet(ReadOnlySpan<double> column, bool[] taken, bool[] occupied)
    {
        for (var step = 0; step < column.Length; step++)
        {
            if (taken[step] && occupied[step] && !Absent.Is(column[step]))
            {
                return step;
            }
        }

        return -1;
    }

    /// <summary>The steps at which some series has a value. At the others nothing is matched, and doubles on the other side do no harm.</summary>
    private static bool[] Occupied(Table table)
    {
        var occupied = new bool[table.Steps];
        for (var row = 0; row < table.Count; row++)
        {
            Take(occupied, table[row]);
        }

        return occupied;
    }

    /// <summary>Whether two series of the "many" side can give results that are called the same. Most often that is out of the question.</summary>
    private bool MayRepeat(Table many, int[] signatures, bool dropsName)
    {
        if (_on.Cardinality == Cardinality.OneToOne)
        {
            var seen = new bool[_signatures.Count];
            foreach (var signature in signatures)
            {
                if (seen[signature])
                {
                    return true;
                }

                seen[signature] = true;
            }

            return false;
        }

        for (var row = 0; row < many.Count; row++)
        {
            var labels = many.Rows[row].Labels;
            if (dropsName && labels.Name != many.Rows[0].Labels.Name)
            {
                return true;
            }

            foreach (var name in _on.Include)
            {
                if (labels[name].Length > 0)
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <exception cref="QueryException">
    /// Two series of the "many" side give the same result at the same step. One to one, they may not even meet the same partner; with a
    /// group, what a comparison filters is no result.
    /// </exception>
    private void CheckUnique(
        Dictionary<(int Signature, Labels? Result), bool[]> matched, int signature, Labels labels,
        ReadOnlySpan<double> left, ReadOnlySpan<double> right, ReadOnlySpan<double> column, Position at)
    {
        var oneToOne = _on.Cardinality == Cardinality.OneToOne;
        var key = (signature, oneToOne ? null : labels);
        if (!matched.TryGetValue(key, out var steps))
        {
            matched.Add(key, steps = new bool[column.Length]);
        }

        for (var step = 0; step < steps.Length; step++)
        {
            if (oneToOne ? Absent.Is(left[step]) || Absent.Is(right[step]) : Absent.Is(column[step]))
            {
                continue;
            }

            if (steps[step])
            {
                throw new QueryException(
                    QueryFault.Execution,
                    oneToOne ? "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                        : "multiple matches for labels: grouping labels must ensure unique matches",
                    at);
            }

            steps[step] = true;
        }
    }

    private Labels ResultOf(Labels many, Labels one, bool dropsName)
    {
        var labels = dropsName ? many.WithoutReserved() : many;
        if (_on.Cardinality == Cardinality.OneToOne && (_on.On || _on.Labels.Count > 0))
        {
            labels = (_kept ??= new Groups(_on.Labels, only: _on.On)).LabelsOf(labels);
        }

        foreach (var name in _on.Include)
        {
            labels = labels.With(name, one[name]);
        }

        return labels;
    }

    /// <summary>As messages show a series: with the name among the labels.</summary>
    private static string Written(Labels labels)
    {
        var parts = new string[labels.Count];
        for (var index = 0; index < parts.Length; index++)
        {
            parts[index] = $"{labels.NameAt(index)}={Printer.Quote(labels.ValueAt(index))}";
        }

        return $"{{{string.Join(", ", parts)}}}";
    }
}
