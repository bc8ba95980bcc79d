using System.Globalization;
using Platform.ServiceDefaults;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace Platform.Alerting.Routing;

/// <summary>
/// The only way in for YAML (and JSON) that people send. A few bytes of it can stand for more than any machine has: a list of lists of aliases
/// multiplies, an alias inside of what it names never ends, and a hundred thousand brackets overflow the stack of whatever walks the nodes,
/// which ends the process. So the parser's events, which come one by one and cost nothing, are looked at before a single node is made.
/// </summary>
internal static class YamlText
{
    public const int Deepest = 50;
    public const int MostNodes = 200_000;

    /// <summary>The documents of the text; none when it is empty.</summary>
    /// <exception cref="YamlException">It is no YAML, or none that is taken: the message says what to do, the exception where.</exception>
    public static IList<YamlDocument> Read(string text)
    {
        Look(text);
        var stream = new YamlStream();
        stream.Load(new StringReader(text));
        return stream.Documents;
    }

    private static void Look(string text)
    {
        var parser = new Parser(new StringReader(text));
        var (depth, nodes) = (0, 0);
        while (parser.MoveNext())
        {
            var found = parser.Current!;
            if (found is AnchorAlias or NodeEvent { Anchor.IsEmpty: false })
            {
                throw Refused(found, "anchors (&name) and aliases (*name) are not taken; write out what they stand for.");
            }

            if (found is NodeEvent && ++nodes > MostNodes)
            {
                throw Refused(found, string.Create(CultureInfo.InvariantCulture, $"there are more than {MostNodes} keys and values; split the text into several."));
            }

            if (found is Scalar scalar && StorableText.Clean(scalar.Value) != scalar.Value)
            {
                throw Refused(found, "this text holds U+0000 or half of a character, which cannot be stored; leave it out.");
            }

            depth += found switch { MappingStart or SequenceStart => 1, MappingEnd or SequenceEnd => -1, _ => 0 };
            if (depth > Deepest)
            {
                throw Refused(found, string.Create(CultureInfo.InvariantCulture, $"lists and mappings are nested more than {Deepest} deep; nothing that is read here is."));
            }
        }
    }

    private static YamlException Refused(ParsingEvent at, string why) => new(at.Start, at.End, why);
}
