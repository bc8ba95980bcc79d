using System.Text.RegularExpressions;

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

/// <summary>One condition on a label. A label that is not there has the empty string as its value. Regular expressions are anchored at both ends.</summary>
public sealed record Matcher
{
    private readonly Regex? _regex;

    /// <exception cref="ArgumentException">The pattern is no regular expression.</exception>
    public Matcher(string name, MatchKind kind, string value)
    {
        Name = name;
        Kind = kind;
        Value = value;
        if (kind is MatchKind.Regex or MatchKind.NotRegex)
        {
            // Without backtracking, matching takes time linear in the input: a pattern cannot be used to stall the service.
            _regex = new Regex($@"\A(?s:{value})\z", RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);
        }
    }

    public string Name { get; }

    public MatchKind Kind { get; }

    /// <summary>The text to compare with, or the pattern as written.</summary>
    public string Value { get; }

    public bool Matches(string value) => Kind switch
    {
        MatchKind.Equal => value == Value,
        MatchKind.NotEqual => value != Value,
        MatchKind.Regex => _regex!.IsMatch(value),
        MatchKind.NotRegex => !_regex!.IsMatch(value),
    };

    public bool Equals(Matcher? other) => other is not null && Name == other.Name && Kind == other.Kind && Value == other.Value;

    public override int GetHashCode() => HashCode.Combine(Name, Kind, Value);
}
