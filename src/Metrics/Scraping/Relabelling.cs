using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Platform.PromQL;

namespace Platform.Metrics.Scraping;

public enum RelabelAction
{
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// <summary>
/// One step of Prometheus' relabelling, checked. Steps are pure: labels in, labels out or nothing. The regular expression is anchored at
/// both ends and matched in linear time.
/// </summary>
public sealed class RelabelStep
{
    /// <exception cref="ArgumentException">The step is not complete or its expression is none; the message names the key and the remedy.</exception>
    public RelabelStep(
        RelabelAction action, IReadOnlyList<string> sources, string separator = ";", string regex = "(.*)", ulong modulus = 0, string target = "", string replacement = "$1")
    {
        (Action, Sources, Separator, Modulus, Target, Replacement) = (action, sources, separator, modulus, target, replacement);
        Pattern = regex;
        Regex = new AnchoredRegex(regex);
        if (action is RelabelAction.Replace or RelabelAction.HashMod or RelabelAction.Lowercase or RelabelAction.Uppercase or RelabelAction.KeepEqual or RelabelAction.DropEqual && target.Length == 0)
        {
            throw new ArgumentException($"the action {action.ToString().ToLowerInvariant()} needs target_label.");
        }

        if (action == RelabelAction.HashMod && modulus == 0)
        {
            throw new ArgumentException("the action hashmod needs a modulus above 0.");
        }
    }

    public RelabelAction Action { get; }

    public IReadOnlyList<string> Sources { get; }

    public string Separator { get; }

    public string Pattern { get; }

    public ulong Modulus { get; }

    public string Target { get; }

    public string Replacement { get; }

    private AnchoredRegex Regex { get; }

    /// <summary>Applies the steps in order.</summary>
    /// <returns>False when a step drops what the labels stand for.</returns>
    public static bool Apply(IReadOnlyList<RelabelStep> steps, LabelSet labels)
    {
        foreach (var step in steps)
        {
            if (!step.Apply(labels))
            {
                return false;
            }
        }

        return true;
    }

    private bool Apply(LabelSet labels)
    {
        var value = Source(labels);
        switch (Action)
        {
            case RelabelAction.Keep:
                return Regex.Matches(value);
            case RelabelAction.Drop:
                return !Regex.Matches(value);
            case RelabelAction.KeepEqual:
                return labels[Target] == value;
            case RelabelAction.DropEqual:
                return labels[Target] != value;
            case RelabelAction.Replace:
                Replace(labels, value);
                break;
            case RelabelAction.HashMod:
                labels[Target] = (Hash(value) % Modulus).ToString(CultureInfo.InvariantCulture);
                break;
            case RelabelAction.LabelMap:
                foreach (var (name, mapped) in labels.ToArray())
                {
                    if (Regex.TryReplace(name, Replacement, out var target))
                    {
                        labels[target] = mapped;
                    }
                }

                break;
            case RelabelAction.LabelDrop:
                labels.RemoveAll(Regex.Matches);
                break;
            case RelabelAction.LabelKeep:
                labels.RemoveAll(name => !Regex.Matches(name));
                break;
            case RelabelAction.Lowercase:
                labels[Target] = value.ToLowerInvariant();
                break;
            case RelabelAction.Uppercase:
                labels[Target] = value.ToUpperInvariant();
                break;
        }

        return true;
    }

    private string Source(LabelSet labels) => Sources.Count switch
    {
        0 => "",
        1 => labels[Sources[0]],
        _ => string.Join(Separator, Sources.Select(name => labels[name])),
    };

    private void Replace(LabelSet labels, string value)
    {
        // A target that does not come out as a name of a label leaves everything as it is.
        if (Regex.TryReplace(value, Target, out var target) && IsLabelName(target) && Regex.TryReplace(value, Replacement, out var replaced))
        {
            labels[target] = replaced;
        }
    }

    /// <summary>The last eight bytes of MD5, big-endian: the same shards as Prometheus makes.</summary>
    [SuppressMessage("Security", "CA5351", Justification = "Spreads targets over shards; nothing secret, and the algorithm is given.")]
    internal static ulong Hash(string value) => BinaryPrimitives.ReadUInt64BigEndian(MD5.HashData(Encoding.UTF8.GetBytes(value)).AsSpan(8));

    internal static bool IsLabelName(string name) =>
        name.Length > 0 && !char.IsAsciiDigit(name[0]) && name.All(letter => char.IsAsciiLetterOrDigit(letter) || letter == '_');
}

/// <summary>Labels while they are being made. An empty value means that the label is not there.</summary>
public sealed class LabelSet : IEnumerable<KeyValuePair<string, string>>
{
    private readonly List<KeyValuePair<string, string>> _labels = [];

    public LabelSet()
    {
    }

    public LabelSet(IEnumerable<KeyValuePair<string, string>> labels)
    {
        foreach (var (name, value) in labels)
        {
            this[name] = value;
        }
    }

    public int Count => _labels.Count;

    public string this[string name]
    {
        get => _labels.Find(label => label.Key == name).Value ?? "";
        set
        {
            var at = _labels.FindIndex(label => label.Key == name);
            if (value.Length == 0)
            {
                if (at >= 0)
                {
                    _labels.RemoveAt(at);
                }
            }
            else if (at >= 0)
            {
                _labels[at] = new(name, value);
            }
            else
            {
                _labels.Add(new(name, value));
            }
        }
    }

    public void Clear() => _labels.Clear();

    public void RemoveAll(Func<string, bool> isUnwanted) => _labels.RemoveAll(label => isUnwanted(label.Key));

    public Labels ToLabels()
    {
        var sorted = _labels.ToArray();
        Array.Sort(sorted, (left, right) => string.CompareOrdinal(left.Key, right.Key));
        var flat = new string[2 * sorted.Length];
        for (var index = 0; index < sorted.Length; index++)
        {
            (flat[2 * index], flat[2 * index + 1]) = (sorted[index].Key, sorted[index].Value);
        }

        return Labels.FromSorted(flat);
    }

    public IEnumerator<KeyValuePair<string, string>> GetEnumerator() => _labels.GetEnumerator();

    System.Collections.IEnumerator System.Collections.IEnumerable.GetEnumerator() => GetEnumerator();
}
