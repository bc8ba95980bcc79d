using System.Globalization;
using System.Text;
using Microsoft.Net.Http.Headers;
using Platform.Metrics.Scraping;

namespace Platform.Metrics.Exposition;

/// <summary>Writes families as text 0.0.4 or OpenMetrics 1.0, in the order given, each point once.</summary>
public static class ExpositionText
{
    public const string Prometheus = "text/plain; version=0.0.4; charset=utf-8";
    public const string OpenMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// <summary>OpenMetrics for those who prefer it to plain text, plain text for everybody else.</summary>
    public static TextFormat Preferred(IList<MediaTypeHeaderValue>? accepted)
    {
        var (open, plain) = (0.0, 0.0);
        foreach (var type in accepted ?? [])
        {
            var quality = type.Quality ?? 1;
            if (type.MediaType == "application/openmetrics-text")
            {
                open = Math.Max(open, quality);
            }
            else if (type.MediaType == "text/plain")
            {
                plain = Math.Max(plain, quality);
            }
        }

        return open > 0 && open >= plain ? TextFormat.OpenMetrics : TextFormat.Prometheus;
    }

    public static string Write(IEnumerable<MetricFamily> families, TextFormat format)
    {
        var text = new StringBuilder();
        foreach (var family in families)
        {
            // OpenMetrics names a counter's family without the suffix of its samples.
            var name = format == TextFormat.OpenMetrics && family.Type == "counter" ? family.Name[..^"_total".Length] : family.Name;
            var type = format == TextFormat.OpenMetrics && family.Type == "untyped" ? "unknown" : family.Type;
            text.Append("# HELP ").Append(name).Append(' ').Append(Escape(family.Help)).Append('\n');
            text.Append("# TYPE ").Append(name).Append(' ').Append(type).Append('\n');
            foreach (var point in family.Points)
            {
                text.Append(family.Name);
                for (var index = 0; index < point.Labels.Count; index++)
                {
                    var (label, value) = point.Labels[index];
                    text.Append(index == 0 ? '{' : ',').Append(label).Append("=\"").Append(Escape(value).Replace("\"", "\\\"", StringComparison.Ordinal)).Append('"');
                }

                text.Append(point.Labels.Count > 0 ? "} " : " ").Append(Number(point.Value)).Append('\n');
            }
        }

        return format == TextFormat.OpenMetrics ? text.Append("# EOF\n").ToString() : text.ToString();
    }

    private static string Number(double value) => value switch
    {
        double.PositiveInfinity => "+Inf",
        double.NegativeInfinity => "-Inf",
        _ => value.ToString("R", CultureInfo.InvariantCulture),
    };

    private static string Escape(string text) => text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
}
