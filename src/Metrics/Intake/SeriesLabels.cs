using System.Text;
using System.Text.Unicode;
using Platform.PromQL;

namespace Platform.Metrics.Intake;

/// <summary>
/// The labels of one series while they are taken in: names and values in any order become <see cref="Labels"/>, or a sentence that says
/// what is wrong with them. The label <c>realm</c> is the credential's, whatever was sent. Used again for the next series.
/// </summary>
internal sealed class SeriesLabels(string realm)
{
    public const string Realm = "realm";

    private const int Shown = 200;
    private const int MostLabels = 2_048;

    private readonly List<KeyValuePair<string, string>> _pairs = [];
    private string? _fault;

    public void Clear()
    {
        _pairs.Clear();
        _fault = null;
    }

    public void Add(ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        if (!Utf8.IsValid(name) || !Utf8.IsValid(value))
        {
            _fault ??= $"the label \"{Shorten(Encoding.UTF8.GetString(name))}\" is not valid UTF-8";
            return;
        }

        Add(Encoding.UTF8.GetString(name), Encoding.UTF8.GetString(value));
    }

    public void Add(string name, string value)
    {
        if (_pairs.Count == MostLabels)
        {
            _fault ??= $"it has more than {MostLabels} labels";
            return;
        }

        if (name.Length == 0)
        {
            _fault ??= "a label has an empty name";
        }
        else if (name.Contains('\0', StringComparison.Ordinal) || value.Contains('\0', StringComparison.Ordinal))
        {
            _fault ??= $"the label \"{Shorten(name)}\" holds the character U+0000, which cannot be stored";
        }

        _pairs.Add(new(name, value));
    }

    /// <returns>Null when they name no series, with the fault.</returns>
    public Labels? Build(out string? fault)
    {
        _pairs.RemoveAll(pair => pair.Key == Realm);
        _pairs.Add(new(Realm, realm));
        _pairs.Sort((left, right) => string.CompareOrdinal(left.Key, right.Key));
        var named = false;
        for (var index = 0; index < _pairs.Count; index++)
        {
            if (index > 0 && _pairs[index].Key == _pairs[index - 1].Key)
            {
                _fault ??= $"the label \"{Shorten(_pairs[index].Key)}\" comes twice";
            }

            named |= _pairs[index].Key == Labels.MetricName && _pairs[index].Value.Length > 0;
        }

        fault = _fault ?? (named ? null : "it has no name (label __name__)");
        if (fault is not null)
        {
            return null;
        }

        _pairs.RemoveAll(pair => pair.Value.Length == 0);
        var flat = new string[2 * _pairs.Count];
        for (var index = 0; index < _pairs.Count; index++)
        {
            flat[2 * index] = _pairs[index].Key;
            flat[2 * index + 1] = _pairs[index].Value;
        }

        return Labels.FromSorted(flat);
    }

    /// <summary>As it was sent, for messages.</summary>
    public override string ToString()
    {
        var text = new StringBuilder(_pairs.Find(pair => pair.Key == Labels.MetricName).Value).Append('{');
        foreach (var (name, value) in _pairs)
        {
            if (name is not (Labels.MetricName or Realm))
            {
                text.Append(text[^1] == '{' ? "" : ", ").Append(name).Append("=\"").Append(value).Append('"');
            }

            if (text.Length > Shown)
            {
                break;
            }
        }

        return Shorten(text.Append('}').ToString());
    }

    private static string Shorten(string text) => text.Length <= Shown ? text : text[..Shown] + "…";
}
