using System.Globalization;
using Platform.Alerting.Rules;

namespace Platform.Alerting.Windows;

/// <summary>Places on the globe, and whether somebody can have been at two of them.</summary>
internal static class Journey
{
    private const double EarthRadius = 6371.0088; // km, the mean radius of WGS 84
    private const double Micro = 1_000_000;

    /// <summary>Degrees as microdegrees, to a tenth of a metre; null for what is no place.</summary>
    public static (long Latitude, long Longitude)? Place(string? latitude, string? longitude) =>
        Degrees(latitude, 90) is { } north && Degrees(longitude, 180) is { } east ? (north, east) : null;

    /// <summary>The shortest way over the surface, in kilometres (haversine); off by less than half a percent, as the earth is no sphere.</summary>
    public static double Kilometres(Hit one, Hit other)
    {
        var (north, south) = (Radians(one.A), Radians(other.A));
        var haversine = Square(Math.Sin((south - north) / 2)) + Math.Cos(north) * Math.Cos(south) * Square(Math.Sin((Radians(other.B) - Radians(one.B)) / 2));
        return 2 * EarthRadius * Math.Asin(Math.Min(1, Math.Sqrt(haversine)));
    }

    /// <summary>
    /// The hits that cannot have happened where they did, given an earlier one within the window, with the speed that it would take. All
    /// earlier ones are looked at, not only the last: a way in small steps is as long.
    /// </summary>
    public static List<(long At, double Value)> TooFast(ReadOnlySpan<Hit> hits, Condition.Travel travel, long length)
    {
        var found = new List<(long, double)>();
        for (var i = 1; i < hits.Length; i++)
        {
            var fastest = 0.0;
            for (var j = i - 1; j >= 0 && hits[i].At - hits[j].At < length; j--)
            {
                var kilometres = Kilometres(hits[j], hits[i]);
                // Two places at one moment: as fast as the clock can tell.
                var hours = Math.Max(hits[i].At - hits[j].At, 1) / 3_600_000_000.0;
                if (kilometres >= travel.Kilometres && kilometres / hours >= travel.KilometresPerHour)
                {
                    fastest = Math.Max(fastest, kilometres / hours);
                }
            }

            if (fastest > 0)
            {
                found.Add((hits[i].At, Math.Round(fastest)));
            }
        }

        return found;
    }

    private static long? Degrees(string? text, double most) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var degrees) && Math.Abs(degrees) <= most ? (long)Math.Round(degrees * Micro) : null;

    private static double Radians(long microdegrees) => microdegrees / Micro * Math.PI / 180;

    private static double Square(double number) => number * number;
}
