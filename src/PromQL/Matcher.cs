namespace Platform.PromQL;

public enum MatchKind
{
    /// <summary><c>=</c></summary>
    Equal,

    /// <summary><c>!=</c></summary>
    NotEqual,

    /// <summary><c>=~</c></summary>
    Regex,

    /// <summary><c>!~</c></summary>
    NotRegex,
}

/// <summary>
/// One condition on a label. A label that is not there has the empty string as its value. Regular expressions are those of RE2 and are
/// anchored at both ends, see <see cref="AnchoredRegex"/>.
/// </summary>
public sealed record Matcher
{
    private readonly AnchoredRegex? _regex;

    /// <exception cref="ArgumentException">The pattern is no regular expression; the message is fit for the person who wrote it.</exception>
    public Matcher(string name, MatchKind kind, string value)
    {
        Name = name;
        Kind = kind;
        Value = value;
        if (kind is MatchKind.Regex or MatchKind.NotRegex)
        {
            _regex = new(value);
        }

        SetMatches = _regex is null ? [value] : _regex.SetMatches;
        Prefix = _regex?.Prefix ?? value;
    }

    public string Name { get; }

    public MatchKind Kind { get; }

    /// <summary>The text to compare with, or the pattern as written.</summary>
    public string Value { get; }

    /// <summary>
    /// Every value that the text or pattern stands for, each once, when they can be listed; otherwise null. For the negative kinds those
    /// are the values that are refused.
    /// </summary>
    public IReadOnlyList<string>? SetMatches { get; }

    /// <summary>What every value that the text or pattern stands for begins with; may be empty.</summary>
    public string Prefix { get; }

    public bool Matches(string value) => Kind switch
    {
        MatchKind.Equal => value == Value,
        MatchKind.NotEqual => value != Value,
        MatchKind.Regex => _regex!.Matches(value),
        MatchKind.NotRegex => !_regex!.Matches(value),
    };

    public bool Equals(Matcher? other) => other is not null && Name == other.Name && Kind == other.Kind && Value == other.Value;

    public override int GetHashCode() => HashCode.Combine(Name, Kind, Value);
}
