using System.Text;
using Platform.SampleStore;

namespace Platform.Metrics.Scraping;

/// <summary>HELP, TYPE and UNIT of what a target exposes; told to the store when they change, not at every scrape.</summary>
internal sealed class Families(string realm)
{
    // Beyond this a target makes up names; its samples are kept, the descriptions of further families are not.
    private const int Most = 20_000;
    private const int LongestHelp = 2_048;

    private readonly Dictionary<byte[], Family> _known = new(SeriesCache.Bytes.Comparer);
    private readonly List<Family> _changed = [];

    public void Take(TextEntry entry, ReadOnlySpan<byte> name, ReadOnlySpan<byte> text)
    {
        var lookup = _known.GetAlternateLookup<ReadOnlySpan<byte>>();
        if (!lookup.TryGetValue(name, out var family))
        {
            if (_known.Count >= Most)
            {
                return;
            }

            lookup[name] = family = new(TextFormatReader.Unescape(name));
        }

        text = text.Length <= LongestHelp ? text : text[..LongestHelp];
        ref var part = ref family.Parts[entry == TextEntry.Help ? 0 : entry == TextEntry.Type ? 1 : 2];
        if (!text.SequenceEqual(part))
        {
            part = text.ToArray();
            if (!family.IsChanged)
            {
                family.IsChanged = true;
                _changed.Add(family);
            }
        }
    }

    public void DescribeChanged(WriteBatch batch)
    {
        foreach (var family in _changed)
        {
            family.IsChanged = false;
            var type = Encoding.UTF8.GetString(family.Parts[1]);
            batch.Describe(new(realm, family.Name, type is "" or "untyped" ? "unknown" : type, TextFormatReader.Unescape(family.Parts[0]), Encoding.UTF8.GetString(family.Parts[2])));
        }

        _changed.Clear();
    }

    private sealed class Family(string name)
    {
        public string Name => name;

        public byte[][] Parts { get; } = [[], [], []];

        public bool IsChanged { get; set; }
    }
}
