namespace Platform.PromQL;

/// <summary>Warnings and infos of one query, each once, in the words of Prometheus and with the place they point to.</summary>
internal sealed class Notes(string? text)
{
    // Workers report at once; a query has few notes, and workers remember what they have reported.
    private readonly Lock _lock = new();
    private readonly List<string> _warnings = [];
    private readonly List<string> _infos = [];

    public IReadOnlyList<string> Warnings => _warnings;

    public IReadOnlyList<string> Infos => _infos;

    public void Warn(string message, Position at) => Add(_warnings, $"PromQL warning: {message} ({Place(at)})");

    public void Inform(string message, Position at) => Add(_infos, $"PromQL info: {message} ({Place(at)})");

    private void Add(List<string> notes, string note)
    {
        // Guards both lists.
        lock (_lock)
        {
            if (!notes.Contains(note))
            {
                notes.Add(note);
            }
        }
    }

    /// <summary>Line and column, counted from one.</summary>
    private string Place(Position at)
    {
        var (line, column) = (1, 1);
        for (var index = 0; index < at.From; index++)
        {
            (line, column) = text is not null && index < text.Length && text[index] == '\n' ? (line + 1, 1) : (line, column + 1);
        }

        return $"{line}:{column}";
    }
}
