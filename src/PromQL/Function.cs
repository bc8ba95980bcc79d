namespace Platform.PromQL;

/// <summary>Name and signature of a function. The parser checks calls against it; the engine's table holds what it does.</summary>
/// <param name="Arguments">Types in order; with <paramref name="Optional"/> or <paramref name="Variadic"/> the last may be left out or repeated.</param>
/// <param name="Optional">How many of the last arguments may be left out.</param>
/// <param name="Variadic">The last argument may come any number of times, zero included.</param>
public sealed record Function(string Name, ValueKind Returns, IReadOnlyList<ValueKind> Arguments, int Optional = 0, bool Variadic = false)
{
    public bool Equals(Function? other) => other is not null && Name == other.Name;

    public override int GetHashCode() => Name.GetHashCode(StringComparison.Ordinal);
}
